//! `commit`: records a tree.

mod options;

use std::io::Write;
use std::path::PathBuf;

use treeferry_core::ops::commit::{
    CommitOptions, CommitOutcome, CommitReport, Modifier, Parent, SourceUse, TreeInput, commit,
};
use treeferry_core::repo::Repo;

use super::summary::{Change, after};
use crate::failure::{Failure, Result};
use crate::output;
use crate::session::Session;

pub(crate) use options::{durability, split_pair};

/// How often a race for the branch is lost before giving up.
const RACES_MAX: usize = 100;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Parent commit checksum, or "none"
    #[arg(long, value_name = "COMMIT")]
    parent: Option<String>,
    /// One line subject
    #[arg(short, long, value_name = "SUBJECT")]
    subject: Option<String>,
    /// Full description
    #[arg(short = 'm', long, value_name = "BODY")]
    body: Option<String>,
    /// Commit message from FILE path
    #[arg(short = 'F', long, value_name = "FILE")]
    body_file: Option<PathBuf>,
    /// Use an editor to write the commit message
    #[arg(short, long)]
    editor: bool,
    /// Branch
    #[arg(short, long, value_name = "BRANCH")]
    branch: Option<String>,
    /// Create a commit without writing a ref
    #[arg(long)]
    orphan: bool,
    /// Do not write any ref bindings
    #[arg(long)]
    no_bindings: bool,
    /// Add a ref to ref binding commit metadata
    #[arg(long, value_name = "BRANCH")]
    bind_ref: Vec<String>,
    /// Start from the given commit as a base (no modifiers apply)
    #[arg(long, value_name = "REV")]
    base: Option<String>,
    /// Overlay the given argument as a tree
    #[arg(long, value_name = "dir=PATH or ref=COMMIT")]
    tree: Vec<String>,
    /// Add a key/value pair to metadata
    #[arg(long, value_name = "KEY=VALUE")]
    add_metadata_string: Vec<String>,
    /// Add a key/value pair to metadata, where VALUE is in GVariant text format
    #[arg(long, value_name = "KEY=VALUE")]
    add_metadata: Vec<String>,
    /// Keep metadata KEY and its associated VALUE from parent
    #[arg(long, value_name = "KEY")]
    keep_metadata: Vec<String>,
    /// Add a key/value pair to detached metadata
    #[arg(long, value_name = "KEY=VALUE")]
    add_detached_metadata_string: Vec<String>,
    /// Set file ownership user id
    #[arg(long, value_name = "UID")]
    owner_uid: Option<i32>,
    /// Set file ownership group id
    #[arg(long, value_name = "GID")]
    owner_gid: Option<i32>,
    /// Canonicalize permissions in the same way bare-user does for hardlinked files
    #[arg(long)]
    canonical_permissions: bool,
    /// Flag this commit as a bootable OSTree (e.g. contains a Linux kernel)
    #[arg(long)]
    bootable: bool,
    /// Ensure executable files are not writable
    #[arg(long)]
    mode_ro_executables: bool,
    /// Do not import extended attributes
    #[arg(long)]
    no_xattrs: bool,
    /// Set SELinux labels based on policy in root filesystem PATH (may be /)
    #[arg(long, value_name = "PATH")]
    selinux_policy: Option<PathBuf>,
    /// Set SELinux labels based on first --tree argument
    #[arg(short = 'P', long)]
    selinux_policy_from_base: bool,
    /// How paths are looked up in the policy: 1 takes /usr/etc for /etc
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    selinux_labeling_epoch: u32,
    /// Optimize for commits of trees composed of hardlinks into the repository
    #[arg(long)]
    link_checkout_speedup: bool,
    /// Assume hardlinked objects are unmodified.  Implies --link-checkout-speedup
    #[arg(short = 'I', long)]
    devino_canonical: bool,
    /// If the contents are unchanged from previous commit, do nothing
    #[arg(long)]
    skip_if_unchanged: bool,
    /// File containing list of modifications to make to permissions
    #[arg(long, value_name = "PATH")]
    statoverride: Option<PathBuf>,
    /// File containing list of files to skip
    #[arg(long, value_name = "PATH")]
    skip_list: Option<PathBuf>,
    /// Consume (delete) content after commit (for local directories)
    #[arg(long)]
    consume: bool,
    /// Output more information in a KEY: VALUE format
    #[arg(long)]
    table_output: bool,
    /// Generate size information along with commit metadata
    #[arg(long)]
    generate_sizes: bool,
    /// Do not invoke fsync()
    #[arg(long, hide = true)]
    disable_fsync: bool,
    /// Specify how to invoke fsync()
    #[arg(long, value_name = "POLICY")]
    fsync: Option<String>,
    /// Override the timestamp of the commit
    #[arg(long, value_name = "TIMESTAMP")]
    timestamp: Option<String>,
    /// The directory to record (default: the current one)
    #[arg(value_name = "[PATH]")]
    path: Option<PathBuf>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let repo = session.open().await?;
    if args.branch.is_none() && !args.orphan {
        let message = "A branch must be specified with --branch, or use --orphan";
        return Err(Failure::new(message));
    }
    let options = options::options(&args, &repo).await?;
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
    print(&report, args.table_output)
}

/// Commits, and if the branch moves meanwhile, again on top of what it holds then.
async fn commit_with_patience(repo: &Repo, options: CommitOptions) -> Result<CommitReport> {
    let first = commit(repo, options.clone()).await?;
    let mut report = first.clone();
    let mut again = options;
    // What was found is recorded: it is not looked for again, and may be consumed.
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
    report.stats = first.stats;
    Ok(report)
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
