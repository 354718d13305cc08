//! Leases: how writers and whoever deletes keep out of each other's way without a server of locks.
//!
//! A lease is a small file whose name says who, of which kind, and how long it holds after it was
//! last written. Whoever wants one writes it and then lists all: of two who cannot have theirs
//! together at least one sees the other, and gives way. It is renewed while it is needed and deleted
//! afterwards. How old another's is gets judged by the server's clock alone: by the time of one's own,
//! written just before. Where the server tells no times, it is watched: each renewal writes another
//! number, and one that stayed the same for as long as it holds was not renewed. The times of others'
//! own clocks would be no better than the worst of these.
//!
//! A holder that was away for too long finds its lease gone: before it shows a commit or moves a ref
//! it renews, and if that fails it looks again at all it relied on.

use std::collections::{HashMap, HashSet};
use std::fmt::{self, Debug};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::future::{Either, select};
use futures::{StreamExt, TryStreamExt, stream};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, sleep};

use super::{ArchiveOptions, LeaseOptions, send};
use crate::archive::layout::LEASES_PREFIX;
use crate::archive::read;
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::format::ObjectName;
use crate::store::LockKind;
use crate::transport::{
    ListedFile, Precondition, PutAnswer, RemotePath, Retry, Validator, WritableTransport, retrying,
};

/// How long the text of a lease is that is shown, bytes.
const TEXT_BYTES_MAX: u64 = 4096;

/// The first wait for others, doubled up to the longest.
const PAUSE: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How many leases are read at once to be shown.
const READS_AT_ONCE: usize = 8;

/// A lease, as somebody else sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseInfo {
    /// The file.
    pub path: RemotePath,
    /// Whether its holder writes or deletes.
    pub kind: LockKind,
    /// How long it holds after it was renewed.
    pub ttl: Duration,
    /// When it was renewed, by the server's clock, where that is told.
    pub renewed: Option<SystemTime>,
    /// Who holds it, in its own words.
    pub holder: String,
}

/// The leases of one handle.
pub(super) struct Leases {
    transport: Arc<dyn WritableTransport>,
    retry: Retry,
    options: LeaseOptions,
    counter: AtomicU64,
    shared: tokio::sync::Mutex<Weak<Lease>>,
    releasing: Arc<Releasing>,
    /// The content of others' leases whose time is not told, and since when it is the same.
    watched: Mutex<HashMap<RemotePath, (Bytes, Instant)>>,
}

/// How many leases are being given back.
#[derive(Default)]
struct Releasing {
    count: AtomicUsize,
    done: Notify,
}

/// A lease that is held: given back when dropped.
pub(super) struct Lease {
    key: Arc<Key>,
    /// What its holder found there and did not send.
    relied: Mutex<HashSet<ObjectName>>,
    releasing: Arc<Releasing>,
    // Dropped with the lease, which tells the task that renews it.
    _stop: oneshot::Sender<()>,
}

/// The file of a lease.
struct Key {
    transport: Arc<dyn WritableTransport>,
    retry: Retry,
    path: RemotePath,
    text: String,
    ttl: Duration,
    version: tokio::sync::Mutex<Version>,
    lapsed: AtomicBool,
}

struct Version {
    validator: Option<Validator>,
    serial: u64,
    written: Instant,
}

impl Leases {
    pub(super) fn new(transport: Arc<dyn WritableTransport>, options: &ArchiveOptions) -> Self {
        Self {
            transport,
            retry: options.retry,
            options: options.lease.clone(),
            counter: AtomicU64::new(0),
            shared: tokio::sync::Mutex::default(),
            releasing: Arc::default(),
            watched: Mutex::default(),
        }
    }

    /// Returns a lease for writing: all writers of a handle share one.
    pub(super) async fn shared(&self) -> Result<Arc<Lease>> {
        let mut shared = self.shared.lock().await;
        if let Some(lease) = shared.upgrade() {
            return Ok(lease);
        }
        let lease = Arc::new(self.acquire(LockKind::Shared).await?);
        *shared = Arc::downgrade(&lease);
        Ok(lease)
    }

    /// Returns the lease for deleting: alone.
    pub(super) async fn exclusive(&self) -> Result<Lease> {
        self.acquire(LockKind::Exclusive).await
    }

    async fn acquire(&self, kind: LockKind) -> Result<Lease> {
        let (mut waited, mut pause) = (Duration::ZERO, PAUSE);
        loop {
            let lease = self.write(kind).await?;
            if self.is_alone(&lease, kind).await? {
                return Ok(lease);
            }
            // Waited for, or the next look would meet it.
            drop(lease);
            self.settle().await;
            // How long the server takes does not count, only how long others do.
            if waited >= self.options.wait {
                return Err(self.timed_out(kind));
            }
            let rest = pause + self.scatter(pause);
            sleep(rest).await;
            waited += rest;
            pause = (pause * 2).min(PAUSE_MAX).min(self.options.wait);
        }
    }

    fn timed_out(&self, kind: LockKind) -> Error {
        let other = match kind {
            LockKind::Shared => "somebody is deleting from it",
            LockKind::Exclusive => "somebody is writing to it",
        };
        let problem = format!(
            "the repository is locked, {other}: waited {:?}; a lease that was left behind expires, \
             or can be broken",
            self.options.wait
        );
        let error = Error::new(ErrorKind::Locked, problem);
        error.about(Subject::Url(self.transport.origin().to_owned()))
    }

    /// Returns up to as much as `pause`, so that two who gave way do not meet again.
    fn scatter(&self, pause: Duration) -> Duration {
        let salt = self.counter.load(Ordering::Relaxed);
        let mixed = (self.options.seed ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54;
        pause / 1024 * u32::try_from(mixed).unwrap_or(0)
    }

    /// Writes a lease and begins to renew it. It counts for nothing before one has looked around.
    async fn write(&self, kind: LockKind) -> Result<Lease> {
        let kind_text = match kind {
            LockKind::Shared => "write",
            LockKind::Exclusive => "delete",
        };
        let ttl_ms = self.options.ttl.as_millis();
        loop {
            let number = self.counter.fetch_add(1, Ordering::Relaxed);
            let seed = self.options.seed;
            let path = format!("{LEASES_PREFIX}{seed:016x}-{number}.{kind_text}.{ttl_ms}");
            let mut key = Key {
                transport: Arc::clone(&self.transport),
                retry: self.retry,
                path: RemotePath::of_checked_parts(path),
                text: self.options.holder.clone(),
                ttl: self.options.ttl,
                version: tokio::sync::Mutex::new(Version {
                    validator: None,
                    serial: number,
                    written: Instant::now(),
                }),
                lapsed: AtomicBool::new(false),
            };
            if key.create().await? {
                let key = Arc::new(key);
                let (stop, stopped) = oneshot::channel();
                tokio::spawn(keep(Arc::clone(&key), stopped, Arc::clone(&self.releasing)));
                return Ok(Lease {
                    key,
                    relied: Mutex::default(),
                    releasing: Arc::clone(&self.releasing),
                    _stop: stop,
                });
            }
            // Another handle has the same seed: the next number will do.
        }
    }

    /// Returns whether nobody holds a lease that `kind` cannot be held beside.
    async fn is_alone(&self, lease: &Lease, kind: LockKind) -> Result<bool> {
        let listed = list(&*self.transport, &self.retry).await?;
        let own = &lease.key.path;
        let now = listed.iter().find(|(_, file)| file.path == *own);
        let now = now.and_then(|(_, file)| file.modified);
        let mut alone = true;
        for (parsed, file) in &listed {
            if file.path == *own || (kind, parsed.kind) == (LockKind::Shared, LockKind::Shared) {
                continue;
            }
            let expired = match (now, file.modified) {
                (Some(now), Some(renewed)) => parsed.is_expired(now, renewed),
                _ => self.has_stood_still(parsed, &file.path).await?,
            };
            if expired {
                tracing::warn!(lease = %file.path, "has expired: removed");
                let path = std::slice::from_ref(&file.path);
                send::delete(&*self.transport, &self.retry, path).await?;
            } else {
                alone = false;
            }
        }
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|path, _| listed.iter().any(|(_, file)| file.path == *path));
        Ok(alone)
    }

    /// Reads a lease, and returns whether it was the same each time for longer than it holds.
    async fn has_stood_still(&self, lease: &Parsed, path: &RemotePath) -> Result<bool> {
        let asked = Instant::now();
        let once = || read::read(&*self.transport, path, None, TEXT_BYTES_MAX);
        let content = retrying(&self.retry, || Box::pin(once())).await?;
        // What is given back meanwhile is as good as another: the next look will not meet it.
        let content = content.into_bytes().unwrap_or_default();
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((seen, since)) = watched.get(path)
            && *seen == content
        {
            return Ok(asked.duration_since(*since) > lease.ttl);
        }
        watched.insert(path.clone(), (content, Instant::now()));
        Ok(false)
    }

    /// Returns what the time is at the place; `None` where times are not told.
    pub(super) async fn time_of(&self, lease: &Lease) -> Result<Option<SystemTime>> {
        lease.key.renew().await?;
        let listed = list(&*self.transport, &self.retry).await?;
        let own = listed.iter().find(|(_, file)| file.path == lease.key.path);
        Ok(own.and_then(|(_, file)| file.modified))
    }

    pub(super) async fn list_all(&self) -> Result<Vec<LeaseInfo>> {
        let listed = list(&*self.transport, &self.retry).await?;
        let reads = listed.into_iter().map(|(parsed, file)| async move {
            let once = || read::read(&*self.transport, &file.path, None, TEXT_BYTES_MAX);
            let text = retrying(&self.retry, || Box::pin(once())).await?;
            let text = text.into_bytes().unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            Ok(LeaseInfo {
                holder: text.lines().next().unwrap_or_default().to_owned(),
                path: file.path,
                kind: parsed.kind,
                ttl: parsed.ttl,
                renewed: file.modified,
            })
        });
        let reads = stream::iter(reads).buffered(READS_AT_ONCE);
        reads.try_collect().await
    }

    pub(super) async fn remove(&self, lease: &LeaseInfo) -> Result<()> {
        let path = std::slice::from_ref(&lease.path);
        send::delete(&*self.transport, &self.retry, path).await
    }

    /// Waits until all leases that were dropped are deleted.
    pub(super) async fn settle(&self) {
        loop {
            let done = self.releasing.done.notified();
            tokio::pin!(done);
            done.as_mut().enable();
            if self.releasing.count.load(Ordering::Acquire) == 0 {
                return;
            }
            done.await;
        }
    }
}

impl Lease {
    /// Notes what was found there and will not be sent.
    pub(super) fn rely_on(&self, names: impl IntoIterator<Item = ObjectName>) {
        let mut relied = self.relied.lock().unwrap_or_else(PoisonError::into_inner);
        relied.extend(names);
    }

    /// Returns all that was relied on.
    pub(super) fn relied_on(&self) -> Vec<ObjectName> {
        let relied = self.relied.lock().unwrap_or_else(PoisonError::into_inner);
        relied.iter().copied().collect()
    }

    /// Renews, and returns whether it was held without a gap since the last time it was not.
    pub(super) async fn is_unbroken(&self) -> Result<bool> {
        self.key.renew().await?;
        Ok(!self.key.lapsed.load(Ordering::Acquire))
    }

    /// Forgets a gap: all that was relied on has been looked at again since.
    pub(super) fn mend(&self) {
        self.key.lapsed.store(false, Ordering::Release);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.releasing.count.fetch_add(1, Ordering::AcqRel);
    }
}

impl Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("path", &self.key.path)
            .finish_non_exhaustive()
    }
}

/// Renews a lease until it is dropped, and then deletes it.
async fn keep(key: Arc<Key>, stopped: oneshot::Receiver<()>, releasing: Arc<Releasing>) {
    let mut stopped = stopped;
    while let Either::Left(((), running)) = select(Box::pin(sleep(key.ttl / 3)), stopped).await {
        stopped = running;
        if let Err(error) = key.renew().await {
            tracing::warn!(lease = %key.path, %error, "cannot be renewed");
        }
    }
    let path = std::slice::from_ref(&key.path);
    if let Err(error) = send::delete(&*key.transport, &key.retry, path).await {
        tracing::warn!(lease = %key.path, %error, "cannot be given back: it will expire");
    }
    releasing.count.fetch_sub(1, Ordering::AcqRel);
    releasing.done.notify_waiters();
}

impl Key {
    /// Writes it where there must be none; `false` if there is one.
    async fn create(&mut self) -> Result<bool> {
        let serial = self.version.get_mut().serial;
        let bytes = self.bytes(serial);
        let answer = self.put(Precondition::Absent, bytes).await?;
        let PutAnswer::Done { validator } = answer else {
            return Ok(false);
        };
        let version = self.version.get_mut();
        (version.validator, version.written) = (validator, Instant::now());
        Ok(true)
    }

    /// Writes it again. If others removed it, or it was not renewed in time, it has lapsed.
    async fn renew(&self) -> Result<()> {
        let mut version = self.version.lock().await;
        version.serial += 1;
        if version.written.elapsed() >= self.ttl {
            self.lapsed.store(true, Ordering::Release);
        }
        let precondition = match version.validator.clone() {
            Some(validator) => Precondition::Unchanged(validator),
            None => Precondition::None,
        };
        let begun = Instant::now();
        let mut answer = self.put(precondition, self.bytes(version.serial)).await?;
        if answer == PutAnswer::Conflict {
            self.lapsed.store(true, Ordering::Release);
            let bytes = self.bytes(version.serial);
            answer = self.put(Precondition::None, bytes).await?;
        }
        if let PutAnswer::Done { validator } = answer {
            (version.validator, version.written) = (validator, begun);
        }
        Ok(())
    }

    fn bytes(&self, serial: u64) -> Bytes {
        // The number makes each renewal another version, also where versions are told by content.
        format!("{}\n{serial}\n", self.text).into()
    }

    async fn put(&self, precondition: Precondition, bytes: Bytes) -> Result<PutAnswer> {
        send::put_if(
            &*self.transport,
            &self.retry,
            &self.path,
            precondition,
            bytes,
        )
        .await
    }
}

/// What the name of a lease says.
struct Parsed {
    kind: LockKind,
    ttl: Duration,
}

impl Parsed {
    fn of(path: &RemotePath) -> Option<Self> {
        let name = path.as_str().strip_prefix(LEASES_PREFIX)?;
        let mut parts = name.rsplit('.');
        let ttl = Duration::from_millis(parts.next()?.parse().ok()?);
        let kind = match parts.next()? {
            "write" => LockKind::Shared,
            "delete" => LockKind::Exclusive,
            _ => return None,
        };
        Some(Self { kind, ttl })
    }

    /// Returns whether it was not renewed in time.
    fn is_expired(&self, now: SystemTime, renewed: SystemTime) -> bool {
        now.duration_since(renewed).is_ok_and(|age| age > self.ttl)
    }
}

async fn list(
    transport: &dyn WritableTransport,
    retry: &Retry,
) -> Result<Vec<(Parsed, ListedFile)>> {
    let once = async || {
        let files = transport.list(LEASES_PREFIX);
        let leases = files.try_filter_map(|file| async move {
            Ok(Parsed::of(&file.path).map(|parsed| (parsed, file)))
        });
        leases.try_collect().await
    };
    retrying(retry, || Box::pin(once())).await
}
