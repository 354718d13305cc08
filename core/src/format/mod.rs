//! OSTree's formats: pure functions from bytes to values and back, no I/O.

mod checksum;
mod commit;
pub mod delta;
mod dirmeta;
mod dirtree;
mod error;
mod file_header;
pub mod gvariant;
pub mod keyfile;
mod names;
mod object;
mod sizes;
mod summary;
mod summary_index;
mod tombstone;
mod xattrs;

pub use checksum::{Checksum, Hasher};
pub use commit::Commit;
pub use dirmeta::DirMeta;
pub use dirtree::{DirEntry, DirTree, FileEntry};
pub use error::{FormatError, Place};
pub use file_header::{FileHeader, frame_header, read_header_frame};
pub use names::{Branch, CollectionId, FILE_NAME_BYTES_MAX, Refspec, RemoteName, check_file_name};
pub use object::{ContentLayout, ObjectName, ObjectType, loose_path};
pub use sizes::{ObjectSize, SIZES_KEY, read_sizes, sizes_value};
pub use summary::{Summary, SummaryRef};
pub use summary_index::{SubSummary, SummaryIndex};
pub use tombstone::Tombstone;
pub use xattrs::Xattrs;

/// The longest metadata object that is read or written, bytes; OSTree's own limit.
pub const METADATA_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// The longest file header that is read, bytes. Linux allows 64 KiB of extended attributes an
/// attribute; no filesystem holds more than a few of that length on one file.
pub const HEADER_BYTES_MAX: u32 = 10 * 1024 * 1024;

/// How deep directories may be nested; OSTree's own limit.
pub const TREE_DEPTH_MAX: usize = 256;
