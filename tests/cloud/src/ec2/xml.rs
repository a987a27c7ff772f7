//! Answers as a small element tree, written out once by quick-xml.

use std::borrow::Cow;
use std::io;

use jiff::Timestamp;
use quick_xml::Writer;
use quick_xml::events::{BytesEnd, BytesStart, BytesText, Event};

use crate::model::Tags;

/// Namespace of the EC2 API version that all current SDKs speak.
const NAMESPACE: &str = "http://ec2.amazonaws.com/doc/2016-11-15/";

/// The children of an element, in order.
#[derive(Debug, Default)]
pub(super) struct Nodes(Vec<Node>);

#[derive(Debug)]
struct Node {
    name: Cow<'static, str>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Text(String),
    Children(Nodes),
}

impl Nodes {
    pub(super) fn new() -> Nodes {
        Nodes::default()
    }

    /// Adds an element with text.
    pub(super) fn text(mut self, name: impl Into<Cow<'static, str>>, value: impl ToString) -> Nodes {
        self.0.push(Node { name: name.into(), content: Content::Text(value.to_string()) });
        self
    }

    /// Adds an element with text, if there is any.
    pub(super) fn maybe(self, name: impl Into<Cow<'static, str>>, value: Option<impl ToString>) -> Nodes {
        match value {
            Some(value) => self.text(name, value),
            None => self,
        }
    }

    /// Adds a time in milliseconds, as EC2 writes them.
    pub(super) fn time(self, name: &'static str, value: Timestamp) -> Nodes {
        self.text(name, time(value))
    }

    /// Adds an element with children.
    pub(super) fn node(mut self, name: impl Into<Cow<'static, str>>, children: Nodes) -> Nodes {
        self.0.push(Node { name: name.into(), content: Content::Children(children) });
        self
    }

    /// Adds a list: one `item` for each.
    pub(super) fn list<T>(
        self,
        name: impl Into<Cow<'static, str>>,
        items: impl IntoIterator<Item = T>,
        mut item: impl FnMut(T) -> Nodes,
    ) -> Nodes {
        let children = items.into_iter().fold(Nodes::new(), |list, it| list.node("item", item(it)));
        self.node(name, children)
    }

    /// Adds a list of texts.
    pub(super) fn texts<T: ToString>(
        self,
        name: impl Into<Cow<'static, str>>,
        items: impl IntoIterator<Item = T>,
    ) -> Nodes {
        let children = items.into_iter().fold(Nodes::new(), |list, it| list.text("item", it));
        self.node(name, children)
    }

    /// Adds a tag set.
    pub(super) fn tags(self, tags: &Tags) -> Nodes {
        self.list("tagSet", tags, |(key, value)| Nodes::new().text("key", key).text("value", value))
    }

    /// Adds other children behind these.
    pub(super) fn with(mut self, other: Nodes) -> Nodes {
        self.0.extend(other.0);
        self
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn write(&self, writer: &mut Writer<Vec<u8>>) -> io::Result<()> {
        for Node { name, content } in &self.0 {
            writer.write_event(Event::Start(BytesStart::new(name.as_ref())))?;
            match content {
                Content::Text(text) => writer.write_event(Event::Text(BytesText::new(text)))?,
                Content::Children(children) => children.write(writer)?,
            }
            writer.write_event(Event::End(BytesEnd::new(name.as_ref())))?;
        }
        Ok(())
    }
}

/// A time as EC2 writes it: UTC with milliseconds.
pub(super) fn time(value: Timestamp) -> String {
    value.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// A whole document: `<name xmlns=…>children</name>`.
pub(super) fn document(name: &str, namespaced: bool, children: &Nodes) -> String {
    let render = || -> io::Result<Vec<u8>> {
        let mut writer = Writer::new(Vec::new());
        let mut root = BytesStart::new(name);
        if namespaced {
            root.push_attribute(("xmlns", NAMESPACE));
        }
        writer.write_event(Event::Start(root))?;
        children.write(&mut writer)?;
        writer.write_event(Event::End(BytesEnd::new(name)))?;
        Ok(writer.into_inner())
    };
    // Writing into memory does not fail; an empty answer would be the caller's parse error.
    let body = render().unwrap_or_default();
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}", String::from_utf8_lossy(&body))
}
