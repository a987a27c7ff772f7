//! Ids: shaped as AWS shapes them, unique within a cloud, and the same for the same seed and history.

use super::error::Kind;

/// A counter hashed with the seed (SplitMix64, Steele, Lea and Flood 2014: a bijection, so ids never collide).
#[derive(Clone, Debug)]
pub(crate) struct Ids {
    seed: u64,
    drawn: u64,
}

impl Ids {
    pub(crate) fn new(seed: u64) -> Ids {
        Ids { seed, drawn: 0 }
    }

    fn draw(&mut self) -> u64 {
        self.drawn += 1;
        let mut z = self.seed.wrapping_add(self.drawn.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Prefix and 17 hexadecimal digits.
    pub(crate) fn next(&mut self, prefix: &str) -> String {
        format!("{prefix}0{:016x}", self.draw())
    }

    /// A resource id of `kind`.
    pub(crate) fn of(&mut self, kind: Kind) -> String {
        self.next(kind.prefix())
    }

    /// A spot request id: `sir-` and eight characters.
    pub(crate) fn spot_request(&mut self) -> String {
        let draw = self.draw();
        format!("sir-{:08x}", (draw >> 32) as u32 ^ draw as u32)
    }

    /// Two words from which an event's UUID is written when it is read.
    pub(crate) fn uuid(&mut self) -> (u64, u64) {
        (self.draw(), self.draw())
    }
}

/// Two words in the form of a version 4 UUID.
pub(crate) fn uuid_text((high, low): (u64, u64)) -> String {
    let (high, low) = ((high & !0xF000) | 0x4000, (low & (u64::MAX >> 2)) | (1 << 63));
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xFFFF,
        high & 0xFFFF,
        low >> 48,
        low & 0xFFFF_FFFF_FFFF
    )
}
