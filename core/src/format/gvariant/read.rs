//! Zero-copy readers of containers in normal form.

use std::iter::FusedIterator;

use super::ty::align_up;
use super::{Layout, Type, WHAT};
use crate::format::FormatError;

/// Returns an error about a value that is not in normal form.
pub(super) fn abnormal(problem: &'static str) -> FormatError {
    FormatError::new(WHAT, problem)
}

/// Returns how many bytes each framing offset of a container of `len` bytes takes.
pub(crate) fn offset_size(len: usize) -> usize {
    match len as u64 {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xffff_ffff => 4,
        _ => 8,
    }
}

/// Returns how many bytes each of `count` framing offsets after `body` bytes needs.
pub(crate) fn needed_offset_size(body: usize, count: usize) -> usize {
    let fits =
        |size: &usize| offset_size(body.saturating_add(count.saturating_mul(*size))) <= *size;
    [1, 2, 4].into_iter().find(fits).unwrap_or(8)
}

/// Returns the little-endian number `bytes`, of at most eight bytes.
fn read_offset(bytes: &[u8]) -> usize {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    usize::try_from(u64::from_le_bytes(word)).unwrap_or(usize::MAX)
}

/// Skips the padding before a child and returns where the child starts.
fn skip_padding(bytes: &[u8], from: usize, align: usize) -> Result<usize, FormatError> {
    let start = align_up(from, align);
    match bytes.get(from..start) {
        Some(padding) if padding.iter().all(|&byte| byte == 0) => Ok(start),
        Some(_) => Err(abnormal("padding is not zero")),
        None => Err(abnormal("a child starts beyond the end of its container")),
    }
}

/// The elements of an array, as slices of its bytes.
#[derive(Debug, Clone)]
pub struct ArrayReader<'a> {
    elements: &'a [u8],
    offsets: &'a [u8],
    /// The size of each offset, or of each element if there are no offsets.
    unit: usize,
    fixed: bool,
    align: usize,
    next: usize,
    count: usize,
    end_of_last: usize,
}

impl<'a> ArrayReader<'a> {
    /// Opens the array `bytes` of elements placed by `layout`.
    ///
    /// The number of elements is known at once; each is checked when it is reached.
    pub fn new(bytes: &'a [u8], layout: Layout) -> Result<Self, FormatError> {
        let mut this = Self {
            elements: bytes,
            offsets: &[],
            unit: layout.fixed.unwrap_or(1).max(1),
            fixed: layout.fixed.is_some(),
            align: layout.align,
            next: 0,
            count: 0,
            end_of_last: 0,
        };
        if this.fixed {
            if !bytes.len().is_multiple_of(this.unit) {
                return Err(abnormal("an array's size is no multiple of its elements'"));
            }
            this.count = bytes.len() / this.unit;
        } else if !bytes.is_empty() {
            // The last offset ends the last element, and so is also where the offsets start.
            this.unit = offset_size(bytes.len());
            let last = bytes
                .len()
                .checked_sub(this.unit)
                .map(|at| read_offset(&bytes[at..]));
            let (elements, offsets) = last
                .and_then(|last| bytes.split_at_checked(last))
                .filter(|(_, offsets)| !offsets.is_empty())
                .filter(|(_, offsets)| offsets.len().is_multiple_of(this.unit))
                .ok_or_else(|| abnormal("an array's offsets are out of bounds"))?;
            this.count = offsets.len() / this.unit;
            if needed_offset_size(elements.len(), this.count) != this.unit {
                return Err(abnormal("an array's offsets are wider than needed"));
            }
            (this.elements, this.offsets) = (elements, offsets);
        }
        Ok(this)
    }

    fn read(&mut self) -> Result<&'a [u8], FormatError> {
        let at = self.next * self.unit;
        if self.fixed {
            return Ok(&self.elements[at..at + self.unit]);
        }
        let start = skip_padding(self.elements, self.end_of_last, self.align)?;
        let end = read_offset(&self.offsets[at..at + self.unit]);
        self.end_of_last = end;
        self.elements
            .get(start..end)
            .ok_or_else(|| abnormal("an array's offsets are not in order"))
    }
}

impl<'a> Iterator for ArrayReader<'a> {
    type Item = Result<&'a [u8], FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.count {
            return None;
        }
        let element = self.read();
        self.next = if element.is_ok() {
            self.next + 1
        } else {
            self.count
        };
        Some(element)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.count - self.next;
        // An error ends the iteration early.
        (left.min(1), Some(left))
    }
}

impl FusedIterator for ArrayReader<'_> {}

impl ArrayReader<'_> {
    /// Returns how many elements are still to be read.
    pub fn remaining(&self) -> usize {
        self.count - self.next
    }
}

/// The members of a tuple or dictionary entry, read one after the other.
///
/// Call the method that fits each member's type in order, then the `finish` that fits the tuple's.
#[derive(Debug, Clone)]
pub struct TupleReader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where the offsets start that were read so far, from the end.
    limit: usize,
    unit: usize,
}

impl<'a> TupleReader<'a> {
    /// Opens the tuple `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            at: 0,
            limit: bytes.len(),
            unit: offset_size(bytes.len()),
        }
    }

    fn take(&mut self, start: usize, end: usize) -> Result<&'a [u8], FormatError> {
        let child = self.bytes[..self.limit]
            .get(start..end)
            .ok_or_else(|| abnormal("a tuple's member is out of bounds"))?;
        self.at = end;
        Ok(child)
    }

    fn align(&self, align: usize) -> Result<usize, FormatError> {
        skip_padding(&self.bytes[..self.limit], self.at, align)
    }

    /// Returns the next member, which has a fixed size.
    pub fn fixed(&mut self, align: usize, size: usize) -> Result<&'a [u8], FormatError> {
        let start = self.align(align)?;
        self.take(start, start.saturating_add(size))
    }

    /// Returns the next member, which has no fixed size and is not the last.
    pub fn variable(&mut self, align: usize) -> Result<&'a [u8], FormatError> {
        let start = self.align(align)?;
        let offset = self
            .limit
            .checked_sub(self.unit)
            .ok_or_else(|| abnormal("a tuple is too short for its offsets"))?;
        let end = read_offset(&self.bytes[offset..self.limit]);
        self.limit = offset;
        self.take(start, end)
    }

    /// Returns the last member, which has no fixed size.
    pub fn last(&mut self, align: usize) -> Result<&'a [u8], FormatError> {
        let start = self.align(align)?;
        self.take(start, self.limit)
    }

    /// Returns the next member, `N` bytes of a fixed size: a number that is not little-endian.
    pub fn array<const N: usize>(&mut self, align: usize) -> Result<[u8; N], FormatError> {
        self.fixed(align, N).and_then(array)
    }

    /// Returns the next member, a `u` or `i`.
    pub fn u32(&mut self) -> Result<u32, FormatError> {
        self.fixed(4, 4).and_then(read_u32)
    }

    /// Returns the next member, a `t` or `x`.
    pub fn u64(&mut self) -> Result<u64, FormatError> {
        self.fixed(8, 8).and_then(read_u64)
    }

    /// Returns the next member, an `s` that is not the last.
    pub fn str(&mut self) -> Result<&'a str, FormatError> {
        self.variable(1).and_then(read_str)
    }

    /// Checks that nothing is left of a tuple without a fixed size.
    pub fn finish(self) -> Result<(), FormatError> {
        let count = (self.bytes.len() - self.limit) / self.unit;
        if self.at != self.limit {
            Err(abnormal("a tuple has trailing bytes"))
        } else if count > 0 && needed_offset_size(self.at, count) != self.unit {
            Err(abnormal("a tuple's offsets are wider than needed"))
        } else {
            Ok(())
        }
    }

    /// Checks that nothing but padding is left of a tuple of which all members have fixed sizes.
    pub fn finish_fixed(self, align: usize) -> Result<(), FormatError> {
        // The unit tuple has no members and yet one byte.
        let end = align_up(self.at.max(1), align);
        if end == self.bytes.len() && self.bytes[self.at..].iter().all(|&byte| byte == 0) {
            Ok(())
        } else {
            Err(abnormal("a tuple of fixed size has another size"))
        }
    }
}

/// Reads a `u`.
pub fn read_u32(bytes: &[u8]) -> Result<u32, FormatError> {
    array(bytes).map(u32::from_le_bytes)
}

/// Reads a `t`.
pub fn read_u64(bytes: &[u8]) -> Result<u64, FormatError> {
    array(bytes).map(u64::from_le_bytes)
}

/// Reads an `s`.
pub fn read_str(bytes: &[u8]) -> Result<&str, FormatError> {
    let text = match bytes.split_last() {
        Some((0, text)) => text,
        _ => return Err(abnormal("a string does not end in NUL")),
    };
    if text.contains(&0) {
        return Err(abnormal("a string contains NUL"));
    }
    std::str::from_utf8(text).map_err(|_| abnormal("a string is not UTF-8"))
}

/// Splits a `v` into its type and the bytes of its value.
pub fn read_variant(bytes: &[u8]) -> Result<(Type, &[u8]), FormatError> {
    let nul = bytes
        .iter()
        .rposition(|&byte| byte == 0)
        .ok_or_else(|| abnormal("a variant has no type"))?;
    let ty = Type::from_bytes(&bytes[nul + 1..])
        .ok_or_else(|| abnormal("a variant has an invalid type"))?;
    Ok((ty, &bytes[..nul]))
}

/// Returns `bytes` as an array, which fails if they are another number of bytes.
pub(super) fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N], FormatError> {
    bytes
        .try_into()
        .map_err(|_| abnormal("a number has the wrong size"))
}
