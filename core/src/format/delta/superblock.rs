//! The superblock: `(a{sv}tayay(a{sv}aya(say)sstayay)aya(uayttay)a(yaytt))`.
//!
//! It may hold whole parts in its metadata, so it is read from its end, and parts are only located.

use super::{DeltaFile, DeltaName, Endianness, Range, ReadAt};
use crate::error::{Error, Result};
use crate::format::gvariant::{
    ArrayReader, Dict, Layout, TupleReader, Value, Writer, offset_size, read_variant,
};
use crate::format::{Checksum, FormatError, ObjectName, ObjectType};

const WHAT: &str = "superblock";
/// The type of a part inside of the metadata.
const PART_TYPE: &[u8] = b"(yay)";
/// An entry of the metadata longer than this is read only if it is no part.
const SMALL_ENTRY_BYTES: u64 = 4096;
/// The longest key of the metadata.
const KEY_BYTES_MAX: u64 = 1024;

/// A superblock.
#[derive(Debug, Clone, PartialEq)]
pub struct Superblock {
    /// Metadata, in the order in which it is stored.
    pub metadata: Vec<(String, MetaEntry)>,
    /// When it was made, seconds since 1970 UTC.
    pub timestamp: u64,
    /// From which commit to which.
    pub name: DeltaName,
    /// The bytes of the commit that it makes.
    pub commit: Vec<u8>,
    /// Deltas that must be applied before, pairs of checksums; always empty today.
    pub dependencies: Vec<u8>,
    /// In which order the bytes of the following numbers stand.
    pub endianness: Endianness,
    /// The parts.
    pub parts: Vec<PartHeader>,
    /// Objects that are not in any part, to be fetched one by one.
    pub fallbacks: Vec<Fallback>,
}

/// A value in the metadata of a superblock.
#[derive(Debug, Clone, PartialEq)]
pub enum MetaEntry {
    /// A value.
    Value(Value),
    /// A part.
    Inline(Inline),
}

/// A part inside of a superblock: where its bytes, which are those of its file, lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inline(pub Range);

/// What a superblock says of a part. Claims: only the checksum of its bytes is ever verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartHeader {
    /// The version of the format, 0.
    pub version: u32,
    /// What the part's file hashes to.
    pub checksum: Checksum,
    /// How long the part's file is.
    pub stored_bytes: u64,
    /// How long its objects are.
    pub unpacked_bytes: u64,
    /// The objects that it makes, in order.
    pub objects: Vec<ObjectName>,
}

/// An object that is not in any part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fallback {
    /// Which.
    pub name: ObjectName,
    /// How long it is in an archive.
    pub stored_bytes: u64,
    /// How long its content is.
    pub unpacked_bytes: u64,
}

fn bad(problem: &'static str) -> FormatError {
    FormatError::new(WHAT, problem)
}

impl Superblock {
    /// Reads a superblock, whose bytes outside of inline parts are at most `bytes_max`.
    /// **Blocking.**
    pub fn read(source: &dyn ReadAt, bytes_max: u64) -> Result<Self> {
        let total = source.total_bytes();
        let unit = offset_size(usize::try_from(total).unwrap_or(usize::MAX)) as u64;
        let body = total
            .checked_sub(6 * unit)
            .ok_or_else(|| bad("is too short for its offsets"))?;
        let mut ends = [0_u64; 6];
        for (number, end) in ends.iter_mut().enumerate() {
            *end = read_offset(source, total - (number as u64 + 1) * unit, unit)?;
        }
        let metadata_end = ends[0];
        let rest = Range {
            offset: metadata_end,
            bytes: body
                .checked_sub(metadata_end)
                .ok_or_else(|| bad("its metadata is out of bounds"))?,
        };
        let bytes = source.read_range(rest, bytes_max)?;
        let left = bytes_max - rest.bytes;
        let (metadata, _) = read_metadata(source, metadata_end, left)?;
        let mut members = Members {
            bytes: &bytes,
            base: metadata_end,
            at: metadata_end,
        };
        let superblock = read_members(&mut members, &ends, body, metadata)?;
        Ok(superblock)
    }

    /// Reads a superblock at hand.
    pub fn parse(bytes: &bytes::Bytes) -> Result<Self> {
        Self::read(bytes, u64::MAX)
    }

    /// Returns the value of a key of the metadata.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.metadata.iter().find_map(|(k, entry)| match entry {
            MetaEntry::Value(value) if k == key => Some(value),
            _ => None,
        })
    }

    /// Returns where a part lies, if it is inside.
    pub fn inline(&self, number: usize) -> Option<Inline> {
        let number = u32::try_from(number).ok()?;
        let path = DeltaFile::Part(self.name, number).path();
        self.metadata.iter().find_map(|(key, entry)| match entry {
            MetaEntry::Inline(inline) if *key == path => Some(*inline),
            _ => None,
        })
    }

    /// Returns the key that detached metadata of the commit stands under.
    pub fn detached_key(name: &DeltaName) -> String {
        format!("{}/commitmeta", name.directory())
    }

    /// Returns the detached metadata of the commit, if it came along.
    pub fn detached(&self) -> Option<Dict> {
        let value = self.value(&Self::detached_key(&self.name))?;
        Dict::try_from(value.clone()).ok()
    }

    /// Returns how many bytes the files of all parts have, as announced.
    pub fn stored_bytes(&self) -> u64 {
        let add = |sum: u64, part: &PartHeader| sum.saturating_add(part.stored_bytes);
        self.parts.iter().fold(0, add)
    }
}

fn read_offset(source: &dyn ReadAt, at: u64, unit: u64) -> Result<u64> {
    let mut word = [0; 8];
    source.read_exact_at(at, &mut word[..usize::try_from(unit).unwrap_or(8)])?;
    Ok(u64::from_le_bytes(word))
}

/// The members after the metadata. Positions count from the start of the superblock.
struct Members<'a> {
    bytes: &'a [u8],
    base: u64,
    at: u64,
}

impl<'a> Members<'a> {
    fn until(&mut self, align: u64, end: u64) -> std::result::Result<&'a [u8], FormatError> {
        let start = self
            .at
            .checked_next_multiple_of(align)
            .ok_or_else(|| bad("its offsets are out of bounds"))?;
        let index = |n: u64| usize::try_from(n.wrapping_sub(self.base)).unwrap_or(usize::MAX);
        let padding = self.bytes.get(index(self.at)..index(start));
        if !padding.is_some_and(|padding| padding.iter().all(|b| *b == 0)) {
            return Err(bad("its padding is not zero"));
        }
        let found = self.bytes.get(index(start)..index(end));
        self.at = end;
        found.ok_or_else(|| bad("its offsets are not in order"))
    }
}

fn read_members(
    members: &mut Members<'_>,
    ends: &[u64; 6],
    body: u64,
    metadata: Vec<(String, MetaEntry)>,
) -> std::result::Result<Superblock, FormatError> {
    let time_end = members
        .at
        .checked_next_multiple_of(8)
        .and_then(|start| start.checked_add(8))
        .ok_or_else(|| bad("its offsets are out of bounds"))?;
    let time = members.until(8, time_end)?;
    let timestamp = time.try_into().map(u64::from_be_bytes);
    let timestamp = timestamp.map_err(|_| bad("its time is cut short"))?;
    let from = match members.until(1, ends[1])? {
        [] => None,
        bytes => Some(Checksum::from_slice(bytes).map_err(|e| e.within(WHAT))?),
    };
    let to = Checksum::from_slice(members.until(1, ends[2])?).map_err(|e| e.within(WHAT))?;
    let commit = members.until(8, ends[3])?.to_vec();
    let dependencies = members.until(1, ends[4])?.to_vec();
    if !dependencies.len().is_multiple_of(64) {
        return Err(bad("its dependencies are no pairs of checksums"));
    }
    let parts = members.until(8, ends[5])?;
    let fallbacks = members.until(8, body)?;
    let declared = metadata.iter().find(|(key, _)| key == Endianness::KEY);
    let endianness = match declared {
        Some((_, MetaEntry::Value(value))) => Endianness::from_value(value)
            .ok_or_else(|| bad("says neither 'l' nor 'B' of the order of bytes"))?,
        Some(_) => return Err(bad("says neither 'l' nor 'B' of the order of bytes")),
        None => Endianness::guess(&read_parts(parts, Endianness::Little)?),
    };
    Ok(Superblock {
        metadata,
        timestamp,
        name: DeltaName::new(from, to),
        commit,
        dependencies,
        endianness,
        parts: read_parts(parts, endianness).map_err(|e| e.within(WHAT))?,
        fallbacks: read_fallbacks(fallbacks, endianness).map_err(|e| e.within(WHAT))?,
    })
}

/// Reads the metadata, of which parts are only located; returns how many bytes more may be read.
fn read_metadata(
    source: &dyn ReadAt,
    end: u64,
    mut left: u64,
) -> Result<(Vec<(String, MetaEntry)>, u64)> {
    let mut entries = Vec::new();
    if end == 0 {
        return Ok((entries, left));
    }
    let unit = offset_size(usize::try_from(end).unwrap_or(usize::MAX)) as u64;
    let out_of_bounds = || bad("the offsets of its metadata are out of bounds");
    let last = end.checked_sub(unit).ok_or_else(out_of_bounds)?;
    let offsets = read_offset(source, last, unit)?;
    let bytes = end.checked_sub(offsets).ok_or_else(out_of_bounds)?;
    if bytes == 0 || !bytes.is_multiple_of(unit) {
        return Err(out_of_bounds().into());
    }
    let offsets = Range {
        offset: offsets,
        bytes,
    };
    let table = source.read_range(offsets, left)?;
    left -= bytes;
    let mut at = 0_u64;
    for word in table.chunks_exact(usize::try_from(unit).unwrap_or(8)) {
        let mut number = [0; 8];
        number[..word.len()].copy_from_slice(word);
        let start = at.checked_next_multiple_of(8).ok_or_else(out_of_bounds)?;
        at = u64::from_le_bytes(number);
        if at < start || at > offsets.offset {
            return Err(out_of_bounds().into());
        }
        let entry = Range {
            offset: start,
            bytes: at - start,
        };
        entries.push(read_entry(source, entry, &mut left)?);
    }
    Ok((entries, left))
}

fn read_entry(source: &dyn ReadAt, entry: Range, left: &mut u64) -> Result<(String, MetaEntry)> {
    if entry.bytes > SMALL_ENTRY_BYTES
        && let Some(found) = locate_part(source, entry)?
    {
        return Ok(found);
    }
    let bytes = source.read_range(entry, *left)?;
    *left -= entry.bytes;
    let parsed = || -> std::result::Result<_, FormatError> {
        let mut pair = TupleReader::new(&bytes);
        let key = pair.str()?.to_owned();
        let variant = pair.last(8)?;
        pair.finish()?;
        let (ty, value) = read_variant(variant)?;
        if ty.to_string().as_bytes() == PART_TYPE {
            let offset = (key.len() as u64 + 1).next_multiple_of(8);
            let range = entry.sub(offset, value.len() as u64);
            let range = range.ok_or_else(|| bad("a part is out of bounds"))?;
            return Ok((key, MetaEntry::Inline(Inline(range))));
        }
        let value = Value::decode(&ty, value)?;
        Ok((key, MetaEntry::Value(value)))
    };
    Ok(parsed().map_err(|e| e.within(WHAT))?)
}

/// Returns where the part in a long entry lies; `None` if it is none.
fn locate_part(source: &dyn ReadAt, entry: Range) -> Result<Option<(String, MetaEntry)>> {
    let unit = offset_size(usize::try_from(entry.bytes).unwrap_or(usize::MAX)) as u64;
    let key_end = read_offset(source, entry.end() - unit, unit)?;
    if key_end == 0 || key_end > KEY_BYTES_MAX {
        return Err(bad("a key of its metadata is too long").into());
    }
    let mut tail = [0; PART_TYPE.len() + 1];
    let tail_at = entry.bytes - unit - tail.len() as u64;
    source.read_exact_at(entry.offset + tail_at, &mut tail)?;
    if tail[0] != 0 || &tail[1..] != PART_TYPE {
        return Ok(None);
    }
    let key = Range {
        offset: entry.offset,
        bytes: key_end,
    };
    let key = source.read_range(key, KEY_BYTES_MAX)?;
    let key = crate::format::gvariant::read_str(&key).map_err(|e| e.within(WHAT))?;
    let start = key_end.next_multiple_of(8);
    let bytes = tail_at.checked_sub(start);
    let range = bytes.and_then(|bytes| entry.sub(start, bytes));
    let range = range.ok_or_else(|| Error::corrupt("a part in the superblock is out of bounds"))?;
    Ok(Some((key.to_owned(), MetaEntry::Inline(Inline(range)))))
}

fn read_parts(
    bytes: &[u8],
    order: Endianness,
) -> std::result::Result<Vec<PartHeader>, FormatError> {
    let part = |element: std::result::Result<&[u8], FormatError>| {
        let mut tuple = TupleReader::new(element?);
        let version = order.u32(tuple.u32()?);
        let checksum = Checksum::from_slice(tuple.variable(1)?)?;
        let stored_bytes = order.u64(tuple.u64()?);
        let unpacked_bytes = order.u64(tuple.u64()?);
        let objects = read_objects(tuple.last(1)?)?;
        tuple.finish()?;
        Ok(PartHeader {
            version,
            checksum,
            stored_bytes,
            unpacked_bytes,
            objects,
        })
    };
    ArrayReader::new(bytes, Layout::variable(8))?
        .map(part)
        .collect()
}

fn read_objects(bytes: &[u8]) -> std::result::Result<Vec<ObjectName>, FormatError> {
    if !bytes.len().is_multiple_of(33) {
        return Err(bad("a list of objects is cut short"));
    }
    let object = |entry: &[u8]| read_name(entry[0], &entry[1..]);
    bytes.chunks_exact(33).map(object).collect()
}

fn read_name(number: u8, checksum: &[u8]) -> std::result::Result<ObjectName, FormatError> {
    let object_type = ObjectType::from_number(number)
        .ok_or_else(|| bad("names an object of a kind that is not known"))?;
    Ok(ObjectName::new(
        object_type,
        Checksum::from_slice(checksum)?,
    ))
}

fn read_fallbacks(
    bytes: &[u8],
    order: Endianness,
) -> std::result::Result<Vec<Fallback>, FormatError> {
    let fallback = |element: std::result::Result<&[u8], FormatError>| {
        let mut tuple = TupleReader::new(element?);
        let [number] = tuple.array(1)?;
        let name = read_name(number, tuple.variable(1)?)?;
        let stored_bytes = order.u64(tuple.u64()?);
        let unpacked_bytes = order.u64(tuple.u64()?);
        tuple.finish()?;
        Ok(Fallback {
            name,
            stored_bytes,
            unpacked_bytes,
        })
    };
    ArrayReader::new(bytes, Layout::variable(8))?
        .map(fallback)
        .collect()
}

pub(super) fn put_parts(writer: &mut Writer, parts: &[PartHeader], order: Endianness) {
    let array = writer.begin(8);
    for part in parts {
        let tuple = writer.begin(8);
        writer.put_u32(order.u32(part.version));
        writer.put(1, part.checksum.as_bytes());
        writer.mark();
        writer.put_u64(order.u64(part.stored_bytes));
        writer.put_u64(order.u64(part.unpacked_bytes));
        for object in &part.objects {
            writer.put(1, &[object.object_type.number()]);
            writer.put(1, object.checksum.as_bytes());
        }
        writer.end_tuple(tuple);
        writer.mark();
    }
    writer.end_array(array);
}

pub(super) fn put_fallbacks(writer: &mut Writer, fallbacks: &[Fallback], order: Endianness) {
    let array = writer.begin(8);
    for fallback in fallbacks {
        let tuple = writer.begin(8);
        writer.put(1, &[fallback.name.object_type.number()]);
        writer.put(1, fallback.name.checksum.as_bytes());
        writer.mark();
        writer.put_u64(order.u64(fallback.stored_bytes));
        writer.put_u64(order.u64(fallback.unpacked_bytes));
        writer.end_tuple(tuple);
        writer.mark();
    }
    writer.end_array(array);
}
