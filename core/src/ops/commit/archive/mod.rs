//! Trees in archives: tar and cpio.
//!
//! ```text
//! input   where an archive comes from, and how its paths are taken
//! entry   one entry, its path made relative to the root            (pure)
//! pax     the extended headers of tar                             (pure)
//! tar     tar, with what PAX and GNU add to it
//! cpio    cpio, new and old
//! read    the blocking reader, on a thread of its own
//! lay     lays what comes over the tree
//! ```
//!
//! An archive is read once, from its beginning to its end, and nothing of it is unpacked to disk. Its
//! entries may come in any order, so the names of all of them are held in memory until its end.

mod cpio;
mod entry;
mod input;
mod lay;
mod pax;
mod read;
mod tar;

pub use input::{ArchiveInput, MissingParents, PathRename};
