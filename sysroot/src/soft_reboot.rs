//! Soft reboots: user space starts anew from another deployment, under the same kernel.
//!
//! What is written here is which deployment that is, as OSTree writes it; mounting it at
//! `/run/nextroot` is up to early boot.

use std::os::unix::fs::MetadataExt;

use treeferry_core::error::{Error, Result};
use treeferry_core::format::gvariant::{Dict, Value};

use crate::deployment::Deployment;
use crate::files;
use crate::load::State;
use crate::sysroot::{RootInode, Sysroot};

/// Where the deployment to boot into is named, below `/run/ostree`.
const NEXT: &str = "nextroot-booted";
const KEY: &str = "backing-root-device-inode";

/// Returns why `target` cannot be soft-rebooted into from `booted`; `None` when it can. Pure.
pub fn obstacle(booted: &Deployment, target: &Deployment) -> Option<&'static str> {
    if booted.id == target.id {
        return Some("it is the one that runs");
    }
    if booted.bootcsum != target.bootcsum {
        return Some("its kernel or initramfs is another");
    }
    let args = |d: &Deployment| d.entry.args().without_ostree();
    (args(booted) != args(target)).then_some("its kernel arguments are others")
}

impl Sysroot {
    /// Names the deployment that the next soft reboot goes to.
    pub async fn prepare_soft_reboot(&self, state: &State, index: usize) -> Result<()> {
        let (booted, target) = (state.require_booted()?, state.at(index)?);
        if let Some(obstacle) = obstacle(booted, target) {
            let problem = format!("Cannot soft-reboot into deployment {index}: {obstacle}");
            return Err(Error::invalid(problem));
        }
        let id = target.id.clone();
        self.run(move |sysroot| {
            let root = sysroot.layout().deployment(&id);
            let meta =
                std::fs::metadata(&root).map_err(files::failed(&root, "cannot be looked at"))?;
            let mut dict = Dict::new();
            dict.insert(
                KEY,
                Value::Tuple(vec![meta.dev().into(), meta.ino().into()]),
            );
            files::make_dirs(&sysroot.run_path(""), 0o755)?;
            files::replace(&sysroot.run_path(NEXT), &dict.encode(), 0o644)?;
            sysroot.touch()
        })
        .await
    }

    /// Forgets where the next soft reboot goes to.
    pub async fn reset_soft_reboot(&self) -> Result<()> {
        clear(self).await
    }
}

pub(crate) async fn clear(sysroot: &Sysroot) -> Result<()> {
    sysroot
        .run(|sysroot| files::remove_file(&sysroot.run_path(NEXT)))
        .await
}

/// Reads where the next soft reboot goes to. **Blocking.**
pub(crate) fn read_target(sysroot: &Sysroot) -> Result<Option<RootInode>> {
    if sysroot.options().running.root.is_none() {
        return Ok(None);
    }
    let Some(bytes) = files::read(&sysroot.run_path(NEXT))? else {
        return Ok(None);
    };
    let dict = Dict::decode(&bytes).map_err(|e| Error::from(e).about(sysroot.run_path(NEXT)))?;
    let numbers = dict.get(KEY).and_then(Value::as_slice).unwrap_or_default();
    Ok(match numbers {
        [device, inode] => device
            .as_u64()
            .zip(inode.as_u64())
            .map(|(device, inode)| RootInode { device, inode }),
        _ => None,
    })
}

/// After a soft reboot: what was next is what runs. **Blocking.**
pub(crate) fn complete(sysroot: &Sysroot) -> Result<()> {
    let booted = sysroot.options().running.run.join("ostree-booted");
    match std::fs::rename(sysroot.run_path(NEXT), &booted) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(files::failed(&booted, "cannot be written")(e)),
    }
}
