//! `admin cleanup`.

use treeferry_sysroot::Cleanup;

use super::machine::Machine;
use crate::failure::Result;

pub(super) async fn run(machine: &Machine) -> Result<()> {
    let (_lock, _) = machine.locked().await?;
    clean(machine, Cleanup::AndRepo).await
}

/// Cleans up, and says what that freed.
pub(super) async fn clean(machine: &Machine, cleanup: Cleanup) -> Result<()> {
    let report = machine.sysroot.cleanup(cleanup).await?;
    if let Some(report) = report.filter(|report| report.freed_bytes > 0) {
        let size = crate::verbs::size_text::size_text(report.freed_bytes);
        tracing::info!("Freed objects: {size}");
    }
    Ok(())
}
