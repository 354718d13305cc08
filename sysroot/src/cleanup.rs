//! Removes what no menu entry needs: links, deployments, files in `/boot`, refs, objects.
//!
//! What boots goes last: a menu that does not count is removed before the links that it names, those
//! before the deployments, and those before their files in `/boot`.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use treeferry_core::error::Result;
use treeferry_core::format::{Branch, Checksum};
use treeferry_core::ops::prune::{PruneOptions, PruneReport, PruneRoots, prune};
use treeferry_core::repo::Depth;
use treeferry_core::store::{ExpectedRef, RefName, RefSpace, RefUpdate, RefValue};

use crate::deployment::Deployment;
use crate::files::{self, Seal};
use crate::layout::{INITRD_OVERLAYS, parse_boot_dir};
use crate::load::State;
use crate::menu;
use crate::names::{DeploymentId, Stateroot, Turn};
use crate::switch::BootVersion;
use crate::sysroot::Sysroot;
use crate::transition::Transition;

/// How thoroughly to clean up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Cleanup {
    /// Links, deployments, `/boot` and refs.
    Deployments,
    /// Objects of the repository too.
    #[default]
    AndRepo,
}

impl Sysroot {
    /// Removes what no menu entry needs. The sysroot must be locked.
    pub async fn cleanup(&self, cleanup: Cleanup) -> Result<Option<PruneReport>> {
        tracing::info!(?cleanup, "step: cleaning up");
        let state = self
            .run(|sysroot| {
                let state = sysroot.load_blocking()?;
                clean_links(sysroot, &state)?;
                clean_deployments(sysroot, &state)?;
                clean_boot(sysroot, &state)?;
                Ok(state)
            })
            .await?;
        self.write_deployment_refs(&state).await?;
        if cleanup == Cleanup::Deployments {
            return Ok(None);
        }
        let mut options = PruneOptions::default();
        options.roots = PruneRoots::Refs;
        options.depth = Some(Depth::Parents(0));
        prune(self.repo(), &options).await.map(Some)
    }

    /// Holds on to the commits of deployments, by refs `ostree/N/M/INDEX`.
    async fn write_deployment_refs(&self, state: &State) -> Result<()> {
        let BootVersion { loader, links } = state.version;
        let mut wanted: HashMap<RefName, Checksum> = HashMap::new();
        for (index, deployment) in state.deployments.iter().enumerate() {
            let branch = Branch::new(&format!("ostree/{loader}/{links}/{index}"))?;
            wanted.insert(RefName::Local(branch), deployment.id.checksum);
        }
        let mut updates = Vec::new();
        for (name, value) in self.repo().refs().list_refs(&RefSpace::Local).await? {
            if !is_deployment_ref(name.branch()) {
                continue;
            }
            match wanted.remove(&name) {
                Some(checksum) if value == RefValue::Commit(checksum) => {}
                checksum => updates.push(RefUpdate {
                    name,
                    expected: ExpectedRef::Any,
                    new: checksum.map(RefValue::Commit),
                }),
            }
        }
        updates.extend(wanted.into_iter().map(|(name, checksum)| RefUpdate {
            name,
            expected: ExpectedRef::Any,
            new: Some(RefValue::Commit(checksum)),
        }));
        // What is added first holds on to what is about to be let go.
        updates.sort_by_key(|update| update.new.is_none());
        if !updates.is_empty() {
            self.repo().refs().update_refs(&updates).await?;
        }
        Ok(())
    }
}

fn is_deployment_ref(branch: &Branch) -> bool {
    let parts: Vec<_> = branch.as_str().split('/').collect();
    matches!(parts.as_slice(), ["ostree", "0" | "1", "0" | "1", index] if index.parse::<u32>().is_ok())
}

fn clean_links(sysroot: &Sysroot, state: &State) -> Result<()> {
    menu::settle(sysroot, state.menu)?;
    let BootVersion { loader, links } = state.version;
    let other = loader.other();
    files::remove_all(&sysroot.layout().links(other))?;
    let sets = [
        (other, Turn::Zero),
        (other, Turn::One),
        (loader, links.other()),
    ];
    for (loader, links) in sets {
        files::remove_all(&sysroot.layout().link_set(BootVersion { loader, links }))?;
    }
    Ok(())
}

fn clean_deployments(sysroot: &Sysroot, state: &State) -> Result<()> {
    let mut kept: HashSet<DeploymentId> = state.deployments.iter().map(|d| d.id.clone()).collect();
    // What waits to be continued is no leftover.
    kept.extend(Transition::read(sysroot)?.map(|transition| transition.target));
    for id in all_deployments(sysroot)? {
        if !kept.contains(&id) {
            remove_deployment(sysroot, &id)?;
        }
    }
    for stateroot in stateroots(sysroot)? {
        let dir = sysroot.layout().stateroot(&stateroot).join("backing");
        for name in files::names(&dir)? {
            let id = DeploymentId::parse(stateroot.clone(), &name.to_string_lossy());
            if id.is_ok_and(|id| !kept.contains(&id)) {
                files::remove_all(&dir.join(name))?;
            }
        }
    }
    Ok(())
}

/// Returns the stateroots. **Blocking.**
pub(crate) fn stateroots(sysroot: &Sysroot) -> Result<Vec<Stateroot>> {
    let names = files::names(&sysroot.layout().deploy())?;
    Ok(names
        .iter()
        .filter_map(|name| Stateroot::new(name.to_str()?).ok())
        .collect())
}

/// Returns all deployments that have a directory. **Blocking.**
pub(crate) fn all_deployments(sysroot: &Sysroot) -> Result<Vec<DeploymentId>> {
    let mut found = Vec::new();
    for stateroot in stateroots(sysroot)? {
        let dir = sysroot.layout().stateroot(&stateroot).join("deploy");
        for name in files::names(&dir)? {
            let is_dir = files::look(&dir.join(&name))?.is_some_and(|meta| meta.is_dir());
            if let (true, Some(name)) = (is_dir, name.to_str())
                && let Ok(id) = DeploymentId::parse(stateroot.clone(), name)
            {
                found.push(id);
            }
        }
    }
    Ok(found)
}

/// Removes a deployment and what stands beside it; never the one that the system runs from.
/// **Blocking.**
pub(crate) fn remove_deployment(sysroot: &Sysroot, id: &DeploymentId) -> Result<()> {
    let dir = sysroot.layout().deployment(id);
    let Some(meta) = files::look(&dir)? else {
        return Ok(());
    };
    let booted = sysroot.options().running.root;
    if booted.is_some_and(|root| crate::load::same_inode(&meta, root)) {
        return Ok(());
    }
    files::set_seal(&dir, Seal::Off)?;
    // The directory goes last: it is what the others are found by.
    files::remove_all(&sysroot.layout().backing(id))?;
    files::remove_all(&sysroot.layout().origin(id))?;
    files::remove_all(&dir)
}

/// Removes from `/boot` what no deployment boots from. **Blocking.**
pub(crate) fn clean_boot(sysroot: &Sysroot, state: &State) -> Result<()> {
    let boot = sysroot.layout().boot();
    let used = |find: fn(&Deployment) -> Vec<Checksum>| -> HashSet<Checksum> {
        state.deployments.iter().flat_map(find).collect()
    };
    let bootcsums = used(|d| d.bootcsum.into_iter().collect());
    let overlays = used(|d| d.overlay_initrds.clone());
    let mut doomed: Vec<PathBuf> = Vec::new();
    for name in files::names(&boot.join("ostree"))? {
        if let Some((_, csum)) = parse_boot_dir(&name.to_string_lossy())
            && !bootcsums.contains(&csum)
        {
            doomed.push(boot.join("ostree").join(name));
        }
    }
    let dir = boot.join(INITRD_OVERLAYS);
    for name in files::names(&dir)? {
        let csum = name
            .to_str()
            .and_then(|name| name.strip_suffix(".img")?.parse().ok());
        if csum.is_none_or(|csum: Checksum| !overlays.contains(&csum)) {
            doomed.push(dir.join(name));
        }
    }
    doomed.iter().try_for_each(|path| files::remove_all(path))
}
