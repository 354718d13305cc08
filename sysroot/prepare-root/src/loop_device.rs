//! Loop devices, for kernels that mount erofs from devices alone (before Linux 6.12).
//!
//! By the program `losetup`, in the words that those of util-linux and of busybox have in common: the calls of
//! the kernel behind it cannot be made without `unsafe`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use treeferry_core::error::{Error, ErrorKind, Result};

/// A loop device. Dropped, it goes as soon as nothing is mounted from it any more.
#[derive(Debug)]
pub(crate) struct LoopDevice(PathBuf);

impl LoopDevice {
    /// Makes a file a device, read-only.
    pub(crate) fn of(file: &Path) -> Result<Self> {
        let free = losetup(&["-f".as_ref()], file)?;
        let device = PathBuf::from(free.trim());
        losetup(&["-r".as_ref(), device.as_os_str(), file.as_os_str()], file)?;
        Ok(Self(device))
    }

    /// Returns the device.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        // The kernel waits until it is not used; one that stays harms nobody.
        let _ = losetup(&["-d".as_ref(), self.0.as_os_str()], &self.0);
    }
}

fn losetup(arguments: &[&OsStr], about: &Path) -> Result<String> {
    let output = Command::new("losetup").args(arguments).output();
    let output = output.map_err(|e| {
        let problem = "this kernel mounts images from devices only, and losetup cannot be run";
        Error::io(problem, e).about(about)
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let problem = format!("losetup failed ({}): {}", output.status, said.trim());
    Err(Error::new(ErrorKind::Denied, problem).about(about))
}
