//! `admin undeploy`.

use treeferry_sysroot::Cleanup;

use super::machine::{Machine, index};
use super::{cleanup, told};
use crate::failure::{Failure, Result};
use crate::output;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The deployment, as status counts them
    #[arg(value_name = "INDEX")]
    index: Option<String>,
}

pub(super) async fn run(args: Args, machine: &Machine) -> Result<()> {
    let word = args
        .index
        .ok_or_else(|| Failure::usage("INDEX must be specified"))?;
    let (_lock, state) = machine.locked().await?;
    let index = index(&word)?;
    let id = state.at(index)?.id.clone();
    let written = machine.sysroot.undeploy(&state, index).await?;
    told::written(written.as_ref())?;
    output::line(format!("Deleted deployment {}", id.dir_name()))?;
    cleanup::clean(machine, Cleanup::AndRepo).await
}
