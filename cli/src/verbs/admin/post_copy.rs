//! `admin post-copy`.

use super::machine::Machine;
use crate::failure::Result;

pub(super) async fn run(machine: &Machine) -> Result<()> {
    let (_lock, _) = machine.locked().await?;
    machine.sysroot.post_copy().await?;
    Ok(())
}
