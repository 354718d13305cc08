//! Reads short pieces of something long with few system calls.

use crate::error::Result;
use crate::format::delta::ReadAt;

/// How much is read in one go, bytes.
const WINDOW_BYTES: usize = 64 * 1024;
/// What begins so near behind the last piece counts as going on, bytes.
const NEAR_BYTES: u64 = 4096;

/// The bytes around the last piece that was read. **Blocking.**
#[derive(Debug, Default)]
pub(super) struct Window {
    at: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// Reads `length` bytes from `offset`, which must lie before `end`. Whoever goes on where the last piece ended
    /// has more than that read, up to `end`: a patch has hundreds of short steps, mostly one behind the other.
    pub(super) fn read(
        &mut self,
        from: &dyn ReadAt,
        offset: u64,
        length: usize,
        end: u64,
    ) -> Result<&[u8]> {
        let held = self.at + self.bytes.len() as u64;
        if offset < self.at || offset.saturating_add(length as u64) > held {
            let goes_on = offset >= self.at && offset.saturating_sub(held) <= NEAR_BYTES;
            let left = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX);
            let ahead = match goes_on {
                true => length.max(WINDOW_BYTES.min(left)),
                false => length,
            };
            let mut bytes = std::mem::take(&mut self.bytes);
            bytes.resize(ahead, 0);
            from.read_exact_at(offset, &mut bytes)?;
            (self.at, self.bytes) = (offset, bytes);
        }
        let start = usize::try_from(offset - self.at).unwrap_or(0);
        Ok(&self.bytes[start..start + length])
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;

    use super::*;

    #[derive(Debug)]
    struct Counting(Bytes, AtomicUsize);

    impl ReadAt for Counting {
        fn total_bytes(&self) -> u64 {
            self.0.len() as u64
        }

        fn read_exact_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.read_exact_at(offset, out)
        }
    }

    #[test]
    fn pieces_are_what_lies_there_and_those_that_go_on_are_read_together() {
        let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n / 7) as u8).collect();
        let from = Counting(Bytes::from(bytes.clone()), AtomicUsize::new(0));
        let mut window = Window::default();
        let mut check = |offset: usize, length: usize| {
            let end = bytes.len() as u64;
            let read = window.read(&from, offset as u64, length, end).unwrap();
            assert_eq!(read, &bytes[offset..offset + length]);
        };
        for n in 0..600 {
            check(n * 100, 90);
        }
        assert_eq!(from.1.load(Ordering::Relaxed), 1);
        for (offset, length) in [(250_000, 10), (10, 80_000), (299_990, 10), (299_000, 1000)] {
            check(offset, length);
        }
        assert!(window.read(&from, 299_990, 11, 300_001).is_err());
        let end = bytes.len() as u64;
        let read = window.read(&from, 5, 7, end).unwrap();
        assert_eq!(read, &bytes[5..12], "also after one that failed");
    }
}
