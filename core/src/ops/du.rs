//! What each ref costs in stored bytes, and what nothing needs: the verb `du`.

use std::collections::BTreeMap;

use futures::TryStreamExt;

use crate::error::Result;
use crate::format::{Checksum, ObjectType};
use crate::repo::{Depth, History, ReachOptions, ReachRoot, Reachable, Repo};
use crate::store::{RefName, RefSpace};

/// Objects that are looked at in one step.
const OBJECTS_A_STEP: usize = 4096;

/// How many objects, and how many bytes they take in the repository.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stored {
    /// Objects.
    pub objects: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Stored {
    fn add(&mut self, bytes: u64) {
        self.objects += 1;
        self.bytes += bytes;
    }
}

/// What a ref costs: its commit with all of its history that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefCost {
    /// The ref.
    pub name: RefName,
    /// The commit that it holds.
    pub commit: Checksum,
    /// All that it needs.
    pub all: Stored,
    /// What no other ref needs: what a prune frees once this one is deleted.
    pub own: Stored,
}

/// What is in a repository, and what for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiskUse {
    /// What each ref costs, sorted by name.
    pub refs: Vec<RefCost>,
    /// All objects.
    pub all: Stored,
    /// What several refs need.
    pub shared: Stored,
    /// What no ref needs: what a prune that begins at refs frees.
    pub without_ref: Stored,
    /// What no commit needs, whether a ref holds it or not: what any prune frees.
    pub without_commit: Stored,
}

/// One commit that refs hold.
struct Holder {
    reachable: Reachable,
    refs: usize,
    all: Stored,
    own: Stored,
}

/// Adds up what is in a repository. Nothing is read but metadata, and lengths of files.
///
/// # Errors
///
/// Fails if an object that a ref needs cannot be read: what is needed then is not known.
pub async fn disk_use(repo: &Repo) -> Result<DiskUse> {
    let mut names = Vec::new();
    for (name, _) in repo.refs().list_refs(&RefSpace::All).await? {
        // An alias that leads nowhere costs nothing.
        if let Some(commit) = repo.follow_ref(&name).await? {
            names.push((name, commit));
        }
    }
    let mut holders: BTreeMap<Checksum, Holder> = BTreeMap::new();
    for (_, commit) in &names {
        if let Some(holder) = holders.get_mut(commit) {
            holder.refs += 1;
            continue;
        }
        let holder = Holder {
            reachable: reach(repo, &[*commit]).await?,
            refs: 1,
            all: Stored::default(),
            own: Stored::default(),
        };
        holders.insert(*commit, holder);
    }
    let commits = repo.objects().list(ObjectType::Commit);
    let commits: Vec<_> = commits.map_ok(|c| c.name.checksum).try_collect().await?;
    let by_commits = reach(repo, &commits).await?;
    let mut found = DiskUse::default();
    for object_type in [
        ObjectType::Commit,
        ObjectType::DirTree,
        ObjectType::DirMeta,
        ObjectType::File,
    ] {
        add_up(repo, object_type, &mut holders, &by_commits, &mut found).await?;
    }
    names.sort();
    found
        .refs
        .extend(names.into_iter().filter_map(|(name, commit)| {
            let holder = holders.get(&commit)?;
            let (all, own) = (holder.all, holder.own);
            Some(RefCost {
                name,
                commit,
                all,
                own,
            })
        }));
    Ok(found)
}

async fn reach(repo: &Repo, commits: &[Checksum]) -> Result<Reachable> {
    let roots = commits.iter().map(|commit| ReachRoot {
        commit: *commit,
        history: History::Depth(Depth::All),
    });
    let roots: Vec<_> = roots.collect();
    let mut reachable = repo.reach(&roots, &ReachOptions::default()).await?;
    match reachable.take_problems().into_iter().next() {
        Some(problem) => Err(problem.error.about(problem.name)),
        None => Ok(reachable),
    }
}

async fn add_up(
    repo: &Repo,
    object_type: ObjectType,
    holders: &mut BTreeMap<Checksum, Holder>,
    by_commits: &Reachable,
    found: &mut DiskUse,
) -> Result<()> {
    let mut listed = repo.objects().list(object_type).try_chunks(OBJECTS_A_STEP);
    while let Some(listed) = listed.try_next().await.map_err(|e| e.1)? {
        let names: Vec<_> = listed.iter().map(|listed| listed.name).collect();
        let needed = by_commits.contains(&names).await?;
        let mut refs = vec![0_usize; names.len()];
        let mut needs = Vec::with_capacity(holders.len());
        for holder in holders.values() {
            let contained = holder.reachable.contains(&names).await?;
            for (refs, _) in refs.iter_mut().zip(&contained).filter(|(_, is)| **is) {
                *refs += holder.refs;
            }
            needs.push(contained);
        }
        for (at, object) in listed.iter().enumerate() {
            let bytes = object.stored_bytes;
            found.all.add(bytes);
            match refs[at] {
                0 => found.without_ref.add(bytes),
                1 => {}
                _ => found.shared.add(bytes),
            }
            if !needed[at] {
                found.without_commit.add(bytes);
            }
            for (holder, needs) in holders.values_mut().zip(&needs) {
                if needs[at] {
                    holder.all.add(bytes);
                    if refs[at] == 1 {
                        holder.own.add(bytes);
                    }
                }
            }
        }
    }
    Ok(())
}
