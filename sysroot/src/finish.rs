//! The last steps of a deployment, which need what is in `/etc` now: the merge, labels, the seal.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use treeferry_core::error::{Error, Result};
use treeferry_core::ops::checkout::CheckoutReport;
use treeferry_core::ops::labels::Labels;

use crate::deploy::{Deployed, VarLabels};
use crate::deployment::Deployment;
use crate::etc_merge::{self, EtcTree, MergePlan, Strategies};
use crate::files::{self, Seal};
use crate::host::Call;
use crate::labels::label_tree;
use crate::load::inherited_args;
use crate::names::DeploymentId;
use crate::origin::Origin;
use crate::sysroot::{Sealing, Sysroot};

/// Where the report of a merge is kept, in the backing directory of a deployment.
const REPORT: &str = "etc-merge.json";
/// Says that `/var` was labelled, in a stateroot; OSTree's name for it.
const LABELLED: &str = "var/.ostree-selabeled";

impl Sysroot {
    /// Does what needs the `/etc` of the deployment that is merged from.
    pub(crate) async fn finish(
        &self,
        mut deployment: Deployment,
        merge: Option<Deployment>,
        strategies: Strategies,
    ) -> Result<Deployed> {
        if let Some(merge) = merge.as_ref().filter(|_| !deployment.entry.has_args()) {
            deployment
                .entry
                .set("options", &inherited_args(merge).to_string());
        }
        if let Some(merge) = &merge {
            let own: Vec<_> = deployment
                .entry
                .extensions()
                .iter()
                .map(|(k, _)| (*k).to_owned())
                .collect();
            for (key, value) in merge.entry.extensions() {
                if !own.iter().any(|own| own == key) && !key.starts_with("x-treeferry-") {
                    deployment.entry.set(key, value);
                }
            }
        }
        tracing::info!(deployment = %deployment.id, "step: merging /etc");
        self.run(move |sysroot| {
            let id = &deployment.id;
            let mut plan = None;
            if let Some(merge) = &merge {
                plan = Some(merge_etc(sysroot, &merge.id, id, &strategies)?);
                refresh_policy(sysroot, id)?;
            }
            let var = finish_var(sysroot, id)?;
            make_backing(sysroot, id)?;
            if let Some(plan) = &plan {
                let path = sysroot.layout().backing(id).join(REPORT);
                files::replace(&path, plan.report.to_json().as_bytes(), 0o600)?;
            }
            let origin = deployment.origin.clone().unwrap_or_default();
            write_origin(sysroot, id, &origin)?;
            if sysroot.options().sealing == Sealing::Sealed {
                files::set_seal(&sysroot.layout().deployment(id), Seal::On)?;
            }
            Ok(Deployed {
                checkout: CheckoutReport::default(),
                etc_counts: plan.as_ref().map(|plan| plan.counts),
                etc: plan.map(|plan| plan.report),
                var,
                deployment,
            })
        })
        .await
    }

    /// Decides the merge of `/etc` of one deployment onto a commit's or deployment's, and does nothing.
    pub async fn plan_etc_merge(
        &self,
        from: &DeploymentId,
        to: &DeploymentId,
        strategies: &Strategies,
    ) -> Result<MergePlan> {
        let (from, to, strategies) = (from.clone(), to.clone(), strategies.clone());
        self.run(move |sysroot| {
            let new = sysroot.layout().deployment(&to).join("usr/etc");
            decide(sysroot, &from, &new, &strategies)
        })
        .await
    }

    /// Returns what became of `/etc` when a deployment was made, for programs; `None` if it was not
    /// merged, or not by this implementation.
    pub async fn etc_merge_report(&self, id: &DeploymentId) -> Result<Option<String>> {
        let path = self.layout().backing(id).join(REPORT);
        self.run(move |_| files::read_text(&path)).await
    }

    /// Returns what the administrator changed in `/etc` of a deployment: a letter `M`, `A` or `D`, and
    /// the path relative to `/etc`.
    pub async fn config_diff(&self, id: &DeploymentId) -> Result<Vec<(char, std::path::PathBuf)>> {
        let root = self.layout().deployment(id);
        self.run(move |_| {
            let (old, mine) = (
                EtcTree::read(&root.join("usr/etc"))?,
                EtcTree::read(&root.join("etc"))?,
            );
            Ok(etc_merge::differences(&old, &mine))
        })
        .await
    }

    /// Writes the origin of a deployment anew. The sysroot must be locked.
    pub async fn write_origin(&self, id: &DeploymentId, origin: &Origin) -> Result<()> {
        let (id, origin) = (id.clone(), origin.clone());
        self.run(move |sysroot| write_origin(sysroot, &id, &origin))
            .await
    }
}

fn decide(
    sysroot: &Sysroot,
    from: &DeploymentId,
    new: &Path,
    strategies: &Strategies,
) -> Result<MergePlan> {
    let root = sysroot.layout().deployment(from);
    let old = EtcTree::read(&root.join("usr/etc"))?;
    let mine = EtcTree::read(&root.join("etc"))?;
    let new = EtcTree::read(new)?;
    let plan = etc_merge::plan(&old, &mine, &new, strategies);
    plan.map_err(|blocked| Error::invalid(format!("During /etc merge: {blocked}")))
}

fn merge_etc(
    sysroot: &Sysroot,
    from: &DeploymentId,
    to: &DeploymentId,
    strategies: &Strategies,
) -> Result<MergePlan> {
    let root = sysroot.layout().deployment(to);
    let shipped = root.join("usr/etc");
    let plan = decide(sysroot, from, &shipped, strategies)?;
    let mine = sysroot.layout().deployment(from).join("etc");
    etc_merge::apply(&plan.actions, &mine, &shipped, &root.join("etc"))?;
    Ok(plan)
}

/// Has SELinux's own tool rebuild the policy, if local modules may have come with `/etc`.
fn refresh_policy(sysroot: &Sysroot, id: &DeploymentId) -> Result<()> {
    let root = sysroot.layout().deployment(id);
    let has = |path: &str| -> Result<bool> { Ok(files::look(&root.join(path))?.is_some()) };
    let has_tool = has("usr/sbin/semodule")? || has("usr/bin/semodule")?;
    if !has("etc/selinux/config")? || !has_tool {
        return Ok(());
    }
    sysroot.options().host.programs.run(&Call {
        program: "semodule".into(),
        args: vec!["-N".into(), "--refresh".into()],
        root: Some(root),
        ..Call::default()
    })
}

/// Labels `/var` once, and has services run that want to after an update.
fn finish_var(sysroot: &Sysroot, id: &DeploymentId) -> Result<VarLabels> {
    let root = sysroot.layout().deployment(id);
    let stateroot = sysroot.layout().stateroot(&id.stateroot);
    files::remove_file(&root.join("etc/.updated"))?;
    files::remove_file(&stateroot.join("var/.updated"))?;
    let stamp = stateroot.join(LABELLED);
    if files::look(&stamp)?.is_some() {
        return Ok(VarLabels::There);
    }
    if let Some(labels) = Labels::read_directory(&root)? {
        label_tree(&labels, &stateroot.join("var"), "/var")?;
    }
    files::replace(&stamp, b"", 0o644)?;
    Ok(VarLabels::Done)
}

/// Makes the directory of what belongs to a deployment but is not in it, with what a changeable root
/// needs at boot.
fn make_backing(sysroot: &Sysroot, id: &DeploymentId) -> Result<()> {
    let backing = sysroot.layout().backing(id);
    let transient = backing.join("root-transient");
    files::make_dirs(&transient.join("work"), 0o700)?;
    let upper = transient.join("upper");
    files::make_dirs(&upper, 0o700)?;
    let root = sysroot.layout().deployment(id);
    let meta = std::fs::metadata(&root).map_err(files::failed(&root, "cannot be looked at"))?;
    let mode = std::fs::Permissions::from_mode(meta.permissions().mode() & 0o7777);
    std::fs::set_permissions(&upper, mode).map_err(files::failed(&upper, "its mode cannot be set"))
}

pub(crate) fn write_origin(sysroot: &Sysroot, id: &DeploymentId, origin: &Origin) -> Result<()> {
    let path = sysroot.layout().origin(id);
    files::replace(&path, origin.to_string().as_bytes(), 0o644)?;
    sysroot.touch()
}
