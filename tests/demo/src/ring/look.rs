//! What one look at the ring reads besides, and what is noted of it.
//!
//! Notes what will be gone by the time of the proofs.

use jiff::Timestamp;
use perennial_core::names::TAG_PURPOSE;
use serde_json::Value;

use super::proofs::{Evidence, Held, Life, Shortage};
use super::texts;
use super::view::view;
use crate::access::{Access, Reply};
use crate::board::Board;
use crate::ec2;
use crate::members::{Deed, Guests, Interface, Look, Member, Reader};
use crate::proof::note;
use crate::stage::{Moment, Scene};

/// Where a notice of a lack of Elastic IP addresses begins.
const ELASTIC_IP_POOL: &str = "persist.network.elasticIpPool";

/// What the group's item asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) capacity: usize,
    pub(super) pool: Vec<String>,
    pub(super) elastic_ips: Vec<String>,
}

impl Look {
    /// What the item asks for now.
    pub(super) fn wanted(&self) -> Wanted {
        let item = self.item.clone().map_or(Value::Null, Value::Object);
        let pool = |name: &str| texts(&item["persist"]["network"][name]);
        Wanted {
            capacity: item["capacity"].as_u64().unwrap_or_default() as usize,
            pool: pool("privateIpPool"),
            elastic_ips: pool("elasticIpPool"),
        }
    }

    /// Which member the group's record names for which address: those that it has not given up.
    pub(super) fn assigned(&self) -> Vec<(String, String)> {
        let members = self.group.iter().flat_map(|group| &group.members).filter(|member| !member.given_up);
        members.filter_map(|member| Some((member.name.to_string(), member.private_ip?.to_string()))).collect()
    }

    /// What it tells of Elastic IP addresses.
    pub(super) fn shortages(&self) -> Vec<String> {
        self.notices().into_iter().filter(|notice| notice.starts_with(ELASTIC_IP_POOL)).collect()
    }

    /// Interfaces that carry this address.
    pub(super) fn interfaces_with(&self, address: &str) -> Vec<String> {
        let carries = |i: &&ec2::Interface| i.addresses().any(|one| one == address);
        self.interfaces.iter().filter(carries).map(|i| i.network_interface_id.clone()).collect()
    }

    /// Whether its root has a completed recovery point begun since then, and the newest is old enough for EC2 to
    /// allow a warning snapshot at the notice.
    pub(super) fn has_recovery_point(&self, member: &Member, since: Timestamp) -> bool {
        let points = || {
            let of_root = self.resources.snapshots.iter().filter(|s| s.volume_id == member.root);
            of_root.filter(|s| s.tag(TAG_PURPOSE) != "final")
        };
        points().all(|s| s.is_settled(self.now))
            && points().any(|s| s.status == "completed" && s.start_time.is_some_and(|start| start > since))
    }
}

/// The group, as the act looks at it.
#[derive(Debug, Default)]
pub(super) struct Ring {
    /// Whether guests are to write.
    pub(super) writes: bool,
    pub(super) evidence: Evidence,
    guests: Guests,
    reader: Reader,
}

impl Scene for Ring {
    type Seen = Look;
    type View = Board;

    async fn look(&mut self, access: &Access, last: Option<&Look>) -> Reply<Look> {
        for member in last.map(Look::members).unwrap_or_default() {
            self.write(access, &member)?;
        }
        let seen = self.reader.read(access).await?;
        self.note(&seen);
        Ok(seen)
    }

    fn time(seen: &Look) -> Timestamp {
        seen.now
    }

    fn view(&self, seen: &Look, moment: Moment<'_>) -> Board {
        view(seen, moment, self.reader.name(), &self.guests)
    }

    fn standing(&self, seen: Option<&Look>) -> String {
        seen.map(Look::standing).unwrap_or_default()
    }
}

impl Ring {
    /// The group of this item.
    pub(super) fn new(id: &str) -> Ring {
        Ring { reader: Reader::new(id), ..Ring::default() }
    }

    /// The guest of a member writes; what it finds where it begins is kept.
    fn write(&mut self, access: &Access, member: &Member) -> Reply<()> {
        if let Deed::Began(found) = self.guests.write(access, member, self.writes)? {
            let life = Life {
                instance: member.instance_id(),
                root: member.root.clone(),
                found,
                acknowledged: self.guests.of(&member.name).acknowledged,
            };
            self.evidence.lives.entry(member.name.clone()).or_default().push(life);
        }
        Ok(())
    }

    /// Keeps what will be gone by the time of the proofs.
    fn note(&mut self, seen: &Look) {
        let (e, members) = (&mut self.evidence, seen.members());
        e.looks += 1;
        for address in seen.interfaces.iter().flat_map(ec2::Interface::addresses) {
            let on = seen.interfaces_with(address);
            if on.len() > 1 {
                note(&mut e.doubles, format!("{address} on {}", on.join(" and ")));
            }
        }
        for address in seen.wanted().pool {
            note(&mut e.pools, address);
        }
        for member in &members {
            if let Some(crowd) = member.crowd() {
                note(&mut e.crowds, crowd);
            }
            for Interface { id, address, .. } in &member.interfaces {
                let (member, interface, address) = (member.name.clone(), id.clone(), address.clone());
                note(&mut e.held, Held { address, member, interface });
            }
        }
        // A lack may be told before the member that will lack it runs: both at once is what counts.
        let lacks = |member: &&Member| member.runs() && member.elastic_ips.is_empty();
        let without: Vec<String> = members.iter().filter(lacks).map(|it| it.name.clone()).collect();
        let notice = seen.shortages().into_iter().next().filter(|_| e.told.is_none() && !without.is_empty());
        if let Some(notice) = notice {
            e.told = Some(Shortage { notice, without });
        }
    }
}

#[cfg(test)]
mod tests {
    use perennial_core::names::TAG_NODE;
    use serde_json::json;

    use super::*;
    use crate::access::Resources;

    fn read<T: for<'a> serde::Deserialize<'a>>(xml: &str) -> T {
        quick_xml::de::from_str(xml).unwrap()
    }

    fn tagged(node: &str) -> String {
        format!("<tagSet><item><key>{TAG_NODE}</key><value>{node}</value></item></tagSet>")
    }

    fn instance(id: &str, state: &str, node: &str) -> ec2::Instance {
        read(&format!(
            "<item><instanceId>{id}</instanceId><instanceState><name>{state}</name></instanceState>\
             <privateIpAddress>10.0.1.21</privateIpAddress>{}</item>",
            tagged(node)
        ))
    }

    fn carrier(id: &str, addresses: &[(&str, bool)], node: &str) -> ec2::Interface {
        let addresses: String = (addresses.iter())
            .map(|(address, primary)| {
                format!(
                    "<item><privateIpAddress>{address}</privateIpAddress><primary>{primary}</primary></item>"
                )
            })
            .collect();
        read(&format!(
            "<item><networkInterfaceId>{id}</networkInterfaceId><status>in-use</status>\
             <privateIpAddressesSet>{addresses}</privateIpAddressesSet>{}</item>",
            tagged(node)
        ))
    }

    fn observed() -> Look {
        let item = json!({
            "capacity": 3,
            "persist": {"network": {"privateIpPool": ["10.0.1.21"], "elasticIpPool": ["eipalloc-1", "eipalloc-2"]}},
            "_status": {"accepted": true, "notices": [
                "persist.network.elasticIpPool: too short: ring-2 run(s) without one", "launch.image: something else",
            ]},
        });
        let on = |id: &str, interface: Option<&str>| ec2::ElasticIp {
            allocation_id: id.to_owned(),
            public_ip: format!("of {id}"),
            network_interface_id: interface.map(str::to_owned),
        };
        Look {
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            item: item.as_object().cloned(),
            group: None,
            nodes: [("ring-1".to_owned(), None), ("ring-2".to_owned(), None)].into(),
            resources: Resources {
                instances: vec![
                    instance("i-1", "terminated", "ring-1"),
                    instance("i-2", "running", "ring-1"),
                    instance("i-3", "pending", "ring-2"),
                ],
                ..Resources::default()
            },
            interfaces: vec![
                carrier("eni-1", &[("10.0.1.99", false), ("10.0.1.21", true)], "ring-1"),
                carrier("eni-2", &[("10.0.1.99", true)], ""),
            ],
            elastic_ips: vec![on("eipalloc-1", Some("eni-1")), on("eipalloc-2", None)],
        }
    }

    #[test]
    fn a_member_is_what_carries_its_tag() {
        let members = observed().members();
        let [one, two] = members.as_slice() else { panic!("{members:?}") };
        assert_eq!((one.live.as_slice(), one.address()), (["i-2".to_owned()].as_slice(), "10.0.1.21"));
        assert_eq!(one.elastic_ips, ["of eipalloc-1"]);
        assert_eq!((two.live.as_slice(), two.address()), (["i-3".to_owned()].as_slice(), ""));
        assert!(two.elastic_ips.is_empty() && two.is_gone());
    }

    #[test]
    fn an_address_is_seen_on_every_interface_that_carries_it_also_as_a_secondary_one() {
        assert_eq!(observed().interfaces_with("10.0.1.99"), ["eni-1", "eni-2"]);
        let mut ring = Ring::default();
        ring.note(&observed());
        ring.note(&observed());
        assert_eq!(ring.evidence.doubles, ["10.0.1.99 on eni-1 and eni-2"]);
        assert_eq!(ring.evidence.looks, 2);
    }

    #[test]
    fn what_is_wanted_and_told_stands_in_the_item() {
        let seen = observed();
        let wanted = seen.wanted();
        assert_eq!((wanted.capacity, wanted.pool.len(), wanted.elastic_ips.len()), (3, 1, 2));
        assert_eq!(seen.shortages(), ["persist.network.elasticIpPool: too short: ring-2 run(s) without one"]);
        assert_eq!(seen.notices().len(), 2);
    }
}
