//! Archives that come compressed: what they are packed with is seen from their first bytes.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::failure::{Failure, Result};

/// The longest of the magic numbers, bytes.
const MAGIC_BYTES: u64 = 6;

/// How much is read at once, bytes.
const BUFFER_BYTES: usize = 256 * 1024;

/// How much memory unpacking xz may take, KiB: any preset of xz needs far less.
const XZ_KIB_MAX: u32 = 1024 * 1024;

/// How far back zstd may look, bytes: as far as its own program accepts unasked.
const ZSTD_WINDOW_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// Returns what `reader` gives, unpacked if it is packed with gzip, xz, zstd or bzip2.
///
/// Reads the first bytes at once, which waits for them where they come over a pipe.
pub(crate) fn plain(mut reader: impl Read + Send + 'static) -> Result<Box<dyn Read + Send>> {
    let mut magic = Vec::new();
    let start = reader.by_ref().take(MAGIC_BYTES).read_to_end(&mut magic);
    start.map_err(|e| Failure::new(format!("the archive cannot be read: {e}")))?;
    let all = Cursor::new(magic.clone()).chain(reader);
    let all = BufReader::with_capacity(BUFFER_BYTES, all);
    Ok(match &magic[..] {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(all)),
        b"\xfd7zXZ\0" => Box::new(lzma_rust2::XzReader::new_mem_limit(all, true, XZ_KIB_MAX)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(Zstd::new(all)),
        [b'B', b'Z', b'h', ..] => Box::new(bzip2::bufread::MultiBzDecoder::new(all)),
        _ => Box::new(all),
    })
}

/// Unpacks zstd: any number of frames, one after another.
struct Zstd<R> {
    packed: R,
    decoder: FrameDecoder,
    within_frame: bool,
}

impl<R: BufRead> Zstd<R> {
    fn new(packed: R) -> Self {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(ZSTD_WINDOW_BYTES_MAX);
        Self {
            packed,
            decoder,
            within_frame: false,
        }
    }

    /// Begins the next frame; whether there is one.
    fn begin(&mut self) -> io::Result<bool> {
        while !self.packed.fill_buf()?.is_empty() {
            match self.decoder.init(&mut self.packed) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let mut skipped = self.packed.by_ref().take(u64::from(length));
                    io::copy(&mut skipped, &mut io::sink())?;
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(false)
    }
}

impl<R: BufRead> Read for Zstd<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.within_frame {
                if !self.begin()? {
                    return Ok(0);
                }
                self.within_frame = true;
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                let step = BlockDecodingStrategy::UptoBlocks(1);
                let decoded = self.decoder.decode_blocks(&mut self.packed, step);
                decoded.map_err(io::Error::other)?;
            }
            match self.decoder.read(out)? {
                0 => self.within_frame = false,
                read => return Ok(read),
            }
        }
    }
}
