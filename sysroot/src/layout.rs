//! Which path below a sysroot holds what; OSTree's layout.
//!
//! ```text
//! ostree/repo                                            the repository
//! ostree/lock                                            held by whoever changes anything
//! ostree/deploy/STATEROOT/var                            shared by its deployments
//! ostree/deploy/STATEROOT/deploy/CHECKSUM.SERIAL         a deployment, and beside it .origin
//! ostree/deploy/STATEROOT/backing/CHECKSUM.SERIAL        what belongs to it but is not in it
//! ostree/boot.N -> boot.N.M
//! ostree/boot.N.M/STATEROOT/BOOTCSUM/BOOTSERIAL -> ../../../deploy/…  where ostree= leads
//! ostree/treeferry-transition                            what is under way: `transition`
//! boot/ostree/STATEROOT-BOOTCSUM/                        kernel, initramfs, device trees
//! boot/ostree/initramfs-overlays/CHECKSUM.img
//! boot/loader -> loader.N
//! boot/loader.N/entries/ostree-RANK.conf                 the menu
//! ```

use std::path::{Path, PathBuf};

use treeferry_core::format::Checksum;

use crate::names::{BootLink, DeploymentId, Stateroot, Turn};
use crate::switch::BootVersion;

/// Overlay initramfs images, below `boot`.
pub(crate) const INITRD_OVERLAYS: &str = "ostree/initramfs-overlays";
/// Why the last finalization failed, below `boot`; OSTree's name for it.
pub(crate) const FAILURE_STAMP: &str = "ostree/finalize-failure.stamp";

/// The paths of a sysroot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Returns the paths below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Returns the sysroot itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns the repository.
    pub fn repo(&self) -> PathBuf {
        self.root.join("ostree/repo")
    }

    /// Returns the directory of all stateroots.
    pub fn deploy(&self) -> PathBuf {
        self.root.join("ostree/deploy")
    }

    /// Returns the directory of a stateroot.
    pub fn stateroot(&self, stateroot: &Stateroot) -> PathBuf {
        self.deploy().join(stateroot.as_str())
    }

    /// Returns the directory of a deployment.
    pub fn deployment(&self, id: &DeploymentId) -> PathBuf {
        self.root.join(relative_path(id))
    }

    /// Returns the origin file of a deployment.
    pub fn origin(&self, id: &DeploymentId) -> PathBuf {
        let dir = self.stateroot(&id.stateroot).join("deploy");
        dir.join(format!("{}.origin", id.dir_name()))
    }

    /// Returns the directory of what belongs to a deployment but is not in it.
    pub fn backing(&self, id: &DeploymentId) -> PathBuf {
        let dir = self.stateroot(&id.stateroot).join("backing");
        dir.join(id.dir_name())
    }

    /// Returns `/boot`.
    pub fn boot(&self) -> PathBuf {
        self.root.join("boot")
    }

    /// Returns the menu of a turn.
    pub fn loader(&self, turn: Turn) -> PathBuf {
        self.root.join(format!("boot/loader.{turn}"))
    }

    /// Returns the link to a set of links.
    pub fn links(&self, turn: Turn) -> PathBuf {
        self.root.join(format!("ostree/boot.{turn}"))
    }

    /// Returns a set of links.
    pub fn link_set(&self, version: BootVersion) -> PathBuf {
        let BootVersion { loader, links } = version;
        self.root.join(format!("ostree/boot.{loader}.{links}"))
    }

    /// Returns where an `ostree=` argument leads to, a symbolic link.
    pub fn boot_link(&self, link: &BootLink) -> PathBuf {
        self.root.join(link.to_string().trim_start_matches('/'))
    }

    /// Returns what is under way.
    pub fn transition(&self) -> PathBuf {
        self.root.join("ostree/treeferry-transition")
    }

    /// Returns the file whose lock whoever changes anything holds.
    pub fn lock(&self) -> PathBuf {
        self.root.join("ostree/lock")
    }
}

/// Returns the path of a deployment below the sysroot.
pub fn relative_path(id: &DeploymentId) -> String {
    format!("ostree/deploy/{}/deploy/{}", id.stateroot, id.dir_name())
}

/// Returns the directory of what a deployment boots from, below `boot`.
pub(crate) fn boot_dir(stateroot: &Stateroot, bootcsum: &Checksum) -> String {
    format!("ostree/{stateroot}-{bootcsum}")
}

/// Reads the name of such a directory.
pub(crate) fn parse_boot_dir(name: &str) -> Option<(Stateroot, Checksum)> {
    let (stateroot, csum) = name.rsplit_once('-')?;
    Some((Stateroot::new(stateroot).ok()?, csum.parse().ok()?))
}
