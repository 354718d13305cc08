//! `pull` from an address, which nothing is configured for.

use std::ffi::OsStr;

use treeferry_core::ops::pull::{DeltaUse, PullRef, PullSource, plan_kept_deltas, plan_pull, pull};
use treeferry_core::ops::replicate::SizeEffort;
use treeferry_core::repo::Repo;

use super::copy_text;
use super::delta_text;
use super::pull::{Args, print_refs, pull_ref};
use super::pull_deltas;
use super::pull_local::own_refs;
use super::pull_text::{totals, warn_of_ends};
use super::summary::{Change, after};
use crate::failure::{Failure, Result};
use crate::place::{Origin, open_origin};
use crate::session::Session;
use crate::{delta_budget, output, progress};

/// Pulls from `address`. Refs keep their names.
pub(super) async fn run(args: &Args, address: &str, session: &Session) -> Result<()> {
    let opened = session.open_place().await?;
    let repo = opened.repo.clone();
    let (origin, verify) = open_origin(session, OsStr::new(address)).await?;
    let mut options = args.library_options(&repo, session.name).await?;
    options.verify = verify.and(options.verify);
    options.refs = refs(args, &origin).await?;
    if options.refs.is_empty() && matches!(origin, Origin::Repo(_)) {
        return Err(Failure::new(format!(
            "{address}: there are no refs to pull"
        )));
    }
    let source = PullSource::from(origin);
    args.limit_trust(&source, &mut options);
    options.delta_budget = delta_budget::to_apply(&opened);
    if args.dry_run && options.deltas == DeltaUse::Required {
        return pull_deltas::dry_run(&repo, &source, &options).await;
    }
    if args.dry_run {
        return dry_run(args, &repo, &source, options).await;
    }
    let started = std::time::Instant::now();
    let (progress, drawing) = progress::draw(session);
    options.replicate.progress = progress;
    let report = pull(&repo, &source, &options).await;
    drawing.clear();
    let report = report?;
    warn_of_ends(session, &report);
    after(Change::Ref, &repo).await?;
    if session.quiet {
        return Ok(());
    }
    output::line(totals(&report, started.elapsed(), session.name))?;
    print_refs(session, &report)?;
    delta_text::print_taken(&report.kept_deltas)
}

async fn refs(args: &Args, origin: &Origin) -> Result<Vec<PullRef>> {
    match (args.branches.is_empty(), origin) {
        (true, Origin::Repo(repo)) => own_refs(repo).await,
        _ => args.branches.iter().map(|text| pull_ref(text)).collect(),
    }
}

/// Says what a pull would move.
pub(super) async fn dry_run(
    args: &Args,
    repo: &Repo,
    source: &PullSource,
    options: treeferry_core::ops::pull::PullOptions,
) -> Result<()> {
    let effort = match args.exact {
        true => SizeEffort::ReadHeaders,
        false => SizeEffort::AsKnown,
    };
    let plan = plan_pull(repo, source, &options, effort).await?;
    copy_text::print_objects(&plan)?;
    delta_text::print_planned(&plan_kept_deltas(repo, source, &options).await?)
}
