//! The payload of a part: `(a(uuu)aa(ayay)ayay)`.

use std::collections::HashMap;

use super::{Range, ReadAt};
use crate::error::{Error, Result};
use crate::format::gvariant::{ArrayReader, Layout, TupleReader, Writer, offset_size};
use crate::format::{FileHeader, FormatError, Xattrs};

const WHAT: &str = "part of a delta";

/// How the payload of a part is compressed: the first byte of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// An xz stream.
    Xz,
}

impl Compression {
    /// Reads the byte.
    pub fn from_byte(byte: u8) -> std::result::Result<Self, FormatError> {
        match byte {
            0 => Ok(Self::None),
            b'x' => Ok(Self::Xz),
            other => {
                let problem = format!("its compression, byte {other:#04x}, is not known");
                Err(FormatError::new(WHAT, problem))
            }
        }
    }

    /// Returns the byte.
    pub fn byte(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Xz => b'x',
        }
    }
}

/// Owner, group and mode of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mode {
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Mode, with the file type bits.
    pub mode: u32,
}

/// How much of a payload may be read into memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartLimits {
    /// Its tables of modes and extended attributes, and its operations, bytes each.
    pub table_bytes_max: u64,
}

impl Default for PartLimits {
    /// 16 MiB each.
    fn default() -> Self {
        Self {
            table_bytes_max: 16 << 20,
        }
    }
}

/// A payload that is read: all but the heap in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct PartPayload {
    /// Modes.
    pub modes: Vec<Mode>,
    /// Sets of extended attributes.
    pub xattrs: Vec<Xattrs>,
    /// Where the heap of bytes lies.
    pub heap: Range,
    /// The operations.
    pub ops: Vec<u8>,
}

impl PartPayload {
    /// Reads the payload `source`. **Blocking.**
    pub fn read(source: &dyn ReadAt, limits: PartLimits) -> Result<Self> {
        let bad = |problem: &'static str| FormatError::new(WHAT, problem);
        let total = source.total_bytes();
        let unit = offset_size(usize::try_from(total).unwrap_or(usize::MAX)) as u64;
        let body = total
            .checked_sub(3 * unit)
            .ok_or_else(|| bad("is too short for its offsets"))?;
        let width = usize::try_from(unit).unwrap_or(8);
        let mut ends = [0_u64; 3];
        for (number, end) in ends.iter_mut().enumerate() {
            let mut word = [0; 8];
            // The end of the first member stands last.
            let at = total - (number as u64 + 1) * unit;
            source.read_exact_at(at, &mut word[..width])?;
            *end = u64::from_le_bytes(word);
        }
        let [modes_end, xattrs_end, heap_end] = ends;
        if modes_end > xattrs_end || xattrs_end > heap_end || heap_end > body {
            return Err(bad("its offsets are not in order").into());
        }
        let table = |offset: u64, end: u64| {
            let range = Range {
                offset,
                bytes: end - offset,
            };
            source.read_range(range, limits.table_bytes_max)
        };
        let modes = read_modes(&table(0, modes_end)?).map_err(|e| e.within(WHAT))?;
        let xattrs = read_xattrs(&table(modes_end, xattrs_end)?).map_err(|e| e.within(WHAT))?;
        let heap = Range {
            offset: xattrs_end,
            bytes: heap_end - xattrs_end,
        };
        let ops = table(heap_end, body)?;
        Ok(Self {
            modes,
            xattrs,
            heap,
            ops,
        })
    }

    /// Returns the header of a file with that mode and those attributes; `target` is of a symbolic
    /// link.
    pub fn header(&self, mode: u64, xattrs: u64, target: &str) -> Result<FileHeader> {
        let index = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let absent = |what: &str| Error::corrupt(format!("names {what} that the part has not"));
        let mode = self
            .modes
            .get(index(mode))
            .ok_or_else(|| absent("a mode"))?;
        let xattrs = self.xattrs.get(index(xattrs));
        let xattrs = xattrs.ok_or_else(|| absent("a set of attributes"))?;
        // What a header may be is said in one place: where it is read.
        let header = FileHeader {
            uid: mode.uid,
            gid: mode.gid,
            mode: mode.mode,
            symlink_target: target.into(),
            xattrs: xattrs.clone(),
        };
        let canonical = header.to_canonical();
        Ok(FileHeader::parse_canonical(&canonical[8..])?)
    }
}

fn read_modes(bytes: &[u8]) -> std::result::Result<Vec<Mode>, FormatError> {
    let elements = ArrayReader::new(bytes, Layout::fixed(4, 12))?;
    let mode = |element: std::result::Result<&[u8], FormatError>| {
        let mut tuple = TupleReader::new(element?);
        Ok(Mode {
            uid: u32::from_be_bytes(tuple.array(4)?),
            gid: u32::from_be_bytes(tuple.array(4)?),
            mode: u32::from_be_bytes(tuple.array(4)?),
        })
    };
    elements.map(mode).collect()
}

fn read_xattrs(bytes: &[u8]) -> std::result::Result<Vec<Xattrs>, FormatError> {
    let sets = ArrayReader::new(bytes, Layout::variable(1))?;
    sets.map(|set| Xattrs::parse(set?)).collect()
}

/// A payload that is being made.
#[derive(Debug, Default)]
pub struct PartBuilder {
    modes: Vec<Mode>,
    xattrs: Vec<Xattrs>,
    mode_numbers: HashMap<Mode, u64>,
    xattr_numbers: HashMap<Xattrs, u64>,
    /// The heap of bytes.
    pub heap: Vec<u8>,
    /// The operations.
    pub ops: Vec<u8>,
}

impl PartBuilder {
    /// Returns the number of a file's mode.
    pub fn mode(&mut self, header: &FileHeader) -> u64 {
        let mode = Mode {
            uid: header.uid,
            gid: header.gid,
            mode: header.mode,
        };
        *self.mode_numbers.entry(mode).or_insert_with(|| {
            self.modes.push(mode);
            self.modes.len() as u64 - 1
        })
    }

    /// Returns the number of a file's set of extended attributes.
    pub fn xattrs(&mut self, header: &FileHeader) -> u64 {
        if let Some(number) = self.xattr_numbers.get(&header.xattrs) {
            return *number;
        }
        let number = self.xattrs.len() as u64;
        self.xattrs.push(header.xattrs.clone());
        self.xattr_numbers.insert(header.xattrs.clone(), number);
        number
    }

    /// Adds bytes to the heap, and returns where they begin.
    pub fn put(&mut self, bytes: &[u8]) -> u64 {
        let offset = self.heap.len() as u64;
        self.heap.extend_from_slice(bytes);
        offset
    }

    /// Writes the payload.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(self.heap.len() + self.ops.len() + 4096);
        let part = writer.begin(4);
        for mode in &self.modes {
            for number in [mode.uid, mode.gid, mode.mode] {
                writer.put(4, &number.to_be_bytes());
            }
        }
        writer.mark();
        let sets = writer.begin(1);
        for set in &self.xattrs {
            writer.put(1, &set.to_bytes());
            writer.mark();
        }
        writer.end_array(sets);
        writer.mark();
        writer.put(1, &self.heap);
        writer.mark();
        writer.put(1, &self.ops);
        writer.end_tuple(part);
        writer.into_bytes()
    }
}
