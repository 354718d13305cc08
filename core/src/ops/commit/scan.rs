//! Reads directories of this machine, in steps for the blocking pool.
//!
//! Everything is opened relative to its directory and no symbolic link is followed, so that what
//! is recorded lies below the root even while someone moves things about.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, Stat};

use super::consume::{Seen, Sight};
use super::options::{HardLinks, SourceUse};
use super::rules::{DIRECTORY, FILE_TYPE, Owned, REGULAR, Rules, SYMLINK};
use super::xattrs::read_xattrs;
use crate::error::{Error, Result};
use crate::format::{Checksum, DirMeta, FileHeader, TREE_DEPTH_MAX, Xattrs, check_file_name};
use crate::store::{LinkView, LocalContent, LocalFile, LocalObject, LocalObjects, Takeover};

/// How many entries a step looks at.
const STEP_ENTRIES: usize = 512;

/// How many directories a step opens: each stays open while its files wait.
const STEP_DIRS: usize = 32;

/// A directory while it is being recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Ticket(pub(super) u64);

/// What was found.
#[derive(Debug)]
pub(super) enum Found {
    /// A directory; its entries come later.
    Dir {
        ticket: Ticket,
        /// Where it is; the root has no parent.
        parent: Option<(Ticket, Box<str>)>,
        path: Arc<str>,
        meta: DirMeta,
    },
    /// A file or symbolic link.
    File {
        dir: Ticket,
        name: Box<str>,
        content: FoundContent,
    },
    /// All entries of a directory have been told.
    Listed(Ticket),
}

/// A file or symbolic link, to be read or known already.
#[derive(Debug)]
pub(super) enum FoundContent {
    /// A hard link to an object of the repository.
    Object(Checksum),
    /// A symbolic link.
    Symlink(FileHeader),
    /// A regular file.
    Regular(FileHeader, Source),
}

/// A regular file, and what it looked like when it was found.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) file: LocalFile,
    pub(super) bytes: u64,
    modified: (i64, u64),
}

impl Source {
    fn new(file: LocalFile, stat: &Stat) -> Self {
        Self {
            file,
            bytes: u64::try_from(stat.st_size).unwrap_or(0),
            modified: modified(stat),
        }
    }

    /// Returns whether the file still looks as it did. **Blocking.**
    pub(super) fn is_unchanged(&self) -> bool {
        let stat = rustix::fs::statat(self.file.dir(), self.file.name(), AtFlags::SYMLINK_NOFOLLOW);
        stat.is_ok_and(|stat| {
            modified(&stat) == self.modified && u64::try_from(stat.st_size) == Ok(self.bytes)
        })
    }
}

fn modified(stat: &Stat) -> (i64, u64) {
    (stat.st_mtime, stat.st_mtime_nsec)
}

/// A walk over a directory, depth first.
#[derive(Debug)]
pub(super) struct Scanner {
    origin: PathBuf,
    waiting: Vec<Waiting>,
    listing: Option<Listing>,
    next_ticket: u64,
    plan: Plan,
    seen: Seen,
    rules: Rules,
}

/// How a directory is to be read.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) sources: SourceUse,
    /// The repository's files, if hard links to them are to be recognised.
    pub(super) links: Option<(Arc<dyn LocalObjects>, HardLinks)>,
}

impl Plan {
    /// Returns what a store may do with the files.
    pub(super) fn takeover(&self) -> Takeover {
        match self.sources {
            SourceUse::Keep => Takeover::Reflink,
            SourceUse::Consume => Takeover::Rename,
        }
    }
}

#[derive(Debug)]
struct Waiting {
    at: Arc<OwnedFd>,
    name: CString,
    ticket: Ticket,
    path: Arc<str>,
    depth: usize,
}

#[derive(Debug)]
struct Listing {
    entries: Dir,
    fd: Arc<OwnedFd>,
    ticket: Ticket,
    path: Arc<str>,
    depth: usize,
}

impl Scanner {
    /// Begins a walk over `origin`, and tells its root. **Blocking.**
    pub(super) fn open(
        origin: PathBuf,
        plan: Plan,
        first_ticket: u64,
        rules: Rules,
    ) -> Result<(Self, Vec<Found>)> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let cannot = |problem, e| Error::io(problem, e).about(origin.as_path());
        let fd = rustix::fs::openat(CWD, &origin, flags, Mode::empty())
            .map_err(|e| cannot("cannot be opened as a directory", e))?;
        let stat = rustix::fs::fstat(&fd).map_err(|e| cannot("cannot be looked at", e))?;
        let fd = Arc::new(fd);
        let mut this = Self {
            origin,
            waiting: Vec::new(),
            listing: None,
            next_ticket: first_ticket,
            plan,
            seen: Seen::default(),
            rules,
        };
        let mut found = Vec::new();
        found.extend(this.dir(None, &fd, c".", "/", 0, &stat)?);
        Ok((this, found))
    }

    /// Returns the number for the next directory, the rules, and what was seen, once the walk is over.
    pub(super) fn end(self) -> (u64, Rules, Seen) {
        (self.next_ticket, self.rules, self.seen)
    }

    /// Returns where a path of the tree is on this machine.
    pub(super) fn place(origin: &std::path::Path, path: &str) -> PathBuf {
        origin.join(path.trim_start_matches('/'))
    }

    /// Looks at some more entries; nothing is told when there are no more. **Blocking.**
    pub(super) fn step(&mut self) -> Result<Vec<Found>> {
        let mut found = Vec::new();
        let mut opened = 0;
        while found.len() < STEP_ENTRIES {
            let Some(mut listing) = self.listing.take() else {
                if opened == STEP_DIRS {
                    break;
                }
                let Some(waiting) = self.waiting.pop() else {
                    break;
                };
                opened += 1;
                self.listing = Some(self.list(waiting)?);
                continue;
            };
            let Some(entry) = listing.entries.next() else {
                found.push(Found::Listed(listing.ticket));
                continue;
            };
            let entry = entry.map_err(|e| self.cannot("cannot be listed", e, &listing.path))?;
            let name = entry.file_name();
            if name != c"." && name != c".." {
                self.entry(&listing, name, &mut found)?;
            }
            self.listing = Some(listing);
        }
        Ok(found)
    }

    fn list(&self, waiting: Waiting) -> Result<Listing> {
        let cannot = |e| self.cannot("cannot be opened", e, &waiting.path);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&*waiting.at, &waiting.name, flags, Mode::empty())
            .map_err(cannot)?;
        let entries = Dir::read_from(&fd).map_err(cannot)?;
        Ok(Listing {
            entries,
            fd: Arc::new(fd),
            ticket: waiting.ticket,
            path: waiting.path,
            depth: waiting.depth,
        })
    }

    fn entry(&mut self, listing: &Listing, name: &CStr, found: &mut Vec<Found>) -> Result<()> {
        let text = name.to_str().map_err(|_| {
            let problem = format!(
                "the name of an entry is not UTF-8: {}",
                name.to_string_lossy()
            );
            self.invalid(problem, &listing.path)
        })?;
        check_file_name(text).map_err(|e| self.invalid(e.to_string(), &listing.path))?;
        let path = join(&listing.path, text);
        let stat = rustix::fs::statat(&*listing.fd, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| self.cannot("cannot be looked at", e, &path))?;
        if stat.st_mode & FILE_TYPE == DIRECTORY {
            let parent = Some((listing.ticket, text.into()));
            found.extend(self.dir(parent, &listing.fd, name, &path, listing.depth + 1, &stat)?);
            return Ok(());
        }
        let Some(content) = self.file(listing, name, &path, &stat)? else {
            return Ok(());
        };
        found.push(Found::File {
            dir: listing.ticket,
            name: text.into(),
            content,
        });
        Ok(())
    }

    /// Notes a directory to be listed later, and tells it: `None` where the rules leave it out.
    fn dir(
        &mut self,
        parent: Option<(Ticket, Box<str>)>,
        at: &Arc<OwnedFd>,
        name: &CStr,
        path: &str,
        depth: usize,
        stat: &Stat,
    ) -> Result<Option<Found>> {
        let Some(owned) = self.rules.apply(path, owned(stat)) else {
            self.saw(stat, Sight::SkippedDir);
            return Ok(None);
        };
        self.saw(stat, Sight::Dir);
        if depth > TREE_DEPTH_MAX {
            let problem = format!("directories are nested more than {TREE_DEPTH_MAX} deep");
            return Err(self.invalid(problem, path));
        }
        let xattrs = self.xattrs(at, name, path, owned.mode)?;
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        let path: Arc<str> = path.into();
        let found = Found::Dir {
            ticket,
            parent,
            path: Arc::clone(&path),
            meta: DirMeta {
                uid: owned.uid,
                gid: owned.gid,
                mode: owned.mode,
                xattrs,
            },
        };
        self.waiting.push(Waiting {
            at: Arc::clone(at),
            name: name.into(),
            ticket,
            path,
            depth,
        });
        Ok(Some(found))
    }

    fn file(
        &mut self,
        listing: &Listing,
        name: &CStr,
        path: &str,
        stat: &Stat,
    ) -> Result<Option<FoundContent>> {
        let kind = stat.st_mode & FILE_TYPE;
        if kind != REGULAR && kind != SYMLINK {
            let problem = format!("Not a regular file or symlink: {}", name.to_string_lossy());
            return Err(self.invalid(problem, path));
        }
        self.saw(stat, Sight::File);
        let header = match self.known(listing, name, path, stat)? {
            Some(Known::Object(checksum)) => return Ok(Some(FoundContent::Object(checksum))),
            Some(Known::Skipped) => return Ok(None),
            Some(Known::Changed(header)) => header,
            None => {
                let Some(owned) = self.rules.apply(path, owned(stat)) else {
                    return Ok(None);
                };
                FileHeader {
                    uid: owned.uid,
                    gid: owned.gid,
                    mode: owned.mode,
                    symlink_target: match kind {
                        SYMLINK => self.target(&listing.fd, name, path)?,
                        _ => "".into(),
                    },
                    xattrs: self.xattrs(&listing.fd, name, path, owned.mode)?,
                }
            }
        };
        if kind == SYMLINK {
            return Ok(Some(FoundContent::Symlink(header)));
        }
        let file = LocalFile::new(Arc::clone(&listing.fd), name.into(), self.plan.takeover());
        Ok(Some(FoundContent::Regular(header, Source::new(file, stat))))
    }

    /// Looks whether a file is a hard link to an object, and what the rules make of it then.
    fn known(
        &mut self,
        listing: &Listing,
        name: &CStr,
        path: &str,
        stat: &Stat,
    ) -> Result<Option<Known>> {
        let Some((objects, trust)) = &self.plan.links else {
            return Ok(None);
        };
        let Some(checksum) = objects.object_of_inode(stat.st_dev, stat.st_ino)? else {
            return Ok(None);
        };
        // What knows the inodes is filled once: the object may be gone since, and its inode used
        // for another file.
        let Some(object) = objects.open_file(&checksum)? else {
            return Ok(None);
        };
        if !self.is_link_to(&object, objects.link_view(), listing, name, stat) {
            return Ok(None);
        }
        if *trust == HardLinks::Trust || self.rules.change_nothing() {
            return Ok(Some(Known::Object(checksum)));
        }
        // What the repository knows of the file counts, not what a checkout shows of it.
        let header = object.header;
        let owned = Owned {
            uid: header.uid,
            gid: header.gid,
            mode: header.mode,
        };
        let Some(owned) = self.rules.apply(path, owned) else {
            return Ok(Some(Known::Skipped));
        };
        let changed = FileHeader {
            uid: owned.uid,
            gid: owned.gid,
            mode: owned.mode,
            symlink_target: header.symlink_target.clone(),
            xattrs: self.rules.xattrs(path, owned.mode, header.xattrs.clone())?,
        };
        Ok(Some(match changed == header {
            true => Known::Object(checksum),
            false => Known::Changed(changed),
        }))
    }

    /// Returns whether a file is the very file of an object, or a symbolic link that looks like it:
    /// whatever cannot be told is not.
    fn is_link_to(
        &self,
        object: &LocalObject,
        view: LinkView,
        listing: &Listing,
        name: &CStr,
        stat: &Stat,
    ) -> bool {
        let header = &object.header;
        match &object.content {
            LocalContent::Plain(file) | LocalContent::Filez(file) => {
                let there = rustix::fs::statat(file.dir(), file.name(), AtFlags::SYMLINK_NOFOLLOW);
                there.is_ok_and(|there| (there.st_dev, there.st_ino) == (stat.st_dev, stat.st_ino))
            }
            LocalContent::None if stat.st_mode & FILE_TYPE == SYMLINK => {
                let target = rustix::fs::readlinkat(&*listing.fd, name, Vec::new());
                let same_target = target
                    .is_ok_and(|target| target.as_bytes() == header.symlink_target.as_bytes());
                let same_header = view == LinkView::UserOnly
                    || (stat.st_uid, stat.st_gid) == (header.uid, header.gid)
                        && read_xattrs(&listing.fd, name)
                            .is_ok_and(|xattrs| xattrs == header.xattrs);
                same_target && same_header
            }
            LocalContent::None => false,
        }
    }

    fn saw(&mut self, stat: &Stat, sight: Sight) {
        if self.plan.sources == SourceUse::Consume {
            self.seen.add(stat, sight);
        }
    }

    fn target(&self, at: &Arc<OwnedFd>, name: &CStr, path: &str) -> Result<Box<str>> {
        let target = rustix::fs::readlinkat(&**at, name, Vec::new())
            .map_err(|e| self.cannot("the symbolic link cannot be read", e, path))?;
        let target = target
            .into_string()
            .map_err(|_| self.invalid("the target of the symbolic link is not UTF-8", path))?;
        Ok(target.into())
    }

    fn xattrs(&self, at: &Arc<OwnedFd>, name: &CStr, path: &str, mode: u32) -> Result<Xattrs> {
        let found = if self.rules.wants_xattrs() {
            read_xattrs(at, name)
                .map_err(|e| self.cannot("its extended attributes cannot be read", e, path))?
        } else {
            Xattrs::default()
        };
        self.rules.xattrs(path, mode, found)
    }

    fn cannot(&self, problem: &'static str, e: rustix::io::Errno, path: &str) -> Error {
        Error::io(problem, e).about(Self::place(&self.origin, path))
    }

    fn invalid(&self, problem: impl Into<std::borrow::Cow<'static, str>>, path: &str) -> Error {
        Error::invalid(problem).about(Self::place(&self.origin, path))
    }
}

/// What is known of a file without reading it.
enum Known {
    Object(Checksum),
    /// The content is an object's, the header is not.
    Changed(FileHeader),
    Skipped,
}

fn owned(stat: &Stat) -> Owned {
    Owned {
        uid: stat.st_uid,
        gid: stat.st_gid,
        mode: stat.st_mode,
    }
}

/// Returns the path of `name` in the directory `path`.
pub(super) fn join(path: &str, name: &str) -> String {
    match path {
        "/" => format!("/{name}"),
        _ => format!("{path}/{name}"),
    }
}
