//! `static-delta apply-offline`: applies a delta that is a file or a directory.

use std::path::PathBuf;

use treeferry_core::ops::delta::{ApplyOptions, OpenDelta, apply, verify};

use super::verify::Trusting;
use crate::failure::{Failure, Result};
use crate::session::{Name, Session};
use crate::{dates, delta_budget};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    trusting: Trusting,
    /// The delta: a file, or a directory with its superblock
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
    /// Public keys, in base64: it must be signed by one of them
    #[arg(value_name = "[KEY-ID...]")]
    keys: Vec<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let path = args
        .path
        .clone()
        .ok_or_else(|| Failure::usage("PATH must be specified"))?;
    let opened = session.open_place().await?;
    let repo = &opened.repo;
    let mut options = ApplyOptions::default();
    options.budget = delta_budget::to_apply(&opened);
    let (budget, pool) = (options.budget.clone(), repo.pool().clone());
    let delta = repo
        .pool()
        .run(move || OpenDelta::open_path(&path, &budget, &pool))
        .await?;
    let config = repo.config().await?;
    let required = config.boolean("core", "sign-verify-deltas")?;
    if required.unwrap_or(false) || args.trusting.is_given(&args.keys) {
        let verifier = args.trusting.verifier(&args.keys)?;
        if !args.trusting.is_given(&args.keys) && session.name == Name::Ostree {
            return Err(Failure::new("Key is mandatory to check delta signature"));
        }
        let now = Some(dates::now());
        let verdict = verify(&delta, &verifier, now, repo.pool()).await?;
        verdict.into_result()?;
    }
    apply(repo, &delta, &options).await?;
    Ok(())
}
