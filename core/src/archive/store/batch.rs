//! Objects on their way into an archive, each shown as soon as its children are there.

use std::collections::{HashMap, HashSet};
use std::fmt::{self, Debug};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::join_all;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::known::Known;
use super::lease::Lease;
use super::rank::ranks;
use super::spool::Spooled;
use super::{Place, objects, send};
use crate::archive::layout;
use crate::error::{Error, ErrorKind, Result};
use crate::format::{ObjectName, ObjectType};
use crate::store::{
    Batch, BatchStats, Body, Encoding, Incoming, LocalObjects, ObjectSource, Payload, Put,
    ResumableSource, Stat, Stored, Trust,
};

/// A batch. Content and dirmetas are sent as they come; dirtrees and commits wait for the end.
pub(super) struct ArchiveBatch {
    place: Arc<Place>,
    lease: Arc<Lease>,
    known: Known,
    uploads: tokio::sync::Semaphore,
    sent: Mutex<Sent>,
}

#[derive(Default)]
struct Sent {
    /// Acknowledged, and how long each is there.
    lengths: HashMap<ObjectName, u64>,
    /// Verified, and held back until what it names is there.
    waiting: HashMap<ObjectName, Bytes>,
    /// Metadata that was there and was handed out: who puts it all the same found it damaged.
    handed_out: HashSet<ObjectName>,
    stats: BatchStats,
}

/// An object that was read to its end.
struct Verified {
    name: ObjectName,
    unpacked_bytes: u64,
    bytes: Spooled,
}

impl ArchiveBatch {
    pub(super) fn new(place: Arc<Place>, lease: Arc<Lease>) -> Self {
        let uploads = tokio::sync::Semaphore::new(place.options.uploads_max.max(1));
        Self {
            place,
            lease,
            known: Known::nothing(),
            uploads,
            sent: Mutex::default(),
        }
    }

    fn sent(&self) -> MutexGuard<'_, Sent> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks up what is there; what is found is relied on from now on.
    async fn look(&self, names: &[ObjectName]) -> Result<Vec<Option<Stat>>> {
        let entries = self.known.look(&self.place, names).await?;
        let found = names.iter().zip(entries);
        let found: Vec<_> = found
            .map(|(name, entry)| objects::stat(name, entry?))
            .collect();
        let there = names.iter().zip(&found).filter(|(_, stat)| stat.is_some());
        self.lease.rely_on(there.map(|(name, _)| *name));
        Ok(found)
    }

    async fn store(&self, object: Verified) -> Result<Put> {
        let name = object.name;
        let put = |stored, stored_bytes| Put {
            name,
            stored,
            unpacked_bytes: object.unpacked_bytes,
            stored_bytes,
        };
        let length = self.sent().length(&name);
        if let Some(stored_bytes) = length {
            return Ok(self.count(put(Stored::Present, stored_bytes)));
        }
        let found = self.look(&[name]).await?.pop().flatten();
        let is_damaged = self.sent().handed_out.contains(&name);
        let is_metadata = name.object_type.is_metadata();
        if let Some(found) = found.filter(|_| !is_damaged) {
            // The length of metadata is exact: another one was cut short, or is something else.
            if !is_metadata || found.stored_bytes == object.bytes.bytes() {
                return Ok(self.count(put(Stored::Present, found.stored_bytes)));
            }
        }
        let stored_bytes = object.bytes.bytes();
        let stored = match (&object.bytes, name.object_type) {
            (Spooled::Memory(bytes), ObjectType::DirTree | ObjectType::Commit) => {
                let replaced = self.sent().waiting.insert(name, bytes.clone());
                replaced.map_or(Stored::New, |_| Stored::Present)
            }
            _ => {
                self.send(&name, &object.bytes).await?;
                let replaced = self.sent().lengths.insert(name, stored_bytes);
                replaced.map_or(Stored::New, |_| Stored::Present)
            }
        };
        Ok(self.count(put(stored, stored_bytes)))
    }

    async fn send(&self, name: &ObjectName, bytes: &Spooled) -> Result<()> {
        let closed = |_| Error::new(ErrorKind::Cancelled, "the batch is gone");
        let _permit = self.uploads.acquire().await.map_err(closed)?;
        let path = layout::object_path(name);
        let (transport, options) = (&*self.place.transport, &self.place.options);
        send::put_spooled(transport, &options.retry, &path, bytes, &options.pool).await
    }

    /// Sends what was held back, children first.
    async fn show(&self, waiting: &HashMap<ObjectName, Bytes>) -> Result<()> {
        for rank in ranks(waiting)? {
            // Nothing may be shown as whole whose parts a prune took while we were away.
            if rank
                .iter()
                .any(|name| name.object_type == ObjectType::Commit)
            {
                self.place.check_relied_on(&self.lease).await?;
                self.place.spare(self.lease.relied_on()).await?;
            }
            let send = |name: ObjectName| async move {
                let Some(bytes) = waiting.get(&name) else {
                    return Ok(());
                };
                let sent = self.send(&name, &bytes.clone().into()).await;
                sent.map_err(|e| e.about(name))
            };
            let sends = stream::iter(rank.into_iter().map(send));
            let sends = sends.buffer_unordered(self.place.options.uploads_max.max(1));
            sends.try_collect::<()>().await?;
        }
        Ok(())
    }

    fn count(&self, put: Put) -> Put {
        let new = u64::from(put.stored == Stored::New);
        let stats = &mut self.sent().stats;
        if put.name.object_type.is_metadata() {
            stats.metadata_total += 1;
            stats.metadata_written += new;
        } else {
            stats.content_total += 1;
            stats.content_written += new;
            stats.content_bytes_written += new * put.unpacked_bytes;
        }
        put
    }

    /// Reads objects to their ends: those at hand together, those that arrive each on its own.
    async fn verify(&self, objects: Vec<Incoming>) -> Vec<Result<Verified>> {
        let pool = &self.place.options.pool;
        let mut answers: Vec<Option<Result<Verified>>> = Vec::new();
        answers.resize_with(objects.len(), || None);
        let numbered = objects.into_iter().enumerate();
        let (at_hand, arriving): (Vec<_>, Vec<_>) = numbered.partition(|(_, o)| o.is_at_hand());
        let place = Arc::clone(&self.place);
        let at_hand = pool.run(move || {
            let read = at_hand
                .into_iter()
                .map(|(i, object)| (i, read(object, &place)));
            Ok(read.collect::<Vec<_>>())
        });
        let arriving = arriving.into_iter().map(|(i, object)| {
            let place = Arc::clone(&self.place);
            async move { (i, pool.run(move || read(object, &place)).await) }
        });
        let (at_hand, arriving) = futures::future::join(at_hand, join_all(arriving)).await;
        for (i, answer) in at_hand.unwrap_or_default().into_iter().chain(arriving) {
            answers[i] = Some(answer);
        }
        let cancelled = || Error::new(ErrorKind::Cancelled, "the runtime is shutting down");
        let answer = |a: Option<_>| a.unwrap_or_else(|| Err(cancelled()));
        answers.into_iter().map(answer).collect()
    }
}

impl Sent {
    fn length(&self, name: &ObjectName) -> Option<u64> {
        let waiting = self.waiting.get(name).map(|bytes| bytes.len() as u64);
        waiting.or_else(|| self.lengths.get(name).copied())
    }
}

/// Reads an object to its end. **Blocking.**
fn read(incoming: Incoming, place: &Place) -> Result<Verified> {
    match incoming.object_type() {
        ObjectType::File => {
            let options = &place.options;
            let mut reader = incoming.into_filez(&*options.codec, place.deflate_level)?;
            let bytes = Spooled::read(&mut reader, &options.spool)?;
            let unread = || Error::corrupt("was not read to its end");
            Ok(Verified {
                name: ObjectName::file(reader.checksum().ok_or_else(unread)?),
                unpacked_bytes: reader.content_bytes(),
                bytes,
            })
        }
        ObjectType::FileXattrs => {
            let problem = "an archive keeps extended attributes with their files";
            Err(Error::unsupported(problem))
        }
        ObjectType::DirTree | ObjectType::DirMeta | ObjectType::Commit => {
            let (name, bytes) = incoming.into_metadata()?;
            Ok(Verified {
                name,
                unpacked_bytes: bytes.len() as u64,
                bytes: bytes.into(),
            })
        }
    }
}

impl Debug for ArchiveBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sent = self.sent();
        f.debug_struct("ArchiveBatch")
            .field("sent", &sent.lengths.len())
            .field("waiting", &sent.waiting.len())
            .finish_non_exhaustive()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectSource for ArchiveBatch {
    fn encoding(&self) -> Encoding {
        Encoding::Filez
    }

    async fn stat(&self, names: &[ObjectName]) -> Result<Vec<Option<Stat>>> {
        let encoding = |name: &ObjectName| match name.object_type {
            ObjectType::File => Encoding::Filez,
            _ => Encoding::Canonical,
        };
        let own = |name: &ObjectName| {
            let stored_bytes = self.sent().length(name)?;
            Some(Stat {
                encoding: encoding(name),
                stored_bytes,
                trust: Trust::Whole,
            })
        };
        let mut answers: Vec<_> = names.iter().map(own).collect();
        let unknown: Vec<_> = (0..names.len()).filter(|i| answers[*i].is_none()).collect();
        let asked: Vec<_> = unknown.iter().map(|i| names[*i]).collect();
        for (i, found) in unknown.into_iter().zip(self.look(&asked).await?) {
            answers[i] = found;
        }
        Ok(answers)
    }

    async fn fetch(&self, name: &ObjectName) -> Result<Option<Body>> {
        let waiting = self.sent().waiting.get(name).cloned();
        if let Some(bytes) = waiting {
            return Ok(Some(Body::Metadata(Payload::Bytes(bytes))));
        }
        let body = self.place.fetch(name).await?;
        if body.is_some() && name.object_type.is_metadata() && self.sent().length(name).is_none() {
            self.sent().handed_out.insert(*name);
        }
        Ok(body)
    }

    fn local(&self) -> Option<Arc<dyn LocalObjects>> {
        None
    }

    fn resumable(&self) -> Option<Arc<dyn ResumableSource>> {
        None
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Batch for ArchiveBatch {
    async fn put(&self, objects: Vec<Incoming>) -> Vec<Result<Put>> {
        let verified = self.verify(objects).await;
        let store = |object: Result<Verified>| async {
            let object = object?;
            let name = object.name;
            self.store(object).await.map_err(|e| e.about(name))
        };
        join_all(verified.into_iter().map(store)).await
    }

    async fn commit(self: Box<Self>) -> Result<BatchStats> {
        let waiting = std::mem::take(&mut self.sent().waiting);
        self.show(&waiting).await?;
        let stats = self.sent().stats;
        Ok(stats)
    }
}
