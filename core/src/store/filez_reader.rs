//! Reads a file object as `.filez`: the bytes of an archive, and vouches for them at the end.

use std::fmt::{self, Debug};
use std::io::{self, Read};

use super::ContentReader;
use super::content_reader::{deflated_bytes_max, too_many_bytes, trailing_bytes};
use super::expected::Expected;
use crate::codec::{Deflate, Finish, Inflate};
use crate::error::{Error, Result, from_read};
use crate::format::{Checksum, FileHeader, Hasher, read_header_frame};

const WORK_BYTES: usize = 64 * 1024;

/// A file object in the `.filez` framing. **Blocking** to read.
///
/// Passed on as it came, with its content inflated and hashed on the side, or deflated here.
/// The read that would return the end returns an error instead if the object is not what it says.
pub struct FilezReader {
    header: FileHeader,
    front: io::Cursor<Vec<u8>>,
    content_bytes: u64,
    stored_bytes: u64,
    checksum: Option<Checksum>,
    source: Source,
}

enum Source {
    Passing(Box<Passing>),
    Deflating(Box<Deflating>),
}

struct Passing {
    expected: Expected,
    reader: Box<dyn Read + Send>,
    inflate: Box<dyn Inflate>,
    hasher: Hasher,
    work: Vec<u8>,
    inflated_bytes: u64,
    announced_bytes: u64,
    budget: u64,
    ended: bool,
}

struct Deflating {
    content: ContentReader,
    deflate: Box<dyn Deflate>,
    work: Vec<u8>,
    start: usize,
    end: usize,
    finish: Finish,
    ended: bool,
}

impl FilezReader {
    pub(super) fn passing(
        expected: Expected,
        mut reader: Box<dyn Read + Send>,
        inflate: Box<dyn Inflate>,
    ) -> Result<Self> {
        let parsed = read_header_frame(&mut reader)
            .and_then(|frame| Ok((FileHeader::parse_filez(&frame)?, frame)));
        let ((header, content_bytes), frame) = parsed.map_err(|e| expected.about(e))?;
        let mut hasher = Hasher::new();
        hasher.update(&header.to_canonical());
        let source = Source::Passing(Box::new(Passing {
            expected,
            reader,
            inflate,
            hasher,
            work: vec![0; WORK_BYTES],
            inflated_bytes: 0,
            announced_bytes: content_bytes,
            budget: deflated_bytes_max(content_bytes),
            // OSTree ends a symbolic link at its header: there is no deflate data to wait for.
            ended: header.is_symlink(),
        }));
        Ok(Self::new(
            header,
            crate::format::frame_header(&frame),
            content_bytes,
            source,
        ))
    }

    pub(super) fn deflating(content: ContentReader, deflate: Box<dyn Deflate>) -> Result<Self> {
        let content_bytes = content.content_bytes();
        let header = content.header().clone();
        let front = header.to_filez(content_bytes);
        let source = Source::Deflating(Box::new(Deflating {
            content,
            deflate,
            work: vec![0; WORK_BYTES],
            start: 0,
            end: 0,
            finish: Finish::More,
            ended: false,
        }));
        Ok(Self::new(header, front, content_bytes, source))
    }

    fn new(header: FileHeader, front: Vec<u8>, content_bytes: u64, source: Source) -> Self {
        let front = io::Cursor::new(front);
        Self {
            header,
            front,
            content_bytes,
            stored_bytes: 0,
            checksum: None,
            source,
        }
    }

    /// Returns the header. It is vouched for only once all has been read.
    pub fn header(&self) -> &FileHeader {
        &self.header
    }

    /// Returns how long the content is, inflated.
    pub fn content_bytes(&self) -> u64 {
        self.content_bytes
    }

    /// Returns how many bytes of the framing have been read: at the end, its length.
    pub fn stored_bytes(&self) -> u64 {
        self.stored_bytes
    }

    /// Returns the checksum of the object, once it has been read to its end.
    pub fn checksum(&self) -> Option<Checksum> {
        self.checksum
    }

    fn fill(&mut self, out: &mut [u8]) -> Result<usize> {
        let n = self
            .front
            .read(out)
            .map_err(|e| from_read("cannot be read", e))?;
        if n > 0 {
            return Ok(n);
        }
        match &mut self.source {
            Source::Passing(passing) => {
                let n = passing.read(out).map_err(|e| passing.expected.about(e))?;
                if n == 0 {
                    self.checksum = Some(passing.finish()?);
                }
                Ok(n)
            }
            Source::Deflating(deflating) => {
                let n = deflating.read(out)?;
                if n == 0 {
                    self.checksum = deflating.content.checksum();
                }
                Ok(n)
            }
        }
    }
}

impl Read for FilezReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.checksum.is_some() || out.is_empty() {
            return Ok(0);
        }
        let n = self.fill(out)?;
        self.stored_bytes += n as u64;
        Ok(n)
    }
}

impl Passing {
    fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        let n = self
            .reader
            .read(out)
            .map_err(|e| from_read("cannot be read", e))?;
        if n == 0 {
            return Ok(0);
        }
        self.budget = self
            .budget
            .checked_sub(n as u64)
            .ok_or_else(too_many_bytes)?;
        let mut input = &out[..n];
        loop {
            if self.ended {
                return if input.is_empty() {
                    Ok(n)
                } else {
                    Err(trailing_bytes())
                };
            }
            let step = self.inflate.step(input, &mut self.work)?;
            self.hasher.update(&self.work[..step.produced]);
            self.inflated_bytes += step.produced as u64;
            if self.inflated_bytes > self.announced_bytes {
                let announced = self.announced_bytes;
                let problem = format!("inflates to more than the {announced} bytes it announces");
                return Err(Error::corrupt(problem));
            }
            self.ended = step.ended;
            input = &input[step.consumed..];
            // Output may still be held back when the work buffer was filled to its end.
            if !step.ended && input.is_empty() && step.produced < self.work.len() {
                return Ok(n);
            }
            if !step.ended && step.consumed == 0 && step.produced == 0 {
                return Err(Error::corrupt("its deflate data makes no progress"));
            }
        }
    }

    fn finish(&mut self) -> Result<Checksum> {
        let fail = |problem: String| Err(self.expected.about(Error::corrupt(problem)));
        if !self.ended {
            return fail("is cut short: its deflate data has no end".into());
        }
        let (found, announced) = (self.inflated_bytes, self.announced_bytes);
        if found != announced {
            return fail(format!(
                "its header announces {announced} bytes, it holds {found}"
            ));
        }
        self.expected
            .settle(std::mem::take(&mut self.hasher).finish())
    }
}

impl Deflating {
    fn read(&mut self, out: &mut [u8]) -> Result<usize> {
        if self.content.header().is_symlink() {
            // Its header is all there is; reading on only verifies it.
            return match self.content.read(&mut [0; 1]) {
                Ok(0) => Ok(0),
                Ok(_) => Err(Error::corrupt("is a symbolic link with content")),
                Err(e) => Err(from_read("cannot be read", e)),
            };
        }
        while !self.ended {
            if self.start == self.end && self.finish == Finish::More {
                self.refill()?;
            }
            let input = &self.work[self.start..self.end];
            let step = self.deflate.step(input, out, self.finish)?;
            self.start += step.consumed;
            self.ended = step.ended;
            if step.produced > 0 {
                return Ok(step.produced);
            }
        }
        Ok(0)
    }

    fn refill(&mut self) -> Result<()> {
        (self.start, self.end) = (0, 0);
        // A full buffer, or the end: the encoder does better on large pieces.
        while self.end < self.work.len() {
            let n = self
                .content
                .read(&mut self.work[self.end..])
                .map_err(|e| from_read("cannot be read", e))?;
            if n == 0 {
                self.finish = Finish::End;
                break;
            }
            self.end += n;
        }
        Ok(())
    }
}

impl Debug for FilezReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FilezReader")
            .field("content_bytes", &self.content_bytes)
            .field("stored_bytes", &self.stored_bytes)
            .finish_non_exhaustive()
    }
}
