//! `commit`: records a tree.

use std::io::Write;
use std::path::PathBuf;

use treeferry_core::format::gvariant::Value;
use treeferry_core::format::{Branch, Refspec};
use treeferry_core::ops::commit::{
    Bindings, Bootable, CommitOptions, CommitOutcome, CommitReport, Executables, Modifier, Parent,
    Permissions, Sizes, SourceUse, TreeInput, Unchanged, XattrPolicy, commit,
};
use treeferry_core::repo::Repo;
use treeferry_core::store::Durability;

use super::summary::{Change, after};
use crate::editor::{Message, edit};
use crate::failure::{Failure, Result};
use crate::session::{Session, resolve};
use crate::{dates, file_text, output};

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
    let options = options(&args, &repo).await?;
    let report = commit(&repo, options).await?;
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

async fn options(args: &Args, repo: &Repo) -> Result<CommitOptions> {
    let mut options = CommitOptions::default();
    let target = args.branch.as_deref().map(refspec).transpose()?;
    let bound = args.bind_ref.iter().map(|branch| branch_of(branch));
    let mut bound: Vec<Branch> = bound.collect::<Result<_>>()?;
    if args.orphan {
        // Bound to the branch that it is for, without moving it.
        bound.extend(target.map(|refspec| refspec.branch));
        options.parent = Parent::None;
    } else {
        options.target = target;
    }
    options.bindings = match args.no_bindings {
        true => Bindings::Omit,
        false => Bindings::Record(bound),
    };
    match args.parent.as_deref() {
        Some("none") => options.parent = Parent::None,
        Some(rev) => options.parent = Parent::Commit(parent(repo, rev).await?),
        None => {}
    }
    let message = message(args)?;
    options.subject = message.subject;
    options.body = message.body;
    options.timestamp = match &args.timestamp {
        Some(text) => dates::parse(text)?,
        None => dates::build_time()?,
    };
    if let Some(rev) = &args.base {
        options.base = Some(resolve(repo, rev).await?);
    }
    options.trees = trees(args, repo).await?;
    options.modifier = modifier(args)?;
    options.metadata = metadata(args)?;
    options.keep_metadata = args.keep_metadata.clone();
    let detached = args.add_detached_metadata_string.iter();
    options.detached_metadata = detached
        .map(|pair| string_pair(pair))
        .collect::<Result<_>>()?;
    if args.bootable {
        options.bootable = Bootable::Yes;
    }
    if args.generate_sizes {
        options.sizes = Sizes::Record;
    }
    if args.skip_if_unchanged {
        options.unchanged = Unchanged::Skip;
    }
    if args.consume {
        options.sources = SourceUse::Consume;
    }
    options.durability = durability(args.fsync.as_deref(), args.disable_fsync)?;
    Ok(options)
}

/// Reads a policy for `--fsync`: a boolean.
pub(crate) fn durability(policy: Option<&str>, disable: bool) -> Result<Durability> {
    let sync = match policy {
        None => true,
        Some("1" | "true" | "yes" | "on") => true,
        Some("0" | "false" | "no" | "none" | "off") => false,
        Some(other) => return Err(Failure::new(format!("Invalid boolean argument '{other}'"))),
    };
    Ok(match sync && !disable {
        true => Durability::Configured,
        false => Durability::None,
    })
}

fn refspec(text: &str) -> Result<Refspec> {
    text.parse()
        .map_err(|_| Failure::new(format!("Invalid refspec {text}")))
}

fn branch_of(text: &str) -> Result<Branch> {
    Branch::new(text).map_err(|_| Failure::new(format!("Invalid ref name {text}")))
}

async fn parent(repo: &Repo, rev: &str) -> Result<treeferry_core::format::Checksum> {
    if let Ok(checksum) = rev.parse() {
        return Ok(checksum);
    }
    let resolved = resolve(repo, rev).await;
    resolved.map_err(|_| Failure::new(format!("Invalid rev {rev}")))
}

fn message(args: &Args) -> Result<Message> {
    let body = match &args.body_file {
        Some(path) => file_text::read_text(path)?,
        None => args.body.clone().unwrap_or_default(),
    };
    let message = Message {
        subject: args.subject.clone().unwrap_or_default(),
        body,
    };
    match args.editor {
        true => edit(&message, args.branch.as_deref()),
        false => Ok(message),
    }
}

async fn trees(args: &Args, repo: &Repo) -> Result<Vec<TreeInput>> {
    if args.tree.is_empty() {
        let path = args.path.clone().unwrap_or_else(|| PathBuf::from("."));
        return Ok(vec![TreeInput::Dir(path)]);
    }
    if args.path.is_some() {
        return Err(Failure::new("PATH and --tree cannot both be given"));
    }
    let mut trees = Vec::with_capacity(args.tree.len());
    for tree in &args.tree {
        let (kind, what) = tree
            .split_once('=')
            .ok_or_else(|| Failure::new(format!("Missing type in tree specification '{tree}'")))?;
        trees.push(match kind {
            "dir" => TreeInput::Dir(what.into()),
            "ref" => TreeInput::Commit(resolve(repo, what).await?),
            "tar" => {
                let message = format!("--tree={tree}: archives cannot be recorded yet");
                return Err(Failure::new(message));
            }
            _ => {
                let message = format!("Invalid tree type specification '{kind}'");
                return Err(Failure::new(message));
            }
        });
    }
    Ok(trees)
}

fn modifier(args: &Args) -> Result<Modifier> {
    let mut modifier = Modifier::default();
    // Scripts say -1 for "as it is".
    modifier.owner_uid = args.owner_uid.and_then(|uid| u32::try_from(uid).ok());
    modifier.owner_gid = args.owner_gid.and_then(|gid| u32::try_from(gid).ok());
    if args.mode_ro_executables {
        modifier.executables = Executables::ReadOnly;
    }
    if args.canonical_permissions {
        modifier.permissions = Permissions::Canonical;
    }
    if args.no_xattrs {
        modifier.xattrs = XattrPolicy::Drop;
    }
    if let Some(path) = &args.statoverride {
        modifier.stat_overrides = file_text::read_text(path)?.parse()?;
    }
    if let Some(path) = &args.skip_list {
        let Ok(list) = file_text::read_text(path)?.parse();
        modifier.skip_list = list;
    }
    Ok(modifier)
}

fn metadata(args: &Args) -> Result<Vec<(String, Value)>> {
    let strings = args.add_metadata_string.iter();
    let mut metadata: Vec<_> = strings
        .map(|pair| string_pair(pair))
        .collect::<Result<_>>()?;
    for pair in &args.add_metadata {
        let (key, text) = split_pair(pair)?;
        let value = Value::parse_text(text, None)
            .map_err(|e| Failure::from(e).context(format_args!("Parsing {pair}")))?;
        metadata.push((key.to_owned(), value));
    }
    Ok(metadata)
}

fn string_pair(pair: &str) -> Result<(String, Value)> {
    let (key, value) = split_pair(pair)?;
    Ok((key.to_owned(), Value::Str(value.to_owned())))
}

/// Splits `KEY=VALUE`.
pub(crate) fn split_pair(pair: &str) -> Result<(&str, &str)> {
    pair.split_once('=')
        .ok_or_else(|| Failure::new(format!("Missing '=' in KEY=VALUE metadata '{pair}'")))
}
