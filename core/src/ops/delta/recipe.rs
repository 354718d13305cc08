//! From the operations of a part to how each of its objects is made. No I/O but of names and targets.

use super::payload::Unpacked;
use crate::error::{Error, Result};
use crate::format::delta::{Op, OpReader, Range};
use crate::format::{Checksum, FileHeader, METADATA_BYTES_MAX, ObjectName};

/// The longest target of a symbolic link, bytes. Linux allows 4095.
const TARGET_BYTES_MAX: u64 = 64 * 1024;

/// How an object is made.
#[derive(Debug, Clone, PartialEq)]
pub enum Recipe {
    /// Metadata, which lies in the part.
    Metadata {
        /// Which object.
        name: ObjectName,
        /// Where its bytes lie.
        bytes: Range,
    },
    /// A file, of pieces.
    File {
        /// Which object.
        name: ObjectName,
        /// Its header.
        header: FileHeader,
        /// How long its content is to be.
        content_bytes: u64,
        /// What its content is made of, in order.
        pieces: Vec<Piece>,
    },
}

/// A piece of a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// Bytes of the part.
    Part(Range),
    /// Bytes of an old file.
    Old(Checksum, Range),
    /// What a patch, in the part, makes of an old file.
    Patched(Checksum, Range),
}

/// Reads the recipes of a part one after the other. **Blocking.**
#[derive(Debug)]
pub struct Recipes {
    part: Unpacked,
    objects: std::vec::IntoIter<ObjectName>,
    at: usize,
    /// The old file that is set: it stays so from one object to the next.
    old: Option<Checksum>,
}

impl Recipes {
    /// Begins with the first of `objects`.
    pub fn new(part: Unpacked, objects: Vec<ObjectName>) -> Self {
        Self {
            part,
            objects: objects.into_iter(),
            at: 0,
            old: None,
        }
    }

    /// Returns how the next object is made; `None` after the last.
    pub fn next_recipe(&mut self) -> Result<Option<Recipe>> {
        let Some(name) = self.objects.next() else {
            return self.end().map(|()| None);
        };
        let recipe = self.recipe(name).map_err(|e| e.about(name))?;
        Ok(Some(recipe))
    }

    fn recipe(&mut self, name: ObjectName) -> Result<Recipe> {
        let payload = std::sync::Arc::clone(&self.part.payload);
        let mut ops = OpReader::from(&payload.ops, self.at);
        let metadata = name.object_type.is_metadata();
        let first = self.skip_to_begin(&mut ops, metadata)?;
        let first = first.ok_or_else(|| Error::corrupt("the part has no operations for it"))?;
        let recipe = match first {
            Op::SpliceMetadata { length, offset } => {
                if length > METADATA_BYTES_MAX {
                    return Err(Error::corrupt("is longer than metadata may be"));
                }
                let bytes = self.heap(offset, length)?;
                Recipe::Metadata { name, bytes }
            }
            Op::SpliceFile {
                mode,
                xattrs,
                length,
                offset,
            } => self.splice(name, (mode, xattrs), self.heap(offset, length)?)?,
            Op::Open {
                mode,
                xattrs,
                length,
            } if !metadata => {
                let header = payload.header(mode, xattrs, "")?;
                let pieces = self.pieces(&mut ops)?;
                Recipe::File {
                    name,
                    header,
                    content_bytes: length,
                    pieces,
                }
            }
            _ => return Err(Error::corrupt("the part does not begin it")),
        };
        self.at = ops.position();
        Ok(recipe)
    }

    /// Checks that nothing but an old file being unset follows the last object.
    fn end(&mut self) -> Result<()> {
        let payload = std::sync::Arc::clone(&self.part.payload);
        let mut ops = OpReader::from(&payload.ops, self.at);
        match self.skip_to_begin(&mut ops, false)? {
            None => Ok(()),
            Some(_) => {
                let problem = "has operations after those of its last object";
                Err(Error::corrupt(problem))
            }
        }
    }

    /// Reads operations up to one that does more than set the old file, and returns that.
    fn skip_to_begin(&mut self, ops: &mut OpReader<'_>, metadata: bool) -> Result<Option<Op>> {
        loop {
            match ops.next(metadata)? {
                Some(Op::SetReadSource { offset }) => self.old = Some(self.old_name(offset)?),
                Some(Op::UnsetReadSource) => self.old = None,
                other => return Ok(other),
            }
        }
    }

    fn old_name(&self, offset: u64) -> Result<Checksum> {
        let range = self.heap(offset, 32)?;
        let bytes = self.part.bytes.read_range(range, 32)?;
        Ok(Checksum::from_slice(&bytes)?)
    }

    fn splice(&self, name: ObjectName, (mode, xattrs): (u64, u64), bytes: Range) -> Result<Recipe> {
        let payload = &self.part.payload;
        let number = usize::try_from(mode).unwrap_or(usize::MAX);
        let mode_bits = payload.modes.get(number).map_or(0, |mode| mode.mode);
        if mode_bits & 0o170_000 != 0o120_000 {
            return Ok(Recipe::File {
                name,
                header: payload.header(mode, xattrs, "")?,
                content_bytes: bytes.bytes,
                pieces: vec![Piece::Part(bytes)],
            });
        }
        let target = self.part.bytes.read_range(bytes, TARGET_BYTES_MAX)?;
        // OSTree ends it at the first NUL.
        let target = target.split(|b| *b == 0).next().unwrap_or_default();
        let target = std::str::from_utf8(target)
            .map_err(|_| Error::corrupt("the target of the symbolic link is not UTF-8"))?;
        Ok(Recipe::File {
            name,
            header: payload.header(mode, xattrs, target)?,
            content_bytes: 0,
            pieces: Vec::new(),
        })
    }

    fn pieces(&mut self, ops: &mut OpReader<'_>) -> Result<Vec<Piece>> {
        let mut pieces = Vec::new();
        loop {
            let op = ops.next(false)?;
            match op.ok_or_else(|| Error::corrupt("the part does not end it"))? {
                Op::Close => return Ok(pieces),
                Op::SetReadSource { offset } => self.old = Some(self.old_name(offset)?),
                Op::UnsetReadSource => self.old = None,
                Op::Write { length, offset } => pieces.push(match self.old {
                    // That it is inside is known when it is read.
                    Some(checksum) => {
                        let bytes = length;
                        Piece::Old(checksum, Range { offset, bytes })
                    }
                    None => Piece::Part(self.heap(offset, length)?),
                }),
                Op::BsPatch { offset, length } => {
                    let unset = || Error::corrupt("a patch is applied to no file");
                    let checksum = self.old.ok_or_else(unset)?;
                    pieces.push(Piece::Patched(checksum, self.heap(offset, length)?));
                }
                Op::Open { .. } | Op::SpliceFile { .. } | Op::SpliceMetadata { .. } => {
                    return Err(Error::corrupt(
                        "the part begins another object inside of it",
                    ));
                }
            }
        }
    }

    /// Returns where a piece of the heap lies in the part.
    fn heap(&self, offset: u64, bytes: u64) -> Result<Range> {
        let range = self.part.payload.heap.sub(offset, bytes);
        range.ok_or_else(|| Error::corrupt("bytes outside of the part are used"))
    }
}
