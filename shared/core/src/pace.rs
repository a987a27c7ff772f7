//! The pace of a pass: how many calls of one kind are made in each beat.
//!
//! A pass goes a little faster than the pace that is set, since it rests until the next tick; over the whole
//! minute it never makes more calls than the pace allows. Throttled calls halve the beat, quiet ones
//! let it grow again, and whoever is throttled again and again leaves the rest to the next tick.

use std::collections::VecDeque;

use crate::limits;

/// Work of one kind, handed out beat by beat.
#[derive(Debug)]
pub struct Lane<T> {
    waiting: VecDeque<T>,
    /// How many at most in all beats of a pass together.
    full: u32,
    /// How many at present.
    share: u32,
    /// What is left of the shares of the beats so far, in parts of a beat.
    credit: u32,
    /// How many more in this pass.
    left: u32,
    /// How many beats in a row were throttled at the slowest.
    throttled: u32,
}

impl<T> Lane<T> {
    /// A lane for this work, at so many calls a second. A second of each minute is left out, so that what
    /// EC2's burst lent to one pass is back before the next.
    pub fn new(work: impl IntoIterator<Item = T>, per_second: u32) -> Self {
        let minute = per_second.max(1).saturating_mul(59);
        Self {
            waiting: work.into_iter().collect(),
            full: minute,
            share: minute,
            credit: 0,
            left: minute,
            throttled: 0,
        }
    }

    /// What the next beat does; nothing if all is done, or the rest has to wait for the next tick.
    pub fn beat(&mut self) -> Vec<T> {
        if self.throttled >= limits::THROTTLED_BEATS {
            return Vec::new();
        }
        self.credit = self.credit.saturating_add(self.share);
        let n = (self.credit / limits::BEATS).min(self.left);
        self.credit %= limits::BEATS;
        self.left -= n;
        let n = self.waiting.len().min(n as usize);
        self.waiting.drain(..n).collect()
    }

    /// How the last beat went.
    pub fn heard(&mut self, was_throttled: bool) {
        // At the slowest one call a beat, from which it grows by one a beat.
        let one = limits::BEATS;
        if was_throttled {
            self.throttled = if self.share <= one { self.throttled + 1 } else { 0 };
            self.share = (self.share / 2).max(one);
        } else {
            self.throttled = 0;
            self.share = self.full.min(self.share.saturating_add(one));
        }
    }

    /// The next so many that wait.
    pub fn next(&self, n: usize) -> impl Iterator<Item = &T> {
        self.waiting.iter().take(n)
    }

    /// Leaves out what turned out not to be done.
    pub fn leave_out(&mut self, what: impl Fn(&T) -> bool) {
        self.waiting.retain(|it| !what(it));
    }

    /// How much is waiting.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether there is anything for another beat.
    pub fn has_more(&self) -> bool {
        !self.waiting.is_empty() && self.left > 0 && self.throttled < limits::THROTTLED_BEATS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many calls each beat makes, if these beats are throttled.
    fn beats(work: u32, per_second: u32, throttled: impl Fn(usize) -> bool) -> Vec<usize> {
        let mut lane = Lane::new(0..work, per_second);
        let mut beats = Vec::new();
        while lane.has_more() {
            beats.push(lane.beat().len());
            lane.heard(throttled(beats.len() - 1));
        }
        assert!(lane.beat().is_empty());
        beats
    }

    #[test]
    fn a_minute_never_has_more_calls_than_the_pace_allows() {
        for pace in [1, 2, 4, 5, 36, 1000] {
            let beats = beats(1_000_000, pace, |_| false);
            assert_eq!(beats.iter().sum::<usize>(), 59 * pace as usize, "{pace}");
            assert!(beats.len() <= limits::BEATS as usize, "{pace}: {} beats", beats.len());
            let most = beats.iter().max().unwrap();
            assert!(*most as u32 <= pace + pace / 10 + 1, "{pace}: {most} in one beat");
        }
        assert_eq!(beats(7, 4, |_| false), [4, 3], "what is due is not put off");
        assert_eq!(beats(0, 4, |_| false), [0; 0]);
    }

    #[test]
    fn throttled_calls_slow_it_down_and_quiet_ones_let_it_recover() {
        assert_eq!(beats(30, 5, |beat| beat < 2)[..7], [5, 3, 1, 2, 4, 4, 5]);
    }

    #[test]
    fn whoever_is_throttled_again_and_again_leaves_the_rest() {
        let beats = beats(100, 5, |_| true);
        assert_eq!(beats, [5, 3, 1, 1, 1, 1], "no storm");
    }

    #[test]
    fn what_is_done_comes_in_order() {
        let mut lane = Lane::new(0..12, 4);
        assert_eq!((lane.beat(), lane.waiting()), (vec![0, 1, 2, 3], 8));
        assert_eq!(lane.beat(), [4, 5, 6, 7]);
        lane.leave_out(|n| *n == 9);
        assert_eq!(lane.next(2).copied().collect::<Vec<_>>(), [8, 10]);
    }
}
