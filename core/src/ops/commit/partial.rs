//! Marks of commits that may not have all their objects.
//!
//! What is attached from another commit is not looked at: what that one lacks, the new one lacks.

use super::options::{CommitOptions, TreeInput};
use crate::error::Result;
use crate::format::{Checksum, ObjectName};
use crate::repo::Repo;
use crate::store::Partial;

/// Returns the mark that the new commit inherits from the commits that its tree is made of.
pub(super) async fn inherited(repo: &Repo, options: &CommitOptions) -> Result<Option<Partial>> {
    let mut inherited = None;
    let trees = options.trees.iter().filter_map(|tree| match tree {
        TreeInput::Commit(commit) => Some(commit),
        TreeInput::Dir(_) | TreeInput::Archive(_) => None,
    });
    for commit in options.base.iter().chain(trees) {
        match repo.state().read_partial(commit).await? {
            None => {}
            Some(Partial::Fetching) => {
                inherited.get_or_insert(Partial::Fetching);
            }
            Some(Partial::Damaged) => inherited = Some(Partial::Damaged),
        }
    }
    Ok(inherited)
}

/// Marks the new commit before it becomes visible, so that no reader takes it for whole.
pub(super) async fn mark(repo: &Repo, commit: &Checksum, partial: Partial) -> Result<()> {
    let present = repo.objects().stat(&[ObjectName::commit(*commit)]).await?;
    // One that is there already and not marked has all its objects.
    if present.contains(&None) && repo.state().read_partial(commit).await?.is_none() {
        repo.state().write_partial(commit, Some(partial)).await?;
    }
    Ok(())
}

/// Takes the mark off a commit of which everything has just been written.
pub(super) async fn clear(repo: &Repo, commit: &Checksum) -> Result<()> {
    if repo.state().read_partial(commit).await?.is_some() {
        repo.state().write_partial(commit, None).await?;
    }
    Ok(())
}
