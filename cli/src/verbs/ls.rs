//! `ls`: what is in a commit.

use std::io::Write;

use futures::TryStreamExt;
use serde_json::{Value, json};
use treeferry_core::ops::list::{ListDepth, ListDetails, ListEntry, ListNode, ListOptions, list};
use treeferry_core::repo::{Repo, TreeEntry, TreeRoot};

use super::xattr_text::xattr_text;
use crate::failure::{Failure, Result};
use crate::session::{Session, resolve};
use crate::{json, output};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show a directory itself, not what is in it
    #[arg(short, long)]
    dironly: bool,
    /// Show everything below as well
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Show the objects' checksums
    #[arg(short = 'C', long)]
    checksum: bool,
    /// Show the extended attributes
    #[arg(short = 'X', long)]
    xattrs: bool,
    /// Show paths alone, each ended by NUL
    #[arg(long)]
    nul_filenames_only: bool,
    /// Print JSON, a path a line
    #[arg(long)]
    json: bool,
    /// The commit
    #[arg(value_name = "COMMIT")]
    commit: Option<String>,
    /// Paths in it; none: the root
    #[arg(value_name = "[PATH...]")]
    paths: Vec<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let repo = session.open().await?;
    let Some(rev) = &args.commit else {
        return Err(Failure::usage("An COMMIT argument is required"));
    };
    let commit = resolve(&repo, rev).await?;
    let root = repo.tree_of(&commit).await?;
    let mut options = ListOptions::default();
    options.depth = match (args.recursive, args.dironly) {
        (true, _) => ListDepth::All,
        (false, true) => ListDepth::Itself,
        (false, false) => ListDepth::Children,
    };
    if args.nul_filenames_only {
        options.details = ListDetails::Names;
    }
    let mut out = output::stdout();
    let root_path = ["/".to_owned()];
    let paths = match args.paths.as_slice() {
        [] => root_path.as_slice(),
        paths => paths,
    };
    for path in paths {
        let outcome = print(&mut out, &repo, root, path, options, &args).await;
        if outcome.is_err() {
            // What was found before stands.
            out.flush()?;
        }
        outcome?;
    }
    Ok(out.flush()?)
}

async fn print(
    out: &mut impl Write,
    repo: &Repo,
    root: TreeRoot,
    path: &str,
    options: ListOptions,
    args: &Args,
) -> Result<()> {
    let entry = find(repo, root, path).await;
    entry.map_err(|e| e.context(format_args!("Inspecting path '{path}'")))?;
    let mut entries = list(repo, root, path, options).await?;
    while let Some(entry) = entries.try_next().await? {
        match args.nul_filenames_only {
            true => write!(out, "{}\0", entry.path)?,
            false if args.json => json::write(out, &Line::of(&entry)?.to_json(&entry.path))?,
            false => Line::of(&entry)?.write(out, &entry.path, args)?,
        }
    }
    Ok(())
}

/// Returns `path` as seen from the root of the tree.
pub(crate) fn absolute(path: &str) -> String {
    let parts: Vec<_> = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    format!("/{}", parts.join("/"))
}

/// Finds what must be at `path`.
pub(crate) async fn find(repo: &Repo, root: TreeRoot, path: &str) -> Result<TreeEntry> {
    if let Some(entry) = repo.find_path(root, path).await? {
        return Ok(entry);
    }
    let path = absolute(path);
    let mut parent = path.as_str();
    while let Some((above, _)) = parent.rsplit_once('/') {
        if let Some(TreeEntry::File(_)) = repo.find_path(root, above).await? {
            return Err(Failure::new("Not a directory"));
        }
        parent = above;
    }
    Err(Failure::new(format!("No such file or directory: {path}")))
}

/// One line: all but the path.
#[derive(Default)]
struct Line {
    kind: char,
    mode: u32,
    uid: u32,
    gid: u32,
    bytes: u64,
    checksums: String,
    xattrs: String,
    target: String,
}

impl Line {
    fn of(entry: &ListEntry) -> Result<Self> {
        let undetailed = || Failure::new(format!("{}: was listed without details", entry.path));
        match &entry.node {
            ListNode::Dir { root, meta } => {
                let meta = meta.as_ref().ok_or_else(undetailed)?;
                Ok(Self {
                    kind: 'd',
                    mode: meta.mode,
                    uid: meta.uid,
                    gid: meta.gid,
                    checksums: format!("{} {}", root.tree, root.meta),
                    xattrs: xattr_text(&meta.xattrs)?,
                    ..Self::default()
                })
            }
            ListNode::File { checksum, details } => {
                let details = details.as_ref().ok_or_else(undetailed)?;
                let header = &details.header;
                let (kind, target) = match header.is_symlink() {
                    true => ('l', format!(" -> {}", header.symlink_target)),
                    false => ('-', String::new()),
                };
                Ok(Self {
                    kind,
                    mode: header.mode,
                    uid: header.uid,
                    gid: header.gid,
                    bytes: details.content_bytes,
                    checksums: checksum.to_string(),
                    xattrs: xattr_text(&header.xattrs)?,
                    target,
                })
            }
        }
    }

    fn to_json(&self, path: &str) -> Value {
        let kind = match self.kind {
            'd' => "directory",
            'l' => "symlink",
            _ => "file",
        };
        json!({
            "path": path,
            "type": kind,
            "mode": self.mode & 0o7777,
            "uid": self.uid,
            "gid": self.gid,
            "bytes": self.bytes,
            "checksums": self.checksums.split(' ').collect::<Vec<_>>(),
            "target": self.target.strip_prefix(" -> "),
        })
    }

    fn write(&self, out: &mut impl Write, path: &str, args: &Args) -> Result<()> {
        let (kind, mode, bytes) = (self.kind, self.mode & 0o7777, self.bytes);
        write!(
            out,
            "{kind}0{mode:04o} {} {} {bytes:6} ",
            self.uid, self.gid
        )?;
        if args.checksum {
            write!(out, "{} ", self.checksums)?;
        }
        if args.xattrs {
            write!(out, "{{ {} }} ", self.xattrs)?;
        }
        Ok(writeln!(out, "{path}{}", self.target)?)
    }
}
