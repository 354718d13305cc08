//! `admin boot-complete`.

use treeferry_sysroot::BootReport;

use super::machine::Machine;
use crate::failure::{Failure, Result};
use crate::output;

pub(super) async fn run(machine: &Machine) -> Result<()> {
    let (_lock, state) = machine.locked().await?;
    let BootReport {
        marked_good,
        staged_again,
        fell_back_from,
        failure,
        ..
    } = machine.sysroot.boot_complete(&state).await?;
    if let Some(id) = marked_good {
        output::line(format!("{id} came up"))?;
    }
    if let Some(id) = staged_again {
        output::line(format!("{id} was cut off on its way, and is staged again"))?;
    }
    if let Some(id) = fell_back_from {
        output::line(format!(
            "{id} did not come up: this system is the default again"
        ))?;
    }
    match failure {
        None => Ok(()),
        Some(reason) => Err(Failure::new(format!(
            "ostree-finalize-staged.service failed on previous boot: {reason}"
        ))),
    }
}
