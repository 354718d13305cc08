//! What is there already: in the destination, or in sources on this machine.

use std::collections::HashMap;

use bytes::Bytes;
use futures::future::join_all;

use super::engine::Engine;
use super::options::LocalTrust;
use super::planner::{Planner, Want};
use crate::error::{Error, ErrorKind, Result};
use crate::format::{Checksum, ObjectName};
use crate::pool::Pool;
use crate::repo::{load_metadata, read_local_metadata};
use crate::store::{Batch, Body, Incoming, LocalFile, LocalObjects, Trust};

/// A metadata object longer than this is hashed on the blocking pool.
const HASH_IN_PLACE_BYTES_MAX: usize = 256 * 1024;

/// How much metadata is read in one go: as much as that, and the object that exceeds it.
const READ_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Objects of the destination asked for at once where they are not files of this machine.
const FETCHES: usize = 16;

/// Wanted metadata, by where it is.
#[derive(Debug, Default)]
pub(super) struct FoundMetadata {
    /// In the destination; its children may not be.
    pub(super) present: Vec<(Want, Bytes)>,
    /// Commits that are in the destination with all that they consist of.
    pub(super) whole_commits: Vec<(Want, Bytes)>,
    /// Not in the destination, but in a source on this machine.
    pub(super) from_local: Vec<(Want, Bytes, LocalFile)>,
    /// To be fetched.
    pub(super) missing: Vec<Want>,
    /// Not looked at: what was found first is long.
    pub(super) later: Vec<Want>,
}

pub(super) async fn metadata(engine: &Engine<'_>, wants: Vec<Want>) -> Result<FoundMetadata> {
    let names: Vec<_> = wants.iter().map(|want| want.name).collect();
    let stats = engine.batch.stat(&names).await?;
    let (mut there, mut absent) = (Vec::new(), Vec::new());
    for (want, stat) in wants.into_iter().zip(stats) {
        match stat {
            Some(stat) => there.push((want, stat.stored_bytes)),
            None => absent.push(want),
        }
    }
    let read = read_destination(engine, there).await?;
    absent.extend(read.absent);
    let mut found = FoundMetadata {
        later: read.later,
        ..FoundMetadata::default()
    };
    for (want, bytes) in read.found {
        engine.admit(&want, &bytes).await?;
        if Planner::is_commit(&want) && is_whole(engine, &want).await? {
            found.whole_commits.push((want, bytes));
        } else {
            engine.prefill(&want).await?;
            found.present.push((want, bytes));
        }
    }
    for local in engine.locals() {
        if absent.is_empty() {
            break;
        }
        let wanted = std::mem::take(&mut absent);
        let damaged = match engine.fetchers.len() {
            1 => Damaged::IsAnError,
            _ => Damaged::IsAbsent,
        };
        let trust = engine.options.local_trust;
        let read = move || {
            let read = read_local(&*local, wanted, damaged, trust)?;
            let file = |(want, bytes): (Want, Bytes)| {
                let file = local.metadata_file(&want.name)?;
                // Gone in between: another handle may prune.
                let file = file.ok_or_else(|| Error::missing("is gone").about(want.name))?;
                Ok((want, bytes, file))
            };
            let found = read
                .found
                .into_iter()
                .map(file)
                .collect::<Result<Vec<_>>>()?;
            Ok((found, read.absent, read.later))
        };
        let (read, rest, later) = engine.destination.pool().run(read).await?;
        for (want, bytes, file) in read {
            engine.admit(&want, &bytes).await?;
            engine.prefill(&want).await?;
            found.from_local.push((want, bytes, file));
        }
        found.later.extend(later);
        absent = rest;
    }
    found.missing = absent;
    Ok(found)
}

/// What became of wants that were to be read.
#[derive(Debug, Default)]
struct Read {
    found: Vec<(Want, Bytes)>,
    absent: Vec<Want>,
    later: Vec<Want>,
}

/// Reads objects of the destination in few large steps; a damaged one counts as missing, and is
/// thereby healed.
///
/// `there` comes with the lengths that the objects have there.
async fn read_destination(engine: &Engine<'_>, there: Vec<(Want, u64)>) -> Result<Read> {
    if there.is_empty() {
        return Ok(Read::default());
    }
    if let Some(local) = engine.batch.local() {
        let wants = there.into_iter().map(|(want, _)| want).collect();
        let read = move || read_local(&*local, wants, Damaged::IsAbsent, LocalTrust::Verify);
        return engine.destination.pool().run(read).await;
    }
    let (mut read, wants) = read_nearer(engine, there).await?;
    let mut bytes_read = 0;
    let mut wants = wants.into_iter();
    while bytes_read < READ_BYTES_MAX {
        let some: Vec<_> = wants.by_ref().take(FETCHES).collect();
        if some.is_empty() {
            break;
        }
        let loads = some
            .iter()
            .map(|want| load_metadata(engine.batch, &want.name));
        for (want, loaded) in some.iter().zip(join_all(loads).await) {
            read.take(*want, loaded, Damaged::IsAbsent, &mut bytes_read)?;
        }
    }
    read.later.extend(wants);
    Ok(read)
}

/// Reads what a destination far away has from sources on this machine, as far as they have it too and
/// it is as long there; returns the rest.
async fn read_nearer(engine: &Engine<'_>, there: Vec<(Want, u64)>) -> Result<(Read, Vec<Want>)> {
    let lengths: HashMap<_, _> = there.iter().map(|(want, n)| (want.name, *n)).collect();
    let mut rest: Vec<_> = there.into_iter().map(|(want, _)| want).collect();
    let mut all = Read::default();
    for local in engine.locals() {
        let wants = std::mem::take(&mut rest);
        let read = move || read_local(&*local, wants, Damaged::IsAbsent, LocalTrust::Verify);
        let read = engine.destination.pool().run(read).await?;
        rest = read.absent;
        all.later.extend(read.later);
        for (want, bytes) in read.found {
            match lengths.get(&want.name) {
                Some(length) if *length == bytes.len() as u64 => all.found.push((want, bytes)),
                _ => rest.push(want),
            }
        }
    }
    Ok((all, rest))
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

/// What is made of an object that is not what its name says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damaged {
    /// There is nowhere else to take it from.
    IsAnError,
    /// It is taken from elsewhere.
    IsAbsent,
}

/// Reads from plain files of this machine. **Blocking.**
fn read_local(
    local: &dyn LocalObjects,
    wants: Vec<Want>,
    damaged: Damaged,
    trust: LocalTrust,
) -> Result<Read> {
    let (mut read, mut bytes_read) = (Read::default(), 0);
    let mut wants = wants.into_iter();
    while bytes_read < READ_BYTES_MAX {
        let Some(want) = wants.next() else { break };
        let loaded = match trust {
            LocalTrust::Verify => read_local_metadata(local, want.name),
            LocalTrust::Vouched => local.read_metadata(&want.name),
        };
        read.take(want, loaded, damaged, &mut bytes_read)?;
    }
    read.later = wants.collect();
    Ok(read)
}

impl Read {
    fn take(
        &mut self,
        want: Want,
        loaded: Result<Option<Bytes>>,
        damaged: Damaged,
        bytes_read: &mut usize,
    ) -> Result<()> {
        match loaded {
            Ok(None) => self.absent.push(want),
            Ok(Some(bytes)) => {
                *bytes_read += bytes.len();
                self.found.push((want, bytes));
            }
            Err(error) if damaged == Damaged::IsAbsent && error.kind() == ErrorKind::Corrupt => {
                tracing::warn!(name = %want.name, %error, "damaged: taken from elsewhere");
                self.absent.push(want);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
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
