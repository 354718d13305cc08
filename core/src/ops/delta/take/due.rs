//! What of a delta the destination lacks.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::sync::Arc;

use futures::stream::{StreamExt, TryStreamExt};

use super::send::chunks;
use super::{Offer, Taking, part_file};
use crate::error::{Error, Result, from_read};
use crate::format::delta::{DeltaFile, PartHeader, ReadAt};
use crate::format::{Checksum, Hasher};
use crate::ops::delta::{Demands, OpenDelta, PartSource, open_superblock};
use crate::pool::Pool;
use crate::store::ListedDeltaFile;

/// What of a delta is to be sent.
pub(super) struct Due {
    pub(super) delta: OpenDelta,
    pub(super) superblock: Arc<dyn ReadAt>,
    /// Whether the destination has another superblock, or none.
    pub(super) superblock_differs: bool,
    pub(super) parts: Vec<usize>,
    /// What the destination has of an older one.
    pub(super) outdated: Vec<DeltaFile>,
}

impl Due {
    pub(super) fn is_nothing(&self) -> bool {
        !self.superblock_differs && self.parts.is_empty()
    }

    pub(super) fn bytes(&self) -> u64 {
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

impl Taking<'_> {
    /// Returns what the destination has of these deltas, and how long it is.
    pub(super) async fn there(&self, offered: &[Offer]) -> Result<HashMap<DeltaFile, u64>> {
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
    pub(super) async fn due(
        &self,
        offer: &Offer,
        there: &HashMap<DeltaFile, u64>,
    ) -> Result<Option<Due>> {
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
