//! `summary`: makes or shows the summary of a repository.

use std::sync::Arc;
use std::time::Duration;

use treeferry_core::ErrorKind;
use treeferry_core::format::gvariant::{Dict, Value};
use treeferry_core::ops::delta::{reindex, superblock_checksums};
use treeferry_core::ops::summary::{
    DamagedCommits, KeepKeys, SummaryOptions, commit_repo_metadata, update_summary,
};
use treeferry_core::repo::Repo;
use treeferry_core::sign::Signer;

use super::commit::split_pair;
use super::summary_text::{self, Question};
use crate::dates;
use crate::failure::{Failure, Result};
use crate::gpg::GpgOptions;
use crate::keys::SignOptions;
use crate::session::{Name, Session};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write the summary anew from the refs
    #[arg(short, long)]
    update: bool,
    /// Print the summary of this repository
    #[arg(short = 'v', long)]
    view: bool,
    /// Print it as GVariant text
    #[arg(long)]
    raw: bool,
    /// Print the summary of this repository as JSON: each ref, and then the rest
    #[arg(long)]
    json: bool,
    /// Print only which keys there are
    #[arg(long)]
    list_metadata_keys: bool,
    /// Print what is under KEY
    #[arg(long, value_name = "KEY")]
    print_metadata_key: Option<String>,
    /// Keep VALUE, GVariant text, under KEY in the summary; can be repeated
    #[arg(short = 'm', long, value_name = "KEY=VALUE")]
    add_metadata: Vec<String>,
    /// How long signatures over the old summary and the new stand before the new one comes, so that
    /// clients which fetch the two files one after the other get two that fit (default: 2; by the
    /// name ostree 0)
    #[arg(long, value_name = "SECONDS")]
    grace: Option<f64>,
    #[command(flatten)]
    sign: SignOptions,
    #[command(flatten)]
    gpg: GpgOptions,
    /// Log what is done to standard error
    // Here -v is --view.
    #[arg(long)]
    verbose: bool,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let repo = session.open().await?;
    if args.update {
        return update(&repo, &args, session).await;
    }
    let question = match (&args.print_metadata_key, args.list_metadata_keys, args.raw) {
        (Some(key), ..) => Question::Key(key),
        (None, true, _) => Question::Keys,
        (None, false, true) => Question::Raw,
        (None, false, false) if args.json => Question::Json,
        (None, false, false) if args.view => Question::View,
        (None, false, false) => {
            return Err(Failure::new(
                "No option specified; use -u to update summary",
            ));
        }
    };
    let summary = repo.state().read_summary().await?;
    let summary = summary.ok_or_else(|| {
        Failure::new("the repository has no summary; 'summary --update' makes one")
    })?;
    summary_text::print(&summary, question)
}

async fn update(repo: &Repo, args: &Args, session: &Session) -> Result<()> {
    let mut metadata = Dict::new();
    for pair in &args.add_metadata {
        let (key, text) = split_pair(pair)?;
        let value = Value::parse_text(text, None).map_err(|e| {
            Failure::from(e).context(format_args!("Error parsing variant ‘{text}’"))
        })?;
        metadata.insert(key, value);
    }
    let mut signers = args.sign.signers()?;
    signers.extend(args.gpg.signers()?);
    let grace = args.grace.unwrap_or(match session.name {
        Name::Treeferry => 2.0,
        Name::Ostree => 0.0,
    });
    let grace = Duration::try_from_secs_f64(grace);
    let grace = grace.map_err(|_| Failure::new("--grace takes a number of seconds"))?;
    let (keep, damaged) = match session.name {
        Name::Treeferry => (KeepKeys::Flatpak, DamagedCommits::Refuse),
        Name::Ostree => (KeepKeys::None, DamagedCommits::List),
    };
    make(repo, metadata, signers, grace, (keep, damaged)).await
}

/// Makes the summary anew, with nothing but what the repository holds.
pub(super) async fn make_now(repo: &Repo) -> Result<()> {
    make(
        repo,
        Dict::new(),
        Vec::new(),
        Duration::ZERO,
        (KeepKeys::Flatpak, DamagedCommits::Refuse),
    )
    .await
}

/// Makes the summary anew, as it is now.
async fn make(
    repo: &Repo,
    metadata: Dict,
    signers: Vec<Arc<dyn Signer>>,
    grace: Duration,
    (keep, damaged): (KeepKeys, DamagedCommits),
) -> Result<()> {
    let mut options = SummaryOptions::default();
    options.now_secs = dates::now();
    options.metadata = metadata;
    options.signers = signers;
    options.grace = grace;
    options.keep = keep;
    reindex(repo, None).await?;
    let deltas = superblock_checksums(repo).await?.into_iter();
    options.deltas = deltas
        .map(|(name, checksum)| (name.to_string(), checksum))
        .collect();
    commit_repo_metadata(repo, &options).await?;
    let made = update_summary(repo, &options).await;
    match (made, damaged) {
        (Err(error), DamagedCommits::List) if error.kind() == ErrorKind::Corrupt => {
            // Looked for first, so that it can be told.
            eprintln!("warning: {error}; its ref is listed, and nobody can pull it");
            options.damaged = damaged;
            update_summary(repo, &options).await?;
        }
        (made, _) => _ = made?,
    }
    Ok(())
}

/// What was changed about a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// A commit was made.
    Commit,
    /// A ref was made, moved or deleted.
    Ref,
}

/// Makes the summary anew if the repository is set to keep it up to date by itself.
pub(crate) async fn after(change: Change, repo: &Repo) -> Result<()> {
    let config = repo.config().await?;
    let is_set = |key| Ok::<_, Failure>(config.boolean("core", key)?.unwrap_or(false));
    let of_commits = change == Change::Commit && is_set("commit-update-summary")?;
    match of_commits || is_set("auto-update-summary")? {
        true => make_now(repo).await,
        false => Ok(()),
    }
}
