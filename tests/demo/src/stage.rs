//! What every act stands on: it looks again and again, shows what it sees, and waits by looking.
//!
//! Decides when a wait is over and when it has lasted too long; never waits for a fixed time, and gives a stage up with
//! everything that tells why. What is read and what is shown is the act's own.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use perennial_core::names::whole_second;
use perennial_core::record::{Blocked, Record};
use serde_json::Value;

use crate::access::{Access, AccessError, Reply};
use crate::proof::Proof;
use crate::render::seconds;
use crate::screen::{Screen, Shown};

/// Real time between two looks.
const BEAT: Duration = Duration::from_millis(40);
/// Real time a stage may take at least, whatever the speed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Cloud time a stage may take: several times the longest.
const PATIENCE_IN_CLOUD: f64 = 1200.0;

/// Why a story did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The cloud could not be asked.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// A config item was refused.
    #[error("the config item of the demonstration was rejected: {0}")]
    Rejected(String),
    /// A stage did not come.
    #[error("stage \"{stage}\" did not come within {seconds} s of real time; {state}")]
    Late {
        /// The stage.
        stage: String,
        /// Real seconds waited.
        seconds: u64,
        /// Where things stand.
        state: String,
    },
}

/// What an act has shown in the end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    /// Each claim, judged.
    pub(crate) proofs: Vec<Proof>,
    /// Measurements, a line each.
    pub(crate) numbers: Vec<String>,
    /// Cloud seconds that the whole story took.
    pub(crate) seconds: i64,
}

/// A moment of a story.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment<'a> {
    /// What times are counted from.
    pub(crate) start: Timestamp,
    /// What is done or awaited.
    pub(crate) stage: &'a str,
}

/// What an act looks at.
pub(crate) trait Scene {
    /// What one look reads.
    type Seen;
    /// What a person is shown of it.
    type View: Shown;

    /// One look at everything, and what the guests write meanwhile; `last` is the look before.
    ///
    /// # Errors
    /// When the cloud cannot be asked.
    async fn look(&mut self, access: &Access, last: Option<&Self::Seen>) -> Reply<Self::Seen>;

    /// When it was.
    fn time(seen: &Self::Seen) -> Timestamp;

    /// What to show.
    fn view(&self, seen: &Self::Seen, moment: Moment<'_>) -> Self::View;

    /// Where things stand, for a stage that does not come.
    fn standing(&self, seen: Option<&Self::Seen>) -> String;
}

/// An act under way.
pub(crate) struct Stage<'a, S: Scene> {
    pub(crate) access: &'a Access,
    pub(crate) scene: S,
    /// The last look.
    pub(crate) seen: Option<S::Seen>,
    /// Cloud seconds since the start.
    pub(crate) at: i64,
    screen: &'a mut Screen,
    speed: f64,
    start: Timestamp,
    name: String,
    view: S::View,
}

impl<'a, S: Scene> Stage<'a, S> {
    /// An act about to begin.
    ///
    /// # Errors
    /// When the cloud has no clock.
    pub(crate) fn new(access: &'a Access, screen: &'a mut Screen, speed: f64, scene: S) -> Reply<Self> {
        let start = whole_second(access.now()?);
        let (seen, name, view) = (None, String::new(), S::View::default());
        Ok(Stage { access, scene, seen, at: 0, screen, speed, start, name, view })
    }

    /// Leaves the last view standing.
    pub(crate) fn finish(&mut self) {
        self.screen.finish(&self.view);
    }

    /// Waits until every function has asked for work.
    ///
    /// # Errors
    /// When they do not, or the cloud cannot be asked.
    pub(crate) async fn functions_start(&mut self) -> Result<(), Broken> {
        let access = self.access;
        self.until("the functions start", |_| access.functions_ready().unwrap_or(false)).await
    }

    /// Puts a config item, in DynamoDB's own JSON, and waits until it is accepted.
    ///
    /// # Errors
    /// When it is refused or not judged, or the cloud cannot be asked.
    pub(crate) async fn configure(&mut self, stage: &str, id: &str, item: &Value) -> Result<(), Broken> {
        let (access, since) = (self.access, Instant::now());
        access.put_config(item).await?;
        stage.clone_into(&mut self.name);
        loop {
            self.beat().await?;
            if let Some(status) = access.config_status(id).await? {
                if status["accepted"] == true {
                    return Ok(());
                }
                return Err(Broken::Rejected(status["problems"].to_string()));
            }
            self.patience(since)?;
            tokio::time::sleep(BEAT).await;
        }
    }

    /// Looks again and again until `done`.
    ///
    /// # Errors
    /// When that does not come, or the cloud cannot be asked.
    pub(crate) async fn until(&mut self, stage: &str, done: impl Fn(&S::Seen) -> bool) -> Result<(), Broken> {
        let since = Instant::now();
        stage.clone_into(&mut self.name);
        loop {
            self.beat().await?;
            if self.seen.as_ref().is_some_and(&done) {
                return Ok(());
            }
            self.patience(since)?;
            tokio::time::sleep(BEAT).await;
        }
    }

    fn patience(&self, since: Instant) -> Result<(), Broken> {
        let limit = PATIENCE.max(Duration::from_secs_f64(PATIENCE_IN_CLOUD / self.speed));
        if since.elapsed() < limit {
            return Ok(());
        }
        let mut state = self.scene.standing(self.seen.as_ref());
        for error in self.access.start_errors() {
            state.push_str("; ");
            state.push_str(&error);
        }
        Err(Broken::Late { stage: self.name.clone(), seconds: since.elapsed().as_secs(), state })
    }

    /// One look, shown.
    async fn beat(&mut self) -> Result<(), Broken> {
        let seen = self.scene.look(self.access, self.seen.as_ref()).await?;
        let view = self.scene.view(&seen, Moment { start: self.start, stage: &self.name });
        self.screen.show(&self.view, &view);
        self.at = seconds(self.start, S::time(&seen));
        (self.view, self.seen) = (view, Some(seen));
        Ok(())
    }
}

/// Where a node stands by its record, as a sentence that goes on from its name.
pub(crate) fn standing(record: &Record) -> String {
    let blocked =
        record.blocked.as_ref().map_or("not blocked".to_owned(), |it| format!("blocked as {}", blocked(it)));
    let (phase, reason) = (record.phase.as_str(), &record.reason);
    format!("is {phase} in cycle {} because \"{reason}\", {blocked}", record.cycle)
}

/// What blocks a node, with what helps.
pub(crate) fn blocked(it: &Blocked) -> String {
    format!("{}: {} ({})", it.code, it.message, it.remedy)
}
