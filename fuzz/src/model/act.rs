//! Operations, done in one place.

use std::sync::Arc;

use bytes::Bytes;
use treeferry_conformance::Holds;
use treeferry_conformance::samples::{self, Sample, TreeSample};
use treeferry_core::format::keyfile::KeyFile;
use treeferry_core::format::{Checksum, ObjectName};
use treeferry_core::ops::prune::{PruneOptions, PruneRoots, prune};
use treeferry_core::ops::pull::{Naming, PullOptions, PullRef, PullSource, pull};
use treeferry_core::repo::{Depth, Repo};
use treeferry_core::store::{
    BatchOptions, Durability, ExpectedRef, Leftovers, MemoryStore, RefAnswer, RefName, RefUpdate,
    RefValue, Swap,
};
use treeferry_core::{Error, Result};

use super::operation::{Expected, Operation};
use super::{BRANCHES, CONFIG_GROUP, CONFIG_KEY, Run, branch};
use crate::places::quick_retry;

fn quick() -> BatchOptions {
    BatchOptions {
        durability: Durability::None,
        leftovers: Leftovers::Ignore,
    }
}

pub(super) async fn put(repo: &Repo, objects: &[Sample]) -> Result<()> {
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
    pub(super) async fn run(&self, repo: &Repo, operation: &Operation) -> Result<()> {
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
                options.grace = Some(std::time::Duration::ZERO);
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
            [RefAnswer::Conflict { current }] if holds && !self.is_known(current.as_ref()) => {
                return Err(Error::corrupt(format!("{name} was misread as {current:?}")));
            }
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

    /// Returns whether a ref can hold this: what else is read was spoilt on its way.
    fn is_known(&self, value: Option<&RefValue>) -> bool {
        let holds = |tree| value == Some(&RefValue::Commit(self.commit(tree)));
        value.is_none() || (0..self.trees.len()).any(holds)
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
            // What is there cannot be told, so neither answer is wrong.
            _ if self.doubtful.contains(&commit) => {}
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
        let out = Repo::new(Arc::new(MemoryStore::default()));
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
