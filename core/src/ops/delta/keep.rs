//! The deltas that a repository keeps, and the indexes of them.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;

use crate::error::Result;
use crate::format::delta::{DELTAS_KEY, DeltaFile, DeltaIndex, DeltaName, read_delta_map};
use crate::format::gvariant::{Dict, VariantDict};
use crate::format::{Checksum, Hasher};
use crate::repo::Repo;
use crate::transport::PutBody;

/// Lists the deltas that `repo` keeps, sorted.
pub async fn kept_deltas(repo: &Repo) -> Result<Vec<DeltaName>> {
    let listed = repo.state().list_delta_files().await?;
    let mut names: Vec<_> = listed
        .iter()
        .filter_map(|listed| match listed.file {
            DeltaFile::Superblock(name) => Some(name),
            _ => None,
        })
        .collect();
    names.sort_unstable();
    Ok(names)
}

/// Lists the commits that there is an index of deltas for, sorted.
pub async fn kept_indexes(repo: &Repo) -> Result<Vec<Checksum>> {
    let listed = repo.state().list_delta_files().await?;
    let mut commits: Vec<_> = listed
        .iter()
        .filter_map(|listed| match listed.file {
            DeltaFile::Index(to) => Some(to),
            _ => None,
        })
        .collect();
    commits.sort_unstable();
    Ok(commits)
}

/// Returns what the superblock of each kept delta hashes to, sorted by name as it is printed.
pub async fn superblock_checksums(repo: &Repo) -> Result<Vec<(DeltaName, Checksum)>> {
    checksums_where(repo, |_| true).await
}

async fn checksums_where(
    repo: &Repo,
    wanted: impl Fn(&Checksum) -> bool,
) -> Result<Vec<(DeltaName, Checksum)>> {
    let mut found = Vec::new();
    let kept = kept_deltas(repo).await?;
    for name in kept.into_iter().filter(|name| wanted(&name.to)) {
        let file = DeltaFile::Superblock(name);
        // It may be gone since it was listed.
        let Some(mut opened) = repo.state().open_delta_file(&file, 0).await? else {
            continue;
        };
        let mut hasher = Hasher::new();
        while let Some(chunk) = opened.bytes.next().await {
            hasher.update(&chunk?);
        }
        found.push((name, hasher.finish()));
    }
    found.sort_by_cached_key(|(name, _)| name.to_string());
    Ok(found)
}

/// Deletes a delta; returns whether there was one.
pub async fn delete_kept(repo: &Repo, name: &DeltaName) -> Result<bool> {
    let listed = repo.state().list_delta_files().await?;
    let files = listed.iter().map(|listed| listed.file);
    let mut files: Vec<_> = files.filter(|file| file.delta() == Some(name)).collect();
    // The superblock goes first: what lacks a part must not look like a delta.
    files.sort_by_key(|file| !matches!(file, DeltaFile::Superblock(_)));
    repo.state().delete_delta_files(&files).await?;
    Ok(matches!(files.first(), Some(DeltaFile::Superblock(_))))
}

/// Returns an index in the order in which OSTree writes it.
fn as_ostree(index: &DeltaIndex) -> Result<DeltaIndex> {
    let mut dict = VariantDict::new();
    for (name, checksum) in &index.deltas {
        dict.insert(name.to_string(), checksum.as_bytes().to_vec());
    }
    let mut outer = Dict::new();
    outer.insert(DELTAS_KEY, dict.end());
    let deltas = read_delta_map(&outer)?.unwrap_or_default();
    Ok(DeltaIndex { deltas })
}

/// Writes the indexes of deltas anew: of all commits, or of those that make `only`.
pub async fn reindex(repo: &Repo, only: Option<&Checksum>) -> Result<()> {
    reindex_where(repo, |to| only.is_none_or(|only| to == only)).await
}

/// Writes those indexes anew that are of `wanted` commits.
pub(super) async fn reindex_where(repo: &Repo, wanted: impl Fn(&Checksum) -> bool) -> Result<()> {
    let mut indexes: BTreeMap<Checksum, DeltaIndex> = BTreeMap::new();
    for (name, checksum) in checksums_where(repo, &wanted).await? {
        let index = indexes.entry(name.to).or_default();
        index.deltas.push((name, checksum));
    }
    let mut stale: BTreeSet<_> = kept_indexes(repo).await?.into_iter().collect();
    stale.retain(wanted);
    for (to, index) in indexes {
        stale.remove(&to);
        let (file, bytes) = (DeltaFile::Index(to), as_ostree(&index)?.to_bytes());
        // What has not changed keeps its time, which web servers tell versions apart by.
        if let Some(opened) = repo.state().open_delta_file(&file, 0).await?
            && opened.total_bytes == Some(bytes.len() as u64)
            && opened.collect(bytes.len() as u64).await?[..] == bytes
        {
            continue;
        }
        let body = PutBody::Bytes(bytes.into());
        repo.state().write_delta_file(&file, body).await?;
    }
    let stale: Vec<_> = stale.into_iter().map(DeltaFile::Index).collect();
    repo.state().delete_delta_files(&stale).await
}
