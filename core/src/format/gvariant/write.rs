//! Writing containers without building values first.

use super::Layout;
use super::read::needed_offset_size;
use super::ty::align_up;

/// A buffer to which a GVariant is written from front to back.
///
/// Open a container with [`begin`](Self::begin), write its children, and call
/// [`mark`](Self::mark) after each that needs a framing offset: every element of an array of
/// elements without a fixed size, and every member of a tuple without a fixed size but the last.
/// Then close it with the `end_` method that fits.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
    /// The ends of marked children of all open containers, innermost last.
    ends: Vec<usize>,
}

/// A container that has been opened and not yet closed.
#[derive(Debug)]
#[must_use = "a container must be closed"]
pub struct Frame {
    start: usize,
    ends: usize,
}

impl Writer {
    /// Returns an empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns an empty buffer with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(capacity),
            ends: Vec::new(),
        }
    }

    /// Returns what was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Writes padding up to a multiple of `align`.
    pub fn pad(&mut self, align: usize) {
        // Counting from the start of the buffer is right inside containers as well: they are
        // aligned at least as strictly as their children.
        self.bytes.resize(align_up(self.bytes.len(), align), 0);
    }

    /// Writes a child whose serialised form is `bytes`, such as an `ay`.
    pub fn put(&mut self, align: usize, bytes: &[u8]) {
        self.pad(align);
        self.bytes.extend_from_slice(bytes);
    }

    /// Writes an `s`, which must not contain NUL.
    pub fn put_str(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.push(0);
    }

    /// Writes a `u`.
    pub fn put_u32(&mut self, value: u32) {
        self.put(4, &value.to_le_bytes());
    }

    /// Writes a `t`.
    pub fn put_u64(&mut self, value: u64) {
        self.put(8, &value.to_le_bytes());
    }

    /// Opens a container of the given alignment.
    pub fn begin(&mut self, align: usize) -> Frame {
        self.pad(align);
        Frame {
            start: self.bytes.len(),
            ends: self.ends.len(),
        }
    }

    /// Notes that the child just written needs a framing offset.
    pub fn mark(&mut self) {
        self.ends.push(self.bytes.len());
    }

    /// Closes an array, or a maybe of which the element has a fixed size.
    pub fn end_array(&mut self, frame: Frame) {
        self.end(&frame, false);
    }

    /// Closes a tuple or dictionary entry without a fixed size.
    pub fn end_tuple(&mut self, frame: Frame) {
        self.end(&frame, true);
    }

    /// Closes a tuple or dictionary entry with a fixed size.
    pub fn end_fixed_tuple(&mut self, frame: Frame, align: usize) {
        if self.bytes.len() == frame.start {
            self.bytes.push(0);
        }
        self.pad(align);
    }

    pub(super) fn end_members(&mut self, frame: Frame, layout: Layout) {
        match layout.fixed {
            Some(_) => self.end_fixed_tuple(frame, layout.align),
            None => self.end_tuple(frame),
        }
    }

    fn end(&mut self, frame: &Frame, backwards: bool) {
        let count = self.ends.len() - frame.ends;
        let size = needed_offset_size(self.bytes.len() - frame.start, count);
        let mut ends = self.ends.drain(frame.ends..);
        while let Some(end) = if backwards {
            ends.next_back()
        } else {
            ends.next()
        } {
            let offset = ((end - frame.start) as u64).to_le_bytes();
            self.bytes.extend_from_slice(&offset[..size]);
        }
    }
}
