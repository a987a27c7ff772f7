//! Random histories of edits and of what becomes of members: what must hold at every step, and once all is
//! quiet.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// A generator that gives the same numbers for the same seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % most
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    fn some<T: Clone>(&mut self, of: &[T]) -> Vec<T> {
        let mut left: Vec<T> = of.iter().filter(|_| self.below(3) > 0).cloned().collect();
        if !left.is_empty() {
            let by = self.below(left.len());
            left.rotate_left(by);
        }
        left
    }
}

struct Walk {
    world: World,
    dice: Dice,
    recycle: u32,
    deleted: BTreeMap<NodeName, Value>,
    story: Vec<String>,
}

impl Walk {
    fn item(&mut self) -> Value {
        let addresses = self.dice.some(&[11, 12, 13, 14]);
        let allocations = self.dice.some(&["eipalloc-1", "eipalloc-2", "eipalloc-3"]);
        self.recycle += u32::from(self.dice.one_in(4));
        let mut item = group(self.dice.below(6) as u32, &addresses, &allocations);
        item["recycle"] = json!(self.recycle);
        item
    }

    fn any_item(&mut self) -> Option<NodeName> {
        let names: Vec<_> = self.world.items.keys().cloned().collect();
        (!names.is_empty()).then(|| names[self.dice.below(names.len())].clone())
    }

    /// One edit, or one thing that befalls a member.
    fn turn(&mut self) {
        let what = self.dice.below(14);
        let any = self.any_item();
        match (what, any) {
            (0..=2, _) => self.world.item = Some(self.item()),
            (3, _) => {
                let item = self.item();
                self.world.item =
                    if self.world.item.is_some() && self.dice.one_in(2) { None } else { Some(item) };
            }
            (4..=6, Some(name)) => {
                let words = [None, Some("running"), Some("paused"), Some("deallocated"), Some("deallocated")];
                let word = words[self.dice.below(words.len())];
                self.story.push(format!("{name} {word:?}"));
                self.world.write(name.as_str(), word);
            }
            (7, Some(name)) => {
                self.story.push(format!("{name} deleted"));
                let item = self.world.items.remove(&name).unwrap();
                self.deleted.insert(name, item);
            }
            (8, _) => {
                // Once nothing is left of a node, its item is like any other that the operator writes: one that
                // names an address which another member has is refused.
                let back =
                    self.deleted.pop_first().filter(|(name, _)| self.world.group.member(name).is_some());
                if let Some((name, item)) = back {
                    self.story.push(format!("{name} put back"));
                    self.world.items.entry(name).or_insert(item);
                }
            }
            (9, Some(name)) => {
                let found = self.world.records.get_mut(&name);
                if let Some(record) = found.filter(|record| record.phase == Phase::Running) {
                    record.phase = Phase::Releasing;
                }
            }
            (10, Some(name)) => drop(self.world.stuck.insert(name)),
            (11, _) => self.world.stuck.clear(),
            (12, Some(name)) => {
                let is_over =
                    self.world.records.get(&name).is_some_and(|it| {
                        it.phase == Phase::Deallocated && it.goal == DesiredState::Deallocated
                    });
                if is_over && !self.world.stuck.contains(&name) {
                    self.story.push(format!("{name} purged"));
                    self.world.purge(name.as_str());
                }
            }
            _ => {}
        }
        self.story.push(format!("{what}: {:?}", self.world.group.config.part));
    }

    /// What holds at every moment.
    fn check(&self, before: &GroupRecord) {
        let (group, story) = (&self.world.group, &self.story);
        let living = || group.members.iter().filter(|member| !member.given_up);
        let mut allocations: Vec<_> = living().filter_map(|member| member.elastic_ip.clone()).collect();
        let many = allocations.len();
        allocations.sort();
        allocations.dedup();
        assert_eq!(allocations.len(), many, "an Elastic IP address is on two members: {story:#?}");
        for member in &group.members {
            let was = before.member(&member.name);
            let is_new = member.given_up && member.wish == DesiredState::Deallocated;
            if is_new && !group.removed && was.is_some_and(|was| !was.given_up) {
                let launched = was.is_some_and(|was| was.wish == DesiredState::Deallocated && before.removed);
                let record = self.world.records.get(&member.name).filter(|it| it.phase != Phase::Gone);
                let has_run = record.is_some_and(|record| record.launched && record.cycle > 0);
                assert!(launched || !has_run, "{} has run and is given up: {story:#?}", member.name);
            }
        }
        assert!(group.last_number >= before.last_number);
    }

    /// What holds once all is quiet.
    fn check_quiet(&mut self) {
        self.world.stuck.clear();
        self.world.settle();
        self.story.push("quiet".to_owned());
        self.story.append(&mut self.world.notes);
        let (world, story) = (&self.world, &self.story);
        let group = &world.group;
        if group.removed {
            return;
        }
        let living: Vec<_> = group.members.iter().filter(|member| !member.given_up).collect();
        for address in &group.config.part.private_ips {
            let has = |member: &&&Member| {
                let record = world.records.get(&member.name).filter(|it| it.phase != Phase::Gone);
                record.and_then(|it| it.network.as_ref()).is_some_and(|it| it.private_ip == *address)
            };
            let having: Vec<_> = living.iter().filter(has).map(|member| member.name.as_str()).collect();
            assert_eq!(having.len(), 1, "{address} is {having:?}'s: {:?} {story:#?}", world.stand());
        }
        let wished = living.iter().filter(|member| member.wish == DesiredState::Running).count();
        assert_eq!(wished, group.config.part.capacity as usize, "{story:#?}");
        for member in &living {
            let word = world.items.get(&member.name).and_then(|item| item["desiredState"].as_str());
            let is_to_run = word.unwrap_or(member.wish.as_str()) == "running";
            let runs = world.records.get(&member.name).is_some_and(|it| it.phase == Phase::Running);
            assert_eq!(runs, is_to_run, "{member:?}: {:?} {story:#?}", world.stand());
        }
        assert_eq!(group.roll, None, "{story:#?}");
        let holders: BTreeSet<_> = world.holders.values().collect();
        assert_eq!(holders.len(), world.holders.len(), "nobody holds two: {story:#?}");
    }
}

#[test]
fn whatever_is_edited_and_whatever_befalls_members_no_address_is_lost_or_had_twice() {
    for seed in 0..20 {
        let dice = Dice(seed * 7919 + 1);
        let world =
            World { free: (30..200).collect(), ..World::new(group(2, &[11, 12, 13], &["eipalloc-1"])) };
        let mut walk =
            Walk { world, dice, recycle: 0, deleted: BTreeMap::new(), story: vec![format!("seed {seed}")] };
        for _ in 0..3 {
            for _ in 0..12 {
                walk.turn();
                for _ in 0..walk.dice.below(4) {
                    let before = walk.world.group.clone();
                    walk.world.decide();
                    walk.story.append(&mut walk.world.notes);
                    walk.check(&before);
                    walk.world.tick();
                }
            }
            walk.check_quiet();
        }
    }
}
