//! Small files of a remote, read whole.

use bytes::{Bytes, BytesMut};
use futures::StreamExt;

use crate::error::{Error, Result, Subject};
use crate::transport::{FetchOptions, Fetched, FetchedFile, RemotePath, Transport, Validator};

/// A small file, and the version that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileVersion {
    /// All its bytes.
    pub bytes: Bytes,
    /// Its version, if the server says: give it to the next read.
    pub validator: Option<Validator>,
}

/// The answer to reading a file if it is not the version that one has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IfChanged {
    /// There is no such file.
    Missing,
    /// It is still that version.
    Unchanged,
    /// It is another.
    Changed(FileVersion),
}

impl IfChanged {
    /// Returns the bytes; `None` if the file is missing or unchanged.
    pub fn into_bytes(self) -> Option<Bytes> {
        match self {
            Self::Changed(version) => Some(version.bytes),
            Self::Missing | Self::Unchanged => None,
        }
    }
}

/// Returns the address of `path`, as what an error is about.
pub(super) fn url(transport: &dyn Transport, path: &RemotePath) -> Subject {
    Subject::Url(transport.describe(path))
}

/// Opens a file of at most `options.bytes_max` bytes, and checks that the answer fits the question.
pub(super) async fn open(
    transport: &dyn Transport,
    path: &RemotePath,
    options: FetchOptions,
) -> Result<Option<Fetched>> {
    let about = |problem: String| Error::corrupt(problem).about(url(transport, path));
    let limit = options.bytes_max.unwrap_or(u64::MAX);
    let (conditional, resumed_at) = (
        options.unless.is_some(),
        options.resume.as_ref().map_or(0, |resume| resume.offset),
    );
    let answer = transport.fetch(path, options).await?;
    match &answer {
        Some(Fetched::NotModified) if !conditional => Err(about(
            "is called unchanged by the server, which was not asked".into(),
        )),
        Some(Fetched::File(file)) if file.offset != 0 && file.offset != resumed_at => {
            let problem = format!("starts at byte {}, not {resumed_at}", file.offset);
            Err(about(problem))
        }
        Some(Fetched::File(file)) if file.total_bytes.is_some_and(|n| n > limit) => {
            let bytes = file.total_bytes.unwrap_or_default();
            Err(about(format!(
                "is {bytes} bytes long, over the limit of {limit} bytes"
            )))
        }
        _ => Ok(answer),
    }
}

/// Reads a file whole.
pub(super) async fn read(
    transport: &dyn Transport,
    path: &RemotePath,
    unless: Option<&Validator>,
    bytes_max: u64,
) -> Result<IfChanged> {
    let options = FetchOptions {
        unless: unless.cloned(),
        resume: None,
        bytes_max: Some(bytes_max),
    };
    match open(transport, path, options).await? {
        None => Ok(IfChanged::Missing),
        Some(Fetched::NotModified) => Ok(IfChanged::Unchanged),
        Some(Fetched::File(file)) => collect(file, bytes_max)
            .await
            .map(IfChanged::Changed)
            .map_err(|e| e.about(url(transport, path))),
    }
}

/// Reads a file of at most `bytes_max` bytes whole; `None` when it is not there.
pub async fn read_file(
    transport: &dyn Transport,
    path: &RemotePath,
    bytes_max: u64,
) -> Result<Option<Bytes>> {
    Ok(read(transport, path, None, bytes_max).await?.into_bytes())
}

async fn collect(mut file: FetchedFile, bytes_max: u64) -> Result<FileVersion> {
    let mut all = BytesMut::new();
    while let Some(chunk) = file.bytes.next().await {
        let chunk = chunk?;
        // Also held against transports that do not enforce the limit themselves.
        if all.len() as u64 + chunk.len() as u64 > bytes_max {
            let problem = format!("is longer than the limit of {bytes_max} bytes");
            return Err(Error::corrupt(problem));
        }
        all.extend_from_slice(&chunk);
    }
    Ok(FileVersion {
        bytes: all.freeze(),
        validator: file.validator,
    })
}
