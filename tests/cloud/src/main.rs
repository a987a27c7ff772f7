//! `perennial-cloud`: the local cloud as a program.
//!
//! Decides what a person is told at the start and the exit code: 0 after Ctrl-C or SIGTERM, 1 when rights are not
//! needed, 2 when an option, the template or a binary is wrong. Everything else is the library's.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use perennial_cloud::model::Settings;
use perennial_cloud::{FunctionOutput, Functions, Options, Server, rights_table, unused_rights};
use serde_json::json;

/// A faithful local cloud for what Perennial uses of AWS.
#[derive(Parser)]
#[command(name = "perennial-cloud", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves EC2, DynamoDB, EventBridge and the Lambda Runtime API on one loopback port, until Ctrl-C.
    Serve(Serve),
    /// Prints the table of rights of the template, or says which of them no recorded call needed.
    Rights(Rights),
}

#[derive(Args)]
struct Rights {
    /// The SAM template whose policies are told.
    #[arg(long, default_value = "infra/template.yaml", value_name = "FILE")]
    template: PathBuf,
    /// A parameter of the template.
    #[arg(long = "parameter", value_name = "NAME=VALUE", value_parser = parameter)]
    parameters: Vec<(String, String)>,
    /// A record written by clouds with --rights: the rights that no call needed are told, and end the program with 1.
    #[arg(long, value_name = "FILE")]
    used: Option<PathBuf>,
}

#[derive(Args)]
struct Serve {
    /// Loopback address and port to listen on.
    #[arg(long, default_value = "127.0.0.1:4566", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// Cloud seconds that pass in one real second, at least 1.
    #[arg(long, default_value_t = 20.0)]
    speed: f64,
    /// Seed of ids; the same seed and calls give the same ids.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// The SAM template that names tables, bus, functions and triggers.
    #[arg(long, default_value = "infra/template.yaml", value_name = "FILE")]
    template: PathBuf,
    /// A parameter of the template.
    #[arg(long = "parameter", value_name = "NAME=VALUE", value_parser = parameter)]
    parameters: Vec<(String, String)>,
    /// Directory with the function binaries; without it no function is run.
    #[arg(long, value_name = "DIRECTORY")]
    functions: Option<PathBuf>,
    /// Shows what the functions write: on stderr, or in a file with --logs=FILE.
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    logs: Option<Option<PathBuf>>,
    /// Adds every right that a function uses to this file.
    #[arg(long, value_name = "FILE")]
    rights: Option<PathBuf>,
    /// No line for each invocation on stderr.
    #[arg(long)]
    quiet: bool,
}

fn parameter(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| "must be NAME=VALUE, such as Deployment=pets".to_owned())
}

impl Serve {
    fn options(self) -> Options {
        Options {
            listen: self.listen,
            speed: self.speed,
            seed: self.seed,
            template: self.template,
            parameters: BTreeMap::from_iter(self.parameters),
            functions: self.functions.map_or(Functions::None, Functions::Directory),
            output: match self.logs {
                None => FunctionOutput::Discard,
                Some(None) => FunctionOutput::Stderr,
                Some(Some(path)) => FunctionOutput::File(path),
            },
            quiet: self.quiet,
            rights: self.rights,
            settings: Settings::default(),
        }
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    let serve = match Cli::parse().command {
        Command::Serve(serve) => serve,
        Command::Rights(rights) => return rights.tell(),
    };
    let speed = serve.speed;
    let server = match Server::start(serve.options()).await {
        Ok(server) => server,
        Err(error) => return failed(&error),
    };
    // Whoever closed the pipe has read enough; the cloud serves on.
    drop(writeln!(std::io::stdout().lock(), "{}", introduction(&server, speed)));
    match stop_signal().await {
        Ok(()) => {
            server.stop().await;
            ExitCode::SUCCESS
        }
        Err(error) => failed(&error),
    }
}

impl Rights {
    fn tell(self) -> ExitCode {
        let parameters = BTreeMap::from_iter(self.parameters);
        let told = match &self.used {
            None => rights_table(&self.template, &parameters).map(|table| (table, ExitCode::SUCCESS)),
            Some(used) => unused_rights(&self.template, &parameters, used).map(|unused| {
                let code = if unused.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
                (unused.join("\n"), code)
            }),
        };
        match told {
            Ok((text, code)) => {
                drop(writeln!(std::io::stdout().lock(), "{}", text.trim_end()));
                code
            }
            Err(error) => failed(&error),
        }
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    drop(writeln!(std::io::stderr().lock(), "perennial-cloud: {error}"));
    ExitCode::from(2)
}

async fn stop_signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}

/// What a person needs to use the cloud, ready to be pasted.
fn introduction(server: &Server, speed: f64) -> String {
    let made = server.defaults();
    let subnet = made.subnet_ids.first().cloned().unwrap_or_default();
    let config = server.tables().first().cloned().unwrap_or_default();
    let item = json!({
        "id": {"S": "node#demo"},
        "launch": {"M": {
            "template": {"M": {"name": {"S": made.launch_template_name}}},
            "subnets": {"L": [{"S": subnet}]},
        }},
        "persist": {"M": {"root": {"M": {}}, "network": {"M": {}}}},
    });
    format!(
        "listening on {url}, {speed} cloud seconds in each second, Region {region}\n\
         network           {vpc}\n\
         subnets           {subnets}\n\
         security group    {group}\n\
         image             {image}\n\
         launch template   {template_name} ({template_id})\n\
         tables            {tables}\n\
         event bus         {buses}\n\
         functions         {functions}\n\
         \n\
         For the AWS CLI:\n\
         export AWS_ENDPOINT_URL={url}\n\
         export AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local\n\
         export AWS_REGION={region} AWS_DEFAULT_REGION={region}\n\
         \n\
         A node that keeps its root volume and its network interface:\n\
         aws dynamodb put-item --table-name {config} --item '{item}'",
        url = server.url(),
        region = server.region(),
        vpc = made.vpc_id,
        subnets = made.subnet_ids.join(" "),
        group = made.security_group_id,
        image = made.image_id,
        template_name = made.launch_template_name,
        template_id = made.launch_template_id,
        tables = server.tables().join(" "),
        buses = server.buses().join(" "),
        functions = server.functions().join(" "),
    )
}
