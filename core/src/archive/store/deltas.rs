//! Files of deltas, where OSTree has them.

use futures::stream::{self, StreamExt, TryStreamExt};

use super::spool::Spooled;
use super::{ArchiveStore, send};
use crate::archive::layout::{self, DELTA_INDEXES_PREFIX, DELTAS_PREFIX};
use crate::archive::read;
use crate::error::{Error, Result};
use crate::format::delta::DeltaFile;
use crate::store::{ListedDeltaFile, Payload};
use crate::transport::{
    FetchOptions, Fetched, FetchedFile, PutBody, RemotePath, Resume, check_offset, retrying,
};

impl ArchiveStore {
    pub(super) async fn list_deltas(&self) -> Result<Vec<ListedDeltaFile>> {
        let mut all = Vec::new();
        for prefix in [DELTAS_PREFIX, DELTA_INDEXES_PREFIX] {
            let once = async || {
                let files = self.place.transport.list(prefix);
                let listed = files.try_filter_map(|file| async move {
                    let found = DeltaFile::from_path(file.path.as_str());
                    let bytes = file.bytes;
                    Ok(found.map(|file| ListedDeltaFile { file, bytes }))
                });
                listed.try_collect::<Vec<_>>().await
            };
            all.extend(retrying(&self.place.options.retry, || Box::pin(once())).await?);
        }
        Ok(all)
    }

    async fn fetch_file(
        &self,
        path: &RemotePath,
        resume: Option<Resume>,
    ) -> Result<Option<FetchedFile>> {
        let once = || {
            let options = FetchOptions {
                resume: resume.clone(),
                ..FetchOptions::default()
            };
            read::open(&*self.place.transport, path, options)
        };
        let found = retrying(&self.place.options.retry, || Box::pin(once())).await?;
        Ok(found.and_then(|found| match found {
            Fetched::File(file) => Some(file),
            Fetched::NotModified => None,
        }))
    }

    pub(super) async fn open_delta(
        &self,
        file: &DeltaFile,
        offset: u64,
    ) -> Result<Option<FetchedFile>> {
        let path = layout::delta_path(file);
        let Some(mut found) = self.fetch_file(&path, None).await? else {
            return Ok(None);
        };
        if let Some(total_bytes) = found.total_bytes {
            check_offset(offset, total_bytes)?;
            if offset == total_bytes {
                (found.offset, found.bytes) = (offset, stream::empty().boxed());
            }
        }
        if found.offset == offset {
            return Ok(Some(found));
        }
        // A part of a file is only asked for of a version that is known.
        let resume = found
            .validator
            .clone()
            .map(|validator| Resume { offset, validator });
        if resume.is_some() {
            drop(found);
            let Some(again) = self.fetch_file(&path, resume).await? else {
                return Ok(None);
            };
            found = again;
        }
        Ok(Some(skip(found, offset)?))
    }

    pub(super) async fn write_delta(&self, file: &DeltaFile, body: PutBody) -> Result<()> {
        let path = layout::delta_path(file);
        let options = &self.place.options;
        let spool = options.spool.clone();
        // Kept until it is sent: a stream could not be sent again.
        let bytes = match body {
            PutBody::Bytes(bytes) => bytes.into(),
            body => {
                let stream = Payload::Stream(body.into_stream());
                let read = move || Spooled::read(&mut stream.into_reader()?, &spool);
                options.pool.run(read).await?
            }
        };
        let transport = &*self.place.transport;
        send::put_spooled(transport, &options.retry, &path, &bytes, &options.pool).await
    }

    pub(super) async fn delete_deltas(&self, files: &[DeltaFile]) -> Result<()> {
        let paths: Vec<_> = files.iter().map(layout::delta_path).collect();
        self.place.delete(&paths).await
    }
}

/// Drops what comes before `offset`: the other side sent it all the same.
fn skip(mut file: FetchedFile, offset: u64) -> Result<FetchedFile> {
    let Some(mut left) = offset.checked_sub(file.offset) else {
        return Err(Error::corrupt("starts behind what was asked for"));
    };
    let rest = file.bytes.try_filter_map(move |mut chunk| {
        let drop = usize::try_from(left).map_or(chunk.len(), |left| left.min(chunk.len()));
        left -= drop as u64;
        let rest = chunk.split_off(drop);
        std::future::ready(Ok((!rest.is_empty()).then_some(rest)))
    });
    (file.offset, file.bytes) = (offset, rest.boxed());
    Ok(file)
}
