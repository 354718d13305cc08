//! One object in memory.

use std::io::Read;
use std::time::SystemTime;

use bytes::Bytes;

use super::MemoryOptions;
use crate::codec::FlateCodec;
use crate::error::{Error, Result, from_read};
use crate::format::{Checksum, FileHeader, ObjectName, ObjectType};
use crate::store::{Body, Encoding, Incoming, Listed, Payload, Stat, Trust};

/// A verified object.
#[derive(Clone)]
pub(super) struct Object {
    kept: Kept,
    modified: Option<SystemTime>,
}

#[derive(Clone)]
enum Kept {
    Metadata(Bytes),
    File(FileHeader, Bytes),
    /// The whole framing, and how long the content is.
    Filez(Bytes, u64),
}

impl Object {
    /// Reads `incoming` to its end. **Blocking.**
    pub(super) fn read(incoming: Incoming, options: &MemoryOptions) -> Result<(ObjectName, Self)> {
        let (name, kept) = match (incoming.object_type(), options.encoding) {
            (ObjectType::File, Encoding::Canonical) => {
                let mut reader = incoming.into_content(&FlateCodec)?;
                let content = read_all(&mut reader)?;
                let header = reader.header().clone();
                (
                    file_name(reader.checksum())?,
                    Kept::File(header, content.into()),
                )
            }
            (ObjectType::File, Encoding::Filez) => {
                let mut reader = incoming.into_filez(&FlateCodec, options.deflate_level)?;
                let filez = read_all(&mut reader)?;
                let kept = Kept::Filez(filez.into(), reader.content_bytes());
                (file_name(reader.checksum())?, kept)
            }
            _ => {
                let (name, bytes) = incoming.into_metadata()?;
                (name, Kept::Metadata(bytes))
            }
        };
        let modified = options.clock.map(|now| now());
        Ok((name, Self { kept, modified }))
    }

    pub(super) fn body(&self) -> Body {
        match &self.kept {
            Kept::Metadata(bytes) => Body::Metadata(Payload::Bytes(bytes.clone())),
            Kept::File(header, content) => Body::File {
                header: header.clone(),
                content_bytes: content.len() as u64,
                content: Payload::Bytes(content.clone()),
            },
            Kept::Filez(filez, _) => Body::Filez {
                stored_bytes: Some(filez.len() as u64),
                payload: Payload::Bytes(filez.clone()),
            },
        }
    }

    pub(super) fn metadata(&self) -> Option<&Bytes> {
        match &self.kept {
            Kept::Metadata(bytes) => Some(bytes),
            Kept::File(..) | Kept::Filez(..) => None,
        }
    }

    pub(super) fn stored_bytes(&self) -> u64 {
        match &self.kept {
            Kept::Metadata(bytes) | Kept::File(_, bytes) | Kept::Filez(bytes, _) => {
                bytes.len() as u64
            }
        }
    }

    pub(super) fn unpacked_bytes(&self) -> u64 {
        match &self.kept {
            Kept::Metadata(bytes) | Kept::File(_, bytes) => bytes.len() as u64,
            Kept::Filez(_, content_bytes) => *content_bytes,
        }
    }

    pub(super) fn stat(&self) -> Stat {
        let encoding = match &self.kept {
            Kept::Metadata(_) | Kept::File(..) => Encoding::Canonical,
            Kept::Filez(..) => Encoding::Filez,
        };
        Stat {
            encoding,
            stored_bytes: self.stored_bytes(),
            trust: Trust::Whole,
        }
    }

    pub(super) fn listed(&self, name: ObjectName) -> Listed {
        Listed {
            name,
            stored_bytes: self.stored_bytes(),
            modified: self.modified,
        }
    }
}

fn read_all(reader: &mut impl Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader
        .read_to_end(&mut bytes)
        .map_err(|e| from_read("cannot be read", e))?;
    Ok(bytes)
}

fn file_name(checksum: Option<Checksum>) -> Result<ObjectName> {
    let unread = || Error::corrupt("was not read to its end");
    checksum.map(ObjectName::file).ok_or_else(unread)
}
