//! The one loopback port and the life of a local cloud: start, serve, stop.
//!
//! Decides which protocol a request speaks and what a cloud needs before it can serve. Several clouds may run in one
//! process; they share nothing.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::calls;
use crate::clock::Clock;
use crate::control;
use crate::dynamodb::Tables;
use crate::host::Host;
use crate::iam::{Record, Rights};
use crate::log::{FunctionOutput, Log};
use crate::model::{Cloud, Defaults, Settings};
use crate::process::{self, Keeper};
use crate::runtime_api;
use crate::template::{Place, Template, TemplateError};
use crate::world::{Staff, World};

/// Largest request body: DynamoDB's largest request is 16 MB.
const LARGEST_BODY: usize = 16 << 20;

/// Who runs the functions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Functions {
    /// Nobody: events match their rules and nothing is run.
    #[default]
    None,
    /// This cloud: one process per function, its binary in this directory.
    Directory(PathBuf),
    /// Somebody else, who polls the Runtime API under `/_lambda/<folder>`: a test, or a debugger.
    Elsewhere,
}

/// What a local cloud is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Cloud seconds for each real second, at least 1.
    pub speed: f64,
    /// Seed of everything random: resource ids, request ids.
    pub seed: u64,
    /// The SAM template.
    pub template: PathBuf,
    /// Values of the template's parameters.
    pub parameters: BTreeMap<String, String>,
    /// Who runs the functions.
    pub functions: Functions,
    /// Where the functions' output goes.
    pub output: FunctionOutput,
    /// No lines about invocations on stderr.
    pub quiet: bool,
    /// A file to which every right that a function uses is added, to be compared with the template's.
    pub rights: Option<PathBuf>,
    /// Latencies, Region, account and zones.
    pub settings: Settings,
}

impl Options {
    /// Speed 1, a free loopback port, no functions, quiet, for the template at this path.
    #[must_use]
    pub fn new(template: impl Into<PathBuf>) -> Options {
        Options {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            speed: 1.0,
            seed: 0,
            template: template.into(),
            parameters: BTreeMap::new(),
            functions: Functions::None,
            output: FunctionOutput::Discard,
            quiet: true,
            rights: None,
            settings: Settings::default(),
        }
    }
}

/// Why a local cloud cannot start; each says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The speed is not a number of at least 1.
    #[error("--speed {0}: must be a number of at least 1, such as 20")]
    Speed(f64),
    /// The address cannot be listened on.
    #[error("--listen {address}: {error}; stop what listens there or choose another port")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
    /// The address can be reached from elsewhere.
    #[error("--listen {0}: only loopback addresses are served, such as 127.0.0.1:4566")]
    NotLoopback(SocketAddr),
    /// The template cannot be used.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A table of the template cannot be made.
    #[error("template {}: {problem}", path.display())]
    Table {
        /// The template.
        path: PathBuf,
        /// What the database said.
        problem: String,
    },
    /// A function's binary is missing.
    #[error("--functions {}: there is no binary of function '{function}' (looked for {looked_for}); build it first", directory.display())]
    Function {
        /// The directory.
        directory: PathBuf,
        /// The function's folder.
        function: String,
        /// The paths tried.
        looked_for: String,
    },
    /// The record of rights cannot be written.
    #[error("--rights {}: {error}; name a file that can be written", path.display())]
    Rights {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The file for function output cannot be written.
    #[error("--logs {}: {error}; name a file that can be written", path.display())]
    Logs {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
}

/// A local cloud that is being served. Dropping it stops it at once.
pub struct Server {
    address: SocketAddr,
    defaults: Defaults,
    tables: Vec<String>,
    buses: Vec<String>,
    functions: Vec<String>,
    region: String,
    world: Arc<World>,
    /// Dropped before the rest, so that no process sees its cloud go.
    keepers: JoinSet<()>,
    tasks: JoinSet<()>,
}

impl Server {
    /// Starts a cloud: makes the tables and default resources, listens, starts the functions.
    ///
    /// # Errors
    /// When an option is wrong, the port is taken, the template cannot be used or a binary is missing.
    pub async fn start(options: Options) -> Result<Server, StartError> {
        if !options.speed.is_finite() || options.speed < 1.0 {
            return Err(StartError::Speed(options.speed));
        }
        if !options.listen.ip().is_loopback() {
            return Err(StartError::NotLoopback(options.listen));
        }
        let log = Arc::new(Log::open(options.quiet, &options.output).map_err(|error| {
            let path = match &options.output {
                FunctionOutput::File(path) => path.clone(),
                FunctionOutput::Discard | FunctionOutput::Stderr => PathBuf::new(),
            };
            StartError::Logs { path, error }
        })?);
        let template = read_template(&options)?;
        let binaries = binaries(&options.functions, &template)?;
        let listener = TcpListener::bind(options.listen)
            .await
            .map_err(|error| StartError::Listen { address: options.listen, error })?;
        let address =
            listener.local_addr().map_err(|error| StartError::Listen { address: options.listen, error })?;
        let names = (
            template.tables.iter().map(|table| table.name.clone()).collect(),
            template.buses.clone(),
            template.functions.iter().map(|function| function.folder.clone()).collect(),
        );
        let rights = rights(options.rights.as_deref(), &template)?;
        let (world, defaults) = build(&options, template, rights, Arc::clone(&log))
            .map_err(|problem| StartError::Table { path: options.template.clone(), problem })?;
        let world = Arc::new(world);
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&world)));
        let ticking = Arc::clone(&world);
        tasks.spawn(async move { ticking.tick().await });
        let mut keepers = JoinSet::new();
        for (folder, binary) in binaries {
            let Some((function, kill)) = world.at_present(|state| {
                state.hosts.get(&folder).map(|host| (host.function.clone(), Arc::clone(&host.kill)))
            }) else {
                continue;
            };
            let keeper = Keeper {
                world: Arc::clone(&world),
                log: Arc::clone(&log),
                function,
                binary,
                address,
                region: options.settings.region.clone(),
                speed: options.speed,
                kill,
            };
            keepers.spawn(keeper.keep());
        }
        let (tables, buses, functions) = names;
        Ok(Server {
            address,
            defaults,
            tables,
            buses,
            functions,
            region: options.settings.region,
            world,
            keepers,
            tasks,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The value for `AWS_ENDPOINT_URL`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The Region of all resources.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// The network, image and launch template made at the start.
    #[must_use]
    pub fn defaults(&self) -> &Defaults {
        &self.defaults
    }

    /// Names of the tables.
    #[must_use]
    pub fn tables(&self) -> &[String] {
        &self.tables
    }

    /// Names of the custom event buses.
    #[must_use]
    pub fn buses(&self) -> &[String] {
        &self.buses
    }

    /// Folders of the functions of the template, run or not.
    #[must_use]
    pub fn functions(&self) -> &[String] {
        &self.functions
    }

    /// A control request as over HTTP, without it: `path` begins after `/_cloud/` and may have a query. Returns the
    /// HTTP status and the answer.
    pub fn control(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.world.at_present(|state| control::handle(state, method, path, query, &body))
    }

    /// Kills the functions' processes and stops serving.
    pub async fn stop(mut self) {
        self.keepers.shutdown().await;
        self.tasks.shutdown().await;
    }
}

fn binaries(functions: &Functions, template: &Template) -> Result<Vec<(String, PathBuf)>, StartError> {
    let Functions::Directory(directory) = functions else { return Ok(Vec::new()) };
    template
        .functions
        .iter()
        .map(|function| match process::find(directory, function) {
            Some(binary) => Ok((function.folder.clone(), binary)),
            None => Err(StartError::Function {
                directory: directory.clone(),
                function: function.folder.clone(),
                looked_for: process::candidates(directory, function)
                    .map(|path| path.display().to_string())
                    .join(", "),
            }),
        })
        .collect()
}

fn read_template(options: &Options) -> Result<Template, TemplateError> {
    let (settings, parameters) = (&options.settings, options.parameters.clone());
    let place = Place { region: settings.region.clone(), account: settings.account.clone(), parameters };
    Template::load(&options.template, &place)
}

/// The rights of the template's functions, with the record of those they use.
fn rights(record: Option<&Path>, template: &Template) -> Result<Rights, StartError> {
    let open =
        |path: &Path| Record::open(path).map_err(|error| StartError::Rights { path: path.to_owned(), error });
    let roles = template.functions.iter().filter_map(|it| Some((it.folder.clone(), it.role.clone()?)));
    Ok(Rights::new(roles.collect(), record.map(open).transpose()?))
}

fn build(
    options: &Options,
    template: Template,
    rights: Rights,
    log: Arc<Log>,
) -> Result<(World, Defaults), String> {
    let clock = Clock::new(Timestamp::now(), options.speed);
    let settings = &options.settings;
    let tables = Tables::new(clock, &settings.region, &settings.account)?;
    for table in &template.tables {
        tables.create(table).map_err(|problem| format!("Resources.{}: {problem}", table.logical_id))?;
    }
    let mut cloud = Cloud::new(clock.start(), options.seed, settings.clone());
    let defaults = cloud.seed_defaults();
    let kept = matches!(options.functions, Functions::Directory(_));
    let hosts = match options.functions {
        Functions::None => BTreeMap::new(),
        Functions::Directory(_) | Functions::Elsewhere => template
            .functions
            .iter()
            .map(|function| (function.folder.clone(), Host::new(function.clone(), kept)))
            .collect(),
    };
    let world = World::new(clock, options.seed, cloud, tables, template, Staff { hosts, rights }, log)?;
    Ok((world, defaults))
}

/// Serves connections; they end with this task.
async fn accept(listener: TcpListener, world: Arc<World>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                drop(stream.set_nodelay(true));
                let world = Arc::clone(&world);
                connections.spawn(async move {
                    let service = service_fn(move |request| {
                        let world = Arc::clone(&world);
                        async move { Ok::<_, Infallible>(serve(&world, request).await) }
                    });
                    let connection = hyper::server::conn::http1::Builder::new()
                        .timer(TokioTimer::new())
                        .serve_connection(TokioIo::new(stream), service);
                    // A broken connection is its caller's affair.
                    drop(connection.await);
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(world: &Arc<World>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (parts, body) = request.into_parts();
    let header =
        |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = match Limited::new(body, LARGEST_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => {
            return json_answer(413, &json!({"error": format!("the body cannot be read: {error}")}));
        }
    };
    let Ok(body) = String::from_utf8(body.into()) else {
        return json_answer(400, &json!({"error": "the body is not UTF-8"}));
    };
    let path = parts.uri.path();
    if let Some(path) = path.strip_prefix("/_cloud/") {
        let query = parts.uri.query().unwrap_or_default();
        let (status, answer) =
            world.at_present(|state| control::handle(state, parts.method.as_str(), path, query, &body));
        return json_answer(status, &answer);
    }
    if let Some(path) = path.strip_prefix("/_lambda/") {
        return runtime_answer(runtime_api::handle(world, parts.method.as_str(), path, &body).await);
    }
    if parts.method != hyper::Method::POST || path != "/" {
        let error =
            format!("no {} {path} here; AWS calls are POST /, controls are under /_cloud/", parts.method);
        return json_answer(404, &json!({"error": error}));
    }
    let key = header("authorization").as_deref().and_then(calls::access_key);
    let request = match calls::Request::new(header("x-amz-target").as_deref(), body, key) {
        Ok(request) => request,
        Err(target) => {
            let message = format!("the local cloud does not know the service of target {target}");
            return json_answer(400, &json!({"__type": "UnknownOperationException", "message": message}));
        }
    };
    match world.at_present(|state| state.call(&request)) {
        calls::Reply::Answer { status, content_type, body, request_id } => {
            let mut response = answer(status, content_type, body);
            if let Ok(id) = HeaderValue::from_str(&request_id) {
                response.headers_mut().insert("x-amzn-requestid", id);
            }
            response
        }
        calls::Reply::Silence => std::future::pending().await,
    }
}

fn runtime_answer(reply: runtime_api::Reply) -> Response<Full<Bytes>> {
    let work = match reply {
        runtime_api::Reply::Json(status, value) => return json_answer(status, &value),
        runtime_api::Reply::Work(work) => work,
    };
    let mut response = answer(200, "application/json", work.payload);
    let trace =
        format!("Root=1-00000000-{}", work.request_id.replace('-', "").get(8..32).unwrap_or_default());
    let headers = [
        ("lambda-runtime-aws-request-id", work.request_id.clone()),
        ("lambda-runtime-deadline-ms", work.deadline_ms.to_string()),
        ("lambda-runtime-invoked-function-arn", work.arn),
        ("lambda-runtime-trace-id", trace),
    ];
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

fn json_answer(status: u16, value: &Value) -> Response<Full<Bytes>> {
    answer(status, "application/json", value.to_string())
}

fn answer(status: u16, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
