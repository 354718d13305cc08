//! `diff`: how two trees differ.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;

use serde_json::json;
use treeferry_core::ops::diff::{DiffOptions, DiffPath, DiffSide, LocalXattrs, diff, diff_stats};
use treeferry_core::repo::Repo;

use super::size_text::size_text;
use crate::failure::{Failure, Result};
use crate::session::{Session, resolve};
use crate::{json, output};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Count the objects of both, and those they share
    #[arg(long)]
    stats: bool,
    /// Print how many paths differ, and how much of the second the first does not have
    #[arg(long)]
    stat: bool,
    /// Print JSON, a path a line
    #[arg(long)]
    json: bool,
    /// Print the paths as well, with --stats
    #[arg(long)]
    fs_diff: bool,
    /// Compare files as if they had no extended attributes
    #[arg(long)]
    no_xattrs: bool,
    /// Take files of a directory to belong to UID
    #[arg(long, value_name = "UID")]
    owner_uid: Option<i32>,
    /// Take files of a directory to belong to group GID
    #[arg(long, value_name = "GID")]
    owner_gid: Option<i32>,
    /// A commit, or a directory if it begins with / or ./ (alone: compared with its parent)
    #[arg(value_name = "REV_OR_DIR")]
    from: Option<String>,
    /// Another
    #[arg(value_name = "REV_OR_DIR")]
    to: Option<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let repo = session.open().await?;
    let (from, to) = match (&args.from, &args.to) {
        (None, _) => return Err(Failure::usage("REV must be specified")),
        (Some(rev), None) => (format!("{rev}^"), rev.clone()),
        (Some(from), Some(to)) => (from.clone(), to.clone()),
    };
    let mut out = output::stdout();
    if args.stat {
        print_stat(&mut out, &repo, &args, &from, &to).await?;
    } else if args.fs_diff || !args.stats {
        print_diff(&mut out, &repo, &args, &from, &to).await?;
    }
    if args.stats {
        let (from, to) = (resolve(&repo, &from).await?, resolve(&repo, &to).await?);
        let stats = diff_stats(&repo, &from, &to).await?;
        let common_bytes = size_text(stats.common_stored_bytes);
        writeln!(out, "[A] Object Count: {}", stats.from_objects)?;
        writeln!(out, "[B] Object Count: {}", stats.to_objects)?;
        writeln!(out, "Common Object Count: {}", stats.common_objects)?;
        writeln!(out, "Common Object Size: {common_bytes}")?;
    }
    Ok(out.flush()?)
}

fn options(args: &Args) -> DiffOptions {
    let mut options = DiffOptions::default();
    if args.no_xattrs {
        options.xattrs = LocalXattrs::Ignore;
    }
    options.owner_uid = args.owner_uid.and_then(|uid| u32::try_from(uid).ok());
    options.owner_gid = args.owner_gid.and_then(|gid| u32::try_from(gid).ok());
    options
}

/// Prints `3 modified, 1 added, 2 removed`, and of two commits how much an update takes.
async fn print_stat(
    out: &mut impl Write,
    repo: &Repo,
    args: &Args,
    from: &str,
    to: &str,
) -> Result<()> {
    let sides = (side(repo, from).await?, side(repo, to).await?);
    let found = diff(repo, &sides.0, &sides.1, options(args)).await?;
    let (modified, added) = (found.modified.len(), found.added.len());
    let removed = found.removed.len();
    let update = match &sides {
        (DiffSide::Tree(_), DiffSide::Tree(_)) => {
            let (from, to) = (resolve(repo, from).await?, resolve(repo, to).await?);
            Some(diff_stats(repo, &from, &to).await?)
        }
        _ => None,
    };
    if args.json {
        let objects = update.map(|stats| stats.to_objects - stats.common_objects);
        let object = json!({
            "modified": modified,
            "added": added,
            "removed": removed,
            "new_objects": objects,
            "new_stored_bytes": update.map(|stats| stats.new_stored_bytes),
        });
        return json::write(out, &object);
    }
    writeln!(out, "{modified} modified, {added} added, {removed} removed")?;
    if let Some(stats) = update {
        let objects = stats.to_objects - stats.common_objects;
        let bytes = size_text(stats.new_stored_bytes);
        writeln!(out, "{objects} objects are new, {bytes} as stored here")?;
    }
    Ok(())
}

async fn print_diff(
    out: &mut impl Write,
    repo: &Repo,
    args: &Args,
    from: &str,
    to: &str,
) -> Result<()> {
    let (from, to) = (side(repo, from).await?, side(repo, to).await?);
    let found = diff(repo, &from, &to, options(args)).await?;
    if args.json {
        let kinds = [
            ("modified", &found.modified),
            ("removed", &found.removed),
            ("added", &found.added),
        ];
        for (kind, paths) in kinds {
            for path in paths {
                let path = path.path.to_string_lossy();
                json::write(out, &json!({ "change": kind, "path": path }))?;
            }
        }
        return Ok(());
    }
    write_paths(out, 'M', &from, &found.modified)?;
    write_paths(out, 'D', &from, &found.removed)?;
    write_paths(out, 'A', &to, &found.added)
}

async fn side(repo: &Repo, text: &str) -> Result<DiffSide> {
    if text.starts_with('/') || text.starts_with("./") {
        return Ok(DiffSide::Dir(text.into()));
    }
    let commit = resolve(repo, text).await?;
    Ok(DiffSide::Tree(repo.tree_of(&commit).await?))
}

/// Prints paths: in a commit from its root, in a directory relative to it.
fn write_paths(
    out: &mut impl Write,
    sign: char,
    side: &DiffSide,
    paths: &[DiffPath],
) -> Result<()> {
    let root = match side {
        DiffSide::Tree(_) => "/",
        DiffSide::Dir(_) => "",
    };
    for found in paths {
        write!(out, "{sign}    {root}")?;
        out.write_all(found.path.as_bytes())?;
        writeln!(out)?;
    }
    Ok(())
}
