//! A superblock in its wrapper with signatures: `(taya{sv})`.

use super::{Range, ReadAt};
use crate::error::Result;
use crate::format::FormatError;
use crate::format::gvariant::{Dict, Writer, needed_offset_size, offset_size};

const WHAT: &str = "signed superblock";
const MAGIC: &[u8; 8] = b"OSTSGNDT";

/// Where a superblock lies in its wrapper, and the signatures over its bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct SignedSuperblock {
    /// The superblock.
    pub superblock: Range,
    /// Signatures by key, such as `ostree.sign.ed25519`, an `aay`.
    pub signatures: Dict,
}

impl SignedSuperblock {
    /// Reads the wrapper; `None` when it is none, but a superblock as it is. **Blocking.**
    pub fn read(source: &dyn ReadAt, signatures_bytes_max: u64) -> Result<Option<Self>> {
        let total = source.total_bytes();
        let mut magic = [0; 8];
        if total < 8 {
            return Ok(None);
        }
        source.read_exact_at(0, &mut magic)?;
        if magic != *MAGIC {
            return Ok(None);
        }
        let bad = || FormatError::new(WHAT, "its offsets are out of bounds");
        let unit = offset_size(usize::try_from(total).map_err(|_| bad())?) as u64;
        let body = total
            .checked_sub(unit)
            .filter(|n| *n >= 8)
            .ok_or_else(bad)?;
        let mut word = [0; 8];
        source.read_exact_at(body, &mut word[..usize::try_from(unit).unwrap_or(8)])?;
        let end = u64::from_le_bytes(word);
        let start = end.checked_next_multiple_of(8).ok_or_else(bad)?;
        if end < 8 || start > body {
            return Err(bad().into());
        }
        let range = Range {
            offset: start,
            bytes: body - start,
        };
        let dict = source.read_range(range, signatures_bytes_max)?;
        let signatures = Dict::decode(&dict).map_err(|e| e.within(WHAT))?;
        let superblock = Range {
            offset: 8,
            bytes: end - 8,
        };
        Ok(Some(Self {
            superblock,
            signatures,
        }))
    }

    /// Returns what stands before and after a superblock of so many bytes.
    pub fn wrap(superblock_bytes: u64, signatures: &Dict) -> (Vec<u8>, Vec<u8>) {
        let end = 8 + superblock_bytes;
        let padding = end.next_multiple_of(8) - end;
        let mut after = vec![0; usize::try_from(padding).unwrap_or(0)];
        let mut writer = Writer::new();
        writer.put_dict(signatures);
        after.extend_from_slice(&writer.into_bytes());
        let body = usize::try_from(end)
            .unwrap_or(usize::MAX)
            .saturating_add(after.len());
        let unit = needed_offset_size(body, 1);
        after.extend_from_slice(&end.to_le_bytes()[..unit]);
        (MAGIC.to_vec(), after)
    }
}
