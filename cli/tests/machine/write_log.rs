//! What a machine wrote to its disk, in order, and what of it a power cut leaves.
//!
//! QEMU's `blklogwrites` keeps each write and each flush of the machine, in the format of the kernel's
//! dm-log-writes. A disk with a write cache promises what was written before the last flush, and nothing of
//! what came after: of that, any part may be there, in any order.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use treeferry_core::format::{Checksum, Hasher};

use crate::support::chance::Chance;

const SECTOR: usize = 512;
/// The second sector of ext4's superblock, which has the checksum of both. A disk that wrote one of them alone could not
/// be mounted again, whatever was on it: ext4 relies on disks that do not.
const SUPERBLOCK_REST: u64 = 3;
const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;

/// What is left of what was not flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unflushed {
    /// Nothing.
    None,
    /// Some writes, whole.
    Some,
    /// Some sectors of some writes, but both of the superblock's or none.
    Torn,
}

/// A write, or a flush.
#[derive(Debug)]
struct Entry {
    sector: u64,
    flags: u64,
    bytes: Vec<u8>,
    /// Where its record ends in the log.
    end: usize,
}

/// What a machine wrote.
#[derive(Debug)]
pub(crate) struct WriteLog(Vec<Entry>);

impl WriteLog {
    /// Reads the log of a machine that was killed: its head may lag behind, so it is read until nothing follows.
    pub(crate) fn read(path: &Path) -> Self {
        let log = fs::read(path).unwrap();
        let number = |at: usize| u64::from_le_bytes(log[at..at + 8].try_into().unwrap());
        // A machine that is killed before its first write has not even a head.
        if log.len() < SECTOR || number(0) == 0 {
            return Self(Vec::new());
        }
        assert_eq!(number(0), MAGIC, "not a log of writes");
        assert_eq!(log[24..28], u32::try_from(SECTOR).unwrap().to_le_bytes());
        let mut entries = Vec::new();
        let mut at = SECTOR;
        while at + SECTOR <= log.len() {
            let (sector, sectors, flags) = (number(at), number(at + 8), number(at + 16));
            if (sectors, flags) == (0, 0) {
                break;
            }
            at += SECTOR;
            let length = match flags & DISCARD {
                0 => usize::try_from(sectors).unwrap() * SECTOR,
                _ => 0,
            };
            // Cut off while it was written down: it never reached the disk either.
            let Some(bytes) = log.get(at..at + length) else {
                break;
            };
            at += length;
            entries.push(Entry {
                sector,
                flags,
                bytes: bytes.to_vec(),
                end: at,
            });
        }
        Self(entries)
    }

    /// Returns how many records there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns how many records there were when the log had `bytes` bytes.
    pub(crate) fn count_at(&self, bytes: u64) -> usize {
        self.0.partition_point(|entry| entry.end as u64 <= bytes)
    }

    /// Returns what is on the disk when the power is cut after `records` records.
    pub(crate) fn cut(
        &self,
        records: usize,
        unflushed: Unflushed,
        chance: &mut Chance,
    ) -> Left<'_> {
        let written = &self.0[..records];
        let certain = written.iter().rposition(|entry| entry.flags & FLUSH != 0);
        let certain = certain.map_or(0, |last| last + 1);
        let mut left = Left {
            certain,
            ..Left::default()
        };
        for (index, entry) in written.iter().enumerate() {
            let sectors = (entry.sector..).zip(entry.bytes.chunks(SECTOR));
            if index < certain || entry.flags & FUA != 0 {
                left.sectors.extend(sectors);
                continue;
            }
            left.uncertain += usize::from(!entry.bytes.is_empty());
            match (unflushed, chance.among(0..3)) {
                (Unflushed::Some, 0 | 1) | (Unflushed::Torn, 0) => left.sectors.extend(sectors),
                (Unflushed::Torn, 1) => {
                    let mut is_kept = false;
                    let torn = sectors.filter(|(sector, _)| {
                        if *sector != SUPERBLOCK_REST {
                            is_kept = chance.among(0..2) == 0;
                        }
                        is_kept
                    });
                    left.sectors.extend(torn);
                    left.lost += 1;
                }
                _ => left.lost += usize::from(!entry.bytes.is_empty()),
            }
        }
        left
    }
}

/// What a power cut leaves of what was written.
#[derive(Debug, Default)]
pub(crate) struct Left<'a> {
    sectors: BTreeMap<u64, &'a [u8]>,
    /// How many records were certain.
    pub(crate) certain: usize,
    /// How many writes were not.
    pub(crate) uncertain: usize,
    /// How many of these were left out or torn.
    pub(crate) lost: usize,
}

impl Left<'_> {
    /// Writes it to `image`, which is the disk as it was before.
    pub(crate) fn write_to(&self, image: &Path) {
        let disk = fs::OpenOptions::new().write(true).open(image).unwrap();
        for (sector, bytes) in &self.sectors {
            disk.write_all_at(bytes, sector * SECTOR as u64).unwrap();
        }
    }

    /// The same for the same bytes in the same places.
    pub(crate) fn checksum(&self) -> Checksum {
        let mut hasher = Hasher::new();
        for (sector, bytes) in &self.sectors {
            hasher.update(&sector.to_le_bytes());
            hasher.update(bytes);
        }
        hasher.finish()
    }
}
