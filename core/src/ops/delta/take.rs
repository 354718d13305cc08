//! Takes static deltas along when the commits that they make are copied.
//!
//! Each part is verified against the superblock as it goes, the superblock against the name of the
//! commit that it makes, and both keep the bytes that they have, signatures too. The parts of a delta
//! go before its superblock, with which it is there, and the index of its commit is written last. What
//! is at the destination already is not sent again: also not the parts that an interrupted copy left.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};

use super::keep::reindex_where;
use super::{ApplyBudget, Demands, Listed, OpenDelta, PartSource, open_superblock};
use crate::error::{Error, ErrorKind, Result, from_read};
use crate::format::delta::{DeltaFile, DeltaName, PartHeader, ReadAt};
use crate::format::{Checksum, Commit, Hasher};
use crate::ops::pull::PullSource;
use crate::ops::replicate::ReplicateOptions;
use crate::pool::Pool;
use crate::repo::{Depth, Progress, RemoteRepo, Repo, load_commit};
use crate::sign::VerifyPolicy;
use crate::store::{ListedDeltaFile, ObjectSource, SignedSummary};
use crate::transport::{FetchOptions, PutBody, Retry, retrying};

/// How many parts of a delta are sent at once.
const PARTS_AT_ONCE: usize = 4;
/// How many commits are asked for the deltas that make them at once.
const INDEXES_AT_ONCE: usize = 8;
/// How much of a superblock is read in one go, bytes.
const CHUNK_BYTES: u64 = 128 * 1024;

/// Whether static deltas are taken along.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TakeDeltas {
    /// They are not.
    #[default]
    No,
    /// Those are that make a commit which is copied; what they start from need not be.
    Yes,
}

/// Which deltas were taken along, or would be.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct DeltasTaken {
    /// Deltas of which something was sent.
    pub deltas: u64,
    /// Deltas that were there already.
    pub present: u64,
    /// Files that were sent.
    pub files: u64,
    /// Bytes of these files. Exact.
    pub bytes: u64,
    /// What is wrong at the source.
    pub left_out: Vec<LeftOut>,
}

/// A delta that was not taken along.
#[derive(Debug, Clone)]
pub struct LeftOut {
    /// Which.
    pub name: DeltaName,
    /// Why: it is damaged, lacks something, or is not signed by who is trusted.
    pub error: Arc<Error>,
}

/// Takes deltas from one place to another.
#[derive(Debug)]
pub(crate) struct Taking<'a> {
    remote: &'a dyn RemoteRepo,
    objects: &'a dyn ObjectSource,
    destination: &'a Repo,
    /// The source's summary; `None` where it need not be signed and was not needed yet.
    summary: Option<&'a SignedSummary>,
    policy: &'a VerifyPolicy,
    budget: &'a ApplyBudget,
    retry: Retry,
    progress: Progress,
}

/// A delta of the source, and what its superblock must hash to if that is known.
type Offer = (DeltaName, Option<Checksum>);

/// What of a delta is to be sent.
struct Due {
    delta: OpenDelta,
    superblock: Arc<dyn ReadAt>,
    /// Whether the destination has another superblock, or none.
    superblock_differs: bool,
    parts: Vec<usize>,
    /// What the destination has of an older one.
    outdated: Vec<DeltaFile>,
}

impl Due {
    fn is_nothing(&self) -> bool {
        !self.superblock_differs && self.parts.is_empty()
    }

    fn bytes(&self) -> u64 {
        let parts = &self.delta.superblock.parts;
        let sent = self.parts.iter().filter_map(|number| parts.get(*number));
        let of_parts = sent.fold(0_u64, |sum, part| sum.saturating_add(part.stored_bytes));
        let own = match self.superblock_differs {
            true => self.superblock.total_bytes(),
            false => 0,
        };
        of_parts.saturating_add(own)
    }
}

impl<'a> Taking<'a> {
    /// Takes from `source`; what is verified, and with which budget, is said beside how objects are moved.
    pub(crate) fn new(
        source: &'a PullSource,
        destination: &'a Repo,
        summary: Option<&'a SignedSummary>,
        policy: &'a VerifyPolicy,
        budget: &'a ApplyBudget,
        moving: &ReplicateOptions,
    ) -> Self {
        Self {
            remote: &*source.repo,
            objects: &*source.objects,
            destination,
            summary,
            policy,
            budget,
            retry: moving.retry,
            progress: moving.progress.clone(),
        }
    }
}

impl Taking<'_> {
    /// Takes the deltas along that make `commits`, or their ancestors to `depth`.
    pub(crate) async fn take(&self, commits: &[Checksum], depth: Depth) -> Result<DeltasTaken> {
        let offered = self.offered(commits, depth).await?;
        let there = self.there(&offered).await?;
        let mut taken = DeltasTaken::default();
        for offer in &offered {
            match self.take_one(offer, &there, &mut taken).await {
                Err(error) if is_its_own_fault(&error) => taken.leave_out(offer, error),
                other => other?,
            }
        }
        if !offered.is_empty() {
            let made: HashSet<_> = offered.iter().map(|(name, _)| name.to).collect();
            reindex_where(self.destination, |to| made.contains(to)).await?;
        }
        Ok(taken)
    }

    /// Finds out what [`take`](Self::take) would do.
    pub(crate) async fn plan(&self, commits: &[Checksum], depth: Depth) -> Result<DeltasTaken> {
        let offered = self.offered(commits, depth).await?;
        let there = self.there(&offered).await?;
        let mut planned = DeltasTaken::default();
        for offer in &offered {
            match self.due(offer, &there).await {
                Err(error) if is_its_own_fault(&error) => planned.leave_out(offer, error),
                Err(error) => return Err(error),
                Ok(None) => {}
                Ok(Some(due)) => planned.count(&due),
            }
        }
        Ok(planned)
    }

    async fn take_one(
        &self,
        offer: &Offer,
        there: &HashMap<DeltaFile, u64>,
        taken: &mut DeltasTaken,
    ) -> Result<()> {
        let Some(due) = self.due(offer, there).await? else {
            return Ok(());
        };
        if !due.is_nothing() {
            self.send(offer, &due, there).await?;
        }
        taken.count(&due);
        Ok(())
    }

    /// Returns the deltas of the source that make a commit which is copied, sorted.
    async fn offered(&self, commits: &[Checksum], depth: Depth) -> Result<Vec<Offer>> {
        // A signed summary vouches for what it lists: for no other file then.
        let can_list = !self.policy.summary.is_required();
        let files = match can_list {
            true => {
                let list = || self.remote.list_delta_files();
                retrying(&self.retry, || Box::pin(list())).await?
            }
            false => None,
        };
        let mut offered: Vec<Offer> = match files {
            Some(files) => {
                let names = files.iter().filter_map(|listed| match listed.file {
                    DeltaFile::Superblock(name) => Some(name),
                    _ => None,
                });
                let names: Vec<_> = names.collect();
                let wanted: HashSet<_> = names.iter().map(|name| name.to).collect();
                let copied = self.copied(commits, depth, Some(&wanted)).await?;
                let names = names.into_iter().filter(|name| copied.contains(&name.to));
                names.map(|name| (name, None)).collect()
            }
            None => {
                let listed = &self.listed().await?;
                let copied = self.copied(commits, depth, None).await?;
                let asked = copied.iter().map(|commit| async move {
                    listed.making(commit, self.remote, &self.retry).await
                });
                let asked = stream::iter(asked).buffer_unordered(INDEXES_AT_ONCE);
                let found: Vec<_> = asked.try_collect().await?;
                let found = found.into_iter().flatten();
                found.map(|(name, sum)| (name, Some(sum))).collect()
            }
        };
        offered.sort_unstable_by_key(|(name, _)| *name);
        Ok(offered)
    }

    /// Returns what the summary says of deltas.
    async fn listed(&self) -> Result<Listed> {
        if let Some(summary) = self.summary {
            return Listed::of(summary);
        }
        if self.policy.summary.is_required() {
            return Ok(Listed::default());
        }
        let read = || self.remote.read_summary();
        let summary = retrying(&self.retry, || Box::pin(read())).await?;
        summary.map_or_else(|| Ok(Listed::default()), |summary| Listed::of(&summary))
    }

    /// Returns the commits that are copied; where only some are `wanted`, as far as all of them are met.
    async fn copied(
        &self,
        commits: &[Checksum],
        depth: Depth,
        wanted: Option<&HashSet<Checksum>>,
    ) -> Result<HashSet<Checksum>> {
        let mut seen: HashMap<Checksum, Depth> = HashMap::new();
        let mut left: HashSet<_> = wanted.cloned().unwrap_or_default();
        let mut next: Vec<_> = commits.iter().map(|commit| (*commit, depth)).collect();
        // All that were asked for first: mostly it is they that deltas make.
        for commit in commits {
            left.remove(commit);
        }
        while let Some((commit, depth)) = next.pop() {
            if seen.get(&commit).is_some_and(|held| held.covers(depth)) {
                continue;
            }
            seen.insert(commit, depth);
            left.remove(&commit);
            if wanted.is_some() && left.is_empty() {
                seen.extend(next.drain(..));
                break;
            }
            let Some(above) = depth.step() else { continue };
            if let Some(parent) = self.read(&commit).await?.and_then(|commit| commit.parent) {
                next.push((parent, above));
            }
        }
        Ok(seen.into_keys().collect())
    }

    /// Reads a commit where that costs least; `None`: history ends before it.
    async fn read(&self, commit: &Checksum) -> Result<Option<Commit>> {
        let here: &dyn ObjectSource = &**self.destination.objects();
        let places = match self.objects.local() {
            Some(_) => [self.objects, here],
            None => [here, self.objects],
        };
        for place in places {
            let read = || load_commit(place, commit);
            match retrying(&self.retry, || Box::pin(read())).await {
                Ok(commit) => return Ok(Some(commit)),
                Err(error) if error.kind() == ErrorKind::Missing => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Returns what the destination has of these deltas, and how long it is.
    async fn there(&self, offered: &[Offer]) -> Result<HashMap<DeltaFile, u64>> {
        if offered.is_empty() {
            return Ok(HashMap::new());
        }
        let names: HashSet<_> = offered.iter().map(|(name, _)| *name).collect();
        let listed = self.destination.state().list_delta_files().await?;
        let of_these = listed.into_iter().filter(|listed| {
            let delta = listed.file.delta();
            delta.is_some_and(|delta| names.contains(delta))
        });
        Ok(of_these
            .map(|ListedDeltaFile { file, bytes }| (file, bytes))
            .collect())
    }

    /// Finds out what of a delta is to be sent; `None`: it is not there any more.
    async fn due(&self, offer: &Offer, there: &HashMap<DeltaFile, u64>) -> Result<Option<Due>> {
        let (name, checksum) = *offer;
        let demands = Demands {
            name,
            checksum,
            policy: self.policy,
            budget: self.budget,
            retry: &self.retry,
        };
        let pool = self.destination.pool();
        let Some(opened) = open_superblock(self.remote, demands, pool).await? else {
            return Ok(None);
        };
        let (delta, superblock) = (opened.delta, opened.file);
        let file = DeltaFile::Superblock(name);
        let same = there.get(&file) == Some(&superblock.total_bytes())
            && self.hash_there(&file).await? == Some(hash(&superblock, pool).await?);
        let mut parts = Vec::new();
        for (number, header) in delta.superblock.parts.iter().enumerate() {
            if delta.superblock.inline(number).is_some() {
                verify_inline(&delta, number, header, pool).await?;
                continue;
            }
            let file = part_file(&name, number);
            // Where the superblock is there, the parts were before it.
            let held = there.get(&file) == Some(&header.stored_bytes)
                && (same || self.hash_there(&file).await? == Some(header.checksum));
            if !held {
                parts.push(number);
            }
        }
        let mut outdated = Vec::new();
        if !same {
            let of_it = there.keys().filter(|file| file.delta() == Some(&name));
            outdated.extend(of_it.filter(|file| match file {
                DeltaFile::Part(_, number) => {
                    let number = usize::try_from(*number).unwrap_or(usize::MAX);
                    let superblock = &delta.superblock;
                    number >= superblock.parts.len() || superblock.inline(number).is_some()
                }
                _ => true,
            }));
            // It goes first: parts of two deltas must not look like one.
            outdated.sort_by_key(|file| !matches!(file, DeltaFile::Superblock(_)));
        }
        Ok(Some(Due {
            delta,
            superblock,
            superblock_differs: !same,
            parts,
            outdated,
        }))
    }

    async fn hash_there(&self, file: &DeltaFile) -> Result<Option<Checksum>> {
        let opened = self.destination.state().open_delta_file(file, 0).await?;
        let Some(mut opened) = opened else {
            return Ok(None);
        };
        let mut hasher = Hasher::new();
        while let Some(chunk) = opened.bytes.next().await {
            hasher.update(&chunk?);
        }
        Ok(Some(hasher.finish()))
    }

    async fn send(&self, offer: &Offer, due: &Due, there: &HashMap<DeltaFile, u64>) -> Result<()> {
        let (name, state) = (offer.0, self.destination.state());
        state.delete_delta_files(&due.outdated).await?;
        let failed = AtomicBool::new(false);
        let failed = &failed;
        let sending = due.parts.iter().map(|number| async move {
            if failed.load(Ordering::Relaxed) {
                return Ok(());
            }
            let send = || self.send_part(due, *number);
            let sent = retrying(&self.retry, || Box::pin(send())).await;
            failed.fetch_or(sent.is_err(), Ordering::Relaxed);
            sent
        });
        // To the end of each: what is given up half way could still be written.
        let sent = stream::iter(sending).buffer_unordered(PARTS_AT_ONCE);
        let sent: Vec<Result<()>> = sent.collect().await;
        if let Err(error) = sent.into_iter().collect::<Result<()>>() {
            if is_its_own_fault(&error) {
                // What would never be a delta is not left lying around.
                let files = due.parts.iter().map(|number| part_file(&name, *number));
                let files: Vec<_> = files.filter(|file| !there.contains_key(file)).collect();
                state.delete_delta_files(&files).await?;
            }
            return Err(error);
        }
        if due.superblock_differs {
            let total_bytes = due.superblock.total_bytes();
            let bytes = chunks(Arc::clone(&due.superblock), self.destination.pool().clone());
            let body = PutBody::Stream { total_bytes, bytes };
            let file = DeltaFile::Superblock(name);
            state.write_delta_file(&file, body).await?;
            let progress = &self.progress;
            progress.update(|s| s.transferred.done_bytes += total_bytes);
        }
        Ok(())
    }

    async fn send_part(&self, due: &Due, number: usize) -> Result<()> {
        let superblock = &due.delta.superblock;
        let file = part_file(&superblock.name, number);
        let gone = || Error::missing(format!("{file} is not there"));
        let header = superblock.parts.get(number).ok_or_else(gone)?;
        let options = FetchOptions {
            bytes_max: Some(header.stored_bytes),
            ..FetchOptions::default()
        };
        let opened = self.remote.open_delta_file(&file, options).await?;
        let bytes = opened.ok_or_else(gone)?.bytes;
        let progress = self.progress.clone();
        let bytes = bytes.inspect_ok(move |chunk| {
            let length = chunk.len() as u64;
            progress.update(|s| s.transferred.done_bytes += length);
        });
        let body = PutBody::Stream {
            total_bytes: header.stored_bytes,
            bytes: verified(bytes.boxed(), header.checksum, file),
        };
        let state = self.destination.state();
        state.write_delta_file(&file, body).await
    }
}

impl DeltasTaken {
    fn count(&mut self, due: &Due) {
        if due.is_nothing() {
            self.present += 1;
            return;
        }
        self.deltas += 1;
        self.files += due.parts.len() as u64 + u64::from(due.superblock_differs);
        self.bytes = self.bytes.saturating_add(due.bytes());
    }

    fn leave_out(&mut self, offer: &Offer, error: Error) {
        let name = offer.0;
        tracing::warn!(delta = %name, ?error, "is not taken along");
        let error = Arc::new(error);
        self.left_out.push(LeftOut { name, error });
    }
}

/// Returns whether the delta is what is wrong: then all others, and all objects, can be copied still.
fn is_its_own_fault(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Corrupt | ErrorKind::Missing | ErrorKind::Untrusted
    )
}

fn part_file(name: &DeltaName, number: usize) -> DeltaFile {
    DeltaFile::Part(*name, u32::try_from(number).unwrap_or(u32::MAX))
}

/// Passes bytes on, and ends in an error unless they hash to what is expected.
fn verified(
    bytes: BoxStream<'static, Result<Bytes>>,
    expected: Checksum,
    file: DeltaFile,
) -> BoxStream<'static, Result<Bytes>> {
    let next = move |(mut bytes, mut hasher): (BoxStream<'static, Result<Bytes>>, Hasher)| async move {
        if let Some(chunk) = bytes.try_next().await? {
            hasher.update(&chunk);
            return Ok(Some((chunk, (bytes, hasher))));
        }
        let found = hasher.finish();
        if found != expected {
            let problem = format!("{file} has the checksum {found}, not {expected}");
            return Err(Error::corrupt(problem));
        }
        Ok(None)
    };
    stream::try_unfold((bytes, Hasher::new()), next).boxed()
}

/// Reads what is at hand, piece by piece.
fn chunks(source: Arc<dyn ReadAt>, pool: Pool) -> BoxStream<'static, Result<Bytes>> {
    let next = move |at: u64| {
        let (source, pool) = (Arc::clone(&source), pool.clone());
        async move {
            let left = source.total_bytes() - at;
            if left == 0 {
                return Ok(None);
            }
            let length = left.min(CHUNK_BYTES);
            let read = move || {
                let mut buffer = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
                source.read_exact_at(at, &mut buffer)?;
                Ok(Bytes::from(buffer))
            };
            Ok(Some((pool.run(read).await?, at + length)))
        }
    };
    stream::try_unfold(0, next).boxed()
}

async fn hash(source: &Arc<dyn ReadAt>, pool: &Pool) -> Result<Checksum> {
    let mut bytes = chunks(Arc::clone(source), pool.clone());
    let mut hasher = Hasher::new();
    while let Some(chunk) = bytes.try_next().await? {
        hasher.update(&chunk);
    }
    Ok(hasher.finish())
}

/// Checks a part inside of a superblock.
async fn verify_inline(
    delta: &OpenDelta,
    number: usize,
    header: &PartHeader,
    pool: &Pool,
) -> Result<()> {
    let mut part = delta.open(number, header).await?;
    let expected = header.checksum;
    let check = move || {
        let (mut hasher, mut buffer) = (Hasher::new(), vec![0; 64 * 1024]);
        loop {
            let read = part.reader.read(&mut buffer);
            match read.map_err(|e| from_read("cannot be read", e))? {
                0 => break,
                n => hasher.update(&buffer[..n]),
            }
        }
        let found = hasher.finish();
        if found != expected {
            let problem = format!("part {number} has the checksum {found}, not {expected}");
            return Err(Error::corrupt(problem));
        }
        Ok(())
    };
    pool.run(check).await
}
