//! How to make a delta.

use std::sync::Arc;

use crate::codec::{RustXz, XzCodec};
use crate::format::delta::Endianness;

/// How to make a delta.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GenerateOptions {
    /// A file at least this long that has no old one to be made from is left out, to be fetched as
    /// an object; `None`: none is.
    pub fallback_bytes_min: Option<u64>,
    /// Patches are made where the old and the new file together are no longer than this; 0: never.
    pub patch_bytes_max: u64,
    /// About how long the payload of a part may be, bytes.
    pub part_bytes_max: u64,
    /// In which order the bytes of the superblock's numbers stand.
    pub endianness: Endianness,
    /// The time, seconds since 1970.
    pub now_secs: u64,
    /// About how much memory may be used, bytes.
    pub memory_bytes_max: u64,
    /// How hard to compress, 1 (fast) to 9 (small).
    pub level: u8,
    /// What compresses.
    pub xz: Arc<dyn XzCodec>,
}

impl Default for GenerateOptions {
    /// As OSTree has it, within 400 MiB, with the codec of core; made at the beginning of time.
    fn default() -> Self {
        Self {
            fallback_bytes_min: Some(4_000_000),
            patch_bytes_max: 128_000_000,
            part_bytes_max: 32_000_000,
            endianness: Endianness::Little,
            now_secs: 0,
            memory_bytes_max: 400 << 20,
            level: 6,
            xz: Arc::new(RustXz),
        }
    }
}
