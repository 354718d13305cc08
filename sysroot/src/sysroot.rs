//! A sysroot: opening one, and making one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use treeferry_backend_fs::{CreateOptions, FsMode, FsRepo};
use treeferry_core::error::{Error, Result};
use treeferry_core::repo::Repo;

use crate::boot_entry::EntryNaming;
use crate::files;
use crate::host::Host;
use crate::layout::Layout;
use crate::names::Stateroot;

/// A root filesystem with deployments. Cheap to clone: clones are handles of the same.
#[derive(Debug, Clone)]
pub struct Sysroot {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    layout: Layout,
    repo: Repo,
    options: OpenOptions,
}

/// How to open a sysroot.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// How to open its repository.
    pub repo: treeferry_backend_fs::OpenOptions,
    /// The system that runs.
    pub running: Running,
    /// The machine around it.
    pub host: Host,
    /// How entries of the boot menu are named.
    pub naming: EntryNaming,
    /// Whether deployments are sealed against changes.
    pub sealing: Sealing,
    /// Whether `/boot` has symbolic links.
    pub boot_links: BootLinks,
    /// Whether device trees are looked for in a deployment.
    pub device_trees: DeviceTrees,
    /// How GRUB's configuration is made.
    pub grub: crate::boot_loaders::GrubOptions,
}

/// The system that runs, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// The deployment that is `/`, if one is: the device and inode of its directory.
    pub root: Option<RootInode>,
    /// Where what does not outlive a boot is kept.
    pub run: PathBuf,
    /// Which boot this is.
    pub boot_id: String,
}

impl Default for Running {
    /// Returns a system that runs from no deployment.
    fn default() -> Self {
        Self {
            root: None,
            run: PathBuf::from("/run"),
            boot_id: String::new(),
        }
    }
}

/// A directory, as the filesystem knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootInode {
    /// The device.
    pub device: u64,
    /// The inode.
    pub inode: u64,
}

/// Whether deployments are sealed against changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sealing {
    /// They are, where the filesystem can.
    #[default]
    Sealed,
    /// They are not.
    Mutable,
}

/// Whether `/boot` has symbolic links.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BootLinks {
    /// That is found out.
    #[default]
    Detect,
    /// It has none, as on FAT: entries are renamed one by one.
    None,
}

/// Whether device trees are looked for in a deployment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeviceTrees {
    /// They are.
    #[default]
    Use,
    /// They are not.
    Ignore,
}

/// Which directories a new root filesystem gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Epoch {
    /// Those that systems of old want as well.
    #[default]
    Traditional,
    /// `/boot` and `/ostree` alone.
    Modern,
    /// As `Modern`, and nobody but root looks into `/ostree`.
    Private,
}

impl Sysroot {
    /// Opens the sysroot at `root`.
    ///
    /// # Errors
    /// [`treeferry_core::ErrorKind::Missing`] when there is no repository in it.
    pub async fn open(root: impl Into<PathBuf>, options: OpenOptions) -> Result<Self> {
        let layout = Layout::new(root);
        let fs = FsRepo::open(layout.repo(), options.repo.clone()).await?;
        let repo = Repo::new(Arc::new(fs)).with_pool(options.repo.pool.clone());
        Ok(Self {
            inner: Arc::new(Inner {
                layout,
                repo,
                options,
            }),
        })
    }

    /// Makes the directory `root`, which must exist, a sysroot, and opens it.
    pub async fn create(
        root: impl Into<PathBuf>,
        epoch: Epoch,
        options: OpenOptions,
    ) -> Result<Self> {
        let root = root.into();
        let (dir, pool) = (root.clone(), options.repo.pool.clone());
        pool.run(move || make_top_level(&dir, epoch)).await?;
        let create = CreateOptions {
            collection_id: None,
            open: options.repo.clone(),
        };
        FsRepo::create(Layout::new(&root).repo(), FsMode::Bare, create).await?;
        Self::open(root, options).await
    }

    /// Makes a stateroot: a directory for deployments with an empty `/var` of their own.
    pub async fn create_stateroot(&self, stateroot: &Stateroot, var: VarLayout) -> Result<()> {
        let stateroot = stateroot.clone();
        self.run(move |sysroot| {
            let dir = sysroot.layout().stateroot(&stateroot);
            files::make_dirs(&sysroot.layout().deploy(), 0o755)?;
            std::fs::create_dir(&dir).map_err(files::failed(&dir, "cannot be made"))?;
            files::make_dirs(&dir.join("var"), 0o755)?;
            if var == VarLayout::Traditional {
                fill_var(&dir.join("var"))?;
            }
            sysroot.touch()
        })
        .await
    }

    /// Returns its paths.
    pub fn layout(&self) -> &Layout {
        &self.inner.layout
    }

    /// Returns its repository.
    pub fn repo(&self) -> &Repo {
        &self.inner.repo
    }

    /// Returns how it was opened.
    pub fn options(&self) -> &OpenOptions {
        &self.inner.options
    }

    /// Returns the file or directory `name` of what does not outlive a boot.
    pub(crate) fn run_path(&self, name: &str) -> PathBuf {
        self.options().running.run.join("ostree").join(name)
    }

    /// Runs `job` on the blocking pool.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Sysroot) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let sysroot = self.clone();
        self.repo().pool().run(move || job(&sysroot)).await
    }

    /// Tells programs that watch that something changed. **Blocking.**
    pub(crate) fn touch(&self) -> Result<()> {
        use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW};
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        };
        let times = Timestamps {
            last_access: now,
            last_modification: now,
        };
        let path = self.layout().deploy();
        rustix::fs::utimensat(CWD, &path, &times, AtFlags::empty())
            .map_err(|e| files::failed(&path, "its time cannot be set")(e.into()))
    }

    /// Fails unless `stateroot` exists. **Blocking.**
    pub(crate) fn require_stateroot(&self, stateroot: &Stateroot) -> Result<()> {
        match files::look(&self.layout().stateroot(stateroot))? {
            Some(meta) if meta.is_dir() => Ok(()),
            _ => {
                let problem = format!(
                    "No such stateroot: {stateroot}; make it with admin stateroot-init {stateroot}"
                );
                Err(Error::missing(problem))
            }
        }
    }
}

/// What a new `/var` has in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum VarLayout {
    /// Nothing: the image or the booted system fills it.
    #[default]
    Empty,
    /// What systems without `tmpfiles.d` need.
    Traditional,
}

/// Makes in an empty `/var` what systems without `tmpfiles.d` need. **Blocking.**
pub(crate) fn fill_var(var: &Path) -> Result<()> {
    for (name, mode) in [("tmp", 0o1777), ("lib", 0o755), ("log", 0o755)] {
        let path = var.join(name);
        if files::look(&path)?.is_none() {
            make_dir(&path, mode)?;
        }
    }
    for (name, target) in [("run", "../run"), ("lock", "../run/lock")] {
        let path = var.join(name);
        if files::look(&path)?.is_none() {
            files::replace_link(target, &path)?;
        }
    }
    Ok(())
}

fn make_dir(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    files::make_dirs(path, mode)?;
    let mode = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, mode).map_err(files::failed(path, "its mode cannot be set"))
}

fn make_top_level(root: &Path, epoch: Epoch) -> Result<()> {
    files::make_dirs(&root.join("boot"), 0o755)?;
    match epoch {
        Epoch::Traditional => {
            for name in ["dev", "home", "proc", "run", "sys"] {
                files::make_dirs(&root.join(name), 0o755)?;
            }
            for (name, mode) in [("root", 0o700), ("tmp", 0o1777)] {
                if files::look(&root.join(name))?.is_none() {
                    make_dir(&root.join(name), mode)?;
                }
            }
        }
        Epoch::Modern => {}
        Epoch::Private => make_dir(&root.join("ostree"), 0o700)?,
    }
    files::make_dirs(&root.join("ostree/deploy"), 0o755)
}
