//! What kinds of object there are, how they are named, and where they lie in a repository.

use std::fmt;
use std::str::FromStr;

use super::{Checksum, FormatError};

/// The kinds of object that are named by the hash of their bytes.
///
/// Detached metadata and tombstones look like objects on disk but are mutable or named otherwise:
/// they belong to [`RepoState`](crate::store::RepoState).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectType {
    /// A regular file or symbolic link: header, then content.
    File,
    /// The names and checksums in one directory.
    DirTree,
    /// Owner, mode and extended attributes of a directory.
    DirMeta,
    /// A commit.
    Commit,
    /// The extended attributes of files, apart (mode `bare-split-xattrs` only).
    FileXattrs,
}

impl ObjectType {
    /// All kinds, in the order in which a tree is made: children before parents.
    pub const ALL: [ObjectType; 5] = [
        Self::FileXattrs,
        Self::File,
        Self::DirMeta,
        Self::DirTree,
        Self::Commit,
    ];

    /// Returns OSTree's number for this kind, as it stands in deltas and sizes metadata.
    pub const fn number(self) -> u8 {
        match self {
            Self::File => 1,
            Self::DirTree => 2,
            Self::DirMeta => 3,
            Self::Commit => 4,
            Self::FileXattrs => 8,
        }
    }

    /// Returns the kind that OSTree numbers `number`, if it is one of these.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.number() == number)
    }

    /// Returns the extension of loose objects of this kind (files: outside archives).
    pub const fn extension(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::DirTree => "dirtree",
            Self::DirMeta => "dirmeta",
            Self::Commit => "commit",
            Self::FileXattrs => "file-xattrs",
        }
    }

    /// Returns whether objects of this kind are small values that are read whole.
    pub const fn is_metadata(self) -> bool {
        !matches!(self, Self::File)
    }
}

impl fmt::Display for ObjectType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.extension())
    }
}

/// The identity of an object: its kind and the checksum of its canonical bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// The kind.
    pub object_type: ObjectType,
    /// The checksum.
    pub checksum: Checksum,
}

impl ObjectName {
    /// Names an object.
    pub const fn new(object_type: ObjectType, checksum: Checksum) -> Self {
        Self {
            object_type,
            checksum,
        }
    }

    /// Names a file object.
    pub const fn file(checksum: Checksum) -> Self {
        Self::new(ObjectType::File, checksum)
    }

    /// Names a dirtree.
    pub const fn dirtree(checksum: Checksum) -> Self {
        Self::new(ObjectType::DirTree, checksum)
    }

    /// Names a dirmeta.
    pub const fn dirmeta(checksum: Checksum) -> Self {
        Self::new(ObjectType::DirMeta, checksum)
    }

    /// Names a commit.
    pub const fn commit(checksum: Checksum) -> Self {
        Self::new(ObjectType::Commit, checksum)
    }

    /// Returns the path below `objects/`, such as `ab/cd….dirtree`; content of archives is `.filez`.
    pub fn loose_path(&self, layout: ContentLayout) -> String {
        loose_path(&self.checksum, self.extension(layout))
    }

    /// Returns the extension that this object has in a repository of that layout.
    pub const fn extension(&self, layout: ContentLayout) -> &'static str {
        match (self.object_type, layout) {
            (ObjectType::File, ContentLayout::Archive) => "filez",
            (object_type, _) => object_type.extension(),
        }
    }
}

/// Returns the path below `objects/` of what is named `checksum` and ends in `extension`.
pub fn loose_path(checksum: &Checksum, extension: &str) -> String {
    let hex = checksum.hex();
    let mut path = String::with_capacity(66 + extension.len());
    for (i, digit) in hex.iter().enumerate() {
        if i == 2 {
            path.push('/');
        }
        path.push(char::from(*digit));
    }
    path.push('.');
    path.push_str(extension);
    path
}

/// Whether content lies as plain files or in the `.filez` framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentLayout {
    /// `.file`: the four bare modes.
    Bare,
    /// `.filez`: mode `archive`.
    Archive,
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.checksum, self.object_type)
    }
}

impl fmt::Debug for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ObjectName {
    type Err = FormatError;

    /// Reads what [`Display`](fmt::Display) writes: `CHECKSUM.EXTENSION`.
    fn from_str(text: &str) -> Result<Self, FormatError> {
        let (hex, extension) = text
            .split_once('.')
            .ok_or_else(|| FormatError::new("object name", "expected CHECKSUM.TYPE"))?;
        let object_type = ObjectType::ALL
            .into_iter()
            .find(|t| t.extension() == extension)
            .ok_or_else(|| FormatError::new("object name", "unknown object type"))?;
        Ok(Self::new(object_type, hex.parse()?))
    }
}
