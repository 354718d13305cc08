//! Makes directories, and finishes them once all is in them. **Blocking.**

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::at::{self, Look};
use super::destination::Destination;
use super::options::{CheckoutMode, DirModes, Overwrite, TreeSync};
use super::place::{Made, Placer, Spot, exists};
use crate::error::{Error, ErrorKind, Result};
use crate::format::DirMeta;

/// A directory of the destination that things are being put into.
#[derive(Debug)]
pub(super) struct Dir {
    fd: OwnedFd,
    /// Where it is; none for the root.
    parent: Option<(Arc<Dir>, Box<str>)>,
    made: Made,
    meta: Option<Arc<DirMeta>>,
    /// How many steps it waits for: each directory in it, each group of its files, and itself.
    waits_for: AtomicUsize,
}

impl Dir {
    fn new(
        fd: OwnedFd,
        parent: Option<(Arc<Dir>, Box<str>)>,
        made: Made,
        meta: Option<Arc<DirMeta>>,
    ) -> Arc<Self> {
        let waits_for = AtomicUsize::new(1);
        Arc::new(Self {
            fd,
            parent,
            made,
            meta,
            waits_for,
        })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Returns the path below the root of the checkout; it ends in `/`.
    pub(super) fn path(&self) -> String {
        let mut names = Vec::new();
        let mut dir = self;
        while let Some((parent, name)) = &dir.parent {
            names.push(&**name);
            dir = parent;
        }
        let mut path = String::from("/");
        for name in names.into_iter().rev() {
            path.push_str(name);
            path.push('/');
        }
        path
    }

    /// Waits for `steps` more before it is finished.
    pub(super) fn wait_for(&self, steps: usize) {
        self.waits_for.fetch_add(steps, Ordering::Relaxed);
    }
}

impl Placer {
    /// Makes the root of a checkout, or enters what exists.
    ///
    /// Without `meta` the root is only the place that a file is put into.
    pub(super) fn make_root(
        &self,
        destination: &Destination,
        meta: Option<Arc<DirMeta>>,
        opaque: Opaque,
    ) -> Result<Arc<Dir>> {
        let path = destination.as_path();
        let root = || -> Result<_> {
            let mut made = match at::create_dir(destination.dir(), path)? {
                Some(()) => Made::ByUs,
                None if meta.is_some() && self.options.overwrite == Overwrite::Refuse => {
                    let problem = "the destination exists already: remove it, name another, or \
                                   choose how to merge";
                    return Err(Error::new(ErrorKind::Denied, problem));
                }
                None => Made::Before,
            };
            let root = open_root(destination)?;
            if opaque == Opaque::Yes {
                at::empty(root.as_fd())?;
                made = Made::ByUs;
            }
            Ok(Dir::new(root, None, made, meta))
        };
        root().map_err(|e| e.about(path))
    }

    /// Makes the directory `name` in `parent`, or enters it if it exists and may.
    pub(super) fn make_dir(
        &self,
        parent: &Arc<Dir>,
        name: Box<str>,
        meta: Arc<DirMeta>,
        opaque: Opaque,
    ) -> Result<Arc<Dir>> {
        let make = || -> Result<_> {
            if opaque == Opaque::Yes {
                at::remove_all(parent.fd(), Path::new(&*name))?;
            }
            let made = match at::create_dir(parent.fd(), Path::new(&*name))? {
                Some(()) => Made::ByUs,
                None if self.options.overwrite == Overwrite::Refuse => return Err(exists()),
                None => Made::Before,
            };
            Ok((at::open_dir(parent.fd(), &name)?, made))
        };
        let (fd, made) = make().map_err(|e| e.about(path_in(parent, &name)))?;
        Ok(Dir::new(
            fd,
            Some((Arc::clone(parent), name)),
            made,
            Some(meta),
        ))
    }

    /// Tells that one of the steps that `dir` waits for is done, and finishes what is complete.
    pub(super) fn step_done(&self, dir: Arc<Dir>) -> Result<()> {
        let mut dir = dir;
        while dir.waits_for.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.finish(&dir)
                .map_err(|e| e.about(Path::new(&dir.path())))?;
            match &dir.parent {
                Some((parent, _)) => dir = Arc::clone(parent),
                None => break,
            }
        }
        Ok(())
    }

    /// Gives a directory that we made its owner, mode, extended attributes and time.
    fn finish(&self, dir: &Dir) -> Result<()> {
        if let (Made::ByUs, Some(meta)) = (dir.made, &dir.meta) {
            self.dir_look(meta, dir)?.apply(dir.fd())?;
            if !self.options.copies() {
                at::zero_time(dir.fd())?;
            }
        }
        match self.options.sync {
            TreeSync::PerFile => at::sync(dir.fd()),
            TreeSync::Caller | TreeSync::Filesystem => Ok(()),
        }
    }

    fn dir_look<'m>(&self, meta: &'m DirMeta, dir: &Dir) -> Result<Look<'m>> {
        let full = self.mode == CheckoutMode::Full;
        let mask = match self.options.dir_modes {
            DirModes::AsCommitted => 0o7777,
            DirModes::BareUserOnly => 0o775,
        };
        let label = match &self.options.labels {
            Some(labels) => {
                let path = dir.path();
                let path = path.strip_suffix('/').filter(|path| !path.is_empty());
                labels.label(path.unwrap_or("/"), meta.mode)?
            }
            None => None,
        };
        Ok(Look {
            owner: full.then_some((meta.uid, meta.gid)),
            mode: meta.mode & mask,
            xattrs: full.then_some(&meta.xattrs),
            label,
        })
    }
}

/// Whether what is there goes before a directory is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opaque {
    /// It goes.
    Yes,
    /// It stays.
    No,
}

/// Returns the path of `name` in `dir`, below the root of the checkout.
pub(super) fn path_in(dir: &Dir, name: &str) -> std::path::PathBuf {
    (dir.path() + name).into()
}

impl Dir {
    /// Returns the spot `name` in it.
    pub(super) fn spot<'a>(&'a self, name: &'a str, path: &'a dyn Fn() -> String) -> Spot<'a> {
        Spot {
            dir: self.fd(),
            name,
            path,
            made: self.made,
        }
    }
}

// The caller named it, so a symbolic link there is meant.
fn open_root(destination: &Destination) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(
        destination.dir(),
        destination.as_path(),
        flags,
        Mode::empty(),
    );
    opened.map_err(|e| match e {
        Errno::NOTDIR => Error::io("the destination exists and is not a directory", e),
        e => Error::io("cannot be opened", e),
    })
}

/// Makes the destination itself durable: the name in the directory above it.
pub(super) fn sync_root(destination: &Destination, sync: TreeSync) -> Result<()> {
    let sync = || -> Result<()> {
        let failed = |e| Error::io("cannot be synced", e);
        match sync {
            TreeSync::Caller => Ok(()),
            TreeSync::Filesystem => rustix::fs::syncfs(open_root(destination)?).map_err(failed),
            TreeSync::PerFile => {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let root = open_root(destination)?;
                let above = rustix::fs::openat(root, "..", flags, Mode::empty());
                at::sync(above.map_err(failed)?)
            }
        }
    };
    sync().map_err(|e| e.about(destination.as_path()))
}
