//! `bundle apply`: verifies a bundle, brings its commit, and sets its refs.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use treeferry_core::format::{Branch, Checksum, Commit, RemoteName};
use treeferry_core::ops::delta::{ApplyOptions, apply, verify};
use treeferry_core::ops::replicate::CommitGate;
use treeferry_core::repo::Repo;
use treeferry_core::store::{ExpectedRef, RefName, RefValue};

use super::{open, path_of};
use crate::failure::{Failure, Result};
use crate::session::Session;
use crate::verbs::refs::set_ref;
use crate::verbs::static_delta::Trusting;
use crate::verbs::summary::{Change, after};
use crate::{dates, delta_budget, output, progress};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    trusting: Trusting,
    /// Take it whoever made it
    #[arg(long)]
    no_verify: bool,
    /// Set the refs as those of this remote, and not as the repository's own
    #[arg(long, value_name = "NAME")]
    remote: Option<String>,
    /// Set no refs
    #[arg(long)]
    no_refs: bool,
    /// Take a commit that is older than what its ref holds
    #[arg(long)]
    allow_older: bool,
    /// Read up to N megabytes from a pipe (default: 8000)
    #[arg(long, value_name = "N")]
    max_size: Option<u64>,
    /// The bundle; - for standard input
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
    /// Public keys, in base64: it must be signed by one of them
    #[arg(value_name = "[KEY...]")]
    keys: Vec<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let path = path_of(args.path.clone())?;
    let opened = session.open_place().await?;
    let repo = &opened.repo;
    let mut options = ApplyOptions::default();
    options.budget = delta_budget::to_apply(&opened);
    let (delta, info) = open(&path, args.max_size, &options.budget, repo.pool()).await?;
    if !args.no_verify {
        let verifier = args.trusting.verifier(&args.keys)?;
        let now = Some(dates::now());
        let verdict = verify(&delta, &verifier, now, repo.pool()).await?;
        verdict.into_result().map_err(|e| {
            Failure::from(e)
                .context(path.display())
                .with_help("nothing was changed; --no-verify takes it whoever made it")
        })?;
    }
    let refs = match args.no_refs {
        true => Vec::new(),
        false => names(&args, &info.refs)?,
    };
    let mut held = Vec::with_capacity(refs.len());
    for name in &refs {
        held.push((name.clone(), repo.follow_ref(name).await?));
    }
    if !args.allow_older {
        options.replicate.gate = Some(Arc::new(NotOlder::new(repo, &held).await?));
    }
    let (progress, drawing) = progress::draw(session);
    options.replicate.progress = progress;
    let report = apply(repo, &delta, &options).await;
    drawing.clear();
    let report = report?;
    let commit = delta.superblock.name.to;
    for (name, before) in held {
        let expected = match before {
            Some(before) => ExpectedRef::Value(RefValue::Commit(before)),
            None => ExpectedRef::Absent,
        };
        set_ref(repo, name.clone(), expected, Some(RefValue::Commit(commit))).await?;
        if !session.quiet {
            output::line(format!("{name} {commit}"))?;
        }
    }
    after(Change::Ref, repo).await?;
    if !session.quiet {
        let objects = report.delta.objects;
        output::line(format!(
            "{objects} objects made of {} parts",
            report.delta.parts
        ))?;
    }
    Ok(())
}

fn names(args: &Args, refs: &[Branch]) -> Result<Vec<RefName>> {
    let remote = args.remote.as_deref().map(RemoteName::new).transpose()?;
    let name = |branch: &Branch| match &remote {
        Some(remote) => RefName::Remote(remote.clone(), branch.clone()),
        None => RefName::Local(branch.clone()),
    };
    Ok(refs.iter().map(name).collect())
}

/// Refuses a commit that is older than what a ref holds.
#[derive(Debug)]
struct NotOlder(Vec<(RefName, u64)>);

impl NotOlder {
    async fn new(repo: &Repo, held: &[(RefName, Option<Checksum>)]) -> Result<Self> {
        let mut times = Vec::new();
        for (name, commit) in held {
            if let Some(commit) = commit {
                times.push((name.clone(), repo.load_commit(commit).await?.timestamp));
            }
        }
        Ok(Self(times))
    }
}

#[async_trait]
impl CommitGate for NotOlder {
    async fn admit(&self, _: &Checksum, commit: &Commit, _: &Bytes) -> treeferry_core::Result<()> {
        match self.0.iter().find(|(_, time)| commit.timestamp < *time) {
            None => Ok(()),
            Some((name, time)) => Err(treeferry_core::Error::invalid(format!(
                "is older (timestamp {}) than what {name} holds (timestamp {time}): \
                 --allow-older takes it",
                commit.timestamp
            ))),
        }
    }
}
