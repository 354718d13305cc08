//! `admin stateroot-init`, also `os-init`.

use treeferry_sysroot::VarLayout;

use super::machine::{Machine, stateroot};
use crate::failure::{Failure, Result};
use crate::output;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The name
    #[arg(value_name = "STATEROOT")]
    stateroot: Option<String>,
}

pub(super) async fn run(args: Args, machine: &Machine) -> Result<()> {
    let name = args
        .stateroot
        .ok_or_else(|| Failure::usage("STATEROOT must be specified"))?;
    let name = stateroot(&name)?;
    let lock = machine.sysroot.lock(|| {}).await?;
    machine
        .sysroot
        .create_stateroot(&name, VarLayout::Empty)
        .await?;
    drop(lock);
    Ok(output::line(format!(
        "ostree/deploy/{name} initialized as OSTree stateroot"
    ))?)
}
