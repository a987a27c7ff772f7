//! Every bound and pause that a decision depends on, with its unit in the type and its reason here.

use jiff::SignedDuration;

const fn secs(n: i64) -> SignedDuration {
    SignedDuration::from_secs(n)
}

/// A notice older than this is no news: the instance has two minutes from it, and deliveries may lag.
pub const NOTICE_FRESH: SignedDuration = secs(5 * 60);
/// An instance that still runs this long after its notice was spared.
pub const NOTICE_SPARED_AFTER: SignedDuration = secs(10 * 60);
/// How long an ended instance may keep its volumes and interface before the node is reported as blocked.
pub const RELEASE_OVERDUE: SignedDuration = secs(10 * 60);
/// A member waits so long for another one of its group to give up its address, whose last snapshot may take
/// hours, before it says that the address is taken.
pub const HAND_OVER_OVERDUE: SignedDuration = secs(6 * 60 * 60);
/// An unanswered launch token is sent again only while it is younger than this.
pub const LAUNCH_TOKEN_LIFE: SignedDuration = secs(30 * 60);
/// "There is no such instance or volume" counts only after reads have said so for this long.
pub const QUIET: SignedDuration = secs(10 * 60);
/// A missing instance is gone only this long after it was first missed: EC2 shows a terminated one for
/// about an hour, and a NotFound may be a lagging read.
pub const MISSING_IS_GONE: SignedDuration = secs(60 * 60);
/// How far ahead something is put that the next minute's tick is to find due: less than a minute, since
/// what falls due a second after a tick would wait for the one after.
pub const NEXT_TICK: SignedDuration = secs(45);
/// How soon a step is tried again that AWS answered with "not yet", a throttle or nothing.
pub const RETRY_SOON: SignedDuration = secs(15);
/// How soon a step is tried again that met a resource still changing its state.
pub const NOT_YET_REST: SignedDuration = secs(3);
/// How often a running node is looked at whose root Perennial has no rights to.
pub const UNTAGGED_REST: SignedDuration = secs(5 * 60);
/// How often a node that rests is looked at: whether what it is to be resumed from is still there.
pub const RESTING_LOOK: SignedDuration = secs(5 * 60);
/// How long the whole ladder rests after every rung was refused for want of capacity.
pub const LADDER_REST: SignedDuration = secs(60);
/// How long a step rests that AWS refused for a reason only a person can mend.
pub const REFUSED_REST: SignedDuration = secs(5 * 60);
/// The pause between two short polls within one invocation.
pub const POLL_EVERY: SignedDuration = secs(1);
/// How long one invocation may go on polling before it leaves the rest to the tick.
pub const POLL_AT_MOST: SignedDuration = secs(20);
/// A claim outlives its claimant's deadline by this much, for clocks that differ.
pub const CLAIM_GRACE: SignedDuration = secs(5);
/// EC2 refuses a second snapshot of a volume within 15 seconds (`SnapshotCreationPerVolumeRateExceeded`).
pub const SNAPSHOT_SPACING: SignedDuration = secs(15);
/// How many calls a second take snapshots at most, and as many delete them, unless the settings say otherwise:
/// EC2 allows 5 a second of each in an account and Region, and final snapshots need room. Sets of snapshots have a
/// quota of their own (EC2 Developer Guide, *API throttling*), and are taken at the same pace all the same.
pub const SNAPSHOTS_PER_SECOND: u32 = 4;
/// The highest pace that can be set: two hundred times EC2's default quota.
pub const SNAPSHOTS_PER_SECOND_MAX: u32 = 1000;
/// How long one beat of the snapshot pass takes: so many calls are made side by side, then it waits.
pub const BEAT: SignedDuration = secs(1);
/// Over so many beats a minute's calls are spread: what is left of the minute is for the reads before them.
pub const BEATS: u32 = 52;
/// When a pass leaves the rest to the next one, its reads included: two side by side would exceed the pace.
pub const PASS_AT_MOST: SignedDuration = secs(58);
/// A tick of the snapshot pass that comes this late is dropped: another one has come. EventBridge starts a schedule
/// somewhen within its minute, which must not count as late.
pub const TICK_STALE: SignedDuration = secs(90);
/// So long a pass makes its calls at least, however long its reads took: else slow reads would stop them all.
pub const BEATS_AT_LEAST: SignedDuration = secs(15);
/// So many reads of one kind go side by side: EC2 allows 20 a second (EC2 Developer Guide, *API throttling*).
pub const READS_AT_ONCE: usize = 5;
/// So many nodes are read in one call, as many values as one filter takes (EC2 API reference, *Filter*).
pub const NODES_PER_READ: usize = 200;
/// A pass that goes on asks so often whether the deployment was suspended meanwhile.
pub const SUSPENSION_ASKED: SignedDuration = secs(10);
/// A lane that was throttled repeatedly grows by a call a beat after so many quiet beats.
pub const QUIET_BEATS: u32 = 4;
/// A lane that is throttled in so many beats in a row at its slowest leaves the rest to the next tick.
pub const THROTTLED_BEATS: u32 = 3;
/// So many snapshots are read again by their ids before they are deleted, each with the one that replaces it.
pub const REREAD_AT_ONCE: usize = 100;
/// At most for so many beats ahead.
pub const REREAD_BEATS: usize = 5;
/// So long such a read proves that a snapshot may go.
pub const REREAD_FRESH: SignedDuration = secs(6);
/// A node is passed over that was not served for two of its turns and this long.
pub const TURN_SLACK: SignedDuration = secs(2 * 60);
/// One tick more is left out for each so long that a node was passed over …
pub const REFUSED_STEP: SignedDuration = secs(10 * 60);
/// … and at least every so many ticks it is tried.
pub const REFUSED_TICKS: u64 = 5;
/// How long a needless snapshot is tried to be deleted at every tick.
pub const ROTATION_EAGER: SignedDuration = secs(60 * 60);
/// Every so many ticks a snapshot is tried that should have been gone for that long.
pub const ROTATION_HELD_TICKS: u64 = 10;
/// A node that is further behind than this, with snapshots left that the pace did not allow, is lagging.
pub const LAGGING: SignedDuration = secs(60);
/// The same for a node whose snapshots are refused or cannot be taken at all.
pub const STUCK: SignedDuration = secs(5 * 60);
/// A snapshot that is pending for so long is told of, once its node is behind.
pub const PENDING_LONG: SignedDuration = secs(60 * 60);
/// How often it is told that snapshots lag.
pub const LAGGING_TOLD: SignedDuration = secs(10 * 60);
/// So many nodes with the oldest recovery points are named in the log at each tick.
pub const WORST_TOLD: usize = 3;
/// No rebalance snapshot is taken of a volume that was snapshotted this shortly before.
pub const REBALANCE_FRESH: SignedDuration = secs(2 * 60);
/// Nor a second one within this time.
pub const REBALANCE_EVERY: SignedDuration = secs(10 * 60);
/// Most of them in a deployment in a minute: the notices that may follow need EC2's burst of 100.
pub const REBALANCES_AT_ONCE: usize = 20;
/// So many volumes of an instance one CreateSnapshots can leave out (EC2 API reference, *InstanceSpecification*).
pub const LEFT_OUT_MAX: usize = 40;
/// Shortest interval of periodic snapshots.
pub const SNAPSHOT_EVERY_MIN: SignedDuration = secs(60);
/// Longest interval of periodic snapshots: a day, beyond which a recovery point is a backup.
pub const SNAPSHOT_EVERY_MAX: SignedDuration = secs(24 * 60 * 60);
/// Most snapshots kept per line.
pub const SNAPSHOTS_KEPT_MAX: u32 = 500;
/// Shortest retention.
pub const RETENTION_MIN: SignedDuration = secs(60 * 60);
/// Longest retention: ten years; beyond it a typo is likelier than a wish.
pub const RETENTION_MAX: SignedDuration = secs(10 * 365 * 24 * 60 * 60);
/// A purge that an edit brings about at once waits this long: a whole tick goes by after `_status` said so.
pub const PURGE_NOTICE: SignedDuration = secs(60);
/// So long a source is waited for that a backup is due of: a member may be on its way, or its status checks, which
/// take some minutes. The shortest interval of backups is no longer.
pub const BACKUP_SOURCE_WAITED: SignedDuration = secs(10 * 60);
/// A backup that EC2 has not begun for so long is given up: one of another instance may be.
pub const BACKUP_STALLED: SignedDuration = secs(30 * 60);
/// So often it is tried to make the backup that is due.
pub const BACKUP_ATTEMPTS: u32 = 3;
/// And so long after the last attempt.
pub const BACKUP_REST: SignedDuration = secs(60);
/// A backup is not removed so shortly after another one took its place: several times the time that an invocation has
/// which read it as the present one, and may be about to write down a launch from it.
pub const BACKUP_SETTLES: SignedDuration = secs(5 * 60);
/// A backup that reads do not show for so long was removed by other hands. Nothing is deleted for that.
pub const BACKUP_MISSING_IS_GONE: SignedDuration = secs(3 * 60);
/// What could not be removed for so long is told of.
pub const BACKUP_HELD: SignedDuration = secs(60 * 60);
/// So many images are remembered that members were launched from before the operator changed the image.
pub const FORMER_IMAGES_KEPT: usize = 500;
/// The most entries of a list that are read at all: twice what any list may have, and few enough to be compared.
pub const LIST_MAX: usize = 1000;
/// So many problems of one item are told of together: `_status` must fit into the item.
pub const PROBLEMS_TOLD: usize = 50;
/// The most members that a group may have: its record lists them all, and an item has at most 400 KB.
pub const CAPACITY_MAX: u32 = 500;
/// Highest value of `recycle`: beyond it a typo is likelier than a count.
pub const RECYCLE_MAX: u32 = 1_000_000;
/// How often backups are taken with frequency "continuous", and the least time between two of any other: an image
/// takes minutes to be made, and they would pile up.
pub const BACKUP_EVERY_MIN: SignedDuration = secs(10 * 60);
/// A cron expression whose first time is further ahead is a mistake: even the 29th of February comes within eight
/// years.
pub const BACKUP_DUE_WITHIN: SignedDuration = secs(10 * 366 * 24 * 60 * 60);
/// Most backups kept of a group: its record lists them with their snapshots beside its members, and an item has at
/// most 400 KB. EC2 allows 50,000 images in a Region (EC2 User Guide, *AMI quotas*), enough for 250 such groups.
pub const BACKUPS_KEPT_MAX: u32 = 200;
/// Longest cron expression: one that names every minute, hour, day and month by itself has fewer characters.
pub const CRON_LENGTH_MAX: usize = 400;
/// Most nodes whose removal one setting confirms: more than one deployment is made for.
pub const REMOVALS_MAX: u32 = 1_000_000;
/// So many former lives of a name are remembered: what they left is long found by then.
pub const FORMER_LIVES_KEPT: usize = 16;
/// So many deleted things a record remembers: those of several cycles, each with a volume, an image and a
/// snapshot. The pass that would find one again comes every hour.
pub const DEPARTED_KEPT: usize = 24;
/// So many volumes are remembered that a data volume descends from: their snapshots have long been rotated out.
pub const FORMER_VOLUMES_KEPT: usize = 16;
/// An attachment that takes longer than this hangs: EC2 does not end it by itself (EBS User Guide, *Troubleshoot
/// volume attachment*).
pub const ATTACHES_WITHIN: SignedDuration = secs(10 * 60);
/// So many new volumes of an instance are judged in one write: each is some lines, and one write takes 100 items
/// (DynamoDB, `TransactWriteItems`).
pub const VOLUMES_JUDGED_AT_ONCE: usize = 8;
/// How often the orphan pass goes through everything that carries our tags: it reads the whole deployment.
pub const ORPHANS_EVERY: SignedDuration = secs(60 * 60);
/// What is not explained by a record that was written this shortly before may be so by what it was written
/// for, or may only still be shown: several times what reads of EC2 lag behind.
pub const ORPHAN_SETTLES: SignedDuration = secs(5 * 60);
/// A proven orphan is deleted this long after it was first seen: time for a person to object.
pub const ORPHAN_KEPT: SignedDuration = secs(24 * 60 * 60);
/// So many attempts' keys are tried on an orphan: a ladder without capacity makes one a minute, and more than
/// half a day of that in one cycle is left to a person.
pub const ORPHAN_KEYS_TRIED: u32 = 1000;
/// Most adoptions and deletions of one orphan pass; the rest comes with the next.
pub const ORPHAN_CHANGES: usize = 20;
/// Most orphans one pass tells of; the rest comes with the next. Each is a line in a journal, and one write
/// takes 100 items (DynamoDB, `TransactWriteItems`).
pub const ORPHAN_REPORTS: usize = 40;
/// Most orphans remembered: an item of DynamoDB holds 400 KB, and each takes up to 100 bytes.
pub const ORPHANS_REMEMBERED: usize = 2000;
/// EC2 allows 50 tags on a resource; this many are ours, one is `Name`.
pub const OPERATOR_TAGS_MAX: usize = 40;
/// Steps one invocation may take for one node before it leaves the rest to the tick: several times what
/// the longest story needs, so that a defect cannot spin.
pub const STEPS_PER_DRIVE: usize = 60;
/// How many shards the work index has for each kind of work.
pub const WORK_SHARDS: u8 = 16;
/// Journal entries are kept this long.
pub const JOURNAL_KEPT: SignedDuration = secs(30 * 24 * 60 * 60);
