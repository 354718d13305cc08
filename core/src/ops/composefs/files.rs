//! What an image must know of a file.

use std::fs::File;
use std::io::{self, Read};

use rustix::fs::{AtFlags, StatxAttributes, StatxFlags};
use treeferry_core_composefs::{Digest, VerityHasher};

use super::FileDigests;
use crate::codec::Codec;
use crate::error::{Error, Result, from_read};
use crate::format::{Checksum, FileHeader, ObjectName};
use crate::store::{Body, ContentReader, Incoming, LocalContent, LocalObjects};

/// What an image must know of a file.
#[derive(Debug)]
pub(super) struct FileFacts {
    pub(super) header: FileHeader,
    pub(super) content_bytes: u64,
    pub(super) digest: Option<Digest>,
}

/// Looks at an object of a store of plain files. **Blocking.**
pub(super) fn look_local(
    local: &dyn LocalObjects,
    checksum: &Checksum,
    digests: FileDigests,
    codec: &dyn Codec,
) -> Result<FileFacts> {
    let object = local.open_file(checksum)?;
    let object = object.ok_or_else(|| missing(*checksum))?;
    let wanted = match digests {
        FileDigests::None => false,
        FileDigests::All => true,
        FileDigests::Sealed => match &object.content {
            LocalContent::Plain(file) => is_sealed(&file.open()?)
                .map_err(|e| Error::io("cannot be looked at", e).about(file.path()))?,
            LocalContent::Filez(_) | LocalContent::None => false,
        },
    };
    if !wanted {
        return Ok(FileFacts {
            header: object.header,
            content_bytes: object.content_bytes,
            digest: None,
        });
    }
    look(*checksum, object.into(), FileDigests::All, codec)
}

/// Looks at an object that comes from anywhere. **Blocking.**
pub(super) fn look(
    checksum: Checksum,
    body: Body,
    digests: FileDigests,
    codec: &dyn Codec,
) -> Result<FileFacts> {
    let name = ObjectName::file(checksum);
    let mut content = Incoming::named(name, body).into_content(codec)?;
    let (header, content_bytes) = (content.header().clone(), content.content_bytes());
    let digest = match digests {
        FileDigests::All => read(&mut content, content_bytes)
            .map_err(|e| from_read("cannot be read", e).about(name))?,
        FileDigests::Sealed | FileDigests::None => None,
    };
    Ok(FileFacts {
        header,
        content_bytes,
        digest,
    })
}

/// Computes the digest of content that is verified meanwhile; an empty file needs none.
fn read(content: &mut ContentReader, content_bytes: u64) -> io::Result<Option<Digest>> {
    let mut hasher = VerityHasher::new();
    hasher.update_from(content as &mut dyn Read)?;
    Ok((content_bytes > 0).then(|| hasher.finish()))
}

/// Returns whether fs-verity seals a file: the kernel keeps it from being changed, and verifies what is read
/// from it. **Blocking.**
pub fn is_sealed(file: &File) -> io::Result<bool> {
    let stat = rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::empty())?;
    Ok(stat.stx_attributes.contains(StatxAttributes::VERITY))
}

pub(super) fn missing(checksum: Checksum) -> Error {
    Error::missing("is not in the repository").about(ObjectName::file(checksum))
}
