//! Reads and hashes files, in groups on the pool.

use std::io::Read;
use std::sync::Arc;

use futures::{Stream, StreamExt, TryStreamExt, stream};

use super::Check;
use crate::codec::Codec;
use crate::error::{Error, Result, from_read};
use crate::format::{Checksum, ObjectName, ObjectType};
use crate::repo::{Certainty, Reachable, Repo};
use crate::store::{Body, Incoming, LocalObjects};

/// Files read in one job of the pool.
const FILES_A_JOB: usize = 64;

/// Files whose names are looked up in one go.
const FILES_A_PAGE: usize = 128 * FILES_A_JOB;

/// Groups of files asked for at once where they are not files of this machine, beyond those that
/// are being hashed.
const GROUPS_AHEAD: usize = 1;

/// Bytes read in one go.
const BUFFER_BYTES: usize = 128 * 1024;

/// A file, and how long its content is; `None` when it is not there.
type Checked = (Checksum, Result<Option<u64>>);

/// Checks that each file is there and hashes to its name.
pub(super) async fn check(check: &mut Check<'_>, reachable: &Reachable) -> Result<()> {
    check.options.progress.update(|snapshot| {
        snapshot.content.total = reachable.count(ObjectType::File);
        snapshot.content.certainty = Certainty::Exact;
    });
    let repo = check.repo;
    let local = repo.objects().local();
    let checks = groups(reachable).map_ok(|group| {
        let local = local.clone();
        async move {
            match local {
                Some(local) => check_local(repo, local, group).await,
                None => check_fetched(repo, group).await,
            }
        }
    });
    let at_once = repo.pool().width() + GROUPS_AHEAD;
    let mut checks = Box::pin(checks.try_buffer_unordered(at_once));
    while let Some(group) = checks.try_next().await? {
        check.options.progress.update(|snapshot| {
            snapshot.content.done += group.len() as u64;
        });
        for (checksum, result) in group {
            check.report.content_objects += 1;
            match result {
                Ok(Some(content_bytes)) => check.report.content_bytes += content_bytes,
                Ok(None) => check.found(
                    ObjectName::file(checksum),
                    Error::missing("is not in the repository"),
                ),
                Err(error) => check.found(ObjectName::file(checksum), error),
            }
        }
        if check.is_over() {
            break;
        }
    }
    Ok(())
}

/// Checks one file again, as thoroughly.
pub(super) async fn check_one(repo: &Repo, checksum: Checksum) -> Result<Option<u64>> {
    let body = repo.objects().fetch(&ObjectName::file(checksum)).await?;
    let codec = Arc::clone(repo.codec());
    let job = move || Ok(read(checksum, body, &*codec, &mut vec![0; BUFFER_BYTES]));
    repo.pool().run(job).await?
}

/// Returns the files in the order of their paths below `objects/`: neighbours share a directory.
fn groups(reachable: &Reachable) -> impl Stream<Item = Result<Vec<Checksum>>> {
    let pages = stream::try_unfold(None, move |after| async move {
        let page = reachable.checksums(ObjectType::File, after, FILES_A_PAGE);
        let page = page.await?;
        Ok::<_, Error>(page.last().copied().map(|last| (page, Some(last))))
    });
    pages
        .map_ok(|page| {
            let groups = page.chunks(FILES_A_JOB).map(|group| Ok(group.to_vec()));
            stream::iter(groups.collect::<Vec<_>>())
        })
        .try_flatten()
}

async fn check_local(
    repo: &Repo,
    local: Arc<dyn LocalObjects>,
    group: Vec<Checksum>,
) -> Result<Vec<Checked>> {
    let codec = Arc::clone(repo.codec());
    let job = move || {
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut check = |checksum| {
            let body = local.open_file(&checksum);
            let body = body.map(|found| found.map(Body::from));
            let read = body.and_then(|body| read(checksum, body, &*codec, &mut buffer));
            (checksum, read)
        };
        Ok(group.into_iter().map(&mut check).collect())
    };
    repo.pool().run(job).await
}

async fn check_fetched(repo: &Repo, group: Vec<Checksum>) -> Result<Vec<Checked>> {
    let fetches = group.into_iter().map(|checksum| async move {
        (
            checksum,
            repo.objects().fetch(&ObjectName::file(checksum)).await,
        )
    });
    let bodies: Vec<_> = stream::iter(fetches)
        .buffer_unordered(FILES_A_JOB)
        .collect()
        .await;
    let codec = Arc::clone(repo.codec());
    let job = move || {
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut check = |(checksum, body): (Checksum, Result<Option<Body>>)| {
            let read = body.and_then(|body| read(checksum, body, &*codec, &mut buffer));
            (checksum, read)
        };
        Ok(bodies.into_iter().map(&mut check).collect())
    };
    repo.pool().run(job).await
}

/// Reads a file to its end, which verifies it. **Blocking.**
fn read(
    checksum: Checksum,
    body: Option<Body>,
    codec: &dyn Codec,
    buffer: &mut [u8],
) -> Result<Option<u64>> {
    let Some(body) = body else { return Ok(None) };
    let name = ObjectName::file(checksum);
    let incoming = Incoming::named(name, body);
    let mut reader = incoming.into_content(codec).map_err(|e| e.about(name))?;
    loop {
        let n = reader.read(buffer);
        if n.map_err(|e| from_read("cannot be read", e).about(name))? == 0 {
            return Ok(Some(reader.content_bytes()));
        }
    }
}
