//! Unlocking: an overlay over `/usr` of the running system, in which it can be changed.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use treeferry_core::error::{Error, Result};

use crate::cleanup::Cleanup;
use crate::deploy::NewDeployment;
use crate::deployment::{Deployment, Unlocked};
use crate::files::{self, Seal};
use crate::finish::write_origin;
use crate::host::{Access, Overlay};
use crate::load::State;
use crate::order::{Placement, Retain};
use crate::sysroot::Sysroot;

impl Sysroot {
    /// Makes `/usr` of the running system changeable. For a hotfix, which outlives a boot, a copy of
    /// the deployment as it was is put behind it, to roll back to. The sysroot must be locked.
    pub async fn unlock(&self, state: &State, kind: Unlocked) -> Result<()> {
        let booted = state.require_booted()?.clone();
        if booted.unlocked != Unlocked::No {
            let problem = format!(
                "Deployment is already in unlocked state: {}",
                booted.unlocked
            );
            return Err(Error::invalid(problem));
        }
        if kind == Unlocked::Hotfix {
            self.push_rollback(state, &booted).await?;
        }
        self.run(move |sysroot| {
            let root = sysroot.layout().deployment(&booted.id);
            files::set_seal(&root, Seal::Off)?;
            let (upper, work) = make_overlay(sysroot, &booted, kind)?;
            sysroot.options().host.mounts.overlay(&Overlay {
                lower: root.join("usr"),
                upper,
                work,
                target: sysroot.layout().root().join("usr"),
                access: match kind {
                    Unlocked::Transient => Access::ReadOnly,
                    _ => Access::ReadWrite,
                },
            })?;
            record(sysroot, &booted, kind)?;
            sysroot.touch()
        })
        .await
    }

    async fn push_rollback(&self, state: &State, booted: &Deployment) -> Result<()> {
        self.cleanup(Cleanup::Deployments).await?;
        let origin = booted.origin.clone().unwrap_or_default();
        let mut new = NewDeployment::new(booted.id.stateroot.clone(), booted.id.checksum, origin);
        new.merge = Some(booted.clone());
        let deployed = self.deploy(&new).await?;
        let (merge, retain) = (Some(&booted.id), Retain::default());
        let placement = Placement::NotDefault;
        self.add_deployment(state, deployed.deployment, merge, placement, retain)
            .await
            .map(drop)
    }
}

fn make_overlay(
    sysroot: &Sysroot,
    booted: &Deployment,
    kind: Unlocked,
) -> Result<(std::path::PathBuf, std::path::PathBuf)> {
    let root = sysroot.layout().deployment(&booted.id);
    let (upper, work) = match kind {
        // Early boot looks for these, and mounts them again.
        Unlocked::Hotfix => (root.join(".usr-ovl-upper"), root.join(".usr-ovl-work")),
        _ => {
            let dir = sysroot.layout().backing(&booted.id).join("usr-transient");
            files::remove_all(&dir)?;
            (dir.join("upper"), dir.join("work"))
        }
    };
    let usr = root.join("usr");
    let mode = std::fs::metadata(&usr).map_err(files::failed(&usr, "cannot be looked at"))?;
    for path in [&upper, &work] {
        make_dir(path, mode.permissions().mode() & 0o7777)?;
    }
    Ok((upper, work))
}

fn make_dir(path: &Path, mode: u32) -> Result<()> {
    files::make_dirs(path, mode)?;
    let mode = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(path, mode).map_err(files::failed(path, "its mode cannot be set"))
}

fn record(sysroot: &Sysroot, booted: &Deployment, kind: Unlocked) -> Result<()> {
    if kind == Unlocked::Hotfix {
        let mut origin = booted.origin.clone().unwrap_or_default();
        origin.set("unlocked", kind.as_str())?;
        return write_origin(sysroot, &booted.id, &origin);
    }
    let dir = sysroot.run_path(&format!("deployment-state/{}", booted.id.dir_name()));
    files::make_dirs(&dir, 0o755)?;
    files::replace(&dir.join(format!("unlocked-{kind}")), b"", 0o644)
}
