//! `admin pin`.

use treeferry_sysroot::Pinned;

use super::machine::Machine;
use crate::failure::{Failure, Result};
use crate::output;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Do not keep them any more
    #[arg(short, long)]
    unpin: bool,
    /// The deployments, as status counts them
    #[arg(value_name = "INDEX...")]
    indexes: Vec<String>,
}

pub(super) async fn run(args: Args, machine: &Machine) -> Result<()> {
    if args.indexes.is_empty() {
        return Err(Failure::usage("At least one index must be specified"));
    }
    let (_lock, state) = machine.locked().await?;
    let (pinned, done, already) = match args.unpin {
        true => (Pinned::No, "unpinned", "not pinned"),
        false => (Pinned::Yes, "pinned", "already pinned"),
    };
    let parse = |word: &String| {
        word.parse::<usize>()
            .map_err(|_| Failure::new(format!("Invalid index: {word}")))
    };
    // All are read before any is changed.
    let indexes: Vec<usize> = args.indexes.iter().map(parse).collect::<Result<_>>()?;
    for index in &indexes {
        state.at(*index)?;
    }
    for index in indexes {
        let what = match machine.sysroot.pin(&state, index, pinned).await? {
            true => done,
            false => already,
        };
        output::line(
            format!("Deployment {index} is now {what}").replace("now already", "already"),
        )?;
    }
    Ok(())
}
