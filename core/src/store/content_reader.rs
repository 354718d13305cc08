//! Reads the content of a file object, and vouches for it at the end.

use std::fmt::{self, Debug};
use std::io::{self, Read};

use super::expected::Expected;
use crate::codec::Inflate;
use crate::error::{Error, Result, from_read};
use crate::format::{Checksum, FileHeader, Hasher, read_header_frame};

/// Bytes read from the source in one go.
const INPUT_BYTES: usize = 64 * 1024;

/// The content of a file object. **Blocking** to read.
///
/// The read that would return the end of the content returns an error instead, if header and
/// content do not hash to the expected checksum, or the length is not what was announced.
pub struct ContentReader {
    expected: Expected,
    header: FileHeader,
    content_bytes: u64,
    read_bytes: u64,
    hasher: Option<Hasher>,
    checksum: Option<Checksum>,
    source: Source,
}

enum Source {
    Plain(Box<dyn Read + Send>),
    Deflated(Box<Inflating>),
}

impl ContentReader {
    pub(super) fn plain(
        expected: Expected,
        header: FileHeader,
        content_bytes: u64,
        reader: Box<dyn Read + Send>,
    ) -> Result<Self> {
        Ok(Self::new(
            expected,
            header,
            content_bytes,
            Source::Plain(reader),
        ))
    }

    pub(super) fn inflating(
        expected: Expected,
        mut reader: Box<dyn Read + Send>,
        inflate: Box<dyn Inflate>,
    ) -> Result<Self> {
        let parsed =
            read_header_frame(&mut reader).and_then(|frame| Ok(FileHeader::parse_filez(&frame)?));
        let (header, content_bytes) = parsed.map_err(|e| expected.about(e))?;
        let mut inflating = Inflating::new(reader, inflate, content_bytes);
        // OSTree ends a symbolic link at its header: there is no deflate data, not even an empty one.
        inflating.ended = header.is_symlink();
        let source = Source::Deflated(Box::new(inflating));
        Ok(Self::new(expected, header, content_bytes, source))
    }

    fn new(expected: Expected, header: FileHeader, content_bytes: u64, source: Source) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(&header.to_canonical());
        let hasher = Some(hasher);
        Self {
            expected,
            header,
            content_bytes,
            read_bytes: 0,
            hasher,
            checksum: None,
            source,
        }
    }

    /// Returns the header. It is vouched for only once the content has been read to its end.
    pub fn header(&self) -> &FileHeader {
        &self.header
    }

    /// Returns how long the content is announced to be; it will be exactly that, or an error.
    pub fn content_bytes(&self) -> u64 {
        self.content_bytes
    }

    /// Returns the checksum of the object, once the content has been read to its end.
    pub fn checksum(&self) -> Option<Checksum> {
        self.checksum
    }

    fn fill(&mut self, out: &mut [u8]) -> Result<usize> {
        // One byte more than announced is asked for, so that a longer source is noticed.
        let left = self.content_bytes - self.read_bytes;
        let n = match &mut self.source {
            Source::Plain(reader) if left > 0 => {
                let want = usize::try_from(left).unwrap_or(usize::MAX).min(out.len());
                reader
                    .read(&mut out[..want])
                    .map_err(|e| from_read("cannot be read", e))?
            }
            Source::Plain(reader) => {
                match reader
                    .read(&mut [0; 1])
                    .map_err(|e| from_read("cannot be read", e))?
                {
                    0 => 0,
                    _ => return Err(longer(self.content_bytes)),
                }
            }
            Source::Deflated(inflating) => inflating.read(out)?,
        };
        if n as u64 > left {
            return Err(longer(self.content_bytes));
        }
        if n == 0 && left > 0 {
            let (found, announced) = (self.read_bytes, self.content_bytes);
            let problem = format!("ends after {found} of {announced} bytes");
            return Err(Error::corrupt(problem));
        }
        self.read_bytes += n as u64;
        Ok(n)
    }

    fn finish(&mut self) -> Result<()> {
        let Some(hasher) = self.hasher.take() else {
            return Ok(());
        };
        let found = hasher.finish();
        self.checksum = Some(self.expected.settle(found)?);
        Ok(())
    }
}

impl Read for ContentReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.checksum.is_some() || out.is_empty() {
            return Ok(0);
        }
        let expected = self.expected;
        let n = self.fill(out).map_err(|e| expected.about(e))?;
        if n == 0 {
            self.finish()?;
        } else if let Some(hasher) = &mut self.hasher {
            hasher.update(&out[..n]);
        }
        Ok(n)
    }
}

impl Debug for ContentReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContentReader")
            .field("expected", &self.expected)
            .field("content_bytes", &self.content_bytes)
            .field("read_bytes", &self.read_bytes)
            .finish_non_exhaustive()
    }
}

fn longer(announced: u64) -> Error {
    Error::corrupt(format!(
        "is longer than the {announced} bytes that were announced"
    ))
}

/// Returns how many bytes deflate can need at most for `content_bytes` bytes.
///
/// Nine bits a literal in a fixed-code block is the worst that an encoder without malice does.
pub(crate) fn deflated_bytes_max(content_bytes: u64) -> u64 {
    content_bytes
        .saturating_add(content_bytes / 8)
        .saturating_add(1024)
}

/// A deflated source, decoded step by step.
struct Inflating {
    reader: Box<dyn Read + Send>,
    inflate: Box<dyn Inflate>,
    input: Vec<u8>,
    start: usize,
    end: usize,
    budget: u64,
    ended: bool,
}

impl Inflating {
    fn new(reader: Box<dyn Read + Send>, inflate: Box<dyn Inflate>, content_bytes: u64) -> Self {
        let budget = deflated_bytes_max(content_bytes);
        let len = usize::try_from(budget)
            .unwrap_or(INPUT_BYTES)
            .min(INPUT_BYTES);
        Self {
            reader,
            inflate,
            input: vec![0; len],
            start: 0,
            end: 0,
            budget,
            ended: false,
        }
    }

    fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        loop {
            if self.ended {
                return self.expect_end().map(|()| 0);
            }
            if self.start == self.end {
                self.refill()?;
            }
            let step = self.inflate.step(&self.input[self.start..self.end], out)?;
            self.start += step.consumed;
            self.ended = step.ended;
            if step.produced > 0 {
                return Ok(step.produced);
            }
            if !step.ended && step.consumed == 0 && self.start < self.end {
                return Err(Error::corrupt("its deflate data makes no progress"));
            }
        }
    }

    fn refill(&mut self) -> Result<()> {
        let n = self
            .reader
            .read(&mut self.input)
            .map_err(|e| from_read("cannot be read", e))?;
        if n == 0 {
            return Err(Error::corrupt("is cut short: its deflate data has no end"));
        }
        (self.start, self.end) = (0, n);
        self.budget = self
            .budget
            .checked_sub(n as u64)
            .ok_or_else(too_many_bytes)?;
        Ok(())
    }

    fn expect_end(&mut self) -> Result<()> {
        let rest = self.start < self.end
            || self
                .reader
                .read(&mut [0; 1])
                .map_err(|e| from_read("cannot be read", e))?
                != 0;
        if rest { Err(trailing_bytes()) } else { Ok(()) }
    }
}

pub(super) fn too_many_bytes() -> Error {
    Error::corrupt("has more compressed bytes than deflate can need for its size")
}

pub(super) fn trailing_bytes() -> Error {
    Error::corrupt("has bytes after the end of its deflate data")
}
