//! Writing a superblock whose inline parts are not in memory.

use super::superblock::{MetaEntry, put_fallbacks, put_parts};
use super::{Range, Superblock};
use crate::format::gvariant::{Writer, needed_offset_size};

/// A piece of a superblock that is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chunk {
    /// These bytes.
    Bytes(Vec<u8>),
    /// The bytes of a part, from where its entry in the metadata says that they are.
    Part(Range),
}

impl Chunk {
    /// Returns how many bytes it is.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Part(range) => range.bytes,
        }
    }
}

impl Superblock {
    /// Writes the superblock, piece by piece.
    pub fn to_chunks(&self) -> Vec<Chunk> {
        let mut out = Pieces::default();
        self.put_metadata(&mut out);
        let mut ends = vec![out.total];
        out.pad(8);
        out.put(&self.timestamp.to_be_bytes());
        let from: &[u8] = self.name.from.as_ref().map_or(&[], |from| from.as_bytes());
        out.put(from);
        ends.push(out.total);
        out.put(self.name.to.as_bytes());
        ends.push(out.total);
        out.pad(8);
        out.put(&self.commit);
        ends.push(out.total);
        out.put(&self.dependencies);
        ends.push(out.total);
        out.pad(8);
        let mut parts = Writer::new();
        put_parts(&mut parts, &self.parts, self.endianness);
        out.put(&parts.into_bytes());
        ends.push(out.total);
        out.pad(8);
        let mut fallbacks = Writer::new();
        put_fallbacks(&mut fallbacks, &self.fallbacks, self.endianness);
        out.put(&fallbacks.into_bytes());
        ends.reverse();
        out.put_offsets(0, &ends);
        out.finish()
    }

    /// Writes a superblock that has no parts inside; `None` if it has.
    pub fn to_bytes(&self) -> Option<Vec<u8>> {
        let mut all = Vec::new();
        for chunk in self.to_chunks() {
            match chunk {
                Chunk::Bytes(bytes) => all.extend_from_slice(&bytes),
                Chunk::Part(_) => return None,
            }
        }
        Some(all)
    }

    fn put_metadata(&self, out: &mut Pieces) {
        let mut ends = Vec::with_capacity(self.metadata.len());
        for (key, entry) in &self.metadata {
            out.pad(8);
            let start = out.total;
            out.put(key.as_bytes());
            out.put(b"\0");
            let key_end = out.total - start;
            out.pad(8);
            match entry {
                MetaEntry::Value(value) => {
                    let mut writer = Writer::new();
                    writer.put_variant(value);
                    out.put(&writer.into_bytes());
                }
                MetaEntry::Inline(inline) => {
                    out.part(inline.0);
                    out.put(b"\0(yay)");
                }
            }
            out.put_offsets(start, &[key_end]);
            ends.push(out.total);
        }
        if !ends.is_empty() {
            out.put_offsets(0, &ends);
        }
    }
}

/// What is written so far.
#[derive(Default)]
struct Pieces {
    chunks: Vec<Chunk>,
    current: Vec<u8>,
    total: u64,
}

impl Pieces {
    fn put(&mut self, bytes: &[u8]) {
        self.current.extend_from_slice(bytes);
        self.total += bytes.len() as u64;
    }

    fn pad(&mut self, align: u64) {
        while !self.total.is_multiple_of(align) {
            self.put(&[0]);
        }
    }

    fn part(&mut self, range: Range) {
        let before = std::mem::take(&mut self.current);
        self.chunks.push(Chunk::Bytes(before));
        self.chunks.push(Chunk::Part(range));
        self.total += range.bytes;
    }

    /// Ends a container that began at `start`.
    fn put_offsets(&mut self, start: u64, ends: &[u64]) {
        let body = usize::try_from(self.total - start).unwrap_or(usize::MAX);
        let unit = needed_offset_size(body, ends.len());
        for end in ends {
            self.put(&end.to_le_bytes()[..unit]);
        }
    }

    fn finish(mut self) -> Vec<Chunk> {
        self.chunks.push(Chunk::Bytes(self.current));
        self.chunks
    }
}
