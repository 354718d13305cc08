//! What is in a directory of either side.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat};

use super::{DiffKind, DiffOptions, LocalXattrs};
use crate::error::{Error, Result};
use crate::format::{Checksum, DirMeta, DirTree, Xattrs};
use crate::ops::local_file::{self, ReadXattrs};
use crate::repo::{Repo, TreeRoot, load_dirtree};

/// Entries of a directory of this machine that are put in order of their inodes at a time, as GLib
/// does: what they are read in is close to that on many filesystems.
const SORTED_ENTRIES: usize = 1000;

/// A directory of either side.
#[derive(Debug, Clone)]
pub(super) enum Place {
    Tree(TreeRoot),
    Local(Arc<OwnedFd>),
}

/// What is in a directory.
#[derive(Debug)]
pub(super) struct Listing {
    pub(super) place: Place,
    pub(super) entries: Vec<Entry>,
    index: HashMap<OsString, usize>,
}

/// One entry of a directory.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) name: OsString,
    pub(super) node: Node,
}

#[derive(Debug, Clone)]
pub(super) enum Node {
    File(Checksum),
    Dir(TreeRoot),
    Local(Stat),
}

impl Entry {
    pub(super) fn kind(&self) -> DiffKind {
        match &self.node {
            Node::Dir(_) => DiffKind::Dir,
            Node::Local(stat) if file_type(stat) == FileType::Directory => DiffKind::Dir,
            Node::File(_) | Node::Local(_) => DiffKind::File,
        }
    }
}

fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

impl Listing {
    fn new(place: Place, entries: Vec<Entry>) -> Self {
        let names = entries.iter().enumerate();
        let index = names.map(|(at, entry)| (entry.name.clone(), at)).collect();
        Self {
            place,
            entries,
            index,
        }
    }

    pub(super) fn find(&self, name: &OsString) -> Option<&Entry> {
        self.index.get(name).map(|at| &self.entries[*at])
    }
}

/// Reads trees, of which some dirtrees are at hand.
#[derive(Debug)]
pub(super) struct Lister<'a> {
    pub(super) repo: &'a Repo,
    pub(super) trees: HashMap<Checksum, Arc<DirTree>>,
}

impl Lister<'_> {
    /// Lists what is in `place`.
    pub(super) async fn list(&self, place: Place) -> Result<Listing> {
        let entries = match &place {
            Place::Tree(root) => {
                let tree = match self.trees.get(&root.tree) {
                    Some(tree) => Arc::clone(tree),
                    None => Arc::new(load_dirtree(&**self.repo.objects(), &root.tree).await?),
                };
                tree_entries(&tree)
            }
            Place::Local(dir) => {
                let dir = Arc::clone(dir);
                self.repo.pool().run(move || local_entries(&dir)).await?
            }
        };
        Ok(Listing::new(place, entries))
    }

    /// Lists what is in the directory `entry` of `above`.
    pub(super) async fn list_below(&self, above: &Place, entry: &Entry) -> Result<Listing> {
        let place = match (above, &entry.node) {
            (_, Node::Dir(root)) => Place::Tree(*root),
            (Place::Local(dir), _) => {
                let (dir, name) = (Arc::clone(dir), entry.name.clone());
                let open = move || open_dir(&dir, Path::new(&name), OFlags::NOFOLLOW);
                Place::Local(Arc::new(self.repo.pool().run(open).await?))
            }
            (Place::Tree(_), _) => return Err(Error::invalid("is not a directory")),
        };
        self.list(place).await
    }
}

fn tree_entries(tree: &DirTree) -> Vec<Entry> {
    let files = tree.files().iter().map(|file| Entry {
        name: (&*file.name).into(),
        node: Node::File(file.file),
    });
    let dirs = tree.dirs().iter().map(|dir| Entry {
        name: (&*dir.name).into(),
        node: Node::Dir(TreeRoot {
            tree: dir.tree,
            meta: dir.meta,
        }),
    });
    files.chain(dirs).collect()
}

fn open_dir(above: impl AsFd, path: &Path, flags: OFlags) -> Result<OwnedFd> {
    let flags = flags | OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(above, path, flags, Mode::empty())
        .map_err(|e| Error::io("cannot be opened", e))
}

/// Opens the directory that a side is. **Blocking.**
pub(super) fn open_root(path: &Path) -> Result<Place> {
    let dir = open_dir(CWD, path, OFlags::empty()).map_err(|e| e.about(path))?;
    Ok(Place::Local(Arc::new(dir)))
}

fn local_entries(dir: &OwnedFd) -> Result<Vec<Entry>> {
    let failed = |e| Error::io("cannot be listed", e);
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push((entry.ino(), OsString::from_vec(name.to_vec())));
        }
    }
    for some in names.chunks_mut(SORTED_ENTRIES) {
        some.sort_unstable_by_key(|(inode, _)| *inode);
    }
    let stat = |(_, name): (_, OsString)| {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let stat = rustix::fs::statat(dir, &name, flags)
            .map_err(|e| Error::io("cannot be looked at", e).about(Path::new(&name)))?;
        let node = Node::Local(stat);
        Ok(Entry { name, node })
    };
    names.into_iter().map(stat).collect()
}

/// Returns the checksum that an entry has or would have: of its file object, or of its dirmeta.
/// `None` for what cannot be committed. **Blocking.**
pub(super) fn checksum(
    place: &Place,
    entry: &Entry,
    options: &DiffOptions,
) -> Result<Option<Checksum>> {
    let (dir, mut stat) = match (place, &entry.node) {
        (_, Node::File(checksum)) => return Ok(Some(*checksum)),
        (_, Node::Dir(root)) => return Ok(Some(root.meta)),
        (Place::Local(dir), Node::Local(stat)) => (dir, *stat),
        (Place::Tree(_), Node::Local(_)) => return Err(Error::invalid("is not in a tree")),
    };
    stat.st_uid = options.owner_uid.unwrap_or(stat.st_uid);
    stat.st_gid = options.owner_gid.unwrap_or(stat.st_gid);
    let which = match options.xattrs {
        LocalXattrs::Read => ReadXattrs::All,
        LocalXattrs::Ignore => ReadXattrs::None,
    };
    let checksum = match file_type(&stat) {
        FileType::Directory => {
            let xattrs = match which {
                ReadXattrs::None => Xattrs::default(),
                ReadXattrs::All => {
                    let dir = open_dir(dir, Path::new(&entry.name), OFlags::NOFOLLOW)?;
                    local_file::open_xattrs(dir.as_fd())?
                }
            };
            let meta = DirMeta {
                uid: stat.st_uid,
                gid: stat.st_gid,
                mode: stat.st_mode,
                xattrs,
            };
            Checksum::of(&meta.to_bytes())
        }
        FileType::RegularFile | FileType::Symlink => {
            let (header, file) = local_file::read_file(dir.as_fd(), &entry.name, &stat, which)?;
            local_file::checksum(&header, file)?
        }
        _ => return Ok(None),
    };
    Ok(Some(checksum))
}

/// Returns whether two special files, which have no checksums, are the same. **Blocking.**
pub(super) fn same_special(a: &Entry, b: &Entry) -> bool {
    let (Node::Local(a), Node::Local(b)) = (&a.node, &b.node) else {
        return false;
    };
    let look = |stat: &Stat| (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_rdev);
    look(a) == look(b)
}

/// Returns `name` below `above`, the names on the way to it.
pub(super) fn join(above: &OsString, name: &OsString) -> OsString {
    if above.is_empty() {
        return name.clone();
    }
    let mut path = Vec::with_capacity(above.len() + 1 + name.len());
    path.extend_from_slice(above.as_bytes());
    path.push(b'/');
    path.extend_from_slice(name.as_bytes());
    OsString::from_vec(path)
}
