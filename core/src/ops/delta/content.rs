//! Reads the content of a file that is made of pieces. **Blocking.**

use std::collections::HashMap;
use std::io::{self, Read};
use std::sync::Arc;

use super::recipe::Piece;
use super::window::Window;
use crate::error::{Error, Result};
use crate::format::Checksum;
use crate::format::delta::{PatchStep, Range, ReadAt, read_patch_step};

const BUFFER_BYTES: usize = 64 * 1024;

/// The old files that a recipe uses.
pub(super) type OldFiles = HashMap<Checksum, Arc<dyn ReadAt>>;

/// Reads pieces one after the other, in bounded memory.
#[derive(Debug)]
pub(super) struct PieceReader {
    part: Arc<dyn ReadAt>,
    old: OldFiles,
    pieces: std::vec::IntoIter<Piece>,
    current: Option<Current>,
}

#[derive(Debug)]
enum Current {
    Copy(Arc<dyn ReadAt>, Range),
    Patch(Patching),
}

#[derive(Debug)]
struct Patching {
    patch: Range,
    patch_window: Window,
    old: Arc<dyn ReadAt>,
    old_window: Window,
    old_at: i64,
    step: PatchStep,
}

impl PieceReader {
    pub(super) fn new(part: Arc<dyn ReadAt>, old: OldFiles, pieces: Vec<Piece>) -> Self {
        Self {
            part,
            old,
            pieces: pieces.into_iter(),
            current: None,
        }
    }

    fn open(&self, piece: Piece) -> Result<Current> {
        let old = |checksum: Checksum| {
            let found = self.old.get(&checksum).cloned();
            found.ok_or_else(|| Error::missing("an old file is not open"))
        };
        Ok(match piece {
            Piece::Part(range) => Current::Copy(Arc::clone(&self.part), range),
            Piece::Old(checksum, range) => {
                let old = old(checksum)?;
                if range.end() > old.total_bytes() {
                    let problem =
                        format!("bytes after the end of the old file {checksum} are used");
                    return Err(Error::corrupt(problem));
                }
                Current::Copy(old, range)
            }
            Piece::Patched(checksum, patch) => Current::Patch(Patching {
                patch,
                patch_window: Window::default(),
                old: old(checksum)?,
                old_window: Window::default(),
                old_at: 0,
                step: PatchStep {
                    diff_bytes: 0,
                    extra_bytes: 0,
                    seek: 0,
                },
            }),
        })
    }

    fn fill(&mut self, out: &mut [u8]) -> Result<usize> {
        loop {
            let Some(current) = &mut self.current else {
                match self.pieces.next() {
                    Some(piece) => self.current = Some(self.open(piece)?),
                    None => return Ok(0),
                }
                continue;
            };
            let n = match current {
                Current::Copy(from, range) => copy(&**from, range, out)?,
                Current::Patch(patching) => patching.read(&*self.part, out)?,
            };
            if n > 0 {
                return Ok(n);
            }
            self.current = None;
        }
    }
}

/// Reads what is next of a range, and takes it off the range.
fn copy(from: &dyn ReadAt, range: &mut Range, out: &mut [u8]) -> Result<usize> {
    let n = usize::try_from(range.bytes)
        .unwrap_or(usize::MAX)
        .min(out.len());
    from.read_exact_at(range.offset, &mut out[..n])?;
    range.offset += n as u64;
    range.bytes -= n as u64;
    Ok(n)
}

impl Patching {
    fn read(&mut self, part: &dyn ReadAt, out: &mut [u8]) -> Result<usize> {
        while self.step.diff_bytes == 0 && self.step.extra_bytes == 0 {
            if self.patch.bytes == 0 {
                return Ok(0);
            }
            self.old_at = self.old_at.saturating_add(self.step.seek);
            self.step = self.next_step(part)?;
        }
        let is_diff = self.step.diff_bytes > 0;
        let left = match is_diff {
            true => &mut self.step.diff_bytes,
            false => &mut self.step.extra_bytes,
        };
        let n = usize::try_from(*left)
            .unwrap_or(usize::MAX)
            .min(out.len())
            .min(BUFFER_BYTES);
        *left -= n as u64;
        self.take(part, &mut out[..n])?;
        if is_diff {
            self.add_old(&mut out[..n])?;
        }
        Ok(n)
    }

    /// Reads what is next of the patch.
    fn take(&mut self, part: &dyn ReadAt, out: &mut [u8]) -> Result<()> {
        let (at, end) = (self.patch.offset, self.patch.end());
        let bytes = self.patch_window.read(part, at, out.len(), end)?;
        out.copy_from_slice(bytes);
        self.patch.offset += out.len() as u64;
        self.patch.bytes -= out.len() as u64;
        Ok(())
    }

    fn next_step(&mut self, part: &dyn ReadAt) -> Result<PatchStep> {
        let mut numbers = [0; 24];
        if self.patch.bytes < numbers.len() as u64 {
            return Err(Error::corrupt("a patch is cut short"));
        }
        self.take(part, &mut numbers)?;
        let step = read_patch_step(&numbers);
        let step = step.ok_or_else(|| Error::corrupt("a patch has a negative length"))?;
        let needed = step.diff_bytes.checked_add(step.extra_bytes);
        if needed.is_none_or(|needed| needed > self.patch.bytes) {
            return Err(Error::corrupt("a patch announces more bytes than it has"));
        }
        Ok(step)
    }

    /// Adds the old file's bytes; outside of it there are zeroes.
    fn add_old(&mut self, out: &mut [u8]) -> Result<()> {
        let total = i64::try_from(self.old.total_bytes()).unwrap_or(i64::MAX);
        let start = self.old_at;
        let end = start.saturating_add(i64::try_from(out.len()).unwrap_or(i64::MAX));
        self.old_at = end;
        let (from, to) = (start.clamp(0, total), end.clamp(0, total));
        if from >= to {
            return Ok(());
        }
        let index = |n: i64| usize::try_from(n).unwrap_or(0);
        let offset = u64::try_from(from).unwrap_or(0);
        let (length, total) = (index(to - from), self.old.total_bytes());
        let bytes = self.old_window.read(&*self.old, offset, length, total)?;
        let skipped = index(from.saturating_sub(start));
        for (byte, old) in out[skipped..].iter_mut().zip(bytes) {
            *byte = byte.wrapping_add(*old);
        }
        Ok(())
    }
}

impl Read for PieceReader {
    /// Fills all of `out` as long as anything is left: pieces are short, and who reads writes what it gets.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < out.len() {
            match self.fill(&mut out[filled..])? {
                0 => break,
                n => filled += n,
            }
        }
        Ok(filled)
    }
}

/// Returns what a patch makes of an old file, if that is at most `bytes_max` bytes: the executor's
/// own reading of it, for whoever checks patches apart from deltas.
pub fn patched(old: bytes::Bytes, patch: bytes::Bytes, bytes_max: u64) -> Result<Vec<u8>> {
    let name = Checksum::of(&old);
    let whole = Range {
        offset: 0,
        bytes: patch.len() as u64,
    };
    let old: OldFiles = HashMap::from([(name, Arc::new(old) as Arc<dyn ReadAt>)]);
    let pieces = vec![Piece::Patched(name, whole)];
    let reader = PieceReader::new(Arc::new(patch), old, pieces);
    let mut made = Vec::new();
    let read = reader
        .take(bytes_max.saturating_add(1))
        .read_to_end(&mut made);
    read.map_err(|e| crate::error::from_read("cannot be read", e))?;
    if made.len() as u64 > bytes_max {
        return Err(Error::corrupt("a patch makes more than it may"));
    }
    Ok(made)
}
