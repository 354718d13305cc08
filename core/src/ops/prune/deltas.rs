//! Which deltas go: those to commits that are not there, or are about to go.

use std::collections::{BTreeMap, HashSet};

use super::{Garbage, OBJECTS_A_STEP, PruneOptions};
use crate::error::Result;
use crate::format::delta::DeltaFile;
use crate::format::{Checksum, ObjectName};
use crate::repo::Repo;

/// Returns the files of the deltas that go, superblocks first, for what lacks a part must not look
/// like a delta. The index of a commit goes with the deltas that make it.
pub(super) async fn find(
    repo: &Repo,
    options: &PruneOptions,
    garbage: &Garbage,
) -> Result<Vec<DeltaFile>> {
    let mut files: BTreeMap<Checksum, Vec<DeltaFile>> = BTreeMap::new();
    for listed in repo.state().list_delta_files().await? {
        let to = match listed.file {
            DeltaFile::Index(to) => to,
            DeltaFile::Superblock(name) | DeltaFile::Part(name, _) | DeltaFile::Meta(name) => {
                name.to
            }
        };
        files.entry(to).or_default().push(listed.file);
    }
    let mut gone: HashSet<_> = garbage.commits.iter().copied().collect();
    gone.extend(garbage.asked_for);
    gone.extend(options.deltas_to);
    let made: Vec<_> = files.keys().copied().collect();
    for made in made.chunks(OBJECTS_A_STEP) {
        let names: Vec<_> = made.iter().copied().map(ObjectName::commit).collect();
        let there = repo.objects().stat(&names).await?;
        let absent = made.iter().zip(there).filter(|(_, stat)| stat.is_none());
        gone.extend(absent.map(|(commit, _)| *commit));
    }
    files.retain(|to, _| gone.contains(to));
    let mut files: Vec<_> = files.into_values().flatten().collect();
    files.sort_by_key(|file| !matches!(file, DeltaFile::Superblock(_)));
    Ok(files)
}
