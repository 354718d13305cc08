//! Goes through both sides at once.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::Path;

use super::side::{self, Entry, Lister, Listing, Node, Place};
use super::{Diff, DiffKind, DiffOptions, DiffPath, DiffSide};
use crate::error::{Error, Result};
use crate::repo::{Repo, measure_and_keep};

/// Files that are compared in one job of the pool.
const GROUP_FILES: usize = 64;

/// Paths of all three kinds that are told at most: some gigabytes.
const PATHS_MAX: usize = 1 << 24;

pub(super) async fn run(
    repo: &Repo,
    from: &DiffSide,
    to: &DiffSide,
    options: DiffOptions,
) -> Result<Diff> {
    let trees = HashMap::new();
    let mut lister = Lister { repo, trees };
    let from = open(&mut lister, from, options).await?;
    let to = open(&mut lister, to, options).await?;
    let mut walk = Walk {
        lister,
        options,
        diff: Diff::default(),
    };
    walk.compare(from, to).await?;
    Ok(walk.diff)
}

async fn open(lister: &mut Lister<'_>, side: &DiffSide, options: DiffOptions) -> Result<Listing> {
    let place = match side {
        DiffSide::Tree(root) => {
            let measured = measure_and_keep(lister.repo, &root.tree, options.limits).await?;
            lister.trees.extend(measured.dirtrees);
            Place::Tree(*root)
        }
        DiffSide::Dir(path) => {
            let path = path.clone();
            let open = move || side::open_root(&path);
            lister.repo.pool().run(open).await?
        }
    };
    let listing = lister.list(place).await;
    listing.map_err(|error| match side {
        DiffSide::Tree(_) => error,
        DiffSide::Dir(path) => error.about(path.as_path()),
    })
}

struct Walk<'a> {
    lister: Lister<'a>,
    options: DiffOptions,
    diff: Diff,
}

/// A directory that is on both sides, and how far it has been compared.
struct Frame {
    path: OsString,
    from: Listing,
    to: Listing,
    /// Of each entry of `from`, whether it is something else in `to`; `None` if it is not there.
    differs: Vec<Option<Differs>>,
    next: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Differs {
    Yes,
    No,
}

impl Walk<'_> {
    async fn compare(&mut self, from: Listing, to: Listing) -> Result<()> {
        let mut frames = vec![self.frame(OsString::new(), from, to).await?];
        while let Some(frame) = frames.last_mut() {
            let Some(entry) = frame.from.entries.get(frame.next) else {
                if let Some(frame) = frames.pop() {
                    self.add_new(frame).await?;
                }
                continue;
            };
            self.check_count()?;
            let path = side::join(&frame.path, &entry.name);
            let differs = frame.differs[frame.next];
            frame.next += 1;
            let told = DiffPath {
                path: path.clone(),
                kind: entry.kind(),
            };
            let Some(other) = frame.to.find(&entry.name) else {
                self.diff.removed.push(told);
                continue;
            };
            if differs == Some(Differs::Yes) {
                self.diff.modified.push(told);
            }
            let dirs = entry.kind() == DiffKind::Dir && other.kind() == DiffKind::Dir;
            if dirs && !same_tree(entry, other) {
                let about = |e: Error| e.about(Path::new(&path));
                let from = self.lister.list_below(&frame.from.place, entry).await;
                let from = from.map_err(about)?;
                let to = self.lister.list_below(&frame.to.place, other).await;
                let to = to.map_err(about)?;
                self.check_depth(frames.len() + 1, &path)?;
                frames.push(self.frame(path, from, to).await?);
            }
        }
        Ok(())
    }

    fn check_count(&self) -> Result<()> {
        let Diff {
            modified,
            removed,
            added,
        } = &self.diff;
        if modified.len() + removed.len() + added.len() < PATHS_MAX {
            return Ok(());
        }
        let problem = format!("they differ in more than {PATHS_MAX} paths");
        Err(Error::invalid(problem))
    }

    // Trees were measured before; a directory of this machine is met as it is.
    fn check_depth(&self, depth: usize, path: &OsString) -> Result<()> {
        let max = self.options.limits.depth_max;
        if depth <= max {
            return Ok(());
        }
        let problem = format!("directories are nested deeper than {max} here");
        Err(Error::invalid(problem).about(Path::new(path)))
    }

    /// Compares the entries that both sides have, without what is in them.
    async fn frame(&self, path: OsString, from: Listing, to: Listing) -> Result<Frame> {
        let mut differs = vec![None; from.entries.len()];
        let mut unread = Vec::new();
        for (at, a) in from.entries.iter().enumerate() {
            let Some(b) = to.find(&a.name) else { continue };
            differs[at] = match (&a.node, &b.node) {
                _ if a.kind() != b.kind() => Some(Differs::Yes),
                (Node::File(a), Node::File(b)) => Some(differing(a != b)),
                (Node::Dir(a), Node::Dir(b)) => Some(differing(a.meta != b.meta)),
                _ => {
                    unread.push((at, a.clone(), b.clone()));
                    None
                }
            };
        }
        let jobs = unread.chunks(GROUP_FILES).map(|group| {
            let (group, second_options) = (group.to_vec(), self.options);
            let first_options = DiffOptions {
                owner_uid: None,
                owner_gid: None,
                ..self.options
            };
            let (from, to, path) = (from.place.clone(), to.place.clone(), path.clone());
            let compare = move || {
                let compare = |(at, a, b): &(usize, Entry, Entry)| {
                    let about = |e: Error| e.about(Path::new(&side::join(&path, &a.name)));
                    let first = side::checksum(&from, a, &first_options).map_err(about)?;
                    let second = side::checksum(&to, b, &second_options).map_err(about)?;
                    let same = match (first, second) {
                        (None, None) => side::same_special(a, b),
                        (first, second) => first == second,
                    };
                    Ok((*at, differing(!same)))
                };
                group.iter().map(compare).collect::<Result<Vec<_>>>()
            };
            self.lister.repo.pool().run(compare)
        });
        for (at, result) in futures::future::try_join_all(jobs).await?.concat() {
            differs[at] = Some(result);
        }
        Ok(Frame {
            path,
            from,
            to,
            differs,
            next: 0,
        })
    }

    /// Tells what only the second side has in a directory, with all that is in it.
    async fn add_new(&mut self, frame: Frame) -> Result<()> {
        let Frame { path, from, to, .. } = frame;
        for entry in &to.entries {
            if from.find(&entry.name).is_none() {
                self.add(&path, &to.place, entry).await?;
            }
        }
        Ok(())
    }

    async fn add(&mut self, above: &OsString, place: &Place, entry: &Entry) -> Result<()> {
        let base = above.as_encoded_bytes().split(|b| *b == b'/').count();
        // What is still to be told, the next last; each with the listing that it is in.
        let mut todo = vec![(above.clone(), place.clone(), entry.clone(), base)];
        while let Some((above, place, entry, depth)) = todo.pop() {
            self.check_count()?;
            let path = side::join(&above, &entry.name);
            let kind = entry.kind();
            let told = path.clone();
            self.diff.added.push(DiffPath { path: told, kind });
            if kind == DiffKind::Dir {
                self.check_depth(depth + 1, &path)?;
                let listing = self.lister.list_below(&place, &entry).await;
                let listing = listing.map_err(|e| e.about(Path::new(&path)))?;
                for entry in listing.entries.into_iter().rev() {
                    todo.push((path.clone(), listing.place.clone(), entry, depth + 1));
                }
            }
        }
        Ok(())
    }
}

fn differing(differs: bool) -> Differs {
    if differs { Differs::Yes } else { Differs::No }
}

/// Returns whether two directories hold the same, which one checksum tells.
fn same_tree(a: &Entry, b: &Entry) -> bool {
    matches!((&a.node, &b.node), (Node::Dir(a), Node::Dir(b)) if a.tree == b.tree)
}
