//! The operations of a part: a letter each, and numbers in groups of seven bits.

use crate::format::FormatError;

const WHAT: &str = "operations of a delta";

/// An operation. Offsets and lengths are of the part's heap of bytes, unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Make the next object, which is metadata, of a piece of the heap.
    SpliceMetadata {
        /// How long it is.
        length: u64,
        /// Where it begins.
        offset: u64,
    },
    /// Make the next object, which is a file, of a piece of the heap.
    SpliceFile {
        /// Which of the part's modes.
        mode: u64,
        /// Which of the part's sets of extended attributes.
        xattrs: u64,
        /// How long the content is, or the target of a symbolic link.
        length: u64,
        /// Where it begins.
        offset: u64,
    },
    /// Begin the next object, a file.
    Open {
        /// Which of the part's modes.
        mode: u64,
        /// Which of the part's sets of extended attributes.
        xattrs: u64,
        /// How long its content will be.
        length: u64,
    },
    /// Add to the open file: from the old file if one is set, or from the heap.
    Write {
        /// How many bytes.
        length: u64,
        /// Where they begin.
        offset: u64,
    },
    /// Use the file object as old file whose checksum lies in the heap.
    SetReadSource {
        /// Where the 32 bytes of the checksum begin.
        offset: u64,
    },
    /// Use no old file any more.
    UnsetReadSource,
    /// The open file is complete.
    Close,
    /// Add what a patch makes of the old file to the open one.
    BsPatch {
        /// Where the patch begins.
        offset: u64,
        /// How long it is.
        length: u64,
    },
}

/// Reads operations one after the other.
#[derive(Debug, Clone)]
pub struct OpReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> OpReader<'a> {
    /// Begins with the first.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Returns how many bytes have been read.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Continues where another reader of the same bytes stopped.
    pub fn from(bytes: &'a [u8], position: usize) -> Self {
        Self {
            bytes,
            at: position.min(bytes.len()),
        }
    }

    /// Reads the next operation; `None` at the end.
    ///
    /// What the splice of an object looks like depends on whether that is metadata.
    pub fn next(&mut self, metadata: bool) -> Result<Option<Op>, FormatError> {
        let Some(&letter) = self.bytes.get(self.at) else {
            return Ok(None);
        };
        self.at += 1;
        Ok(Some(match letter {
            b'S' if metadata => Op::SpliceMetadata {
                length: self.number()?,
                offset: self.number()?,
            },
            b'S' => Op::SpliceFile {
                mode: self.number()?,
                xattrs: self.number()?,
                length: self.number()?,
                offset: self.number()?,
            },
            b'o' => Op::Open {
                mode: self.number()?,
                xattrs: self.number()?,
                length: self.number()?,
            },
            b'w' => Op::Write {
                length: self.number()?,
                offset: self.number()?,
            },
            b'r' => Op::SetReadSource {
                offset: self.number()?,
            },
            b'R' => Op::UnsetReadSource,
            b'c' => Op::Close,
            b'B' => Op::BsPatch {
                offset: self.number()?,
                length: self.number()?,
            },
            other => {
                let problem = format!("there is no operation {:?}", char::from(other));
                return Err(FormatError::new(WHAT, problem));
            }
        }))
    }

    fn number(&mut self) -> Result<u64, FormatError> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let byte = *self
                .bytes
                .get(self.at)
                .ok_or_else(|| FormatError::new(WHAT, "a number is cut short"))?;
            self.at += 1;
            let group = u64::from(byte & 0x7f);
            if shift == 63 && group > 1 {
                break;
            }
            value |= group << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(FormatError::new(WHAT, "a number has more than 64 bits"))
    }
}

/// Writes an operation.
pub fn put_op(out: &mut Vec<u8>, op: &Op) {
    let (letter, numbers): (u8, &[u64]) = match op {
        Op::SpliceMetadata { length, offset } => (b'S', &[*length, *offset]),
        Op::SpliceFile {
            mode,
            xattrs,
            length,
            offset,
        } => (b'S', &[*mode, *xattrs, *length, *offset]),
        Op::Open {
            mode,
            xattrs,
            length,
        } => (b'o', &[*mode, *xattrs, *length]),
        Op::Write { length, offset } => (b'w', &[*length, *offset]),
        Op::SetReadSource { offset } => (b'r', &[*offset]),
        Op::UnsetReadSource => (b'R', &[]),
        Op::Close => (b'c', &[]),
        Op::BsPatch { offset, length } => (b'B', &[*offset, *length]),
    };
    out.push(letter);
    for number in numbers {
        put_number(out, *number);
    }
}

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_come_back() {
        let ops = [
            Op::SpliceFile {
                mode: 0,
                xattrs: 127,
                length: 128,
                offset: u64::MAX,
            },
            Op::Open {
                mode: 1,
                xattrs: 2,
                length: 1 << 40,
            },
            Op::SetReadSource { offset: 3 },
            Op::BsPatch {
                offset: 35,
                length: 16_384,
            },
            Op::UnsetReadSource,
            Op::Write {
                length: 300,
                offset: 7,
            },
            Op::Close,
        ];
        let mut bytes = Vec::new();
        for op in &ops {
            put_op(&mut bytes, op);
        }
        let mut reader = OpReader::new(&bytes);
        for op in ops {
            assert_eq!(reader.next(false), Ok(Some(op)));
        }
        assert_eq!(reader.next(false), Ok(None));
    }

    #[test]
    fn a_number_has_at_most_64_bits() {
        for bad in [
            &[b'r'][..],
            &[b'r', 0x80],
            &[
                b'r', 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2,
            ],
            &[
                b'r', 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x81,
            ],
            b"x",
        ] {
            assert!(OpReader::new(bad).next(false).is_err(), "{bad:?}");
        }
    }
}
