//! Makes a delta: several files at once, within the memory that the caller allows.

mod budget;
pub(crate) mod differ;
mod encode;
mod nature;
mod options;
mod pack;
mod walk;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use self::budget::Shares;
use self::encode::{Encoded, Form, Patches, choose, read};
use self::nature::Nature;
use self::pack::{Filling, Item, Kind, Packed};
use self::walk::NewFile;
use crate::error::{Error, ErrorKind, Result};
use crate::format::delta::{
    DeltaName, Endianness, Fallback, Inline, MetaEntry, PartHeader, Superblock,
};
use crate::format::gvariant::{Dict, Value};
use crate::format::{Checksum, ObjectName};
use crate::repo::{Repo, load_metadata};
use crate::store::{Body, ContentReader, Incoming};

pub use options::GenerateOptions;

/// The unit in which memory is shared out, bytes.
const UNIT_BYTES: u64 = 64 * 1024;

/// Where finished parts go.
#[async_trait]
pub trait PartSink: Send + Sync {
    /// Keeps the file of a part; returns where it is if it is to stand inside of the superblock.
    async fn put(&self, number: usize, file: Bytes) -> Result<Option<Inline>>;
}

/// What was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct GenerateReport {
    /// Metadata objects in parts.
    pub metadata: u64,
    /// Files that travel whole.
    pub whole: u64,
    /// Files that are made of copies of an old one.
    pub copied: u64,
    /// Files that are made by a patch of an old one.
    pub patched: u64,
    /// Files that are left out.
    pub fallbacks: u64,
    /// Bytes of the files of all parts.
    pub part_bytes: u64,
    /// Bytes of the objects that they make.
    pub unpacked_bytes: u64,
}

/// Makes the delta `name`, whose parts go to `sink`, and returns its superblock.
pub async fn generate(
    repo: &Repo,
    name: &DeltaName,
    options: &GenerateOptions,
    sink: &dyn PartSink,
) -> Result<(Superblock, GenerateReport)> {
    let commit_name = ObjectName::commit(name.to);
    let commit = load_metadata(&**repo.objects(), &commit_name).await?;
    let commit = commit.ok_or_else(|| Error::missing("is not there").about(commit_name))?;
    let wanted = walk::wanted(repo, name.from.as_ref(), &name.to).await?;
    let shares = Shares::new(options, repo.pool().width());
    let mut maker = Maker::new(repo, options, sink, shares);
    for object in wanted.metadata {
        let bytes = load_metadata(&**repo.objects(), &object).await?;
        let bytes = bytes.ok_or_else(|| Error::missing("is not there").about(object))?;
        maker.report.metadata += 1;
        maker.take(Item::Metadata(object, bytes)).await?;
    }
    let memory = Memory {
        units: units(shares.files_bytes),
        free: Arc::new(Semaphore::new(units(shares.files_bytes))),
    };
    let mut encoding = Vec::with_capacity(wanted.files.len());
    for file in wanted.files {
        encoding.push(encode_file(repo, options, file, memory.clone()));
    }
    let width = repo.pool().width() * 2;
    let mut encoded = stream::iter(encoding).buffered(width);
    while let Some(outcome) = encoded.next().await {
        maker.add(outcome?).await?;
    }
    maker.finish().await?;
    let superblock = maker.superblock(name, &commit).await?;
    Ok((superblock, maker.report))
}

fn units(bytes: u64) -> usize {
    usize::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(Semaphore::MAX_PERMITS)
}

/// The memory that files are read into.
#[derive(Clone)]
struct Memory {
    units: usize,
    free: Arc<Semaphore>,
}

/// What became of a file.
enum Outcome {
    Encoded(ObjectName, Encoded),
    Fallback(Fallback),
}

async fn encode_file(
    repo: &Repo,
    options: &GenerateOptions,
    file: NewFile,
    memory: Memory,
) -> Result<Outcome> {
    let name = ObjectName::file(file.checksum);
    let content = open(repo, name).await?;
    let header = content.header().clone();
    let content_bytes = content.content_bytes();
    if header.is_symlink() {
        let target = header.symlink_target.as_bytes().to_vec();
        let form = Form::Whole(target, Nature::Plain);
        let encoded = Encoded {
            header,
            content_bytes: 0,
            form,
        };
        return Ok(Outcome::Encoded(name, encoded));
    }
    let mut olds = Vec::new();
    let mut needed = content_bytes.saturating_mul(3);
    for checksum in &file.old {
        let old = open(repo, ObjectName::file(*checksum)).await?;
        let both = old.content_bytes().saturating_add(content_bytes);
        if !old.header().is_symlink() && old.content_bytes() > 0 && both <= old_bytes_max(options) {
            needed = needed.saturating_add(old.content_bytes().saturating_mul(4));
            olds.push((*checksum, old));
        }
    }
    let large = options
        .fallback_bytes_min
        .is_some_and(|n| content_bytes >= n);
    if large && olds.is_empty() {
        return fallback(repo, name, content_bytes)
            .await
            .map(Outcome::Fallback);
    }
    // What needs more than there is runs alone.
    let permits = units(needed).min(memory.units);
    let permits = u32::try_from(permits).unwrap_or(u32::MAX);
    let stopped = || Error::new(ErrorKind::Cancelled, "was stopped");
    let held = memory
        .free
        .acquire_many_owned(permits)
        .await
        .map_err(|_| stopped())?;
    let patches = match options.patch_bytes_max {
        0 => Patches::Forbidden,
        _ => Patches::Allowed,
    };
    let codec = Arc::clone(repo.codec());
    let encode = move || {
        let _held = held;
        let new = read(content)?;
        let mut read_olds = Vec::with_capacity(olds.len());
        for (checksum, old) in olds {
            read_olds.push((checksum, read(old)?));
        }
        choose(&*codec, new, &read_olds, patches)
    };
    let form = repo.pool().run(encode).await.map_err(|e| e.about(name))?;
    if large && matches!(form, Form::Whole(..)) {
        return fallback(repo, name, content_bytes)
            .await
            .map(Outcome::Fallback);
    }
    let encoded = Encoded {
        header,
        content_bytes,
        form,
    };
    Ok(Outcome::Encoded(name, encoded))
}

/// Returns how long an old and a new file may be together to be compared.
fn old_bytes_max(options: &GenerateOptions) -> u64 {
    // Copies need both in memory as well.
    match options.patch_bytes_max {
        0 => 128_000_000,
        most => most,
    }
}

async fn fallback(repo: &Repo, name: ObjectName, content_bytes: u64) -> Result<Fallback> {
    let stat = repo.objects().stat(&[name]).await?;
    let stored = stat.first().copied().flatten();
    Ok(Fallback {
        name,
        stored_bytes: stored.map_or(content_bytes, |stat| stat.stored_bytes),
        unpacked_bytes: content_bytes,
    })
}

/// Opens a file, to be read and verified on the pool.
async fn open(repo: &Repo, name: ObjectName) -> Result<ContentReader> {
    let missing = move || Error::missing("is not in the repository").about(name);
    let codec = Arc::clone(repo.codec());
    if let Some(local) = repo.objects().local() {
        let open = move || {
            let found = local.open_file(&name.checksum)?.ok_or_else(missing)?;
            Incoming::named(name, Body::from(found)).into_content(&*codec)
        };
        return repo.pool().run(open).await;
    }
    let body = repo.objects().fetch(&name).await?.ok_or_else(missing)?;
    let open = move || Incoming::named(name, body).into_content(&*codec);
    repo.pool().run(open).await
}

/// What objects are gathered up to this many bytes for one part: more parts are more requests, and
/// compress little any worse together.
const LITTLE_BYTES_MAX: usize = 256 * 1024;

/// Objects that are not in a part yet.
#[derive(Default)]
struct Little {
    items: Vec<Item>,
    bytes: usize,
}

/// Fills parts, has them compressed, and hands them on.
struct Maker<'a> {
    repo: &'a Repo,
    options: &'a GenerateOptions,
    sink: &'a dyn PartSink,
    shares: Shares,
    /// What there is as long as it is little: then all of it goes into one part.
    little: Option<Little>,
    fillings: Vec<Filling>,
    packing: JoinSet<Result<Packed>>,
    started: usize,
    done: BTreeMap<usize, (PartHeader, Option<Inline>)>,
    fallbacks: Vec<Fallback>,
    report: GenerateReport,
}

impl<'a> Maker<'a> {
    fn new(
        repo: &'a Repo,
        options: &'a GenerateOptions,
        sink: &'a dyn PartSink,
        shares: Shares,
    ) -> Self {
        Self {
            repo,
            options,
            sink,
            shares,
            little: Some(Little::default()),
            fillings: Vec::new(),
            packing: JoinSet::new(),
            started: 0,
            done: BTreeMap::new(),
            fallbacks: Vec::new(),
            report: GenerateReport::default(),
        }
    }

    async fn add(&mut self, outcome: Outcome) -> Result<()> {
        let (name, file) = match outcome {
            Outcome::Fallback(fallback) => {
                self.report.fallbacks += 1;
                self.fallbacks.push(fallback);
                return Ok(());
            }
            Outcome::Encoded(name, file) => (name, file),
        };
        *match &file.form {
            Form::Whole(..) => &mut self.report.whole,
            Form::Copies { .. } => &mut self.report.copied,
            Form::Patch { .. } => &mut self.report.patched,
        } += 1;
        self.take(Item::File(name, file)).await
    }

    /// Keeps an object while there is little, and puts it into the part of its kind from then on.
    async fn take(&mut self, item: Item) -> Result<()> {
        let Some(little) = &mut self.little else {
            return self.put(item).await;
        };
        little.bytes += item.bytes();
        little.items.push(item);
        if little.bytes > LITTLE_BYTES_MAX
            && let Some(much) = self.little.take()
        {
            for item in much.items {
                self.put(item).await?;
            }
        }
        Ok(())
    }

    async fn put(&mut self, item: Item) -> Result<()> {
        self.filling(item.kind(), item.bytes()).await?.add(item);
        Ok(())
    }

    /// Returns the part of a kind that has room for so many bytes more.
    async fn filling(&mut self, kind: Kind, bytes: usize) -> Result<&mut Filling> {
        let at = match self.fillings.iter().position(|f| f.kind() == kind) {
            Some(at) => at,
            None => {
                self.fillings.push(Filling::new(kind));
                self.fillings.len() - 1
            }
        };
        let filled = self.fillings[at].heap_bytes();
        if filled > 0 && filled + bytes > self.shares.part_bytes {
            let full = std::mem::replace(&mut self.fillings[at], Filling::new(kind));
            self.pack(full).await?;
        }
        Ok(&mut self.fillings[at])
    }

    async fn pack(&mut self, full: Filling) -> Result<()> {
        while self.packing.len() >= self.shares.encoders {
            self.take_one().await?;
        }
        let number = self.started;
        self.started += 1;
        let (pool, xz) = (self.repo.pool().clone(), Arc::clone(&self.options.xz));
        self.packing
            .spawn(full.pack(number, pool, xz, self.shares.xz));
        Ok(())
    }

    async fn take_one(&mut self) -> Result<()> {
        let Some(joined) = self.packing.join_next().await else {
            return Ok(());
        };
        let cancelled = |_| Error::new(ErrorKind::Cancelled, "was stopped");
        let packed = joined.map_err(cancelled)??;
        self.report.part_bytes += packed.header.stored_bytes;
        self.report.unpacked_bytes += packed.header.unpacked_bytes;
        let inline = self.sink.put(packed.number, packed.file).await?;
        self.done.insert(packed.number, (packed.header, inline));
        Ok(())
    }

    async fn finish(&mut self) -> Result<()> {
        if let Some(little) = self.little.take() {
            // One even if nothing is in it: OSTree does not take a delta without parts for one.
            let mut all = Filling::new(Kind::Little);
            little.items.into_iter().for_each(|item| all.add(item));
            self.fillings.push(all);
        }
        // The longest first: what is begun last is compressed while nothing else is left to do.
        let mut fillings = std::mem::take(&mut self.fillings);
        fillings.sort_by_key(|filling| std::cmp::Reverse(filling.heap_bytes()));
        for filling in fillings {
            self.pack(filling).await?;
        }
        while !self.packing.is_empty() {
            self.take_one().await?;
        }
        Ok(())
    }

    async fn superblock(&mut self, name: &DeltaName, commit: &Bytes) -> Result<Superblock> {
        let endianness = self.options.endianness;
        let mut metadata = vec![(
            Endianness::KEY.to_owned(),
            MetaEntry::Value(Value::Byte(endianness.letter())),
        )];
        let mut parts = Vec::with_capacity(self.done.len());
        for (number, (header, inline)) in std::mem::take(&mut self.done) {
            if let Some(inline) = inline {
                let number = u32::try_from(number).unwrap_or(u32::MAX);
                let key = crate::format::delta::DeltaFile::Part(*name, number).path();
                metadata.push((key, MetaEntry::Inline(inline)));
            }
            parts.push(header);
        }
        if let Some(detached) = self.repo.state().read_detached(&name.to).await? {
            let dict = Dict::decode(&detached)
                .map_err(|e| Error::from(e).about(ObjectName::commit(name.to)))?;
            let value = Value::from(dict);
            metadata.push((Superblock::detached_key(name), MetaEntry::Value(value)));
        }
        self.fallbacks.sort_by_key(|fallback| fallback.name);
        Ok(Superblock {
            metadata,
            timestamp: self.options.now_secs,
            name: *name,
            commit: commit.to_vec(),
            dependencies: Vec::new(),
            endianness,
            parts,
            fallbacks: std::mem::take(&mut self.fallbacks),
        })
    }
}

/// Returns the commit that a delta to `to` starts from if nothing else is said: its parent.
pub async fn parent_of(repo: &Repo, to: &Checksum) -> Result<Option<Checksum>> {
    Ok(repo.load_commit(to).await?.parent)
}
