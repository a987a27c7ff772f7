//! Function processes are started with Lambda's environment, restarted when they end, and reported when they cannot
//! start. The functions here are shell scripts that speak the Runtime API.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use perennial_cloud::{FunctionOutput, Functions, Options, Server, StartError};
use serde_json::{Value, json};

use crate::support::{own_template, start_with};

/// Writes its environment beside itself at each event, and answers; ends in the middle of one when told by a file.
const SCRIPT: &str = r#"#!/bin/bash
api=${AWS_LAMBDA_RUNTIME_API#http://}; host=${api%%:*}; rest=${api#*:}; port=${rest%%/*}; base=/${rest#*/}
while true; do
  exec 3<>/dev/tcp/$host/$port || exit 1
  printf 'GET %s/2018-06-01/runtime/invocation/next HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n' "$base" >&3
  id=
  while IFS= read -r line <&3; do
    line=${line%$'\r'}
    [ -z "$line" ] && break
    case $line in lambda-runtime-aws-request-id:*) id=${line#*: };; esac
  done
  [ -z "$id" ] && exit 1
  cat <&3 >/dev/null
  [ -e "$0.die" ] && { rm "$0.die"; echo "last words" >&2; exit 7; }
  env > "$0.env"
  exec 3<>/dev/tcp/$host/$port || exit 1
  printf 'POST %s/2018-06-01/runtime/invocation/%s/response HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}' "$base" "$id" >&3
  cat <&3 >/dev/null
done
"#;

fn install(folder: &Path, function: &str, script: &str) {
    let path = folder.join(format!("perennial-{function}"));
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn binaries(script: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for function in ["ticking", "listening", "reading"] {
        install(folder.path(), function, script);
    }
    folder
}

/// Lets the cloud run until what it holds satisfies `done`.
async fn until<T>(mut done: impl FnMut() -> Option<T>) -> T {
    loop {
        if let Some(result) = done() {
            return result;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_is_woken_with_the_environment_of_the_template_and_of_lambda() {
    let folder = binaries(SCRIPT);
    let cloud = start_with(|options| {
        options.speed = 20.0;
        options.functions = Functions::Directory(folder.path().to_owned());
        options.output = FunctionOutput::Discard;
    })
    .await;
    cloud.publish("Something Happened", json!({})).await;
    until(|| (cloud.outcomes("listening") == ["ok"]).then_some(())).await;
    until(|| cloud.outcomes("ticking").contains(&json!("ok")).then_some(())).await;
    let environment = std::fs::read_to_string(folder.path().join("perennial-ticking.env")).unwrap();
    for expected in [
        "TABLE=things",
        "AWS_LAMBDA_FUNCTION_NAME=Ticking",
        "AWS_ACCESS_KEY_ID=PERENNIALTICKING",
        "PERENNIAL_CLOCK=event",
        "PERENNIAL_TIME_FACTOR=20",
        "AWS_REGION=us-east-1",
        &format!("AWS_ENDPOINT_URL={}", cloud.server.url()),
    ] {
        assert!(environment.lines().any(|line| line == expected), "{expected} is missing:\n{environment}");
    }
    assert!(!environment.contains("CARGO_"), "the operator's environment stays outside");
    cloud.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_ends_in_the_middle_is_started_again_and_the_event_tried_again() {
    let folder = binaries(SCRIPT);
    std::fs::write(folder.path().join("perennial-listening.die"), "").unwrap();
    let cloud = start_with(|options| {
        options.speed = 500.0;
        options.functions = Functions::Directory(folder.path().to_owned());
    })
    .await;
    cloud.publish("Something Happened", json!({})).await;
    until(|| (cloud.outcomes("listening") == ["error", "ok"]).then_some(())).await;
    let functions = cloud.control("GET", "functions", &Value::Null);
    assert_eq!(functions["functions"]["listening"]["starts"], 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_cannot_start_says_why_in_its_own_words() {
    let folder = binaries(SCRIPT);
    install(folder.path(), "reading", "#!/bin/bash\necho 'PERENNIAL_THING is not set' >&2\nexit 3\n");
    let cloud = start_with(|options| {
        options.functions = Functions::Directory(folder.path().to_owned());
    })
    .await;
    let reason = until(|| {
        let functions = cloud.control("GET", "functions", &Value::Null);
        functions["functions"]["reading"]["startError"].as_str().map(str::to_owned)
    })
    .await;
    assert!(reason.contains("exit status: 3") && reason.contains("PERENNIAL_THING is not set"), "{reason}");
}

async fn refused(adjust: impl FnOnce(&mut Options)) -> String {
    let mut options = Options::new(own_template());
    adjust(&mut options);
    match Server::start(options).await {
        Ok(_) => panic!("it started"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn what_keeps_a_cloud_from_starting_is_named_with_place_value_and_remedy() {
    let problem = refused(|options| options.speed = 0.5).await;
    assert!(problem.contains("--speed 0.5") && problem.contains("at least 1"), "{problem}");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let problem = refused(|options| options.listen = address).await;
    assert!(problem.contains(&address.to_string()) && problem.contains("another port"), "{problem}");

    let problem = refused(|options| options.listen = "0.0.0.0:0".parse().unwrap()).await;
    assert!(problem.contains("0.0.0.0:0") && problem.contains("loopback"), "{problem}");

    let problem = refused(|options| options.template = "no-such.yaml".into()).await;
    assert!(problem.contains("no-such.yaml") && problem.contains("--template"), "{problem}");

    let empty = tempfile::tempdir().unwrap();
    let directory = empty.path().to_owned();
    let mut options = Options::new(own_template());
    options.functions = Functions::Directory(directory.clone());
    let Err(error) = Server::start(options).await else { panic!("it started") };
    assert!(matches!(error, StartError::Function { .. }));
    let problem = error.to_string();
    assert!(
        problem.contains(&directory.display().to_string()) && problem.contains("build it first"),
        "{problem}"
    );
}

#[tokio::test]
async fn the_projects_template_makes_its_tables_and_bus() {
    let cloud = Server::start(Options::new(own_template())).await.unwrap();
    assert_eq!(cloud.tables(), ["perennial-config", "perennial-state"]);
    assert_eq!(cloud.buses(), ["perennial"]);
    assert_eq!(cloud.functions().len(), 7);
    assert_eq!(cloud.defaults().subnet_ids.len(), 2);
    cloud.stop().await;
}
