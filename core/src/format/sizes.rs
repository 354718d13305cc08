//! `ostree.sizes`: how large the objects of a commit are, so that a pull knows its total.

use super::gvariant::{Dict, Value};
use super::{Checksum, FormatError, ObjectName, ObjectType};

const WHAT: &str = "ostree.sizes";

/// The size of one object, as its commit announces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectSize {
    /// The checksum.
    pub checksum: Checksum,
    /// The kind; old repositories do not say.
    pub object_type: Option<ObjectType>,
    /// How long it is in an archive, bytes.
    pub archived_bytes: u64,
    /// How long its content is, bytes.
    pub unpacked_bytes: u64,
}

/// The metadata key.
pub const SIZES_KEY: &str = "ostree.sizes";

/// Reads the sizes from a commit's metadata; `None` when it has none.
pub fn read_sizes(metadata: &Dict) -> Result<Option<Vec<ObjectSize>>, FormatError> {
    let Some(value) = metadata.get(SIZES_KEY) else {
        return Ok(None);
    };
    let entries = value.as_slice();
    let entries = entries.ok_or_else(|| FormatError::new(WHAT, "is not an array of entries"))?;
    entries
        .iter()
        .map(read_entry)
        .collect::<Result<_, _>>()
        .map(Some)
}

fn read_entry(entry: &Value) -> Result<ObjectSize, FormatError> {
    let bytes = entry
        .as_bytes()
        .ok_or_else(|| FormatError::new(WHAT, "an entry is no bytes"))?;
    let (checksum, rest) = bytes
        .split_at_checked(32)
        .ok_or_else(|| FormatError::new(WHAT, "an entry is cut short"))?;
    let (archived_bytes, rest) = read_varuint(rest)?;
    let (unpacked_bytes, rest) = read_varuint(rest)?;
    let object_type = match rest {
        [] => None,
        [number] => ObjectType::from_number(*number),
        _ => return Err(FormatError::new(WHAT, "bytes follow an entry")),
    };
    let checksum = Checksum::from_slice(checksum)?;
    Ok(ObjectSize {
        checksum,
        object_type,
        archived_bytes,
        unpacked_bytes,
    })
}

/// Returns the value for the metadata key: sorted by checksum, then kind.
pub fn sizes_value(mut sizes: Vec<(ObjectName, u64, u64)>) -> Value {
    sizes.sort_unstable_by_key(|(name, ..)| (name.checksum, name.object_type.number()));
    sizes.dedup_by_key(|(name, ..)| *name);
    let entries = sizes
        .into_iter()
        .map(|(name, archived_bytes, unpacked_bytes)| {
            let mut entry = name.checksum.as_bytes().to_vec();
            write_varuint(&mut entry, archived_bytes);
            write_varuint(&mut entry, unpacked_bytes);
            entry.push(name.object_type.number());
            Value::Bytes(entry)
        });
    Value::array(Value::Bytes(Vec::new()).ty(), entries.collect())
}

/// Reads a number of 7 bits a byte, the lowest first, all but the last with the top bit set.
pub(crate) fn read_varuint(bytes: &[u8]) -> Result<(u64, &[u8]), FormatError> {
    let mut value = 0_u64;
    for (i, byte) in bytes.iter().enumerate().take(10) {
        let low = u64::from(byte & 0x7f);
        let shifted = low << (7 * i);
        if shifted >> (7 * i) != low {
            break;
        }
        value |= shifted;
        if byte & 0x80 == 0 {
            return Ok((value, &bytes[i + 1..]));
        }
    }
    Err(FormatError::new(
        WHAT,
        "a number has no end or is too large",
    ))
}

/// Writes a number as [`read_varuint`] reads it.
pub(crate) fn write_varuint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
