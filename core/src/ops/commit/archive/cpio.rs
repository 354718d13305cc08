//! Cpio: the new ASCII format, in which initial RAM disks come, and the old one.

use std::collections::BTreeMap;
use std::io::Read;

use super::read::{RawEntry, Sink};
use crate::error::{Error, ErrorKind, Result, from_read};
use crate::format::Xattrs;
use crate::ops::commit::rules::{DIRECTORY, FILE_TYPE, Owned, REGULAR, SYMLINK};

/// The longest path of an entry, bytes.
const PATH_BYTES_MAX: u64 = 64 * 1024;

/// The longest target of a symbolic link, bytes.
const TARGET_BYTES_MAX: u64 = 4096;

/// The name of what stands at the end.
const TRAILER: &[u8] = b"TRAILER!!!";

/// How the numbers of a header are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// Hexadecimal; names and contents are padded.
    New,
    /// Octal; nothing is.
    Old,
}

/// Reads a cpio archive.
pub(super) fn read(reader: impl Read, dialect: Dialect, sink: &Sink) -> Result<()> {
    let mut archive = Archive {
        reader,
        dialect,
        links: BTreeMap::new(),
    };
    while archive.entry(sink)? {}
    archive.finish(sink)
}

struct Archive<R> {
    reader: R,
    dialect: Dialect,
    /// Files of several names, by device and inode.
    links: BTreeMap<(u64, u64), Linked>,
}

/// The names of a file: one of them comes with the content, usually the last.
#[derive(Debug, Default)]
struct Linked {
    with_content: Option<Vec<u8>>,
    others: Vec<(Vec<u8>, Owned)>,
}

/// The numbers of a header.
#[derive(Debug, Clone, Copy)]
struct Header {
    device: u64,
    inode: u64,
    mode: u32,
    uid: u32,
    gid: u32,
    links: u64,
    content_bytes: u64,
    path_bytes: u64,
}

impl<R: Read> Archive<R> {
    /// Reads one entry; whether there was one.
    fn entry(&mut self, sink: &Sink) -> Result<bool> {
        let (header, header_bytes) = self.header()?;
        if header.path_bytes == 0 || header.path_bytes > PATH_BYTES_MAX {
            let problem = format!("an entry has a path of {} bytes", header.path_bytes);
            return Err(Error::corrupt(problem));
        }
        let mut path = self.bytes(header.path_bytes)?;
        self.skip_padding(header_bytes + header.path_bytes)?;
        while path.last() == Some(&0) {
            path.pop();
        }
        if path == TRAILER {
            return Ok(false);
        }
        let owned = Owned {
            uid: header.uid,
            gid: header.gid,
            mode: header.mode & (FILE_TYPE | 0o7777),
        };
        let raw = RawEntry {
            path: &path,
            owned,
            xattrs: Xattrs::default(),
        };
        match header.mode & FILE_TYPE {
            DIRECTORY => sink.dir(raw)?,
            SYMLINK if header.content_bytes > TARGET_BYTES_MAX => {
                return Err(Error::corrupt("a symbolic link has a target too long"));
            }
            SYMLINK => {
                let target = self.bytes(header.content_bytes)?;
                sink.symlink(raw, &target)?;
            }
            REGULAR => return self.regular(&header, raw, sink).map(|()| true),
            _ => {
                let path = String::from_utf8_lossy(&path);
                let problem = format!("Unsupported file type for path \"{path}\"");
                return Err(Error::invalid(problem));
            }
        }
        self.skip_padding(header.content_bytes)?;
        Ok(true)
    }

    fn regular(&mut self, header: &Header, raw: RawEntry<'_>, sink: &Sink) -> Result<()> {
        if header.links > 1 {
            let linked = self.links.entry((header.device, header.inode)).or_default();
            let path = raw.path.to_vec();
            if linked.with_content.is_some() || header.content_bytes == 0 {
                linked.others.push((path, raw.owned));
                return self.skip(header.content_bytes);
            }
            linked.with_content = Some(path);
        }
        let mut content = self.reader.by_ref().take(header.content_bytes);
        sink.file(raw, header.content_bytes, &mut content)?;
        let left = content.limit();
        self.skip_exactly(left)?;
        self.skip_padding(header.content_bytes)
    }

    /// Tells of the names that are left: now it is known which one has the content.
    fn finish(self, sink: &Sink) -> Result<()> {
        for linked in self.links.into_values() {
            let mut others = linked.others.into_iter();
            let target = match linked.with_content {
                Some(path) => path,
                None => match others.next() {
                    None => continue,
                    Some((path, owned)) => {
                        sink.file(raw(&path, owned), 0, &mut std::io::empty())?;
                        path
                    }
                },
            };
            for (path, owned) in others {
                sink.hard_link(raw(&path, owned), &target)?;
            }
        }
        Ok(())
    }

    /// Reads a header; and how many bytes it took.
    fn header(&mut self) -> Result<(Header, u64)> {
        let (magic, digits, radix) = match self.dialect {
            Dialect::New => (6, &[8; 13][..], 16),
            Dialect::Old => (6, &[6, 6, 6, 6, 6, 6, 6, 11, 6, 11][..], 8),
        };
        let bytes = magic + digits.iter().sum::<usize>();
        let text = self.bytes(bytes as u64)?;
        let known = match self.dialect {
            Dialect::New => text.starts_with(b"070701") || text.starts_with(b"070702"),
            Dialect::Old => text.starts_with(b"070707"),
        };
        let malformed = || Error::corrupt("is not a cpio archive after its first entries");
        if !known {
            return Err(malformed());
        }
        let mut numbers = [0; 13];
        let mut rest = &text[magic..];
        for (number, digits) in numbers.iter_mut().zip(digits) {
            let (field, after) = rest.split_at(*digits);
            let field = std::str::from_utf8(field).map_err(|_| malformed())?;
            *number = u64::from_str_radix(field, radix).map_err(|_| malformed())?;
            rest = after;
        }
        let small = |number: u64| u32::try_from(number).map_err(|_| malformed());
        let header = match (self.dialect, numbers) {
            (
                Dialect::New,
                [
                    ino,
                    mode,
                    uid,
                    gid,
                    links,
                    _,
                    size,
                    major,
                    minor,
                    _,
                    _,
                    name,
                    _,
                ],
            ) => Header {
                device: major << 32 | minor,
                inode: ino,
                mode: small(mode)?,
                uid: small(uid)?,
                gid: small(gid)?,
                links,
                content_bytes: size,
                path_bytes: name,
            },
            (Dialect::Old, [device, ino, mode, uid, gid, links, _, _, name, size, ..]) => Header {
                device,
                inode: ino,
                mode: small(mode)?,
                uid: small(uid)?,
                gid: small(gid)?,
                links,
                content_bytes: size,
                path_bytes: name,
            },
        };
        Ok((header, bytes as u64))
    }

    fn bytes(&mut self, bytes: u64) -> Result<Vec<u8>> {
        let mut read = Vec::new();
        self.reader
            .by_ref()
            .take(bytes)
            .read_to_end(&mut read)
            .map_err(|e| from_read("cannot be read", e))?;
        match read.len() as u64 == bytes {
            true => Ok(read),
            false => Err(cut_short()),
        }
    }

    fn skip(&mut self, content_bytes: u64) -> Result<()> {
        self.skip_exactly(content_bytes)?;
        self.skip_padding(content_bytes)
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

    /// Passes over what fills up to a multiple of four.
    fn skip_padding(&mut self, bytes: u64) -> Result<()> {
        match self.dialect {
            Dialect::New => self.skip_exactly(bytes.wrapping_neg() % 4),
            Dialect::Old => Ok(()),
        }
    }
}

fn raw(path: &[u8], owned: Owned) -> RawEntry<'_> {
    RawEntry {
        path,
        owned,
        xattrs: Xattrs::default(),
    }
}

fn cut_short() -> Error {
    Error::new(ErrorKind::Corrupt, "the cpio archive is cut short")
}
