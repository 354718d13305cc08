//! Tells what is in a tree, and reads files from it.

use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use tokio::sync::mpsc;

use crate::error::{Error, Result, from_read};
use crate::format::{Checksum, DirMeta, DirTree, FileHeader, ObjectName};
use crate::pool::Pool;
use crate::repo::{
    Repo, TreeEntry, TreeLimits, TreeRoot, load_dirmeta, load_dirtree, measure_and_keep, split_path,
};
use crate::store::{Body, Incoming, LocalObjects};

/// Files whose headers are read in one go.
const GROUP_FILES: usize = 256;

/// Requests under way at once, where each header is asked for on its own.
const REQUESTS_MAX: usize = 16;

/// Dirmetas that are remembered; trees have few.
const METAS_MAX: usize = 4096;

/// Symbolic links that are followed from one to the next before a ring is assumed, as Linux does.
const SYMLINKS_MAX: usize = 40;

/// Bytes of a file that are handed on in one piece.
const CHUNK_BYTES: usize = 256 * 1024;

/// Pieces of a file that are read ahead.
const CHUNKS_AHEAD: usize = 2;

/// What to list.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct ListOptions {
    /// How deep.
    pub depth: ListDepth,
    /// How much of each entry.
    pub details: ListDetails,
    /// What the tree may be at most, where all of it is listed.
    pub limits: TreeLimits,
}

/// How deep to list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ListDepth {
    /// What is at the path.
    Itself,
    /// And, if that is a directory, what is in it.
    #[default]
    Children,
    /// And all that is below.
    All,
}

/// How much to tell of each entry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ListDetails {
    /// Path and checksums: what dirtrees say.
    Names,
    /// Also owner, mode, length, target and extended attributes, which takes opening each file.
    #[default]
    All,
}

/// One entry of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListEntry {
    /// The path, from the root of the tree: it begins with `/`.
    pub path: String,
    /// What it is.
    pub node: ListNode,
}

/// What an entry of a listing is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListNode {
    /// A directory.
    Dir {
        /// Its dirtree and dirmeta.
        root: TreeRoot,
        /// Owner, mode and extended attributes, if those were asked for.
        meta: Option<Arc<DirMeta>>,
    },
    /// A regular file or symbolic link.
    File {
        /// Its file object.
        checksum: Checksum,
        /// What it looks like, if that was asked for.
        details: Option<FileDetails>,
    },
}

/// What a file looks like, as the store tells it: its content is not read, so nothing vouches for
/// this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDetails {
    /// Owner, mode, target and extended attributes.
    pub header: FileHeader,
    /// How long its content is, bytes.
    pub content_bytes: u64,
}

/// Lists what is at `path` below `root`: a directory before what is in it, files before
/// directories, each sorted by name.
///
/// Memory is bounded by what one directory holds, times the depth.
///
/// # Errors
///
/// Fails at once when nothing is there or, where all is listed, when the tree exceeds the limits.
pub async fn list(
    repo: &Repo,
    root: TreeRoot,
    path: &str,
    options: ListOptions,
) -> Result<BoxStream<'static, Result<ListEntry>>> {
    let full_path = full_path(path)?;
    let entry = repo.find_path(root, path).await?;
    let entry = entry
        .ok_or_else(|| Error::missing("is not in the tree").about(std::path::Path::new(path)))?;
    let mut lister = Lister {
        repo: repo.clone(),
        options,
        trees: HashMap::new(),
        metas: HashMap::new(),
        todo: Vec::new(),
    };
    let first = match entry {
        TreeEntry::File(file) => lister.files(vec![(full_path, file)]).await?,
        TreeEntry::Dir(root) => {
            if options.depth == ListDepth::All {
                let measured = measure_and_keep(repo, &root.tree, options.limits).await?;
                lister.trees = measured.dirtrees;
            }
            let entry = lister.dir(full_path.clone(), root).await?;
            if options.depth != ListDepth::Itself {
                lister.todo.push(Todo::Content(full_path, root));
            }
            vec![entry]
        }
    };
    let rest = stream::try_unfold(lister, |mut lister| async move {
        let step = lister.step().await?;
        Ok::<_, Error>(step.map(|entries| (entries, lister)))
    });
    let groups = stream::iter([Ok(first)]).chain(rest);
    let entries = groups.map_ok(|group| stream::iter(group.into_iter().map(Ok)));
    Ok(entries.try_flatten().boxed())
}

/// Returns a path in a tree the way listings have it: it begins with `/` and has nothing needless.
pub(super) fn full_path(path: &str) -> Result<String> {
    Ok(format!("/{}", split_path(path)?.join("/")))
}

struct Lister {
    repo: Repo,
    options: ListOptions,
    trees: HashMap<Checksum, Arc<DirTree>>,
    metas: HashMap<Checksum, Arc<DirMeta>>,
    /// What is still to be told, the next one last.
    todo: Vec<Todo>,
}

enum Todo {
    /// A directory itself, and, where all is listed, what is in it.
    Dir(String, TreeRoot),
    /// What is in a directory.
    Content(String, TreeRoot),
}

impl Lister {
    /// Tells what is next; `None` when nothing is left.
    async fn step(&mut self) -> Result<Option<Vec<ListEntry>>> {
        let mut entries = Vec::new();
        let (path, root) = match self.todo.pop() {
            None => return Ok(None),
            Some(Todo::Content(path, root)) => (path, root),
            Some(Todo::Dir(path, root)) => {
                entries.push(self.dir(path.clone(), root).await?);
                if self.options.depth != ListDepth::All {
                    return Ok(Some(entries));
                }
                (path, root)
            }
        };
        let tree = match self.trees.get(&root.tree) {
            Some(tree) => Arc::clone(tree),
            None => Arc::new(load_dirtree(&**self.repo.objects(), &root.tree).await?),
        };
        let above = path.trim_end_matches('/');
        let files = tree.files().iter();
        let files = files.map(|file| (format!("{above}/{}", file.name), file.file));
        entries.extend(self.files(files.collect()).await?);
        for dir in tree.dirs().iter().rev() {
            let root = TreeRoot {
                tree: dir.tree,
                meta: dir.meta,
            };
            self.todo
                .push(Todo::Dir(format!("{above}/{}", dir.name), root));
        }
        Ok(Some(entries))
    }

    async fn dir(&mut self, path: String, root: TreeRoot) -> Result<ListEntry> {
        let meta = match (self.options.details, self.metas.get(&root.meta)) {
            (ListDetails::Names, _) => None,
            (ListDetails::All, Some(meta)) => Some(Arc::clone(meta)),
            (ListDetails::All, None) => {
                let meta = Arc::new(load_dirmeta(&**self.repo.objects(), &root.meta).await?);
                if self.metas.len() < METAS_MAX {
                    self.metas.insert(root.meta, Arc::clone(&meta));
                }
                Some(meta)
            }
        };
        let node = ListNode::Dir { root, meta };
        Ok(ListEntry { path, node })
    }

    async fn files(&self, files: Vec<(String, Checksum)>) -> Result<Vec<ListEntry>> {
        let checksums: Vec<_> = files.iter().map(|(_, checksum)| *checksum).collect();
        let details = match self.options.details {
            ListDetails::Names => vec![None; files.len()],
            ListDetails::All => {
                let details = read_details(&self.repo, checksums).await?;
                details.into_iter().map(Some).collect()
            }
        };
        let entries = files.into_iter().zip(details);
        let entry = |((path, checksum), details)| ListEntry {
            path,
            node: ListNode::File { checksum, details },
        };
        Ok(entries.map(entry).collect())
    }
}

async fn read_details(repo: &Repo, checksums: Vec<Checksum>) -> Result<Vec<FileDetails>> {
    if let Some(local) = repo.objects().local() {
        let jobs = checksums.chunks(GROUP_FILES).map(|group| {
            let (local, group) = (Arc::clone(&local), group.to_vec());
            let read = move || {
                let details = group
                    .iter()
                    .map(|checksum| local_details(&*local, checksum));
                details.collect::<Result<Vec<_>>>()
            };
            repo.pool().run(read)
        });
        return Ok(futures::future::try_join_all(jobs).await?.concat());
    }
    let fetch = |checksum| fetch_details(repo, checksum);
    stream::iter(checksums.into_iter().map(fetch))
        .buffered(REQUESTS_MAX)
        .try_collect()
        .await
}

fn local_details(local: &dyn LocalObjects, checksum: &Checksum) -> Result<FileDetails> {
    let object = local
        .open_file(checksum)?
        .ok_or_else(|| missing(*checksum))?;
    Ok(FileDetails {
        header: object.header,
        content_bytes: object.content_bytes,
    })
}

async fn fetch_details(repo: &Repo, checksum: Checksum) -> Result<FileDetails> {
    let incoming = fetch(repo, checksum).await?;
    if let Body::File {
        header,
        content_bytes,
        ..
    } = incoming.body()
    {
        return Ok(FileDetails {
            header: header.clone(),
            content_bytes: *content_bytes,
        });
    }
    let codec = Arc::clone(repo.codec());
    let open = move || {
        let content = incoming.into_content(&*codec)?;
        Ok(FileDetails {
            header: content.header().clone(),
            content_bytes: content.content_bytes(),
        })
    };
    repo.pool().run(open).await
}

pub(super) async fn fetch(repo: &Repo, checksum: Checksum) -> Result<Incoming> {
    let name = ObjectName::file(checksum);
    let body = repo
        .objects()
        .fetch(&name)
        .await
        .map_err(|e| e.about(name))?;
    let body = body.ok_or_else(|| missing(checksum))?;
    Ok(Incoming::named(name, body))
}

fn missing(checksum: Checksum) -> Error {
    Error::missing("is not in the repository").about(ObjectName::file(checksum))
}

/// Reads the regular file at `path` below `root`.
///
/// Symbolic links are followed as far as they lead inside the tree.
///
/// # Errors
///
/// The stream ends in an error if the content does not hash to its name: only after the end is
/// what came before it known to be right.
pub async fn cat(
    repo: &Repo,
    root: TreeRoot,
    path: &str,
) -> Result<BoxStream<'static, Result<Bytes>>> {
    let about = |error: Error| error.about(std::path::Path::new(path));
    let mut here = path.to_owned();
    for _ in 0..=SYMLINKS_MAX {
        let checksum = match repo.find_path(root, &here).await? {
            Some(TreeEntry::File(checksum)) => checksum,
            Some(TreeEntry::Dir(_)) => return Err(about(Error::invalid("is a directory"))),
            None if here == path => return Err(about(Error::missing("is not in the tree"))),
            None => {
                let problem = format!("is a symbolic link to {here}, which is not in the tree");
                return Err(about(Error::missing(problem)));
            }
        };
        let incoming = fetch(repo, checksum).await?;
        let codec = Arc::clone(repo.codec());
        let open = move || incoming.into_content(&*codec);
        let content = repo.pool().run(open).await?;
        if !content.header().is_symlink() {
            return Ok(read_ahead(repo.pool(), content));
        }
        here = follow(&here, &content.header().symlink_target);
    }
    let problem = format!("more than {SYMLINKS_MAX} symbolic links lead from one to the next");
    Err(about(Error::invalid(problem)))
}

/// Returns where a symbolic link at `path` leads: never out of the tree, above which nothing is.
fn follow(path: &str, target: &str) -> String {
    let above = path.rsplit_once('/').map_or("", |(above, _)| above);
    let start = if target.starts_with('/') { "" } else { above };
    let mut parts = Vec::new();
    for part in start.split('/').chain(target.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Reads on the blocking pool, a little ahead of who listens.
pub(super) fn read_ahead(
    pool: &Pool,
    mut content: impl Read + Send + 'static,
) -> BoxStream<'static, Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
    let read = move || {
        loop {
            let (chunk, last) = match read_chunk(&mut content) {
                Ok(chunk) if chunk.is_empty() => return Ok(()),
                Ok(chunk) => (Ok(chunk), false),
                Err(error) => (Err(error), true),
            };
            // That nobody listens any more is no error.
            if sender.blocking_send(chunk).is_err() || last {
                return Ok(());
            }
        }
    };
    let pool = pool.clone();
    let chunks = stream::unfold(receiver, |mut receiver| async move {
        Some((receiver.recv().await?, receiver))
    });
    let job = async move { pool.run(read).await.err().map(Err) };
    // Both are polled, so reading goes on while chunks are waited for.
    let failure = stream::once(job).filter_map(futures::future::ready);
    stream::select(chunks, failure).boxed()
}

/// Reads a full chunk, or what is left.
fn read_chunk(content: &mut impl Read) -> Result<Bytes> {
    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
    content
        .take(CHUNK_BYTES as u64)
        .read_to_end(&mut chunk)
        .map_err(|e| from_read("cannot be read", e))?;
    Ok(chunk.into())
}
