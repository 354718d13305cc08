//! `prune`: deletes what nothing needs any more.

use std::time::Duration;

use serde_json::json;
use treeferry_backend_fs::forget_summaries_of_others;
use treeferry_core::format::Refspec;
use treeferry_core::ops::prune::{PruneAction, PruneOptions, PruneRoots, prune};
use treeferry_core::repo::{Depth, ReachScope, RemoteConfig};
use treeferry_core::store::RefName;

use super::size_text::size_text;
use crate::failure::{Failure, Result};
use crate::session::{Session, configs, resolve};
use crate::{dates, json, output};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Count what would go, and delete nothing
    #[arg(long)]
    no_prune: bool,
    /// Keep what refs need, and no other commit
    #[arg(long)]
    refs_only: bool,
    /// How many ancestors of each commit to keep, -1 for all (default: -1)
    #[arg(long, value_name = "DEPTH")]
    depth: Option<i32>,
    /// Delete this commit first; no ref may be at it
    #[arg(long, value_name = "COMMIT")]
    delete_commit: Option<String>,
    /// Delete commits from before DATE, except the newest of each ref
    #[arg(long, value_name = "DATE")]
    keep_younger_than: Option<String>,
    /// With --delete-commit: delete the deltas to that commit, and leave the commit
    #[arg(long)]
    static_deltas_only: bool,
    /// Keep so many ancestors of this branch, whatever the others keep
    #[arg(long, value_name = "BRANCH=DEPTH")]
    retain_branch_depth: Vec<String>,
    /// Shorten this branch and keep all others whole; can be repeated
    #[arg(long, value_name = "BRANCH")]
    only_branch: Vec<String>,
    /// Delete commits alone, and leave their trees and files
    #[arg(long)]
    commit_only: bool,
    /// In buckets: keep what is not needed any more for SECONDS, for those who pull it now; it goes in
    /// the first prune that comes after (default: 86400)
    #[arg(long, value_name = "SECONDS")]
    grace: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    if args.static_deltas_only && args.delete_commit.is_none() {
        return Err(Failure::new(
            "--static-deltas-only requires --delete-commit",
        ));
    }
    if args.no_prune && args.delete_commit.is_some() {
        let message = "Cannot specify both --delete-commit and --no-prune";
        return Err(Failure::usage(message));
    }
    let opened = session.open_place().await?;
    let repo = opened.repo.clone();
    let mut options = PruneOptions::default();
    options.depth = args.depth.map(depth);
    if args.refs_only {
        options.roots = PruneRoots::Refs;
    }
    if args.commit_only {
        options.scope = ReachScope::CommitsOnly;
    }
    if args.no_prune {
        options.action = PruneAction::Count;
    }
    options.grace = args.grace.map(Duration::from_secs);
    if let Some(commit) = &args.delete_commit {
        let commit = commit.parse();
        let commit = commit.map_err(|e| Failure::from(e).context("--delete-commit"))?;
        match args.static_deltas_only {
            true => options.deltas_to = Some(commit),
            false => options.delete_commit = Some(commit),
        }
    }
    if let Some(date) = &args.keep_younger_than {
        options.keep_younger_than_secs = Some(dates::parse(date)?);
    }
    for retained in &args.retain_branch_depth {
        options.retain.push(retain(retained)?);
    }
    for branch in &args.only_branch {
        // A ref that is misspelt must not mean that everything is pruned.
        resolve(&repo, branch).await?;
        options.only.push(ref_name(branch)?);
    }
    let report = prune(&repo, &options).await?;
    if let (Some(fs), false) = (&opened.fs, args.no_prune) {
        let configs = configs(&opened).await?;
        let remotes: Vec<_> = configs.iter().flat_map(RemoteConfig::list).collect();
        let directory = fs.path().join("tmp/cache");
        let forget = move || forget_summaries_of_others(&directory, &remotes);
        repo.pool().run(forget).await?;
    }
    if args.json {
        let commits = report.commits_pruned.iter().map(ToString::to_string);
        return json::line(&json!({
            "objects": report.objects_total,
            "pruned": report.objects_pruned,
            "freed_bytes": report.freed_bytes,
            "waiting": report.objects_waiting,
            "waiting_bytes": report.waiting_bytes,
            "commits_pruned": commits.collect::<Vec<_>>(),
            "deltas_pruned": report.deltas_pruned,
            "deleted": !args.no_prune,
        }));
    }
    let kind = if args.commit_only {
        " (commit only)"
    } else {
        ""
    };
    output::line(format!("Total{kind} objects: {}", report.objects_total))?;
    let (pruned, freed) = (report.objects_pruned, size_text(report.freed_bytes));
    let (waiting, still) = (report.objects_waiting, size_text(report.waiting_bytes));
    let outcome = match (pruned, args.no_prune) {
        (0, _) if waiting > 0 => "Deleted no objects".to_owned(),
        (0, _) => "No unreachable objects".to_owned(),
        (_, true) => format!("Would delete: {pruned} objects, freeing {freed}"),
        (_, false) => format!("Deleted {pruned} objects, {freed} freed"),
    };
    output::line(outcome)?;
    if waiting > 0 {
        output::line(format!(
            "Kept for those who pull them now: {waiting} objects, {still}; a prune after the grace \
             period deletes them"
        ))?;
    }
    Ok(())
}

/// Returns a depth as users write it: negative is all of the history.
fn depth(number: i32) -> Depth {
    u32::try_from(number).map_or(Depth::All, Depth::Parents)
}

fn ref_name(text: &str) -> Result<RefName> {
    let refspec: Refspec = text
        .parse()
        .map_err(|_| Failure::new(format!("Invalid refspec {text}")))?;
    Ok(refspec.into())
}

fn retain(text: &str) -> Result<(RefName, Depth)> {
    let (branch, number) = text
        .rsplit_once('=')
        .ok_or_else(|| Failure::new(format!("Invalid value {text}, must specify BRANCH=DEPTH")))?;
    let number = number
        .parse()
        .map_err(|_| Failure::new(format!("Invalid depth {number}")))?;
    Ok((ref_name(branch)?, depth(number)))
}
