//! A Lambda Runtime API of the test's own, for one process that is given exactly these events.
//!
//! The event buses of a cloud only carry what AWS would send; what a function makes of anything else is seen here.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use crate::binary;

/// How long an invocation may take, in real time.
const DEADLINE: Duration = Duration::from_secs(60);

/// What a function said of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is done with the event.
    Done,
    /// It failed, and Lambda would repeat the event; what it said.
    Failed(String),
    /// It could not start; what it said.
    NotStarted(String),
}

/// A Runtime API that hands out prepared events.
pub struct Runtime {
    address: SocketAddr,
    answers: UnboundedReceiver<Answer>,
    _tasks: JoinSet<()>,
}

impl Runtime {
    /// Serves these events, one after the other.
    ///
    /// # Panics
    /// If no port is free.
    pub async fn serve(events: Vec<Value>) -> Runtime {
        let listener = match TcpListener::bind("127.0.0.1:0").await {
            Ok(listener) => listener,
            Err(error) => panic!("no port for a Runtime API: {error}"),
        };
        let Ok(address) = listener.local_addr() else { panic!("a Runtime API without an address") };
        let (said, answers) = unbounded_channel();
        let queue = Arc::new(Mutex::new(VecDeque::from(events)));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, queue, said));
        Runtime { address, answers, _tasks: tasks }
    }

    /// The process of a function with this environment and nothing else; it ends when dropped.
    #[must_use]
    pub fn command(&self, folder: &str, environment: &[(&str, &str)]) -> Command {
        let mut command = Command::new(binary(folder));
        command
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", self.address.to_string())
            .env("AWS_LAMBDA_FUNCTION_NAME", folder)
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_ACCESS_KEY_ID", "operator")
            .env("AWS_SECRET_ACCESS_KEY", "local")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// The next answer; none comes after the last event's.
    pub async fn answer(&mut self) -> Option<Answer> {
        self.answers.recv().await
    }
}

type Queue = Arc<Mutex<VecDeque<Value>>>;

async fn accept(listener: TcpListener, queue: Queue, said: UnboundedSender<Answer>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (queue, said) = (Arc::clone(&queue), said.clone());
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let (queue, said) = (Arc::clone(&queue), said.clone());
                async move { Ok::<_, Infallible>(serve(request, &queue, &said).await) }
            });
            let connection =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // A broken connection is the function's affair.
            drop(connection.await);
        });
    }
}

async fn serve(
    request: Request<Incoming>,
    queue: &Queue,
    said: &UnboundedSender<Answer>,
) -> Response<Full<Bytes>> {
    let path = request.uri().path().to_owned();
    if path.ends_with("/invocation/next") {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        return match next {
            Some(event) => work(&event),
            None => std::future::pending().await,
        };
    }
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let text = String::from_utf8_lossy(&body).into_owned();
    let answer = match path.as_str() {
        path if path.ends_with("/init/error") => Answer::NotStarted(text),
        path if path.ends_with("/response") => Answer::Done,
        _ => Answer::Failed(text),
    };
    // Nobody listens once the test has seen enough.
    drop(said.send(answer));
    let mut response = Response::new(Full::new(Bytes::from_static(b"{}")));
    *response.status_mut() = hyper::StatusCode::ACCEPTED;
    response
}

fn work(event: &Value) -> Response<Full<Bytes>> {
    let deadline = (SystemTime::now() + DEADLINE).duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let mut response = Response::new(Full::new(Bytes::from(event.to_string())));
    let headers = response.headers_mut();
    headers.insert("lambda-runtime-aws-request-id", hyper::header::HeaderValue::from_static("r-1"));
    headers.insert(
        "lambda-runtime-invoked-function-arn",
        hyper::header::HeaderValue::from_static("arn:aws:lambda:us-east-1:123456789012:function:f"),
    );
    if let Ok(deadline) = deadline.to_string().parse() {
        headers.insert("lambda-runtime-deadline-ms", deadline);
    }
    response
}
