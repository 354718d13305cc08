//! `admin instutil selinux-ensure-labeled`.

use crate::failure::{Failure, Result};
use crate::output;
use crate::verbs::admin::machine::Machine;

pub(super) async fn run(machine: &Machine) -> Result<()> {
    let (_lock, state) = machine.locked().await?;
    let first = state.deployments.first();
    let first = first.ok_or_else(|| Failure::new("Unable to find a deployment in sysroot"))?;
    match machine.sysroot.ensure_labels(first).await? {
        None => Ok(()),
        Some((policy, count)) => Ok(output::line(format!("Labelled {count} paths by {policy}"))?),
    }
}
