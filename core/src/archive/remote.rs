//! A repository in the archive layout, read over transports.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::layout::{self, CONFIG_PATH, SUMMARY_PATH, SUMMARY_SIGNATURE_PATH};
use super::read::{self, FileVersion, IfChanged};
use super::ref_file::{REF_BYTES_MAX, RefFile};
use crate::error::{Error, Result};
use crate::format::delta::DeltaFile;
use crate::format::{Checksum, METADATA_BYTES_MAX, ObjectName, ObjectType, Summary};
use crate::store::{
    Body, Encoding, LocalObjects, ObjectSource, Payload, RefName, ResumableSource, Stat,
};
use crate::transport::{FetchOptions, Fetched, FetchedFile, RemotePath, Transport, Validator};

/// The longest configuration that is read, bytes.
pub(super) const CONFIG_BYTES_MAX: u64 = 1024 * 1024;

/// How much is accepted from a remote. What is longer is refused before, or while, it arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveLimits {
    /// The longest commit, dirtree, dirmeta, detached metadata or summary, bytes.
    pub metadata_bytes_max: u64,
    /// The longest content object, compressed bytes.
    pub content_bytes_max: Option<u64>,
}

impl Default for ArchiveLimits {
    /// Metadata as long as the format allows, and content of any length.
    fn default() -> Self {
        Self {
            metadata_bytes_max: METADATA_BYTES_MAX,
            content_bytes_max: None,
        }
    }
}

/// A remote repository in the archive layout. Clones are the same remote.
#[derive(Debug, Clone)]
pub struct ArchiveRemote(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    metadata: Arc<dyn Transport>,
    objects: Arc<dyn Transport>,
    limits: ArchiveLimits,
    /// The summary, where it is known from elsewhere.
    summary: Option<Bytes>,
}

impl ArchiveRemote {
    /// Creates a remote whose files all come over one transport.
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Self::with_content(Arc::clone(&transport), transport)
    }

    /// Creates a remote with a second transport for what is named by its hash.
    ///
    /// Refs, summary, configuration and detached metadata come over `metadata`; objects and deltas
    /// over `content` (OSTree's `contenturl`).
    pub fn with_content(metadata: Arc<dyn Transport>, content: Arc<dyn Transport>) -> Self {
        Self(Arc::new(Inner {
            metadata,
            objects: content,
            limits: ArchiveLimits::default(),
            summary: None,
        }))
    }

    /// Returns this remote with other limits.
    #[must_use]
    pub fn limited(self, limits: ArchiveLimits) -> Self {
        Self(Arc::new(Inner {
            metadata: Arc::clone(&self.0.metadata),
            objects: Arc::clone(&self.0.objects),
            limits,
            summary: self.0.summary.clone(),
        }))
    }

    /// Returns this remote with a summary that something else vouches for, such as a [`Metalink`].
    ///
    /// What the remote itself has for its summary and refs is not looked at then.
    ///
    /// [`Metalink`]: super::Metalink
    #[must_use]
    pub fn with_summary(self, summary: Bytes) -> Self {
        Self(Arc::new(Inner {
            metadata: Arc::clone(&self.0.metadata),
            objects: Arc::clone(&self.0.objects),
            limits: self.0.limits,
            summary: Some(summary),
        }))
    }

    /// Returns the address of the remote, without secrets.
    pub fn origin(&self) -> &str {
        self.0.metadata.origin()
    }

    /// Returns how much is accepted.
    pub fn limits(&self) -> ArchiveLimits {
        self.0.limits
    }

    /// Returns the commit that a ref holds, or `None` when there is no such ref.
    ///
    /// [`Corrupt`](crate::ErrorKind::Corrupt) when the file there is no ref.
    pub async fn read_ref(&self, name: &RefName) -> Result<Option<Checksum>> {
        if let Some(bytes) = &self.0.summary {
            return self.ref_of_summary(bytes, name);
        }
        let path = layout::ref_path(name);
        let answer = self.read_metadata(&path, None, REF_BYTES_MAX).await?;
        let Some(bytes) = answer.into_bytes() else {
            return Ok(None);
        };
        RefFile::parse(&bytes)
            .map(|file| Some(file.commit))
            .map_err(|e| Error::from(e).about(read::url(&*self.0.metadata, &path)))
    }

    fn ref_of_summary(&self, bytes: &[u8], name: &RefName) -> Result<Option<Checksum>> {
        let about = |e| Error::from(e).about(crate::Subject::Url(self.origin().into()));
        let summary = Summary::parse(bytes).map_err(about)?;
        Ok(match name {
            RefName::Local(branch) => summary.find(branch.as_str()).map(|found| found.commit),
            // Refs of other collections are not served to who does not ask for those.
            RefName::Remote(..) | RefName::Mirror(..) => None,
        })
    }

    /// Returns the detached metadata of a commit, the bytes of an `a{sv}`.
    pub async fn read_detached(&self, commit: &Checksum) -> Result<Option<Bytes>> {
        let path = layout::detached_path(commit);
        let limit = self.0.limits.metadata_bytes_max;
        let answer = self.read_metadata(&path, None, limit).await?;
        Ok(answer.into_bytes())
    }

    /// Returns whether, and how, a commit is recorded as deleted on purpose.
    pub async fn read_tombstone(&self, commit: &Checksum) -> Result<Option<Bytes>> {
        let path = layout::tombstone_path(commit);
        let limit = self.0.limits.metadata_bytes_max;
        let answer = self.read_metadata(&path, None, limit).await?;
        Ok(answer.into_bytes())
    }

    /// Returns the configuration, the bytes of a key file.
    pub async fn read_config(&self) -> Result<Option<Bytes>> {
        let path = layout::fixed_path(CONFIG_PATH);
        let answer = self.read_metadata(&path, None, CONFIG_BYTES_MAX).await?;
        Ok(answer.into_bytes())
    }

    /// Reads the summary, unless it still is the version that the caller has.
    pub async fn read_summary(&self, unless: Option<&Validator>) -> Result<IfChanged> {
        if let Some(bytes) = &self.0.summary {
            let (bytes, validator) = (bytes.clone(), None);
            return Ok(IfChanged::Changed(FileVersion { bytes, validator }));
        }
        let path = layout::fixed_path(SUMMARY_PATH);
        let limit = self.0.limits.metadata_bytes_max;
        self.read_metadata(&path, unless, limit).await
    }

    /// Reads the signature of the summary, unless it still is the version that the caller has.
    ///
    /// The two files are not replaced as one on a web server: a signature that does not fit the
    /// summary may fit when both are read again.
    pub async fn read_summary_signature(&self, unless: Option<&Validator>) -> Result<IfChanged> {
        let path = layout::fixed_path(SUMMARY_SIGNATURE_PATH);
        let limit = self.0.limits.metadata_bytes_max;
        self.read_metadata(&path, unless, limit).await
    }

    /// Reads flatpak's index of summaries and its signature, the bytes of an `a{sv}`: that which is
    /// named by the hash of the index, else the one beside it.
    pub async fn read_summary_index(&self) -> Result<Option<(Bytes, Option<Bytes>)>> {
        let limit = self.0.limits.metadata_bytes_max;
        let path = layout::fixed_path(layout::SUMMARY_INDEX_PATH);
        let answer = self.read_metadata(&path, None, limit).await?;
        let Some(index) = answer.into_bytes() else {
            return Ok(None);
        };
        let paths = [
            layout::index_signature_path(&Checksum::of(&index)),
            layout::fixed_path(layout::SUMMARY_INDEX_SIGNATURE_PATH),
        ];
        let mut signature = None;
        for path in paths {
            if signature.is_none() {
                signature = self.read_metadata(&path, None, limit).await?.into_bytes();
            }
        }
        Ok(Some((index, signature)))
    }

    /// Reads a sub-summary, packed by gzip.
    pub async fn read_sub_summary(&self, checksum: &Checksum) -> Result<Option<Bytes>> {
        let path = layout::sub_summary_path(checksum);
        let limit = self.0.limits.metadata_bytes_max;
        let answer = self.read_metadata(&path, None, limit).await?;
        Ok(answer.into_bytes())
    }

    /// Reads a file that is named by its hash, whole: a part of a delta, or an index.
    pub async fn read_content(
        &self,
        path: &RemotePath,
        bytes_max: u64,
    ) -> Result<Option<FileVersion>> {
        match read::read(&*self.0.objects, path, None, bytes_max).await? {
            IfChanged::Changed(version) => Ok(Some(version)),
            IfChanged::Missing | IfChanged::Unchanged => Ok(None),
        }
    }

    /// Opens a file of a delta, or the rest of one. `None` when it is not there.
    pub async fn open_delta_file(
        &self,
        file: &DeltaFile,
        options: FetchOptions,
    ) -> Result<Option<FetchedFile>> {
        self.open_object(&layout::delta_path(file), options).await
    }

    async fn read_metadata(
        &self,
        path: &RemotePath,
        unless: Option<&Validator>,
        bytes_max: u64,
    ) -> Result<IfChanged> {
        read::read(&*self.0.metadata, path, unless, bytes_max).await
    }

    async fn open_object(
        &self,
        path: &RemotePath,
        options: FetchOptions,
    ) -> Result<Option<FetchedFile>> {
        let transport = &*self.0.objects;
        match read::open(transport, path, options).await? {
            Some(Fetched::File(file)) => Ok(Some(file)),
            // Objects do not change: nobody has a reason to ask whether one did.
            Some(Fetched::NotModified) => Err(Error::invalid("objects are not asked for changes")
                .about(read::url(transport, path))),
            None => Ok(None),
        }
    }
}

#[async_trait]
impl ObjectSource for ArchiveRemote {
    fn encoding(&self) -> Encoding {
        Encoding::Filez
    }

    async fn stat(&self, _names: &[ObjectName]) -> Result<Vec<Option<Stat>>> {
        let problem = "a remote cannot be asked which objects it has; fetch them";
        Err(Error::unsupported(problem).about(crate::Subject::Url(self.origin().into())))
    }

    async fn fetch(&self, name: &ObjectName) -> Result<Option<Body>> {
        // Archives hold the attributes of a file in its header.
        if name.object_type == ObjectType::FileXattrs {
            return Ok(None);
        }
        let path = layout::object_path(name);
        let limits = self.0.limits;
        let is_file = name.object_type == ObjectType::File;
        let options = FetchOptions {
            bytes_max: match is_file {
                true => limits.content_bytes_max,
                false => Some(limits.metadata_bytes_max),
            },
            ..FetchOptions::default()
        };
        let Some(file) = self.open_object(&path, options).await? else {
            return Ok(None);
        };
        let (stored_bytes, payload) = (file.total_bytes, Payload::Stream(file.bytes));
        Ok(Some(match is_file {
            true => Body::Filez {
                stored_bytes,
                payload,
            },
            false => Body::Metadata(payload),
        }))
    }

    fn local(&self) -> Option<Arc<dyn LocalObjects>> {
        None
    }

    fn resumable(&self) -> Option<Arc<dyn ResumableSource>> {
        Some(Arc::new(self.clone()))
    }
}

#[async_trait]
impl ResumableSource for ArchiveRemote {
    fn object_path(&self, name: &ObjectName) -> RemotePath {
        layout::object_path(name)
    }

    fn origin(&self) -> &str {
        self.0.objects.origin()
    }

    fn describe(&self, path: &RemotePath) -> String {
        self.0.objects.describe(path)
    }

    async fn fetch_file(
        &self,
        path: &RemotePath,
        options: FetchOptions,
    ) -> Result<Option<FetchedFile>> {
        self.open_object(path, options).await
    }
}
