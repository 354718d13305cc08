//! Gzip, as sub-summaries are packed.

use super::Codec;
use crate::error::{Error, Result};

const FLAG_CHECKSUM: u8 = 2;
const FLAG_EXTRA: u8 = 4;
const FLAG_NAME: u8 = 8;
const FLAG_COMMENT: u8 = 16;

/// Unpacks one member of at most `bytes_max` bytes. Whether it is what was packed is not checked: of
/// what is named by its hash that is known anyway.
pub(crate) fn gunzip(codec: &dyn Codec, packed: &[u8], bytes_max: u64) -> Result<Vec<u8>> {
    let bad = || Error::corrupt("is not valid gzip data");
    let mut rest = deflated(packed).ok_or_else(bad)?;
    let mut inflate = codec.inflater();
    let mut unpacked = Vec::new();
    let mut work = vec![0; 64 * 1024];
    loop {
        let step = inflate.step(rest, &mut work)?;
        unpacked.extend_from_slice(&work[..step.produced]);
        rest = &rest[step.consumed..];
        if unpacked.len() as u64 > bytes_max {
            let problem = format!("unpacks to more than the limit, {bytes_max} bytes");
            return Err(Error::corrupt(problem));
        }
        if step.ended {
            return Ok(unpacked);
        }
        if step.consumed == 0 && step.produced == 0 {
            return Err(bad());
        }
    }
}

/// Returns what follows the header of a member.
fn deflated(packed: &[u8]) -> Option<&[u8]> {
    let (header, mut rest) = packed.split_first_chunk::<10>()?;
    let [0x1f, 0x8b, 8, flags, ..] = *header else {
        return None;
    };
    if flags & FLAG_EXTRA != 0 {
        let (length, after) = rest.split_first_chunk::<2>()?;
        rest = after.get(usize::from(u16::from_le_bytes(*length))..)?;
    }
    for text in [FLAG_NAME, FLAG_COMMENT] {
        if flags & text != 0 {
            let end = rest.iter().position(|byte| *byte == 0)?;
            rest = &rest[end + 1..];
        }
    }
    match flags & FLAG_CHECKSUM {
        0 => Some(rest),
        _ => rest.get(2..),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::FlateCodec;

    // Made by gzip -9 --name and gzip -9 --no-name of "text\n".
    const NAMED: &[u8] = b"\x1f\x8b\x08\x08\x00\x00\x00\x00\x02\x03name\x00\x2b\x49\xad\x28\xe1\x02\x00\x20\xc9\x0d\x20\x05\x00\x00\x00";
    const PLAIN: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\x2b\x49\xad\x28\xe1\x02\x00\x20\xc9\x0d\x20\x05\x00\x00\x00";

    #[test]
    fn members_are_unpacked_within_a_limit() {
        for packed in [NAMED, PLAIN] {
            assert_eq!(gunzip(&FlateCodec, packed, 5).unwrap(), b"text\n");
            assert!(gunzip(&FlateCodec, packed, 4).is_err());
            for end in 0..packed.len() - 8 {
                assert!(gunzip(&FlateCodec, &packed[..end], 5).is_err(), "{end}");
            }
        }
        assert!(gunzip(&FlateCodec, b"text\n that is not packed at all", 100).is_err());
    }
}
