//! `bundle`: one file that is a whole update.

mod apply;
mod create;
mod show;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use treeferry_core::ops::delta::{ApplyBudget, BundleInfo, OpenDelta};
use treeferry_core::pool::Pool;

use crate::failure::{Failure, Result};
use crate::session::Session;

/// How many megabytes may come from a pipe, if nothing else is said.
const PIPE_MEGABYTES_MAX: u64 = 8_000;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a bundle of a commit: all of it, or what has changed
    Create(Box<create::Args>),
    /// Print what a bundle is, who signed it, and what it needs
    Show(show::Args),
    /// Verify a bundle, bring its commit, and set its refs
    Apply(apply::Args),
}

pub(crate) fn run(args: Args, session: &Session) -> Result<()> {
    match args.verb {
        None => Err(Failure::usage("No \"bundle\" subcommand specified")),
        Some(Verb::Create(args)) => session.wait(create::run(*args, session)),
        Some(Verb::Show(args)) => session.wait(show::run(args, session)),
        Some(Verb::Apply(args)) => session.wait(apply::run(args, session)),
    }
}

/// Opens the bundle at `path`; what is no file, such as `-` and a pipe, is read to its end first.
async fn open(
    path: &Path,
    megabytes_max: Option<u64>,
    budget: &ApplyBudget,
    pool: &Pool,
) -> Result<(OpenDelta, BundleInfo)> {
    let most = megabytes_max.unwrap_or(PIPE_MEGABYTES_MAX);
    let most = most.saturating_mul(1_000_000);
    let (path, budget, opener) = (path.to_path_buf(), budget.clone(), pool.clone());
    let shown = path.display().to_string();
    let open = move || {
        if path.as_os_str() == "-" {
            return OpenDelta::spool(std::io::stdin().lock(), most, &budget, &opener);
        }
        let is_file = std::fs::metadata(&path).map(|found| found.is_file());
        let failed = |e| treeferry_core::Error::io("cannot be read", e).about(&*path);
        match is_file.map_err(failed)? {
            true => OpenDelta::open_path(&path, &budget, &opener),
            false => {
                let pipe = std::fs::File::open(&path).map_err(failed)?;
                OpenDelta::spool(pipe, most, &budget, &opener)
            }
        }
    };
    let delta = pool.run(open).await?;
    let info = BundleInfo::of(&delta.superblock)?;
    let info = info.ok_or_else(|| {
        let message = "is a delta, and not a bundle: 'static-delta apply-offline' takes it";
        Failure::new(format!("{shown}: {message}"))
    })?;
    Ok((delta, info))
}

/// The path of a bundle that must be given.
fn path_of(path: Option<PathBuf>) -> Result<PathBuf> {
    path.ok_or_else(|| Failure::usage("PATH must be specified"))
}
