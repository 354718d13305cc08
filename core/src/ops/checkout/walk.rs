//! Goes through the tree, a directory or a group of files at a time, on all workers.
//!
//! Tasks are taken newest first, so few directories are open at once however wide the tree is.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use futures::stream::{self, FuturesUnordered, StreamExt, TryStreamExt};

use super::CheckoutReport;
use super::dir::{Dir, path_in};
use super::options::Whiteouts;
use super::place::{Linking, Placed, Placer, missing};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Checksum, DirMeta, DirTree, ObjectName};
use crate::pool::Pool;
use crate::repo::{TreeRoot, load_dirmeta, load_dirtree, read_local_dirtree, read_local_metadata};
use crate::store::{Body, ObjectSource};

/// Files that are copied in one go; the rest of a large directory is left to other workers.
const GROUP_FILES: usize = 64;

/// Requests for files under way at once for one group.
const GROUP_REQUESTS: usize = 16;

/// Groups under way at once, where files come over a network.
const GROUPS: usize = 8;

/// Dirmetas that are remembered; trees have few.
const METAS_MAX: usize = 4096;

/// A step of a checkout.
#[derive(Debug)]
pub(super) enum Task {
    /// To make a directory, and find out what is in it.
    Dir {
        parent: Arc<Dir>,
        name: Box<str>,
        root: TreeRoot,
    },
    /// To put some of the files of a directory in their places.
    Files {
        dir: Arc<Dir>,
        tree: Arc<DirTree>,
        files: Range<usize>,
    },
}

/// What all workers share.
#[derive(Debug)]
pub(super) struct Walk {
    pub(super) placer: Placer,
    trees: HashMap<Checksum, Arc<DirTree>>,
    metas: Mutex<HashMap<Checksum, Arc<DirMeta>>>,
    stopped: AtomicBool,
    queue: Mutex<Queue>,
    woken: Condvar,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Queue {
    tasks: Vec<Task>,
    running: usize,
}

#[derive(Debug, Default)]
struct Counts {
    dirs: AtomicU64,
    linked: AtomicU64,
    copied: AtomicU64,
    copied_bytes: AtomicU64,
    kept: AtomicU64,
}

/// Stops the walk when the future that waits for it is dropped.
struct StopOnDrop(Arc<Walk>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Walk {
    pub(super) fn new(placer: Placer, trees: HashMap<Checksum, Arc<DirTree>>) -> Self {
        Self {
            placer,
            trees,
            metas: Mutex::default(),
            stopped: AtomicBool::new(false),
            queue: Mutex::default(),
            woken: Condvar::new(),
            counts: Counts::default(),
        }
    }

    pub(super) fn report(&self) -> CheckoutReport {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        CheckoutReport {
            dirs: get(&self.counts.dirs),
            files_linked: get(&self.counts.linked),
            files_copied: get(&self.counts.copied),
            copied_bytes: get(&self.counts.copied_bytes),
            files_kept: get(&self.counts.kept),
        }
    }

    /// Runs `tasks`, and those that they lead to, on blocking threads that read objects themselves.
    pub(super) async fn run_local(self: &Arc<Self>, pool: &Pool, tasks: Vec<Task>) -> Result<()> {
        lock(&self.queue).tasks = tasks;
        let stop = StopOnDrop(Arc::clone(self));
        let workers = (0..pool.width()).map(|_| {
            let walk = Arc::clone(self);
            pool.run(move || walk.work())
        });
        let results = futures::future::join_all(workers).await;
        drop(stop);
        // Where one worker failed, the others were stopped: its error is the one to tell.
        let stopped = |error: &Error| error.kind() == ErrorKind::Cancelled;
        let mut errors: Vec<_> = results.into_iter().filter_map(Result::err).collect();
        errors.sort_by_key(stopped);
        errors.into_iter().next().map_or(Ok(()), Err)
    }

    /// Runs `tasks`, and those that they lead to, with all that they need fetched beforehand.
    pub(super) async fn run_remote(
        self: &Arc<Self>,
        source: &Arc<dyn ObjectSource>,
        pool: &Pool,
        mut tasks: Vec<Task>,
    ) -> Result<()> {
        let _stop = StopOnDrop(Arc::clone(self));
        let mut running = FuturesUnordered::<BoxFuture<'_, Result<Vec<Task>>>>::new();
        loop {
            while running.len() < GROUPS
                && let Some(task) = tasks.pop()
            {
                running.push(Box::pin(self.fetch_and_run(source, pool, task)));
            }
            match running.next().await {
                Some(more) => tasks.extend(more?),
                None => return Ok(()),
            }
        }
    }

    async fn fetch_and_run(
        self: &Arc<Self>,
        source: &Arc<dyn ObjectSource>,
        pool: &Pool,
        task: Task,
    ) -> Result<Vec<Task>> {
        let walk = Arc::clone(self);
        match task {
            Task::Dir { parent, name, root } => {
                let tree = match self.trees.get(&root.tree) {
                    Some(tree) => Arc::clone(tree),
                    None => Arc::new(load_dirtree(&**source, &root.tree).await?),
                };
                let known = lock(&self.metas).get(&root.meta).cloned();
                let meta = match known {
                    Some(meta) => meta,
                    None => self.keep_meta(root.meta, load_dirmeta(&**source, &root.meta).await?),
                };
                pool.run(move || walk.run_dir(&parent, name, tree, meta))
                    .await
            }
            Task::Files { dir, tree, files } => {
                let wanted = tree.files()[files.clone()].iter().map(|file| file.file);
                let wanted: Vec<_> = wanted.map(ObjectName::file).collect();
                let fetch = |name: ObjectName| async move {
                    let body = source.fetch(&name).await.map_err(|e| e.about(name))?;
                    body.ok_or_else(|| missing().about(name))
                };
                let bodies = stream::iter(wanted.into_iter().map(fetch))
                    .buffered(GROUP_REQUESTS)
                    .try_collect::<Vec<_>>()
                    .await?;
                pool.run(move || {
                    walk.run_files(&dir, &tree, files, bodies.into_iter().map(Some))?;
                    walk.placer.step_done(dir)?;
                    Ok(Vec::new())
                })
                .await
            }
        }
    }

    /// Works until nothing is left to do.
    fn work(&self) -> Result<()> {
        while let Some(task) = self.next_task() {
            match self.run(task) {
                Ok(more) => self.task_done(more),
                Err(error) => {
                    self.stop();
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn next_task(&self) -> Option<Task> {
        let mut queue = lock(&self.queue);
        loop {
            if self.stopped.load(Ordering::Relaxed) {
                return None;
            }
            if let Some(task) = queue.tasks.pop() {
                queue.running += 1;
                return Some(task);
            }
            if queue.running == 0 {
                return None;
            }
            queue = self
                .woken
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn task_done(&self, more: Vec<Task>) {
        let mut queue = lock(&self.queue);
        queue.running -= 1;
        // One new task is for this worker itself, as long as it has nothing else.
        if more.len() > 1 || queue.running == 0 || !queue.tasks.is_empty() {
            self.woken.notify_all();
        }
        queue.tasks.extend(more);
    }

    /// Makes all workers end after the file that they are at.
    fn stop(&self) {
        // Under the lock, so that nobody falls asleep between looking and waiting.
        let _queue = lock(&self.queue);
        self.stopped.store(true, Ordering::Relaxed);
        self.woken.notify_all();
    }

    fn run(&self, task: Task) -> Result<Vec<Task>> {
        match task {
            Task::Dir { parent, name, root } => {
                let read = || Ok((self.tree(&root.tree)?, self.meta(&root.meta)?));
                let (tree, meta) =
                    read().map_err(|e: Error| in_path(e, &path_in(&parent, &name)))?;
                self.run_dir(&parent, name, tree, meta)
            }
            Task::Files { dir, tree, files } => {
                self.run_files(&dir, &tree, files, std::iter::repeat_with(|| None))?;
                self.placer.step_done(dir)?;
                Ok(Vec::new())
            }
        }
    }

    fn run_dir(
        &self,
        parent: &Arc<Dir>,
        name: Box<str>,
        tree: Arc<DirTree>,
        meta: Arc<DirMeta>,
    ) -> Result<Vec<Task>> {
        let opaque = self.placer.opaque(&tree);
        let dir = self.placer.make_dir(parent, name, meta, opaque)?;
        self.fill(dir, tree)
    }

    /// Puts the files of `dir` in their places, or leaves that to tasks, and returns what is left.
    pub(super) fn fill(&self, dir: Arc<Dir>, tree: Arc<DirTree>) -> Result<Vec<Task>> {
        self.counts.dirs.fetch_add(1, Ordering::Relaxed);
        let files = tree.files().len();
        // Instructions to remove a file come before the file: their order is kept.
        let ordered = self.placer.options.whiteouts == Whiteouts::Process;
        let linking = self.placer.linking() != Linking::Never;
        let here = match self.placer.local() {
            Some(_) if ordered || linking => files,
            Some(_) => files.min(GROUP_FILES),
            None => 0,
        };
        let group = if ordered { files.max(1) } else { GROUP_FILES };
        let mut tasks = Vec::new();
        let skip = &self.placer.options.skip;
        let path = if skip.is_empty() {
            None
        } else {
            Some(dir.path())
        };
        for entry in tree.dirs() {
            let skipped = |path: &String| skip.contains(&format!("{path}{}/", entry.name));
            if !path.as_ref().is_some_and(skipped) {
                tasks.push(Task::Dir {
                    parent: Arc::clone(&dir),
                    name: entry.name.clone(),
                    root: TreeRoot {
                        tree: entry.tree,
                        meta: entry.meta,
                    },
                });
            }
        }
        for start in (here..files).step_by(group) {
            tasks.push(Task::Files {
                dir: Arc::clone(&dir),
                tree: Arc::clone(&tree),
                files: start..(start + group).min(files),
            });
        }
        dir.wait_for(tasks.len());
        self.run_files(&dir, &tree, 0..here, std::iter::repeat_with(|| None))?;
        self.placer.step_done(dir)?;
        Ok(tasks)
    }

    fn run_files(
        &self,
        dir: &Arc<Dir>,
        tree: &DirTree,
        files: Range<usize>,
        bodies: impl Iterator<Item = Option<Body>>,
    ) -> Result<()> {
        let skip = &self.placer.options.skip;
        for (file, body) in tree.files()[files].iter().zip(bodies) {
            if self.stopped.load(Ordering::Relaxed) {
                return Err(Error::new(ErrorKind::Cancelled, "the checkout was stopped"));
            }
            let path = || dir.path() + &file.name;
            if skip.is_empty() || !skip.contains(&path()) {
                self.place(dir, &file.name, &file.file, body)?;
            }
        }
        Ok(())
    }

    /// Puts one file in its place, and counts it.
    pub(super) fn place(
        &self,
        dir: &Arc<Dir>,
        name: &str,
        checksum: &Checksum,
        body: Option<Body>,
    ) -> Result<()> {
        let path = || dir.path() + name;
        let placed = self.placer.place(&dir.spot(name, &path), checksum, body)?;
        let count = match placed {
            Placed::Linked => &self.counts.linked,
            Placed::Copied(bytes) => {
                self.counts.copied_bytes.fetch_add(bytes, Ordering::Relaxed);
                &self.counts.copied
            }
            Placed::Kept => &self.counts.kept,
            Placed::Whiteout => return Ok(()),
        };
        count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn tree(&self, checksum: &Checksum) -> Result<Arc<DirTree>> {
        if let Some(tree) = self.trees.get(checksum) {
            return Ok(Arc::clone(tree));
        }
        let local = self.placer.local().ok_or_else(missing)?;
        let tree = read_local_dirtree(&**local, checksum)?;
        let missing = || missing().about(ObjectName::dirtree(*checksum));
        tree.map(Arc::new).ok_or_else(missing)
    }

    fn meta(&self, checksum: &Checksum) -> Result<Arc<DirMeta>> {
        if let Some(meta) = lock(&self.metas).get(checksum) {
            return Ok(Arc::clone(meta));
        }
        let name = ObjectName::dirmeta(*checksum);
        let local = self.placer.local().ok_or_else(missing)?;
        let bytes = read_local_metadata(&**local, name)?.ok_or_else(|| missing().about(name))?;
        let meta = DirMeta::parse(&bytes).map_err(|e| Error::from(e).about(name))?;
        Ok(self.keep_meta(*checksum, meta))
    }

    fn keep_meta(&self, checksum: Checksum, meta: DirMeta) -> Arc<DirMeta> {
        let meta = Arc::new(meta);
        let mut metas = lock(&self.metas);
        if metas.len() < METAS_MAX {
            metas.insert(checksum, Arc::clone(&meta));
        }
        meta
    }
}

fn in_path(error: Error, path: &Path) -> Error {
    error.context("cannot be checked out").about(path)
}

/// Locks `mutex`. No holder leaves a value half changed, so a panic elsewhere does not matter.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
