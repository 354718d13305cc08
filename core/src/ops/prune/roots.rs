//! From which commits a prune walks, and how far.

use futures::{StreamExt, TryStreamExt};

use super::{PruneOptions, PruneRoots};
use crate::error::{Error, Result, Subject};
use crate::format::{Checksum, ObjectName, ObjectType};
use crate::repo::{Depth, History, ReachRoot, Repo};
use crate::store::{RefName, RefSpace};

/// Returns the commits to keep and how much of their history.
pub(super) async fn find(repo: &Repo, options: &PruneOptions) -> Result<Vec<ReachRoot>> {
    let is_selective = options.keep_younger_than_secs.is_some()
        || !options.retain.is_empty()
        || !options.only.is_empty();
    if options.roots == PruneRoots::AllCommits && !is_selective {
        let history = History::Depth(options.depth.unwrap_or(Depth::All));
        let commits = repo.objects().list(ObjectType::Commit);
        let roots = commits.map_ok(|listed| ReachRoot {
            commit: listed.name.checksum,
            history,
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
    for (name, _) in &refs {
        if let Some(commit) = repo.follow_ref(name).await? {
            let history = history_of(name, options);
            roots.push(ReachRoot { commit, history });
        }
    }
    Ok(roots)
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
