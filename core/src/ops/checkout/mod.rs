//! Writes a tree, or a part of it, to a directory of this machine.
//!
//! Files are hard links into the repository where that shows what is asked for. The tree is
//! measured before anything is written. All is done relative to open directories and no symbolic
//! link below the destination is followed, so neither the tree nor what others planted in the
//! destination leads outside of it. A directory that is made is the caller's alone until all is
//! in it. An error leaves what is complete so far, and no file that is not.

mod at;
mod destination;
mod dir;
mod existing;
mod image;
mod options;
mod place;
mod walk;
mod whiteout;

use std::collections::HashMap;
use std::sync::Arc;

pub use destination::Destination;
pub use image::checkout_image;
pub use options::{
    CheckoutMode, CheckoutOptions, DirModes, Labels, Overwrite, PassthroughWhiteouts, Sharing,
    SkipList, TreeSync, UnpackedFiles, Whiteouts,
};

use self::dir::Opaque;
use self::place::Placer;
use self::walk::{Task, Walk};
use crate::error::{Error, Result};
use crate::format::{Checksum, DirTree, ObjectName};
use crate::repo::{
    MeasuredTree, Repo, TreeEntry, TreeRoot, load_dirmeta, load_dirtree, measure_and_keep,
    split_path,
};

/// What is to be checked out: a commit, or what is at a path in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckoutItem {
    /// The commit.
    pub commit: Checksum,
    /// The path of a directory or file in it; `None` for all of it.
    pub subpath: Option<String>,
    /// What happens when nothing is at that path.
    pub if_missing: IfMissing,
}

/// What happens when there is nothing to check out at a path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IfMissing {
    /// That is an error.
    #[default]
    Fail,
    /// Nothing is done.
    Ignore,
}

impl CheckoutItem {
    /// Names all of a commit.
    pub fn commit(commit: Checksum) -> Self {
        Self {
            commit,
            subpath: None,
            if_missing: IfMissing::Fail,
        }
    }

    /// Names what is at a path in a commit.
    pub fn subpath(commit: Checksum, subpath: impl Into<String>) -> Self {
        Self {
            subpath: Some(subpath.into()),
            ..Self::commit(commit)
        }
    }
}

/// What a checkout did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CheckoutReport {
    /// Directories that were made or added to.
    pub dirs: u64,
    /// Files that became hard links into the repository.
    pub files_linked: u64,
    /// Files and symbolic links that were copied.
    pub files_copied: u64,
    /// How long their content is, bytes; shared blocks included.
    pub copied_bytes: u64,
    /// Files that were there and stayed.
    pub files_kept: u64,
}

impl CheckoutReport {
    fn add(&mut self, other: Self) {
        self.dirs += other.dirs;
        self.files_linked += other.files_linked;
        self.files_copied += other.files_copied;
        self.copied_bytes += other.copied_bytes;
        self.files_kept += other.files_kept;
    }
}

/// Checks one commit, or part of one, out to `destination`.
///
/// A directory becomes the destination; a file is put into it under its own name, and the
/// destination is then made if it is not there. The directory above must exist.
///
/// # Errors
///
/// Fails before anything is written if the tree is too deep or too large, or if hard links are
/// required that the store cannot give.
pub async fn checkout(
    repo: &Repo,
    item: &CheckoutItem,
    destination: &Destination,
    options: &CheckoutOptions,
) -> Result<CheckoutReport> {
    let root = repo.tree_of(&item.commit).await?;
    let path = item.subpath.as_deref().unwrap_or("/");
    let Some(entry) = repo.find_path(root, path).await? else {
        return match item.if_missing {
            IfMissing::Ignore => Ok(CheckoutReport::default()),
            IfMissing::Fail => {
                let problem = format!("is not in commit {}", item.commit);
                Err(Error::missing(problem).about(std::path::Path::new(path)))
            }
        };
    };
    match entry {
        TreeEntry::Dir(root) => checkout_tree(repo, root, destination, options).await,
        TreeEntry::File(file) => {
            let name = split_path(path)?.pop().unwrap_or_default().to_owned();
            checkout_file(repo, file, name, destination, options).await
        }
    }
}

/// Checks several out to one destination, one after the other: the later ones see what the earlier
/// ones left, and `options.overwrite` says what happens then.
pub async fn checkout_all(
    repo: &Repo,
    items: &[CheckoutItem],
    destination: &Destination,
    options: &CheckoutOptions,
) -> Result<CheckoutReport> {
    let mut report = CheckoutReport::default();
    for item in items {
        report.add(checkout(repo, item, destination, options).await?);
    }
    Ok(report)
}

/// Checks a directory out, as [`checkout`] does.
pub async fn checkout_tree(
    repo: &Repo,
    root: TreeRoot,
    destination: &Destination,
    options: &CheckoutOptions,
) -> Result<CheckoutReport> {
    if options.skip.contains("/") {
        return Ok(CheckoutReport::default());
    }
    let placer = placer(repo, options)?;
    let source = &**repo.objects();
    let measured = measure_and_keep(repo, &root.tree, options.limits).await?;
    let MeasuredTree { dirtrees, .. } = measured;
    let tree = match dirtrees.get(&root.tree) {
        Some(tree) => Arc::clone(tree),
        None => Arc::new(load_dirtree(source, &root.tree).await?),
    };
    let meta = Arc::new(load_dirmeta(source, &root.meta).await?);
    let walk = Arc::new(Walk::new(placer, dirtrees));
    let (begin, to) = (Arc::clone(&walk), destination.clone());
    let first = move || {
        let opaque = begin.placer.opaque(&tree);
        let root = begin.placer.make_root(&to, Some(meta), opaque)?;
        begin.fill(root, tree)
    };
    let tasks = repo.pool().run(first).await?;
    run(repo, &walk, tasks, destination).await
}

/// Puts a file into the destination, as [`checkout`] does.
async fn checkout_file(
    repo: &Repo,
    file: Checksum,
    name: String,
    destination: &Destination,
    options: &CheckoutOptions,
) -> Result<CheckoutReport> {
    let walk = Arc::new(Walk::new(placer(repo, options)?, HashMap::new()));
    let entry = crate::format::FileEntry {
        name: name.into(),
        file,
    };
    let about = |e| Error::from(e).about(ObjectName::file(file));
    let tree = Arc::new(DirTree::new(vec![entry], Vec::new()).map_err(about)?);
    let (begin, to) = (Arc::clone(&walk), destination.clone());
    let first = move || {
        let dir = begin.placer.make_root(&to, None, Opaque::No)?;
        Ok(vec![Task::Files {
            dir,
            tree,
            files: 0..1,
        }])
    };
    let tasks = repo.pool().run(first).await?;
    run(repo, &walk, tasks, destination).await
}

fn placer(repo: &Repo, options: &CheckoutOptions) -> Result<Placer> {
    let local = repo.objects().local();
    Placer::new(local, Arc::clone(repo.codec()), options.clone())
}

async fn run(
    repo: &Repo,
    walk: &Arc<Walk>,
    tasks: Vec<Task>,
    destination: &Destination,
) -> Result<CheckoutReport> {
    match walk.placer.local() {
        Some(_) => walk.run_local(repo.pool(), tasks).await?,
        None => {
            let source: Arc<dyn crate::store::ObjectSource> = repo.objects().clone();
            walk.run_remote(&source, repo.pool(), tasks).await?;
        }
    }
    let (sync, to) = (walk.placer.options.sync, destination.clone());
    if sync != TreeSync::Caller {
        repo.pool().run(move || dir::sync_root(&to, sync)).await?;
    }
    Ok(walk.report())
}
