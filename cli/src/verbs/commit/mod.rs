//! `commit`: records a tree.

mod options;

use std::io::Write;
use std::path::PathBuf;

use serde_json::json;
use treeferry_core::ops::commit::{
    CommitOptions, CommitOutcome, CommitReport, Modifier, Parent, SourceUse, TreeInput, commit,
};
use treeferry_core::repo::Repo;
use treeferry_core::store::Durability;

use super::summary::{Change, after};
use crate::failure::{Failure, Result};
use crate::gpg::GpgOptions;
use crate::keys::SignOptions;
use crate::session::Session;
use crate::{failpoint, json, output};

pub(crate) use options::{durability, split_pair};

/// How often a race for the branch is lost before giving up.
const RACES_MAX: usize = 100;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The commit before this one, or none (default: the newest of the branch)
    #[arg(long, value_name = "COMMIT")]
    parent: Option<String>,
    /// A title for people, of one line
    #[arg(short, long, value_name = "SUBJECT")]
    subject: Option<String>,
    /// A text for people, of any length
    #[arg(short = 'm', long, value_name = "BODY")]
    body: Option<String>,
    /// Read that text from FILE
    #[arg(short = 'F', long, value_name = "FILE")]
    body_file: Option<PathBuf>,
    /// Write title and text in $EDITOR
    #[arg(short, long)]
    editor: bool,
    /// The branch that the commit is to be the newest of
    #[arg(short, long, value_name = "BRANCH")]
    branch: Option<String>,
    /// Write a commit that no branch has
    #[arg(long)]
    orphan: bool,
    /// Leave out of the commit which branches it is for
    #[arg(long)]
    no_bindings: bool,
    /// Say in the commit that it is for BRANCH as well
    #[arg(long, value_name = "BRANCH")]
    bind_ref: Vec<String>,
    /// Begin with the tree of REV as it is, and lay the trees over it
    #[arg(long, value_name = "REV")]
    base: Option<String>,
    /// Lay this tree over those before it
    #[arg(long, value_name = "dir=PATH or tar=FILE or ref=COMMIT")]
    tree: Vec<String>,
    /// Keep VALUE under KEY in the commit, as a string
    #[arg(long, value_name = "KEY=VALUE")]
    add_metadata_string: Vec<String>,
    /// Keep VALUE under KEY in the commit, as the GVariant that its text says
    #[arg(long, value_name = "KEY=VALUE")]
    add_metadata: Vec<String>,
    /// Take over from the parent what it has under KEY
    #[arg(long, value_name = "KEY")]
    keep_metadata: Vec<String>,
    /// Keep VALUE under KEY beside the commit, where its checksum does not cover it
    #[arg(long, value_name = "KEY=VALUE")]
    add_detached_metadata_string: Vec<String>,
    /// Record UID as the owner of everything
    #[arg(long, value_name = "UID")]
    owner_uid: Option<i32>,
    /// Record GID as the group of everything
    #[arg(long, value_name = "GID")]
    owner_gid: Option<i32>,
    /// Record modes masked with 0755, root as owner and group, and no extended attributes
    #[arg(long)]
    canonical_permissions: bool,
    /// Say in the commit that it can be booted, and which kernel it has
    #[arg(long)]
    bootable: bool,
    /// Record the digest of the composefs image, which early boot can verify; reads all content back
    #[arg(long)]
    generate_composefs_metadata: bool,
    /// Take write permission from executable files
    #[arg(long)]
    mode_ro_executables: bool,
    /// Leave extended attributes out of the commit
    #[arg(long)]
    no_xattrs: bool,
    /// Label files by the SELinux policy of the system at PATH
    #[arg(long, value_name = "PATH")]
    selinux_policy: Option<PathBuf>,
    /// Label files by the SELinux policy in the first --tree
    #[arg(short = 'P', long)]
    selinux_policy_from_base: bool,
    /// How paths are looked up in the policy: 1 takes /usr/etc for /etc
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    selinux_labeling_epoch: u32,
    /// Recognize files that are hard links to objects, and do not read them
    #[arg(long)]
    link_checkout_speedup: bool,
    /// Trust such files to be as recorded, whatever the other options say
    #[arg(short = 'I', long)]
    devino_canonical: bool,
    /// Make directories that an archive has files in but no entry for
    #[arg(long)]
    tar_autocreate_parents: bool,
    /// Replace what matches REGEX in the paths of archives
    #[arg(long, value_name = "REGEX,REPLACEMENT")]
    tar_pathname_filter: Option<String>,
    /// Write no commit when the tree equals its parent's
    #[arg(long)]
    skip_if_unchanged: bool,
    /// Add bits to modes (lines "BITS FILE") or replace modes ("=MODE FILE"), in decimal, as in PATH
    #[arg(long, value_name = "PATH")]
    statoverride: Option<PathBuf>,
    /// Leave out the paths in the file at PATH, absolute and one a line
    #[arg(long, value_name = "PATH")]
    skip_list: Option<PathBuf>,
    /// Delete the directory once it is recorded; files may be moved, not copied
    #[arg(long)]
    consume: bool,
    /// Print counts of objects and bytes after the checksum
    #[arg(long)]
    table_output: bool,
    /// Print JSON, with the same counts
    #[arg(long)]
    json: bool,
    /// Record in the commit how large its objects are
    #[arg(long)]
    generate_sizes: bool,
    #[command(flatten)]
    sign: SignOptions,
    #[command(flatten)]
    gpg: GpgOptions,
    /// Do not wait for the disk: a power cut may take what was written
    #[arg(long, hide = true)]
    disable_fsync: bool,
    /// Whether to wait for the disk: true or false (default: the repository's setting)
    #[arg(long, value_name = "POLICY")]
    fsync: Option<String>,
    /// The time to record (default: now)
    #[arg(long, value_name = "TIMESTAMP")]
    timestamp: Option<String>,
    /// The directory to record (default: the current one)
    #[arg(value_name = "[PATH]")]
    path: Option<PathBuf>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let mut opened = session.open_place().await?;
    if durability(args.fsync.as_deref(), args.disable_fsync)? == Durability::None {
        opened = opened.unsynced();
    }
    let repo = opened.repo;
    if args.branch.is_none() && !args.orphan {
        let message = "A branch must be specified with --branch, or use --orphan";
        return Err(Failure::new(message));
    }
    let mut options = options::options(&args, &repo).await?;
    options.before_commit = failpoint::before_commit(session.name);
    let report = commit_with_patience(&repo, options).await?;
    if let CommitOutcome::RefMoved { .. } = report.outcome {
        let (commit, branch) = (report.commit, args.branch.as_deref().unwrap_or_default());
        let message = format!(
            "{branch} was moved by somebody else meanwhile and left alone; {commit} is recorded"
        );
        return Err(Failure::new(message));
    }
    if report.outcome == CommitOutcome::Committed {
        after(Change::Commit, &repo).await?;
    }
    match args.json {
        true => print_json(&report),
        false => print(&report, args.table_output),
    }
}

/// Commits, and if the branch moves meanwhile, again on top of what it holds then.
async fn commit_with_patience(repo: &Repo, options: CommitOptions) -> Result<CommitReport> {
    let mut first = commit(repo, options.clone()).await?;
    let unconsumed = std::mem::take(&mut first.unconsumed);
    let mut report = first.clone();
    let mut again = options;
    // What was found is recorded and not looked for again; it is consumed once the branch has it.
    again.modifier = Modifier::default();
    again.sources = SourceUse::Keep;
    again.base = None;
    for _ in 0..RACES_MAX {
        let CommitOutcome::RefMoved { .. } = report.outcome else {
            break;
        };
        if again.parent != Parent::Target {
            break;
        }
        again.trees = vec![TreeInput::Commit(report.commit)];
        report = commit(repo, again.clone()).await?;
    }
    if !matches!(report.outcome, CommitOutcome::RefMoved { .. }) {
        unconsumed.consume(repo).await?;
    }
    report.stats = first.stats;
    Ok(report)
}

fn print_json(report: &CommitReport) -> Result<()> {
    let stats = &report.stats;
    json::line(&json!({
        "commit": report.commit.to_string(),
        "parent": report.parent.map(|parent| parent.to_string()),
        "unchanged": report.outcome == CommitOutcome::Unchanged,
        "metadata_total": stats.metadata_total,
        "metadata_written": stats.metadata_written,
        "content_total": stats.content_total,
        "content_written": stats.content_written,
        "content_cache_hits": stats.content_cache_hits,
        "content_bytes_written": stats.content_bytes_written,
    }))
}

fn print(report: &CommitReport, table: bool) -> Result<()> {
    if !table {
        return Ok(output::line(report.commit)?);
    }
    let stats = &report.stats;
    let mut out = output::stdout();
    writeln!(out, "Commit: {}", report.commit)?;
    writeln!(out, "Metadata Total: {}", stats.metadata_total)?;
    writeln!(out, "Metadata Written: {}", stats.metadata_written)?;
    writeln!(out, "Content Total: {}", stats.content_total)?;
    writeln!(out, "Content Written: {}", stats.content_written)?;
    writeln!(out, "Content Cache Hits: {}", stats.content_cache_hits)?;
    writeln!(
        out,
        "Content Bytes Written: {}",
        stats.content_bytes_written
    )?;
    Ok(out.flush()?)
}
