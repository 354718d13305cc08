//! The archive layout over a transport: which path holds what.
//!
//! All paths below a remote are made in this module, and nowhere else.

mod layout;
mod metalink;
mod read;
mod ref_file;
mod remote;
mod remote_repo;
mod store;

pub use layout::{CONFIG_PATH, SUMMARY_PATH, SUMMARY_SIGNATURE_PATH};
pub use metalink::{METALINK_BYTES_MAX, Metalink};
pub use read::{FileVersion, IfChanged, read_file};
pub use remote::{ArchiveLimits, ArchiveRemote};
pub use store::{
    ArchiveOptions, ArchiveStore, CreateArchive, LeaseInfo, LeaseOptions, OpenSpool, Spool,
};
