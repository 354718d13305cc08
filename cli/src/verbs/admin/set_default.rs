//! `admin set-default`.

use treeferry_sysroot::Cleanup;

use super::machine::{Machine, index};
use super::{cleanup, told};
use crate::failure::{Failure, Result};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The deployment, as status counts them
    #[arg(value_name = "INDEX")]
    index: Option<String>,
}

pub(super) async fn run(args: Args, machine: &Machine) -> Result<()> {
    let word = args
        .index
        .ok_or_else(|| Failure::usage("Deployment index must be specified"))?;
    let (_lock, state) = machine.locked().await?;
    let written = machine.sysroot.set_default(&state, index(&word)?).await?;
    told::written(written.as_ref())?;
    cleanup::clean(machine, Cleanup::Deployments).await
}
