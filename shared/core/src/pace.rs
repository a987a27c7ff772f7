//! The pace of a pass: how many calls of one kind are made in each beat.
//!
//! A pass goes a little faster than the pace that is set, since it rests until the next tick; over the whole
//! minute it never makes more calls than the pace allows. Throttled calls halve the beat, quiet ones
//! let it grow again, and whoever is throttled again and again leaves the rest to the next tick.
//!
//! A call is a call, however much it does: the snapshots of several volumes are taken by one of them, and deleted
//! by as many as there are volumes.

use std::collections::VecDeque;

use crate::limits;

/// Work of one kind, handed out beat by beat.
#[derive(Debug)]
pub struct Lane<T> {
    waiting: VecDeque<T>,
    /// How many at most in a beat.
    full: u32,
    /// How many at present.
    share: u32,
    /// How many more in this pass.
    left: u32,
    /// How many beats in a row were quiet since it last slowed down or grew.
    quiet: u32,
    /// How many quiet beats it takes to grow: once throttled it hurries back, throttled again it feels its way.
    patience: u32,
    /// How many beats in a row were throttled at the slowest.
    throttled: u32,
}

impl<T> Lane<T> {
    /// A lane for this work, at so many calls a second. A second of each minute is left out, so that what
    /// EC2's burst lent to one pass is back before the next.
    pub fn new(work: impl IntoIterator<Item = T>, per_second: u32) -> Self {
        let minute = per_second.max(1).saturating_mul(59);
        let full = minute.div_ceil(limits::BEATS);
        let waiting = work.into_iter().collect();
        Self { waiting, full, share: full, left: minute, quiet: 0, patience: 0, throttled: 0 }
    }

    /// How much the next beat does.
    pub fn size(&self) -> usize {
        if self.throttled >= limits::THROTTLED_BEATS {
            return 0;
        }
        self.waiting.len().min(self.share.min(self.left) as usize)
    }

    /// What the next beat does; nothing if all is done, or the rest has to wait for the next tick.
    pub fn beat(&mut self) -> Vec<T> {
        let n = self.size();
        self.left -= u32::try_from(n).unwrap_or(self.left).min(self.left);
        self.waiting.drain(..n).collect()
    }

    /// How the last beat went: so many of its calls were throttled, so many were not.
    pub fn heard(&mut self, throttled: usize, passed: usize) {
        if throttled > 0 {
            self.throttled = if self.share <= 1 { self.throttled + 1 } else { 0 };
            let passed = u32::try_from(passed).unwrap_or(u32::MAX);
            self.share = (self.share / 2).min(passed).max(1);
            self.quiet = 0;
            self.patience = if self.patience == 0 { 1 } else { limits::QUIET_BEATS };
            return;
        }
        self.throttled = 0;
        self.quiet += 1;
        if self.quiet >= self.patience {
            self.share = self.full.min(self.share + 1);
            self.quiet = 0;
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
            let n = *beats.last().unwrap();
            let throttled = if throttled(beats.len() - 1) { n.div_ceil(2) } else { 0 };
            lane.heard(throttled, n - throttled);
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
            let most = *beats.iter().max().unwrap() as u32;
            // Beside what EC2's quota allows in these beats the burst of 100 lends the rest.
            assert!(most <= pace + pace / 7 + 1, "{pace}: {most} in one beat");
        }
        assert_eq!(beats(7, 4, |_| false), [5, 2], "what is due is not put off");
        assert_eq!(beats(0, 4, |_| false), [0; 0]);
    }

    #[test]
    fn throttled_calls_slow_it_down_and_quiet_ones_let_it_recover() {
        assert_eq!(beats(60, 5, |beat| beat == 0)[..6], [6, 3, 4, 5, 6, 6]);
        let again = beats(60, 5, |beat| beat < 2);
        assert_eq!(again[..12], [6, 3, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3]);
    }

    #[test]
    fn whoever_is_throttled_again_and_again_leaves_the_rest() {
        let beats = beats(100, 5, |_| true);
        assert_eq!(beats, [6, 3, 1, 1, 1], "no storm");
    }

    #[test]
    fn what_is_done_comes_in_order() {
        let mut lane = Lane::new(0..12, 4);
        assert_eq!((lane.size(), lane.beat(), lane.waiting()), (5, vec![0, 1, 2, 3, 4], 7));
        lane.leave_out(|n| *n == 6);
        assert_eq!(lane.next(2).copied().collect::<Vec<_>>(), [5, 7]);
        assert_eq!(lane.beat(), [5, 7, 8, 9, 10]);
    }
}
