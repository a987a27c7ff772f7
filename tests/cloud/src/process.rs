//! Keeps the process of one function: starts it, watches it, kills it on request, starts it again.
//!
//! Decides when to start again: at once after an invocation was cut short, with growing pauses while it ends before
//! its first poll. Never leaves a process behind: it is killed when its keeper is dropped, and one whose cloud was
//! killed outright ends when its connection to the Runtime API breaks.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::calls::KEY_PREFIX;
use crate::log::{Excerpt, Log};
use crate::template::Function;
use crate::world::World;

/// Pause after the first start that failed, in real time; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause between starts.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Of the operator's environment, what the functions may see besides `AWS_ENDPOINT_URL_<SERVICE>`.
const PASSED_ON: [&str; 4] = ["PATH", "RUST_LOG", "RUST_BACKTRACE", "LLVM_PROFILE_FILE"];

/// Where a function's binary may be, in order.
pub(crate) fn candidates(directory: &Path, function: &Function) -> [PathBuf; 3] {
    let package = format!("perennial-{}", function.folder);
    [
        directory.join(&package),
        directory.join(&package).join("bootstrap"),
        directory.join(&function.folder).join("bootstrap"),
    ]
}

/// The binary of a function, if there is one.
pub(crate) fn find(directory: &Path, function: &Function) -> Option<PathBuf> {
    candidates(directory, function).into_iter().find(|path| path.is_file())
}

/// One function's process.
pub(crate) struct Keeper {
    pub(crate) world: Arc<World>,
    pub(crate) log: Arc<Log>,
    pub(crate) function: Function,
    pub(crate) binary: PathBuf,
    pub(crate) address: SocketAddr,
    pub(crate) region: String,
    pub(crate) speed: f64,
    pub(crate) kill: Arc<Notify>,
}

impl Keeper {
    /// Keeps the process until dropped.
    pub(crate) async fn keep(self) {
        let mut pause = FIRST_PAUSE;
        loop {
            // A request to kill that came too late was meant for the process before.
            drop(tokio::time::timeout(Duration::ZERO, self.kill.notified()).await);
            let excerpt = Arc::new(Mutex::new(Excerpt::default()));
            self.world.at_present(|state| {
                if let Some(host) = state.hosts.get_mut(&self.function.folder) {
                    host.starts += 1;
                    host.accepting = true;
                }
            });
            let ended = self.run_once(&excerpt).await;
            if self.conclude(&ended, &excerpt) {
                pause = FIRST_PAUSE;
            } else {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    /// Runs the process to its end; returns how it ended.
    async fn run_once(&self, excerpt: &Arc<Mutex<Excerpt>>) -> String {
        let mut child = match self.command().spawn() {
            Ok(child) => child,
            Err(error) => return format!("cannot start {}: {error}", self.binary.display()),
        };
        let mut output = JoinSet::new();
        if let Some(stdout) = child.stdout.take() {
            output.spawn(copy(
                stdout,
                Arc::clone(&self.log),
                self.function.folder.clone(),
                Arc::clone(excerpt),
            ));
        }
        if let Some(stderr) = child.stderr.take() {
            output.spawn(copy(
                stderr,
                Arc::clone(&self.log),
                self.function.folder.clone(),
                Arc::clone(excerpt),
            ));
        }
        let status = self.wait(&mut child).await;
        // What it wrote last may tell why it ended. A grandchild may hold the pipe open, so not for ever.
        drop(tokio::time::timeout(Duration::from_millis(200), output.join_all()).await);
        match status {
            Ok(status) => format!("the process ended with {status}"),
            Err(error) => format!("the process could not be waited for: {error}"),
        }
    }

    async fn wait(&self, child: &mut Child) -> std::io::Result<ExitStatus> {
        tokio::select! {
            status = child.wait() => status,
            () = self.kill.notified() => {
                child.kill().await?;
                child.wait().await
            }
        }
    }

    /// Notes the end of the process; returns whether it had worked, or at least asked for work.
    fn conclude(&self, ended: &str, excerpt: &Mutex<Excerpt>) -> bool {
        let folder = self.function.folder.as_str();
        self.world.at_present(|state| {
            let Some(host) = state.hosts.get_mut(folder) else { return false };
            // After a kill the host has turned to the next process already.
            let worked = host.polled || !host.accepting;
            if !worked {
                let said = excerpt.lock().unwrap_or_else(PoisonError::into_inner).text();
                let reported = host.init_error.take().unwrap_or_else(|| ended.to_owned());
                host.start_error = Some(format!("{reported}{said}"));
                self.log.problem(state.now, &format!("{folder} does not start: {reported}; it said:{said}"));
            }
            state.process_ended(folder, ended);
            worked
        })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| passed_on(name)))
            .envs(&self.function.environment)
            .envs(self.environment())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// What Lambda sets, and what only this cloud does.
    fn environment(&self) -> [(&'static str, String); 14] {
        let function = &self.function;
        let key = format!("{KEY_PREFIX}{}", function.folder.to_ascii_uppercase());
        [
            // With a path the runtime wants the scheme as well; on Lambda it is host and port alone.
            ("AWS_LAMBDA_RUNTIME_API", format!("http://{}/_lambda/{}", self.address, function.folder)),
            ("AWS_LAMBDA_FUNCTION_NAME", function.name.clone()),
            ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", function.memory.to_string()),
            ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".to_owned()),
            ("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{}", function.name)),
            ("AWS_LAMBDA_LOG_STREAM_NAME", "local".to_owned()),
            ("AWS_REGION", self.region.clone()),
            ("AWS_DEFAULT_REGION", self.region.clone()),
            ("AWS_ENDPOINT_URL", format!("http://{}", self.address)),
            ("AWS_ACCESS_KEY_ID", key),
            ("AWS_SECRET_ACCESS_KEY", "local".to_owned()),
            ("PERENNIAL_CLOCK", "event".to_owned()),
            ("PERENNIAL_TIME_FACTOR", self.speed.to_string()),
        ]
    }
}

fn passed_on(name: &OsString) -> bool {
    name.to_str().is_some_and(|name| PASSED_ON.contains(&name) || name.starts_with("AWS_ENDPOINT_URL_"))
}

async fn copy(from: impl AsyncRead + Unpin, log: Arc<Log>, function: String, excerpt: Arc<Mutex<Excerpt>>) {
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        log.output(&function, &line);
        excerpt.lock().unwrap_or_else(PoisonError::into_inner).push(&line);
    }
}
