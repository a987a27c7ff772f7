//! Lambda glue: settings, logs, clients, and the way from an event to the engine.
//!
//! Nothing is decided here about nodes. This is the only crate that reads the environment and the wall
//! clock, and the only one that knows what a Lambda event looks like.

mod clock;
mod failed;
mod handle;
mod metrics;
mod settings;
mod stream;
#[cfg(test)]
mod tests;

use std::time::Instant;

use jiff::Timestamp;
use lambda_runtime::tracing::Level;
use lambda_runtime::tracing::subscriber::fmt::MakeWriter;
use lambda_runtime::tracing::subscriber::fmt::writer::{MakeWriterExt, WithMaxLevel};
use lambda_runtime::{LambdaEvent, service_fn};
use perennial_aws::clients::clients;
use perennial_aws::dynamodb::Tables;
use perennial_aws::ec2::Ec2Adapter;
use perennial_aws::eventbridge::EventBus;
use perennial_engine::Engine;
use serde_json::Value;

pub use failed::Failed;
pub use settings::{BadSettings, ClockSource, Problem, Settings};

use clock::{InvocationClock, Start};

/// The functions, named for what wakes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// Spot interruption warnings and rebalance recommendations.
    SpotInterruption,
    /// EC2 instance state changes.
    InstanceState,
    /// Snapshots that end, images that change their state.
    StorageState,
    /// The stream of the config table.
    ConfigChange,
    /// Every minute: periodic snapshots and their rotation.
    SnapshotSchedule,
    /// Every minute: image backups of groups and their rotation.
    ImageBackup,
    /// Every minute: whatever is unfinished, overdue or drifted.
    Reconcile,
}

/// Runs a function until Lambda ends the process.
///
/// # Errors
/// [`BadSettings`] with every problem of the environment, or a failure of the Lambda Runtime API.
pub async fn run(function: Function) -> Result<(), lambda_runtime::Error> {
    init_log();
    let settings = Settings::from_lookup(|key| std::env::var(key).ok()).inspect_err(|bad| {
        tracing::error!(problems = %bad, "the function cannot start");
    })?;
    let process = Process::new(settings).await;
    let process = &process;
    lambda_runtime::run(service_fn(move |event| process.invoke(function, event))).await
}

/// Level and format as Lambda's logging controls say; every line within an invocation carries its id. Nothing below
/// debug is ever written, whatever they say: the runtime traces events whole, and the SDK requests and answers
/// with their bodies, in which there are user data and items.
fn init_log() {
    lambda_runtime::tracing::init_default_subscriber_with_writer(discreet(std::io::stdout));
}

/// A writer that takes no traces.
fn discreet<W>(writer: W) -> WithMaxLevel<W>
where
    W: for<'w> MakeWriter<'w> + 'static,
{
    writer.with_max_level(Level::DEBUG)
}

/// What lives as long as the process: the settings and the adapters over their clients.
struct Process {
    settings: Settings,
    ec2: Ec2Adapter,
    tables: Tables,
    bus: EventBus,
}

impl Process {
    async fn new(settings: Settings) -> Self {
        let factor = settings.time_factor;
        let (timeout, backoff) = (clock::real_call_timeout(factor), clock::real_first_backoff(factor));
        let clients = clients(&settings.region, timeout, backoff).await;
        Self {
            ec2: Ec2Adapter::new(clients.ec2),
            tables: Tables::new(clients.dynamodb, &settings.config_table, &settings.state_table),
            bus: EventBus::new(clients.eventbridge, &settings.event_bus),
            settings,
        }
    }

    async fn invoke(&self, function: Function, event: LambdaEvent<Value>) -> Result<Value, Failed> {
        let start = Start {
            wall: clock::wall(),
            instant: Instant::now(),
            lambda_deadline: Timestamp::from_millisecond(
                event.context.deadline.try_into().unwrap_or(i64::MAX),
            )
            .unwrap_or(Timestamp::MAX),
        };
        let invocation = event.context.request_id;
        let engine_at = |time: Option<Timestamp>| {
            let clock = InvocationClock::new(&self.settings, &start, time)?;
            Ok(Engine {
                ec2: self.ec2.clone(),
                store: self.tables.clone(),
                bus: self.bus.clone(),
                clock,
                deployment: self.settings.deployment.clone(),
                invocation: invocation.clone(),
            })
        };
        Box::pin(handle::handle(function, &event.payload, engine_at)).await
    }
}
