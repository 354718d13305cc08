//! Sends what of a delta the destination lacks: parts first, then the superblock, with which it is there.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};

use super::due::Due;
use super::{Offer, Taking, is_its_own_fault, part_file};
use crate::error::{Error, Result};
use crate::format::delta::{DeltaFile, ReadAt};
use crate::format::{Checksum, Hasher};
use crate::pool::Pool;
use crate::transport::{FetchOptions, PutBody, retrying};

/// How many parts of a delta are sent at once.
const PARTS_AT_ONCE: usize = 4;
/// How much of a superblock is read in one go, bytes.
const CHUNK_BYTES: u64 = 128 * 1024;

impl Taking<'_> {
    pub(super) async fn send(
        &self,
        offer: &Offer,
        due: &Due,
        there: &HashMap<DeltaFile, u64>,
    ) -> Result<()> {
        let (name, state) = (offer.0, self.destination.state());
        state.delete_delta_files(&due.outdated).await?;
        let failed = AtomicBool::new(false);
        let failed = &failed;
        let sending = due.parts.iter().map(|number| async move {
            if failed.load(Ordering::Relaxed) {
                return Ok(());
            }
            let send = || self.send_part(due, *number);
            let sent = retrying(&self.retry, || Box::pin(send())).await;
            failed.fetch_or(sent.is_err(), Ordering::Relaxed);
            sent
        });
        // To the end of each: what is given up half way could still be written.
        let sent = stream::iter(sending).buffer_unordered(PARTS_AT_ONCE);
        let sent: Vec<Result<()>> = sent.collect().await;
        if let Err(error) = sent.into_iter().collect::<Result<()>>() {
            if is_its_own_fault(&error) {
                // What would never be a delta is not left lying around.
                let files = due.parts.iter().map(|number| part_file(&name, *number));
                let files: Vec<_> = files.filter(|file| !there.contains_key(file)).collect();
                state.delete_delta_files(&files).await?;
            }
            return Err(error);
        }
        if due.superblock_differs {
            let total_bytes = due.superblock.total_bytes();
            let bytes = chunks(Arc::clone(&due.superblock), self.destination.pool().clone());
            let body = PutBody::Stream { total_bytes, bytes };
            let file = DeltaFile::Superblock(name);
            state.write_delta_file(&file, body).await?;
            let progress = &self.progress;
            progress.update(|s| s.transferred.done_bytes += total_bytes);
        }
        Ok(())
    }

    async fn send_part(&self, due: &Due, number: usize) -> Result<()> {
        let superblock = &due.delta.superblock;
        let file = part_file(&superblock.name, number);
        let gone = || Error::missing(format!("{file} is not there"));
        let header = superblock.parts.get(number).ok_or_else(gone)?;
        let options = FetchOptions {
            bytes_max: Some(header.stored_bytes),
            ..FetchOptions::default()
        };
        let opened = self.remote.open_delta_file(&file, options).await?;
        let bytes = opened.ok_or_else(gone)?.bytes;
        let progress = self.progress.clone();
        let bytes = bytes.inspect_ok(move |chunk| {
            let length = chunk.len() as u64;
            progress.update(|s| s.transferred.done_bytes += length);
        });
        let body = PutBody::Stream {
            total_bytes: header.stored_bytes,
            bytes: verified(bytes.boxed(), header.checksum, file),
        };
        let state = self.destination.state();
        state.write_delta_file(&file, body).await
    }
}

/// Passes bytes on, and ends in an error unless they hash to what is expected.
fn verified(
    bytes: BoxStream<'static, Result<Bytes>>,
    expected: Checksum,
    file: DeltaFile,
) -> BoxStream<'static, Result<Bytes>> {
    let next = move |(mut bytes, mut hasher): (BoxStream<'static, Result<Bytes>>, Hasher)| async move {
        if let Some(chunk) = bytes.try_next().await? {
            hasher.update(&chunk);
            return Ok(Some((chunk, (bytes, hasher))));
        }
        let found = hasher.finish();
        if found != expected {
            let problem = format!("{file} has the checksum {found}, not {expected}");
            return Err(Error::corrupt(problem));
        }
        Ok(None)
    };
    stream::try_unfold((bytes, Hasher::new()), next).boxed()
}

/// Reads what is at hand, piece by piece.
pub(super) fn chunks(source: Arc<dyn ReadAt>, pool: Pool) -> BoxStream<'static, Result<Bytes>> {
    let next = move |at: u64| {
        let (source, pool) = (Arc::clone(&source), pool.clone());
        async move {
            let left = source.total_bytes() - at;
            if left == 0 {
                return Ok(None);
            }
            let length = left.min(CHUNK_BYTES);
            let read = move || {
                let mut buffer = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
                source.read_exact_at(at, &mut buffer)?;
                Ok(Bytes::from(buffer))
            };
            Ok(Some((pool.run(read).await?, at + length)))
        }
    };
    stream::try_unfold(0, next).boxed()
}
