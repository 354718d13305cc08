//! A mount namespace of this command's own.
//!
//! A booted system may show `/sysroot` and `/boot` read-only, so that nothing changes them by mistake. Whoever is
//! to change deployments or the system's repository makes them writable for itself alone: everybody else goes on
//! seeing them read-only. It has to happen while there is one thread: others inherit what the first one sees.

use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::OnceLock;

use nix::sched::{CloneFlags, setns, unshare};
use rustix::fs::{CWD, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    fsconfig_create, fsconfig_set_string, fsmount, fsopen, move_mount,
};
use treeferry_core::error::Error;
use treeferry_prepare_root::again;
use treeferry_sysroot::host::{Access, Mounts, Overlay, ThisMachine};

use crate::failure::{Failure, Result};

/// Where a booted system says that it is one.
pub(crate) const BOOTED: &str = "/run/ostree-booted";
/// What may be read-only, and has to be written to.
const PLACES: [&str; 2] = ["/sysroot", "/boot"];

/// The mounts that everybody else sees, once this command has its own.
static OUTSIDE: OnceLock<Seen> = OnceLock::new();

/// A mount namespace, and what is `/` in it.
#[derive(Debug)]
struct Seen {
    mounts: File,
    root: File,
}

/// Makes the running system's `/sysroot` and `/boot` writable for this command. Without root nothing is done: what
/// only reads needs nothing.
pub(crate) fn make_writable() -> Result<()> {
    if !Path::new(BOOTED).exists() || !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let read_only: Vec<_> = PLACES
        .into_iter()
        .filter(|path| is_read_only(path))
        .collect();
    if read_only.is_empty() {
        return Ok(());
    }
    enter().map_err(|e| {
        Failure::new(format!(
            "{} read-only, and no mount namespace can be made in which they could be written to: {e}; run this outside of a \
             container, with the right to mount",
            are(&read_only)
        ))
    })?;
    for path in read_only {
        match again::make_writable(Path::new(path)) {
            // A directory of something else, which is read-only as a whole.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(e) => {
                let problem = format!("{path} is read-only, and cannot be made writable: {e}");
                return Err(Failure::new(problem));
            }
        }
    }
    Ok(())
}

/// Does so if `repo` is the running system's repository.
pub(crate) fn make_repo_writable(repo: &Path) -> Result<()> {
    let inode = |path: &Path| {
        fs::metadata(path)
            .ok()
            .map(|found| (found.dev(), found.ino()))
    };
    match inode(repo) {
        Some(found) if Some(found) == inode(Path::new("/sysroot/ostree/repo")) => make_writable(),
        _ => Ok(()),
    }
}

/// Does so if `sysroot` is the running system.
pub(crate) fn make_sysroot_writable(sysroot: &Path) -> Result<()> {
    match fs::canonicalize(sysroot) {
        Ok(path) if path == Path::new("/") => make_writable(),
        _ => Ok(()),
    }
}

fn are(paths: &[&str]) -> String {
    let verb = if paths.len() == 1 { "is" } else { "are" };
    format!("{} {verb}", paths.join(" and "))
}

fn is_read_only(path: &str) -> bool {
    let found = rustix::fs::statvfs(path);
    found.is_ok_and(|found| found.f_flag.contains(StatVfsMountFlags::RDONLY))
}

fn enter() -> std::io::Result<()> {
    let outside = Seen {
        mounts: File::open("/proc/self/ns/mnt")?,
        root: File::open("/")?,
    };
    unshare(CloneFlags::CLONE_NEWNS)?;
    // What is mounted outside later shows in here, and nothing the other way round.
    let how = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", how)?;
    let _ = OUTSIDE.set(outside);
    Ok(())
}

/// Takes this thread to where others see what is mounted. It must share nothing of the kind with other threads.
fn go_to(seen: &Seen) -> std::io::Result<()> {
    unshare(CloneFlags::CLONE_FS)?;
    setns(&seen.mounts, CloneFlags::CLONE_NEWNS)?;
    // Whoever was put into a part of the file system stays there.
    rustix::process::fchdir(&seen.root)?;
    Ok(rustix::process::chroot(".")?)
}

/// Returns an overlay that is mounted nowhere yet.
fn make(overlay: &Overlay) -> rustix::io::Result<OwnedFd> {
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, path) in [
        ("lowerdir", &overlay.lower),
        ("upperdir", &overlay.upper),
        ("workdir", &overlay.work),
    ] {
        fsconfig_set_string(&fs, key, path.as_os_str().as_bytes())?;
    }
    fsconfig_create(&fs)?;
    let attributes = match overlay.access {
        Access::ReadWrite => MountAttrFlags::empty(),
        Access::ReadOnly => MountAttrFlags::MOUNT_ATTR_RDONLY,
    };
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Mounts where everybody sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outside;

impl Mounts for Outside {
    fn overlay(&self, overlay: &Overlay) -> treeferry_core::Result<()> {
        let Some(outside) = OUTSIDE.get() else {
            return ThisMachine.overlay(overlay);
        };
        // Made in here, where what it lies on can be written to, and put in place out there.
        let failed = |e: Errno| {
            let problem = "no overlay can be mounted there";
            Error::io(problem, std::io::Error::from(e)).about(overlay.target.clone())
        };
        let made = make(overlay).map_err(failed)?;
        std::thread::scope(|scope| {
            let put = || {
                go_to(outside).map_err(|e| Error::io("what others see cannot be changed", e))?;
                let from_here = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
                move_mount(&made, "", CWD, &overlay.target, from_here).map_err(failed)
            };
            let done = scope.spawn(put).join();
            done.unwrap_or_else(|_| Err(Error::invalid("mounting was cut off")))
        })
    }
}
