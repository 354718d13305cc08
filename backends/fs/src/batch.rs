//! Objects on their way into a repository.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use treeferry_core::error::{Error, ErrorKind, Result};
use treeferry_core::format::{ObjectName, ObjectType};
use treeferry_core::store::{
    Batch, BatchOptions, BatchStats, Body, Durability, Encoding, Incoming, LocalObjects, LockKind,
    ObjectSource, Put, ResumableSource, Stat, Stored, Trust,
};

use crate::free_space::Allowance;
use crate::leftovers::Leftovers;
use crate::local::LocalView;
use crate::publish::publish;
use crate::repo::FsRepo;
use crate::scratch;
use crate::source::{fetch_from, stat_many};
use crate::staging::{Staged, Staging};
use crate::sys::Durable;
use crate::write::{SyncEach, WriteContext, Writer};

/// Objects on their way into an [`FsRepo`]: see [`Batch`].
///
/// Dropped without commit it leaves its whole objects in the staging directory, where the next
/// batch finds them.
#[derive(Debug)]
pub struct FsBatch {
    context: Arc<WriteContext>,
    durable: Durable,
    stats: Arc<Mutex<BatchStats>>,
}

impl FsBatch {
    pub(crate) async fn begin(repo: FsRepo, options: BatchOptions) -> Result<Self> {
        repo.check_writable()?;
        let lock = repo.lock_repo(LockKind::Shared).await?;
        let config = &repo.inner.config;
        let durable = match options.durability {
            Durability::None => Durable::No,
            Durability::PerObject => Durable::Yes,
            Durability::Configured => config.durable,
        };
        let each = options.durability == Durability::PerObject || config.per_object_sync;
        let sync_each = match (durable, each) {
            (Durable::Yes, true) => SyncEach::Yes,
            _ => SyncEach::No,
        };
        let context = repo
            .run(move |repo| {
                let leftovers = Leftovers::collect(repo, options.leftovers)?;
                scratch::expire(repo)?;
                let tmp = Arc::clone(&repo.inner.tmp);
                let boot_id = repo.inner.options.boot_id.as_deref();
                let allowance = Allowance::new(repo.dir(), repo.inner.config.min_free)?;
                Ok(WriteContext {
                    repo: repo.clone(),
                    staging: Arc::new(Staging::create(tmp, repo.mode(), lock, boot_id)?),
                    leftovers,
                    allowance,
                    sync_each,
                    sharing: AtomicBool::new(true),
                })
            })
            .await?;
        Ok(Self {
            context: Arc::new(context),
            durable,
            stats: Arc::default(),
        })
    }

    pub(crate) fn repo(&self) -> &FsRepo {
        &self.context.repo
    }

    /// Returns what notes the outcome of a put, for the totals.
    pub(crate) fn counter(&self) -> impl Fn(&Put) + Send + 'static {
        let stats = Arc::clone(&self.stats);
        move |put| {
            let mut stats = stats.lock().unwrap_or_else(PoisonError::into_inner);
            let new = u64::from(put.stored == Stored::New);
            if put.name.object_type == ObjectType::File {
                stats.content_total += 1;
                stats.content_written += new;
                stats.content_bytes_written += new * put.unpacked_bytes;
            } else {
                stats.metadata_total += 1;
                stats.metadata_written += new;
            }
        }
    }
}

#[async_trait]
impl ObjectSource for FsBatch {
    fn encoding(&self) -> Encoding {
        self.repo().encoding_here()
    }

    async fn stat(&self, names: &[ObjectName]) -> Result<Vec<Option<Stat>>> {
        let context = Arc::clone(&self.context);
        stat_many(self.repo(), names, move |name| stat_one(&context, name)).await
    }

    async fn fetch(&self, name: &ObjectName) -> Result<Option<Body>> {
        let (context, name) = (Arc::clone(&self.context), *name);
        self.repo()
            .run(move |repo| {
                if stat_one(&context, &name)?.is_none() {
                    return Ok(None);
                }
                match fetch_from(&context.staging.shelf, &name)? {
                    Some(body) => Ok(Some(body)),
                    None => repo.fetch_blocking(&name),
                }
            })
            .await
    }

    fn local(&self) -> Option<Arc<dyn LocalObjects>> {
        let staging = Arc::clone(&self.context.staging);
        let view = LocalView::with_staging(self.repo().clone(), staging);
        Some(Arc::new(view))
    }

    fn resumable(&self) -> Option<Arc<dyn ResumableSource>> {
        None
    }
}

fn stat_one(context: &WriteContext, name: &ObjectName) -> Result<Option<Stat>> {
    let repo = &context.repo;
    let encoding = match name.object_type {
        ObjectType::File => repo.encoding_here(),
        _ => Encoding::Canonical,
    };
    let whole = |staged: Staged| Stat {
        encoding,
        stored_bytes: staged.stored_bytes,
        trust: Trust::Whole,
    };
    if let Some(staged) = context.staging.get(name)? {
        return Ok(Some(whole(staged)));
    }
    if let Some(stat) = repo.inner.shelf.stat(name)? {
        context.staging.relied.insert(name.checksum.as_bytes()[0]);
        return Ok(Some(stat));
    }
    if let Some(staged) = context.leftovers.claim(context, name)? {
        return Ok(Some(whole(staged)));
    }
    match repo.parent() {
        Some(parent) => parent.stat_blocking(name),
        None => Ok(None),
    }
}

#[async_trait]
impl Batch for FsBatch {
    async fn put(&self, objects: Vec<Incoming>) -> Vec<Result<Put>> {
        let count = objects.len();
        let (context, counted) = (Arc::clone(&self.context), self.counter());
        let job = move || {
            let mut writer = Writer::new(&context);
            let puts = objects.into_iter().map(|object| {
                let put = writer.put(object)?;
                counted(&put);
                Ok(put)
            });
            Ok(puts.collect())
        };
        match self.repo().pool().run(job).await {
            Ok(puts) => puts,
            Err(error) => {
                // Only a runtime that shuts down ends a job before it began.
                let mut answers = vec![Err(error)];
                answers.resize_with(count, || {
                    Err(Error::new(
                        ErrorKind::Cancelled,
                        "the runtime is shutting down",
                    ))
                });
                answers
            }
        }
    }

    async fn commit(self: Box<Self>) -> Result<BatchStats> {
        publish(&self.context, self.durable).await?;
        // Here and not when it is dropped, which is not waited for.
        let context = Arc::clone(&self.context);
        self.repo()
            .run(move |_| {
                context.staging.remove();
                context.leftovers.remove_empty();
                Ok(())
            })
            .await?;
        let stats = *self.stats.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(stats)
    }
}
