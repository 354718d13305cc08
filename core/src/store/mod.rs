//! The traits of places, and what moves between them.
//!
//! Three kinds of state are three traits, because they are three different systems: immutable
//! objects named by their hash ([`ObjectStore`]), few names that move ([`RefStore`]), and what is
//! mutable or named otherwise ([`RepoState`]).

mod body;
mod condemned;
mod config;
mod content_reader;
mod expected;
mod filez_reader;
mod incoming;
mod local;
mod memory;
mod object_store;
pub(crate) mod ref_rules;
mod ref_store;
mod repo_state;
mod resumable;
mod scratch;
mod vouched;

pub use body::{Body, Payload};
pub use condemned::{Condemned, Note};
pub use config::{StoreConfig, new_config};
pub use content_reader::ContentReader;
pub(crate) use content_reader::deflated_bytes_max;
pub use filez_reader::FilezReader;
pub use incoming::{HeaderCheck, Incoming};
pub use local::{LinkView, Linked, LocalContent, LocalFile, LocalObject, LocalObjects, Takeover};
pub use memory::{MemoryOptions, MemoryStore};
pub use object_store::{
    Batch, BatchOptions, BatchStats, Durability, Encoding, Leftovers, Listed, LockGuard, LockKind,
    ObjectSource, ObjectStore, Put, Stat, Stored, Trust,
};
pub use ref_store::{
    ExpectedRef, RefAnswer, RefAtomicity, RefName, RefSpace, RefStore, RefUpdate, RefValue,
};
pub use repo_state::{ExtraName, ListedDeltaFile, Partial, RepoState, SignedSummary, Swap};
pub use resumable::ResumableSource;
pub use scratch::{Scratch, ScratchContent, ScratchFile};
pub use vouched::{VouchedBytes, VouchedFilez};
