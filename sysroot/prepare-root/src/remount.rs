//! What is mounted again once the system runs (`ostree-remount`).
//!
//! The kernel mounts the physical root read-only until systemd, or whoever is in charge, has checked it and
//! makes `/` writable. What shares its filesystem then has to become writable as well, but for
//! `/sysroot` where it is to stay read-only.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::StatVfsMountFlags;
use rustix::mount::MountFlags;
use treeferry_core::error::{Error, Result};
use treeferry_core::format::gvariant::Dict;

use crate::act::told;
use crate::again::make_writable;

const AGAIN: &str = "cannot be mounted again";

/// What became of each mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remounted {
    /// This system was not booted from a deployment: nothing was done.
    NotOurs,
    /// The root is read-only, so nothing below it is made writable.
    RootIsReadOnly,
    /// Done; these were made writable.
    Writable(Vec<&'static str>),
}

/// Mounts again what must become writable, and `/sysroot` as it is to be, below `root`.
///
/// # Errors
///
/// Names the mount that could not be changed.
pub fn remount(root: &Path) -> Result<Remounted> {
    let mark = root.join("run/ostree-booted");
    let mark_says = match fs::read(&mark) {
        Ok(bytes) => Dict::decode(&bytes).unwrap_or_default(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Remounted::NotOurs),
        Err(e) => return Err(Error::io("cannot be read", e).about(mark)),
    };
    let says = |key: &str| mark_says.get(key).and_then(|value| value.as_bool()) == Some(true);
    // An image is read-only for ever; there, `/etc` and `/var` count.
    if is_read_only(root)? && !says("composefs") && !says("root.transient-ro") {
        return Ok(Remounted::RootIsReadOnly);
    }
    let mut writable = Vec::new();
    let sysroot = root.join("sysroot");
    if says("sysroot-ro") {
        // The filesystem becomes writable for the others, this view of it does not.
        writable_again(&sysroot)?;
        let how = MountFlags::BIND | MountFlags::RDONLY;
        let done = rustix::mount::mount_remount(&sysroot, how, "");
        told(done, AGAIN, &sysroot)?;
    } else if is_read_only(&sysroot)? {
        writable_again(&sysroot)?;
        writable.push("/sysroot");
    }
    let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).ok();
    for name in ["/etc", "/var", "/boot"] {
        let path = root.join(&name[1..]);
        // A /boot of its own filesystem is mounted as its owner wants it.
        let foreign = name == "/boot" && device(&path) != device(&sysroot);
        if path.is_dir() && !foreign && is_read_only(&path)? {
            writable_again(&path)?;
            writable.push(name);
        }
    }
    Ok(Remounted::Writable(writable))
}

fn is_read_only(path: &Path) -> Result<bool> {
    let found = rustix::fs::statvfs(path)
        .map_err(|e| Error::io("cannot be looked at", e).about(path.to_owned()))?;
    Ok(found.f_flag.contains(StatVfsMountFlags::RDONLY))
}

fn writable_again(path: &Path) -> Result<()> {
    told(make_writable(path), AGAIN, path)
}
