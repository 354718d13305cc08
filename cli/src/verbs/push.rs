//! `push`: brings refs of this repository to another place.

use std::ffi::OsString;

use treeferry_core::format::Checksum;
use treeferry_core::ops::copy::{CopyOptions, CopyRef, ExpectedBefore, copy, named_ref, plan_copy};
use treeferry_core::ops::delta::TakeDeltas;
use treeferry_core::ops::pull::PullSource;
use treeferry_core::repo::Repo;
use treeferry_core::store::{ExpectedRef, RefName, RefSpace, RefValue};

use super::copy_options::Transfer;
use super::copy_text::{self, After};
use crate::failure::{Failure, Result};
use crate::place::target_place;
use crate::session::Session;
use crate::{delta_budget, progress, stick};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    transfer: Transfer,
    /// Move the ref only if it holds COMMIT there now; 'none': only if there is no such ref
    #[arg(long, value_name = "COMMIT")]
    expect: Option<String>,
    /// How many ancestors to bring as well, -1 for all (default: 0)
    #[arg(
        long,
        value_name = "DEPTH",
        default_value_t = 0,
        hide_default_value = true
    )]
    depth: i32,
    /// Where to: an address, or the name of a remote
    #[arg(value_name = "TO")]
    to: Option<OsString>,
    /// Which refs; none: all of the repository's own
    #[arg(value_name = "[REF...]")]
    refs: Vec<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let Some(to) = &args.to else {
        return Err(Failure::usage("TO must be specified"));
    };
    args.transfer.rate.apply();
    let repo = session.open().await?;
    let refs = refs_to_push(&repo, &args.refs).await?;
    let mut options = CopyOptions::default();
    options.replicate = args.transfer.replicate_options(args.depth);
    options.expected = expected(&args, refs.len())?;
    let place = target_place(session, to).await?;
    stick::refuse_long_files(&repo, &refs, place.file_limit()).await?;
    let destination = place.open_or_create(args.transfer.intent()).await?;
    let source = PullSource::from(repo.clone());
    let (from, to) = (&source, &destination.repo);
    options.deltas = args.transfer.deltas(TakeDeltas::No);
    options.delta_budget = delta_budget::to_apply(&destination);
    if args.transfer.dry_run {
        let effort = args.transfer.effort();
        let plan = plan_copy(from, to, &refs, &options, effort).await?;
        return copy_text::print_plan(&plan, &place);
    }
    let (progress, drawing) = progress::draw(session);
    options.replicate.progress = progress;
    let report = copy(from, to, &refs, &options).await;
    drawing.clear();
    let report = report?;
    match args.transfer.json {
        true => copy_text::print_json(&report, &place)?,
        false => copy_text::print(session, &report, &place)?,
    }
    args.transfer.summary_after(to, After::of(&report)).await
}

/// Returns the refs, by the names that they get: what is pushed is the destination's own.
async fn refs_to_push(repo: &Repo, texts: &[String]) -> Result<Vec<CopyRef>> {
    let mut names = Vec::with_capacity(texts.len());
    for text in texts {
        names.push(super::copy_options::ref_name(repo, text).await?);
    }
    if texts.is_empty() {
        let own = repo.refs().list_refs(&RefSpace::Local).await?;
        names.extend(own.into_iter().map(|(name, _)| name));
    }
    if names.is_empty() {
        return Err(Failure::new("there are no refs to push"));
    }
    let mut refs = Vec::with_capacity(names.len());
    for name in names {
        let found = named_ref(repo, &name).await?;
        let mut found =
            found.ok_or_else(|| Failure::new(format!("ref '{name}' leads to no commit")))?;
        if let RefName::Remote(_, branch) = name {
            found.name = RefName::Local(branch);
        }
        refs.push(found);
    }
    Ok(refs)
}

fn expected(args: &Args, refs: usize) -> Result<ExpectedBefore> {
    let Some(text) = &args.expect else {
        return Ok(ExpectedBefore::AsFound);
    };
    if refs != 1 {
        return Err(Failure::new("--expect is for a push of one ref"));
    }
    let expected = match text.as_str() {
        "none" => ExpectedRef::Absent,
        commit => {
            let commit: Checksum = commit
                .parse()
                .map_err(|e| Failure::from(e).context("--expect"))?;
            ExpectedRef::Value(RefValue::Commit(commit))
        }
    };
    Ok(ExpectedBefore::Exactly(expected))
}
