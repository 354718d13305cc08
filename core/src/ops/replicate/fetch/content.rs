//! Gets a file object: a short one in memory, a longer one through the scratch place.

use bytes::{Bytes, BytesMut};
use futures::StreamExt;

use super::received::{IN_MEMORY_BYTES_MAX, Received, small_len};
use super::{Arrival, Fetcher, Head, Transfer};
use crate::codec::FlateCodec;
use crate::error::{Error, ErrorKind, Result};
use crate::format::ObjectName;
use crate::ops::replicate::ceiling::Ceiling;
use crate::store::{Body, Incoming, Payload, ResumableSource, ScratchContent};
use crate::transport::{FetchOptions, FetchedFile, RemotePath, Validator};

/// How much is gathered before it is appended to a scratch file: what an interruption can cost.
const APPEND_BYTES: usize = 64 * 1024;

impl Fetcher {
    /// Fetches a file object, whose content is `unpacked_bytes` long if its commit says so. `None`: the
    /// source has it not.
    pub(in crate::ops::replicate) async fn content(
        &self,
        name: &ObjectName,
        unpacked_bytes: Option<u64>,
    ) -> Result<Option<Arrival>> {
        match (&self.resumable, &self.scratch) {
            (Some(source), Some(_)) => self.content_file(&**source, name, unpacked_bytes).await,
            _ => {
                let fetched = self.source.fetch(name).await.map_err(|e| e.about(*name))?;
                Ok(fetched.map(|body| {
                    let bytes = announced_bytes(&body).unwrap_or_default();
                    self.count(usize::try_from(bytes).unwrap_or(usize::MAX));
                    Arrival {
                        incoming: Incoming::named(*name, body),
                        spooled: None,
                        bytes,
                        transfer: Transfer::Unsure,
                    }
                }))
            }
        }
    }

    /// Reads the beginning of a file object. `None`: the source has it not.
    pub(in crate::ops::replicate) async fn head(&self, name: &ObjectName) -> Result<Option<Head>> {
        let mut attempt = 0;
        loop {
            match self.head_once(name).await {
                Ok(head) => {
                    self.pace.succeeded();
                    return Ok(head);
                }
                Err(error) => {
                    attempt += 1;
                    self.wait_or_fail(error.about(*name), attempt, name).await?;
                }
            }
        }
    }

    async fn head_once(&self, name: &ObjectName) -> Result<Option<Head>> {
        let Some(body) = self.source.fetch(name).await? else {
            return Ok(None);
        };
        let stored_bytes = announced_bytes(&body);
        let name = *name;
        let content = move || {
            let content = Incoming::named(name, body).into_content(&FlateCodec)?;
            Ok(content.content_bytes())
        };
        let content_bytes = self.pool.run(content).await?;
        Ok(Some(Head {
            stored_bytes,
            content_bytes,
        }))
    }

    /// Returns how many bytes of a file an earlier transfer left.
    pub(in crate::ops::replicate) async fn kept_bytes(&self, name: &ObjectName) -> Result<u64> {
        let (Some(source), Some(scratch)) = (&self.resumable, &self.scratch) else {
            return Ok(0);
        };
        let path = source.object_path(name);
        if !self.kept.lock().is_ok_and(|kept| kept.contains(&path)) {
            return Ok(0);
        }
        let file = scratch.take(source.origin(), &path).await?;
        // Only what has a validator can be continued.
        let file = file.filter(|file| file.validator().is_some());
        Ok(file.map_or(0, |file| file.received_bytes()))
    }

    async fn content_file(
        &self,
        source: &dyn ResumableSource,
        name: &ObjectName,
        announced_bytes: Option<u64>,
    ) -> Result<Option<Arrival>> {
        let path = source.object_path(name);
        let ceiling = Ceiling::new(self.limits.content_bytes_max, announced_bytes);
        let (mut received, mut ceiling) = self.take_kept(source, &path, ceiling).await?;
        let mut attempt = 0;
        loop {
            let before = received.bytes();
            let outcome = self
                .transfer(source, &path, &mut received, &mut ceiling)
                .await;
            match outcome {
                Ok(None) => return Ok(None),
                Ok(Some(transfer)) => {
                    self.pace.succeeded();
                    return self.arrival(*name, received, transfer).await.map(Some);
                }
                Err(error) => {
                    // A transfer that gets ahead may be interrupted as often as it likes.
                    attempt = if received.bytes() > before {
                        1
                    } else {
                        attempt + 1
                    };
                    let error = error.about(crate::Subject::Url(source.describe(&path)));
                    if is_worthless(&error, &received) {
                        received.discard().await?;
                        return Err(error);
                    }
                    self.wait_or_fail(error, attempt, name).await?;
                }
            }
        }
    }

    async fn take_kept(
        &self,
        source: &dyn ResumableSource,
        path: &RemotePath,
        mut ceiling: Ceiling,
    ) -> Result<(Received, Ceiling)> {
        let kept = self.kept.lock().is_ok_and(|mut kept| kept.remove(path));
        let (true, Some(scratch)) = (kept, &self.scratch) else {
            return Ok((Received::Nothing, ceiling));
        };
        let Some(file) = scratch.take(source.origin(), path).await? else {
            return Ok((Received::Nothing, ceiling));
        };
        let look = move || {
            let seen = ceiling.look_at(&*file);
            Ok((file, ceiling, seen))
        };
        let (file, ceiling, seen) = self.pool.run(look).await?;
        if let Err(error) = seen {
            tracing::debug!(%error, "what an earlier transfer left is of no use");
            file.discard().await?;
            let limit = ceiling.bytes_max();
            return Ok((Received::Nothing, Ceiling::new(limit, None)));
        }
        Ok((Received::Spooled(file), ceiling))
    }

    /// Transfers what is missing of a file. `None`: the source does not have it.
    async fn transfer(
        &self,
        source: &dyn ResumableSource,
        path: &RemotePath,
        received: &mut Received,
        ceiling: &mut Ceiling,
    ) -> Result<Option<Transfer>> {
        if received.is_complete() {
            return Ok(Some(Transfer::Unsure));
        }
        let options = FetchOptions {
            unless: None,
            resume: received.resume(),
            bytes_max: Some(ceiling.bytes_max()),
        };
        let Some(file) = source.fetch_file(path, options).await? else {
            return Ok(None);
        };
        let (offset, announced) = (file.offset, file.total_bytes);
        if file.offset == 0 || file.offset != received.bytes() {
            if file.offset != 0 {
                return Err(Error::corrupt("the other side continued at another offset"));
            }
            let version = (file.validator.clone(), file.total_bytes);
            self.start_over(source, path, received, version).await?;
            ceiling.start_over();
        }
        self.drain(file, received, ceiling).await?;
        Ok(Some(match announced == Some(received.bytes()) {
            true if offset == 0 => Transfer::Whole,
            _ => Transfer::Unsure,
        }))
    }

    async fn start_over(
        &self,
        source: &dyn ResumableSource,
        path: &RemotePath,
        received: &mut Received,
        (validator, total_bytes): (Option<Validator>, Option<u64>),
    ) -> Result<()> {
        if let Received::Spooled(old) = std::mem::take(received) {
            old.discard().await?;
        }
        let small = total_bytes.is_some_and(|total| total <= IN_MEMORY_BYTES_MAX);
        *received = match &self.scratch {
            Some(scratch) if !small => {
                let origin = source.origin();
                let file = scratch.create(origin, path, validator, total_bytes).await?;
                Received::Spooled(file)
            }
            _ => {
                let bytes = BytesMut::with_capacity(small_len(total_bytes));
                Received::Memory { validator, bytes }
            }
        };
        Ok(())
    }

    async fn drain(
        &self,
        mut file: FetchedFile,
        received: &mut Received,
        ceiling: &mut Ceiling,
    ) -> Result<()> {
        let mut gathered = BytesMut::new();
        let mut bytes_total = received.bytes();
        let announced = file.total_bytes.unwrap_or(u64::MAX);
        let result = loop {
            let chunk = match file.bytes.next().await {
                None => break Ok(()),
                Some(Err(error)) => break Err(error),
                Some(Ok(chunk)) => chunk,
            };
            self.count(chunk.len());
            // Also held against transports that do not enforce the limit themselves.
            bytes_total += chunk.len() as u64;
            if let Err(error) = ceiling.take(&chunk) {
                break Err(error);
            }
            let limit = ceiling.bytes_max();
            if bytes_total > limit {
                let problem = format!("is longer than the limit, {limit} bytes");
                break Err(Error::corrupt(problem));
            }
            if bytes_total > announced {
                break Err(Error::corrupt("is longer than was announced"));
            }
            match received {
                Received::Memory { bytes, .. } => {
                    bytes.extend_from_slice(&chunk);
                    if bytes.len() as u64 > IN_MEMORY_BYTES_MAX {
                        return Err(Error::corrupt("is longer than was announced"));
                    }
                }
                Received::Spooled(spool) => {
                    gathered.extend_from_slice(&chunk);
                    if gathered.len() >= APPEND_BYTES {
                        spool.append(gathered.split().freeze()).await?;
                    }
                }
                Received::Nothing => return Err(Error::invalid("nothing was begun")),
            }
        };
        // Also after an error: what has arrived need not come again.
        if let (Received::Spooled(spool), false) = (received, gathered.is_empty()) {
            spool.append(gathered.freeze()).await?;
        }
        result
    }

    async fn arrival(
        &self,
        name: ObjectName,
        received: Received,
        transfer: Transfer,
    ) -> Result<Arrival> {
        let bytes = received.bytes();
        let (payload, spooled) = match received {
            Received::Nothing => (Payload::Bytes(Bytes::new()), None),
            Received::Memory { bytes, .. } => (Payload::Bytes(bytes.freeze()), None),
            Received::Spooled(file) => {
                let open = move || Ok((file.open()?, file));
                let (content, file) = self.pool.run(open).await?;
                let payload = match content {
                    ScratchContent::File(file) => Payload::Local(file),
                    ScratchContent::Reader(reader) => Payload::Reader(reader),
                };
                (payload, Some(file))
            }
        };
        let body = Body::Filez {
            stored_bytes: Some(bytes),
            payload,
        };
        Ok(Arrival {
            incoming: Incoming::named(name, body),
            spooled,
            bytes,
            transfer,
        })
    }
}

/// Returns whether what was received need not be kept for another try: it is wrong, or of what has no
/// end that is known, and there is no room.
fn is_worthless(error: &Error, received: &Received) -> bool {
    match error.kind() {
        ErrorKind::Corrupt => true,
        ErrorKind::NoSpace { .. } => received.total_bytes().is_none(),
        _ => false,
    }
}

/// Returns how long a body is said to be where it comes from.
fn announced_bytes(body: &Body) -> Option<u64> {
    match body {
        Body::Filez { stored_bytes, .. } => *stored_bytes,
        Body::File { content_bytes, .. } => Some(*content_bytes),
        Body::Metadata(_) => None,
    }
}
