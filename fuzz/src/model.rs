//! Random operations on all kinds of places, which must agree after every step, and after every
//! failure have what was there before or what was to come.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::TryStreamExt;
use treeferry_conformance::Holds;
use treeferry_conformance::samples::{self, Sample, TreeSample};
use treeferry_core::format::keyfile::KeyFile;
use treeferry_core::format::{Checksum, ObjectName, ObjectType};
use treeferry_core::ops::prune::{PruneOptions, PruneRoots, prune};
use treeferry_core::ops::pull::{Naming, PullOptions, PullRef, PullSource, pull};
use treeferry_core::repo::{Depth, Repo};
use treeferry_core::store::{
    BatchOptions, Durability, ExpectedRef, Leftovers, MemoryStore, Partial, RefAnswer, RefName,
    RefSpace, RefUpdate, RefValue, Swap,
};
use treeferry_core::{Error, ErrorKind, Result};

use crate::input::Input;
use crate::places::{Place, quick_retry};

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

/// What can be done.
#[derive(Debug, Clone)]
enum Operation {
    /// Puts a tree, and commits the batch.
    Put(usize),
    /// Puts a tree, and drops the batch; all handles are closed and opened again.
    Abandon(usize),
    /// Puts a file under a name that it does not hash to.
    PutWrong(usize),
    /// Moves a ref, or deletes it.
    MoveRef {
        branch: usize,
        expected: ExpectedRef,
        new: Option<usize>,
    },
    /// Changes the detached metadata of a commit.
    Detach {
        tree: usize,
        expected: Expected,
        new: Option<Bytes>,
    },
    /// Marks a commit partial, or whole.
    Mark(usize, Option<Partial>),
    /// Changes a value of the configuration.
    Configure { stale: bool, value: u64 },
    /// Closes all handles and opens them again.
    Reopen,
    /// Deletes what no ref needs.
    Prune,
    /// Pulls a tree from another repository.
    Pull(usize),
    /// Pulls a branch out of the place into an empty repository.
    PullOut(usize),
}

/// What is expected of detached metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Current,
    Other,
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
        let (trees, upstream) = (
            trees(),
            Repo::new(std::sync::Arc::new(MemoryStore::default())),
        );
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

    fn operation(&self, input: &mut Input<'_>, step: usize) -> Operation {
        let what = input.below(14);
        let tree = input.below(TREES);
        match what {
            0..=2 => Operation::Put(tree),
            3 => Operation::Abandon(tree),
            4 => Operation::PutWrong(tree),
            5 | 6 => self.move_ref(input, tree),
            7 => Operation::Detach {
                tree,
                expected: [Expected::Current, Expected::Other][input.below(2)],
                new: [
                    None,
                    Some(Bytes::new()),
                    Some(Bytes::from(format!("at {step}"))),
                ][input.below(3)]
                .clone(),
            },
            8 => {
                let marks = [None, Some(Partial::Fetching), Some(Partial::Damaged)];
                Operation::Mark(tree, marks[input.below(3)])
            }
            9 => Operation::Configure {
                stale: input.below(3) == 0,
                value: step as u64,
            },
            10 => Operation::Reopen,
            11 => Operation::Prune,
            12 => Operation::Pull(tree),
            _ => Operation::PullOut(input.below(BRANCHES.len())),
        }
    }

    fn move_ref(&self, input: &mut Input<'_>, tree: usize) -> Operation {
        let number = input.below(BRANCHES.len());
        let current = self.model.refs.get(&branch(number)).cloned();
        let expected = match (input.below(4), current) {
            (0, _) => ExpectedRef::Any,
            (1, _) | (2, None) => ExpectedRef::Absent,
            (2, Some(current)) => ExpectedRef::Value(current),
            _ => ExpectedRef::Value(RefValue::Commit(self.commit(input.below(TREES)))),
        };
        // A ref to what is not there is a mistake of the caller's.
        let new = Some(tree).filter(|tree| input.below(4) > 0 && self.has(*tree));
        Operation::MoveRef {
            branch: number,
            expected,
            new,
        }
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
                    let injected = attempt + 1 < TRIES_MAX && is_excused(&error);
                    assert!(injected, "{what}, attempt {attempt}: {error:?}");
                    self.compare_either(repo, before, after, &format!("{what}: {error}"))
                        .await;
                }
            }
        }
    }

    /// Returns what must be there after an operation.
    fn foresee(&mut self, operation: &Operation) -> Contents {
        let mut model = self.model.clone();
        if let Operation::Put(tree) | Operation::Pull(tree) | Operation::Abandon(tree) = operation {
            // Of the first two a try that fails leaves some.
            self.leftovers.extend(self.trees[*tree].names());
        }
        match operation {
            Operation::Put(tree) => model.objects.extend(self.trees[*tree].names()),
            Operation::Pull(tree) => {
                model.objects.extend(self.trees[*tree].names());
                let value = RefValue::Commit(self.commit(*tree));
                model.refs.insert(remote_branch(*tree), value);
                model.partial.remove(&self.commit(*tree));
            }
            Operation::MoveRef {
                branch: number,
                expected,
                new,
            } => {
                let name = branch(*number);
                if expected.matches(model.refs.get(&name)) {
                    match new {
                        Some(tree) => drop(
                            model
                                .refs
                                .insert(name, RefValue::Commit(self.commit(*tree))),
                        ),
                        None => drop(model.refs.remove(&name)),
                    }
                }
            }
            Operation::Detach {
                tree,
                expected: Expected::Current,
                new,
            } => {
                let commit = self.commit(*tree);
                match new {
                    Some(new) => drop(model.detached.insert(commit, new.clone())),
                    None => drop(model.detached.remove(&commit)),
                }
            }
            Operation::Mark(tree, mark) => {
                let commit = self.commit(*tree);
                match mark {
                    Some(mark) => drop(model.partial.insert(commit, *mark == Partial::Damaged)),
                    None => drop(model.partial.remove(&commit)),
                }
            }
            Operation::Configure {
                stale: false,
                value,
            } => model.step = Some(*value),
            Operation::Prune => self.foresee_prune(&mut model),
            Operation::Abandon(_)
            | Operation::PutWrong(_)
            | Operation::Detach { .. }
            | Operation::Configure { .. }
            | Operation::Reopen
            | Operation::PullOut(_) => {}
        }
        model
    }

    fn foresee_prune(&mut self, model: &mut Contents) {
        let held = |tree: &&TreeSample| {
            let value = RefValue::Commit(tree.commit.name.checksum);
            model.refs.values().any(|held| *held == value)
        };
        let kept: BTreeSet<_> = self
            .trees
            .iter()
            .filter(held)
            .flat_map(TreeSample::names)
            .collect();
        for tree in &self.trees {
            let commit = tree.commit.name;
            let checksum = commit.checksum;
            if kept.contains(&commit) {
                continue;
            }
            // A mark of what is not there goes as well.
            model.partial.remove(&checksum);
            match model.objects.contains(&commit) {
                true => drop(model.detached.remove(&checksum)),
                false if self.leftovers.contains(&commit) => drop(self.doubtful.insert(checksum)),
                false => {}
            }
        }
        model.objects.retain(|name| kept.contains(name));
    }
}

/// Returns whether an error may come of what was injected.
fn is_excused(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Unavailable { .. }
            | ErrorKind::Indeterminate
            | ErrorKind::Corrupt
            | ErrorKind::Locked
    )
}

fn quick() -> BatchOptions {
    BatchOptions {
        durability: Durability::None,
        leftovers: Leftovers::Ignore,
    }
}

async fn put(repo: &Repo, objects: &[Sample]) -> Result<()> {
    let batch = repo.objects().begin(quick()).await?;
    for answer in batch
        .put(objects.iter().map(Sample::incoming).collect())
        .await
    {
        answer?;
    }
    batch.commit().await?;
    Ok(())
}

impl Run {
    async fn run(&self, repo: &Repo, operation: &Operation) -> Result<()> {
        match operation {
            Operation::Put(tree) => put(repo, &self.trees[*tree].objects).await,
            Operation::Abandon(tree) => self.abandon(repo, *tree).await,
            Operation::PutWrong(tree) => self.put_wrong(repo, *tree).await,
            Operation::MoveRef {
                branch: number,
                expected,
                new,
            } => self.move_one(repo, &branch(*number), expected, *new).await,
            Operation::Detach {
                tree,
                expected,
                new,
            } => self.detach(repo, *tree, *expected, new.clone()).await,
            Operation::Mark(tree, mark) => {
                repo.state().write_partial(&self.commit(*tree), *mark).await
            }
            Operation::Configure { stale, value } => configure(repo, *stale, *value).await,
            Operation::Reopen => Ok(()),
            Operation::Prune => {
                let mut options = PruneOptions::default();
                options.roots = PruneRoots::Refs;
                options.depth = Some(Depth::Parents(0));
                prune(repo, &options).await.map(drop)
            }
            Operation::Pull(tree) => {
                let naming = Naming::Remote("upstream".parse()?);
                let branch = format!("tree-{tree}");
                self.pull(&self.upstream, repo, &branch, naming).await
            }
            Operation::PullOut(number) => self.pull_out(repo, *number).await,
        }
    }

    async fn abandon(&self, repo: &Repo, tree: usize) -> Result<()> {
        let batch = repo.objects().begin(quick()).await?;
        let objects = self.trees[tree].objects.iter().map(Sample::incoming);
        for answer in batch.put(objects.collect()).await {
            answer?;
        }
        Ok(())
    }

    /// Puts a file under another's name, beside one that is right.
    async fn put_wrong(&self, repo: &Repo, tree: usize) -> Result<()> {
        let other = samples::file(Holds::CANONICAL, "of another name");
        let wrong = Sample {
            name: ObjectName::file(Checksum::of(&[tree as u8])),
            ..other
        };
        let batch = repo.objects().begin(quick()).await?;
        let mut answers = batch
            .put(vec![wrong.incoming(), wrong.incoming_filez()])
            .await;
        let refused = |answer: &Result<_>| answer.is_err();
        assert!(
            answers.iter().all(refused),
            "{}: a wrong object was accepted",
            wrong.name
        );
        answers.clear();
        batch.commit().await?;
        let found = repo.objects().stat(&[wrong.name]).await?;
        assert_eq!(found, [None], "a wrong object is there");
        Ok(())
    }

    async fn move_one(
        &self,
        repo: &Repo,
        name: &RefName,
        expected: &ExpectedRef,
        new: Option<usize>,
    ) -> Result<()> {
        let new = new.map(|tree| RefValue::Commit(self.commit(tree)));
        let update = RefUpdate {
            name: name.clone(),
            expected: expected.clone(),
            new: new.clone(),
        };
        let before = self.model.refs.get(name);
        let answers = repo.refs().update_refs(&[update]).await?;
        let holds = expected.matches(before);
        match &answers[..] {
            [RefAnswer::Committed] => assert!(holds, "{name} moved from {before:?}"),
            // What an earlier try did, and was not told of, is a conflict with itself.
            [RefAnswer::Conflict { current }] => {
                assert!(
                    !holds || *current == new,
                    "{name}: conflict with {current:?}"
                );
            }
            _ => panic!("{name}: {} answers", answers.len()),
        }
        Ok(())
    }

    async fn detach(
        &self,
        repo: &Repo,
        tree: usize,
        expected: Expected,
        new: Option<Bytes>,
    ) -> Result<()> {
        let commit = self.commit(tree);
        let current = self.model.detached.get(&commit).cloned();
        let expected = match expected {
            Expected::Current => current.clone(),
            Expected::Other => Some(Bytes::from_static(b"never written")),
        };
        let answer = repo
            .state()
            .swap_detached(&commit, expected.as_ref(), new.clone())
            .await?;
        match answer {
            Swap::Done => assert_eq!(expected, current, "swapped"),
            Swap::Conflict { current: found } => {
                assert!(
                    expected != current || found == new,
                    "conflict with {found:?}"
                );
            }
        }
        Ok(())
    }

    async fn pull(&self, from: &Repo, to: &Repo, branch: &str, naming: Naming) -> Result<()> {
        let mut options = PullOptions::default();
        let branch = Some(branch.parse()?);
        options.refs = vec![PullRef {
            branch,
            commit: None,
        }];
        options.naming = naming;
        options.replicate.retry = quick_retry();
        options.replicate.durability = Durability::None;
        pull(to, &PullSource::from(from.clone()), &options)
            .await
            .map(drop)
    }

    async fn pull_out(&self, repo: &Repo, number: usize) -> Result<()> {
        let Some(RefValue::Commit(commit)) = self.model.refs.get(&branch(number)) else {
            return Ok(());
        };
        // Who marks a commit partial says that it cannot be pulled whole.
        let out = Repo::new(std::sync::Arc::new(MemoryStore::default()));
        let pulled = self.pull(repo, &out, BRANCHES[number], Naming::Own).await;
        if self.model.partial.contains_key(commit) && pulled.is_err() {
            return Ok(());
        }
        pulled?;
        let tree = self
            .trees
            .iter()
            .find(|tree| tree.commit.name.checksum == *commit);
        let names = tree.map(TreeSample::names).unwrap_or_default();
        let found = out.objects().stat(&names).await?;
        assert!(found.iter().all(Option::is_some), "a pull is not whole");
        Ok(())
    }
}

async fn configure(repo: &Repo, stale: bool, value: u64) -> Result<()> {
    let bytes = repo.state().read_config().await?;
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    let mut file = KeyFile::parse(text.as_bytes())?;
    file.set_string(CONFIG_GROUP, CONFIG_KEY, &value.to_string())?;
    let new = Bytes::from(file.to_string());
    let expected = match stale {
        true => Bytes::from_static(b"[core]\nnever=written\n"),
        false => bytes.clone(),
    };
    match repo.state().swap_config(&expected, new.clone()).await? {
        Swap::Done => assert!(!stale, "a stale configuration was swapped"),
        Swap::Conflict { current } => {
            let own = current.as_ref() == Some(&new);
            assert!(stale || own, "a conflict with nobody: {current:?}");
        }
    }
    Ok(())
}

impl Run {
    async fn look(&self, repo: &Repo) -> Result<Contents> {
        let mut found = Contents {
            refs: repo
                .refs()
                .list_refs(&RefSpace::All)
                .await?
                .into_iter()
                .collect(),
            ..Contents::default()
        };
        for tree in &self.trees {
            let commit = tree.commit.name.checksum;
            if let Some(detached) = repo.state().read_detached(&commit).await? {
                found.detached.insert(commit, detached);
            }
        }
        for commit in repo.state().list_partial().await? {
            let mark = repo.state().read_partial(&commit).await?;
            found.partial.insert(commit, mark == Some(Partial::Damaged));
        }
        let config = KeyFile::parse(&repo.state().read_config().await?)?;
        found.step = config
            .string(CONFIG_GROUP, CONFIG_KEY)
            .ok()
            .flatten()
            .and_then(|s| s.parse().ok());
        for object_type in ObjectType::ALL {
            let listed: Vec<_> = repo.objects().list(object_type).try_collect().await?;
            found
                .objects
                .extend(listed.into_iter().map(|listed| listed.name));
        }
        Ok(found)
    }

    async fn seen(&self, repo: &Repo, what: &str) -> Contents {
        let looked = self.look(repo).await;
        let found = looked.unwrap_or_else(|e| panic!("{what}: it cannot be looked at: {e:?}"));
        self.check_closure(&found, what);
        found
    }

    /// Checks that what is there of a commit is all of it.
    fn check_closure(&self, found: &Contents, what: &str) {
        for tree in &self.trees {
            let marked = found.partial.contains_key(&tree.commit.name.checksum);
            if found.objects.contains(&tree.commit.name) && !marked {
                for name in tree.names() {
                    assert!(
                        found.objects.contains(&name),
                        "{what}: {name} of a commit is gone"
                    );
                }
            }
        }
        for (name, value) in &found.refs {
            if let RefValue::Commit(commit) = value {
                let there = found.objects.contains(&ObjectName::commit(*commit));
                assert!(there, "{what}: {name} holds {commit}, which is not there");
            }
        }
    }

    async fn compare(&self, repo: &Repo, expected: &Contents, what: &str) {
        let found = self.seen(repo, what).await;
        assert_eq!(found.refs, expected.refs, "{what}: refs");
        assert_eq!(found.step, expected.step, "{what}: the configuration");
        let unsure = |commit: &Checksum| self.doubtful.contains(commit);
        let sure = |commits: &BTreeMap<Checksum, Bytes>| -> BTreeMap<Checksum, Bytes> {
            let sure = commits.iter().filter(|(commit, _)| !unsure(commit));
            sure.map(|(commit, bytes)| (*commit, bytes.clone()))
                .collect()
        };
        assert_eq!(
            sure(&found.detached),
            sure(&expected.detached),
            "{what}: detached metadata"
        );
        let partial = |contents: &Contents| -> BTreeMap<Checksum, bool> {
            let sure = contents
                .partial
                .iter()
                .filter(|(commit, _)| !unsure(commit));
            sure.map(|(commit, mark)| (*commit, *mark)).collect()
        };
        assert_eq!(partial(&found), partial(expected), "{what}: partial marks");
        for name in &expected.objects {
            assert!(found.objects.contains(name), "{what}: {name} is gone");
        }
        for name in found.objects.difference(&expected.objects) {
            assert!(self.leftovers.contains(name), "{what}: {name} is there");
        }
    }

    /// Checks that each part is as it was, or as it was to be.
    async fn compare_either(&self, repo: &Repo, before: &Contents, after: &Contents, what: &str) {
        let found = self.seen(repo, what).await;
        let names = before
            .refs
            .keys()
            .chain(after.refs.keys())
            .chain(found.refs.keys());
        for name in names {
            let value = found.refs.get(name);
            let either = value == before.refs.get(name) || value == after.refs.get(name);
            assert!(either, "{what}: {name} holds {value:?}");
        }
        for tree in &self.trees {
            let commit = &tree.commit.name.checksum;
            let value = found.detached.get(commit);
            let either =
                value == before.detached.get(commit) || value == after.detached.get(commit);
            assert!(
                either,
                "{what}: the detached metadata of {commit} is {value:?}"
            );
        }
        let step = found.step == before.step || found.step == after.step;
        assert!(step, "{what}: the configuration has {:?}", found.step);
        for name in before.objects.intersection(&after.objects) {
            assert!(found.objects.contains(name), "{what}: {name} is gone");
        }
        for name in &found.objects {
            let known = before.objects.contains(name)
                || after.objects.contains(name)
                || self.leftovers.contains(name);
            assert!(known, "{what}: {name} is there");
        }
    }
}
