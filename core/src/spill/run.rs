//! Sorted records, in memory or in a file.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::SpillPlace;
use crate::error::{Error, Result};

/// Records in one block of a file: what is read to look one up.
const BLOCK_RECORDS: usize = 128;
/// Records read or written in one go where all of a file is.
const STEP_RECORDS: usize = 64 * BLOCK_RECORDS;

/// What runs hold: so many bytes each, which are in the order that the records are in.
pub trait Record: Copy + Ord {
    /// How long each is.
    const BYTES: usize;

    /// Returns the bytes of one.
    fn as_bytes(&self) -> &[u8];

    /// Takes one from a slice of exactly its length.
    fn read(bytes: &[u8]) -> Self;
}

/// Records in order, each once. All of it is **blocking**.
#[derive(Debug)]
pub enum Run<T> {
    /// In memory.
    Memory(Vec<T>),
    /// In a file.
    File(FileRun<T>),
}

/// Records in a file, one after the other.
#[derive(Debug)]
pub struct FileRun<T> {
    file: File,
    len: usize,
    /// The first record of each block.
    firsts: Vec<T>,
}

impl<T: Record> Run<T> {
    /// Returns the records after `after`, at most `max` of them.
    pub fn after(&self, after: Option<&T>, max: usize) -> Result<Vec<T>> {
        match self {
            Self::Memory(names) => {
                let from = after.map_or(0, |after| names.partition_point(|name| name <= after));
                let to = names.len().min(from.saturating_add(max));
                Ok(names[from..to].to_vec())
            }
            Self::File(run) => run.after(after, max),
        }
    }

    /// Calls `found` with the place of each of `names`, which are in order, that is in here.
    pub fn find(&self, names: &[T], mut found: impl FnMut(usize)) -> Result<()> {
        match self {
            Self::Memory(all) => {
                let is_in = |name| all.binary_search(name).is_ok();
                let in_here = names.iter().enumerate().filter(|(_, name)| is_in(name));
                in_here.for_each(|(at, _)| found(at));
                Ok(())
            }
            Self::File(run) => run.find(names, found),
        }
    }
}

impl<T: Record> FileRun<T> {
    /// Writes records, which are in order.
    pub fn write(file: File, names: &[T]) -> Result<Self> {
        let mut writer = Writer::new(file);
        names.iter().try_for_each(|name| writer.push(*name))?;
        writer.finish()
    }

    /// Makes one of two, which have no record in common.
    fn merge(file: File, a: &Self, b: &Self) -> Result<Self> {
        let mut writer = Writer::new(file);
        let (mut a, mut b) = (Reader::new(a), Reader::new(b));
        loop {
            let next = match (a.peek()?, b.peek()?) {
                (None, None) => return writer.finish(),
                (Some(name), None) => a.pass(name),
                (None, Some(name)) => b.pass(name),
                (Some(x), Some(y)) if x < y => a.pass(x),
                (Some(_), Some(y)) => b.pass(y),
            };
            writer.push(next)?;
        }
    }

    /// Merges the last of `runs` until each is at least twice as long as the next: there are few
    /// then, and each record was copied once for each time that all of them doubled.
    pub fn settle(runs: &mut Vec<Self>, place: &SpillPlace) -> Result<()> {
        while let [.., long, short] = &runs[..]
            && long.len < 2 * short.len
        {
            let merged = Self::merge(place.open()?, long, short)?;
            runs.truncate(runs.len() - 2);
            runs.push(merged);
        }
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    fn read(&self, from: usize, count: usize) -> Result<Vec<T>> {
        let count = count.min(self.len.saturating_sub(from));
        let mut bytes = vec![0; count * T::BYTES];
        let offset = from as u64 * T::BYTES as u64;
        self.file
            .read_exact_at(&mut bytes, offset)
            .map_err(|e| Error::io("a temporary file cannot be read", e))?;
        Ok(bytes.chunks_exact(T::BYTES).map(T::read).collect())
    }

    fn block_of(&self, name: &T) -> Option<usize> {
        self.firsts
            .partition_point(|first| first <= name)
            .checked_sub(1)
    }

    fn after(&self, after: Option<&T>, max: usize) -> Result<Vec<T>> {
        let block = after.and_then(|after| self.block_of(after)).unwrap_or(0);
        // What is at or before `after` is in this block only.
        let mut names = self.read(block * BLOCK_RECORDS, max.saturating_add(BLOCK_RECORDS))?;
        let from = after.map_or(0, |after| names.partition_point(|name| name <= after));
        names.drain(..from);
        names.truncate(max);
        Ok(names)
    }

    pub(super) fn find(&self, names: &[T], mut found: impl FnMut(usize)) -> Result<()> {
        let mut read: Option<(usize, Vec<T>)> = None;
        for (at, name) in names.iter().enumerate() {
            let Some(block) = self.block_of(name) else {
                continue;
            };
            let there = match &read {
                Some((number, there)) if *number == block => there,
                _ => {
                    let there = self.read(block * BLOCK_RECORDS, BLOCK_RECORDS)?;
                    &read.insert((block, there)).1
                }
            };
            if there.binary_search(name).is_ok() {
                found(at);
            }
        }
        Ok(())
    }
}

struct Writer<T> {
    file: File,
    written: u64,
    len: usize,
    firsts: Vec<T>,
    buffer: Vec<u8>,
}

impl<T: Record> Writer<T> {
    fn new(file: File) -> Self {
        Self {
            file,
            written: 0,
            len: 0,
            firsts: Vec::new(),
            buffer: Vec::with_capacity(STEP_RECORDS * T::BYTES),
        }
    }

    fn push(&mut self, name: T) -> Result<()> {
        if self.len.is_multiple_of(BLOCK_RECORDS) {
            self.firsts.push(name);
        }
        self.len += 1;
        self.buffer.extend_from_slice(name.as_bytes());
        match self.buffer.len() >= STEP_RECORDS * T::BYTES {
            true => self.flush(),
            false => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<()> {
        self.file
            .write_all_at(&self.buffer, self.written)
            .map_err(|e| Error::io("a temporary file cannot be written", e))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<FileRun<T>> {
        self.flush()?;
        Ok(FileRun {
            file: self.file,
            len: self.len,
            firsts: self.firsts,
        })
    }
}

struct Reader<'a, T> {
    run: &'a FileRun<T>,
    next: usize,
    read: std::vec::IntoIter<T>,
    peeked: Option<T>,
}

impl<'a, T: Record> Reader<'a, T> {
    fn new(run: &'a FileRun<T>) -> Self {
        Self {
            run,
            next: 0,
            read: Vec::new().into_iter(),
            peeked: None,
        }
    }

    fn peek(&mut self) -> Result<Option<T>> {
        if self.peeked.is_none() {
            if self.read.len() == 0 {
                let names = self.run.read(self.next, STEP_RECORDS)?;
                self.next += names.len();
                self.read = names.into_iter();
            }
            self.peeked = self.read.next();
        }
        Ok(self.peeked)
    }

    fn pass(&mut self, name: T) -> T {
        self.peeked = None;
        name
    }
}
