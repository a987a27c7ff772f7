//! Names and ids as types, so that a volume can never be passed where an image is meant.
//!
//! The ids of AWS are opaque: only the prefix is checked, and only where a person typed them.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// What AWS puts before the hexadecimal part.
            pub const PREFIX: &'static str = $prefix;

            /// Takes an id as AWS gave it, unchecked.
            pub fn new(id: impl Into<String>) -> Self {
                Self(id.into())
            }

            /// Takes an id that a person or an event gave; `None` if it cannot be one of this kind.
            pub fn parse(id: &str) -> Option<Self> {
                let rest = id.strip_prefix(Self::PREFIX)?;
                let plausible = !rest.is_empty()
                    && rest.len() <= 64
                    && rest.bytes().all(|b| b.is_ascii_alphanumeric());
                plausible.then(|| Self(id.to_owned()))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// An EC2 instance: `i-…`.
    InstanceId, "i-"
);
id!(
    /// An EBS volume: `vol-…`.
    VolumeId, "vol-"
);
id!(
    /// An EBS snapshot: `snap-…`.
    SnapshotId, "snap-"
);
id!(
    /// A machine image: `ami-…`.
    ImageId, "ami-"
);
id!(
    /// A network interface: `eni-…`.
    InterfaceId, "eni-"
);
id!(
    /// A subnet: `subnet-…`.
    SubnetId, "subnet-"
);
id!(
    /// An Elastic IP address: `eipalloc-…`.
    AllocationId, "eipalloc-"
);

/// Anything of AWS that may carry our tags.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind", content = "id")]
pub enum Resource {
    /// A machine image.
    Image(ImageId),
    /// A snapshot.
    Snapshot(SnapshotId),
    /// A volume.
    Volume(VolumeId),
    /// A network interface.
    Interface(InterfaceId),
    /// An instance.
    Instance(InstanceId),
}

impl Resource {
    /// The id as text.
    pub fn id(&self) -> &str {
        match self {
            Self::Image(id) => id.as_str(),
            Self::Snapshot(id) => id.as_str(),
            Self::Volume(id) => id.as_str(),
            Self::Interface(id) => id.as_str(),
            Self::Instance(id) => id.as_str(),
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Image(_) => "the image",
            Self::Snapshot(_) => "the snapshot",
            Self::Volume(_) => "the volume",
            Self::Interface(_) => "the network interface",
            Self::Instance(_) => "the instance",
        };
        write!(f, "{kind} {}", self.id())
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// What precedes the name in the key of an item.
            pub const KEY_PREFIX: &'static str = $prefix;

            /// Reads a bare name; `None` if it does not have the form above.
            pub fn parse(name: &str) -> Option<Self> {
                let first = name.bytes().next()?;
                let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
                let ok = name.len() <= 48 && alnum(first) && name.bytes().all(|b| alnum(b) || b == b'-');
                ok.then(|| Self(name.to_owned()))
            }

            /// Reads the key of an item: the prefix and the name.
            pub fn from_key(key: &str) -> Option<Self> {
                key.strip_prefix(Self::KEY_PREFIX).and_then(Self::parse)
            }

            /// The key of its items: the prefix and the name.
            pub fn key(&self) -> String {
                format!("{}{}", Self::KEY_PREFIX, self.0)
            }

            /// The bare name.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// The name of a node: `[a-z0-9][a-z0-9-]{0,47}`.
    NodeName, "node#"
);
name!(
    /// The name of a group: `[a-z0-9][a-z0-9-]{0,47}`, and short enough to be part of its members' names.
    GroupName, "group#"
);

impl GroupName {
    /// The longest name whose members' names are names: a dash and five digits follow it.
    pub const LONGEST: usize = 42;

    /// The name of the member with this number; `None` if the group's own is too long for one.
    pub fn member(&self, number: u32) -> Option<NodeName> {
        NodeName::parse(&format!("{}-{number}", self.0))
    }

    /// Whether a node's name is one that this group may give to a member.
    pub fn could_name(&self, node: &NodeName) -> bool {
        let number = node.as_str().strip_prefix(self.as_str()).and_then(|rest| rest.strip_prefix('-'));
        number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_name_is_lower_case_and_short() {
        for good in ["a", "db-1", "0", &"x".repeat(48)] {
            assert!(NodeName::parse(good).is_some(), "{good}");
        }
        for bad in ["", "-a", "A", "a_b", "a#b", "ä", &"x".repeat(49)] {
            assert!(NodeName::parse(bad).is_none(), "{bad}");
        }
        assert_eq!(NodeName::from_key("node#db-1").unwrap().key(), "node#db-1");
        assert!(NodeName::from_key("group#db-1").is_none());
    }

    #[test]
    fn a_member_is_named_for_its_group_and_a_number() {
        let group = GroupName::parse("ring").unwrap();
        assert_eq!(group.member(12).unwrap().as_str(), "ring-12");
        assert_eq!(group.key(), "group#ring");
        for (name, could) in
            [("ring-1", true), ("ring-007", true), ("ring", false), ("ring-", false), ("ring-a1", false)]
        {
            assert_eq!(group.could_name(&NodeName::parse(name).unwrap()), could, "{name}");
        }
        let longest = GroupName::parse(&"g".repeat(GroupName::LONGEST)).unwrap();
        assert!(longest.member(99_999).is_some());
        assert!(GroupName::parse(&"g".repeat(48)).unwrap().member(1).is_none());
    }

    #[test]
    fn an_id_of_another_kind_is_refused() {
        assert!(VolumeId::parse("vol-0abc").is_some());
        for bad in ["i-0abc", "vol-", "vol-a/b", "vol", ""] {
            assert!(VolumeId::parse(bad).is_none(), "{bad}");
        }
    }
}
