//! Lays trees over one another and writes what they consist of.
//!
//! One loop over two kinds of job: steps of the scan, and groups of objects on their way into the
//! store, a few at once. A directory is written as soon as nothing more can come into it, so that
//! of a large tree only the path to where the scan is, and what waits, are held in memory.

use std::collections::{HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::FuturesUnordered;

use super::consume::Seen;
use super::mutable_tree::{MutableTree, Node};
use super::rules::Rules;
use super::scan::{Found, FoundContent, Plan, Scanner, Source, Ticket};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Checksum, DirMeta, FileHeader, ObjectName, ObjectType};
use crate::pool::Pool;
use crate::repo::{Progress, TreeRoot};
use crate::store::{Batch, Incoming, Payload, Put, Stored, Takeover};

/// How many bytes of content go into the store at once; a larger file goes alone.
pub(super) const GROUP_BYTES: u64 = 1 << 20;

/// How many objects go into the store at once.
pub(super) const GROUP_OBJECTS: usize = 64;

/// How many files may wait before the scan does: each keeps a directory open.
const WAITING_FILES: usize = 128;

/// Which inputs still come, and so when a directory can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layer {
    /// Something is laid over this one.
    Inner,
    /// Nothing is.
    Last,
}

/// What was written, and the tree so far.
pub(super) struct Recorder<'a> {
    pub(super) batch: &'a dyn Batch,
    pub(super) tree: MutableTree,
    pub(super) stats: super::CommitStats,
    /// Of each object that was put: name, stored and unpacked bytes.
    pub(super) sizes: Option<Vec<(ObjectName, u64, u64)>>,
    pub(super) progress: Progress,
    pool: Pool,
    next_ticket: u64,
    dirmetas: HashSet<Checksum>,
    metadata: Vec<Incoming>,
    /// Objects that hard links led to, and that the batch has yet to hear of.
    relied_on: Vec<ObjectName>,
}

/// A directory that is being recorded.
struct Open {
    node: Node,
    parent: Option<(Ticket, Box<str>)>,
    path: Arc<str>,
    /// How many files and directories, and the listing itself, are not finished.
    unfinished: usize,
}

/// One directory's walk, while it goes on.
struct Walk {
    origin: PathBuf,
    layer: Layer,
    open: HashMap<Ticket, Open>,
    waiting: VecDeque<Waiting>,
    scanner: Option<Box<Scanner>>,
    scan_ended: bool,
}

struct Waiting {
    dir: Ticket,
    name: Box<str>,
    header: FileHeader,
    source: Option<Source>,
}

impl Waiting {
    fn bytes(&self) -> u64 {
        self.source.as_ref().map_or(0, |source| source.bytes)
    }
}

/// A file that went into the store.
struct Sent {
    dir: Ticket,
    name: Box<str>,
    source: Option<Source>,
    target_bytes: u64,
}

enum Step {
    Scanned(Result<(Box<Scanner>, Vec<Found>)>),
    Stored(Result<Vec<(Sent, Result<Put>)>>),
}

impl<'a> Recorder<'a> {
    pub(super) fn new(batch: &'a dyn Batch, pool: Pool, progress: Progress) -> Self {
        Self {
            batch,
            tree: MutableTree::new(),
            stats: super::CommitStats::default(),
            sizes: None,
            progress,
            pool,
            next_ticket: 0,
            dirmetas: HashSet::new(),
            metadata: Vec::new(),
            relied_on: Vec::new(),
        }
    }

    /// Lays the directory `origin` over the tree; gives the rules back, and what was seen.
    pub(super) async fn directory(
        &mut self,
        origin: &Path,
        plan: &Plan,
        layer: Layer,
        rules: Rules,
    ) -> Result<(Rules, Seen)> {
        let (place, first) = (origin.to_owned(), self.next_ticket);
        let (scan_plan, takeover) = (plan.clone(), plan.takeover());
        let open = move || Scanner::open(place, scan_plan, first, rules);
        let (scanner, found) = self.pool.run(open).await?;
        let mut walk = Walk {
            origin: origin.to_owned(),
            layer,
            open: HashMap::new(),
            waiting: VecDeque::new(),
            scanner: Some(Box::new(scanner)),
            scan_ended: false,
        };
        self.found(&mut walk, found).await?;
        let mut steps: FuturesUnordered<BoxFuture<'a, Step>> = FuturesUnordered::new();
        let puts_max = self.pool.width() + 1;
        loop {
            if !walk.scan_ended
                && walk.waiting.len() < WAITING_FILES
                && let Some(scanner) = walk.scanner.take()
            {
                steps.push(scan(self.pool.clone(), scanner));
            }
            while steps.len() <= puts_max
                && let Some(group) = walk.next_group()
            {
                steps.push(store(self.batch, self.pool.clone(), takeover, group));
            }
            let Some(step) = steps.next().await else {
                break;
            };
            match step {
                Step::Scanned(result) => {
                    let (scanner, found) = result?;
                    walk.scan_ended = found.is_empty();
                    walk.scanner = Some(scanner);
                    self.found(&mut walk, found).await?;
                }
                Step::Stored(sent) => self.stored(&mut walk, sent?).await?,
            }
        }
        let scanner = walk.scanner.ok_or_else(|| {
            Error::new(
                ErrorKind::Cancelled,
                "the scan of the directory was stopped",
            )
        })?;
        if let Some(open) = walk.open.values().next() {
            let problem = "the store did not answer for everything in it";
            let at = Scanner::place(&walk.origin, &open.path);
            return Err(Error::new(ErrorKind::Indeterminate, problem).about(at));
        }
        let (next_ticket, rules, seen) = scanner.end();
        self.next_ticket = next_ticket;
        Ok((rules, seen))
    }

    async fn found(&mut self, walk: &mut Walk, found: Vec<Found>) -> Result<()> {
        for found in found {
            match found {
                Found::Dir {
                    ticket,
                    parent,
                    path,
                    meta,
                } => self.found_dir(walk, ticket, parent, path, &meta).await?,
                Found::File { dir, name, content } => self.found_file(walk, dir, name, content)?,
                Found::Listed(ticket) => self.finished(walk, ticket).await?,
            }
        }
        self.rely().await
    }

    async fn found_dir(
        &mut self,
        walk: &mut Walk,
        ticket: Ticket,
        parent: Option<(Ticket, Box<str>)>,
        path: Arc<str>,
        meta: &DirMeta,
    ) -> Result<()> {
        let node = match &parent {
            None => MutableTree::ROOT,
            Some((parent, name)) => {
                let Some(parent) = walk.open.get_mut(parent) else {
                    return Err(out_of_order(&path));
                };
                parent.unfinished += 1;
                let at = Scanner::place(&walk.origin, &path);
                let entered = self.tree.enter(parent.node, name, self.batch).await;
                entered.map_err(|e| e.about(at))?
            }
        };
        let meta = self.put_dirmeta(meta).await?;
        self.tree.set_meta(node, meta);
        let open = Open {
            node,
            parent,
            path,
            unfinished: 1,
        };
        walk.open.insert(ticket, open);
        Ok(())
    }

    fn found_file(
        &mut self,
        walk: &mut Walk,
        dir: Ticket,
        name: Box<str>,
        content: FoundContent,
    ) -> Result<()> {
        let Some(open) = walk.open.get_mut(&dir) else {
            return Err(out_of_order(&name));
        };
        self.tree.check_file(open.node, &name).map_err(|e| {
            e.about(Scanner::place(
                &walk.origin,
                &super::scan::join(&open.path, &name),
            ))
        })?;
        let (header, source) = match content {
            FoundContent::Object(checksum) => {
                self.stats.content_cache_hits += 1;
                self.relied_on.push(ObjectName::file(checksum));
                self.tree.set_file(open.node, name, checksum);
                return Ok(());
            }
            FoundContent::Symlink(header) => (header, None),
            FoundContent::Regular(header, source) => (header, Some(source)),
        };
        open.unfinished += 1;
        walk.waiting.push_back(Waiting {
            dir,
            name,
            header,
            source,
        });
        Ok(())
    }

    async fn stored(&mut self, walk: &mut Walk, sent: Vec<(Sent, Result<Put>)>) -> Result<()> {
        for (sent, result) in sent {
            let Some(open) = walk.open.get(&sent.dir) else {
                return Err(out_of_order(&sent.name));
            };
            let put = match result {
                Ok(put) => put,
                Err(error) => {
                    let path = super::scan::join(&open.path, &sent.name);
                    let at = Scanner::place(&walk.origin, &path);
                    return Err(error.context("cannot be recorded").about(at));
                }
            };
            self.count_file(&put, sent.target_bytes);
            self.tree.set_file(open.node, sent.name, put.name.checksum);
            self.finished(walk, sent.dir).await?;
        }
        Ok(())
    }

    /// Notes that one thing in the directory `ticket` is finished, and writes it if all are.
    async fn finished(&mut self, walk: &mut Walk, ticket: Ticket) -> Result<()> {
        let mut ticket = ticket;
        while let Some(open) = walk.open.get_mut(&ticket) {
            open.unfinished -= 1;
            if open.unfinished > 0 {
                break;
            }
            let Some(Open { parent, .. }) = walk.open.remove(&ticket) else {
                break;
            };
            let Some((parent, name)) = parent else {
                break;
            };
            if walk.layer == Layer::Last
                && let Some(Open { node, .. }) = walk.open.get(&parent)
            {
                self.tree.settle(*node, &name, &mut self.metadata)?;
            }
            ticket = parent;
        }
        if self.metadata.len() >= GROUP_OBJECTS {
            self.flush_metadata().await?;
        }
        Ok(())
    }

    /// Tells the batch which objects of the store the tree needs: they become durable with it.
    async fn rely(&mut self) -> Result<()> {
        let names = std::mem::take(&mut self.relied_on);
        if names.is_empty() {
            return Ok(());
        }
        let present = self.batch.stat(&names).await?;
        for (name, present) in names.into_iter().zip(present) {
            if present.is_none() {
                let problem = "was deleted while a hard link to it was being recorded";
                return Err(Error::missing(problem).about(name));
            }
        }
        Ok(())
    }

    /// Puts a dirmeta, unless that was done before.
    pub(super) async fn put_dirmeta(&mut self, meta: &DirMeta) -> Result<Checksum> {
        let bytes = meta.to_bytes();
        let checksum = Checksum::of(&bytes);
        if self.dirmetas.insert(checksum) {
            let incoming = Incoming::recorded_metadata(ObjectType::DirMeta, bytes);
            self.metadata.push(incoming);
        } else {
            self.stats.metadata_total += 1;
        }
        Ok(checksum)
    }

    /// Writes what is left of the tree.
    pub(super) async fn finish(&mut self) -> Result<TreeRoot> {
        let root = self.tree.record(MutableTree::ROOT, &mut self.metadata)?;
        self.flush_metadata().await?;
        Ok(root)
    }

    /// Puts the metadata objects that wait.
    pub(super) async fn flush_metadata(&mut self) -> Result<()> {
        let metadata = std::mem::take(&mut self.metadata);
        if metadata.is_empty() {
            return Ok(());
        }
        for put in self.batch.put(metadata).await {
            let put = put?;
            self.stats.metadata_total += 1;
            if let Some(sizes) = &mut self.sizes {
                sizes.push((put.name, put.unpacked_bytes, put.unpacked_bytes));
            }
            if put.stored == Stored::New {
                self.stats.metadata_written += 1;
            }
        }
        let total = self.stats.metadata_total;
        self.progress
            .update(|snapshot| snapshot.metadata.done = total);
        Ok(())
    }

    /// Counts a file that was put; sizes metadata takes a symbolic link's target for its content.
    pub(super) fn count_file(&mut self, put: &Put, target_bytes: u64) {
        self.stats.content_total += 1;
        if put.stored == Stored::New {
            self.stats.content_written += 1;
            self.stats.content_bytes_written += put.unpacked_bytes;
        }
        if let Some(sizes) = &mut self.sizes {
            let unpacked_bytes = put.unpacked_bytes.max(target_bytes);
            sizes.push((put.name, put.stored_bytes, unpacked_bytes));
        }
        self.progress.update(|snapshot| {
            snapshot.content.done += 1;
            snapshot.transferred.done_bytes += put.unpacked_bytes;
        });
    }
}

/// Puts one object.
pub(super) async fn put_one(batch: &dyn Batch, incoming: Incoming) -> Result<Put> {
    let mut answers = batch.put(vec![incoming]).await;
    let no_answer = || {
        Err(Error::new(
            ErrorKind::Indeterminate,
            "the store gave no answer",
        ))
    };
    answers.pop().unwrap_or_else(no_answer)
}

impl Walk {
    /// Takes files for one job; small groups only when no more files come for now.
    fn next_group(&mut self) -> Option<Vec<Waiting>> {
        let mut group: Vec<Waiting> = Vec::new();
        let mut bytes = 0;
        while let Some(next) = self.waiting.front() {
            bytes += next.bytes();
            if !group.is_empty() && bytes > GROUP_BYTES || group.len() == GROUP_OBJECTS {
                break;
            }
            group.extend(self.waiting.pop_front());
        }
        (!group.is_empty()).then_some(group)
    }
}

fn scan(pool: Pool, mut scanner: Box<Scanner>) -> BoxFuture<'static, Step> {
    let step = move || {
        let found = scanner.step()?;
        Ok((scanner, found))
    };
    async move { Step::Scanned(pool.run(step).await) }.boxed()
}

fn store<'a>(
    batch: &'a dyn Batch,
    pool: Pool,
    takeover: Takeover,
    group: Vec<Waiting>,
) -> BoxFuture<'a, Step> {
    async move {
        let mut sent = Vec::with_capacity(group.len());
        let mut incoming = Vec::with_capacity(group.len());
        for waiting in group {
            let content = match &waiting.source {
                Some(source) => Payload::Local(source.file.clone()),
                None => Payload::Bytes(bytes::Bytes::new()),
            };
            let bytes = waiting.bytes();
            let target_bytes = waiting.header.symlink_target.len() as u64;
            incoming.push(Incoming::recorded_file(waiting.header, bytes, content));
            sent.push(Sent {
                dir: waiting.dir,
                name: waiting.name,
                source: waiting.source,
                target_bytes,
            });
        }
        let answers = batch.put(incoming).await;
        let checked = match takeover {
            Takeover::Rename => Ok(sent.into_iter().zip(answers).collect()),
            Takeover::Reflink | Takeover::Link(_) => {
                pool.run(move || Ok(check_unchanged(sent, answers))).await
            }
        };
        Step::Stored(checked)
    }
    .boxed()
}

/// Says of files that were changed while they were read that they were: neither what was stored
/// nor the error that came of it means anything.
fn check_unchanged(sent: Vec<Sent>, answers: Vec<Result<Put>>) -> Vec<(Sent, Result<Put>)> {
    let check = |(sent, answer): (Sent, Result<Put>)| {
        let unchanged = sent.source.as_ref().is_none_or(Source::is_unchanged);
        if unchanged {
            return (sent, answer);
        }
        let problem = "was changed while it was being read: commit a tree that nobody writes to";
        let error = Error::new(ErrorKind::Unavailable { retry_after: None }, problem);
        (sent, Err(error))
    };
    sent.into_iter().zip(answers).map(check).collect()
}

fn out_of_order(path: &str) -> Error {
    let problem = format!("the scan told of {path} before its directory");
    Error::new(ErrorKind::Cancelled, problem)
}
