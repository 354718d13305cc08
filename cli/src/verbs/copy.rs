//! `copy`: brings refs, and all that they need, from any place to any other.

use std::ffi::OsString;

use treeferry_core::format::CollectionId;
use treeferry_core::ops::copy::{
    CopyOptions, CopyRef, all_refs, copy, named_ref, plan_copy, summary_refs,
};
use treeferry_core::ops::delta::TakeDeltas;
use treeferry_core::ops::pull::PullSource;
use treeferry_core::repo::Repo;
use treeferry_core::sign::VerifyPolicy;
use treeferry_core::store::{RefName, RefSpace};

use super::copy_options::{Transfer, ref_name};
use super::copy_text::{self, After};
use crate::failure::{Failure, Result};
use crate::place::{Origin, open_origin, target_place};
use crate::session::Session;
use crate::{delta_budget, progress, stick};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    transfer: Transfer,
    /// How many ancestors to bring as well, -1 for all (default: -1)
    #[arg(
        long,
        value_name = "DEPTH",
        default_value_t = -1,
        hide_default_value = true
    )]
    depth: i32,
    /// From where: an address, or the name of a remote
    #[arg(value_name = "FROM")]
    from: Option<OsString>,
    /// Where to: an address, or the name of a remote
    #[arg(value_name = "TO")]
    to: Option<OsString>,
    /// Which refs; none: all, also those of remotes and of mirrored collections
    #[arg(value_name = "[REF...]")]
    refs: Vec<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let (Some(from), Some(to)) = (&args.from, &args.to) else {
        return Err(Failure::usage("FROM and TO must be specified"));
    };
    args.transfer.rate.apply();
    let (origin, verify) = open_origin(session, from).await?;
    let place = target_place(session, to).await?;
    let refs = match &origin {
        Origin::Repo(repo) => refs_of_repo(repo, &args.refs).await?,
        Origin::Remote(source) => refs_of_remote(source, &args.refs, &verify).await?,
    };
    if let Origin::Repo(from) = &origin {
        stick::refuse_long_files(from, &refs, place.file_limit()).await?;
    }
    let destination = place.open_or_create(args.transfer.intent()).await?;
    let mut options = CopyOptions::default();
    options.replicate = args.transfer.replicate_options(args.depth);
    options.verify = verify;
    let source = PullSource::from(origin.clone());
    let to = &destination.repo;
    options.deltas = args.transfer.deltas(TakeDeltas::Yes);
    options.delta_budget = delta_budget::to_apply(&destination);
    if args.transfer.dry_run {
        let effort = args.transfer.effort();
        let plan = plan_copy(&source, to, &refs, &options, effort).await?;
        return copy_text::print_plan(&plan, &place);
    }
    let (progress, drawing) = progress::draw(session);
    options.replicate.progress = progress;
    let report = copy(&source, to, &refs, &options).await;
    drawing.clear();
    let report = report?;
    match args.transfer.json {
        true => copy_text::print_json(&report, &place)?,
        false => copy_text::print(session, &report, &place)?,
    }
    if args.refs.is_empty() && same_refs(&refs, to).await? {
        let summary = source.repo.read_summary().await?;
        // What lists the same refs is as true there as here, its signature too.
        if summary.is_some() && summary != to.state().read_summary().await? {
            to.state().write_summary(summary).await?;
        }
        return Ok(());
    }
    args.transfer.summary_after(to, After::of(&report)).await
}

/// Returns whether the refs that were copied are all that the destination has.
async fn same_refs(copied: &[CopyRef], destination: &Repo) -> Result<bool> {
    let held = destination.refs().list_refs(&RefSpace::All).await?;
    let copied_too = |(name, value): &(RefName, _)| {
        copied
            .iter()
            .any(|copied| copied.name == *name && copied.value == *value)
    };
    Ok(held.iter().all(copied_too))
}

async fn refs_of_repo(repo: &Repo, texts: &[String]) -> Result<Vec<CopyRef>> {
    if texts.is_empty() {
        return Ok(all_refs(repo).await?);
    }
    let mut refs = Vec::with_capacity(texts.len());
    for text in texts {
        let name = ref_name(repo, text).await?;
        let found = named_ref(repo, &name).await?;
        refs.push(found.ok_or_else(|| Failure::new(format!("ref '{name}' leads to no commit")))?);
    }
    Ok(refs)
}

async fn refs_of_remote(
    source: &PullSource,
    texts: &[String],
    verify: &VerifyPolicy,
) -> Result<Vec<CopyRef>> {
    if texts.is_empty() {
        return Ok(summary_refs(source, verify).await?);
    }
    let mut refs = Vec::with_capacity(texts.len());
    for text in texts {
        let (collection, branch) = match text.split_once(':') {
            Some((collection, branch)) => (Some(CollectionId::new(collection)?), branch),
            None => (None, text.as_str()),
        };
        let name = RefName::served(collection.as_ref(), &branch.parse()?);
        let read = source.repo.read_branch(collection.as_ref(), name.branch());
        let commit = match read.await? {
            Some(commit) => Some(commit),
            // Where refs are not served as files.
            None => summary_refs(source, verify)
                .await
                .ok()
                .and_then(|all| all.into_iter().find(|listed| listed.name == name))
                .map(|listed| listed.commit),
        };
        let commit = commit.ok_or_else(|| {
            let at = source.repo.describe();
            Failure::new(format!("{at}: there is no ref '{text}'"))
        })?;
        refs.push(CopyRef::commit(name, commit));
    }
    Ok(refs)
}
