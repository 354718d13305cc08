//! `pull-local`: brings commits from another repository on this machine.

use std::path::PathBuf;

use treeferry_core::format::RemoteName;
use treeferry_core::ops::pull::{Naming, PullRef, PullSource, pull};
use treeferry_core::repo::{Repo, Required};
use treeferry_core::sign::VerifyPolicy;
use treeferry_core::store::{RefName, RefSpace};

use super::pull::{Common, print_refs, pull_ref};
use super::pull_text::warn_of_ends;
use super::size_text::size_text;
use super::summary::{Change, after};
use crate::failure::{Failure, Result};
use crate::place::Opened;
use crate::session::{Name, Session, open_fs, remote_config, repo_of};
use crate::{delta_budget, failpoint, json, output, progress, trust};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    common: Common,
    /// Write the refs as if they came from this remote
    #[arg(long, value_name = "REMOTE")]
    remote: Option<String>,
    /// Check OpenPGP signatures of commits by the keys of --remote
    #[arg(long)]
    gpg_verify: bool,
    /// Check the OpenPGP signature of the summary by the keys of --remote
    #[arg(long)]
    gpg_verify_summary: bool,
    /// Print what came as JSON
    #[arg(long)]
    json: bool,
    /// Where to pull from
    #[arg(value_name = "SRC_REPO")]
    source: Option<PathBuf>,
    /// What to pull; none: all refs
    #[arg(value_name = "[REFS...]")]
    refs: Vec<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let mut opened = session.open_place().await?;
    if args.common.disable_fsync {
        opened = opened.unsynced();
    }
    let repo = opened.repo.clone();
    let Some(path) = &args.source else {
        return Err(Failure::usage("DESTINATION must be specified"));
    };
    let source = open_fs(path.clone())
        .await
        .map_err(|e| e.context("opening repo"))?;
    let source = repo_of(source);
    let mut options = args.common.pull_options(session.name)?;
    options.delta_budget = delta_budget::to_apply(&opened);
    options.collection_id = source.collection_id().await?;
    options.refs = match args.refs.is_empty() {
        true => {
            if session.name == Name::Ostree {
                refuse_refs_of_remotes(&source).await?;
            }
            own_refs(&source).await?
        }
        false => args
            .refs
            .iter()
            .map(|text| pull_ref(text))
            .collect::<Result<_>>()?,
    };
    for wanted in &options.refs {
        if let (Some(branch), None) = (&wanted.branch, &wanted.commit)
            && source
                .follow_ref(&RefName::Local(branch.clone()))
                .await?
                .is_none()
        {
            return Err(Failure::new(format!("Refspec '{branch}' not found")));
        }
    }
    if args.gpg_verify || args.gpg_verify_summary {
        let demanded = demanded(&args, &opened).await?;
        options.verify = demanded.and(options.verify);
    }
    if let Some(remote) = &args.remote {
        options.naming = Naming::Remote(RemoteName::new(remote)?);
    }
    if options.refs.is_empty() {
        return Ok(());
    }
    options.replicate.before_commit = failpoint::before_commit(session.name);
    let (progress, drawing) = progress::draw(session);
    options.replicate.progress = progress;
    let report = pull(&repo, &PullSource::from(source), &options).await;
    drawing.clear();
    let report = report?;
    warn_of_ends(session, &report);
    after(Change::Ref, &repo).await?;
    if args.json {
        return json::line(&json::of_pull(&report));
    }
    if session.quiet {
        return Ok(());
    }
    let replicated = &report.replicated;
    let (metadata, content) = (replicated.metadata_fetched, replicated.content_fetched);
    let written = size_text(replicated.written.content_bytes_written);
    let line = format!(
        "{metadata} metadata, {content} content objects imported; {written} content written"
    );
    output::line(line)?;
    print_refs(session, &report)
}

/// Refuses, as `ostree` does, to pull all refs from a repository that has some of remotes.
async fn refuse_refs_of_remotes(source: &Repo) -> Result<()> {
    let refs = source.refs().list_refs(&RefSpace::All).await?;
    match refs
        .iter()
        .find(|(name, _)| matches!(name, RefName::Remote(..)))
    {
        Some((name, _)) => Err(Failure::new(format!("Invalid ref name {name}"))),
        None => Ok(()),
    }
}

/// Asks for all refs that are a repository's own.
pub(super) async fn own_refs(source: &Repo) -> Result<Vec<PullRef>> {
    let refs = source.refs().list_refs(&RefSpace::Local).await?;
    let refs = refs.into_iter().map(|(name, _)| PullRef {
        branch: Some(name.branch().clone()),
        commit: None,
    });
    Ok(refs.collect())
}

/// Returns what must be signed by the keys of the remote that is named.
async fn demanded(args: &Args, opened: &Opened) -> Result<VerifyPolicy> {
    let required = |flag| match flag {
        true => Required::Yes,
        false => Required::No,
    };
    let name = args
        .remote
        .as_deref()
        .ok_or_else(|| Failure::new("Must specify remote name to enable gpg verification"))?;
    let remote = remote_config(opened, &RemoteName::new(name)?).await?;
    let (commits, summary) = (required(args.gpg_verify), required(args.gpg_verify_summary));
    trust::of_keyrings(opened, &remote, commits, summary).await
}
