//! What a seed makes of a group that is backed up instead of keeping what its members have.

use serde_json::{Value, json};

use super::Deed;
use super::groups::{GroupDeed, MEMBERS};
use crate::deeds::member;
use crate::run::Run;

/// Something that happens to a group's backups, or to what they are taken of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackupDeed {
    /// One is asked for at once.
    Now,
    /// They are turned off.
    Off,
    /// They are turned on, so.
    On(BackupShape),
    /// The operator names another image.
    SayImage,
    /// The image is changed as the manual has it: off, another image, all replaced; on comes by itself.
    Change,
    /// The image in effect is deregistered by hand.
    Deregister,
    /// What is under way fails.
    Fail,
    /// A member's guest fails its check, or passes it again.
    Impair(bool),
    /// Instances launched from the newest one never come up.
    SpoilNewest,
    /// The group is to keep interfaces, or nothing.
    Network(bool),
}

/// How a group is backed up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupShape {
    /// How many members there are to be.
    pub capacity: u32,
    /// How often.
    pub frequency: &'static str,
    /// How many are kept.
    pub keep: u32,
}

/// Sets these draws apart from all others.
const APART: u64 = 97_340_000;

impl BackupShape {
    fn drawn(draw: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            capacity: 1 + draw(1, 3) as u32,
            frequency: ["continuous", "continuous", "hourly", "cron"][draw(2, 4) as usize],
            keep: 1 + draw(3, 3) as u32,
        }
    }

    fn policy(self, now: u64) -> Value {
        let mut policy = json!({"frequency": self.frequency, "keep": self.keep, "now": now});
        if self.frequency == "cron" {
            policy["cron"] = json!("*/20 * * * *");
        }
        policy
    }

    /// Puts the group.
    pub(super) fn put(self, run: &mut Run) {
        run.add_foreign_backups();
        run.put_backed_up(self.capacity, self.policy(0));
    }
}

/// How the group of a seed is backed up, if it has no group of another kind and is.
pub(super) fn of(draw: &impl Fn(u64, u64) -> u64, has_group: bool) -> Option<BackupShape> {
    // Of three seeds two have no other group.
    (!has_group && draw(APART, 8) < 3).then(|| BackupShape::drawn(|what, n| draw(APART + what, n)))
}

fn deed(draw: impl Fn(u64, u64) -> u64) -> Deed {
    let own = |deed| Deed::Backup(deed);
    match draw(1, 30) {
        0..=4 => own(BackupDeed::Now),
        5 => own(BackupDeed::Off),
        6..=7 => own(BackupDeed::On(BackupShape::drawn(|what, n| draw(10 + what, n)))),
        8 => own(BackupDeed::SayImage),
        9 => own(BackupDeed::Change),
        10..=11 => own(BackupDeed::Deregister),
        12..=13 => own(BackupDeed::Fail),
        14..=15 => own(BackupDeed::Impair(draw(2, 2) == 0)),
        16 => own(BackupDeed::SpoilNewest),
        17 => own(BackupDeed::Network(draw(2, 2) == 0)),
        18..=20 => Deed::Interrupt(true),
        21..=22 => Deed::Interrupt(false),
        23 => Deed::Terminate,
        24 => Deed::FailSnapshots,
        25 => Deed::Group(GroupDeed::Capacity(draw(2, 4) as u32)),
        26 => Deed::Group(GroupDeed::Roll),
        27 => Deed::Group(GroupDeed::Delete),
        28 => Deed::Group(GroupDeed::PutBack),
        _ => Deed::Group(GroupDeed::Suspend(draw(2, 3) == 0)),
    }
}

/// The deeds of a schedule with those of backups among them.
pub(super) fn among(
    deeds: Vec<(i64, usize, Deed)>,
    draw: &impl Fn(u64, u64) -> u64,
) -> Vec<(i64, usize, Deed)> {
    let mut all = Vec::new();
    for (n, one) in deeds.into_iter().enumerate() {
        let draw = |what: u64, most: u64| draw(APART + 100 + 20 * n as u64 + what, most);
        let pause = [20, 120, 600, 1300][draw(5, 4) as usize];
        all.push((draw(4, pause) as i64, MEMBERS + draw(3, 3) as usize, deed(draw)));
        if draw(6, 2) == 0 {
            all.push(one);
        }
    }
    all
}

impl BackupDeed {
    pub(super) fn be_done(self, run: &mut Run, node: &str) {
        match self {
            Self::Now => run.back_up_now(),
            Self::Off => run.set_backups(None),
            Self::On(shape) => run.set_backups(Some(shape.policy(0))),
            Self::SayImage => run.say_image(),
            Self::Change => {
                run.set_backups(None);
                run.pass(jiff::SignedDuration::from_secs(90));
                run.say_image();
                run.roll();
            }
            Self::Deregister => run.deregister_effective(),
            Self::Fail => run.fail_images(),
            Self::Impair(is) => run.impair(node, is),
            Self::SpoilNewest => run.spoil_backup(),
            Self::Network(is) => run.edit_group(|item| match is {
                true => item["persist"] = json!({"network": {}}),
                false => {
                    item.as_object_mut().map(|item| item.remove("persist"));
                }
            }),
        }
    }
}

/// The operator has every member well again.
pub(super) fn calm(run: &mut Run) {
    for nth in 1..5 {
        run.impair(&member(nth), false);
    }
}
