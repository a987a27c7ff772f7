//! `perennial-demo`: spot interruptions survived, shown live and then proven.
//!
//! Decides the order of the evening - cloud, act, proofs, summary - and the exit code: 0 when every proof holds, 1
//! when one fails or a stage does not come, 2 when a flag, the template or a binary is wrong, 130 after Ctrl-C
//! or SIGTERM.

mod access;
mod backup;
mod board;
mod database;
mod ec2;
mod examples;
mod guest;
mod interruption;
mod members;
mod node;
mod proof;
mod render;
mod ring;
mod screen;
mod stage;
mod summary;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use perennial_cloud::model::Settings;
use perennial_cloud::{FunctionOutput, Functions, Options, Server};
use serde_json::Value;

use crate::access::{Access, DEPLOYMENT};
use crate::examples::Example;
use crate::render::{Tone, clock};
use crate::screen::Screen;
use crate::stage::{Broken, Told};

/// Lines of function output shown when a stage does not come.
const LAST_LINES: usize = 20;
/// Beyond this the functions' own real time outweighs everything that is shown.
const FASTEST: f64 = 240.0;

/// Shows spot interruptions survived: the real functions on the local cloud, live, and proves it.
#[derive(Debug, Parser)]
#[command(name = "perennial-demo", version)]
struct Cli {
    /// Directory with the function binaries.
    #[arg(long, default_value = "target/debug", value_name = "DIR")]
    functions: PathBuf,
    /// The SAM template that names tables, bus, functions and triggers.
    #[arg(long, default_value = "infra/template.yaml", value_name = "FILE")]
    template: PathBuf,
    /// Directory with the example items that the acts put.
    #[arg(long, default_value = "infra/examples", value_name = "DIR")]
    examples: PathBuf,
    /// Cloud seconds that pass in one real second, 1 to 240; 20 unless given, and 180 for the act of hours.
    #[arg(long, value_name = "N", value_parser = speed)]
    speed: Option<f64>,
    /// What to show.
    #[arg(long, value_enum, default_value_t = Act::Interruption, value_name = "NAME")]
    act: Act,
    /// Keeps what the functions write in this file.
    #[arg(long, value_name = "FILE")]
    logs: Option<PathBuf>,
}

/// What can be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Act {
    /// A spot interruption with notice, and the recovery.
    Interruption,
    /// The same of a node with data volumes, one of them attached by hand.
    Database,
    /// A group of three with a pool of addresses and Elastic IPs, interrupted all at once; then its pool changes.
    Ring,
    /// A group of two that keeps nothing but images of its members: both interrupted, back from the newest, and deleted.
    Backup,
}

impl Act {
    /// Cloud seconds that pass in one real second, unless the operator says otherwise.
    fn speed(self) -> f64 {
        match self {
            Act::Interruption | Act::Database | Act::Ring => 20.0,
            // Half an hour of backups and an hour of retention.
            Act::Backup => 180.0,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Act::Interruption => "Perennial: a spot instance is interrupted, and comes back with every byte.",
            Act::Database => {
                "Perennial: a database is interrupted, and comes back with its volumes and every write to each."
            }
            Act::Ring => {
                "Perennial: a ring of three is interrupted at once; each comes back with its address and every byte."
            }
            Act::Backup => {
                "Perennial: two that keep nothing are interrupted at once, and come back from the newest backup of one."
            }
        }
    }

    /// The item that it puts.
    fn example(self, folder: &Path) -> Result<Example, String> {
        match self {
            Act::Interruption => interruption::example(folder),
            Act::Database => database::example(folder),
            Act::Ring => ring::example(folder),
            Act::Backup => backup::example(folder),
        }
    }

    async fn tell(
        self,
        access: &Access,
        screen: &mut Screen,
        speed: f64,
        (example, latencies): (Example, &Settings),
    ) -> Result<Told, Broken> {
        match self {
            Act::Interruption => interruption::tell(access, screen, speed, (example, latencies)).await,
            Act::Database => database::tell(access, screen, speed, (example, latencies)).await,
            Act::Ring => ring::tell(access, screen, speed, example).await,
            Act::Backup => backup::tell(access, screen, speed, example).await,
        }
    }
}

fn speed(text: &str) -> Result<f64, String> {
    let speed = text.parse().ok().filter(|speed| (1.0..=FASTEST).contains(speed));
    speed.ok_or_else(|| format!("must be a number from 1 to {FASTEST}, such as 20"))
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let (began, speed) = (Instant::now(), cli.speed.unwrap_or_else(|| cli.act.speed()));
    // Kept until the end, and removed then unless the operator named the file.
    let scratch = match tempfile::NamedTempFile::new() {
        Ok(file) => file,
        Err(error) => {
            return refused(&format!("no temporary file for the functions' output: {error}; set TMPDIR"));
        }
    };
    let example = match cli.act.example(&cli.examples) {
        Ok(example) => example,
        Err(error) => return refused(&error),
    };
    let logs = cli.logs.clone().unwrap_or_else(|| scratch.path().to_owned());
    let options = Options {
        speed,
        parameters: BTreeMap::from([("Deployment".to_owned(), DEPLOYMENT.to_owned())]),
        functions: Functions::Directory(cli.functions),
        output: FunctionOutput::File(logs.clone()),
        settings: Settings::default(),
        ..Options::new(cli.template)
    };
    let latencies = options.settings.clone();
    let access = match Server::start(options).await {
        Ok(server) => Access::new(server),
        Err(error) => return refused(&error.to_string()),
    };
    let mut screen = Screen::choose();
    screen.line(cli.act.title(), Tone::Strong);
    screen.line(
        &format!("One real second is {speed} seconds of the local cloud. The functions are the real ones."),
        Tone::Plain,
    );
    screen.line(&example.told(), Tone::Plain);
    let told = tokio::select! {
        told = cli.act.tell(&access, &mut screen, speed, (example, &latencies)) => Some(told),
        () = stopped() => None,
    };
    let code = match told {
        None => ExitCode::from(130),
        Some(Ok(told)) => conclude(&access, &mut screen, &told, began),
        Some(Err(broken)) => {
            screen.line(&format!("✗ FAILED  {broken}"), Tone::Bad);
            for line in last_lines(&logs) {
                screen.line(&format!("  {line}"), Tone::Plain);
            }
            ExitCode::FAILURE
        }
    };
    drop(screen);
    access.stop().await;
    code
}

/// Ctrl-C or SIGTERM. Where neither can be caught the story goes on to its end.
async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    let interrupted = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = interrupted => {}
        _ = terminate.recv() => {}
    }
}

fn conclude(access: &Access, screen: &mut Screen, told: &Told, began: Instant) -> ExitCode {
    let proofs = &told.proofs;
    screen.line("", Tone::Plain);
    for (number, proof) in (1..).zip(proofs) {
        screen.line(&proof.line(number), if proof.holds { Tone::Good } else { Tone::Bad });
    }
    screen.line("", Tone::Plain);
    for line in &told.numbers {
        screen.line(line, Tone::Plain);
    }
    let log = |path: &str| access.control("GET", path, &Value::Null).unwrap_or(Value::Null);
    screen.line(&summary::effort(&log("calls"), &log("invocations")), Tone::Plain);
    let (real, cloud) = (began.elapsed().as_secs_f64(), clock(told.seconds));
    screen.line(&format!("this run                     {real:.1} s for {cloud} of cloud time"), Tone::Plain);
    let failed = proofs.iter().filter(|proof| !proof.holds).count();
    if failed == 0 {
        screen.line(&format!("All {} proofs hold.", proofs.len()), Tone::Good);
        return ExitCode::SUCCESS;
    }
    screen.line(&format!("{failed} of {} proofs FAILED.", proofs.len()), Tone::Bad);
    ExitCode::FAILURE
}

fn last_lines(logs: &std::path::Path) -> Vec<String> {
    let text = match std::fs::read(logs) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => return vec![format!("the functions' output cannot be read: {error}")],
    };
    let lines: Vec<&str> = text.lines().collect();
    let skipped = lines.len().saturating_sub(LAST_LINES);
    let heading = format!("The functions' last {} lines of {}:", lines.len() - skipped, lines.len());
    std::iter::once(heading).chain(lines.into_iter().skip(skipped).map(str::to_owned)).collect()
}

/// One sentence on standard error: place, value, remedy.
fn refused(sentence: &str) -> ExitCode {
    drop(writeln!(std::io::stderr().lock(), "perennial-demo: {sentence}"));
    ExitCode::from(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_speed_is_a_number_in_bounds() {
        assert_eq!(speed("20"), Ok(20.0));
        for wrong in ["0", "0.5", "241", "fast", "NaN", "inf", ""] {
            assert_eq!(speed(wrong), Err("must be a number from 1 to 240, such as 20".to_owned()), "{wrong}");
        }
    }

    #[test]
    fn an_unknown_act_is_refused_with_the_known_ones() {
        let refusal = Cli::try_parse_from(["perennial-demo", "--act", "pause"]).unwrap_err();
        assert_eq!(refusal.exit_code(), 2);
        assert!(
            refusal.to_string().contains("possible values: interruption, database, ring, backup"),
            "{refusal}"
        );
    }
}
