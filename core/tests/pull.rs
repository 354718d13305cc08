//! What a pull holds, and what a pull that fails leaves.

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use support::Pile;
use treeferry_core::format::delta::DeltaFile;
use treeferry_core::format::gvariant::Dict;
use treeferry_core::format::{Branch, Checksum, CollectionId, ObjectName};
use treeferry_core::ops::pull::{AgeCheck, PullOptions, PullRef, PullSource, pull};
use treeferry_core::repo::{RemoteRepo, Repo};
use treeferry_core::store::{
    ExpectedRef, LockKind, MemoryOptions, MemoryStore, ObjectStore, RefAnswer, RefAtomicity,
    RefName, RefSpace, RefStore, RefUpdate, RefValue, SignedSummary,
};
use treeferry_core::transport::{FetchOptions, FetchedFile};
use treeferry_core::{ErrorKind, Result};

/// A remote with one branch, `main`.
#[derive(Debug)]
struct OneBranch(Checksum);

#[async_trait]
impl RemoteRepo for OneBranch {
    fn describe(&self) -> String {
        "memory:one".into()
    }

    async fn read_branch(
        &self,
        _: Option<&CollectionId>,
        branch: &Branch,
    ) -> Result<Option<Checksum>> {
        Ok((branch.as_str() == "main").then_some(self.0))
    }

    async fn read_detached(&self, _: &Checksum) -> Result<Option<Bytes>> {
        let mut dict = Dict::new();
        dict.insert("key", "value");
        Ok(Some(dict.encode().into()))
    }

    async fn read_summary(&self) -> Result<Option<SignedSummary>> {
        Ok(None)
    }

    async fn read_summary_signature(&self) -> Result<Option<Bytes>> {
        Ok(None)
    }

    async fn read_config(&self) -> Result<Option<Bytes>> {
        Ok(Some(Bytes::new()))
    }

    async fn open_delta_file(&self, _: &DeltaFile, _: FetchOptions) -> Result<Option<FetchedFile>> {
        Ok(None)
    }
}

fn source(pile: &Arc<Pile>, commit: Checksum) -> PullSource {
    PullSource {
        repo: Arc::new(OneBranch(commit)),
        objects: pile.clone(),
    }
}

fn main_branch() -> PullOptions {
    let mut options = PullOptions::default();
    options.refs = vec![PullRef {
        branch: Some("main".parse().unwrap()),
        commit: None,
    }];
    options
}

fn store() -> Arc<MemoryStore> {
    let options = MemoryOptions {
        lock_wait: Duration::from_millis(20),
        ..MemoryOptions::default()
    };
    Arc::new(MemoryStore::new(options))
}

/// Refs that look whether a prune could run while they are moved.
#[derive(Debug)]
struct Watched {
    store: Arc<MemoryStore>,
    refused: AtomicUsize,
}

#[async_trait]
impl RefStore for Watched {
    async fn read_ref(&self, name: &RefName) -> Result<Option<RefValue>> {
        self.store.read_ref(name).await
    }

    async fn list_refs(&self, space: &RefSpace) -> Result<Vec<(RefName, RefValue)>> {
        self.store.list_refs(space).await
    }

    async fn update_refs(&self, updates: &[RefUpdate]) -> Result<Vec<RefAnswer>> {
        let error = self.store.lock(LockKind::Exclusive).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Locked);
        self.refused.fetch_add(1, Ordering::SeqCst);
        self.store.update_refs(updates).await
    }

    fn ref_atomicity(&self) -> RefAtomicity {
        self.store.ref_atomicity()
    }
}

#[tokio::test]
async fn no_prune_comes_between_the_objects_and_the_ref() {
    let pile = Arc::new(Pile::default());
    let commit = pile.small_commit("1", None);
    let store = store();
    let watched = Arc::new(Watched {
        store: store.clone(),
        refused: AtomicUsize::new(0),
    });
    let repo = Repo::from_parts(store.clone(), watched.clone(), store.clone());
    pull(&repo, &source(&pile, commit), &main_branch())
        .await
        .unwrap();
    assert_eq!(watched.refused.load(Ordering::SeqCst), 1);
    assert_eq!(repo.resolve("main").await.unwrap(), commit);
    store.lock(LockKind::Exclusive).await.unwrap();
}

#[tokio::test]
async fn a_pull_that_fails_leaves_refs_and_detached_metadata_alone() {
    let pile = Arc::new(Pile::default());
    let commit = pile.small_commit("1", None);
    let missing = pile
        .names()
        .into_iter()
        .find(|name| name.object_type.number() == 1);
    pile.remove(missing.unwrap());
    let repo = Repo::new(store());
    pull(&repo, &source(&pile, commit), &main_branch())
        .await
        .unwrap_err();
    assert_eq!(repo.resolve_optional("main").await.unwrap(), None);
    assert_eq!(repo.state().read_detached(&commit).await.unwrap(), None);

    pile.small_commit("1", None);
    pull(&repo, &source(&pile, commit), &main_branch())
        .await
        .unwrap();
    assert!(repo.state().read_detached(&commit).await.unwrap().is_some());
    let names = [ObjectName::commit(commit)];
    assert!(repo.objects().stat(&names).await.unwrap()[0].is_some());
}

#[tokio::test]
async fn a_step_back_is_refused_also_where_the_ref_is_an_alias() {
    let pile = Arc::new(Pile::default());
    let newer = pile.small_commit("new", None);
    let older = pile.older_commit("old");
    let repo = Repo::new(store());
    pull(&repo, &source(&pile, newer), &main_branch())
        .await
        .unwrap();
    let name = |text: &str| RefName::Local(text.parse().unwrap());
    let moves = [
        (name("stable"), RefValue::Commit(newer)),
        (name("main"), RefValue::Alias(name("stable"))),
    ];
    for (name, value) in moves {
        let update = RefUpdate {
            name,
            expected: ExpectedRef::Any,
            new: Some(value),
        };
        repo.refs().update_refs(&[update]).await.unwrap();
    }
    let mut options = main_branch();
    options.age = AgeCheck::NotOlderThanRef;
    let error = pull(&repo, &source(&pile, older), &options)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("is older"), "{error}");
}
