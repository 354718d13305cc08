//! The only thing a store accepts: an object that is checked while it is read.

use std::io::Read;

use bytes::Bytes;

use super::expected::Expected;
use super::vouched::{VouchedBytes, VouchedFilez};
use super::{Body, ContentReader, FilezReader, LocalFile, Payload, Takeover};
use crate::codec::Codec;
use crate::error::{Error, Result, from_read};
use crate::format::{Checksum, FileHeader, METADATA_BYTES_MAX, ObjectName, ObjectType};

/// An object on its way into a store.
///
/// Every way to get at its bytes verifies them: the reader ends in an error if they do not hash to
/// the name that was announced. A store that meets an error keeps nothing.
///
/// There are two exceptions, each asked for by name, by the caller and by the store: an object of
/// another repository in a directory, where the caller [vouches](Incoming::vouched) for that and the
/// store [believes](Incoming::believed) it, and the `.filez` of a mirror, where the caller vouches for
/// the [remote](Incoming::vouched_mirror) and the store [takes](Incoming::vouched_filez) it so.
#[derive(Debug)]
pub struct Incoming {
    claim: Claim,
    body: Body,
    metadata_bytes_max: u64,
    header_check: Option<HeaderCheck>,
    vouch: Vouch,
}

/// A rule that a file's header must meet, beyond being well formed.
pub type HeaderCheck = fn(&FileHeader) -> Result<()>;

#[derive(Debug)]
enum Claim {
    /// It must hash to this.
    Named(ObjectName),
    /// It is named by what it hashes to.
    Hashed(ObjectType),
}

/// Who says of what that it need not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Vouch {
    Nobody,
    /// Of an object of another repository on this machine.
    ForLocal,
    /// The same, and who reads it takes their word.
    Believed,
    /// Of the `.filez` of a remote, when an archive takes it as it came.
    ForMirror,
}

impl Incoming {
    /// Announces `body` as the object `name`.
    pub fn named(name: ObjectName, body: Body) -> Self {
        Self {
            claim: Claim::Named(name),
            body,
            metadata_bytes_max: METADATA_BYTES_MAX,
            header_check: None,
            vouch: Vouch::Nobody,
        }
    }

    /// Announces a file that is named by what it hashes to: one that is being recorded.
    pub fn recorded_file(header: FileHeader, content_bytes: u64, content: Payload) -> Self {
        let body = Body::File {
            header,
            content_bytes,
            content,
        };
        let claim = Claim::Hashed(ObjectType::File);
        Self {
            claim,
            body,
            metadata_bytes_max: METADATA_BYTES_MAX,
            header_check: None,
            vouch: Vouch::Nobody,
        }
    }

    /// Announces a metadata object that is named by what it hashes to.
    pub fn recorded_metadata(object_type: ObjectType, bytes: impl Into<Bytes>) -> Self {
        let body = Body::Metadata(Payload::Bytes(bytes.into()));
        let claim = Claim::Hashed(object_type);
        Self {
            claim,
            body,
            metadata_bytes_max: METADATA_BYTES_MAX,
            header_check: None,
            vouch: Vouch::Nobody,
        }
    }

    /// Limits how long a metadata object may be; the format's own limit stays.
    #[must_use]
    pub fn limit_metadata(mut self, bytes_max: u64) -> Self {
        self.metadata_bytes_max = bytes_max.min(METADATA_BYTES_MAX);
        self
    }

    /// Refuses a file whose header does not pass `check`.
    #[must_use]
    pub fn check_header(mut self, check: HeaderCheck) -> Self {
        self.header_check = Some(check);
        self
    }

    /// Says that the file it comes from, an object of another repository on this machine, is what its
    /// name says: [`LocalTrust::Vouched`](crate::ops::replicate::LocalTrust::Vouched).
    ///
    /// A store that makes a hard link to that file need not read it. Who copies it verifies it all the
    /// same, but for a store that takes the caller's word for [that](Self::believed), too.
    #[must_use]
    pub fn vouched(mut self) -> Self {
        self.vouch = Vouch::ForLocal;
        self
    }

    /// Returns whether a hard link to the file it comes from may be made without reading it.
    pub fn is_vouched(&self) -> bool {
        matches!(self.vouch, Vouch::ForLocal | Vouch::Believed) && self.name().is_some()
    }

    /// Takes the word of whoever [vouched](Self::vouched) for a file object: what reads it as
    /// [content](Self::into_content) or [`.filez`](Self::into_filez) then gives it the name that it was
    /// announced by, also if it does not hash to that. What nobody vouched for is verified as before.
    ///
    /// For a store that copies, from another repository in a directory, what could as well be linked.
    #[must_use]
    pub fn believed(mut self) -> Self {
        let is_of_a_repository = match &self.body {
            Body::Metadata(_) => false,
            Body::File {
                content: payload, ..
            }
            | Body::Filez { payload, .. } => {
                matches!(payload, Payload::Local(file) if matches!(file.takeover(), Takeover::Link(_)))
            }
        };
        if self.is_vouched() && is_of_a_repository {
            self.vouch = Vouch::Believed;
        }
        self
    }

    /// Says that the remote it came from, whole and in one piece, has under its name what the name
    /// says: [`RemoteTrust::VouchedMirror`](crate::ops::replicate::RemoteTrust::VouchedMirror).
    ///
    /// An archive that takes it as [`vouched_filez`](Self::vouched_filez) need not hash it. Every other
    /// way to get at the bytes verifies them all the same.
    #[must_use]
    pub fn vouched_mirror(mut self) -> Self {
        self.vouch = Vouch::ForMirror;
        self
    }

    /// Returns the `.filez` that an archive may keep as it is without hashing it; `None` for all that
    /// nobody [vouched](Self::vouched_mirror) for, and for what has to meet a rule: a header that is not
    /// verified meets none. **Blocking.**
    ///
    /// # Errors
    ///
    /// [`Corrupt`](crate::ErrorKind::Corrupt) when it is not as long as what arrived, when it does not
    /// begin as a file object does, or is longer than that beginning allows.
    pub fn vouched_filez(&self) -> Result<Option<VouchedFilez>> {
        let Body::Filez {
            stored_bytes: Some(stored_bytes),
            payload,
        } = &self.body
        else {
            return Ok(None);
        };
        let (Some(name), Vouch::ForMirror, None) = (self.name(), self.vouch, self.header_check)
        else {
            return Ok(None);
        };
        let bytes = match payload {
            Payload::Bytes(bytes) => VouchedBytes::Memory(bytes.clone()),
            Payload::Local(file) if file.takeover() == Takeover::Rename => VouchedBytes::File {
                opened: file.open()?,
                file: file.clone(),
            },
            _ => return Ok(None),
        };
        VouchedFilez::new(name, *stored_bytes, bytes).map(Some)
    }

    /// Returns the kind of object.
    pub fn object_type(&self) -> ObjectType {
        match &self.claim {
            Claim::Named(name) => name.object_type,
            Claim::Hashed(object_type) => *object_type,
        }
    }

    /// Returns the name, if it is known before the bytes are read.
    pub fn name(&self) -> Option<ObjectName> {
        match &self.claim {
            Claim::Named(name) => Some(*name),
            Claim::Hashed(_) => None,
        }
    }

    /// Returns the body's shape: which encoding, and how its bytes come.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// Returns the file on this machine that the content comes from, if it is one as it is.
    ///
    /// For sharing blocks or taking the file over **after** a [`ContentReader`] has verified it.
    pub fn local_content(&self) -> Option<&LocalFile> {
        match &self.body {
            Body::File {
                content: Payload::Local(file),
                ..
            } => Some(file),
            _ => None,
        }
    }

    /// Returns the file on this machine that is the whole `.filez`, if there is one.
    ///
    /// For taking it over **after** a [`FilezReader`] has verified it.
    pub fn local_filez(&self) -> Option<&LocalFile> {
        match &self.body {
            Body::Filez {
                payload: Payload::Local(file),
                ..
            } => Some(file),
            _ => None,
        }
    }

    /// Returns the file on this machine that a metadata object is, if it is one.
    ///
    /// For making a link to it **after** what it holds was verified, with
    /// [`verify_metadata`](Self::verify_metadata).
    pub fn local_metadata(&self) -> Option<&LocalFile> {
        match &self.body {
            Body::Metadata(Payload::Local(file)) => Some(file),
            _ => None,
        }
    }

    /// Checks bytes that were read from elsewhere against what was announced as metadata.
    pub fn verify_metadata(&self, bytes: impl Into<Bytes>) -> Result<(ObjectName, Bytes)> {
        let claim = match &self.claim {
            Claim::Named(name) => Claim::Named(*name),
            Claim::Hashed(object_type) => Claim::Hashed(*object_type),
        };
        let read = Self {
            claim,
            body: Body::Metadata(Payload::Bytes(bytes.into())),
            metadata_bytes_max: self.metadata_bytes_max,
            header_check: None,
            vouch: Vouch::Nobody,
        };
        read.into_metadata()
    }

    /// Returns the same announcement, with the same rules, of bytes that are read from elsewhere.
    ///
    /// For a store that reads a file through a descriptor which it holds open, so that what it
    /// verifies is what it takes. `None` for metadata.
    pub fn reading(&self, payload: Payload) -> Option<Self> {
        let body = match &self.body {
            Body::Metadata(_) => return None,
            Body::File {
                header,
                content_bytes,
                ..
            } => {
                let (header, content_bytes) = (header.clone(), *content_bytes);
                Body::File {
                    header,
                    content_bytes,
                    content: payload,
                }
            }
            Body::Filez { stored_bytes, .. } => Body::Filez {
                stored_bytes: *stored_bytes,
                payload,
            },
        };
        let claim = match &self.claim {
            Claim::Named(name) => Claim::Named(*name),
            Claim::Hashed(object_type) => Claim::Hashed(*object_type),
        };
        Some(Self {
            claim,
            body,
            metadata_bytes_max: self.metadata_bytes_max,
            header_check: self.header_check,
            vouch: self.vouch,
        })
    }

    /// Returns whether reading it costs little: it is at hand and small.
    pub fn is_at_hand(&self) -> bool {
        matches!(
            &self.body,
            Body::Metadata(Payload::Bytes(_))
                | Body::File {
                    content: Payload::Bytes(_),
                    ..
                }
                | Body::Filez {
                    payload: Payload::Bytes(_),
                    ..
                }
        )
    }

    /// Reads and verifies a metadata object. **Blocking.**
    pub fn into_metadata(self) -> Result<(ObjectName, Bytes)> {
        let object_type = self.object_type();
        let expected = self.name();
        let limit = self.metadata_bytes_max;
        let about = |error: Error| match expected {
            Some(name) => error.about(name),
            None => error,
        };
        let Body::Metadata(payload) = self.body else {
            return Err(about(Error::invalid(
                "a file body was announced as metadata",
            )));
        };
        let bytes = match payload {
            Payload::Bytes(bytes) => bytes,
            payload => {
                let mut bytes = Vec::new();
                let mut reader = payload.into_reader().map_err(about)?.take(limit + 1);
                reader
                    .read_to_end(&mut bytes)
                    .map_err(|e| about(from_read("cannot be read", e)))?;
                bytes.into()
            }
        };
        if bytes.len() as u64 > limit {
            let problem = format!("is longer than the limit for metadata, {limit} bytes");
            return Err(about(Error::corrupt(problem)));
        }
        let found = ObjectName::new(object_type, Checksum::of(&bytes));
        match expected {
            Some(name) if name != found => Err(Error::wrong_checksum(name, found.checksum)),
            _ => Ok((found, bytes)),
        }
    }

    /// Opens a file object for its header and content, verified at its end. **Blocking.**
    pub fn into_content(self, codec: &dyn Codec) -> Result<ContentReader> {
        let expected = self.expected_file()?;
        let check = self.header_check;
        let reader = match self.body {
            Body::File {
                header,
                content_bytes,
                content,
            } => ContentReader::plain(expected, header, content_bytes, content.into_reader()?)?,
            Body::Filez { payload, .. } => {
                ContentReader::inflating(expected, payload.into_reader()?, codec.inflater())?
            }
            Body::Metadata(_) => return Err(Error::invalid("metadata was announced as a file")),
        };
        pass(check, reader.header(), expected)?;
        Ok(reader)
    }

    /// Opens a file object as `.filez`, verified at its end. **Blocking.**
    ///
    /// What comes as `.filez` is passed on as it is; what does not is deflated at `level`.
    pub fn into_filez(self, codec: &dyn Codec, level: u8) -> Result<FilezReader> {
        let expected = self.expected_file()?;
        let check = self.header_check;
        let reader = match self.body {
            Body::Filez { payload, .. } => {
                FilezReader::passing(expected, payload.into_reader()?, codec.inflater())?
            }
            Body::File {
                header,
                content_bytes,
                content,
            } => {
                let reader = content.into_reader()?;
                let content = ContentReader::plain(expected, header, content_bytes, reader)?;
                FilezReader::deflating(content, codec.deflater(level))?
            }
            Body::Metadata(_) => return Err(Error::invalid("metadata was announced as a file")),
        };
        pass(check, reader.header(), expected)?;
        Ok(reader)
    }

    fn expected_file(&self) -> Result<Expected> {
        match (self.object_type(), &self.claim) {
            (ObjectType::File, Claim::Named(name)) => Ok(match self.vouch {
                Vouch::Believed => Expected::Vouched(name.checksum),
                Vouch::Nobody | Vouch::ForLocal | Vouch::ForMirror => Expected::Name(name.checksum),
            }),
            (ObjectType::File, Claim::Hashed(_)) => Ok(Expected::Any),
            _ => Err(Error::invalid("a metadata object has no content")),
        }
    }
}

fn pass(check: Option<HeaderCheck>, header: &FileHeader, expected: Expected) -> Result<()> {
    let result = check.map_or(Ok(()), |check| check(header));
    result.map_err(|error| expected.about(error))
}
