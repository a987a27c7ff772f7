//! What the acts about groups share: one look at a group and its members, and the guests that write on them.
//!
//! Who a member is, is put together from what EC2 and the tables say, by tag and by id, never from what was asked for.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use perennial_core::config::hash;
use perennial_core::group::GroupRecord;
use perennial_core::names::TAG_NODE;
use perennial_core::phase::Phase;
use perennial_core::record::Record;
use serde_json::{Map, Value};

use crate::access::{Access, Contents, Reply, Resources, notices};
use crate::board::{Fact, Row};
use crate::ec2::{self, tag};
use crate::guest::Guest;
use crate::render::{Tone, grouped};
use crate::stage::{blocked, standing};

/// What was read of a group at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub(crate) now: Timestamp,
    /// The group's item in the config table, with what Perennial answers in it.
    pub(crate) item: Option<Map<String, Value>>,
    pub(crate) group: Option<GroupRecord>,
    /// Of every member that the group ever had, `None` if it has no record.
    pub(crate) nodes: BTreeMap<String, Option<Record>>,
    pub(crate) resources: Resources,
    /// Every interface of the account.
    pub(crate) interfaces: Vec<ec2::Interface>,
    /// Every Elastic IP address of the account.
    pub(crate) elastic_ips: Vec<ec2::ElasticIp>,
}

/// A network interface of a member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) id: String,
    pub(crate) address: String,
    /// As EC2 says: `available` or `in-use`.
    pub(crate) status: String,
}

/// A member at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    /// By its record.
    pub(crate) phase: Option<Phase>,
    pub(crate) cycle: u32,
    /// Whether an instance was ever asked for.
    pub(crate) launched: bool,
    pub(crate) reason: String,
    pub(crate) blocked: Option<String>,
    /// The root of its last live instance as EC2 shows it; without one, of its record.
    pub(crate) root: String,
    /// Its live instances.
    pub(crate) live: Vec<String>,
    /// Their private addresses.
    pub(crate) live_addresses: Vec<String>,
    /// What the last of them was launched from.
    pub(crate) image: String,
    /// The instance of its record as EC2 shows it: id, type, market and state.
    pub(crate) instance: String,
    pub(crate) interfaces: Vec<Interface>,
    /// Elastic IP addresses on its interfaces.
    pub(crate) elastic_ips: Vec<String>,
}

impl Member {
    /// The address of its interface, if it has exactly one.
    pub(crate) fn address(&self) -> &str {
        self.interface().map_or("", |interface| &interface.address)
    }

    /// Its interface, if it has exactly one.
    pub(crate) fn interface(&self) -> Option<&Interface> {
        match self.interfaces.as_slice() {
            [interface] => Some(interface),
            _ => None,
        }
    }

    /// Its instance, if it has exactly one.
    pub(crate) fn instance_id(&self) -> String {
        match self.live.as_slice() {
            [instance] => instance.clone(),
            _ => String::new(),
        }
    }

    pub(crate) fn runs(&self) -> bool {
        self.phase == Some(Phase::Running)
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.phase == Some(Phase::Paused)
    }

    /// Whether it was given up, or never was.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self.phase, None | Some(Phase::Deallocated | Phase::Purging | Phase::Gone))
    }

    /// That it has more than one live instance, if so.
    pub(crate) fn crowd(&self) -> Option<String> {
        (self.live.len() > 1).then(|| format!("{} on {}", self.name, self.live.join(" and ")))
    }

    /// Phase and cycle, such as `running 2`.
    pub(crate) fn stands(&self) -> String {
        match self.phase {
            Some(phase) if self.launched => format!("{} {}", phase.as_str(), self.cycle),
            Some(phase) => phase.as_str().to_owned(),
            None => String::new(),
        }
    }

    /// Its row, with these cells after its name and its phase, and these facts after its phase; `told` is how its guest's
    /// writes are told of.
    pub(crate) fn row(
        &self,
        cells: Vec<String>,
        facts: Vec<Fact>,
        (writing, told): (bool, (&str, u64)),
    ) -> Row {
        let stands = self.stands();
        let settled = self.runs() || self.is_paused() || self.is_gone();
        let (what, writes) = told;
        let count = format!("{what}: {}", grouped(writes));
        let guest =
            Fact::new(if writing { "writes" } else { "" }, format!("the guest begins to write; {count}"))
                .ending(format!("the guest cannot write any more; {count}"));
        let blocked = self.blocked.as_deref().unwrap_or_default();
        let block = Fact::new(blocked, format!("blocked: {blocked}")).ending("blocked no more");
        let phase = Fact::new(&stands, format!("{stands}: {}", self.reason));
        let waits = match &self.blocked {
            Some(blocked) => Some((Tone::Bad, blocked.clone())),
            None => (!settled).then(|| (Tone::Quiet, self.reason.clone())),
        };
        let stands = crate::render::or_dash(&stands);
        Row {
            name: self.name.clone(),
            label: self.name.clone(),
            cells: [vec![self.name.clone(), stands], cells].concat(),
            facts: [vec![phase], facts, vec![guest, block]].concat(),
            waits,
            removed: None,
        }
    }
}

impl Look {
    /// Every member, by name.
    pub(crate) fn members(&self) -> Vec<Member> {
        self.nodes.iter().map(|(name, record)| self.member(name, record.as_ref())).collect()
    }

    fn member(&self, name: &str, record: Option<&Record>) -> Member {
        let own: Vec<&ec2::Instance> =
            self.resources.instances.iter().filter(|i| tag(&i.tag_set, TAG_NODE) == name).collect();
        let live: Vec<&&ec2::Instance> = own.iter().filter(|i| i.is_live()).collect();
        let interfaces: Vec<Interface> =
            self.interfaces.iter().filter(|i| tag(&i.tag_set, TAG_NODE) == name).map(interface).collect();
        let is_on = |one: &&ec2::ElasticIp| interfaces.iter().any(|i| one.is_on(&i.id));
        let instance = record.and_then(|record| record.instance.as_ref());
        let shown = instance.and_then(|it| own.iter().find(|i| i.instance_id == it.id.as_str()));
        let device = live.last().and_then(|i| i.block_device_mapping.item.first());
        let recorded = record.and_then(|record| record.root.as_ref()).map(|root| root.volume_id.to_string());
        Member {
            name: name.to_owned(),
            phase: record.map(|record| record.phase),
            cycle: record.map(|record| record.cycle).unwrap_or_default(),
            launched: record.is_some_and(|record| record.launched),
            reason: record.map(|record| record.reason.clone()).unwrap_or_default(),
            blocked: record.and_then(|record| record.blocked.as_ref()).map(blocked),
            root: device.map(|device| device.ebs.volume_id.clone()).or(recorded).unwrap_or_default(),
            live: live.iter().map(|i| i.instance_id.clone()).collect(),
            live_addresses: live.iter().filter_map(|i| i.private_ip_address.clone()).collect(),
            image: live.last().map(|i| i.image_id.clone()).unwrap_or_default(),
            instance: shown.map(|i| i.described()).unwrap_or_default(),
            elastic_ips: self.elastic_ips.iter().filter(is_on).map(|one| one.public_ip.clone()).collect(),
            interfaces,
        }
    }

    /// Members that run.
    pub(crate) fn running(&self) -> Vec<Member> {
        self.members().into_iter().filter(Member::runs).collect()
    }

    /// Whether exactly so many members run on one instance each, on their first, or on a later, one.
    pub(crate) fn all_run(&self, capacity: usize, cycle: u32) -> bool {
        let runs = |member: &&Member| member.cycle >= cycle && member.live.len() == 1;
        capacity > 0 && self.running().iter().filter(runs).count() == capacity
    }

    /// Live instances of the deployment, whosever.
    pub(crate) fn live(&self) -> Vec<String> {
        let live = self.resources.instances.iter().filter(|i| i.is_live());
        live.map(|i| i.instance_id.clone()).collect()
    }

    /// Whether what the item says is what counts.
    pub(crate) fn is_in_force(&self) -> bool {
        let said = self.item.clone().map(|item| hash(&Value::Object(item)));
        said.is_some_and(|said| self.group.as_ref().is_some_and(|group| group.config.hash == said))
    }

    /// What the item's `_status` tells.
    pub(crate) fn notices(&self) -> Vec<String> {
        self.item.as_ref().map(notices).unwrap_or_default()
    }

    /// Where each member stands, in words.
    pub(crate) fn standing(&self) -> String {
        let lines: Vec<String> = self
            .nodes
            .iter()
            .map(|(name, record)| match record {
                Some(record) => format!("{name} {}", standing(record)),
                None => format!("{name} has no record"),
            })
            .collect();
        if lines.is_empty() { "the group has no members".to_owned() } else { lines.join("; ") }
    }
}

fn interface(it: &ec2::Interface) -> Interface {
    Interface {
        id: it.network_interface_id.clone(),
        address: it.addresses().next().unwrap_or_default().to_owned(),
        status: it.status.clone(),
    }
}

/// Who reads a group again and again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reader {
    /// The id of its item.
    id: String,
    /// Every member that the group ever had.
    names: BTreeSet<String>,
}

impl Reader {
    pub(crate) fn new(id: &str) -> Reader {
        Reader { id: id.to_owned(), names: BTreeSet::new() }
    }

    /// The name of the group.
    pub(crate) fn name(&self) -> &str {
        self.id.split_once('#').map_or("", |(_, name)| name)
    }

    /// Reads everything.
    ///
    /// # Errors
    /// When the cloud cannot be asked.
    pub(crate) async fn read(&mut self, access: &Access) -> Reply<Look> {
        let now = access.now()?;
        let item = access.config_item(&self.id).await?;
        let group = access.group(&self.id).await?;
        let named = group.iter().flat_map(|group| &group.members).map(|member| member.name.to_string());
        self.names.extend(named);
        let mut nodes = BTreeMap::new();
        for name in &self.names {
            nodes.insert(name.clone(), access.record(&format!("node#{name}")).await?);
        }
        let resources = access.resources().await?;
        let (interfaces, elastic_ips) = (access.interfaces().await?, access.elastic_ips().await?);
        Ok(Look { now, item, group, nodes, resources, interfaces, elastic_ips })
    }
}

/// What a guest did at one look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// It began on another instance, whose root held this before it wrote.
    Began(Contents),
    /// It wrote, and that was acknowledged.
    Wrote,
    /// Nothing.
    Nothing,
}

/// The guests of all members.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guests {
    /// Each with the instance that it is on.
    all: BTreeMap<String, (Guest, Option<String>)>,
}

impl Guests {
    /// The guest of a member.
    pub(crate) fn of(&self, member: &str) -> Guest {
        self.all.get(member).map(|(guest, _)| guest.clone()).unwrap_or_default()
    }

    /// The guest of a member writes while its instance lives, and, if it may, begins anew on the next one that runs.
    ///
    /// # Errors
    /// When the cloud cannot be asked.
    pub(crate) fn write(&mut self, access: &Access, member: &Member, may_begin: bool) -> Reply<Deed> {
        let (guest, on) = self.all.entry(member.name.clone()).or_default();
        match (on.as_ref(), member.live.as_slice()) {
            (Some(instance), live) if live.contains(instance) => {
                guest.write(access, instance, access.now()?)?;
                Ok(if guest.writing { Deed::Wrote } else { Deed::Nothing })
            }
            (None, [instance]) if may_begin && member.runs() => {
                let found = access.contents(&member.root)?;
                *on = Some(instance.clone());
                Ok(Deed::Began(found))
            }
            (_, _) => {
                *on = None;
                guest.rest();
                Ok(Deed::Nothing)
            }
        }
    }
}
