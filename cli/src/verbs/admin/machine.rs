//! The system that a verb works on, and what of the machine around it the environment tells.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use treeferry_core::ErrorKind;
use treeferry_core::format::gvariant::{Dict, Value};
use treeferry_sysroot::boot_loaders::{GrubOptions, GrubScript};
use treeferry_sysroot::host::{BootSync, Host, RehearsedFreeze};
use treeferry_sysroot::{
    DeviceTrees, EntryNaming, OpenOptions, RootInode, Running, Sealing, State, Stateroot, Sysroot,
    SysrootLock,
};

use crate::failure::{Failure, Result, io_failure};
use crate::output;
use crate::own_mounts::{BOOTED, Outside};
use crate::session::{Name, Session};

/// A system, opened.
pub(super) struct Machine {
    pub(super) sysroot: Sysroot,
    /// The call, with the system's repository.
    pub(super) session: Session,
}

impl Machine {
    /// Opens the system at `path`, or the one that the environment names, or the running one.
    pub(super) async fn open(session: &Session, path: Option<PathBuf>) -> Result<Self> {
        let path = path_or_default(path);
        let options = options(&path)?;
        let root = options.running.root.is_some();
        if root && !rustix::process::geteuid().is_root() {
            return Err(Failure::new("You must be root to perform this command"));
        }
        let sysroot = Sysroot::open(&path, options).await.map_err(|error| {
            let is_no_system = error.kind() == ErrorKind::Missing;
            match session.name {
                Name::Treeferry if is_no_system => Failure::from(error).with_help(
                    "--sysroot=PATH names the root of a system, and 'admin init-fs PATH' makes one",
                ),
                _ => error.into(),
            }
        })?;
        let mut session = session.clone();
        session.repo = Some(sysroot.layout().repo());
        Ok(Self { sysroot, session })
    }

    /// Waits for the right to change the system, and returns what is deployed.
    pub(super) async fn locked(&self) -> Result<(SysrootLock, State)> {
        let waiting = || {
            // Who closed the output does not want to know.
            let _ = output::line("Waiting for sysroot lock...");
        };
        let lock = self.sysroot.lock(waiting).await?;
        Ok((lock, self.sysroot.load().await?))
    }
}

/// Returns which system is meant: the one at `path`, or the one that the environment names, or the running one.
pub(super) fn path_or_default(path: Option<PathBuf>) -> PathBuf {
    let named = || std::env::var_os("OSTREE_SYSROOT").filter(|path| !path.is_empty());
    let path = path.or_else(|| named().map(PathBuf::from));
    path.unwrap_or_else(|| PathBuf::from("/"))
}

/// Returns how a system is opened in this environment.
pub(super) fn options(path: &Path) -> Result<OpenOptions> {
    let mut options = OpenOptions {
        running: running(path)?,
        ..OpenOptions::default()
    };
    options.host.mounts = Arc::new(Outside);
    let has = |variable: &str, word: &str| {
        let value = std::env::var(variable).unwrap_or_default();
        value.split([',', ':', ';', ' ']).any(|found| found == word)
    };
    if has("OSTREE_SYSROOT_DEBUG", "mutable-deployments") {
        options.sealing = Sealing::Mutable;
    }
    if has("OSTREE_SYSROOT_DEBUG", "no-dtb") {
        options.device_trees = DeviceTrees::Ignore;
    }
    if has("OSTREE_SYSROOT_DEBUG", "test-fifreeze") {
        options.host = Host {
            boot_sync: Arc::new(RehearsedFreeze),
            ..Host::default()
        };
    }
    if has("OSTREE_SYSROOT_OPTS", "bootloader-naming-1") {
        options.naming = EntryNaming::RankAndStateroot;
    }
    if has("OSTREE_SYSROOT_OPTS", "skip-sync") {
        options.host = Host {
            boot_sync: Arc::new(NoSync),
            ..options.host
        };
    }
    let grub = std::env::var_os("OSTREE_GRUB2_EXEC").filter(|path| !path.is_empty());
    if let Some(program) = grub.filter(|path| !path.to_string_lossy().ends_with("grub2-mkconfig")) {
        options.grub = GrubOptions {
            script: GrubScript::Other(program),
        };
    }
    Ok(options)
}

/// Leaves it to somebody else to sync: whoever makes an image does so once, at the end.
#[derive(Debug)]
struct NoSync;

impl BootSync for NoSync {
    fn sync_deployments(&self, _: &Path) -> treeferry_core::Result<()> {
        Ok(())
    }

    fn sync_boot(&self, _: &Path) -> treeferry_core::Result<()> {
        Ok(())
    }
}

/// Returns what runs, if it runs from the system at `path`.
fn running(path: &Path) -> Result<Running> {
    let boot_id = std::env::var("OSTREE_BOOTID").ok();
    let boot_id = boot_id.or_else(|| fs::read_to_string("/proc/sys/kernel/random/boot_id").ok());
    let mut running = Running {
        boot_id: boot_id.unwrap_or_default().trim().to_owned(),
        ..Running::default()
    };
    let Ok(told) = fs::read(BOOTED) else {
        return Ok(running);
    };
    let look = |path: &Path| fs::metadata(path).map_err(|e| io_failure(path, &e));
    let (root, asked) = (look(Path::new("/"))?, look(path)?);
    if (root.dev(), root.ino()) == (asked.dev(), asked.ino()) {
        running.root = Some(backing(&told).unwrap_or(RootInode {
            device: root.dev(),
            inode: root.ino(),
        }));
    }
    Ok(running)
}

/// Reads which directory is behind `/`, where that is an image or an overlay.
fn backing(told: &[u8]) -> Option<RootInode> {
    let dict = Dict::decode(told).ok()?;
    match dict.get("backing-root-device-inode")?.as_slice()? {
        [Value::U64(device), Value::U64(inode)] => Some(RootInode {
            device: *device,
            inode: *inode,
        }),
        _ => None,
    }
}

/// Reads the name of a stateroot.
pub(super) fn stateroot(name: &str) -> Result<Stateroot> {
    Ok(Stateroot::new(name)?)
}

/// Reads the name of a stateroot, if one is given.
pub(super) fn stateroot_option(name: Option<&str>) -> Result<Option<Stateroot>> {
    name.map(stateroot).transpose()
}

/// Reads the number of a deployment.
pub(super) fn index(word: &str) -> Result<usize> {
    word.parse()
        .map_err(|_| Failure::new(format!("Invalid index: {word}")))
}
