//! Sorted names, in memory or in a file.

use std::fs::File;
use std::os::unix::fs::FileExt;

use super::name_set::Name;
use crate::error::{Error, Result};

/// Names in one block of a file: what is read to look one up.
const BLOCK_NAMES: usize = 128;
/// Names read or written in one go where all of a file is.
const STEP_NAMES: usize = 64 * BLOCK_NAMES;

/// Names in order, each once. All of it is **blocking**.
#[derive(Debug)]
pub(super) enum Run {
    Memory(Vec<Name>),
    File(FileRun),
}

/// Names in a file, one after the other.
#[derive(Debug)]
pub(super) struct FileRun {
    file: File,
    len: usize,
    /// The first name of each block.
    firsts: Vec<Name>,
}

impl Run {
    /// Returns the names after `after`, at most `max` of them.
    pub(super) fn after(&self, after: Option<&Name>, max: usize) -> Result<Vec<Name>> {
        match self {
            Self::Memory(names) => {
                let from = after.map_or(0, |after| names.partition_point(|name| name <= after));
                let to = names.len().min(from.saturating_add(max));
                Ok(names[from..to].to_vec())
            }
            Self::File(run) => run.after(after, max),
        }
    }

    /// Marks those of `names`, which are in order, that are in here.
    pub(super) fn find(&self, names: &[Name], mut found: impl FnMut(usize)) -> Result<()> {
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

impl FileRun {
    /// Writes names, which are in order.
    pub(super) fn write(file: File, names: &[Name]) -> Result<Self> {
        let mut writer = Writer::new(file);
        names.iter().try_for_each(|name| writer.push(*name))?;
        writer.finish()
    }

    /// Makes one of two, which have no name in common.
    pub(super) fn merge(file: File, a: &Self, b: &Self) -> Result<Self> {
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

    pub(super) fn len(&self) -> usize {
        self.len
    }

    fn read(&self, from: usize, count: usize) -> Result<Vec<Name>> {
        let count = count.min(self.len.saturating_sub(from));
        let mut bytes = vec![0; count * Name::BYTES];
        let offset = from as u64 * Name::BYTES as u64;
        self.file
            .read_exact_at(&mut bytes, offset)
            .map_err(|e| Error::io("a temporary file cannot be read", e))?;
        Ok(bytes.chunks_exact(Name::BYTES).map(Name::read).collect())
    }

    fn block_of(&self, name: &Name) -> Option<usize> {
        self.firsts
            .partition_point(|first| first <= name)
            .checked_sub(1)
    }

    fn after(&self, after: Option<&Name>, max: usize) -> Result<Vec<Name>> {
        let block = after.and_then(|after| self.block_of(after)).unwrap_or(0);
        // What is at or before `after` is in this block only.
        let mut names = self.read(block * BLOCK_NAMES, max.saturating_add(BLOCK_NAMES))?;
        let from = after.map_or(0, |after| names.partition_point(|name| name <= after));
        names.drain(..from);
        names.truncate(max);
        Ok(names)
    }

    pub(super) fn find(&self, names: &[Name], mut found: impl FnMut(usize)) -> Result<()> {
        let mut read: Option<(usize, Vec<Name>)> = None;
        for (at, name) in names.iter().enumerate() {
            let Some(block) = self.block_of(name) else {
                continue;
            };
            let there = match &read {
                Some((number, there)) if *number == block => there,
                _ => {
                    let there = self.read(block * BLOCK_NAMES, BLOCK_NAMES)?;
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

struct Writer {
    file: File,
    written: u64,
    len: usize,
    firsts: Vec<Name>,
    buffer: Vec<u8>,
}

impl Writer {
    fn new(file: File) -> Self {
        Self {
            file,
            written: 0,
            len: 0,
            firsts: Vec::new(),
            buffer: Vec::with_capacity(STEP_NAMES * Name::BYTES),
        }
    }

    fn push(&mut self, name: Name) -> Result<()> {
        if self.len.is_multiple_of(BLOCK_NAMES) {
            self.firsts.push(name);
        }
        self.len += 1;
        self.buffer.extend_from_slice(name.as_bytes());
        match self.buffer.len() >= STEP_NAMES * Name::BYTES {
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

    fn finish(mut self) -> Result<FileRun> {
        self.flush()?;
        Ok(FileRun {
            file: self.file,
            len: self.len,
            firsts: self.firsts,
        })
    }
}

struct Reader<'a> {
    run: &'a FileRun,
    next: usize,
    read: std::vec::IntoIter<Name>,
    peeked: Option<Name>,
}

impl<'a> Reader<'a> {
    fn new(run: &'a FileRun) -> Self {
        Self {
            run,
            next: 0,
            read: Vec::new().into_iter(),
            peeked: None,
        }
    }

    fn peek(&mut self) -> Result<Option<Name>> {
        if self.peeked.is_none() {
            if self.read.len() == 0 {
                let names = self.run.read(self.next, STEP_NAMES)?;
                self.next += names.len();
                self.read = names.into_iter();
            }
            self.peeked = self.read.next();
        }
        Ok(self.peeked)
    }

    fn pass(&mut self, name: Name) -> Name {
        self.peeked = None;
        name
    }
}
