//! A cloud of a small template, and a client that speaks its wire as a function or an operator would.

use std::path::PathBuf;

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use perennial_cloud::{Functions, Options, Server};
use serde_json::{Value, json};
use tokio::net::TcpStream;

/// One function woken by instance events of any bus, a schedule and a stream; one that only listens to own events.
pub(crate) const TEMPLATE: &str = r#"
Resources:
  Things:
    Type: AWS::DynamoDB::Table
    Properties:
      TableName: things
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions: [{ AttributeName: id, AttributeType: S }]
      KeySchema: [{ AttributeName: id, KeyType: HASH }]
      StreamSpecification: { StreamViewType: NEW_AND_OLD_IMAGES }
  Bus:
    Type: AWS::Events::EventBus
    Properties: { Name: own }
  Ticking:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/ticking
      Timeout: 60
      Environment: { Variables: { TABLE: !Ref Things } }
      Events:
        Minute: { Type: Schedule, Properties: { Schedule: rate(1 minute) } }
  Listening:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/listening
      Timeout: 60
      Events:
        Own: { Type: EventBridgeRule, Properties: { EventBusName: !Ref Bus, Pattern: { source: [test] } } }
        State:
          Type: EventBridgeRule
          Properties: { Pattern: { source: [aws.ec2], detail: { state: [running] } } }
  Reading:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/reading
      Timeout: 60
      Events:
        Stream:
          Type: DynamoDB
          Properties:
            Stream: !GetAtt Things.StreamArn
            StartingPosition: TRIM_HORIZON
            BatchSize: 10
            MaximumRetryAttempts: 1
            FunctionResponseTypes: [ReportBatchItemFailures]
"#;

/// A served cloud with its template's folder.
pub(crate) struct Running {
    pub(crate) server: Server,
    _folder: tempfile::TempDir,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// An invocation as a runtime receives it.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) id: String,
    pub(crate) event: Value,
    pub(crate) headers: hyper::HeaderMap,
}

/// Starts a cloud whose functions are played by the test, at `speed`.
pub(crate) async fn start(speed: f64) -> Running {
    start_with(|options| {
        options.speed = speed;
        options.functions = Functions::Elsewhere;
    })
    .await
}

/// Starts a cloud of [`TEMPLATE`].
pub(crate) async fn start_with(adjust: impl FnOnce(&mut Options)) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let template = folder.path().join("template.yaml");
    std::fs::write(&template, TEMPLATE).unwrap();
    let mut options = Options::new(template);
    options.rights = std::env::var_os("PERENNIAL_RIGHTS").map(PathBuf::from);
    adjust(&mut options);
    Running { server: Server::start(options).await.unwrap(), _folder: folder }
}

/// The project's own template.
pub(crate) fn own_template() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../infra/template.yaml")
}

impl Running {
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let stream = TcpStream::connect(self.server.address()).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
        let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: String::from_utf8(body.into()).unwrap(),
        }
    }

    /// An AWS JSON call, signed as the function of this folder or as nobody.
    pub(crate) async fn aws(&self, target: &str, function: Option<&str>, body: &Value) -> Answer {
        let authorization = authorization(function);
        let headers = [("x-amz-target", target), ("authorization", authorization.as_str())];
        self.send("POST", "/", &headers, &body.to_string()).await
    }

    pub(crate) async fn put(&self, id: &str, value: i64) -> Answer {
        let body = json!({"TableName": "things", "Item": {"id": {"S": id}, "v": {"N": value.to_string()}}});
        self.aws("DynamoDB_20120810.PutItem", None, &body).await
    }

    pub(crate) async fn get(&self, id: &str) -> Value {
        let body = json!({"TableName": "things", "Key": {"id": {"S": id}}});
        self.aws("DynamoDB_20120810.GetItem", None, &body).await.json()["Item"].clone()
    }

    /// Publishes an event of the test's own.
    pub(crate) async fn publish(&self, detail_type: &str, detail: Value) -> Answer {
        let body = json!({"Entries": [{"Source": "test", "DetailType": detail_type, "EventBusName": "own",
                                       "Detail": detail.to_string()}]});
        self.aws("AWSEvents.PutEvents", None, &body).await
    }

    /// A control request that must succeed.
    pub(crate) fn control(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.server.control(method, path, body);
        assert_eq!(status, 200, "{method} {path} {body}: {answer}");
        answer
    }

    /// Waits for the next invocation of a function.
    pub(crate) async fn next(&self, function: &str) -> Work {
        let path = format!("/_lambda/{function}/2018-06-01/runtime/invocation/next");
        let answer = self.send("GET", &path, &[], "").await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let id = answer.headers["lambda-runtime-aws-request-id"].to_str().unwrap().to_owned();
        Work { id, event: answer.json(), headers: answer.headers }
    }

    /// Ends an invocation well.
    pub(crate) async fn respond(&self, function: &str, work: &Work, answer: &Value) -> Answer {
        self.end(function, work, "response", answer).await
    }

    /// Ends an invocation with an error.
    pub(crate) async fn fail(&self, function: &str, work: &Work) -> Answer {
        self.end(function, work, "error", &json!({"errorType": "Boom", "errorMessage": "it broke"})).await
    }

    async fn end(&self, function: &str, work: &Work, how: &str, body: &Value) -> Answer {
        let path = format!("/_lambda/{function}/2018-06-01/runtime/invocation/{}/{how}", work.id);
        self.send("POST", &path, &[], &body.to_string()).await
    }

    /// Outcomes of the invocations of a function so far, in order.
    pub(crate) fn outcomes(&self, function: &str) -> Vec<Value> {
        let answer = self.control("GET", "invocations", &Value::Null);
        let all = answer["invocations"].as_array().unwrap().iter();
        all.filter(|entry| entry["function"] == function).map(|entry| entry["outcome"].clone()).collect()
    }
}

/// The header that a signed call carries.
pub(crate) fn authorization(function: Option<&str>) -> String {
    let key = function
        .map_or("operator".to_owned(), |function| format!("PERENNIAL{}", function.to_ascii_uppercase()));
    format!("AWS4-HMAC-SHA256 Credential={key}/20260101/us-east-1/dynamodb/aws4_request, Signature=0")
}
