//! From an event to the engine.
//!
//! An event that cannot be read is logged once with its id and dropped: reading it again would not help.
//! One that concerns nothing of ours ends quietly. Nothing is decided from what an event says, but which
//! resource to look at.

use jiff::Timestamp;
use perennial_core::event::{self, Envelope, Malformed};
use perennial_core::limits;
use perennial_engine::Engine;
use perennial_engine::backups::BackupTick;
use perennial_engine::configure::Configured;
use perennial_engine::drive::Drive;
use perennial_engine::passes::Tick;
use perennial_engine::ports::{Bus, Clock, Ec2, Reply, Store};
use perennial_engine::snapshots::SnapshotTick;
use perennial_engine::wake::Woken;
use serde_json::Value;

use crate::clock::FromTheFuture;
use crate::failed::Failed;
use crate::{Function, metrics, stream};

/// The engine as events see it.
pub(crate) trait Entry {
    /// Takes an event of AWS.
    async fn take_event(&self, envelope: &Envelope) -> Reply<Woken>;
    /// Judges a config item.
    async fn configure(&self, id: &str) -> Reply<Configured>;
    /// The minute tick.
    async fn reconcile(&self) -> Reply<Tick>;
    /// The snapshot tick.
    async fn snapshot_pass(&self) -> Reply<SnapshotTick>;
    /// The tick of image backups.
    async fn backup_pass(&self) -> Reply<BackupTick>;
    /// The deployment, and the time.
    fn whereabouts(&self) -> (&str, Timestamp);
}

/// Boxed, since a node's whole story is one future: unboxed, its layout is too deep for the compiler.
impl<E: Ec2, S: Store, B: Bus, C: Clock> Entry for Engine<E, S, B, C> {
    async fn take_event(&self, envelope: &Envelope) -> Reply<Woken> {
        Box::pin(Engine::take_event(self, envelope)).await
    }

    async fn configure(&self, id: &str) -> Reply<Configured> {
        Box::pin(Engine::configure(self, id)).await
    }

    async fn reconcile(&self) -> Reply<Tick> {
        Box::pin(Engine::reconcile(self)).await
    }

    async fn snapshot_pass(&self) -> Reply<SnapshotTick> {
        Box::pin(Engine::snapshot_pass(self)).await
    }

    async fn backup_pass(&self) -> Reply<BackupTick> {
        Box::pin(Engine::backup_pass(self)).await
    }

    fn whereabouts(&self) -> (&str, Timestamp) {
        (&self.deployment, self.clock.now())
    }
}

/// Handles an event. `engine_at` makes the engine, given the event's time.
pub(crate) async fn handle<N: Entry>(
    function: Function,
    event: &Value,
    engine_at: impl Fn(Option<Timestamp>) -> Result<N, FromTheFuture>,
) -> Result<Value, Failed> {
    match function {
        Function::ConfigChange => {
            let batch = stream::read(event);
            // An edit counts whatever its time: without it the wall clock serves.
            let Ok(engine) = engine_at(batch.time).or_else(|_| engine_at(None)) else {
                return Ok(Value::Null);
            };
            Ok(stream::configure(&engine, batch).await)
        }
        Function::SnapshotSchedule | Function::ImageBackup | Function::Reconcile => {
            let Some(time) = tick_time(event) else { return Ok(Value::Null) };
            let Some(engine) = engine(event, time, engine_at) else { return Ok(Value::Null) };
            if function == Function::SnapshotSchedule && is_stale(event, time, engine.whereabouts().1) {
                return Ok(Value::Null);
            }
            tick(function, &engine).await
        }
        Function::SpotInterruption | Function::InstanceState | Function::StorageState => {
            let Some(envelope) = read(event::parse(event)) else { return Ok(Value::Null) };
            let Some(engine) = engine(event, Some(envelope.time), engine_at) else { return Ok(Value::Null) };
            act(&engine, envelope).await
        }
    }
}

/// The engine at the time of an event; `None` if that lies in the future, which is logged.
fn engine<N>(
    event: &Value,
    time: Option<Timestamp>,
    engine_at: impl Fn(Option<Timestamp>) -> Result<N, FromTheFuture>,
) -> Option<N> {
    match engine_at(time) {
        Ok(engine) => Some(engine),
        Err(FromTheFuture { by }) => {
            let id = event::id_of(event);
            tracing::warn!(
                event.id = id,
                ahead_seconds = by.as_secs(),
                "an event from the future is dropped"
            );
            None
        }
    }
}

fn read<T>(parsed: Result<T, Malformed>) -> Option<T> {
    match parsed {
        Ok(read) => Some(read),
        Err(Malformed { id, path, problem }) => {
            tracing::warn!(event.id = id, path, problem, "a malformed event is dropped");
            None
        }
    }
}

/// The time of a tick, if it carries one: a tick decides nothing from its body, so it may be empty.
#[expect(clippy::option_option, reason = "dropped, without a time, with a time")]
fn tick_time(event: &Value) -> Option<Option<Timestamp>> {
    let time = match &event["time"] {
        Value::Null => return Some(None),
        time => time,
    };
    let parsed = time.as_str().and_then(|text| text.parse().ok());
    read(parsed.map(Some).ok_or_else(|| Malformed {
        id: event::id_of(event),
        path: "time",
        problem: "is not an RFC 3339 time".to_owned(),
    }))
}

/// Whether a later tick has long come: two snapshot passes side by side would exceed the pace. Nothing else is
/// ever dropped for its age: claims keep other invocations apart.
fn is_stale(event: &Value, time: Option<Timestamp>, now: Timestamp) -> bool {
    let late = time.map_or(jiff::SignedDuration::ZERO, |time| now.duration_since(time));
    let is_stale = late > limits::TICK_STALE;
    if is_stale {
        let id = event::id_of(event);
        tracing::warn!(event.id = id, late_seconds = late.as_secs(), "a stale tick is dropped");
    }
    is_stale
}

async fn tick<N: Entry>(function: Function, engine: &N) -> Result<Value, Failed> {
    let (deployment, now) = engine.whereabouts();
    let figures = match function {
        Function::SnapshotSchedule => {
            let tick = engine.snapshot_pass().await.map_err(Failed::logged)?;
            metrics::of_snapshots(&tick, deployment, now)
        }
        Function::ImageBackup => {
            let tick = engine.backup_pass().await.map_err(Failed::logged)?;
            metrics::of_backups(&tick, deployment, now)
        }
        _ => {
            let tick = engine.reconcile().await.map_err(Failed::logged)?;
            Some(metrics::of_nodes(&tick, deployment, now))
        }
    };
    if let Some(figures) = figures {
        metrics::tell(&figures);
    }
    Ok(Value::Null)
}

async fn act<N: Entry>(engine: &N, envelope: Envelope) -> Result<Value, Failed> {
    match engine.take_event(&envelope).await.map_err(Failed::logged)? {
        Woken::Unknown => tracing::debug!(event.id = envelope.id, "the event concerns nothing of ours"),
        // Every few minutes for each node: no news.
        Woken::Driven { node, end: Drive::Steady } => {
            tracing::debug!(event.id = envelope.id, node = %node, "the event changes nothing for the node");
        }
        Woken::Driven { node, end } => tracing::info!(event.id = envelope.id, node = %node, ?end, "driven"),
    }
    Ok(Value::Null)
}
