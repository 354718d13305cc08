//! `admin unlock`.

use treeferry_sysroot::Unlocked;

use super::machine::Machine;
use crate::failure::{Failure, Result};
use crate::output;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Keep changes beyond the next boot
    #[arg(long)]
    hotfix: bool,
    /// Let nobody write who does not mount it writable for themselves
    #[arg(long)]
    transient: bool,
}

pub(super) async fn run(args: Args, machine: &Machine) -> Result<()> {
    let kind = match (args.hotfix, args.transient) {
        (true, true) => {
            return Err(Failure::usage(
                "Cannot specify both --hotfix and --transient",
            ));
        }
        (true, false) => Unlocked::Hotfix,
        (false, true) => Unlocked::Transient,
        (false, false) => Unlocked::Development,
    };
    let (_lock, state) = machine.locked().await?;
    machine.sysroot.unlock(&state, kind).await?;
    Ok(output::line(match kind {
        Unlocked::Hotfix => {
            "Hotfix mode enabled.  A writable overlayfs is now mounted on /usr\n\
             for this booted deployment.  A non-hotfixed clone has been created\n\
             as the non-default rollback target."
        }
        Unlocked::Transient => {
            "A writable overlayfs is prepared for /usr, but is mounted read-only by default.\n\
             All changes there will be discarded on reboot."
        }
        _ => {
            "Development mode enabled.  A writable overlayfs is now mounted on /usr.\n\
             All changes there will be discarded on reboot."
        }
    })?)
}
