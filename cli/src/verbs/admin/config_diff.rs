//! `admin config-diff`.

use super::machine::{Machine, stateroot_option};
use crate::failure::{Failure, Result};
use crate::output;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The stateroot (default: the one that runs)
    #[arg(long, value_name = "OSNAME")]
    os: Option<String>,
}

pub(super) async fn run(args: Args, machine: &Machine) -> Result<()> {
    let state = machine.sysroot.load().await?;
    let stateroot = state.stateroot(stateroot_option(args.os.as_deref())?.as_ref())?;
    let deployment = state.merge_source(&stateroot);
    let missing = || Failure::new(format!("No deployment for OS '{stateroot}'"));
    let deployment = deployment.ok_or_else(missing)?;
    for (letter, path) in machine.sysroot.config_diff(&deployment.id).await? {
        output::line(format!("{letter}    {}", path.display()))?;
    }
    Ok(())
}
