//! Reads many metadata objects in few large steps.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};

use super::Repo;
use super::load::load_metadata;
use crate::error::{Error, Result};
use crate::format::{FormatError, ObjectName};
use crate::store::{Body, Incoming, Payload};

/// Objects read in one job of the pool.
const OBJECTS_A_JOB: usize = 256;

/// Objects asked for at once where they are not files of this machine.
const FETCHES: usize = 32;

/// One object and what became of it: `None` when it is not there.
pub(crate) type Loaded<T> = (ObjectName, Result<Option<T>>);

/// Reads, verifies and parses metadata objects; each is answered on its own, in any order.
///
/// The outer error is that of the machinery, such as a runtime that shuts down.
pub(crate) async fn load_many<T, F>(
    repo: &Repo,
    names: Vec<ObjectName>,
    parse: F,
) -> Result<Vec<Loaded<T>>>
where
    T: Send + 'static,
    F: Fn(&[u8]) -> std::result::Result<T, FormatError> + Copy + Send + 'static,
{
    let Some(local) = repo.objects().local() else {
        let loaded = stream::iter(names).map(|name| async move {
            let bytes = load_metadata(&**repo.objects(), &name).await;
            (name, parse_loaded(name, bytes, parse))
        });
        return Ok(loaded.buffer_unordered(FETCHES).collect().await);
    };
    // Both cores are worth using from few objects on; a hop costs about as much as one object.
    let share = names.len().div_ceil(repo.pool().width());
    let chunk = share.clamp(8, OBJECTS_A_JOB);
    let chunks: Vec<_> = names.chunks(chunk).map(<[ObjectName]>::to_vec).collect();
    let jobs = stream::iter(chunks).map(|chunk| {
        let local = local.clone();
        repo.pool().run(move || {
            let load = |name| {
                let bytes = local.read_metadata(&name);
                let bytes = bytes.and_then(|found| verify(name, found));
                (name, parse_loaded(name, bytes, parse))
            };
            Ok(chunk.into_iter().map(load).collect::<Vec<_>>())
        })
    });
    let jobs = jobs.buffer_unordered(repo.pool().width());
    let loaded: Vec<Vec<_>> = jobs.try_collect().await?;
    Ok(loaded.into_iter().flatten().collect())
}

fn verify(name: ObjectName, bytes: Option<Bytes>) -> Result<Option<Bytes>> {
    let Some(bytes) = bytes else { return Ok(None) };
    let incoming = Incoming::named(name, Body::Metadata(Payload::Bytes(bytes)));
    incoming.into_metadata().map(|(_, bytes)| Some(bytes))
}

fn parse_loaded<T>(
    name: ObjectName,
    bytes: Result<Option<Bytes>>,
    parse: impl Fn(&[u8]) -> std::result::Result<T, FormatError>,
) -> Result<Option<T>> {
    let parsed = bytes.and_then(|found| {
        let parsed = found.map(|bytes| parse(&bytes)).transpose();
        parsed.map_err(Error::from)
    });
    parsed.map_err(|e| e.about(name))
}
