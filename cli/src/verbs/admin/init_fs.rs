//! `admin init-fs`.

use std::path::PathBuf;

use treeferry_sysroot::{Epoch, Sysroot};

use super::machine::options;
use crate::failure::{Failure, Result};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Make only what is needed: the same as --epoch=1
    #[arg(long)]
    modern: bool,
    /// 0: also /dev, /home and the like; 1: only /boot and /ostree; 2: and nobody looks into /ostree
    #[arg(
        short = 'E',
        long,
        value_name = "N",
        default_value_t = 0,
        hide_default_value = true
    )]
    epoch: i32,
    /// The directory, which must exist
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
}

pub(super) async fn run(args: Args) -> Result<()> {
    let path = args
        .path
        .ok_or_else(|| Failure::usage("PATH must be specified"))?;
    let epoch = match (args.epoch, args.modern) {
        (0, false) => Epoch::Traditional,
        (0, true) | (1, _) => Epoch::Modern,
        (2, _) => Epoch::Private,
        (epoch, _) => return Err(Failure::new(format!("Invalid epoch: {epoch}"))),
    };
    let options = options(&path)?;
    Sysroot::create(path, epoch, options).await?;
    Ok(())
}
