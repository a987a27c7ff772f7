//! One AWS call from wire to answer: who calls, which service, which fault, what is logged.
//!
//! Decides whether a call is executed and whether its caller hears of it. What a call does is decided by the model,
//! the DynamoDB engine and `eventbridge`.

use serde_json::{Value, json};

use crate::dynamodb;
use crate::ec2;
use crate::eventbridge;
use crate::faults::{FaultError, Service, When};
use crate::iam::{self, Denial};
use crate::journal::Call;
use crate::model::ApiError;
use crate::world::State;

/// Begins the access key id of every function; the folder in capitals follows.
pub(crate) const KEY_PREFIX: &str = "PERENNIAL";

/// A call as it came in.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) service: Service,
    pub(crate) operation: String,
    pub(crate) body: String,
    /// The access key id that signed it.
    pub(crate) key: Option<String>,
}

/// What the caller gets.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    Answer {
        status: u16,
        content_type: &'static str,
        body: String,
        request_id: String,
    },
    /// Nothing: the connection stays open until the caller gives up.
    Silence,
}

/// What a call led to, before faults are applied to the answer.
struct Executed {
    status: u16,
    body: String,
    error: Option<String>,
}

impl Request {
    /// Tells the services apart: by the target header, else it is an EC2 query.
    ///
    /// # Errors
    /// The target, when it belongs to no service here.
    pub(crate) fn new(target: Option<&str>, body: String, key: Option<String>) -> Result<Request, String> {
        let (service, operation) = match target.map(|target| (target, target.split_once('.'))) {
            None => {
                let action = form_urlencoded::parse(body.as_bytes()).find(|(name, _)| name == "Action");
                (Service::Ec2, action.map(|(_, action)| action.into_owned()).unwrap_or_default())
            }
            Some((_, Some(("DynamoDB_20120810" | "DynamoDBStreams_20120810", operation)))) => {
                (Service::Dynamodb, operation.to_owned())
            }
            Some((_, Some(("AWSEvents", operation)))) => (Service::Events, operation.to_owned()),
            Some((target, _)) => return Err(target.to_owned()),
        };
        Ok(Request { service, operation, body, key })
    }

    fn content_type(&self) -> &'static str {
        match self.service {
            Service::Ec2 => "text/xml;charset=UTF-8",
            Service::Dynamodb => "application/x-amz-json-1.0",
            Service::Events => "application/x-amz-json-1.1",
        }
    }
}

/// The access key id of an `Authorization` header of AWS Signature Version 4.
pub(crate) fn access_key(authorization: &str) -> Option<String> {
    let (_, credential) = authorization.split_once("Credential=")?;
    credential.split('/').next().map(str::to_owned)
}

impl State {
    /// Executes a call, or does with it what a fault says, and logs it.
    pub(crate) fn call(&mut self, request: &Request) -> Reply {
        let function = self.caller(request.key.as_deref());
        let fault = self.faults.of_call(request.service, &request.operation, function.as_deref());
        let request_id = self.new_id();
        let before = fault.as_ref().is_some_and(|fault| fault.when == When::Before);
        let executed = (!before).then(|| match self.judge(function.as_deref(), request) {
            Ok(()) => self.execute(request, &request_id),
            Err(denial) => denied(request.service, &denial, &request_id),
        });
        let mut reply = match &fault {
            None => executed,
            Some(fault) => match fault.when {
                When::Before | When::After => {
                    fault.error.as_ref().map(|error| faulty(request.service, error, &request_id))
                }
                When::Timeout => None,
            },
        };
        // A kill in the middle of an invocation: after the effect, before the answer.
        let armed =
            function.as_ref().filter(|name| self.hosts.get(*name).is_some_and(|host| host.kill_armed));
        if let Some(function) = armed
            && self.kill_now(function)
        {
            reply = None;
        }
        self.calls.add(Call {
            time: self.now,
            function,
            service: request.service.name(),
            operation: request.operation.clone(),
            parameters: parameters(request),
            status: reply.as_ref().map_or(0, |reply| reply.status),
            error: match &reply {
                Some(reply) => reply.error.clone(),
                None => Some("no answer".to_owned()),
            },
        });
        match reply {
            Some(reply) => Reply::Answer {
                status: reply.status,
                content_type: request.content_type(),
                body: reply.body,
                request_id,
            },
            None => Reply::Silence,
        }
    }

    /// Whether the policies of the template let the caller do so; the operator may do everything.
    fn judge(&mut self, function: Option<&str>, request: &Request) -> Result<(), Box<Denial>> {
        let Some(function) = function else { return Ok(()) };
        let Request { operation, body, .. } = request;
        let asks = match request.service {
            Service::Ec2 => iam::asks_of_ec2(&self.cloud, operation, body),
            Service::Dynamodb => iam::asks_of_dynamodb(&self.identity, &self.partition_keys, operation, body),
            Service::Events => iam::asks_of_events(&self.identity, operation, body),
        };
        self.rights.judge(function, &asks)
    }

    fn execute(&mut self, request: &Request, request_id: &str) -> Executed {
        match request.service {
            Service::Ec2 => {
                let answer = ec2::handle(&mut self.cloud, &request.body, request_id);
                Executed { status: answer.status, body: answer.body, error: answer.error_code }
            }
            Service::Dynamodb => {
                let answer = self.tables.call(&request.operation, &request.body);
                if answer.status == 200 && dynamodb::writes(&request.operation) {
                    self.read_streams(|table| request.body.contains(table));
                }
                answer.into()
            }
            Service::Events => eventbridge::call(self, &request.operation, &request.body).into(),
        }
    }

    /// The folder of the function that a key belongs to.
    fn caller(&self, key: Option<&str>) -> Option<String> {
        let folder = key?.strip_prefix(KEY_PREFIX)?.to_ascii_lowercase();
        self.hosts.contains_key(&folder).then_some(folder)
    }
}

impl From<dynamodb::Answer> for Executed {
    fn from(answer: dynamodb::Answer) -> Executed {
        Executed { status: answer.status, body: answer.body, error: answer.error }
    }
}

/// The answer of a fault, in the words of the service.
fn faulty(service: Service, error: &FaultError, request_id: &str) -> Executed {
    match service {
        Service::Ec2 => {
            let error = ApiError::with_status(error.code.clone(), error.message.clone(), error.status);
            let answer = ec2::refusal(String::new(), &error, request_id);
            Executed { status: answer.status, body: answer.body, error: answer.error_code }
        }
        Service::Dynamodb | Service::Events => Executed {
            status: error.status,
            body: json!({"__type": error.code, "message": error.message}).to_string(),
            error: Some(error.code.clone()),
        },
    }
}

/// The refusal of a call that no policy allows, in the words of the service. That of EC2 carries the whole judgement in
/// code, longer than anything that anybody should keep.
fn denied(service: Service, denial: &Denial, request_id: &str) -> Executed {
    let (code, status, message) = match service {
        Service::Ec2 => {
            let encoded = "A".repeat(1_500);
            let said = denial.message();
            let message = format!(
                "You are not authorized to perform this operation. {said}. Encoded authorization failure message: {encoded}"
            );
            ("UnauthorizedOperation", 403, message)
        }
        Service::Dynamodb | Service::Events => ("AccessDeniedException", 400, denial.message()),
    };
    faulty(service, &FaultError { code: code.to_owned(), status, message }, request_id)
}

fn parameters(request: &Request) -> Value {
    match request.service {
        Service::Ec2 => ec2::parameters(&request.body),
        Service::Dynamodb | Service::Events => serde_json::from_str(&request.body).unwrap_or(Value::Null),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caller_is_in_the_credential() {
        let header = "AWS4-HMAC-SHA256 Credential=PERENNIALRECONCILE/20260101/us-east-1/ec2/aws4_request, \
                      SignedHeaders=host, Signature=0";
        assert_eq!(access_key(header).as_deref(), Some("PERENNIALRECONCILE"));
        assert_eq!(access_key("Basic abc"), None);
    }

    #[test]
    fn services_are_told_apart_by_their_target() {
        let request = |target: Option<&str>| Request::new(target, "Action=DescribeVpcs".to_owned(), None);
        assert_eq!(request(None).unwrap().operation, "DescribeVpcs");
        assert_eq!(request(Some("DynamoDB_20120810.PutItem")).unwrap().service, Service::Dynamodb);
        assert_eq!(request(Some("AWSEvents.PutEvents")).unwrap().service, Service::Events);
        assert_eq!(request(Some("Kinesis_20131202.PutRecord")).unwrap_err(), "Kinesis_20131202.PutRecord");
    }
}
