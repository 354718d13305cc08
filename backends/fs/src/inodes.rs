//! Which file object has which device and inode: how hard links into a repository are recognised.
//!
//! Records in order. Those of a large repository are in a file without a name, of which the first
//! key of each block is in memory: looking one up reads a block.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;

use treeferry_core::error::{Error, Result};
use treeferry_core::format::{Checksum, ObjectType};
use treeferry_core::spill::SpillPlace;

use crate::list::for_each_object;
use crate::shelf::Shelf;
use crate::sys;

/// Device, inode, checksum.
const RECORD_BYTES: usize = 8 + 8 + 32;
const KEY_BYTES: usize = 16;

/// How many records are held in memory: some 3 MB.
const RECORDS_IN_MEMORY_MAX: usize = if cfg!(test) { 9 } else { 1 << 16 };

/// Records of one block.
const BLOCK_RECORDS: usize = if cfg!(test) { 4 } else { 128 };

type Record = [u8; RECORD_BYTES];

/// Big-endian, so that they are ordered as the numbers are.
fn key(device: u64, inode: u64) -> [u8; KEY_BYTES] {
    ((u128::from(device) << 64) | u128::from(inode)).to_be_bytes()
}

fn key_of(record: &Record) -> &[u8] {
    &record[..KEY_BYTES]
}

fn checksum_of(record: &Record) -> Checksum {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(&record[KEY_BYTES..]);
    Checksum::from_bytes(bytes)
}

/// Which file object has which device and inode. **Blocking.**
#[derive(Debug)]
pub(crate) enum InodeIndex {
    Memory(Vec<Record>),
    File {
        file: File,
        records: usize,
        firsts: Vec<[u8; KEY_BYTES]>,
    },
}

impl InodeIndex {
    /// Walks all file objects once. Where `place` cannot be written, all of it is in memory.
    pub(crate) fn of(shelf: &Shelf, place: &SpillPlace) -> Result<Self> {
        let mut builder = Builder {
            place: Some(place),
            records: Vec::new(),
            runs: Vec::new(),
        };
        for first in 0..=255 {
            for_each_object(shelf, first, |name, path| {
                if name.object_type == ObjectType::File
                    && let Some(stat) = sys::stat(shelf.fd(), path)?
                {
                    builder.add(stat.st_dev, stat.st_ino, &name.checksum);
                }
                Ok(())
            })?;
        }
        builder.finish()
    }

    /// Returns the object that is this inode.
    pub(crate) fn get(&self, device: u64, inode: u64) -> Result<Option<Checksum>> {
        let key = key(device, inode);
        let find = |records: &[Record]| {
            let at = records.binary_search_by(|record| key_of(record).cmp(&key[..]));
            at.ok().map(|at| checksum_of(&records[at]))
        };
        match self {
            Self::Memory(records) => Ok(find(records)),
            Self::File {
                file,
                records,
                firsts,
            } => {
                let block = firsts.partition_point(|first| *first <= key);
                let Some(block) = block.checked_sub(1) else {
                    return Ok(None);
                };
                let from = block * BLOCK_RECORDS;
                let mut bytes = vec![0; BLOCK_RECORDS.min(records - from) * RECORD_BYTES];
                file.read_exact_at(&mut bytes, (from * RECORD_BYTES) as u64)
                    .map_err(unreadable)?;
                Ok(find(bytes.as_chunks().0))
            }
        }
    }
}

fn unreadable(e: std::io::Error) -> Error {
    Error::io("a temporary file cannot be read", e)
}

fn unwritable(e: std::io::Error) -> Error {
    Error::io("a temporary file cannot be written", e)
}

/// Gathers records, and writes them out in sorted runs when there are many.
struct Builder<'a> {
    place: Option<&'a SpillPlace>,
    records: Vec<Record>,
    runs: Vec<File>,
}

impl Builder<'_> {
    fn add(&mut self, device: u64, inode: u64, checksum: &Checksum) {
        let mut record = [0; RECORD_BYTES];
        record[..KEY_BYTES].copy_from_slice(&key(device, inode));
        record[KEY_BYTES..].copy_from_slice(checksum.as_bytes());
        self.records.push(record);
        let Some(place) = self.place else { return };
        if self.records.len() < RECORDS_IN_MEMORY_MAX {
            return;
        }
        self.records.sort_unstable();
        match write_run(place, &self.records) {
            Ok(run) => {
                self.records.clear();
                self.runs.push(run);
            }
            // A repository that cannot be written can be indexed all the same.
            Err(error) => {
                tracing::warn!(%error, "inodes of objects are kept in memory");
                self.place = None;
            }
        }
    }

    fn finish(mut self) -> Result<InodeIndex> {
        self.records.sort_unstable();
        let place = match self.place {
            Some(place) if !self.runs.is_empty() => place,
            _ if self.runs.is_empty() => return Ok(InodeIndex::Memory(self.records)),
            // There is no more place, now.
            _ => return self.gather(),
        };
        let mut runs = Vec::with_capacity(self.runs.len() + 1);
        for file in self.runs {
            runs.push(Run::of_file(&file)?);
        }
        runs.push(Run::of_memory(self.records));
        let mut out = BufWriter::new(place.open()?);
        let (mut records, mut firsts) = (0_usize, Vec::new());
        while let Some(record) = Run::next_of(&mut runs)? {
            if records.is_multiple_of(BLOCK_RECORDS) {
                let mut first = [0; KEY_BYTES];
                first.copy_from_slice(key_of(&record));
                firsts.push(first);
            }
            out.write_all(&record).map_err(unwritable)?;
            records += 1;
        }
        let file = out.into_inner().map_err(|e| unwritable(e.into_error()))?;
        Ok(InodeIndex::File {
            file,
            records,
            firsts,
        })
    }

    /// Reads all runs back into memory.
    fn gather(mut self) -> Result<InodeIndex> {
        for file in &self.runs {
            let mut run = Run::of_file(file)?;
            while let Some(record) = run.next {
                self.records.push(record);
                run.advance()?;
            }
        }
        self.records.sort_unstable();
        Ok(InodeIndex::Memory(self.records))
    }
}

fn write_run(place: &SpillPlace, records: &[Record]) -> Result<File> {
    let mut file = place.open()?;
    file.write_all(records.as_flattened()).map_err(unwritable)?;
    Ok(file)
}

/// Records in order, read one by one.
struct Run {
    from: RunSource,
    next: Option<Record>,
}

enum RunSource {
    File(BufReader<File>),
    Memory(std::vec::IntoIter<Record>),
}

impl Run {
    fn of_file(file: &File) -> Result<Self> {
        use std::io::Seek;
        let mut file = file.try_clone().map_err(unreadable)?;
        file.rewind().map_err(unreadable)?;
        let mut run = Self {
            from: RunSource::File(BufReader::with_capacity(64 * RECORD_BYTES, file)),
            next: None,
        };
        run.advance()?;
        Ok(run)
    }

    fn of_memory(records: Vec<Record>) -> Self {
        let mut records = records.into_iter();
        let next = records.next();
        Self {
            from: RunSource::Memory(records),
            next,
        }
    }

    fn advance(&mut self) -> Result<()> {
        self.next = match &mut self.from {
            RunSource::Memory(records) => records.next(),
            RunSource::File(file) => {
                let mut record = [0; RECORD_BYTES];
                match file.read_exact(&mut record) {
                    Ok(()) => Some(record),
                    Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => None,
                    Err(e) => return Err(unreadable(e)),
                }
            }
        };
        Ok(())
    }

    /// Takes the least of what comes next; there are few runs.
    fn next_of(runs: &mut [Self]) -> Result<Option<Record>> {
        let waiting = runs.iter_mut().filter(|run| run.next.is_some());
        let Some(least) = waiting.min_by_key(|run| run.next) else {
            return Ok(None);
        };
        let record = least.next;
        least.advance()?;
        Ok(record)
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]
mod tests {
    use super::*;

    fn index(count: u64, place: Option<&SpillPlace>) -> InodeIndex {
        let mut builder = Builder {
            place,
            records: Vec::new(),
            runs: Vec::new(),
        };
        for n in 0..count {
            // Out of order, on two devices.
            let inode = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let checksum = Checksum::of(&n.to_le_bytes());
            builder.add(n % 2, inode, &checksum);
        }
        builder.finish().unwrap()
    }

    #[test]
    fn what_is_in_a_file_is_found_as_what_is_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        let place = SpillPlace::new(dir.path());
        for count in [0, 1, 8, 9, 10, 63, 64, 65, 200] {
            let spilled = index(count, Some(&place));
            let is_file = matches!(spilled, InodeIndex::File { .. });
            assert_eq!(is_file, count >= RECORDS_IN_MEMORY_MAX as u64);
            for index in [spilled, index(count, None)] {
                for n in 0..count {
                    let inode = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                    let expected = Some(Checksum::of(&n.to_le_bytes()));
                    assert_eq!(index.get(n % 2, inode).unwrap(), expected);
                    assert_eq!(index.get(n % 2, inode ^ 1).unwrap(), None);
                }
                assert_eq!(index.get(0, u64::MAX).unwrap(), None);
                assert_eq!(index.get(9, 1).unwrap(), None);
            }
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn without_a_place_all_is_in_memory() {
        let nowhere = SpillPlace::new("/nonexistent/directory");
        let index = index(100, Some(&nowhere));
        assert!(matches!(index, InodeIndex::Memory(records) if records.len() == 100));
    }
}
