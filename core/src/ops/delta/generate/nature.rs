//! What a file is that travels whole: that decides how it is compressed, and beside what.

use super::encode::deflated;
use crate::codec::{Codec, XzBranches};
use crate::error::Result;

/// How many pieces of a long file are looked at, and how long each is, bytes.
const PIECES: usize = 16;
const PIECE_BYTES: usize = 8 * 1024;

/// What a file is that travels whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Nature {
    /// Anything else.
    Plain,
    /// Machine code, linked.
    Code(CodeOf),
    /// Next to nothing in it occurs twice: it is compressed already, most often.
    Dense,
}

/// Machine code of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CodeOf {
    X86,
    Arm,
    PowerPc,
}

impl CodeOf {
    pub(super) fn branches(self) -> XzBranches {
        match self {
            Self::X86 => XzBranches::X86,
            Self::Arm => XzBranches::ArmThumb,
            Self::PowerPc => XzBranches::PowerPc,
        }
    }
}

/// Returns what `content` is.
pub(super) fn nature(codec: &dyn Codec, content: &[u8]) -> Result<Nature> {
    if let Some(code) = code(content) {
        return Ok(Nature::Code(code));
    }
    let looked_at = pieces(content);
    // Short strings that occur twice in it would have made it shorter than this.
    let dense = deflated(codec, &looked_at)? > looked_at.len() / 100 * 97;
    Ok(match dense && !content.is_empty() {
        true => Nature::Dense,
        false => Nature::Plain,
    })
}

/// Returns pieces of `content` from all over it, or the whole of it if that is no more.
fn pieces(content: &[u8]) -> Vec<u8> {
    let step = content.len() / PIECES;
    if step <= PIECE_BYTES {
        return content.to_vec();
    }
    let piece = |n: usize| &content[n * step..][..PIECE_BYTES];
    (0..PIECES).flat_map(piece).copied().collect()
}

/// Returns which machine code `content` is. In what is not linked yet, as modules of a kernel are, branches
/// have no targets: made alike, they would be made different.
fn code(content: &[u8]) -> Option<CodeOf> {
    const ELF: &[u8] = b"\x7fELF";
    const UNLINKED: u16 = 1;
    let header = content.get(..20).filter(|header| header.starts_with(ELF))?;
    // Byte 5 says in which order the bytes of kind and machine stand.
    let order = header[5];
    let number = |at: usize| {
        let bytes = [header[at], header[at + 1]];
        match order {
            2 => u16::from_be_bytes(bytes),
            _ => u16::from_le_bytes(bytes),
        }
    };
    let (kind, machine) = (number(16), number(18));
    match (order, machine) {
        _ if kind == UNLINKED => None,
        (1, 3 | 62) => Some(CodeOf::X86),
        (1, 40) => Some(CodeOf::Arm),
        (2, 20 | 21) => Some(CodeOf::PowerPc),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::FlateCodec;

    fn noise(length: usize) -> Vec<u8> {
        let scramble = |n: u64| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (n << 7)).to_be_bytes();
        let words = (1..=length as u64).map(|n| scramble(n)[1] ^ scramble(n.rotate_left(40))[0]);
        words.collect()
    }

    fn is(content: &[u8]) -> Nature {
        nature(&FlateCodec, content).unwrap()
    }

    #[test]
    fn what_is_compressed_already_is_dense() {
        let line = |n: u32| format!("{:x}\n", n.wrapping_mul(2_654_435_761));
        let text: String = (0..90_000).map(line).collect();
        assert_eq!(is(text.as_bytes()), Nature::Plain);
        let mut deflater = FlateCodec.deflater(6);
        let mut packed = vec![0; text.len()];
        let finish = crate::codec::Finish::End;
        let step = deflater.step(text.as_bytes(), &mut packed, finish).unwrap();
        assert!(step.ended);
        packed.truncate(step.produced);
        assert!(packed.len() > PIECES * PIECE_BYTES, "{}", packed.len());
        for content in [&packed[..], &packed[..3000]] {
            assert_eq!(is(content), Nature::Dense, "{} bytes", content.len());
        }
        // Half of it is not enough.
        let mut mixed = packed.clone();
        mixed.extend_from_slice(&text.as_bytes()[..packed.len()]);
        assert_eq!(is(&mixed), Nature::Plain);
        assert_eq!(is(&[]), Nature::Plain);
    }

    #[test]
    fn machine_code_is_told_from_what_is_not_linked() {
        let elf = |order: u8, kind: u16, machine: u16| {
            let mut content = noise(4096);
            content[..4].copy_from_slice(b"\x7fELF");
            content[5] = order;
            let bytes = |n: u16| match order {
                2 => n.to_be_bytes(),
                _ => n.to_le_bytes(),
            };
            content[16..18].copy_from_slice(&bytes(kind));
            content[18..20].copy_from_slice(&bytes(machine));
            is(&content)
        };
        assert_eq!(elf(1, 2, 62), Nature::Code(CodeOf::X86));
        assert_eq!(elf(1, 3, 3), Nature::Code(CodeOf::X86));
        assert_eq!(elf(1, 3, 40), Nature::Code(CodeOf::Arm));
        assert_eq!(elf(2, 3, 21), Nature::Code(CodeOf::PowerPc));
        for (order, kind, machine) in [(1, 1, 62), (2, 1, 21), (2, 3, 62), (1, 3, 183)] {
            let found = elf(order, kind, machine);
            assert!(!matches!(found, Nature::Code(_)), "{found:?}");
        }
    }
}
