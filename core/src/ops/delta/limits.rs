//! What an apply may use. Nothing of it comes from the delta.

use std::sync::Arc;

use super::SpillPlace;
use crate::codec::{RustXz, XzCodec};

/// What applying a delta may use.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ApplyBudget {
    /// The most bytes of a superblock outside of its inline parts.
    pub superblock_bytes_max: u64,
    /// The longest file of a part, bytes.
    pub part_bytes_max: u64,
    /// The most bytes that a part unpacks to: they go to `spill`.
    pub payload_bytes_max: u64,
    /// The most bytes of a part's tables and operations, in memory.
    pub table_bytes_max: u64,
    /// The longest content of one file, bytes.
    pub content_bytes_max: u64,
    /// The most memory that a decoder takes, bytes.
    pub decoder_bytes_max: u64,
    /// How many parts are unpacked at once. If only one is, objects of another are stored meanwhile.
    pub decoders: usize,
    /// An unpacked part up to this length waits in memory, bytes; a longer one in `spill`.
    pub payload_memory_bytes_max: u64,
    /// Where unpacked parts wait that are longer.
    pub spill: SpillPlace,
    /// What unpacks.
    pub xz: Arc<dyn XzCodec>,
}

impl Default for ApplyBudget {
    /// One decoder of up to 48 MiB, parts of up to 1 GiB that unpack to up to 4 GiB, in memory also those of
    /// more than 16 MiB; the codec of core.
    fn default() -> Self {
        Self {
            superblock_bytes_max: 16 << 20,
            part_bytes_max: 1 << 30,
            payload_bytes_max: 4 << 30,
            table_bytes_max: 16 << 20,
            content_bytes_max: u64::MAX,
            decoder_bytes_max: 48 << 20,
            decoders: 1,
            payload_memory_bytes_max: 16 << 20,
            spill: SpillPlace::Memory,
            xz: Arc::new(RustXz),
        }
    }
}
