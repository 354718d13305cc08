//! `admin finalize-staged`.

use treeferry_sysroot::Finalized;

use super::machine::Machine;
use super::told;
use crate::failure::{Failure, Result};
use crate::output;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Keep /boot mounted until told to end
    #[arg(long)]
    hold: bool,
}

pub(super) async fn run(args: Args, machine: &Machine) -> Result<()> {
    if args.hold {
        let boot = machine.sysroot.layout().boot();
        let held = std::fs::File::open(&boot).map_err(|e| crate::failure::io_failure(&boot, &e))?;
        let mut end = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
            .map_err(|e| Failure::new(format!("signals cannot be waited for: {e}")))?;
        end.recv().await;
        drop(held);
        return Ok(());
    }
    let (_lock, state) = machine.locked().await?;
    match machine.sysroot.finalize_staged(&state).await? {
        Finalized::Done {
            deployed, written, ..
        } => {
            told::deployed(&deployed, machine)?;
            told::written(written.as_ref())
        }
        Finalized::Locked => Ok(output::line(
            "Not finalizing; deployment is locked for finalization",
        )?),
        _ => Ok(output::line("No deployment staged for finalization")?),
    }
}
