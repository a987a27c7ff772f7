//! Random histories: schedules, edits, interruptions, failures, lost answers, other hands, and a pass that dies. What
//! must hold is looked at after every minute, and once all is quiet.

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
}

struct Walk {
    world: World,
    dice: Dice,
    keep: u32,
    now: u32,
    image: &'static str,
    is_on: bool,
    story: Vec<String>,
}

impl Walk {
    fn says(&mut self) -> Value {
        let mut says = match self.dice.below(4) {
            0 => json!({"frequency": "hourly"}),
            1 => json!({"frequency": "cron", "cron": "*/20 * * * *"}),
            2 => json!({"frequency": "daily"}),
            _ => json!({}),
        };
        (says["keep"], says["now"]) = (json!(self.keep), json!(self.now));
        says
    }

    fn item(&mut self) -> Value {
        let says = self.says();
        let item = if self.is_on { item(says) } else { off() };
        with_image(item, self.image)
    }

    fn edit(&mut self) {
        let was_removed = self.world.group.removed;
        match self.dice.below(6) {
            0 => self.keep = 1 + self.dice.below(3) as u32,
            1 => self.now += 1,
            2 => self.image = ["ami-base1", "ami-base2", "ami-base3", ""][self.dice.below(4)],
            3 => self.is_on = !self.is_on,
            _ => {}
        }
        let item = self.item();
        self.story.push(format!("{item}"));
        if was_removed {
            self.world.forget_proofs();
        }
        self.world.edit(item);
    }

    fn any(&mut self, of: &[ImageId]) -> Option<ImageId> {
        (!of.is_empty()).then(|| of[self.dice.below(of.len())].clone())
    }

    fn trouble(&mut self) -> Trouble {
        match self.dice.below(7) {
            0 => Trouble::Fails,
            1 => Trouble::Vanishes,
            2 => Trouble::NameTaken,
            3 => Trouble::Refused(Class::Quota),
            4 => Trouble::Refused(Class::Terminal),
            5 => Trouble::Refused(Class::Retry),
            _ => Trouble::Lost,
        }
    }

    /// One thing that happens.
    fn turn(&mut self) {
        let what = self.dice.below(16);
        self.story.push(format!("{}: {what}", self.world.now));
        let images = self.world.available();
        match what {
            0 | 1 => self.edit(),
            2..=4 => self.world.interrupt(1 + self.dice.below(2) as u32),
            5 | 6 => {
                let trouble = self.trouble();
                self.story.push(format!("{trouble:?}"));
                self.world.account.troubles.push_back(trouble);
            }
            7 => self.world.account.in_use = self.dice.below(4) as u32,
            8 => self.world.account.lag = SignedDuration::from_secs(self.dice.below(20) as i64),
            9 => self.world.account.pending = SignedDuration::from_mins(1 + self.dice.below(15) as i64),
            10 => self.world.boots = !self.world.boots,
            11 if self.dice.one_in(2) => {
                if let Some(image) = self.any(&images) {
                    self.story.push(format!("by hand: {image}"));
                    self.world.account.deregister_by_hand(&image);
                }
            }
            12 if self.dice.one_in(3) => {
                if let Some(image) = self.any(&images) {
                    self.story.push(format!("taken: {image}"));
                    self.world.account.untag_by_hand(&image);
                }
            }
            13 => self.world.is_unreadable = self.dice.one_in(2),
            14 if self.dice.one_in(4) => self.remove(),
            _ => {
                let at = self.world.points + 1 + self.dice.below(12);
                self.world.dies_at = Some(at);
            }
        }
    }

    fn remove(&mut self) {
        if self.world.group.removed {
            return self.edit();
        }
        self.world.remove();
        self.world.forget_proofs();
    }

    /// All troubles end, and then what must hold of a group at rest.
    fn rest(&mut self) {
        let world = &mut self.world;
        world.forget_proofs();
        world.account.troubles.clear();
        (world.account.in_use, world.account.lag) = (0, SignedDuration::ZERO);
        (world.boots, world.is_unreadable) = (true, false);
        world.account.pending = SignedDuration::from_mins(3);
        let keep = self.keep;
        self.is_on = true;
        // What is no source is replaced, as the operator would; then there are as many as are kept.
        let says = |now: u32| item(json!({"frequency": "daily", "keep": keep, "now": now}));
        world.edit(with_image(says(self.now), self.image));
        world.minutes(40);
        world.recycle();
        for _ in 0..=keep {
            self.now += 1;
            world.edit(with_image(says(self.now), self.image));
            world.minutes(15);
        }
        world.recycle();
        world.minutes(20);
        let there = world.available();
        assert_eq!(there.len(), keep as usize, "{:#?}\n{:#?}", world.group.backups, world.notes);
        assert_eq!(world.effective(), there.last().cloned());
        // What stands for itself is a matter of the orphan pass.
        let stray = there.iter().filter(|id| world.account.image(id).unwrap().snapshots.len() == 1).count();
        assert_eq!(world.account.stood_on(), 2 * there.len() - stray);
        assert_eq!(world.backups().list.len(), there.len());
        assert_eq!(notices(&world.group).iter().filter(|it| !it.contains("launch.image")).count(), 0);
    }

    /// Goes on, and tells how it came about if that fails.
    fn told(&mut self, seed: u64, on: impl FnOnce(&mut Self)) {
        let run = std::panic::AssertUnwindSafe(|| on(self));
        if let Err(why) = std::panic::catch_unwind(run) {
            let why = why.downcast_ref::<String>().cloned().unwrap_or_default();
            let last = &self.story[self.story.len().saturating_sub(25)..];
            panic!("seed {seed}: {why}: {last:#?}");
        }
    }

    /// The end of it all.
    fn purge(&mut self) {
        self.world.remove();
        self.world.forget_proofs();
        self.world.minutes(160);
        assert_eq!(self.world.group.backups, None, "{:#?}", self.world.notes);
        assert_eq!(self.world.account.our_snapshots(), []);
        for state in [ImageState::Available, ImageState::Pending, ImageState::Failed] {
            assert_eq!(self.world.account.ours(state), []);
        }
    }
}

fn walk(seed: u64) {
    let mut walk = Walk {
        world: continuous(2),
        dice: Dice(seed),
        keep: 2,
        now: 0,
        image: "ami-base1",
        is_on: true,
        story: Vec::new(),
    };
    for _ in 0..60 {
        walk.turn();
        let minutes = walk.dice.below(12) as i64;
        walk.told(seed, |walk| walk.world.minutes(minutes));
    }
    walk.told(seed, Walk::rest);
    walk.told(seed, Walk::purge);
}

#[test]
fn whatever_happens_the_group_keeps_what_it_needs_and_in_the_end_nothing() {
    for seed in 0..12 {
        walk(seed);
    }
}
