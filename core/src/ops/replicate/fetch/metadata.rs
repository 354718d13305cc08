//! Gets a metadata object: in memory, as a whole.

use bytes::BytesMut;
use futures::StreamExt;

use super::received::{IN_MEMORY_BYTES_MAX, Received, small_len};
use super::{ArrivedMetadata, Fetcher};
use crate::error::{Error, Result};
use crate::format::ObjectName;
use crate::ops::replicate::budget::{SHORT_BYTES_MAX, Share};
use crate::store::{Body, Payload, ResumableSource};
use crate::transport::FetchOptions;

impl Fetcher {
    /// Fetches a metadata object; its bytes are not verified yet. `None`: the source has it not.
    pub(in crate::ops::replicate) async fn metadata(
        &self,
        name: &ObjectName,
    ) -> Result<Option<ArrivedMetadata>> {
        let mut attempt = 0;
        let (mut received, mut broke) = (Received::Nothing, false);
        loop {
            let before = received.bytes();
            let outcome = match &self.resumable {
                Some(source) if broke => self.metadata_rest(&**source, name, &mut received).await,
                _ => self.metadata_once(name).await,
            };
            match outcome {
                Ok(bytes) => {
                    self.pace.succeeded();
                    return Ok(bytes);
                }
                Err(error) => {
                    broke = true;
                    // One that gets ahead may be interrupted as often as it likes.
                    attempt = match received.bytes() > before {
                        true => 1,
                        false => attempt + 1,
                    };
                    self.wait_or_fail(error.about(*name), attempt, name).await?;
                }
            }
        }
    }

    /// Fetches a metadata object whose transfer broke before: what is short goes on where it stopped,
    /// so that a line which never carries all of it at once brings it all the same.
    async fn metadata_rest(
        &self,
        source: &dyn ResumableSource,
        name: &ObjectName,
        received: &mut Received,
    ) -> Result<Option<ArrivedMetadata>> {
        let limit = self.limits.metadata_bytes_max;
        let options = FetchOptions {
            unless: None,
            resume: received.resume(),
            bytes_max: Some(limit),
        };
        let path = source.object_path(name);
        let Some(mut file) = source.fetch_file(&path, options).await? else {
            return Ok(None);
        };
        if file.offset == 0 {
            let total = file
                .total_bytes
                .filter(|n| *n <= IN_MEMORY_BYTES_MAX.min(limit));
            let Some(total) = total else {
                *received = Received::Nothing;
                let payload = Payload::Stream(file.bytes);
                return self.collect(payload, limit).await.map(Some);
            };
            *received = Received::Memory {
                validator: file.validator.clone(),
                bytes: BytesMut::with_capacity(small_len(Some(total))),
            };
        } else if file.offset != received.bytes() {
            return Err(Error::corrupt("the other side continued at another offset"));
        }
        let Received::Memory { bytes, .. } = received else {
            return Err(Error::invalid("nothing was begun"));
        };
        // Kept also if this ends in an error: it need not come again.
        while let Some(chunk) = file.bytes.next().await {
            let chunk = chunk?;
            self.count(chunk.len());
            if (bytes.len() + chunk.len()) as u64 > IN_MEMORY_BYTES_MAX.min(limit) {
                return Err(Error::corrupt("is longer than was announced"));
            }
            bytes.extend_from_slice(&chunk);
        }
        let bytes = std::mem::take(bytes);
        Ok(Some(ArrivedMetadata {
            bytes: bytes.freeze(),
            share: Share::default(),
        }))
    }

    async fn metadata_once(&self, name: &ObjectName) -> Result<Option<ArrivedMetadata>> {
        let Some(body) = self.source.fetch(name).await? else {
            return Ok(None);
        };
        let Body::Metadata(payload) = body else {
            return Err(Error::corrupt(
                "the source sent a file where metadata was asked for",
            ));
        };
        self.collect(payload, self.limits.metadata_bytes_max)
            .await
            .map(Some)
    }

    async fn collect(&self, payload: Payload, limit: u64) -> Result<ArrivedMetadata> {
        let too_long = || Error::corrupt(format!("is longer than the limit, {limit} bytes"));
        let mut share = Share::default();
        let bytes = match payload {
            Payload::Bytes(bytes) => bytes,
            Payload::Stream(mut stream) => {
                let mut all = BytesMut::new();
                while let Some(chunk) = stream.next().await {
                    let chunk = chunk?;
                    self.count(chunk.len());
                    let length = all.len() + chunk.len();
                    if length as u64 > limit {
                        return Err(too_long());
                    }
                    if length > SHORT_BYTES_MAX && !share.is_some() {
                        share = self.budget.all().await?;
                    }
                    all.extend_from_slice(&chunk);
                }
                all.freeze()
            }
            Payload::Reader(_) | Payload::Local(_) => {
                let problem = "a source of plain files is read through its local view";
                return Err(Error::unsupported(problem));
            }
        };
        if bytes.len() as u64 > limit {
            return Err(too_long());
        }
        share.shrink_to(bytes.len());
        Ok(ArrivedMetadata { bytes, share })
    }
}
