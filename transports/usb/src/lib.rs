//! Repositories on USB sticks, and in other mounted directories.
//!
//! ```text
//! STICK/.ostree/repo           the repository of a stick
//! STICK/.ostree/repos.d/NAME   others, or symbolic links to them; looked into first, by name
//! ```
//!
//! [`DirTransport`] moves files in and out of a directory, on any filesystem: it needs no hard links,
//! symbolic links, extended attributes, modes or exact times, and knows of names that differ only in
//! case, of characters that cannot be in names, and of the longest file of FAT. Over it the archive
//! layout of core makes a repository. [`Volume`] says what is mounted, [`Stick`] where on it
//! repositories are.
//!
//! A stick is not ours: whoever had it before may have put symbolic links in it that lead out, or
//! names that are none. Nothing below the directory of a repository is reached through a symbolic
//! link, and those of `repos.d` are followed only as long as they stay on the stick.

mod archive;
mod dir;
mod stick;
mod volume;

pub use archive::DirArchive;
pub use dir::{DirOptions, DirTransport, PutSync};
pub use stick::{OTHER_REPO_PATHS, REPO_PATH, REPOS_DIR, Stick, StickRepo};
pub use volume::{FileLimit, Volume};
