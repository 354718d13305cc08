//! Random operations on all kinds of places, which must agree after every step, and after every
//! failure have what was there before or what was to come.

mod act;
mod compare;
mod foresee;
mod operation;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use treeferry_conformance::Holds;
use treeferry_conformance::samples::{self, TreeSample};
use treeferry_core::format::{Checksum, ObjectName};
use treeferry_core::repo::Repo;
use treeferry_core::store::{ExpectedRef, MemoryStore, RefName, RefUpdate, RefValue};
use treeferry_core::{Error, ErrorKind, Result};

use self::act::put;
use self::operation::Operation;
use crate::input::Input;
use crate::places::Place;

/// How many operations a run has at most.
const STEPS_MAX: usize = 40;

/// How often an operation is made again that a fault befell.
const TRIES_MAX: usize = 3;

const TREES: usize = 5;
const BRANCHES: [&str; 3] = ["main", "os/stable", "os/testing"];
const CONFIG_GROUP: &str = "fuzz";
const CONFIG_KEY: &str = "step";

/// Runs the operations that `data` says on all places.
pub fn fuzz_model(data: &[u8]) {
    crate::runtime().block_on(async {
        let mut input = Input::new(data);
        let seed = u64::from(input.byte());
        let one_in = [0, 12, 30, 90][input.below(4)];
        let mut run = match Run::new(seed, one_in).await {
            Ok(run) => run,
            Err(error) => panic!("the places cannot be made: {error:?}"),
        };
        for step in 0..STEPS_MAX {
            if input.is_empty() {
                break;
            }
            let operation = run.operation(&mut input, step);
            run.step(step, &operation).await;
        }
    });
}
/// What a place holds, as far as it must be the same everywhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Contents {
    refs: BTreeMap<RefName, RefValue>,
    detached: BTreeMap<Checksum, Bytes>,
    partial: BTreeMap<Checksum, bool>,
    step: Option<u64>,
    /// What must be there.
    objects: BTreeSet<ObjectName>,
}

struct Run {
    places: Vec<(Place, Repo)>,
    trees: Vec<TreeSample>,
    upstream: Repo,
    model: Contents,
    /// What may be there as well: whole objects that a batch left which was not finished.
    leftovers: BTreeSet<ObjectName>,
    /// Commits of which a prune may have found such a one, and removed what belongs to it.
    doubtful: BTreeSet<Checksum>,
}

fn branch(number: usize) -> RefName {
    RefName::Local(BRANCHES[number].parse().expect("it is a branch"))
}

fn remote_branch(number: usize) -> RefName {
    let remote = "upstream".parse().expect("it is a remote");
    RefName::Remote(
        remote,
        format!("tree-{number}").parse().expect("it is a branch"),
    )
}

/// Trees that share some of their files.
fn trees() -> Vec<TreeSample> {
    let tree = |i: usize| {
        let mut tree = samples::tree(Holds::CANONICAL, &format!("{}", i / 2), 3 + i);
        let (root, meta) = (
            tree.objects[tree.objects.len() - 2].clone(),
            samples::dirmeta(0o755),
        );
        let commit = samples::commit(&format!("tree {i}"), &root, &meta);
        tree.objects.pop();
        tree.objects.push(commit.clone());
        tree.commit = commit;
        tree
    };
    (0..TREES).map(tree).collect()
}

impl Run {
    async fn new(seed: u64, one_in: u32) -> Result<Self> {
        let mut places = Vec::new();
        for place in Place::all(seed, one_in)? {
            let repo = place.open().await?;
            places.push((place, repo));
        }
        let (trees, upstream) = (trees(), Repo::new(Arc::new(MemoryStore::default())));
        for (i, tree) in trees.iter().enumerate() {
            put(&upstream, &tree.objects).await?;
            let name = format!("tree-{i}");
            let update = RefUpdate {
                name: RefName::Local(name.parse()?),
                expected: ExpectedRef::Absent,
                new: Some(RefValue::Commit(tree.commit.name.checksum)),
            };
            upstream.refs().update_refs(&[update]).await?;
        }
        Ok(Self {
            places,
            trees,
            upstream,
            model: Contents::default(),
            leftovers: BTreeSet::new(),
            doubtful: BTreeSet::new(),
        })
    }

    fn commit(&self, tree: usize) -> Checksum {
        self.trees[tree].commit.name.checksum
    }

    fn has(&self, tree: usize) -> bool {
        self.model.objects.contains(&self.trees[tree].commit.name)
    }

    /// Does an operation everywhere, and compares.
    async fn step(&mut self, step: usize, operation: &Operation) {
        let before = self.model.clone();
        let expected = self.foresee(operation);
        let places = std::mem::take(&mut self.places);
        for (place, mut repo) in places {
            let what = format!("step {step}, {operation:?}, {}", place.name);
            self.at_place(&place, &mut repo, operation, (&before, &expected), &what)
                .await;
            self.places.push((place, repo));
        }
        self.model = expected;
    }

    async fn at_place(
        &self,
        place: &Place,
        repo: &mut Repo,
        operation: &Operation,
        (before, after): (&Contents, &Contents),
        what: &str,
    ) {
        for attempt in 0..TRIES_MAX {
            // The last try meets no fault.
            if attempt + 1 < TRIES_MAX {
                place.faults.resume();
            }
            let done = self.run(repo, operation).await;
            place.faults.pause();
            if matches!(operation, Operation::Abandon(_) | Operation::Reopen) || done.is_err() {
                *repo = place
                    .open()
                    .await
                    .unwrap_or_else(|e| panic!("{what}: reopened: {e:?}"));
            }
            match done {
                Ok(()) => {
                    self.compare(repo, after, what).await;
                    return;
                }
                Err(error) => {
                    let injected = attempt + 1 < TRIES_MAX && is_excused(&error, operation);
                    assert!(injected, "{what}, attempt {attempt}: {error:?}");
                    self.compare_either(repo, before, after, &format!("{what}: {error}"))
                        .await;
                }
            }
        }
    }
}

/// Returns whether an error may come of what was injected.
fn is_excused(error: &Error, operation: &Operation) -> bool {
    // A ref that is misread holds a commit that is not there.
    let reads_refs = matches!(operation, Operation::Prune | Operation::PullOut(_));
    reads_refs && error.kind() == ErrorKind::Missing
        || matches!(
            error.kind(),
            ErrorKind::Unavailable { .. }
                | ErrorKind::Indeterminate
                | ErrorKind::Corrupt
                | ErrorKind::Locked
        )
}
