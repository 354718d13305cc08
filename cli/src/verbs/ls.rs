//! `ls`: what is in a commit.

use std::io::Write;

use treeferry_core::format::{Checksum, ObjectName};
use treeferry_core::repo::{Repo, TreeEntry, TreeRoot};

use super::show::header_of;
use super::xattr_text::xattr_text;
use crate::failure::{Failure, Result};
use crate::output;
use crate::session::{Session, resolve};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Do not recurse into directory arguments
    #[arg(short, long)]
    dironly: bool,
    /// Print directories recursively
    #[arg(short = 'R', long)]
    recursive: bool,
    /// Print checksum
    #[arg(short = 'C', long)]
    checksum: bool,
    /// Print extended attributes
    #[arg(short = 'X', long)]
    xattrs: bool,
    /// Print only filenames, NUL separated
    #[arg(long)]
    nul_filenames_only: bool,
    /// The commit
    #[arg(value_name = "COMMIT")]
    commit: Option<String>,
    /// Paths in it; none: the root
    #[arg(value_name = "PATH...")]
    paths: Vec<String>,
}

/// How far a listing goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Depth {
    Entry,
    Children,
    All,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let repo = session.open().await?;
    let Some(rev) = &args.commit else {
        return Err(Failure::usage("An COMMIT argument is required"));
    };
    let commit = resolve(&repo, rev).await?;
    let root = repo.tree_of(&commit).await?;
    let depth = match (args.recursive, args.dironly) {
        (true, _) => Depth::All,
        (false, true) => Depth::Entry,
        (false, false) => Depth::Children,
    };
    let listing = Listing {
        repo: &repo,
        args: &args,
    };
    let mut out = output::stdout();
    let root_path = ["/".to_owned()];
    let paths = match args.paths.as_slice() {
        [] => root_path.as_slice(),
        paths => paths,
    };
    for path in paths {
        let entry = find(&repo, root, path).await;
        let entry = entry.map_err(|e| e.context(format_args!("Inspecting path '{path}'")));
        match entry {
            Ok(entry) => {
                listing
                    .print(&mut out, &absolute(path), entry, depth)
                    .await?
            }
            Err(failure) => {
                out.flush()?;
                return Err(failure);
            }
        }
    }
    Ok(out.flush()?)
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
    let found = repo.find_path(root, path).await?;
    found.ok_or_else(|| Failure::new(format!("No such file or directory: {}", absolute(path))))
}

struct Listing<'a> {
    repo: &'a Repo,
    args: &'a Args,
}

/// One line: all but the path.
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

impl Listing<'_> {
    /// Prints `entry` and, as deep as asked for, what is below it: files first, each with its
    /// name, then directories. Goes down without recursion: depth is up to whoever made the tree.
    async fn print(
        &self,
        out: &mut impl Write,
        path: &str,
        entry: TreeEntry,
        depth: Depth,
    ) -> Result<()> {
        let mut todo = vec![(path.to_owned(), entry, depth)];
        while let Some((path, entry, depth)) = todo.pop() {
            let dir = match entry {
                TreeEntry::File(file) => {
                    self.print_file(out, &path, file).await?;
                    continue;
                }
                TreeEntry::Dir(dir) => dir,
            };
            self.print_dir(out, &path, dir).await?;
            let below = match depth {
                Depth::Entry => continue,
                Depth::Children => Depth::Entry,
                Depth::All => Depth::All,
            };
            let tree = self.repo.load_dirtree(&dir.tree).await?;
            let prefix = path.trim_end_matches('/');
            for file in tree.files() {
                let path = format!("{prefix}/{}", file.name);
                self.print_file(out, &path, file.file).await?;
            }
            for dir in tree.dirs().iter().rev() {
                let root = TreeRoot {
                    tree: dir.tree,
                    meta: dir.meta,
                };
                let path = format!("{prefix}/{}", dir.name);
                todo.push((path, TreeEntry::Dir(root), below));
            }
        }
        Ok(())
    }

    async fn print_dir(&self, out: &mut impl Write, path: &str, dir: TreeRoot) -> Result<()> {
        if self.args.nul_filenames_only {
            return Ok(write!(out, "{path}\0")?);
        }
        let meta = self.repo.load_dirmeta(&dir.meta).await?;
        let line = Line {
            kind: 'd',
            mode: meta.mode,
            uid: meta.uid,
            gid: meta.gid,
            bytes: 0,
            checksums: format!("{} {}", dir.tree, dir.meta),
            xattrs: xattr_text(&meta.xattrs)?,
            target: String::new(),
        };
        self.write(out, path, &line)
    }

    async fn print_file(&self, out: &mut impl Write, path: &str, file: Checksum) -> Result<()> {
        if self.args.nul_filenames_only {
            return Ok(write!(out, "{path}\0")?);
        }
        let name = ObjectName::file(file);
        let body = self.repo.objects().fetch(&name).await?;
        let body = body.ok_or_else(|| {
            Failure::new(format!("{path}: object {name} is not in the repository"))
        })?;
        let (header, bytes) = header_of(self.repo, name, body).await?;
        let line = Line {
            kind: if header.is_symlink() { 'l' } else { '-' },
            mode: header.mode,
            uid: header.uid,
            gid: header.gid,
            bytes,
            checksums: file.to_string(),
            xattrs: xattr_text(&header.xattrs)?,
            target: match header.is_symlink() {
                true => format!(" -> {}", header.symlink_target),
                false => String::new(),
            },
        };
        self.write(out, path, &line)
    }

    fn write(&self, out: &mut impl Write, path: &str, line: &Line) -> Result<()> {
        let (mode, bytes) = (line.mode & 0o7777, line.bytes);
        write!(
            out,
            "{}0{mode:04o} {} {} {bytes:6} ",
            line.kind, line.uid, line.gid
        )?;
        if self.args.checksum {
            write!(out, "{} ", line.checksums)?;
        }
        if self.args.xattrs {
            write!(out, "{{ {} }} ", line.xattrs)?;
        }
        Ok(writeln!(out, "{path}{}", line.target)?)
    }
}
