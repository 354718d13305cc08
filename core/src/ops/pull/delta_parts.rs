//! Fetches parts of a delta: tries again, and continues where a transfer broke off.

use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::BytesMut;
use futures::StreamExt;

use super::{PullOptions, PullSource};
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::format::delta::{DeltaFile, PartHeader};
use crate::ops::delta::{OpenDelta, PartFile, PartSource};
use crate::repo::Repo;
use crate::store::{ScratchContent, ScratchFile};
use crate::transport::{FetchOptions, FetchedFile, RemotePath, Resume};

/// How much is gathered before it is appended: what an interruption can cost.
const APPEND_BYTES: usize = 128 * 1024;

/// The parts of a delta of a remote.
pub(super) struct Parts<'a> {
    source: &'a PullSource,
    options: &'a PullOptions,
    repo: &'a Repo,
    delta: OpenDelta,
    /// Bytes of the parts that were used and came with the superblock.
    inline_bytes: AtomicU64,
}

impl<'a> Parts<'a> {
    pub(super) fn new(
        source: &'a PullSource,
        options: &'a PullOptions,
        repo: &'a Repo,
        delta: OpenDelta,
    ) -> Self {
        Self {
            source,
            options,
            repo,
            delta,
            inline_bytes: AtomicU64::new(0),
        }
    }

    /// Returns how many bytes of the parts that were used are bytes of the superblock, which has been
    /// counted.
    pub(super) fn inline_bytes(&self) -> u64 {
        self.inline_bytes.load(Ordering::Relaxed)
    }

    fn subject(&self, file: &DeltaFile) -> Subject {
        Subject::Url(format!("{}/{file}", self.source.repo.describe()))
    }

    /// Transfers a part, which is `bytes_max` long, into the scratch place of the destination.
    async fn transfer(&self, file: &DeltaFile, bytes_max: u64) -> Result<Box<dyn ScratchFile>> {
        let scratch = self.repo.objects().scratch();
        let absent = || Error::unsupported("the repository has no place for half a download");
        let scratch = scratch.ok_or_else(absent)?;
        let (origin, path) = (self.source.repo.describe(), RemotePath::new(&file.path())?);
        let mut kept = scratch.take(&origin, &path).await?;
        let retry = &self.options.replicate.retry;
        let mut attempt = 0;
        loop {
            let received = kept.as_ref().map_or(0, |kept| kept.received_bytes());
            let opened = self.open_rest(file, kept.as_deref(), bytes_max).await;
            let outcome = match opened {
                // There was nothing left to come.
                Ok(None) if kept.is_some() => Ok(()),
                Ok(None) => Err(Error::missing("is not there").about(self.subject(file))),
                Ok(Some(fetched)) => {
                    if fetched.offset == 0 {
                        if let Some(old) = kept.take() {
                            old.discard().await?;
                        }
                        let validator = fetched.validator.clone();
                        let new = scratch.create(&origin, &path, validator, fetched.total_bytes);
                        kept = Some(new.await?);
                    }
                    match &mut kept {
                        Some(kept) => self.drain(fetched, &mut **kept, bytes_max).await,
                        None => Err(absent()),
                    }
                }
                Err(error) => Err(error),
            };
            let error = match (outcome, kept.take()) {
                (Ok(()), Some(done)) => return Ok(done),
                (Ok(()), None) => return Err(absent()),
                (Err(error), rest) => {
                    kept = rest;
                    error
                }
            };
            let now = kept.as_ref().map_or(0, |kept| kept.received_bytes());
            // A transfer that gets ahead may be interrupted as often as it likes.
            attempt = if now > received { 1 } else { attempt + 1 };
            let ErrorKind::Unavailable { retry_after } = error.kind() else {
                if let (ErrorKind::Corrupt, Some(wrong)) = (error.kind(), kept) {
                    wrong.discard().await?;
                }
                return Err(error.about(self.subject(file)));
            };
            if attempt > retry.retries {
                let error = error.about(self.subject(file));
                return Err(error.context(format!("gave up after {attempt} tries")));
            }
            self.options.replicate.progress.update(|s| s.retries += 1);
            tokio::time::sleep(retry.wait_before(attempt, 0, retry_after)).await;
        }
    }

    /// Opens what is still to come; `None`: nothing is, or there is no such file.
    async fn open_rest(
        &self,
        file: &DeltaFile,
        kept: Option<&dyn ScratchFile>,
        bytes_max: u64,
    ) -> Result<Option<FetchedFile>> {
        let received = kept.map_or(0, |kept| kept.received_bytes());
        if kept.is_some_and(|kept| kept.total_bytes() == Some(received)) {
            return Ok(None);
        }
        let validator = kept.and_then(|kept| kept.validator().cloned());
        let options = FetchOptions {
            unless: None,
            resume: validator.filter(|_| received > 0).map(|validator| Resume {
                offset: received,
                validator,
            }),
            bytes_max: Some(bytes_max),
        };
        let fetched = self.source.repo.open_delta_file(file, options).await?;
        let missing = || Error::missing("is not there").about(self.subject(file));
        let fetched = fetched.ok_or_else(missing)?;
        if fetched.offset != 0 && fetched.offset != received {
            let problem = "the other side continued at another offset";
            return Err(Error::corrupt(problem).about(self.subject(file)));
        }
        Ok(Some(fetched))
    }

    async fn drain(
        &self,
        mut file: FetchedFile,
        to: &mut dyn ScratchFile,
        bytes_max: u64,
    ) -> Result<()> {
        let mut gathered = BytesMut::new();
        let mut total = to.received_bytes();
        let result = loop {
            match file.bytes.next().await {
                None => break Ok(()),
                Some(Err(error)) => break Err(error),
                Some(Ok(chunk)) => {
                    let length = chunk.len() as u64;
                    // Also held against transports that do not enforce the limit themselves.
                    total += length;
                    if total > bytes_max {
                        let problem = format!("is longer than the limit, {bytes_max} bytes");
                        return Err(Error::corrupt(problem));
                    }
                    let progress = &self.options.replicate.progress;
                    progress.update(|s| s.transferred.done_bytes += length);
                    gathered.extend_from_slice(&chunk);
                }
            }
            if gathered.len() >= APPEND_BYTES {
                to.append(gathered.split().freeze()).await?;
            }
        };
        // Also after an error: what has arrived need not come again.
        if !gathered.is_empty() {
            to.append(gathered.freeze()).await?;
        }
        result
    }
}

#[async_trait]
impl PartSource for Parts<'_> {
    async fn open(&self, number: usize, header: &PartHeader) -> Result<PartFile> {
        if self.delta.superblock.inline(number).is_some() {
            let opened = self.delta.open(number, header).await?;
            self.inline_bytes
                .fetch_add(header.stored_bytes, Ordering::Relaxed);
            return Ok(opened);
        }
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        let file = DeltaFile::Part(self.delta.superblock.name, number);
        let most = self.options.delta_budget.part_bytes_max;
        let most = header.stored_bytes.min(most);
        let kept = self.transfer(&file, most).await?;
        let open = move || {
            let content = kept.open()?;
            let reader: Box<dyn Read + Send> = match content {
                ScratchContent::File(file) => Box::new(file.open()?),
                ScratchContent::Reader(reader) => reader,
            };
            let scratch = Some(kept);
            Ok(PartFile { reader, scratch })
        };
        self.repo.pool().run(open).await
    }
}
