//! `admin prepare-soft-reboot`.

use super::machine::{Machine, index};
use crate::failure::{Failure, Result};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Begin the soft reboot
    #[arg(long)]
    reboot: bool,
    /// Forget what was prepared
    #[arg(long)]
    reset: bool,
    /// The deployment, as status counts them
    #[arg(value_name = "INDEX")]
    index: Option<String>,
}

pub(super) async fn run(args: Args, machine: &Machine) -> Result<()> {
    let (_lock, state) = machine.locked().await?;
    if args.reset {
        return Ok(machine.sysroot.reset_soft_reboot().await?);
    }
    let word = args
        .index
        .ok_or_else(|| Failure::usage("INDEX must be specified"))?;
    machine
        .sysroot
        .prepare_soft_reboot(&state, index(&word)?)
        .await?;
    if !args.reboot {
        return Ok(());
    }
    let status = std::process::Command::new("systemctl")
        .arg("soft-reboot")
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::new(format!("systemctl soft-reboot: {status}"))),
        Err(e) => Err(crate::failure::io_failure("systemctl", &e)),
    }
}
