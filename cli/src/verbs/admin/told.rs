//! What is told of a deployment that was made and a menu that was written.

use treeferry_sysroot::boot_loaders::Atomicity;
use treeferry_sysroot::etc_merge::{ConflictKind, MergeReport, Resolution};
use treeferry_sysroot::switch::{BootVersion, Switch};
use treeferry_sysroot::{Deployed, VarLabels, Written};

use super::machine::Machine;
use crate::failure::Result;
use crate::output;
use crate::session::Name;

/// Tells what was written, in OSTree's words.
pub(super) fn written(written: Option<&Written>) -> Result<()> {
    let Some(written) = written else {
        return Ok(());
    };
    let what = match written.atomicity {
        Atomicity::Atomic => "Transaction complete",
        Atomicity::Steps => "Bootloader updated",
    };
    let swap = if written.switch == Switch::Loader {
        "yes"
    } else {
        "no"
    };
    let BootVersion { loader, links } = written.version;
    Ok(output::line(format!(
        "{what}; bootconfig swap: {swap}; bootversion: boot.{loader}.{links}, deployment count \
         change: {}",
        written.count_change
    ))?)
}

/// Tells what became of `/etc` and `/var` of a new deployment.
pub(super) fn deployed(deployed: &Deployed, machine: &Machine) -> Result<()> {
    if let Some((modified, removed, added)) = deployed.etc_counts {
        output::line(format!(
            "Copying /etc changes: {modified} modified, {removed} removed, {added} added"
        ))?;
    }
    if let (Name::Treeferry, Some(report)) = (machine.session.name, &deployed.etc) {
        conflicts(report)?;
    }
    if deployed.var == VarLabels::Done {
        output::line("Relabeling /var (no stamp file 'var/.ostree-selabeled' found)")?;
    }
    Ok(())
}

/// Tells where both sides changed something in `/etc`.
pub(super) fn conflicts(report: &MergeReport) -> Result<()> {
    for conflict in &report.conflicts {
        let how = match conflict.kind {
            ConflictKind::BothChanged => "changed here and in the new system",
            ConflictKind::BothAdded => "added here and in the new system",
            ConflictKind::ChangedHereRemovedThere => "changed here, removed in the new system",
            ConflictKind::RemovedHereChangedThere => "removed here, changed in the new system",
            ConflictKind::DifferentKinds => "something else here than in the new system",
            ConflictKind::DroppedWithDirectory => "in a directory that the new system has too",
            ConflictKind::DirectoryAttributes => "a directory with other attributes here",
            ConflictKind::Special => "neither file, link nor directory",
        };
        let then = match conflict.resolution {
            Resolution::KeptMine => "kept as it was here",
            Resolution::TookNew => "taken from the new system",
            Resolution::KeptBoth => "both kept",
        };
        output::line(format!("/etc/{}: {how}: {then}", conflict.path.display()))?;
    }
    Ok(())
}
