//! Makes the objects of parts, and puts them into a batch: each is verified there.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, FuturesUnordered};
use tokio::sync::Semaphore;

use super::ApplyBudget;
use super::content::{OldFiles, PieceReader};
use super::old::OldSource;
use super::payload::{Unpacked, unpack};
use super::recipe::{Piece, Recipe, Recipes};
use crate::error::{Error, ErrorKind, Result};
use crate::format::ObjectName;
use crate::format::delta::{PartHeader, Range, ReadAt};
use crate::repo::Repo;
use crate::store::{Batch, Body, Incoming, Payload, Put, ScratchFile, Stored, Trust};

/// How many objects are stored in one go, at most, and how many bytes of content.
const GROUP_OBJECTS_MAX: usize = 32;
const GROUP_BYTES_MAX: u64 = 1 << 20;
/// How many recipes are read in one job of the pool.
const RECIPES_A_JOB: usize = 256;
/// Content up to this length is read at once: it costs less than to open it later.
const AT_HAND_BYTES_MAX: u64 = 64 * 1024;

/// Where the files of parts come from.
#[async_trait]
pub trait PartSource: Send + Sync {
    /// Opens the file of a part.
    async fn open(&self, number: usize, header: &PartHeader) -> Result<PartFile>;
}

/// The file of a part.
#[allow(missing_debug_implementations, reason = "a reader has nothing to show")]
pub struct PartFile {
    /// Its bytes. **Blocking** to read.
    pub reader: Box<dyn std::io::Read + Send>,
    /// What to give up when its objects are stored.
    pub scratch: Option<Box<dyn ScratchFile>>,
}

/// What was done with parts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeltaReport {
    /// Parts that were used.
    pub parts: u64,
    /// Parts that were passed over, for all their objects were there.
    pub parts_present: u64,
    /// Bytes of the files of the parts that were used.
    pub part_bytes: u64,
    /// Objects that were made.
    pub objects: u64,
}

/// Makes the objects of `parts`, numbered, in `batch`.
pub(crate) async fn execute(
    repo: &Repo,
    batch: &dyn Batch,
    parts: &[(usize, &PartHeader)],
    source: &dyn PartSource,
    budget: &ApplyBudget,
) -> Result<DeltaReport> {
    let old = OldSource::new(repo, batch, budget.spill.clone(), budget.content_bytes_max);
    let decoders = budget.decoders.max(1);
    let run = Run {
        repo,
        batch,
        old: &old,
        budget,
        decoders: Semaphore::new(decoders),
    };
    let mut report = DeltaReport::default();
    let mut parts_run = Vec::with_capacity(parts.len());
    for (number, header) in parts {
        parts_run.push(run.part(*number, header, source));
    }
    // While the objects of one part are stored, the next is unpacked.
    let mut made = stream::iter(parts_run).buffer_unordered(decoders.max(2));
    while let Some(objects) = made.next().await {
        match objects? {
            None => report.parts_present += 1,
            Some((objects, bytes)) => {
                report.parts += 1;
                report.objects += objects;
                report.part_bytes += bytes;
            }
        }
    }
    Ok(report)
}

/// Returns which of `names` are missing, or may be torn.
pub(crate) async fn missing(batch: &dyn Batch, names: &[ObjectName]) -> Result<Vec<bool>> {
    let stats = batch.stat(names).await?;
    let is_missing = |(name, stat): (&ObjectName, Option<crate::store::Stat>)| match stat {
        None => true,
        Some(stat) => !name.object_type.is_metadata() && stat.trust == Trust::Unread,
    };
    Ok(names.iter().zip(stats).map(is_missing).collect())
}

struct Run<'a> {
    repo: &'a Repo,
    batch: &'a dyn Batch,
    old: &'a OldSource<'a>,
    budget: &'a ApplyBudget,
    /// How many more parts may be unpacked.
    decoders: Semaphore,
}

impl Run<'_> {
    async fn part(
        &self,
        number: usize,
        header: &PartHeader,
        source: &dyn PartSource,
    ) -> Result<Option<(u64, u64)>> {
        let wanted = missing(self.batch, &header.objects).await?;
        if !wanted.contains(&true) {
            return Ok(None);
        }
        let context = |e: Error| e.context(format!("part {number} of the delta"));
        let file = source.open(number, header).await.map_err(context)?;
        let (owned, budget) = (header.clone(), self.budget.clone());
        let reader = file.reader;
        let stopped = |_| Error::new(ErrorKind::Cancelled, "was stopped");
        let decoder = self.decoders.acquire().await.map_err(stopped)?;
        let unpacking = self
            .repo
            .pool()
            .run(move || unpack(reader, &owned, &budget));
        let unpacked = unpacking.await;
        drop(decoder);
        let unpacked = match unpacked {
            Ok(unpacked) => unpacked,
            Err(error) => {
                // What came is no good: it must not be taken up again.
                if let Some(scratch) = file.scratch {
                    scratch.discard().await?;
                }
                return Err(context(error));
            }
        };
        let objects = self
            .objects(unpacked, header, wanted)
            .await
            .map_err(context)?;
        if let Some(scratch) = file.scratch {
            scratch.discard().await?;
        }
        Ok(Some((objects, header.stored_bytes)))
    }

    async fn objects(&self, part: Unpacked, header: &PartHeader, wanted: Vec<bool>) -> Result<u64> {
        let mut recipes = Recipes::new(part.clone(), header.objects.clone());
        let mut wanted = wanted.into_iter();
        let mut group = Group::default();
        let mut puts = FuturesUnordered::new();
        let width = self.repo.pool().width() + 1;
        let mut made = 0;
        loop {
            let bytes = Arc::clone(&part.bytes);
            let read = self.repo.pool().run(move || read_some(recipes, &*bytes));
            let (back, read) = read.await?;
            recipes = back;
            let ended = read.is_empty();
            for recipe in read {
                if wanted.next() != Some(true) {
                    continue;
                }
                let (incoming, bytes) = self.incoming(&part.bytes, recipe).await?;
                group.objects.push(incoming);
                group.bytes = group.bytes.saturating_add(bytes);
                if group.is_full() {
                    puts.push(self.batch.put(std::mem::take(&mut group).objects));
                }
                while puts.len() >= width {
                    made += stored(puts.next().await)?;
                }
            }
            if ended {
                break;
            }
        }
        puts.push(self.batch.put(group.objects));
        while let Some(answers) = puts.next().await {
            made += stored(Some(answers))?;
        }
        Ok(made)
    }

    async fn incoming(&self, part: &Arc<dyn ReadAt>, ready: Ready) -> Result<(Incoming, u64)> {
        let (name, header, content_bytes, pieces) = match ready.recipe {
            Recipe::Metadata { name, bytes } => {
                let pieces = vec![Piece::Part(bytes)];
                let payload = payload(ready.at_hand, part, OldFiles::new(), pieces);
                return Ok((Incoming::named(name, Body::Metadata(payload)), bytes.bytes));
            }
            Recipe::File {
                name,
                header,
                content_bytes,
                pieces,
            } => (name, header, content_bytes, pieces),
        };
        if content_bytes > self.budget.content_bytes_max {
            let limit = self.budget.content_bytes_max;
            let problem = format!("announces {content_bytes} bytes, over the limit of {limit}");
            return Err(Error::corrupt(problem).about(name));
        }
        let mut old = OldFiles::new();
        for piece in &pieces {
            if let Piece::Old(checksum, _) | Piece::Patched(checksum, _) = piece
                && !old.contains_key(checksum)
            {
                old.insert(*checksum, self.old.open(checksum).await?);
            }
        }
        let content = payload(ready.at_hand, part, old, pieces);
        let body = Body::File {
            header,
            content_bytes,
            content,
        };
        Ok((Incoming::named(name, body), content_bytes))
    }
}

#[derive(Default)]
struct Group {
    objects: Vec<Incoming>,
    bytes: u64,
}

impl Group {
    fn is_full(&self) -> bool {
        self.objects.len() >= GROUP_OBJECTS_MAX || self.bytes >= GROUP_BYTES_MAX
    }
}

/// A recipe, and its bytes if they are few.
struct Ready {
    recipe: Recipe,
    at_hand: Option<Bytes>,
}

/// Reads the next recipes. **Blocking.**
fn read_some(mut recipes: Recipes, part: &dyn ReadAt) -> Result<(Recipes, Vec<Ready>)> {
    let (mut read, mut bytes) = (Vec::new(), 0);
    while read.len() < RECIPES_A_JOB && bytes < GROUP_BYTES_MAX {
        let Some(recipe) = recipes.next_recipe()? else {
            break;
        };
        let range = match &recipe {
            Recipe::Metadata { bytes, .. } => Some(*bytes),
            Recipe::File { pieces, .. } => match pieces[..] {
                [] => Some(Range::default()),
                [Piece::Part(range)] => Some(range),
                _ => None,
            },
        };
        let range = range.filter(|range| range.bytes <= AT_HAND_BYTES_MAX);
        let at_hand = range.map(|range| part.read_range(range, AT_HAND_BYTES_MAX));
        let at_hand = at_hand.transpose()?.map(Bytes::from);
        bytes += at_hand.as_ref().map_or(0, |b| b.len() as u64);
        read.push(Ready { recipe, at_hand });
    }
    Ok((recipes, read))
}

fn payload(
    at_hand: Option<Bytes>,
    part: &Arc<dyn ReadAt>,
    old: OldFiles,
    pieces: Vec<Piece>,
) -> Payload {
    match at_hand {
        Some(bytes) => Payload::Bytes(bytes),
        None => Payload::Reader(Box::new(PieceReader::new(Arc::clone(part), old, pieces))),
    }
}

fn stored(answers: Option<Vec<Result<Put>>>) -> Result<u64> {
    let mut made = 0;
    for answer in answers.into_iter().flatten() {
        made += u64::from(answer?.stored == Stored::New);
    }
    Ok(made)
}
