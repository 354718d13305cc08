//! Dirtree: the names and checksums in one directory, `(a(say)a(sayay))`.

use super::gvariant::{ArrayReader, Layout, TupleReader, Writer};
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
        let tree = Self::parse_entries(data).map_err(|e| e.within(WHAT))?;
        tree.check()?;
        Ok(tree)
    }

    fn parse_entries(data: &[u8]) -> Result<Self, FormatError> {
        let mut tuple = TupleReader::new(data);
        let files = ArrayReader::new(tuple.variable(1)?, Layout::variable(1))?;
        let dirs = ArrayReader::new(tuple.last(1)?, Layout::variable(1))?;
        tuple.finish()?;
        let files = files.map(|entry| FileEntry::parse(entry?));
        let dirs = dirs.map(|entry| DirEntry::parse(entry?));
        Ok(Self {
            files: files.collect::<Result<_, _>>()?,
            dirs: dirs.collect::<Result<_, _>>()?,
        })
    }

    /// Writes the dirtree.
    pub fn to_bytes(&self) -> Vec<u8> {
        // A checksum, a name of middling length and the offsets.
        let mut writer = Writer::with_capacity(64 * (self.files.len() + 2 * self.dirs.len()));
        let tree = writer.begin(1);
        let files = writer.begin(1);
        for FileEntry { name, file } in &self.files {
            let entry = writer.begin(1);
            writer.put_str(name);
            writer.mark();
            writer.put(1, file.as_bytes());
            writer.end_tuple(entry);
            writer.mark();
        }
        writer.end_array(files);
        writer.mark();
        let dirs = writer.begin(1);
        for DirEntry { name, tree, meta } in &self.dirs {
            let entry = writer.begin(1);
            writer.put_str(name);
            writer.mark();
            writer.put(1, tree.as_bytes());
            writer.mark();
            writer.put(1, meta.as_bytes());
            writer.end_tuple(entry);
            writer.mark();
        }
        writer.end_array(dirs);
        writer.end_tuple(tree);
        writer.into_bytes()
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
            check_file_name(name).map_err(|e| match name.contains('/') {
                // OSTree's words, that people and scripts look for: the classic attack.
                true => {
                    FormatError::new(WHAT, format!("Invalid / in filename {}", truncated(name)))
                }
                false => named(&e.within(WHAT).to_string(), name),
            })?;
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
        let mut tuple = TupleReader::new(data);
        let name = tuple.str()?.into();
        let file = Checksum::from_slice(tuple.last(1)?)?;
        tuple.finish()?;
        Ok(Self { name, file })
    }
}

impl DirEntry {
    fn parse(data: &[u8]) -> Result<Self, FormatError> {
        let mut tuple = TupleReader::new(data);
        let name = tuple.str()?.into();
        let tree = Checksum::from_slice(tuple.variable(1)?)?;
        let meta = Checksum::from_slice(tuple.last(1)?)?;
        tuple.finish()?;
        Ok(Self { name, tree, meta })
    }
}
