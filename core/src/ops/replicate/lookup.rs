//! What is there already: in the destination, or in sources on this machine.

use bytes::Bytes;

use super::engine::Engine;
use super::planner::{Planner, Want};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Checksum, ObjectName};
use crate::pool::Pool;
use crate::repo::load_metadata;
use crate::store::{Batch, Body, Incoming, LocalObjects, Payload, Trust};

/// A metadata object longer than this is hashed on the blocking pool.
const HASH_IN_PLACE_BYTES_MAX: usize = 256 * 1024;

/// Wanted metadata, by where it is.
#[derive(Debug, Default)]
pub(super) struct FoundMetadata {
    /// In the destination; its children may not be.
    pub(super) present: Vec<(Want, Bytes)>,
    /// Commits that are in the destination with all that they consist of.
    pub(super) whole_commits: Vec<(Want, Bytes)>,
    /// Not in the destination, but in a source on this machine.
    pub(super) from_local: Vec<(Want, Bytes)>,
    /// To be fetched.
    pub(super) missing: Vec<Want>,
}

pub(super) async fn metadata(engine: &Engine<'_>, wants: Vec<Want>) -> Result<FoundMetadata> {
    let names: Vec<_> = wants.iter().map(|want| want.name).collect();
    let stats = engine.batch.stat(&names).await?;
    let mut found = FoundMetadata::default();
    let mut absent = Vec::new();
    for (want, stat) in wants.into_iter().zip(stats) {
        let bytes = match stat {
            Some(_) => read_or_refetch(engine.batch, &want.name).await?,
            None => None,
        };
        match bytes {
            None => absent.push(want),
            Some(bytes) if Planner::is_commit(&want) && is_whole(engine, &want).await? => {
                engine.admit(&want, &bytes).await?;
                found.whole_commits.push((want, bytes));
            }
            Some(bytes) => {
                engine.admit(&want, &bytes).await?;
                found.present.push((want, bytes));
            }
        }
    }
    for local in engine.locals() {
        if absent.is_empty() {
            break;
        }
        let wanted = std::mem::take(&mut absent);
        let others = engine.fetchers.len() > 1;
        let read = engine
            .destination
            .pool()
            .run(move || read_local(&*local, wanted, others))
            .await?;
        for (want, bytes) in read.0 {
            engine.admit(&want, &bytes).await?;
            found.from_local.push((want, bytes));
        }
        absent = read.1;
    }
    found.missing = absent;
    Ok(found)
}

/// Reads an object of the destination; a damaged one counts as missing, and is thereby healed.
async fn read_or_refetch(batch: &dyn Batch, name: &ObjectName) -> Result<Option<Bytes>> {
    match load_metadata(batch, name).await {
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            tracing::warn!(%name, %error, "damaged in the destination: fetching it again");
            Ok(None)
        }
        result => result,
    }
}

/// A commit is whole if it is in the store itself, not only in this batch, and not marked partial.
async fn is_whole(engine: &Engine<'_>, want: &Want) -> Result<bool> {
    let stored = engine.destination.objects().stat(&[want.name]).await?;
    if stored.first().is_none_or(Option::is_none) {
        return Ok(false);
    }
    let partial = engine
        .destination
        .state()
        .read_partial(&want.name.checksum)
        .await?;
    Ok(partial.is_none())
}

type Read = (Vec<(Want, Bytes)>, Vec<Want>);

/// Reads from a source on this machine. Where there are other sources, what is damaged here counts
/// as missing: they may have it whole.
fn read_local(local: &dyn LocalObjects, wants: Vec<Want>, others: bool) -> Result<Read> {
    let (mut found, mut absent) = (Vec::new(), Vec::new());
    for want in wants {
        match local.read_metadata(&want.name)? {
            None => absent.push(want),
            Some(bytes) => {
                let body = Body::Metadata(Payload::Bytes(bytes));
                match Incoming::named(want.name, body).into_metadata() {
                    Ok((_, bytes)) => found.push((want, bytes)),
                    Err(error) if others && error.kind() == ErrorKind::Corrupt => {
                        tracing::warn!(%error, "damaged in a local source: taken from another");
                        absent.push(want);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }
    Ok((found, absent))
}

/// Opens files of a source on this machine, and returns those that it does not have. **Blocking.**
pub(super) fn open_files(
    local: &dyn LocalObjects,
    files: Vec<Checksum>,
) -> Result<(Vec<Incoming>, Vec<Checksum>)> {
    let (mut found, mut absent) = (Vec::with_capacity(files.len()), Vec::new());
    for checksum in files {
        let name = ObjectName::file(checksum);
        match local.open_file(&checksum).map_err(|e| e.about(name))? {
            Some(object) => found.push(Incoming::named(name, Body::from(object))),
            None => absent.push(checksum),
        }
    }
    Ok((found, absent))
}

/// Returns the files that the destination does not have, or may have torn.
pub(super) async fn missing_files(
    batch: &dyn Batch,
    files: Vec<Checksum>,
) -> Result<Vec<Checksum>> {
    let names: Vec<_> = files.iter().map(|file| ObjectName::file(*file)).collect();
    let stats = batch.stat(&names).await?;
    let missing = files.into_iter().zip(stats);
    let missing = missing.filter(|(_, stat)| stat.is_none_or(|stat| stat.trust == Trust::Unread));
    Ok(missing.map(|(file, _)| file).collect())
}

/// Checks that fetched bytes are the object they should be.
pub(super) async fn verify(pool: &Pool, name: ObjectName, bytes: Bytes) -> Result<Bytes> {
    let short = bytes.len() <= HASH_IN_PLACE_BYTES_MAX;
    let check = move || match Checksum::of(&bytes) {
        found if found == name.checksum => Ok(bytes),
        found => Err(Error::wrong_checksum(name, found)),
    };
    if short {
        check()
    } else {
        pool.run(check).await
    }
}
