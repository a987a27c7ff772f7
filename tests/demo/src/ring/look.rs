//! What one look at the group reads, and the guests that write on its members.
//!
//! Who a member is, is put together from what EC2 and the tables say, by tag and by id, never from what was asked for.
//! Notes what will be gone by the time of the proofs.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use perennial_core::group::GroupRecord;
use perennial_core::names::{TAG_NODE, TAG_PURPOSE};
use perennial_core::phase::Phase;
use perennial_core::record::Record;
use serde_json::{Map, Value};

use super::proofs::{Evidence, Held, Life, Shortage};
use super::view::{View, view};
use super::{GROUP, key};
use crate::access::{Access, Reply, Resources, notices};
use crate::ec2::{self, tag};
use crate::guest::Guest;
use crate::proof::note;
use crate::stage::{Moment, Scene, blocked, standing_of_all};

/// Where a notice of a lack of Elastic IP addresses begins.
const ELASTIC_IP_POOL: &str = "persist.network.elasticIpPool";

/// What was read at one moment.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    pub(super) now: Timestamp,
    /// The group's item in the config table, with what Perennial answers in it.
    pub(super) item: Option<Map<String, Value>>,
    pub(super) group: Option<GroupRecord>,
    /// Of every member that the group ever had, `None` if it has no record.
    pub(super) nodes: BTreeMap<String, Option<Record>>,
    pub(super) resources: Resources,
    /// Every interface of the account.
    pub(super) interfaces: Vec<ec2::Interface>,
    /// Every Elastic IP address of the account.
    pub(super) elastic_ips: Vec<ec2::ElasticIp>,
}

/// A network interface of a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) id: String,
    pub(super) address: String,
    /// As EC2 says: `available` or `in-use`.
    pub(super) status: String,
}

/// A member at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: String,
    /// By its record.
    pub(super) phase: Option<Phase>,
    pub(super) cycle: u32,
    /// Whether an instance was ever asked for.
    pub(super) launched: bool,
    pub(super) reason: String,
    pub(super) blocked: Option<String>,
    pub(super) root: String,
    /// Its live instances.
    pub(super) live: Vec<String>,
    /// Their private addresses.
    pub(super) live_addresses: Vec<String>,
    /// The instance of its record as EC2 shows it: id, type, market and state.
    pub(super) instance: String,
    pub(super) interfaces: Vec<Interface>,
    /// Elastic IP addresses on its interfaces.
    pub(super) elastic_ips: Vec<String>,
}

impl Member {
    /// The address of its interface, if it has exactly one.
    pub(super) fn address(&self) -> &str {
        self.interface().map_or("", |interface| &interface.address)
    }

    /// Its interface, if it has exactly one.
    pub(super) fn interface(&self) -> Option<&Interface> {
        match self.interfaces.as_slice() {
            [interface] => Some(interface),
            _ => None,
        }
    }

    pub(super) fn runs(&self) -> bool {
        self.phase == Some(Phase::Running)
    }

    pub(super) fn is_paused(&self) -> bool {
        self.phase == Some(Phase::Paused)
    }

    /// Whether it was given up, or never was.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self.phase, None | Some(Phase::Deallocated | Phase::Purging | Phase::Gone))
    }
}

/// What the group's item asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) capacity: usize,
    pub(super) pool: Vec<String>,
    pub(super) elastic_ips: Vec<String>,
}

impl Observed {
    /// Every member, by name.
    pub(super) fn members(&self) -> Vec<Member> {
        self.nodes.iter().map(|(name, record)| self.member(name, record.as_ref())).collect()
    }

    fn member(&self, name: &str, record: Option<&Record>) -> Member {
        let own: Vec<&ec2::Instance> =
            self.resources.instances.iter().filter(|i| tag(&i.tag_set, TAG_NODE) == name).collect();
        let live = || own.iter().filter(|i| i.is_live());
        let interfaces: Vec<Interface> =
            self.interfaces.iter().filter(|i| tag(&i.tag_set, TAG_NODE) == name).map(interface).collect();
        let is_on = |one: &ec2::ElasticIp| interfaces.iter().any(|i| one.is_on(&i.id));
        let instance = record.and_then(|record| record.instance.as_ref());
        let shown = instance.and_then(|it| own.iter().find(|i| i.instance_id == it.id.as_str()));
        Member {
            name: name.to_owned(),
            phase: record.map(|record| record.phase),
            cycle: record.map(|record| record.cycle).unwrap_or_default(),
            launched: record.is_some_and(|record| record.launched),
            reason: record.map(|record| record.reason.clone()).unwrap_or_default(),
            blocked: record.and_then(|record| record.blocked.as_ref()).map(blocked),
            root: record
                .and_then(|record| record.root.as_ref())
                .map(|root| root.volume_id.to_string())
                .unwrap_or_default(),
            live: live().map(|i| i.instance_id.clone()).collect(),
            live_addresses: live().filter_map(|i| i.private_ip_address.clone()).collect(),
            instance: shown.map(|i| i.described()).unwrap_or_default(),
            elastic_ips: (self.elastic_ips.iter())
                .filter(|one| is_on(one))
                .map(|one| one.public_ip.clone())
                .collect(),
            interfaces,
        }
    }

    /// Members that run.
    pub(super) fn running(&self) -> Vec<Member> {
        self.members().into_iter().filter(Member::runs).collect()
    }

    /// Live instances of the deployment, whosever.
    pub(super) fn live(&self) -> Vec<String> {
        let live = self.resources.instances.iter().filter(|i| i.is_live());
        live.map(|i| i.instance_id.clone()).collect()
    }

    /// What the item asks for now.
    pub(super) fn wanted(&self) -> Wanted {
        let item = self.item.clone().map_or(Value::Null, Value::Object);
        let texts = |path: &str| {
            let list = item.pointer(path).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        Wanted {
            capacity: item["capacity"].as_u64().unwrap_or_default() as usize,
            pool: texts("/persist/network/privateIpPool"),
            elastic_ips: texts("/persist/network/elasticIpPool"),
        }
    }

    /// Which member the group's record names for which address: those that it has not given up.
    pub(super) fn assigned(&self) -> Vec<(String, String)> {
        let members = self.group.iter().flat_map(|group| &group.members).filter(|member| !member.given_up);
        members.filter_map(|member| Some((member.name.to_string(), member.private_ip?.to_string()))).collect()
    }

    /// What the item's `_status` tells.
    pub(super) fn notices(&self) -> Vec<String> {
        self.item.as_ref().map(notices).unwrap_or_default()
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

fn interface(it: &ec2::Interface) -> Interface {
    Interface {
        id: it.network_interface_id.clone(),
        address: it.addresses().next().unwrap_or_default().to_owned(),
        status: it.status.clone(),
    }
}

/// The guest of one member.
#[derive(Clone, Debug, Default)]
pub(super) struct OnMember {
    pub(super) guest: Guest,
    /// The instance it is on.
    on: Option<String>,
}

/// The group, as the act looks at it.
#[derive(Debug, Default)]
pub(super) struct Ring {
    /// Whether guests are to write.
    pub(super) writes: bool,
    pub(super) evidence: Evidence,
    guests: BTreeMap<String, OnMember>,
    /// Every member that the group ever had.
    names: BTreeSet<String>,
}

impl Scene for Ring {
    type Seen = Observed;
    type View = View;

    async fn look(&mut self, access: &Access, last: Option<&Observed>) -> Reply<Observed> {
        for member in last.map(Observed::members).unwrap_or_default() {
            self.write(access, &member)?;
        }
        let now = access.now()?;
        let item = access.config_item(&key()).await?;
        let group = access.group(&key()).await?;
        let named = group.iter().flat_map(|group| &group.members).map(|member| member.name.to_string());
        self.names.extend(named);
        let mut nodes = BTreeMap::new();
        for name in &self.names {
            nodes.insert(name.clone(), access.record(&format!("node#{name}")).await?);
        }
        let resources = access.resources().await?;
        let interfaces = access.interfaces().await?;
        let elastic_ips = access.elastic_ips().await?;
        let seen = Observed { now, item, group, nodes, resources, interfaces, elastic_ips };
        self.note(&seen);
        Ok(seen)
    }

    fn time(seen: &Observed) -> Timestamp {
        seen.now
    }

    fn view(&self, seen: &Observed, moment: Moment<'_>) -> View {
        view(seen, moment, &self.guests)
    }

    fn standing(&self, seen: Option<&Observed>) -> String {
        standing_of_all(GROUP, seen.into_iter().flat_map(|seen| &seen.nodes))
    }
}

impl Ring {
    /// The guest of a member writes while its instance lives, and begins anew on the next one that runs.
    fn write(&mut self, access: &Access, member: &Member) -> Reply<()> {
        let guest = self.guests.entry(member.name.clone()).or_default();
        match (&guest.on, member.live.as_slice()) {
            (Some(on), live) if live.contains(on) => guest.guest.write(access, on, access.now()?)?,
            (None, [instance]) if self.writes && member.runs() => {
                let life = Life {
                    instance: instance.clone(),
                    root: member.root.clone(),
                    found: access.contents(&member.root)?,
                    acknowledged: guest.guest.acknowledged,
                };
                self.evidence.lives.entry(member.name.clone()).or_default().push(life);
                guest.on = Some(instance.clone());
            }
            (_, _) => {
                guest.on = None;
                guest.guest.rest();
            }
        }
        Ok(())
    }

    /// Keeps what will be gone by the time of the proofs.
    fn note(&mut self, seen: &Observed) {
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
            if member.live.len() > 1 {
                note(&mut e.crowds, format!("{} on {}", member.name, member.live.join(" and ")));
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
    use serde_json::json;

    use super::*;

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

    fn observed() -> Observed {
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
        Observed {
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
