//! From which commits a prune walks, and how far.

use futures::{StreamExt, TryStreamExt};

use super::{PruneOptions, PruneRoots};
use crate::error::{Error, Result, Subject};
use crate::format::{Checksum, ObjectName, ObjectType};
use crate::repo::{Depth, History, ReachRoot, Repo};
use crate::store::{RefName, RefSpace};

/// A commit to keep.
pub(super) struct Root {
    /// The commit, and how much of its history.
    pub(super) reach: ReachRoot,
    /// The ref that holds it, if that is why it is kept.
    held_by: Option<RefName>,
}

/// Returns the commits to keep and how much of their history.
pub(super) async fn find(repo: &Repo, options: &PruneOptions) -> Result<Vec<Root>> {
    let is_selective = options.keep_younger_than_secs.is_some()
        || !options.retain.is_empty()
        || !options.only.is_empty();
    if options.roots == PruneRoots::AllCommits && !is_selective {
        let history = History::Depth(options.depth.unwrap_or(Depth::All));
        let commits = repo.objects().list(ObjectType::Commit);
        let roots = commits.map_ok(|listed| Root {
            reach: ReachRoot {
                commit: listed.name.checksum,
                history,
            },
            held_by: None,
        });
        return roots.try_collect().await;
    }
    let refs = repo.refs().list_refs(&RefSpace::All).await?;
    let named = options.retain.iter().map(|(name, _)| name);
    for name in named.chain(&options.only) {
        if !refs.iter().any(|(known, _)| known == name) {
            let problem = "there is no such ref: nothing was pruned";
            return Err(Error::missing(problem).about(Subject::Ref(name.to_string())));
        }
    }
    let mut roots = Vec::with_capacity(refs.len());
    for (name, _) in refs {
        if let Some(commit) = repo.follow_ref(&name).await? {
            let history = history_of(&name, options);
            roots.push(Root {
                reach: ReachRoot { commit, history },
                held_by: Some(name),
            });
        }
    }
    Ok(roots)
}

/// Makes sure that each ref holds a commit that is there, or is known not to be.
///
/// One that holds another may have been misread, or spoilt: what it is to keep cannot be told.
pub(super) async fn check_present(repo: &Repo, roots: &[Root], absent: &[Checksum]) -> Result<()> {
    for commit in absent {
        let holder = roots.iter().find(|root| root.reach.commit == *commit);
        let Some(name) = holder.and_then(|root| root.held_by.as_ref()) else {
            continue;
        };
        let is_known = repo.state().read_partial(commit).await?.is_some()
            || repo.state().read_tombstone(commit).await?.is_some();
        if !is_known {
            let problem = format!(
                "holds the commit {commit}, which is not there: nothing was pruned, for what is \
                 still needed cannot be told; pull the commit, or delete the ref"
            );
            return Err(Error::missing(problem).about(Subject::Ref(name.to_string())));
        }
    }
    Ok(())
}

fn history_of(name: &RefName, options: &PruneOptions) -> History {
    let retained = options.retain.iter().rfind(|(other, _)| other == name);
    if let Some((_, depth)) = retained {
        return History::Depth(*depth);
    }
    if !options.only.is_empty() && !options.only.contains(name) {
        return History::Depth(Depth::All);
    }
    match options.keep_younger_than_secs {
        Some(since) => History::Since(since),
        None => History::Depth(options.depth.unwrap_or(Depth::All)),
    }
}

/// Makes sure that `commit` is there, and that no ref holds it.
pub(super) async fn check_unreferenced(repo: &Repo, commit: &Checksum) -> Result<()> {
    let about = ObjectName::commit(*commit);
    for (name, _) in repo.refs().list_refs(&RefSpace::All).await? {
        if repo.follow_ref(&name).await? == Some(*commit) {
            let problem = format!("is referenced by '{name}': delete that ref first");
            return Err(Error::invalid(problem).about(about));
        }
    }
    let commits = repo.objects().list(ObjectType::Commit);
    let mut same = commits
        .try_filter(|listed| std::future::ready(listed.name == about))
        .boxed();
    match same.try_next().await? {
        Some(_) => Ok(()),
        None => Err(Error::missing("is not in this repository").about(about)),
    }
}
