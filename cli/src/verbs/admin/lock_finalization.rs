//! `admin lock-finalization`.

use treeferry_sysroot::{Locked, Staging};

use super::machine::Machine;
use crate::failure::{Failure, Result};
use crate::output;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Let it go
    #[arg(short, long)]
    unlock: bool,
}

pub(super) async fn run(args: Args, machine: &Machine) -> Result<()> {
    let (_lock, state) = machine.locked().await?;
    let staged = state.deployments.first().filter(|d| d.is_staged());
    let staged = staged.ok_or_else(|| Failure::new("No staged deployment"))?;
    let (wanted, now) = match args.unlock {
        true => (Locked::No, Staging::Staged),
        false => (Locked::Yes, Staging::Locked),
    };
    if staged.staging == now {
        let what = if args.unlock { "unlocked" } else { "locked" };
        return Ok(output::line(format!(
            "Staged deployment is already {what}"
        ))?);
    }
    machine.sysroot.lock_finalization(&state, wanted).await?;
    let what = if args.unlock {
        "unlocked for"
    } else {
        "now locked against"
    };
    Ok(output::line(format!(
        "Staged deployment is {what} finalization"
    ))?)
}
