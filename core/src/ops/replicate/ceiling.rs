//! How long a file may become on its way: nobody needs more than its first bytes announce.

use std::io::Read;

use crate::error::{Error, Result};
use crate::format::{FileHeader, HEADER_BYTES_MAX, read_header_frame};
use crate::store::{ScratchContent, ScratchFile, deflated_bytes_max};

/// The frame before the header of a `.filez`.
const FRAME_BYTES: usize = 8;

/// The most bytes that a `.filez` may be, which its own header narrows once it has arrived.
#[derive(Debug)]
pub(super) struct Ceiling {
    bytes_max: u64,
    /// What has arrived of the frame and the header; `None` once they have been read.
    head: Option<Vec<u8>>,
}

impl Ceiling {
    /// Allows `bytes_max` bytes, and no more than content of `announced_bytes` can need, if its commit
    /// says that it is so long.
    pub(super) fn new(bytes_max: u64, announced_bytes: Option<u64>) -> Self {
        let framed = FRAME_BYTES as u64 + u64::from(HEADER_BYTES_MAX);
        let announced = announced_bytes.map(|n| deflated_bytes_max(n).saturating_add(framed));
        Self {
            bytes_max: announced.map_or(bytes_max, |announced| announced.min(bytes_max)),
            head: Some(Vec::new()),
        }
    }

    /// Returns how long the file may be, as far as is known.
    pub(super) fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Forgets what has arrived: it comes anew from its first byte, and may be another version.
    pub(super) fn start_over(&mut self) {
        if let Some(head) = &mut self.head {
            head.clear();
        }
    }

    /// Reads the beginning of what an earlier transfer left. **Blocking.**
    pub(super) fn look_at(&mut self, kept: &dyn ScratchFile) -> Result<()> {
        let mut reader: Box<dyn Read + Send> = match kept.open()? {
            ScratchContent::File(file) => Box::new(file.open()?),
            ScratchContent::Reader(reader) => reader,
        };
        let mut buffer = [0; 4096];
        while self.head.is_some() {
            let read = reader.read(&mut buffer);
            let read = read.map_err(|e| Error::io("cannot be read", e))?;
            if read == 0 {
                break;
            }
            self.take(&buffer[..read])?;
        }
        Ok(())
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    ///
    /// [`Corrupt`](crate::ErrorKind::Corrupt) when they begin no file object.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(head) = &mut self.head else {
            return Ok(());
        };
        // Of a long header no more than it says, and of a long chunk no more than a header can be.
        let most = FRAME_BYTES + HEADER_BYTES_MAX as usize;
        let room = most.saturating_sub(head.len());
        head.extend_from_slice(&bytes[..bytes.len().min(room)]);
        let Some(length) = head
            .first_chunk::<4>()
            .map(|length| u32::from_be_bytes(*length))
        else {
            return Ok(());
        };
        let end = FRAME_BYTES.saturating_add(length as usize);
        if head.len() < end && length <= HEADER_BYTES_MAX {
            return Ok(());
        }
        let frame = read_header_frame(&mut &head[..])?;
        let (_, content_bytes) = FileHeader::parse_filez(&frame)?;
        let all = deflated_bytes_max(content_bytes).saturating_add(end as u64);
        self.bytes_max = self.bytes_max.min(all);
        self.head = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Xattrs;

    #[test]
    fn a_header_bounds_what_follows_however_it_arrives() {
        let header = FileHeader {
            uid: 0,
            gid: 0,
            mode: 0o100_644,
            symlink_target: "".into(),
            xattrs: Xattrs::default(),
        };
        let filez = header.to_filez(1000);
        for step in [1, 3, 8, 9, 1000] {
            let mut ceiling = Ceiling::new(u64::MAX, None);
            for piece in filez.chunks(step) {
                assert_eq!(ceiling.bytes_max(), u64::MAX);
                ceiling.take(piece).unwrap();
            }
            let most = ceiling.bytes_max();
            assert!(most > 1000 && most < 3000, "{most}");
            ceiling.take(&[0x5a; 100]).unwrap();
            assert_eq!(ceiling.bytes_max(), most);
        }
        let mut junk = Ceiling::new(u64::MAX, Some(10));
        assert!(junk.bytes_max() < 11 << 20);
        junk.take(&[0x5a; 100]).unwrap_err();
    }
}
