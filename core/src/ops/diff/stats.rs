//! How many objects two commits have in common.

use crate::error::{Error, Result};
use crate::format::{Checksum, ObjectName, ObjectType};
use crate::repo::{Depth, History, ReachOptions, ReachRoot, Reachable, Repo};

/// Objects that are looked up in one go.
const NAMES_A_STEP: usize = 4096;

/// How many objects two commits have, and how many of them in common.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiffStats {
    /// Objects of the first, the commit included.
    pub from_objects: u64,
    /// Objects of the second, the commit included.
    pub to_objects: u64,
    /// Objects that both have.
    pub common_objects: u64,
    /// How many bytes those take in the repository.
    pub common_stored_bytes: u64,
    /// How many bytes those take that only the second has.
    pub new_stored_bytes: u64,
}

/// Counts the objects of two commits, without their history.
pub async fn diff_stats(repo: &Repo, from: &Checksum, to: &Checksum) -> Result<DiffStats> {
    let (from, to) = (objects_of(repo, from).await?, objects_of(repo, to).await?);
    let (common_objects, common_stored_bytes) = add_up(repo, &from, &to, Shared::Yes).await?;
    let (_, new_stored_bytes) = add_up(repo, &to, &from, Shared::No).await?;
    let types = || ObjectType::ALL.into_iter();
    Ok(DiffStats {
        from_objects: types().map(|t| from.count(t)).sum(),
        to_objects: types().map(|t| to.count(t)).sum(),
        common_objects,
        common_stored_bytes,
        new_stored_bytes,
    })
}

/// Which objects are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shared {
    /// Those that the other has too.
    Yes,
    /// Those that it does not have.
    No,
}

/// Counts objects of `of` and the bytes that they take.
async fn add_up(
    repo: &Repo,
    of: &Reachable,
    other: &Reachable,
    counted: Shared,
) -> Result<(u64, u64)> {
    let (mut objects, mut stored_bytes) = (0, 0);
    for object_type in ObjectType::ALL {
        let mut after = None;
        loop {
            let page = of.checksums(object_type, after, NAMES_A_STEP).await?;
            after = page.last().copied();
            if page.is_empty() {
                break;
            }
            let names: Vec<_> = page
                .into_iter()
                .map(|checksum| ObjectName::new(object_type, checksum))
                .collect();
            let shared = other.contains(&names).await?;
            let found = names.into_iter().zip(shared);
            let is_counted = |is_shared| is_shared == (counted == Shared::Yes);
            let found = found.filter_map(|(name, is)| is_counted(is).then_some(name));
            let found: Vec<_> = found.collect();
            objects += found.len() as u64;
            for (stat, name) in repo.objects().stat(&found).await?.iter().zip(&found) {
                let missing = || Error::missing("is not in the repository").about(*name);
                stored_bytes += stat.ok_or_else(missing)?.stored_bytes;
            }
        }
    }
    Ok((objects, stored_bytes))
}

async fn objects_of(repo: &Repo, commit: &Checksum) -> Result<Reachable> {
    let root = ReachRoot {
        commit: *commit,
        history: History::Depth(Depth::Parents(0)),
    };
    let mut found = repo.reach(&[root], &ReachOptions::default()).await?;
    match found.take_problems().into_iter().next() {
        Some(problem) => Err(problem.error.about(problem.name)),
        None => Ok(found),
    }
}
