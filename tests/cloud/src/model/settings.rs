//! What a cloud is told at birth: place, account, latencies, switches.
//!
//! Every latency of the model stands here and nowhere else. They are chosen to keep the order and the rough
//! proportions seen on AWS while a demonstration stays short; none is documented by AWS as a guarantee.

use std::collections::BTreeMap;

use jiff::SignedDuration;

/// How many requests of one action an account may make.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quota {
    /// Requests at once.
    pub burst: f64,
    /// Requests per second in the long run.
    pub per_second: f64,
}

/// Settings of one [`Cloud`](super::Cloud); durations are cloud time.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Region name.
    pub region: String,
    /// Account number, twelve digits.
    pub account: String,
    /// Availability Zones of the Region.
    pub zones: Vec<String>,
    /// `pending` to `running`.
    pub boot: SignedDuration,
    /// `running` to both status checks `ok`.
    pub status_checks: SignedDuration,
    /// `shutting-down` to `terminated`.
    pub shut_down: SignedDuration,
    /// `stopping` to `stopped`.
    pub stop: SignedDuration,
    /// `terminated` to its volumes being `available`, or deleted.
    pub release_volume: SignedDuration,
    /// `terminated` to its network interfaces being `available`, or deleted.
    pub release_interface: SignedDuration,
    /// How long a terminated instance can still be described (about an hour: API reference, TerminateInstances).
    pub remember_terminated: SignedDuration,
    /// Spot interruption notice (EC2 User Guide, *Spot Instance interruption notices*: two minutes).
    pub notice: SignedDuration,
    /// Shortest time from a snapshot's `pending` to `completed`.
    pub snapshot_base: SignedDuration,
    /// Changed MiB a snapshot copies per second, on top of the base time.
    pub snapshot_rate: u32,
    /// Least time between two snapshots of one volume (EC2 developer guide, error codes: 15 seconds).
    pub snapshot_spacing: SignedDuration,
    /// Image `pending` to `available`; of CreateImage from its last snapshot on.
    pub register_image: SignedDuration,
    /// Most images of one instance that CreateImage may be making at once. AWS has such a limit (EC2 developer guide, error
    /// codes: `ConcurrentCreateImageNoRebootLimitExceeded`) and does not publish it; the model takes the least, so that a
    /// caller who does not expect it is found out.
    pub create_image_limit: usize,
    /// How long after deregistration an image still holds its snapshots.
    pub image_hold: SignedDuration,
    /// Volume `creating` to `available`.
    pub create_volume: SignedDuration,
    /// `attaching` to `attached`, of a volume that is attached after the launch.
    pub attach_volume: SignedDuration,
    /// `detaching` to the volume being `available`.
    pub detach_volume: SignedDuration,
    /// Most volumes of one instance (EC2 User Guide, *Volume limits*: 28 attachments of most types, the network interface
    /// among them).
    pub attachment_limit: usize,
    /// A modification's `modifying` to `optimizing`, from when on it is in force.
    pub modify_volume: SignedDuration,
    /// A modification's `optimizing` to `completed`.
    pub optimize_volume: SignedDuration,
    /// Most modifications of a volume within [`Settings::modification_window`]. One in six hours is what AWS enforced for
    /// years; the newest API reference (ModifyVolume) allows four within 24 hours.
    pub modification_limit: usize,
    /// How long a modification counts.
    pub modification_window: SignedDuration,
    /// How long after creation a resource is not yet seen by reads (eventual consistency).
    pub read_lag: SignedDuration,
    /// Most Elastic IP addresses (EC2 User Guide, *Elastic IP addresses*: 5 per Region, adjustable).
    pub elastic_ip_limit: usize,
    /// Most network interfaces (VPC User Guide, *Amazon VPC quotas*: 5,000 per Region, adjustable).
    pub network_interface_limit: usize,
    /// Whether an Elastic IP address stays with an interface that outlives its instance. One page of the EC2 User Guide
    /// (*How instance termination works*) says that the instance's addresses are detached, others that they belong to the
    /// interface; which it is has not been tried at AWS.
    pub elastic_ips_survive_termination: bool,
    /// What an AssociateAddress call without `AllowReassociation` means. The API reference says that reassociation is
    /// automatic; users of older accounts report `Resource.AlreadyAssociated`.
    pub reassociate_by_default: bool,
    /// Whether API calls draw from request buckets.
    pub throttling: bool,
    /// Request buckets that AWS raised for the account, by action; every other one is as the guide has it.
    pub raised: BTreeMap<&'static str, Quota>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            region: "us-east-1".to_owned(),
            account: "123456789012".to_owned(),
            zones: vec!["us-east-1a".to_owned(), "us-east-1b".to_owned()],
            boot: SignedDuration::from_secs(12),
            status_checks: SignedDuration::from_secs(45),
            shut_down: SignedDuration::from_secs(25),
            stop: SignedDuration::from_secs(15),
            release_volume: SignedDuration::from_secs(3),
            release_interface: SignedDuration::from_secs(2),
            remember_terminated: SignedDuration::from_secs(3600),
            notice: SignedDuration::from_secs(120),
            snapshot_base: SignedDuration::from_secs(4),
            snapshot_rate: 64,
            snapshot_spacing: SignedDuration::from_secs(15),
            register_image: SignedDuration::from_secs(8),
            create_image_limit: 1,
            image_hold: SignedDuration::from_secs(20),
            create_volume: SignedDuration::from_secs(2),
            attach_volume: SignedDuration::from_secs(4),
            detach_volume: SignedDuration::from_secs(5),
            attachment_limit: 27,
            modify_volume: SignedDuration::from_secs(5),
            optimize_volume: SignedDuration::from_secs(60),
            modification_limit: 1,
            modification_window: SignedDuration::from_hours(6),
            read_lag: SignedDuration::ZERO,
            elastic_ip_limit: 5,
            network_interface_limit: 5000,
            elastic_ips_survive_termination: true,
            reassociate_by_default: true,
            throttling: true,
            raised: BTreeMap::new(),
        }
    }
}
