//! GVariant's framing, for the formats that are read and written field by field.
//!
//! Containers hold their children one after another, each aligned; where a child's end does not
//! follow from its type, it stands in a table of offsets at the container's end: in order for
//! arrays, in reverse for tuples. An offset takes the fewest bytes (1, 2, 4 or 8) in which the
//! container's whole length can be written. All of it is little-endian.

use super::{FormatError, Place};

/// Reads the members of a tuple in order.
#[derive(Debug, Clone)]
pub(crate) struct TupleReader<'a> {
    what: &'static str,
    data: &'a [u8],
    pos: usize,
    /// Where the table of offsets begins, as far as it has been read.
    table: usize,
    offset_size: usize,
}

impl<'a> TupleReader<'a> {
    pub(crate) fn new(what: &'static str, data: &'a [u8]) -> Self {
        Self {
            what,
            data,
            pos: 0,
            table: data.len(),
            offset_size: offset_size(data.len()),
        }
    }

    /// Reads a member of `N` bytes that is aligned to `align`.
    pub(crate) fn fixed<const N: usize>(&mut self, align: usize) -> Result<[u8; N], FormatError> {
        self.align(align)?;
        let bytes = self.data.get(self.pos..self.pos + N);
        let bytes = bytes.filter(|_| self.pos + N <= self.table);
        let member = bytes.and_then(|b| b.try_into().ok());
        let member = member.ok_or_else(|| self.error("is cut short"))?;
        self.pos += N;
        Ok(member)
    }

    /// Reads a member of variable size that is not the last one.
    pub(crate) fn variable(&mut self, align: usize) -> Result<&'a [u8], FormatError> {
        self.align(align)?;
        let at = self.table.checked_sub(self.offset_size);
        let at = at.ok_or_else(|| self.error("is cut short"))?;
        let end = read_offset(&self.data[at..self.table]);
        self.table = at;
        if end < self.pos || end > self.table {
            return Err(self.error("an offset points outside"));
        }
        let member = &self.data[self.pos..end];
        self.pos = end;
        Ok(member)
    }

    /// Reads the last member, of variable size.
    pub(crate) fn last(mut self, align: usize) -> Result<&'a [u8], FormatError> {
        self.align(align)?;
        self.data
            .get(self.pos..self.table)
            .ok_or_else(|| self.error("is cut short"))
    }

    fn align(&mut self, align: usize) -> Result<(), FormatError> {
        let to = self.pos.next_multiple_of(align);
        match self.data.get(self.pos..to) {
            Some(padding) if to <= self.table && padding.iter().all(|b| *b == 0) => {
                self.pos = to;
                Ok(())
            }
            Some(_) => Err(self.error("padding is not zero")),
            None => Err(self.error("is cut short")),
        }
    }

    pub(crate) fn error(&self, problem: &'static str) -> FormatError {
        FormatError::new(self.what, problem).at(Place::Byte(self.pos as u64))
    }
}

/// Reads the elements of an array whose elements have no fixed size.
#[derive(Debug, Clone)]
pub(crate) struct ArrayReader<'a> {
    what: &'static str,
    data: &'a [u8],
    align: usize,
    pos: usize,
    table: &'a [u8],
    offset_size: usize,
}

impl<'a> ArrayReader<'a> {
    pub(crate) fn new(
        what: &'static str,
        data: &'a [u8],
        align: usize,
    ) -> Result<Self, FormatError> {
        let offset_size = offset_size(data.len());
        if data.is_empty() {
            return Ok(Self {
                what,
                data,
                align,
                pos: 0,
                table: data,
                offset_size,
            });
        }
        let fail = || FormatError::new(what, "its table of offsets is wrong");
        let last = data.len().checked_sub(offset_size).ok_or_else(fail)?;
        let table = read_offset(&data[last..]);
        let (data, table) = data.split_at_checked(table).ok_or_else(fail)?;
        if table.is_empty() || table.len() % offset_size != 0 {
            return Err(fail());
        }
        Ok(Self {
            what,
            data,
            align,
            pos: 0,
            table,
            offset_size,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len() / self.offset_size.max(1)
    }

    fn element(&mut self) -> Result<&'a [u8], FormatError> {
        let (offset, rest) = self.table.split_at(self.offset_size);
        self.table = rest;
        let start = self.pos.next_multiple_of(self.align);
        let end = read_offset(offset);
        let fail = |problem| FormatError::new(self.what, problem).at(Place::Byte(self.pos as u64));
        let padding = self
            .data
            .get(self.pos..start)
            .ok_or_else(|| fail("is cut short"))?;
        if padding.iter().any(|b| *b != 0) {
            return Err(fail("padding is not zero"));
        }
        let element = self.data.get(start..end);
        let element = element.ok_or_else(|| fail("an offset points outside"))?;
        self.pos = end;
        Ok(element)
    }
}

impl<'a> Iterator for ArrayReader<'a> {
    type Item = Result<&'a [u8], FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.table.is_empty() {
            return None;
        }
        let element = self.element();
        if element.is_err() {
            self.table = &[];
        }
        Some(element)
    }
}

/// Reads a string: UTF-8 without NUL, then a NUL.
pub(crate) fn read_str<'a>(what: &'static str, data: &'a [u8]) -> Result<&'a str, FormatError> {
    let text = data.strip_suffix(b"\0").filter(|t| !t.contains(&0));
    let text = text.ok_or_else(|| FormatError::new(what, "a string does not end in one NUL"))?;
    std::str::from_utf8(text).map_err(|_| FormatError::new(what, "a string is not UTF-8"))
}

/// Writes the members of a tuple in order.
#[derive(Debug, Default)]
pub(crate) struct TupleWriter {
    data: Vec<u8>,
    ends: Vec<usize>,
}

impl TupleWriter {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn fixed(&mut self, bytes: &[u8], align: usize) -> &mut Self {
        pad(&mut self.data, align);
        self.data.extend_from_slice(bytes);
        self
    }

    /// Writes a member of variable size that is not the last one.
    pub(crate) fn variable(&mut self, bytes: &[u8], align: usize) -> &mut Self {
        self.fixed(bytes, align);
        self.ends.push(self.data.len());
        self
    }

    /// Writes a string that is not the last member.
    pub(crate) fn string(&mut self, text: &str) -> &mut Self {
        self.data.extend_from_slice(text.as_bytes());
        self.data.push(0);
        self.ends.push(self.data.len());
        self
    }

    /// Ends a tuple whose last member is of variable size.
    pub(crate) fn last(&mut self, bytes: &[u8], align: usize) -> Vec<u8> {
        self.fixed(bytes, align);
        self.end()
    }

    /// Ends a tuple whose last member is of fixed size, but not all are.
    pub(crate) fn end(&mut self) -> Vec<u8> {
        let mut data = std::mem::take(&mut self.data);
        self.ends.reverse();
        write_table(&mut data, &self.ends);
        data
    }
}

/// Writes the elements of an array whose elements have no fixed size.
#[derive(Debug)]
pub(crate) struct ArrayWriter {
    data: Vec<u8>,
    ends: Vec<usize>,
    align: usize,
}

impl ArrayWriter {
    pub(crate) fn new(align: usize) -> Self {
        Self {
            data: Vec::new(),
            ends: Vec::new(),
            align,
        }
    }

    pub(crate) fn push(&mut self, element: &[u8]) {
        pad(&mut self.data, self.align);
        self.data.extend_from_slice(element);
        self.ends.push(self.data.len());
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        write_table(&mut self.data, &self.ends);
        self.data
    }
}

fn pad(data: &mut Vec<u8>, align: usize) {
    data.resize(data.len().next_multiple_of(align), 0);
}

fn write_table(data: &mut Vec<u8>, ends: &[usize]) {
    let size = [1, 2, 4]
        .into_iter()
        .find(|size| data.len() + ends.len() * size < 1 << (8 * size))
        .unwrap_or(8);
    for end in ends {
        data.extend_from_slice(&(*end as u64).to_le_bytes()[..size]);
    }
}

fn offset_size(len: usize) -> usize {
    match len {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xffff_ffff => 4,
        _ => 8,
    }
}

fn read_offset(bytes: &[u8]) -> usize {
    let value = bytes
        .iter()
        .rev()
        .fold(0_u64, |n, b| n << 8 | u64::from(*b));
    usize::try_from(value).unwrap_or(usize::MAX)
}
