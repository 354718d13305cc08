//! composefs images: a read-only filesystem with the names and metadata of a tree, whose files have
//! their content elsewhere.
//!
//! An image is erofs, mounted below overlayfs: extended attributes of its files tell overlayfs where
//! below the other layer, a repository's `objects/`, their content is, and which fs-verity digest that
//! must have. The fs-verity digest of the image then stands for the whole tree, which is why the same
//! tree must always give the same bytes: those that `libcomposefs` 1.0 writes as version 0 of the
//! format, which is what OSTree records in commits.
//!
//! ```text
//! verity   fs-verity digests
//! tree     the tree as it is told of
//! xattr    extended attributes: how they are escaped, named, shared and filtered
//! overlay  what overlayfs must find in the image
//! layout   the place of everything in the image      (pure)
//! write    the bytes, in order
//! ```
//!
//! The image, in order: a header, the superblock at 1 024, one inode after another with its attributes
//! and the end of its data, the attributes that several inodes share, and whole blocks of 4 096 bytes:
//! entries of large directories, and targets of symbolic links that fit nowhere else.
//!
//! What OSTree's trees can hold can be told: directories, symbolic links and regular files. There are no
//! times (all are 1970-01-01), devices, hard links or files with their content in the image. Names and
//! attributes of a whole tree are held in memory until it is written, each different attribute once.
//!
//! Everything is synchronous: hand it to a thread that may block.

mod layout;
mod overlay;
mod tree;
mod verity;
mod write;
mod xattr;

pub use tree::{Attributes, Backing, DirId, Image};
pub use verity::{Digest, VerityHasher};

/// The smallest unit of data, and of what fs-verity hashes.
const BLOCK: u64 = 4096;

/// Why a tree cannot be an image, or an image not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// What cannot be the name of a file: it is empty, `.` or `..`, longer than 255 bytes, or has a
    /// slash or a NUL byte.
    #[error("{0:?} cannot be the name of a file in an image")]
    Name(String),
    /// A name that stands twice in one directory.
    #[error("{0:?} is there twice in one directory")]
    Duplicate(String),
    /// A target of a symbolic link, or a path of content, that is empty, longer than 4 095 bytes, or
    /// has a NUL byte.
    #[error("a path of {0} bytes cannot be in an image")]
    Path(usize),
    /// Extended attributes that are more than an inode has room for (32 767 bytes), or a name that is
    /// empty, longer than 255 bytes, or has a NUL byte.
    #[error("extended attributes cannot be in an image: {0}")]
    Xattrs(&'static str),
    /// A file that is larger than an image can tell: 8 PiB.
    #[error("a file of {0} bytes is too large for an image")]
    FileTooLarge(u64),
    /// More files than an image can hold, or more data.
    #[error("the tree is too large for an image")]
    TreeTooLarge,
    /// The image cannot be written.
    #[error("the image cannot be written")]
    Io(#[from] std::io::Error),
}
