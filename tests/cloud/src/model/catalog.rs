//! Instance types the cloud offers: size, architecture, price.
//!
//! Prices are of the order of Linux prices in us-east-1 (spot about a third of on-demand) and only serve the comparison
//! with a request's `MaxPrice`; they are not a price list.

/// Processor architecture of a type, as images name it.
pub const X86_64: &str = "x86_64";
/// Processor architecture of the Graviton types.
pub const ARM64: &str = "arm64";

/// One instance type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstanceType {
    /// Name, for example `m6i.large`.
    pub name: &'static str,
    /// Virtual processors.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory: u32,
    /// [`X86_64`] or [`ARM64`].
    pub architecture: &'static str,
    /// On-demand price, millionths of a dollar an hour.
    pub on_demand_price: u64,
    /// Spot price, millionths of a dollar an hour.
    pub spot_price: u64,
}

const fn x86(name: &'static str, vcpus: u32, gib: u32, price: u64) -> InstanceType {
    of(name, vcpus, gib, X86_64, price)
}

const fn arm(name: &'static str, vcpus: u32, gib: u32, price: u64) -> InstanceType {
    of(name, vcpus, gib, ARM64, price)
}

const fn of(
    name: &'static str,
    vcpus: u32,
    gib: u32,
    architecture: &'static str,
    price: u64,
) -> InstanceType {
    InstanceType {
        name,
        vcpus,
        memory: gib * 1024,
        architecture,
        on_demand_price: price,
        spot_price: price * 35 / 100,
    }
}

/// Every type offered.
pub const TYPES: &[InstanceType] = &[
    x86("t3.small", 2, 2, 20_800),
    x86("t3.medium", 2, 4, 41_600),
    x86("t3.large", 2, 8, 83_200),
    x86("t3.xlarge", 4, 16, 166_400),
    x86("t3a.medium", 2, 4, 37_600),
    x86("t3a.large", 2, 8, 75_200),
    x86("m5.large", 2, 8, 96_000),
    x86("m5.xlarge", 4, 16, 192_000),
    x86("m5.2xlarge", 8, 32, 384_000),
    x86("m5a.large", 2, 8, 86_000),
    x86("m6i.large", 2, 8, 96_000),
    x86("m6i.xlarge", 4, 16, 192_000),
    x86("m6a.large", 2, 8, 86_400),
    x86("m7i.large", 2, 8, 100_800),
    x86("m7i.xlarge", 4, 16, 201_600),
    x86("c5.large", 2, 4, 85_000),
    x86("c5.xlarge", 4, 8, 170_000),
    x86("c6i.large", 2, 4, 85_000),
    x86("c6i.xlarge", 4, 8, 170_000),
    x86("c7i.large", 2, 4, 89_250),
    x86("r5.large", 2, 16, 126_000),
    x86("r5.xlarge", 4, 32, 252_000),
    x86("r6i.large", 2, 16, 126_000),
    x86("r6i.xlarge", 4, 32, 252_000),
    x86("r7i.large", 2, 16, 132_300),
    x86("t3.micro", 2, 1, 10_400),
    arm("t4g.micro", 2, 1, 8_400),
    arm("t4g.small", 2, 2, 16_800),
    arm("t4g.medium", 2, 4, 33_600),
    arm("t4g.large", 2, 8, 67_200),
    arm("m6g.large", 2, 8, 77_000),
    arm("m7g.large", 2, 8, 81_600),
    arm("m7g.xlarge", 4, 16, 163_200),
    arm("c7g.large", 2, 4, 72_500),
    arm("r7g.large", 2, 16, 107_100),
];

/// Looks a type up by name.
pub fn instance_type(name: &str) -> Option<&'static InstanceType> {
    TYPES.iter().find(|it| it.name == name)
}

/// How many addresses an interface of a type's instance may have, for each family; `None` for types that are not known
/// here. (EC2 User Guide, *IP addresses per network interface*: both families have the same limit in these types.)
pub fn addresses_per_interface(name: &str) -> Option<usize> {
    const GENERAL: &[&str] = &[
        "m5", "m5a", "m6i", "m6a", "m6g", "m7i", "m7g", "c5", "c6i", "c6g", "c7i", "c7g", "r5", "r6i", "r6g",
        "r7i", "r7g",
    ];
    let (family, size) = name.split_once('.')?;
    match (family, size) {
        ("t3" | "t3a" | "t4g", "nano" | "micro") => Some(2),
        ("t3" | "t3a" | "t4g", "small") => Some(4),
        ("t3" | "t3a" | "t4g", "medium") => Some(6),
        ("t3" | "t3a" | "t4g", "large") => Some(12),
        ("t3" | "t3a" | "t4g", "xlarge" | "2xlarge") => Some(15),
        _ if !GENERAL.contains(&family) => None,
        ("m6g" | "m7g" | "c6g" | "c7g" | "r6g" | "r7g", "medium") => Some(4),
        (_, "large") => Some(10),
        (_, "xlarge" | "2xlarge") => Some(15),
        (_, "4xlarge" | "8xlarge" | "12xlarge") => Some(30),
        _ => None,
    }
}

/// A decimal dollar price in millionths; `None` if it is not one.
pub(crate) fn price(text: &str) -> Option<u64> {
    let dollars: f64 = text.parse().ok()?;
    (dollars.is_finite() && dollars >= 0.0).then_some((dollars * 1e6).round() as u64)
}
