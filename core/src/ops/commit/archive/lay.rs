//! Lays the entries of an archive over the tree.

use std::collections::{HashMap, HashSet};
use std::pin::pin;

use bytes::Bytes;
use futures::future::{BoxFuture, Either, FutureExt, select};
use futures::stream::{FuturesOrdered, StreamExt};
use tokio::sync::mpsc::Receiver;

use super::entry::{Entry, Kind};
use super::{ArchiveInput, MissingParents, read};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Checksum, DirMeta, FileHeader};
use crate::ops::commit::mutable_tree::{MutableTree, Node};
use crate::ops::commit::record::{GROUP_BYTES, GROUP_OBJECTS, Recorder};
use crate::ops::commit::rules::{DIRECTORY, Owned, Rules};
use crate::store::{Batch, Incoming, Payload, Put};

/// Groups of files on their way into the store at once.
const GROUPS_MAX: usize = 4;

/// Who owns the root that an archive lacks.
const ROOT_USER: Owned = Owned {
    uid: 0,
    gid: 0,
    mode: 0,
};

/// The work of laying one archive over the tree.
struct Laying<'r> {
    rules: &'r mut Rules,
    parents: MissingParents,
    /// Directories that were met, by path.
    dirs: HashMap<Box<str>, Node>,
    left_out: HashSet<Box<str>>,
    /// Hard links and what they lead to, which may come later.
    links: Vec<(Box<str>, Box<str>)>,
    group: Group,
}

/// Files that go into the store together.
#[derive(Default)]
struct Group {
    files: Vec<(Placed, Incoming)>,
    bytes: u64,
    /// Whether one of them is still being read: nothing comes after it before it is taken.
    arriving: bool,
}

impl Group {
    fn is_full(&self) -> bool {
        self.arriving || self.bytes >= GROUP_BYTES || self.files.len() >= GROUP_OBJECTS
    }
}

/// Where a file belongs that is on its way into the store.
struct Placed {
    dir: Node,
    path: Box<str>,
    target_bytes: u64,
}

type Stored = Vec<(Placed, Result<Put>)>;

enum Step {
    Entry(Option<Entry>),
    Stored(Stored),
}

impl<'a> Recorder<'a> {
    /// Lays the archive over the tree, changed by `rules`.
    pub(in crate::ops::commit) async fn archive(
        &mut self,
        input: &ArchiveInput,
        rules: &mut Rules,
    ) -> Result<()> {
        let mut laying = Laying {
            rules,
            parents: input.parents,
            dirs: HashMap::from([("".into(), MutableTree::ROOT)]),
            left_out: HashSet::new(),
            links: Vec::new(),
            group: Group::default(),
        };
        let laid = self.lay(input, &mut laying).await;
        laid.map_err(|e| e.about(input.origin()))
    }

    async fn lay(&mut self, input: &ArchiveInput, laying: &mut Laying<'_>) -> Result<()> {
        let (entries, thread) = read::start(input.take_reader()?, input.rename.clone());
        let laid = self.lay_entries(entries, laying).await;
        // The thread ends by itself: nobody takes entries any more.
        let read = match thread.await {
            Ok(read) => read,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => {
                let problem = "the runtime is shutting down";
                Err(Error::new(ErrorKind::Cancelled, problem))
            }
        };
        match (laid, read) {
            // What the store says of a file that came short is not what was wrong.
            (Err(_), Err(error)) if error.kind() != ErrorKind::Cancelled => return Err(error),
            (laid, read) => laid.and(read)?,
        }
        self.root_of_archive(laying, ROOT_USER).await?;
        self.hard_links(laying).await
    }

    async fn lay_entries(
        &mut self,
        mut entries: Receiver<Entry>,
        laying: &mut Laying<'_>,
    ) -> Result<()> {
        let mut ended = false;
        // In order: of two entries of one name the later one counts.
        let mut groups: FuturesOrdered<BoxFuture<'a, Stored>> = FuturesOrdered::new();
        loop {
            if laying.group.is_full() || ended && !laying.group.files.is_empty() {
                let group = std::mem::take(&mut laying.group);
                groups.push_back(store(self.batch, group));
            }
            if ended && groups.is_empty() {
                return Ok(());
            }
            let step = match (ended || groups.len() >= GROUPS_MAX, groups.is_empty()) {
                (true, _) => Step::Stored(groups.next().await.unwrap_or_default()),
                (false, true) => Step::Entry(entries.recv().await),
                (false, false) => match select(groups.next(), pin!(entries.recv())).await {
                    Either::Left((stored, _)) => Step::Stored(stored.unwrap_or_default()),
                    Either::Right((entry, _)) => Step::Entry(entry),
                },
            };
            match step {
                Step::Entry(None) => ended = true,
                Step::Entry(Some(entry)) => {
                    let path = entry.path.clone();
                    let laid = self.entry(laying, entry).await;
                    laid.map_err(|e| e.context(format!("entry {path}")))?;
                }
                Step::Stored(stored) => self.stored_files(stored)?,
            }
        }
    }

    async fn entry(&mut self, laying: &mut Laying<'_>, entry: Entry) -> Result<()> {
        let full_path = format!("/{}", entry.path);
        let owned = laying.rules.apply(&full_path, entry.owned);
        if let Some(owned) = owned
            && let Kind::Dir = entry.kind
        {
            let xattrs = laying.rules.xattrs(&full_path, owned.mode, entry.xattrs)?;
            let meta = dir_meta(owned, xattrs);
            let Some(node) = self.archived_dir(laying, &entry.path, entry.owned).await? else {
                return Ok(());
            };
            let meta = self.put_dirmeta(&meta).await?;
            self.tree.set_meta(node, meta);
            return Ok(());
        }
        let Some(owned) = owned else {
            laying.left_out.insert(entry.path);
            return Ok(());
        };
        let (above, name) = split(&entry.path)?;
        let Some(dir) = self.parent_dir(laying, above, entry.owned).await? else {
            return Ok(());
        };
        self.tree.check_file(dir, name)?;
        let (bytes, content, symlink_target) = match entry.kind {
            Kind::HardLink(target) => {
                laying.links.push((entry.path, target));
                return Ok(());
            }
            Kind::Symlink(target) => (0, Payload::Bytes(Bytes::new()), target),
            Kind::File { bytes, content } => (bytes, content, "".into()),
            // Met above.
            Kind::Dir => return Ok(()),
        };
        let placed = Placed {
            dir,
            target_bytes: symlink_target.len() as u64,
            path: entry.path,
        };
        let header = FileHeader {
            uid: owned.uid,
            gid: owned.gid,
            mode: owned.mode,
            symlink_target,
            xattrs: laying.rules.xattrs(&full_path, owned.mode, entry.xattrs)?,
        };
        laying.group.arriving |= matches!(content, Payload::Stream(_));
        laying.group.bytes += bytes;
        let incoming = Incoming::recorded_file(header, bytes, content);
        laying.group.files.push((placed, incoming));
        Ok(())
    }

    /// Returns the directory at `path`, made if it is not there; `None` if it is left out.
    async fn archived_dir(
        &mut self,
        laying: &mut Laying<'_>,
        path: &str,
        owner: Owned,
    ) -> Result<Option<Node>> {
        if let Some(node) = laying.dirs.get(path) {
            return Ok(Some(*node));
        }
        let (above, name) = split(path)?;
        let Some(parent) = self.parent_dir(laying, above, owner).await? else {
            return Ok(None);
        };
        let node = self.tree.enter(parent, name, self.batch).await?;
        laying.dirs.insert(path.into(), node);
        Ok(Some(node))
    }

    /// Returns the directory at `path`, which an entry of this owner lies in; `None` if it is left
    /// out.
    async fn parent_dir(
        &mut self,
        laying: &mut Laying<'_>,
        path: &str,
        owner: Owned,
    ) -> Result<Option<Node>> {
        let mut node = MutableTree::ROOT;
        let mut here = String::new();
        for name in path.split('/').filter(|name| !name.is_empty()) {
            if !here.is_empty() {
                here.push('/');
            }
            here.push_str(name);
            if laying.left_out.contains(here.as_str()) {
                return Ok(None);
            }
            if let Some(known) = laying.dirs.get(here.as_str()) {
                node = *known;
                continue;
            }
            let missing = !self.tree.has_dir(node, name);
            let mut meta = None;
            if missing {
                if laying.parents == MissingParents::Refuse {
                    let problem = format!("No such file or directory: {here}");
                    return Err(Error::missing(problem));
                }
                self.root_of_archive(laying, owner).await?;
                let Some(made) = made_dir(laying.rules, &format!("/{here}"), owner)? else {
                    laying.left_out.insert(here.into());
                    return Ok(None);
                };
                meta = Some(self.put_dirmeta(&made).await?);
            }
            node = self.tree.enter(node, name, self.batch).await?;
            if let Some(meta) = meta {
                self.tree.set_meta(node, meta);
            }
            laying.dirs.insert(here.as_str().into(), node);
        }
        Ok(Some(node))
    }

    fn stored_files(&mut self, stored: Stored) -> Result<()> {
        for (placed, put) in stored {
            let about = |e: Error| e.context(format!("entry {}", placed.path));
            let put = put.map_err(about)?;
            let (_, name) = split(&placed.path)?;
            // A directory may have come meanwhile.
            self.tree.check_file(placed.dir, name).map_err(about)?;
            self.count_file(&put, placed.target_bytes);
            self.tree
                .set_file(placed.dir, name.into(), put.name.checksum);
        }
        Ok(())
    }

    /// Makes the root if the archive has none and may lack directories.
    async fn root_of_archive(&mut self, laying: &mut Laying<'_>, owner: Owned) -> Result<()> {
        if self.tree.has_meta(MutableTree::ROOT) || laying.parents == MissingParents::Refuse {
            return Ok(());
        }
        if let Some(made) = made_dir(laying.rules, "/", owner)? {
            let meta = self.put_dirmeta(&made).await?;
            self.tree.set_meta(MutableTree::ROOT, meta);
        }
        Ok(())
    }

    /// Gives files their other names.
    async fn hard_links(&mut self, laying: &mut Laying<'_>) -> Result<()> {
        for (path, target) in std::mem::take(&mut laying.links) {
            let about = |e: Error| e.context(format!("entry {path}"));
            let Some(file) = self.archived_file(&target).await? else {
                let problem = format!(
                    "is a hard link to {target}, which is no file of the archive, or left out"
                );
                return Err(about(Error::missing(problem)));
            };
            let (above, name) = split(&path)?;
            // It was there when the link was met.
            let Some(dir) = self.parent_dir(laying, above, ROOT_USER).await? else {
                continue;
            };
            self.tree.check_file(dir, name).map_err(about)?;
            self.tree.set_file(dir, name.into(), file);
        }
        Ok(())
    }

    async fn archived_file(&mut self, path: &str) -> Result<Option<Checksum>> {
        let Ok((above, name)) = split(path) else {
            return Ok(None);
        };
        let mut node = MutableTree::ROOT;
        for part in above.split('/').filter(|part| !part.is_empty()) {
            if !self.tree.has_dir(node, part) {
                return Ok(None);
            }
            node = self.tree.enter(node, part, self.batch).await?;
        }
        Ok(self.tree.file(node, name))
    }
}

fn store(batch: &dyn Batch, group: Group) -> BoxFuture<'_, Stored> {
    async move {
        let (placed, incoming): (Vec<_>, Vec<_>) = group.files.into_iter().unzip();
        let answers = batch.put(incoming).await;
        let nothing = || Error::new(ErrorKind::Indeterminate, "the store gave no answer");
        let mut answers = answers.into_iter();
        let answered = |placed| (placed, answers.next().unwrap_or_else(|| Err(nothing())));
        placed.into_iter().map(answered).collect()
    }
    .boxed()
}

/// Returns the dirmeta of a directory that an archive lacks, owned like what lies in it; `None` if
/// it is left out.
fn made_dir(rules: &mut Rules, path: &str, owner: Owned) -> Result<Option<DirMeta>> {
    let owned = Owned {
        mode: DIRECTORY | 0o755,
        ..owner
    };
    let Some(owned) = rules.apply(path, owned) else {
        return Ok(None);
    };
    let xattrs = rules.xattrs(path, owned.mode, Default::default())?;
    Ok(Some(dir_meta(owned, xattrs)))
}

fn dir_meta(owned: Owned, xattrs: crate::format::Xattrs) -> DirMeta {
    DirMeta {
        uid: owned.uid,
        gid: owned.gid,
        mode: owned.mode,
        xattrs,
    }
}

/// Splits a path into the directory and the name in it.
fn split(path: &str) -> Result<(&str, &str)> {
    match path.rsplit_once('/') {
        Some(split) => Ok(split),
        None if path.is_empty() => Err(Error::invalid("the root of a tree must be a directory")),
        None => Ok(("", path)),
    }
}
