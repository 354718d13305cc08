//! Static deltas: what turns one commit into another, made ahead of time.
//!
//! A delta is a [`Superblock`], which lists what there is, and parts. A part is a byte that says how
//! the rest is compressed, and a [payload](PartPayload): a heap of bytes, and the operations that
//! make objects of them. Nothing that a header announces is believed: what is read is limited by
//! what the caller allows, and what comes out is verified like any other object.

mod endian;
mod index;
mod name;
mod ops;
mod part;
mod patch;
mod read_at;
mod signed;
mod superblock;
mod write;

pub use endian::Endianness;
pub use index::{DELTAS_KEY, DeltaIndex, read_delta_map};
pub use name::{DeltaFile, DeltaName};
pub use ops::{Op, OpReader, put_op};
pub use part::{Compression, Mode, PartBuilder, PartLimits, PartPayload};
pub use patch::{PatchStep, read_patch_step, write_patch_step};
pub use read_at::{Range, ReadAt};
pub use signed::SignedSuperblock;
pub use superblock::{Fallback, Inline, MetaEntry, PartHeader, Superblock};
pub use write::Chunk;
