//! The wire as an operator's tools speak it: HTTP, DynamoDB's typed JSON, EC2's XML.
//!
//! Translates and nothing else; an answer that cannot be read ends the test with what was sent.

use std::net::SocketAddr;

use form_urlencoded::Serializer;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use quick_xml::Reader;
use quick_xml::events::Event;
use serde_json::{Map, Value, json};
use tokio::net::TcpStream;

/// Signs as somebody who is no function.
const AUTHORIZATION: &str =
    "AWS4-HMAC-SHA256 Credential=operator/20260101/us-east-1/any/aws4_request, Signature=0";

/// An HTTP answer.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// The form body of an EC2 query.
pub(crate) fn query(action: &str, parameters: &[(&str, &str)]) -> String {
    let mut body = Serializer::new(String::new());
    body.append_pair("Action", action).append_pair("Version", "2016-11-15").extend_pairs(parameters);
    body.finish()
}

/// One POST to the cloud's AWS endpoint; `target` is that of the JSON protocols, none for EC2.
pub(crate) async fn post(address: SocketAddr, target: Option<&str>, body: String) -> Response {
    let asked = body.clone();
    match try_post(address, target, body).await {
        Ok(response) => response,
        Err(error) => panic!("the local cloud does not answer {target:?} {asked}: {error}"),
    }
}

async fn try_post(
    address: SocketAddr,
    target: Option<&str>,
    body: String,
) -> Result<Response, Box<dyn std::error::Error>> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut request = Request::post("/").header("host", "localhost").header("authorization", AUTHORIZATION);
    if let Some(target) = target {
        request = request.header("x-amz-target", target);
    }
    let answer = sender.send_request(request.body(Full::new(Bytes::from(body)))?).await?;
    let status = answer.status().as_u16();
    let body = String::from_utf8(answer.into_body().collect().await?.to_bytes().into())?;
    Ok(Response { status, body })
}

/// Plain JSON as a DynamoDB attribute: numbers become `N`, maps `M`, and so on.
#[must_use]
pub fn to_attribute(value: &Value) -> Value {
    match value {
        Value::Null => json!({"NULL": true}),
        Value::Bool(flag) => json!({"BOOL": flag}),
        Value::Number(number) => json!({"N": number.to_string()}),
        Value::String(text) => json!({"S": text}),
        Value::Array(list) => json!({"L": list.iter().map(to_attribute).collect::<Vec<_>>()}),
        Value::Object(_) => json!({"M": to_attributes(value)}),
    }
}

/// A plain JSON map as an item.
pub(crate) fn to_attributes(item: &Value) -> Value {
    let map = item.as_object().into_iter().flatten();
    Value::Object(map.map(|(name, value)| (name.clone(), to_attribute(value))).collect())
}

/// An item as plain JSON.
#[must_use]
pub fn from_attributes(item: &Value) -> Value {
    let map = item.as_object().into_iter().flatten();
    Value::Object(map.map(|(name, value)| (name.clone(), from_attribute(value))).collect())
}

fn from_attribute(value: &Value) -> Value {
    let Some((kind, content)) = value.as_object().and_then(|map| map.iter().next()) else {
        return Value::Null;
    };
    match kind.as_str() {
        "M" => from_attributes(content),
        "L" => content.as_array().into_iter().flatten().map(from_attribute).collect(),
        "N" => content.as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null),
        "NULL" => Value::Null,
        _ => content.clone(),
    }
}

/// The children of an XML document's root as JSON: elements become members, `item` elements a list, text a string.
pub(crate) fn from_xml(text: &str) -> Value {
    let mut reader = Reader::from_str(text);
    // The innermost element is last; a frame holds its members, its items and its text.
    let mut open: Vec<Frame> = vec![Default::default()];
    loop {
        let event = match reader.read_event() {
            Ok(event) => event,
            Err(error) => panic!("no XML: {error}: {text}"),
        };
        match event {
            Event::Eof => break,
            Event::Start(tag) => {
                open.push((name_of(tag.local_name().as_ref()), Map::new(), Vec::new(), String::new()))
            }
            Event::Empty(tag) => add(&mut open, name_of(tag.local_name().as_ref()), Value::Null),
            Event::Text(part) => push_text(&mut open, &part.xml10_content()),
            Event::GeneralRef(part) => {
                let name = part.xml10_content();
                let resolved = quick_xml::escape::resolve_predefined_entity(&name).unwrap_or_default();
                push_text(&mut open, resolved);
            }
            Event::End(_) => close(&mut open),
            Event::CData(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
    let root = open.pop().map(|frame| frame.1).unwrap_or_default();
    root.into_iter().next().map(|(_, value)| value).unwrap_or(Value::Null)
}

type Frame = (String, Map<String, Value>, Vec<Value>, String);

fn name_of(bytes: impl AsRef<[u8]>) -> String {
    String::from_utf8_lossy(bytes.as_ref()).into_owned()
}

fn push_text(open: &mut [Frame], text: &str) {
    if let Some(frame) = open.last_mut() {
        frame.3.push_str(text);
    }
}

fn close(open: &mut Vec<Frame>) {
    let Some((name, members, items, text)) = open.pop() else { return };
    let value = match (items.is_empty(), members.is_empty()) {
        (false, _) => Value::Array(items),
        (true, false) => Value::Object(members),
        (true, true) if text.trim().is_empty() => Value::Null,
        (true, true) => Value::String(text),
    };
    add(open, name, value);
}

fn add(open: &mut [Frame], name: String, value: Value) {
    let Some(parent) = open.last_mut() else { return };
    if name == "item" {
        parent.2.push(value);
    } else {
        parent.1.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_json_comes_back_from_attributes() {
        let item = json!({"id": "node#a", "n": 3, "f": 1.5, "b": true, "none": null, "l": ["x", {"y": []}], "m": {}});
        assert_eq!(from_attributes(&to_attributes(&item)), item);
        assert_eq!(to_attribute(&json!({"keep": 3})), json!({"M": {"keep": {"N": "3"}}}));
    }

    #[test]
    fn xml_becomes_members_and_lists() {
        let xml = r#"<?xml version="1.0"?><R xmlns="x"><set><item><a>1 &lt; 2</a></item><item><a>3</a></item></set>
            <empty/><also></also><name>n</name></R>"#;
        let expected = json!({"set": [{"a": "1 < 2"}, {"a": "3"}], "empty": null, "also": null, "name": "n"});
        assert_eq!(from_xml(xml), expected);
    }
}
