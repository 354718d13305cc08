//! Reading wrongly.

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use treeferry_core::transport::{
    FetchOptions, Fetched, FetchedFile, RemotePath, Transport, Validator, WritableTransport,
};
use treeferry_core::{Error, Result};

use super::{Fault, Faulty};

/// Files longer than this are large.
const LARGE_BYTES: u64 = 100_000;

/// Returns a path with its spaces decoded.
pub(super) fn decoded(path: &RemotePath) -> RemotePath {
    RemotePath::new(&path.as_str().replace("%20", " ")).unwrap()
}

async fn drain(file: FetchedFile) -> Result<Bytes> {
    let pieces: Vec<Bytes> = file.bytes.try_collect().await?;
    Ok(pieces.concat().into())
}

fn whole(bytes: Bytes) -> FetchedFile {
    FetchedFile {
        offset: 0,
        total_bytes: Some(bytes.len() as u64),
        validator: Some(Validator::ETag("\"made up\"".into())),
        bytes: futures::stream::iter([Ok(bytes)]).boxed(),
    }
}

impl Faulty {
    fn path(&self, path: &RemotePath) -> RemotePath {
        match self.fault {
            Fault::DecodesPercent => decoded(path),
            Fault::FoldsCase => RemotePath::new(&path.as_str().to_lowercase()).unwrap(),
            _ => path.clone(),
        }
    }

    /// Changes what is asked for.
    fn ask(&self, options: &mut FetchOptions) {
        match self.fault {
            Fault::NeverNotModified => options.unless = None,
            Fault::StartsOver | Fault::SendsTheWholeAsTheRest => options.resume = None,
            Fault::IgnoresTheLimit | Fault::CutsAtTheLimit => options.bytes_max = None,
            Fault::LimitsTheRest => {
                let offset = options.resume.as_ref().map_or(0, |resume| resume.offset);
                options.bytes_max = options.bytes_max.map(|limit| limit + offset);
            }
            _ => {}
        }
    }

    /// Returns the version of the file that is there.
    async fn current(&self, path: &RemotePath) -> Option<(Validator, u64)> {
        match self.inner.fetch(path, FetchOptions::default()).await {
            Ok(Some(Fetched::File(file))) => Some((file.validator?, file.total_bytes?)),
            _ => None,
        }
    }

    async fn absent(&self, path: &RemotePath, asked: &FetchOptions) -> Result<Option<Fetched>> {
        Ok(match self.fault {
            Fault::AbsentIsEmpty => Some(Fetched::File(whole(Bytes::new()))),
            Fault::AbsentIsAnError => return Err(Error::missing("there is no such file")),
            Fault::ForgetsThatItIsAbsent if asked.unless.is_some() => Some(Fetched::NotModified),
            Fault::DirectoriesAreFiles => {
                let below = format!("{path}/");
                let mut listed = self.inner.list(&below);
                let is_directory = listed.next().await.is_some();
                is_directory.then(|| Fetched::File(whole(Bytes::new())))
            }
            _ => None,
        })
    }

    /// Makes a file that is there wrong.
    async fn changed(
        &self,
        path: &RemotePath,
        mut file: FetchedFile,
        asked: &FetchOptions,
    ) -> Result<FetchedFile> {
        let resumed_at = asked.resume.as_ref().map_or(0, |resume| resume.offset);
        match self.fault {
            Fault::LosesTheLastByteOfLargeFiles if file.total_bytes > Some(LARGE_BYTES) => {
                let total_bytes = file.total_bytes;
                let (offset, validator) = (file.offset, file.validator.clone());
                let bytes = drain(file).await?;
                let short = bytes.slice(..bytes.len().saturating_sub(1));
                file = FetchedFile {
                    offset,
                    total_bytes,
                    validator,
                    ..whole(short)
                };
            }
            Fault::TellsNoTotals => file.total_bytes = None,
            Fault::TellsTheTotalOfTheRest => {
                file.total_bytes = file.total_bytes.map(|total| total - file.offset);
            }
            Fault::TellsNoVersions => file.validator = None,
            Fault::VersionsPerHandle => file.validator = Some(self.own_version(file.validator)),
            Fault::VersionsAreLengths => {
                file.validator = Some(of_length(file.total_bytes));
            }
            Fault::SendsTheWholeAsTheRest => file.offset = resumed_at,
            Fault::CutsAtTheLimit => {
                if let Some(limit) = asked
                    .bytes_max
                    .filter(|limit| file.total_bytes > Some(*limit))
                {
                    let (validator, bytes) = (file.validator.clone(), drain(file).await?);
                    file = whole(bytes.slice(..bytes.len().min(limit as usize)));
                    file.validator = validator;
                }
            }
            Fault::MixesVersions => {
                let (inner, path) = (self.inner.clone(), path.clone());
                file.bytes = mixed(inner, path, file.offset, file.bytes);
            }
            Fault::RemembersFiles => {
                let (offset, validator, total_bytes) =
                    (file.offset, file.validator.clone(), file.total_bytes);
                let bytes = drain(file).await?;
                if offset == 0 {
                    self.seen
                        .lock()
                        .unwrap()
                        .insert(path.clone(), bytes.clone());
                }
                file = FetchedFile {
                    offset,
                    total_bytes,
                    validator,
                    ..whole(bytes)
                };
            }
            _ => {}
        }
        Ok(file)
    }

    fn own_version(&self, version: Option<Validator>) -> Validator {
        Validator::ETag(format!("\"{}-{version:?}\"", self.handle).replace("\"\"", "\""))
    }

    /// Translates what callers know as versions into what the files have.
    pub(super) async fn translate(&self, path: &RemotePath, version: &mut Validator) {
        let Some((current, total)) = self.current(path).await else {
            return;
        };
        let says_the_same = match self.fault {
            Fault::VersionsPerHandle => self.own_version(Some(current.clone())) == *version,
            Fault::VersionsAreLengths => of_length(Some(total)) == *version,
            Fault::BelievesAnyVersion | Fault::ContinuesAnyVersion => true,
            _ => false,
        };
        if says_the_same {
            *version = current;
        }
    }
}

fn of_length(length: Option<u64>) -> Validator {
    Validator::ETag(format!("\"{length:?}\""))
}

/// Sends the rest of whatever is there when each piece is asked for.
fn mixed(
    inner: treeferry_core::transport::MemoryTransport,
    path: RemotePath,
    offset: u64,
    pieces: futures::stream::BoxStream<'static, Result<Bytes>>,
) -> futures::stream::BoxStream<'static, Result<Bytes>> {
    let state = (inner, path, offset as usize);
    let mixed = pieces.scan(state, |(inner, path, at), piece| {
        let (inner, path, start) = (inner.clone(), path.clone(), *at);
        let length = piece.as_ref().map_or(0, Bytes::len);
        *at += length;
        async move {
            let Ok(Some(Fetched::File(now))) = inner.fetch(&path, FetchOptions::default()).await
            else {
                return Some(piece);
            };
            let now = drain(now).await.ok()?;
            let end = (start + length).min(now.len());
            Some(Ok(now.slice(start.min(end)..end)))
        }
    });
    mixed.boxed()
}

#[async_trait]
impl Transport for Faulty {
    fn describe(&self, path: &RemotePath) -> String {
        match self.fault {
            Fault::AddressesNameNoFile => self.inner.origin().to_owned(),
            Fault::AddressesAreOne => format!("memory:/{path}"),
            _ => self.inner.describe(path),
        }
    }

    fn origin(&self) -> &str {
        self.inner.origin()
    }

    async fn fetch(&self, path: &RemotePath, options: FetchOptions) -> Result<Option<Fetched>> {
        let path = self.path(path);
        if self.fault == Fault::RemembersFiles {
            let seen = self.seen.lock().unwrap().get(&path).cloned();
            if let Some(seen) = seen.filter(|_| options == FetchOptions::default()) {
                let validator = self.current(&path).await.map(|(version, _)| version);
                return Ok(Some(Fetched::File(FetchedFile {
                    validator,
                    ..whole(seen)
                })));
            }
        }
        let mut asked = options.clone();
        self.ask(&mut asked);
        if let Some(unless) = &mut asked.unless
            && self.fault != Fault::ContinuesAnyVersion
        {
            self.translate(&path, unless).await;
        }
        if let Some(resume) = &mut asked.resume
            && self.fault != Fault::BelievesAnyVersion
        {
            self.translate(&path, &mut resume.validator).await;
            if self.fault == Fault::ClampsTheOffset
                && let Some((version, total)) = self.current(&path).await
                && version == resume.validator
                && resume.offset > total
            {
                return Ok(Some(Fetched::File(FetchedFile {
                    offset: resume.offset,
                    ..whole(Bytes::new())
                })));
            }
        }
        match self.inner.fetch(&path, asked).await? {
            None => self.absent(&path, &options).await,
            Some(Fetched::NotModified) => Ok(Some(Fetched::NotModified)),
            Some(Fetched::File(file)) => {
                let file = self.changed(&path, file, &options).await?;
                Ok(Some(Fetched::File(file)))
            }
        }
    }
}
