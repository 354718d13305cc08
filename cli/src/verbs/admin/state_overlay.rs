//! `admin state-overlay`.

use std::path::{Path, PathBuf};

use super::machine::Machine;
use crate::failure::{Failure, Result};
use crate::output;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// What the layer is called
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// The directory that it is mounted over
    #[arg(value_name = "MOUNTPATH")]
    path: Option<PathBuf>,
}

pub(super) async fn run(args: Args, machine: &Machine) -> Result<()> {
    let (Some(name), Some(path)) = (&args.name, &args.path) else {
        return Err(Failure::usage("NAME and MOUNTPATH must be specified"));
    };
    let state = machine.sysroot.load().await?;
    let commit = state.require_booted()?.id.checksum;
    let var = Path::new("/var");
    for removed in machine
        .sysroot
        .mount_state_overlay(name, path, var, &commit)
        .await?
    {
        let path = path.join(removed);
        output::line(format!(
            "{}: the new system brings it; the layer's was removed",
            path.display()
        ))?;
    }
    Ok(())
}
