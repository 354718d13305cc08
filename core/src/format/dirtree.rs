//! Dirtree: the names and checksums in one directory, `(a(say)a(sayay))`.

use super::framing::{ArrayReader, ArrayWriter, TupleReader, TupleWriter, read_str};
use super::names::check_file_name;
use super::{Checksum, FormatError};

const WHAT: &str = "dirtree";

/// The entries of one directory, files and directories each sorted by name.
///
/// Parsing checks every name once: whoever holds a `DirTree` can use its names as path components.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DirTree {
    files: Vec<FileEntry>,
    dirs: Vec<DirEntry>,
}

/// A file or symbolic link in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEntry {
    /// Its name.
    pub name: Box<str>,
    /// Its file object.
    pub file: Checksum,
}

/// A directory in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// Its name.
    pub name: Box<str>,
    /// Its dirtree.
    pub tree: Checksum,
    /// Its dirmeta.
    pub meta: Checksum,
}

impl DirTree {
    /// Takes entries in any order.
    ///
    /// Fails on a name that no file can have, or that appears twice.
    pub fn new(mut files: Vec<FileEntry>, mut dirs: Vec<DirEntry>) -> Result<Self, FormatError> {
        files.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        dirs.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let tree = Self { files, dirs };
        tree.check()?;
        Ok(tree)
    }

    /// Reads a dirtree.
    pub fn parse(data: &[u8]) -> Result<Self, FormatError> {
        let mut tuple = TupleReader::new(WHAT, data);
        let files = ArrayReader::new(WHAT, tuple.variable(1)?, 1)?;
        let dirs = ArrayReader::new(WHAT, tuple.last(1)?, 1)?;
        let files = files
            .map(|entry| FileEntry::parse(entry?))
            .collect::<Result<_, _>>()?;
        let dirs = dirs
            .map(|entry| DirEntry::parse(entry?))
            .collect::<Result<_, _>>()?;
        let tree = Self { files, dirs };
        tree.check()?;
        Ok(tree)
    }

    /// Writes the dirtree.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut files = ArrayWriter::new(1);
        for FileEntry { name, file } in &self.files {
            files.push(&TupleWriter::new().string(name).last(file.as_bytes(), 1));
        }
        let mut dirs = ArrayWriter::new(1);
        for DirEntry { name, tree, meta } in &self.dirs {
            let mut entry = TupleWriter::new();
            entry.string(name).variable(tree.as_bytes(), 1);
            dirs.push(&entry.last(meta.as_bytes(), 1));
        }
        TupleWriter::new()
            .variable(&files.end(), 1)
            .last(&dirs.end(), 1)
    }

    /// Returns the files, sorted by name.
    pub fn files(&self) -> &[FileEntry] {
        &self.files
    }

    /// Returns the directories, sorted by name.
    pub fn dirs(&self) -> &[DirEntry] {
        &self.dirs
    }

    /// Returns the file called `name`.
    pub fn file(&self, name: &str) -> Option<&FileEntry> {
        let at = self.files.binary_search_by(|e| (*e.name).cmp(name)).ok()?;
        Some(&self.files[at])
    }

    /// Returns the directory called `name`.
    pub fn dir(&self, name: &str) -> Option<&DirEntry> {
        let at = self.dirs.binary_search_by(|e| (*e.name).cmp(name)).ok()?;
        Some(&self.dirs[at])
    }

    fn check(&self) -> Result<(), FormatError> {
        let named = |problem: &str, name: &str| {
            FormatError::new(WHAT, format!("{problem}: {:?}", truncated(name)))
        };
        let names = || {
            self.files
                .iter()
                .map(|e| &e.name)
                .chain(self.dirs.iter().map(|e| &e.name))
        };
        for name in names() {
            check_file_name(name).map_err(|e| named(&e.within(WHAT).to_string(), name))?;
        }
        let unsorted = |a: &str, b: &str| match a.cmp(b) {
            std::cmp::Ordering::Less => None,
            std::cmp::Ordering::Equal => Some(named("a name appears twice", a)),
            std::cmp::Ordering::Greater => Some(named("names are not sorted", b)),
        };
        let files = self
            .files
            .windows(2)
            .find_map(|w| unsorted(&w[0].name, &w[1].name));
        let dirs = self
            .dirs
            .windows(2)
            .find_map(|w| unsorted(&w[0].name, &w[1].name));
        let both = self.dirs.iter().find(|d| self.file(&d.name).is_some());
        let both = both.map(|d| named("a name is both a file and a directory", &d.name));
        files.or(dirs).or(both).map_or(Ok(()), Err)
    }
}

// A hostile name must not flood a message.
fn truncated(name: &str) -> String {
    name.chars().take(80).collect()
}

impl FileEntry {
    fn parse(data: &[u8]) -> Result<Self, FormatError> {
        let mut tuple = TupleReader::new(WHAT, data);
        let name = read_str(WHAT, tuple.variable(1)?)?.into();
        let file = Checksum::from_slice(tuple.last(1)?).map_err(|e| e.within(WHAT))?;
        Ok(Self { name, file })
    }
}

impl DirEntry {
    fn parse(data: &[u8]) -> Result<Self, FormatError> {
        let mut tuple = TupleReader::new(WHAT, data);
        let name = read_str(WHAT, tuple.variable(1)?)?.into();
        let tree = Checksum::from_slice(tuple.variable(1)?).map_err(|e| e.within(WHAT))?;
        let meta = Checksum::from_slice(tuple.last(1)?).map_err(|e| e.within(WHAT))?;
        Ok(Self { name, tree, meta })
    }
}
