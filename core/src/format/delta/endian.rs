//! In which order the bytes of a superblock's numbers stand.

use super::superblock::PartHeader;
use crate::format::gvariant::Value;

/// More than any object of any delta has, on average: numbers this large are read the wrong way.
const AVERAGE_BYTES_MAX: u64 = 1 << 32;

/// The order of bytes: that of the machine which made the delta.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Endianness {
    /// The lowest first.
    #[default]
    Little,
    /// The highest first.
    Big,
}

impl Endianness {
    /// The key of a superblock's metadata that says it.
    pub const KEY: &'static str = "ostree.endianness";

    /// Returns the other one.
    #[must_use]
    pub fn swapped(self) -> Self {
        match self {
            Self::Little => Self::Big,
            Self::Big => Self::Little,
        }
    }

    /// Returns the letter that stands for it.
    pub fn letter(self) -> u8 {
        match self {
            Self::Little => b'l',
            Self::Big => b'B',
        }
    }

    /// Reads the value of the key.
    pub fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Byte(b'l') => Some(Self::Little),
            Value::Byte(b'B') => Some(Self::Big),
            _ => None,
        }
    }

    /// Guesses it of a delta that does not say: those before 2016.
    pub(super) fn guess(parts: &[PartHeader]) -> Self {
        let objects: u64 = parts.iter().map(|part| part.objects.len() as u64).sum();
        let bytes = parts
            .iter()
            .fold(0_u64, |sum, part| sum.saturating_add(part.unpacked_bytes));
        match bytes / objects.max(1) > AVERAGE_BYTES_MAX {
            true => Self::Big,
            false => Self::Little,
        }
    }

    pub(super) fn u32(self, little: u32) -> u32 {
        match self {
            Self::Little => little,
            Self::Big => little.swap_bytes(),
        }
    }

    pub(super) fn u64(self, little: u64) -> u64 {
        match self {
            Self::Little => little,
            Self::Big => little.swap_bytes(),
        }
    }
}
