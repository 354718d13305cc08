//! Writing to a bucket.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    GetOptions, MultipartUpload, ObjectStoreExt as _, PutMode, PutOptions, PutPayload, PutResult,
    UpdateVersion,
};
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use treeferry_core::transport::{
    ListedFile, Precondition, PutAnswer, PutBody, RemotePath, Validator, WritableTransport,
};
use treeferry_core::{Error, ErrorKind, Result, Subject};

use crate::Provider;
use crate::conditions::Conditions;
use crate::failure::{self, Doing};
use crate::transport::{BucketTransport, Inner};

/// How many parts an upload may have; a longer file has longer parts.
const PARTS_MAX: u64 = 9_000;

impl Inner {
    async fn put_at_once(
        &self,
        path: &RemotePath,
        precondition: Precondition,
        bytes: Bytes,
    ) -> Result<PutAnswer> {
        let mode = match &precondition {
            Precondition::None => PutMode::Overwrite,
            Precondition::Absent => PutMode::Create,
            Precondition::Unchanged(validator) => match self.tag_of(validator) {
                // Conditions go by a number there, which ours always have.
                Some((_, None)) if self.address.provider == Provider::Gcs => {
                    return Ok(PutAnswer::Conflict);
                }
                Some((tag, version)) => {
                    let tag = match self.bare_tags.load(Ordering::Relaxed) {
                        true => tag.trim_matches('"').to_owned(),
                        false => tag,
                    };
                    let e_tag = Some(tag);
                    PutMode::Update(UpdateVersion { e_tag, version })
                }
                None => return Ok(PutAnswer::Conflict),
            },
        };
        let options = PutOptions {
            mode,
            ..PutOptions::default()
        };
        let put = self
            .store
            .put_opts(&self.key(path)?, bytes.into(), options)
            .await;
        match put {
            Ok(PutResult { e_tag, version, .. }) => Ok(PutAnswer::Done {
                validator: self.validator(e_tag, version),
            }),
            Err(
                object_store::Error::AlreadyExists { .. }
                | object_store::Error::Precondition { .. },
            ) => Ok(PutAnswer::Conflict),
            Err(error) => Err(failure::of(error, Doing::Writing).about(self.url(path))),
        }
    }

    /// Looks whether a condition holds, and then writes: for whoever writes alone.
    async fn look_and_put(
        &self,
        path: &RemotePath,
        precondition: Precondition,
        bytes: Bytes,
    ) -> Result<PutAnswer> {
        let options = GetOptions {
            head: true,
            ..GetOptions::default()
        };
        let current = match self.get(path, options).await? {
            Ok(got) => self.validator(got.meta.e_tag, got.meta.version),
            Err(object_store::Error::NotFound { .. }) => None,
            Err(error) => return Err(failure::of(error, Doing::Reading).about(self.url(path))),
        };
        let holds = match &precondition {
            Precondition::None => true,
            Precondition::Absent => current.is_none(),
            Precondition::Unchanged(expected) => same_version(current.as_ref(), expected),
        };
        match holds {
            true => self.put_at_once(path, Precondition::None, bytes).await,
            false => Ok(PutAnswer::Conflict),
        }
    }

    /// Sends a file in parts, several at once. Given up, it leaves nothing that anybody sees.
    async fn put_in_parts(
        &self,
        path: &RemotePath,
        total_bytes: u64,
        bytes: BoxStream<'static, Result<Bytes>>,
    ) -> Result<PutAnswer> {
        let key = self.key(path)?;
        let failed = |e| failure::of(e, Doing::Writing).about(self.url(path));
        let upload = self.store.put_multipart(&key).await.map_err(failed)?;
        let mut upload = Abandoned(Some(upload));
        let sent = self.send_parts(&mut upload, total_bytes, bytes).await;
        let Some(mut upload) = upload.0.take() else {
            return Err(Error::invalid("the upload is gone").about(self.url(path)));
        };
        let completed = match sent {
            Ok(()) => upload.complete().await.map_err(failed),
            Err(error) => {
                // What is left of it is not seen by anyone, and expires where that is set up.
                if let Err(error) = upload.abort().await {
                    tracing::warn!(%path, %error, "an upload could not be given up");
                }
                Err(error.about(self.url(path)))
            }
        };
        let PutResult { e_tag, version, .. } = completed?;
        Ok(PutAnswer::Done {
            validator: self.validator(e_tag, version),
        })
    }

    async fn send_parts(
        &self,
        upload: &mut Abandoned,
        total_bytes: u64,
        bytes: BoxStream<'static, Result<Bytes>>,
    ) -> Result<()> {
        let part_bytes = self.options.part_bytes.max(total_bytes.div_ceil(PARTS_MAX));
        let mut parts = in_parts(bytes, usize::try_from(part_bytes).unwrap_or(usize::MAX));
        // Tasks of their own, so that those of one file go on while another waits for its turn.
        let mut sending = JoinSet::new();
        loop {
            // Taken before the part is read: it bounds what is in memory, whatever is being sent.
            let turn = Arc::clone(&self.parts).acquire_owned().await;
            let turn = turn.map_err(|_| Error::invalid("the bucket is closed"))?;
            let Some(part) = parts.try_next().await? else {
                break;
            };
            let Some(upload) = &mut upload.0 else {
                return Err(Error::invalid("the upload is gone"));
            };
            let put = upload.put_part(PutPayload::from_bytes(part));
            sending.spawn(async move {
                let put = put.await;
                drop(turn);
                put
            });
            while let Some(sent) = sending.try_join_next() {
                check_part(sent)?;
            }
        }
        while let Some(sent) = sending.join_next().await {
            check_part(sent)?;
        }
        Ok(())
    }

    fn list(&self, prefix: &str) -> BoxStream<'static, Result<ListedFile>> {
        let (base, origin) = (self.address.prefix.clone(), self.origin.clone());
        let whole = match base.is_empty() {
            true => prefix.to_owned(),
            false => format!("{base}/{prefix}"),
        };
        let below = match Path::parse(&whole) {
            Ok(path) => path,
            Err(e) => {
                let error = Error::invalid("is no prefix of names in a bucket").because(e);
                return stream::iter([Err(error.about(Subject::Url(origin)))]).boxed();
            }
        };
        let empty = below.as_ref().is_empty();
        let listed = self.store.list((!empty).then_some(&below));
        let patience = self.options.stall_timeout * 2;
        let next = move |mut listed: BoxStream<'static, object_store::Result<_>>| async move {
            match timeout(patience, listed.try_next()).await {
                Ok(Ok(found)) => Ok(found.map(|found| (found, listed))),
                Ok(Err(error)) => Err(failure::of(error, Doing::Reading)),
                Err(_) => Err(failure::of_wait(patience, Doing::Reading)),
            }
        };
        let files = stream::try_unfold(listed, next);
        let files = files.try_filter_map(move |found: object_store::ObjectMeta| {
            let key = found.location.as_ref();
            let path = match base.is_empty() {
                true => Some(key),
                false => key
                    .strip_prefix(&*base)
                    .and_then(|rest| rest.strip_prefix('/')),
            };
            // What cannot be a path here was not written by us.
            let path = path.and_then(|path| RemotePath::new(path).ok());
            let file = path.map(|path| ListedFile {
                path,
                bytes: found.size,
                modified: Some(found.last_modified.into()),
            });
            std::future::ready(Ok(file))
        });
        files
            .map_err(move |e| e.about(Subject::Url(origin.clone())))
            .boxed()
    }
}

fn check_part(sent: std::result::Result<object_store::Result<()>, JoinError>) -> Result<()> {
    let sent = sent.map_err(|e| {
        Error::new(ErrorKind::Cancelled, "a part was not sent to its end").because(e)
    })?;
    sent.map_err(|e| failure::of(e, Doing::Writing))
}

/// Gives an upload up if it is dropped half way.
struct Abandoned(Option<Box<dyn MultipartUpload>>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        if let (Some(mut upload), Ok(runtime)) =
            (self.0.take(), tokio::runtime::Handle::try_current())
        {
            runtime.spawn(async move {
                if let Err(error) = upload.abort().await {
                    tracing::warn!(%error, "an upload could not be given up");
                }
            });
        }
    }
}

/// Compares tags, which come with quotes here and without them there.
fn same_version(current: Option<&Validator>, expected: &Validator) -> bool {
    let bare = |validator: &Validator| match validator {
        Validator::ETag(tag) | Validator::LastModified(tag) => tag.trim_matches('"').to_owned(),
    };
    current.map(bare) == Some(bare(expected))
}

/// Gathers pieces into parts of `part_bytes`; the last may be shorter.
fn in_parts(
    bytes: BoxStream<'static, Result<Bytes>>,
    part_bytes: usize,
) -> BoxStream<'static, Result<Bytes>> {
    let next = move |(mut bytes, mut part): (BoxStream<'static, Result<Bytes>>, BytesMut)| async move {
        while part.len() < part_bytes {
            match bytes.try_next().await? {
                Some(piece) => part.extend_from_slice(&piece),
                None if part.is_empty() => return Ok(None),
                None => return Ok(Some((part.split().freeze(), (bytes, part)))),
            }
        }
        let full = part.split_to(part_bytes).freeze();
        Ok(Some((full, (bytes, part))))
    };
    stream::try_unfold((bytes, BytesMut::new()), next).boxed()
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl WritableTransport for BucketTransport {
    async fn put(
        &self,
        path: &RemotePath,
        precondition: Precondition,
        body: PutBody,
    ) -> Result<PutAnswer> {
        let inner = &*self.inner;
        let total_bytes = body.total_bytes();
        if precondition == Precondition::None && total_bytes > inner.options.part_bytes {
            return inner
                .put_in_parts(path, total_bytes, body.into_stream())
                .await;
        }
        let bytes = body.collect().await.map_err(|e| e.about(inner.url(path)))?;
        match (&inner.conditions, &precondition) {
            (Conditions::Unknown, Precondition::Absent | Precondition::Unchanged(_)) => {
                let problem = "the bucket was opened to be read: whether it enforces conditions is \
                               not known";
                Err(Error::unsupported(problem).about(inner.url(path)))
            }
            (Conditions::Looked(alone), Precondition::Absent | Precondition::Unchanged(_)) => {
                let _alone = alone.lock().await;
                inner.look_and_put(path, precondition, bytes).await
            }
            _ => inner.put_at_once(path, precondition, bytes).await,
        }
    }

    async fn delete(&self, paths: &[RemotePath]) -> Result<()> {
        let keys = paths.iter().map(|path| self.inner.key(path));
        let keys: Vec<Path> = keys.collect::<Result<_>>()?;
        let mut deleted = self
            .inner
            .store
            .delete_stream(stream::iter(keys).map(Ok).boxed());
        while let Some(answer) = deleted.next().await {
            match answer {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => {
                    let url = Subject::Url(self.inner.origin.clone());
                    return Err(failure::of(error, Doing::Writing).about(url));
                }
            }
        }
        Ok(())
    }

    fn list(&self, prefix: &str) -> BoxStream<'static, Result<ListedFile>> {
        self.inner.list(prefix)
    }
}
