//! Writing wrongly.

use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use treeferry_core::transport::{
    FetchOptions, Fetched, ListedFile, Precondition, PutAnswer, PutBody, RemotePath, Transport,
    Validator, WritableTransport,
};
use treeferry_core::{Error, ErrorKind, Result};

use super::{Fault, Faulty};

/// How many a place takes, or tells, at once.
const PAGE: usize = 1000;

impl Faulty {
    async fn version(&self, path: &RemotePath) -> Result<Option<Validator>> {
        match self.inner.fetch(path, FetchOptions::default()).await? {
            Some(Fetched::File(file)) => Ok(file.validator),
            _ => Ok(None),
        }
    }

    /// Writes whatever came of a body, piece by piece or at its end.
    async fn put_piecemeal(&self, path: &RemotePath, body: PutBody) -> Result<PutAnswer> {
        let (announced, mut bytes) = match body {
            PutBody::Bytes(bytes) => {
                return self
                    .inner
                    .put(path, Precondition::None, PutBody::Bytes(bytes))
                    .await;
            }
            PutBody::Stream { total_bytes, bytes } => (total_bytes, bytes),
        };
        let mut all = BytesMut::new();
        let end = loop {
            match bytes.try_next().await {
                Ok(Some(piece)) => all.extend_from_slice(&piece),
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
            if self.fault == Fault::ShowsPuts {
                let part = PutBody::Bytes(Bytes::copy_from_slice(&all));
                self.inner.put(path, Precondition::None, part).await?;
            }
        };
        let short = all.len() as u64 != announced;
        // A put that fails is right in the end, where only being seen under way is wrong.
        let all = PutBody::Bytes(all.freeze());
        if self.fault != Fault::TakesTheWrongLength {
            self.inner.put(path, Precondition::None, all).await?;
            end?;
            return match short {
                true => Err(Error::invalid("not as many bytes as announced")),
                false => Ok(PutAnswer::Done {
                    validator: self.version(path).await?,
                }),
            };
        }
        end?;
        self.inner.put(path, Precondition::None, all).await
    }

    /// Compares, lets others in, and writes.
    async fn compare_then_write(
        &self,
        path: &RemotePath,
        precondition: Precondition,
        body: PutBody,
    ) -> Result<PutAnswer> {
        let current = self.version(path).await?;
        let holds = match precondition {
            Precondition::None => true,
            Precondition::Absent => current.is_none(),
            Precondition::Unchanged(expected) => current == Some(expected),
        };
        if !holds {
            return Ok(PutAnswer::Conflict);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
        self.inner.put(path, Precondition::None, body).await
    }

    async fn put_wrongly(
        &self,
        path: &RemotePath,
        precondition: Precondition,
        body: PutBody,
    ) -> Result<PutAnswer> {
        let unconditional = precondition == Precondition::None;
        let precondition = match precondition {
            Precondition::Unchanged(mut version)
                if matches!(
                    self.fault,
                    Fault::VersionsPerHandle | Fault::VersionsAreLengths
                ) =>
            {
                self.translate(path, &mut version).await;
                Precondition::Unchanged(version)
            }
            precondition => precondition,
        };
        match (self.fault, &precondition) {
            (Fault::ShowsPuts | Fault::KeepsWhatBroke | Fault::TakesTheWrongLength, _)
                if unconditional =>
            {
                return self.put_piecemeal(path, body).await;
            }
            (Fault::IgnoresAbsent, Precondition::Absent)
            | (Fault::IgnoresUnchanged, Precondition::Unchanged(_)) => {
                return self.inner.put(path, Precondition::None, body).await;
            }
            (Fault::ComparesThenWrites, _) if !unconditional => {
                return self.compare_then_write(path, precondition, body).await;
            }
            (Fault::RefusesConditions, _) if !unconditional => {
                return Err(Error::unsupported("puts have no conditions here"));
            }
            (Fault::ConflictWrites, _) if !unconditional => {
                let bytes = body.collect().await?;
                let again = PutBody::Bytes(bytes.clone());
                let answer = self.inner.put(path, precondition, again).await?;
                if answer == PutAnswer::Conflict {
                    let late = PutBody::Bytes(bytes);
                    self.inner.put(path, Precondition::None, late).await?;
                }
                return Ok(answer);
            }
            _ => {}
        }
        self.inner.put(path, precondition, body).await
    }

    fn make_listed_wrong(&self, mut file: ListedFile) -> Option<ListedFile> {
        match self.fault {
            Fault::ListsNoEmptyFiles if file.bytes == 0 => return None,
            Fault::ListsTheWrongLength => file.bytes = file.bytes.div_ceil(512) * 512,
            Fault::ListsNoTimes => file.modified = None,
            _ => {}
        }
        Some(file)
    }
}

#[async_trait]
impl WritableTransport for Faulty {
    async fn put(
        &self,
        path: &RemotePath,
        precondition: Precondition,
        body: PutBody,
    ) -> Result<PutAnswer> {
        let path = &match self.fault {
            Fault::FoldsCase => RemotePath::new(&path.as_str().to_lowercase())?,
            Fault::DecodesPercent => super::read::decoded(path),
            _ => path.clone(),
        };
        let before = self.version(path).await?;
        let answer = self.put_wrongly(path, precondition, body).await;
        self.seen.lock().unwrap().remove(path);
        match (self.fault, answer) {
            (Fault::ConflictIsAnError, Ok(PutAnswer::Conflict)) => {
                Err(Error::new(ErrorKind::Locked, "somebody else wrote it"))
            }
            (Fault::BreaksAsCorrupt, Err(error)) => Err(Error::corrupt("broke").because(error)),
            (Fault::TellsTheOldVersion, Ok(PutAnswer::Done { validator })) => {
                let validator = before.or(validator);
                Ok(PutAnswer::Done { validator })
            }
            (
                Fault::TellsNoVersions | Fault::VersionsPerHandle | Fault::VersionsAreLengths,
                Ok(PutAnswer::Done { .. }),
            ) => Ok(PutAnswer::Done { validator: None }),
            (Fault::ListsWhatFailed, Err(error)) => {
                let left = RemotePath::new(&format!("{path}.tmp"))?;
                self.left.lock().unwrap().push(left);
                Err(error)
            }
            (_, answer) => answer,
        }
    }

    async fn delete(&self, paths: &[RemotePath]) -> Result<()> {
        let mut seen = self.seen.lock().unwrap().clone();
        paths.iter().for_each(|path| drop(seen.remove(path)));
        *self.seen.lock().unwrap() = seen;
        match self.fault {
            Fault::DeletesAThousand => {
                let paths = &paths[..paths.len().min(PAGE)];
                self.inner.delete(paths).await
            }
            Fault::DeletesNothingAbsent => {
                for path in paths {
                    if self.version(path).await?.is_none() {
                        return Err(Error::missing("there is nothing to delete"));
                    }
                }
                self.inner.delete(paths).await
            }
            Fault::DeletesWhatStartsAlike => {
                let listed: Vec<_> = self.inner.list("").try_collect().await?;
                let alike = listed.into_iter().map(|file| file.path).filter(|listed| {
                    paths
                        .iter()
                        .any(|path| listed.as_str().starts_with(path.as_str()))
                });
                self.inner.delete(&alike.collect::<Vec<_>>()).await
            }
            _ => self.inner.delete(paths).await,
        }
    }

    fn list(&self, prefix: &str) -> BoxStream<'static, Result<ListedFile>> {
        let prefix = match self.fault {
            Fault::ListsByDirectoryWithoutSlash => prefix.trim_end_matches('/'),
            Fault::ListsAll => "",
            _ => prefix,
        };
        let this = self.clone();
        let page = match self.fault {
            Fault::ListsAPage => PAGE,
            _ => usize::MAX,
        };
        let left = self.left.lock().unwrap().clone().into_iter();
        let left: Vec<_> = left
            .filter(|path| path.as_str().starts_with(prefix))
            .map(|path| {
                Ok(ListedFile {
                    path,
                    bytes: 1,
                    modified: Some(std::time::SystemTime::UNIX_EPOCH),
                })
            })
            .collect();
        let listed = self.inner.list(prefix).take(page);
        let listed = listed.try_filter_map(move |file| {
            let file = this.make_listed_wrong(file);
            async move { Ok(file) }
        });
        listed.chain(futures::stream::iter(left)).boxed()
    }
}
