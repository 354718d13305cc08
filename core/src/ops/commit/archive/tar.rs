//! Tar, with what PAX and GNU add to it.
//!
//! The crate `tar` reads the headers. Its walk over an archive is not used: it takes the values of
//! an extended header for lines, and those of extended attributes are any bytes.

use std::io::Read;

use tar::{EntryType, Header};

use super::pax::Pax;
use super::read::{RawEntry, Sink};
use crate::error::{Error, Result, from_read};
use crate::ops::commit::rules::{DIRECTORY, Owned, REGULAR, SYMLINK};

const BLOCK_BYTES: u64 = 512;

/// The longest extended header, or name in a member of its own, bytes.
const EXTENDED_BYTES_MAX: u64 = 1 << 20;

/// Reads a tar archive; one without any bytes is empty.
pub(super) fn read(reader: impl Read, sink: &Sink) -> Result<()> {
    let mut archive = Archive { reader };
    let mut next = Next::default();
    while let Some(header) = archive.header()? {
        let content_bytes = header.entry_size().map_err(not_tar)?;
        match header.entry_type() {
            EntryType::XHeader => next.pax = Pax::parse(&archive.extended(content_bytes)?)?,
            EntryType::GNULongName => next.path = Some(archive.name(content_bytes)?),
            EntryType::GNULongLink => next.target = Some(archive.name(content_bytes)?),
            // Of a whole archive: comments, mostly.
            EntryType::XGlobalHeader => archive.skip(content_bytes)?,
            _ => archive.entry(&header, std::mem::take(&mut next), sink)?,
        }
    }
    Ok(())
}

fn not_tar(error: std::io::Error) -> Error {
    Error::corrupt("is not a tar archive, or damaged").because(error)
}

fn cut_short() -> Error {
    Error::corrupt("is not a tar archive, or cut short")
}

/// What came before an entry and is about it.
#[derive(Debug, Default)]
struct Next {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    pax: Pax,
}

struct Archive<R> {
    reader: R,
}

impl<R: Read> Archive<R> {
    /// Reads the next header; `None` at the end.
    fn header(&mut self) -> Result<Option<Header>> {
        let mut header = Header::new_old();
        let mut block = Vec::with_capacity(BLOCK_BYTES as usize);
        self.reader
            .by_ref()
            .take(BLOCK_BYTES)
            .read_to_end(&mut block)
            .map_err(|e| from_read("cannot be read", e))?;
        if block.is_empty() || block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if block.len() as u64 != BLOCK_BYTES {
            return Err(cut_short());
        }
        header.as_mut_bytes().copy_from_slice(&block);
        let told = header.cksum().map_err(not_tar)?;
        // The sum is over the header with blanks in the place of the sum.
        let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
        let found = sum(&block[..148]) + 8 * u32::from(b' ') + sum(&block[156..]);
        if told == found {
            Ok(Some(header))
        } else {
            let problem = "is not a tar archive, or damaged: the checksum of a header is wrong";
            Err(Error::corrupt(problem))
        }
    }

    fn entry(&mut self, header: &Header, next: Next, sink: &Sink) -> Result<()> {
        let pax = next.pax;
        let path = pax.path.or(next.path);
        let path = path.unwrap_or_else(|| header.path_bytes().into_owned());
        let target = pax.target.or(next.target).unwrap_or_else(|| {
            let target = header.link_name_bytes();
            target.unwrap_or_default().into_owned()
        });
        let shown = String::from_utf8_lossy(&path).into_owned();
        let malformed = |e| not_tar(e).context(format!("entry {shown}"));
        let mut kind = header.entry_type();
        // From before there were types.
        if kind == EntryType::Regular && path.ends_with(b"/") {
            kind = EntryType::Directory;
        }
        let kind_bits = match kind {
            EntryType::Directory => DIRECTORY,
            EntryType::Symlink => SYMLINK,
            EntryType::Regular | EntryType::Continuous | EntryType::Link => REGULAR,
            EntryType::GNUSparse => return Err(sparse(&shown)),
            _ => {
                let problem = format!("Unsupported file type for path \"{shown}\"");
                return Err(Error::invalid(problem));
            }
        };
        if pax.is_sparse {
            return Err(sparse(&shown));
        }
        let id = |pax: Option<u64>, header: std::io::Result<u64>| {
            let id = pax.map_or(header, Ok).map_err(malformed)?;
            let problem = |_| Error::invalid(format!("entry {shown}: owner {id} is too large"));
            u32::try_from(id).map_err(problem)
        };
        let raw = RawEntry {
            path: &path,
            owned: Owned {
                uid: id(pax.uid, header.uid())?,
                gid: id(pax.gid, header.gid())?,
                mode: kind_bits | header.mode().map_err(malformed)? & 0o7777,
            },
            xattrs: pax.xattrs,
        };
        let bytes = pax.content_bytes.map_or(header.entry_size(), Ok);
        let bytes = bytes.map_err(malformed)?;
        match kind {
            EntryType::Directory => sink.dir(raw)?,
            EntryType::Symlink => sink.symlink(raw, &target)?,
            EntryType::Link => sink.hard_link(raw, &target)?,
            _ => {
                let mut content = self.reader.by_ref().take(bytes);
                sink.file(raw, bytes, &mut content)?;
                let left = content.limit();
                return self.skip_exactly(left + padding_bytes(bytes));
            }
        }
        // Some writers say of links how long the file is, without its content.
        match kind {
            EntryType::Directory => self.skip(bytes),
            _ => Ok(()),
        }
    }

    /// Reads a name that is a member of its own.
    fn name(&mut self, bytes: u64) -> Result<Vec<u8>> {
        let mut name = self.extended(bytes)?;
        if name.last() == Some(&0) {
            name.pop();
        }
        Ok(name)
    }

    fn extended(&mut self, bytes: u64) -> Result<Vec<u8>> {
        if bytes > EXTENDED_BYTES_MAX {
            let problem = format!("an extended header has {bytes} bytes");
            return Err(Error::corrupt(problem));
        }
        let mut read = Vec::new();
        self.reader
            .by_ref()
            .take(bytes)
            .read_to_end(&mut read)
            .map_err(|e| from_read("cannot be read", e))?;
        if read.len() as u64 != bytes {
            return Err(cut_short());
        }
        self.skip_exactly(padding_bytes(bytes))?;
        Ok(read)
    }

    fn skip(&mut self, content_bytes: u64) -> Result<()> {
        self.skip_exactly(content_bytes.saturating_add(padding_bytes(content_bytes)))
    }

    fn skip_exactly(&mut self, bytes: u64) -> Result<()> {
        let mut skipped = self.reader.by_ref().take(bytes);
        let copied = std::io::copy(&mut skipped, &mut std::io::sink())
            .map_err(|e| from_read("cannot be read", e))?;
        if copied == bytes {
            Ok(())
        } else {
            Err(cut_short())
        }
    }
}

fn sparse(path: &str) -> Error {
    let problem = format!("entry {path}: is a sparse file: make the archive without --sparse");
    Error::unsupported(problem)
}

fn padding_bytes(content_bytes: u64) -> u64 {
    content_bytes.wrapping_neg() % BLOCK_BYTES
}
