//! `admin rollback`.

use treeferry_sysroot::Cleanup;

use super::machine::Machine;
use super::{cleanup, told};
use crate::failure::Result;
use crate::output;

pub(super) async fn run(machine: &Machine) -> Result<()> {
    let (_lock, state) = machine.locked().await?;
    let (index, written) = machine.sysroot.roll_back(&state).await?;
    told::written(written.as_ref())?;
    let id = &state.at(index)?.id;
    output::line(format!("{id} is the default"))?;
    cleanup::clean(machine, Cleanup::Deployments).await
}
