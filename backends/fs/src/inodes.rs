//! Which file object has which device and inode: how hard links into a repository are recognised.

use treeferry_core::error::Result;
use treeferry_core::format::{Checksum, ObjectType};
use treeferry_core::spill::{FileRun, Record, Run, SpillPlace};

use crate::list::for_each_object;
use crate::shelf::Shelf;
use crate::sys;

/// How many records are held in memory: some 3 MB.
const RECORDS_IN_MEMORY_MAX: usize = if cfg!(test) { 9 } else { 1 << 16 };

/// Device and inode, big-endian so that they are ordered as the numbers are, and checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Inode([u8; Inode::BYTES]);

impl Inode {
    const KEY_BYTES: usize = 8 + 8;

    fn new(device: u64, inode: u64, checksum: &Checksum) -> Self {
        let mut bytes = [0; Self::BYTES];
        let key = (u128::from(device) << 64) | u128::from(inode);
        bytes[..Self::KEY_BYTES].copy_from_slice(&key.to_be_bytes());
        bytes[Self::KEY_BYTES..].copy_from_slice(checksum.as_bytes());
        Self(bytes)
    }

    fn checksum(&self) -> Checksum {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(&self.0[Self::KEY_BYTES..]);
        Checksum::from_bytes(bytes)
    }
}

impl Record for Inode {
    const BYTES: usize = Self::KEY_BYTES + 32;

    fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn read(bytes: &[u8]) -> Self {
        let mut record = [0; Self::BYTES];
        record.copy_from_slice(bytes);
        Self(record)
    }
}

/// Which file object has which device and inode. **Blocking.**
#[derive(Debug)]
pub(crate) struct InodeIndex(Vec<Run<Inode>>);

impl InodeIndex {
    /// Walks all file objects once. Where `place` cannot be written, what is left is in memory.
    pub(crate) fn of(shelf: &Shelf, place: &SpillPlace) -> Result<Self> {
        let mut builder = Builder::new(Some(place));
        for first in 0..=255 {
            for_each_object(shelf, first, |name, path| {
                if name.object_type == ObjectType::File
                    && let Some(stat) = sys::stat(shelf.fd(), path)?
                {
                    builder.add(Inode::new(stat.st_dev, stat.st_ino, &name.checksum));
                }
                Ok(())
            })?;
        }
        Ok(builder.finish())
    }

    /// Returns the object that is this inode.
    pub(crate) fn get(&self, device: u64, inode: u64) -> Result<Option<Checksum>> {
        // Before all of that inode: no object has this name.
        let before = Inode::new(device, inode, &Checksum::from_bytes([0; 32]));
        for run in &self.0 {
            let key = |record: &Inode| record.0[..Inode::KEY_BYTES] == before.0[..Inode::KEY_BYTES];
            if let Some(found) = run.after(Some(&before), 1)?.into_iter().find(key) {
                return Ok(Some(found.checksum()));
            }
        }
        Ok(None)
    }
}

/// Gathers records, and writes them out in sorted runs when there are many.
struct Builder<'a> {
    place: Option<&'a SpillPlace>,
    records: Vec<Inode>,
    runs: Vec<FileRun<Inode>>,
}

impl<'a> Builder<'a> {
    fn new(place: Option<&'a SpillPlace>) -> Self {
        Self {
            place,
            records: Vec::new(),
            runs: Vec::new(),
        }
    }

    fn add(&mut self, record: Inode) {
        self.records.push(record);
        let Some(place) = self.place else { return };
        if self.records.len() < RECORDS_IN_MEMORY_MAX {
            return;
        }
        // A repository that cannot be written can be indexed all the same.
        if let Err(error) = self.spill(place) {
            tracing::warn!(%error, "inodes of objects are kept in memory");
            self.place = None;
        }
    }

    fn spill(&mut self, place: &SpillPlace) -> Result<()> {
        self.records.sort_unstable();
        let run = FileRun::write(place.open()?, &self.records)?;
        self.records.clear();
        self.runs.push(run);
        FileRun::settle(&mut self.runs, place)
    }

    fn finish(mut self) -> InodeIndex {
        self.records.sort_unstable();
        let files = self.runs.into_iter().map(Run::File);
        InodeIndex(files.chain([Run::Memory(self.records)]).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(count: u64, place: Option<&SpillPlace>) -> InodeIndex {
        let mut builder = Builder::new(place);
        for n in 0..count {
            // Out of order, on two devices.
            let inode = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let checksum = Checksum::of(&n.to_le_bytes());
            builder.add(Inode::new(n % 2, inode, &checksum));
        }
        builder.finish()
    }

    #[test]
    fn what_is_in_a_file_is_found_as_what_is_in_memory() {
        let dir = tempfile::tempdir().unwrap();
        let place = SpillPlace::new(dir.path());
        for count in [0, 1, 8, 9, 10, 63, 64, 65, 200] {
            let spilled = index(count, Some(&place));
            let is_file = matches!(spilled.0[0], Run::File(_));
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
        assert!(matches!(&index.0[..], [Run::Memory(records)] if records.len() == 100));
    }
}
