//! How the demonstration reaches the local cloud: the AWS wire as an operator would use it, and the controls.
//!
//! Decides nothing about the story. What only AWS callers may see goes over HTTP; what only the local cloud offers
//! (the guest's writes, the interruption, the logs of calls) goes through its controls. Never writes to the state table.

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jiff::Timestamp;
use perennial_cloud::{Server, model};
use perennial_core::config::STATUS;
use perennial_core::group::GroupRecord;
use perennial_core::journal::Entry;
use perennial_core::names::TAG_DEPLOYMENT;
use perennial_core::record::{Record, Stored};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Map, Value, json};

use crate::ec2;

/// The deployment the template is started with; every resource of it carries this word as a tag.
pub(crate) const DEPLOYMENT: &str = "perennial";
/// The API version that every EC2 client sends.
const EC2_VERSION: &str = "2016-11-15";

/// Why the cloud could not be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AccessError {
    /// The request did not get through.
    #[error("{call}: the local cloud does not answer: {why}")]
    Unreachable {
        /// The operation.
        call: String,
        /// What went wrong.
        why: String,
    },
    /// It was refused.
    #[error("{call} was refused with status {status}: {body}")]
    Refused {
        /// The operation.
        call: String,
        /// HTTP status.
        status: u16,
        /// What the cloud said.
        body: String,
    },
    /// The answer is not what it should be.
    #[error("{call}: the answer cannot be read: {why}")]
    Unreadable {
        /// The operation.
        call: String,
        /// The place and what is wrong there.
        why: String,
    },
}

/// The result of asking the cloud.
pub(crate) type Reply<T> = Result<T, AccessError>;

/// A local cloud and a client for it.
pub(crate) struct Access {
    server: Server,
    client: Client<HttpConnector, Full<Bytes>>,
    config_table: String,
    state_table: String,
}

/// What is on a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) struct Contents {
    /// How many times a guest wrote, over the whole descent.
    pub(crate) writes: u64,
    /// Volumes and snapshots it came from, oldest first.
    pub(crate) lineage: Vec<String>,
}

/// Everything tagged for the deployment at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resources {
    pub(crate) instances: Vec<ec2::Instance>,
    pub(crate) volumes: Vec<ec2::Volume>,
    pub(crate) snapshots: Vec<ec2::Snapshot>,
    pub(crate) images: Vec<ec2::Image>,
    pub(crate) interfaces: Vec<ec2::Interface>,
}

impl Access {
    /// A client for this cloud, whose tables are named as the template of the project names them.
    pub(crate) fn new(server: Server) -> Access {
        Access {
            server,
            client: Client::builder(TokioExecutor::new()).build_http(),
            config_table: format!("{DEPLOYMENT}-config"),
            state_table: format!("{DEPLOYMENT}-state"),
        }
    }

    /// The network, image and launch template made with the cloud.
    pub(crate) fn defaults(&self) -> &model::Defaults {
        self.server.defaults()
    }

    /// Stops the functions and the cloud.
    pub(crate) async fn stop(self) {
        self.server.stop().await;
    }

    /// A control request; the error is the refusal's sentence.
    pub(crate) fn control(&self, method: &str, path: &str, body: &Value) -> Reply<Value> {
        let (status, answer) = self.server.control(method, path, body);
        if status == 200 {
            return Ok(answer);
        }
        let body = answer["error"].as_str().unwrap_or_default().to_owned();
        Err(AccessError::Refused { call: format!("{method} {path}"), status, body })
    }

    /// Cloud time.
    pub(crate) fn now(&self) -> Reply<Timestamp> {
        let clock = self.control("GET", "clock", &Value::Null)?;
        clock["now"].as_str().and_then(|now| now.parse().ok()).ok_or_else(|| AccessError::Unreadable {
            call: "GET clock".to_owned(),
            why: format!("'now' is no time: {clock}"),
        })
    }

    /// What is on a volume, also for one that is detached.
    pub(crate) fn contents(&self, volume: &str) -> Reply<Contents> {
        let call = format!("GET volumes/{volume}");
        let answer = self.control("GET", &format!("volumes/{volume}"), &Value::Null)?;
        serde_json::from_value(answer).map_err(|e| AccessError::Unreadable { call, why: e.to_string() })
    }

    /// Whether every function has asked for work.
    pub(crate) fn functions_ready(&self) -> Reply<bool> {
        let answer = self.control("GET", "functions", &Value::Null)?;
        let ready = |function: &Value| function["ready"] == true;
        Ok(answer["functions"].as_object().is_some_and(|all| all.values().all(ready)))
    }

    /// Why functions do not start, a sentence for each that does not.
    pub(crate) fn start_errors(&self) -> Vec<String> {
        let answer = self.control("GET", "functions", &Value::Null).unwrap_or(Value::Null);
        let functions = answer["functions"].as_object().into_iter().flatten();
        functions
            .filter_map(|(name, it)| {
                Some(format!("{name} does not start: {}", it["startError"].as_str()?.lines().next()?))
            })
            .collect()
    }

    /// Puts an item, in DynamoDB's own JSON, into the config table.
    pub(crate) async fn put_config(&self, item: &Value) -> Reply<()> {
        let body = json!({"TableName": self.config_table, "Item": item});
        self.dynamodb("PutItem", &body).await.map(drop)
    }

    /// Deletes an item of the config table.
    pub(crate) async fn delete_config(&self, id: &str) -> Reply<()> {
        let body = json!({"TableName": self.config_table, "Key": {"id": {"S": id}}});
        self.dynamodb("DeleteItem", &body).await.map(drop)
    }

    /// Executes a PartiQL statement, as `aws dynamodb execute-statement` does; answers the items that it read.
    pub(crate) async fn statement(&self, statement: &str) -> Reply<Vec<Value>> {
        let answer = self.dynamodb("ExecuteStatement", &json!({"Statement": statement})).await?;
        let items = answer["Items"].as_array().cloned().unwrap_or_default();
        Ok(items.iter().map(|item| plain(&json!({"M": item}))).collect())
    }

    /// The verdict on a config item, once there is one.
    pub(crate) async fn config_status(&self, id: &str) -> Reply<Option<Value>> {
        let item = self.config_item(id).await?;
        Ok(item.and_then(|mut item| item.remove(STATUS)))
    }

    /// A config item, if there is one.
    pub(crate) async fn config_item(&self, id: &str) -> Reply<Option<Map<String, Value>>> {
        let body = json!({"TableName": self.config_table, "Key": {"id": {"S": id}}, "ConsistentRead": true});
        let answer = self.dynamodb("GetItem", &body).await?;
        Ok(answer["Item"].as_object().map(plain_map))
    }

    /// The record of a node, once there is one.
    pub(crate) async fn record(&self, node: &str) -> Reply<Option<Record>> {
        let Some(mut item) = self.state(node).await? else { return Ok(None) };
        // In the table this attribute orders the work index and may lie beyond every time; it is not the record's own.
        item.remove("workAt");
        let unreadable = |why| AccessError::Unreadable { call: format!("the record of {node}"), why };
        match Stored::read(&Value::Object(item)).map_err(unreadable)? {
            Stored::Known(record) => Ok(Some(*record)),
            Stored::Newer { schema_version } => {
                Err(unreadable(format!("schema {schema_version} is newer than this program; build it again")))
            }
        }
    }

    /// The record of a group, once there is one.
    pub(crate) async fn group(&self, group: &str) -> Reply<Option<GroupRecord>> {
        let Some(item) = self.state(group).await? else { return Ok(None) };
        let unreadable = |e: serde_json::Error| AccessError::Unreadable {
            call: format!("the record of {group}"),
            why: e.to_string(),
        };
        GroupRecord::deserialize(Value::Object(item)).map(Some).map_err(unreadable)
    }

    async fn state(&self, key: &str) -> Reply<Option<Map<String, Value>>> {
        let key = json!({"pk": {"S": key}, "sk": {"S": "record"}});
        let body = json!({"TableName": self.state_table, "Key": key, "ConsistentRead": true});
        let answer = self.dynamodb("GetItem", &body).await?;
        Ok(answer["Item"].as_object().map(plain_map))
    }

    /// The journal of a node, oldest entry first.
    pub(crate) async fn journal(&self, node: &str) -> Reply<Vec<Entry>> {
        let body = json!({
            "TableName": self.state_table,
            "KeyConditionExpression": "pk = :node AND begins_with(sk, :event)",
            "ExpressionAttributeValues": {":node": {"S": node}, ":event": {"S": "event#"}},
            "ConsistentRead": true,
        });
        let answer = self.dynamodb("Query", &body).await?;
        let items = answer["Items"].as_array().map(Vec::as_slice).unwrap_or_default();
        items
            .iter()
            .map(|item| {
                Entry::deserialize(plain_map(item.as_object().unwrap_or(&Map::new())))
                    .map_err(|e| AccessError::Unreadable { call: "Query".to_owned(), why: e.to_string() })
            })
            .collect()
    }

    /// Everything tagged for the deployment.
    pub(crate) async fn resources(&self) -> Reply<Resources> {
        let instances: ec2::DescribeInstances = self.describe("DescribeInstances", false).await?;
        let volumes: ec2::DescribeVolumes = self.describe("DescribeVolumes", false).await?;
        let snapshots: ec2::DescribeSnapshots = self.describe("DescribeSnapshots", true).await?;
        let images: ec2::DescribeImages = self.describe("DescribeImages", true).await?;
        let interfaces: ec2::DescribeInterfaces = self.describe("DescribeNetworkInterfaces", false).await?;
        let mut snapshots = snapshots.set.item;
        snapshots.sort_by_key(|snapshot| snapshot.start_time);
        Ok(Resources {
            instances: instances.set.item.into_iter().flat_map(|reservation| reservation.set.item).collect(),
            volumes: volumes.set.item,
            snapshots,
            images: images.set.item,
            interfaces: interfaces.set.item,
        })
    }

    /// Every network interface of the account, whoever made it.
    pub(crate) async fn interfaces(&self) -> Reply<Vec<ec2::Interface>> {
        let all: ec2::DescribeInterfaces = self.ec2("DescribeNetworkInterfaces", &[]).await?;
        Ok(all.set.item)
    }

    /// Every Elastic IP address of the account: an operator's, so that none is tagged for the deployment.
    pub(crate) async fn elastic_ips(&self) -> Reply<Vec<ec2::ElasticIp>> {
        let all: ec2::DescribeAddresses = self.ec2("DescribeAddresses", &[]).await?;
        Ok(all.set.item)
    }

    /// Allocates an Elastic IP address, as an operator does.
    pub(crate) async fn allocate_address(&self) -> Reply<ec2::ElasticIp> {
        self.ec2("AllocateAddress", &[("Domain", "vpc")]).await
    }

    /// Makes a launch template as the one made with the cloud, with one more volume, as an operator does.
    pub(crate) async fn create_template(&self, name: &str, device: &str, size_gib: &str) -> Reply<()> {
        let defaults = self.defaults();
        let parameters = [
            ("LaunchTemplateName", name),
            ("LaunchTemplateData.ImageId", &defaults.image_id),
            ("LaunchTemplateData.SecurityGroupId.1", &defaults.security_group_id),
            ("LaunchTemplateData.BlockDeviceMapping.1.DeviceName", device),
            ("LaunchTemplateData.BlockDeviceMapping.1.Ebs.VolumeSize", size_gib),
            ("LaunchTemplateData.BlockDeviceMapping.1.Ebs.VolumeType", "gp3"),
        ];
        self.ec2::<IgnoredAny>("CreateLaunchTemplate", &parameters).await.map(drop)
    }

    /// Makes an empty volume, as an operator does, and answers its id.
    pub(crate) async fn create_volume(&self, zone: &str, size_gib: &str) -> Reply<String> {
        let volume: ec2::Volume =
            self.ec2("CreateVolume", &[("AvailabilityZone", zone), ("Size", size_gib)]).await?;
        Ok(volume.volume_id)
    }

    /// Attaches a volume to an instance, as an operator does; whether EC2 took it, which it does not while the
    /// volume is still being made.
    pub(crate) async fn attach_volume(&self, volume: &str, instance: &str, device: &str) -> Reply<bool> {
        let parameters = [("VolumeId", volume), ("InstanceId", instance), ("Device", device)];
        match self.ec2::<IgnoredAny>("AttachVolume", &parameters).await {
            Ok(_) => Ok(true),
            Err(AccessError::Refused { body, .. }) if body.contains("IncorrectState") => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn describe<T: DeserializeOwned>(&self, action: &str, owned: bool) -> Reply<T> {
        let tag = format!("tag:{TAG_DEPLOYMENT}");
        let filter = [("Filter.1.Name", tag.as_str()), ("Filter.1.Value.1", DEPLOYMENT), ("Owner.1", "self")];
        self.ec2(action, if owned { &filter } else { &filter[..2] }).await
    }

    async fn ec2<T: DeserializeOwned>(&self, action: &str, parameters: &[(&str, &str)]) -> Reply<T> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("Action", action).append_pair("Version", EC2_VERSION);
        form.extend_pairs(parameters);
        let body = self.post(action, None, form.finish()).await?;
        quick_xml::de::from_str(&body)
            .map_err(|e| AccessError::Unreadable { call: action.to_owned(), why: e.to_string() })
    }

    async fn dynamodb(&self, operation: &str, body: &Value) -> Reply<Value> {
        let target = format!("DynamoDB_20120810.{operation}");
        let answer = self.post(operation, Some(&target), body.to_string()).await?;
        serde_json::from_str(&answer)
            .map_err(|e| AccessError::Unreadable { call: operation.to_owned(), why: e.to_string() })
    }

    async fn post(&self, call: &str, target: Option<&str>, body: String) -> Reply<String> {
        let unreachable = |why: &dyn std::error::Error| AccessError::Unreachable {
            call: call.to_owned(),
            why: why.to_string(),
        };
        let request = hyper::Request::post(format!("{}/", self.server.url()));
        let request = match target {
            Some(target) => {
                request.header("x-amz-target", target).header("content-type", "application/x-amz-json-1.0")
            }
            None => request.header("content-type", "application/x-www-form-urlencoded"),
        };
        let request = request.body(Full::new(Bytes::from(body))).map_err(|e| unreachable(&e))?;
        let answer = self.client.request(request).await.map_err(|e| unreachable(&e))?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.map_err(|e| unreachable(&e))?.to_bytes();
        let body = String::from_utf8_lossy(&body).into_owned();
        if status == 200 {
            Ok(body)
        } else {
            Err(AccessError::Refused { call: call.to_owned(), status, body })
        }
    }
}

/// What Perennial tells in a config item.
pub(crate) fn notices(item: &Map<String, Value>) -> Vec<String> {
    let status = item.get(STATUS).and_then(|status| status.get("notices")?.as_array());
    status.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// An attribute of DynamoDB's JSON as ordinary JSON; sets and binaries, which no item here has, become null.
pub(crate) fn plain(attribute: &Value) -> Value {
    let Some((kind, value)) = attribute.as_object().and_then(|map| map.iter().next()) else {
        return Value::Null;
    };
    match (kind.as_str(), value) {
        ("S" | "BOOL", value) => value.clone(),
        ("N", Value::String(number)) => serde_json::from_str(number).unwrap_or(Value::Null),
        ("L", Value::Array(list)) => list.iter().map(plain).collect(),
        ("M", Value::Object(map)) => Value::Object(plain_map(map)),
        _ => Value::Null,
    }
}

fn plain_map(map: &Map<String, Value>) -> Map<String, Value> {
    map.iter().map(|(name, value)| (name.clone(), plain(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_becomes_ordinary_json_at_every_depth() {
        let item = json!({"M": {
            "text": {"S": "a"}, "number": {"N": "12"}, "price": {"N": "0.5"}, "yes": {"BOOL": true},
            "nothing": {"NULL": true}, "list": {"L": [{"M": {"kind": {"S": "volume"}}}]},
        }});
        let wanted = json!({"text": "a", "number": 12, "price": 0.5, "yes": true, "nothing": null,
                            "list": [{"kind": "volume"}]});
        assert_eq!(plain(&item), wanted);
    }
}
