//! Wrappers that inject faults: without faults they change nothing, and each fault is what it says.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod memory_fixture;
mod memory_transport;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::TryStreamExt;
use memory_fixture::Memory;
use memory_transport::memory_files;
use treeferry_conformance::faults::{Fault, Faults, FaultyStore, FaultyTransport};
use treeferry_conformance::samples::{self, TreeSample};
use treeferry_conformance::{Fixture, Holds, Profile, TransportFixture, TransportProfile};
use treeferry_core::format::ObjectType;
use treeferry_core::store::{
    BatchOptions, ExpectedRef, Incoming, MemoryStore, ObjectSource, ObjectStore, RefAnswer,
    RefName, RefStore, RefUpdate, RefValue,
};
use treeferry_core::transport::{
    FetchOptions, Fetched, MemoryTransport, Precondition, PutAnswer, PutBody, RemotePath,
    Transport, WritableTransport,
};
use treeferry_core::{ErrorKind, Result};

/// A wrapped place without faults.
struct Wrapped(Memory);

impl Fixture for Wrapped {
    type Store = FaultyStore<MemoryStore>;

    async fn open(&self) -> Result<Self::Store> {
        let inner = Fixture::open(&self.0).await?;
        Ok(FaultyStore::new(inner, Arc::new(Faults::seeded(1))))
    }

    async fn another(&self) -> Result<Self> {
        Ok(Self(Fixture::another(&self.0).await?))
    }

    fn profile(&self) -> Profile {
        Fixture::profile(&self.0)
    }
}

/// A wrapped remote without faults.
#[derive(Default)]
struct WrappedRemote(memory_transport::Memory);

impl TransportFixture for WrappedRemote {
    type Transport = FaultyTransport<MemoryTransport>;

    async fn open(&self) -> Result<Self::Transport> {
        let inner = self.0.open().await?;
        Ok(FaultyTransport::new(inner, Arc::new(Faults::seeded(1))))
    }

    async fn another(&self) -> Result<Self> {
        Ok(Self(self.0.another().await?))
    }

    async fn publish(&self, path: &RemotePath, bytes: Bytes) -> Result<()> {
        self.0.publish(path, bytes).await
    }

    async fn withdraw(&self, path: &RemotePath) -> Result<()> {
        self.0.withdraw(path).await
    }

    fn profile(&self) -> TransportProfile {
        self.0.profile()
    }
}

mod without_faults {
    use super::{Memory, Wrapped, WrappedRemote};

    treeferry_conformance::object_store_suite!(objects, Wrapped(Memory::archive()));
    treeferry_conformance::ref_store_suite!(refs, Wrapped(Memory::plain()));
    treeferry_conformance::repo_state_suite!(state, Wrapped(Memory::plain()));
    treeferry_conformance::transport_suite!(reading, WrappedRemote::default());
    treeferry_conformance::writable_transport_suite!(writing, WrappedRemote::default());
}

fn path() -> RemotePath {
    RemotePath::new("objects/00/file").unwrap()
}

fn content() -> Bytes {
    samples::large_content().slice(..100_000)
}

/// A remote with one file, on which one fault befalls every operation.
async fn remote(fault: Fault) -> (FaultyTransport<MemoryTransport>, Arc<Faults>) {
    let files = memory_files();
    let body = PutBody::Bytes(content());
    files.put(&path(), Precondition::None, body).await.unwrap();
    let faults = Arc::new(Faults::seeded(3).one_in(fault, 1));
    (FaultyTransport::new(files, faults.clone()), faults)
}

async fn read(remote: &dyn Transport) -> Result<Vec<u8>> {
    let Some(Fetched::File(file)) = remote.fetch(&path(), FetchOptions::default()).await? else {
        panic!("it is there");
    };
    let pieces: Vec<Bytes> = file.bytes.try_collect().await?;
    Ok(pieces.concat())
}

async fn put(remote: &dyn WritableTransport, when: Precondition, text: &str) -> Result<PutAnswer> {
    let body = PutBody::Bytes(Bytes::copy_from_slice(text.as_bytes()));
    remote.put(&path(), when, body).await
}

#[tokio::test]
async fn what_fails_did_not_happen() {
    let (remote, faults) = remote(Fault::Fail).await;
    let error = read(&remote).await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Unavailable { .. }),
        "{error:?}"
    );
    put(&remote, Precondition::None, "new").await.unwrap_err();
    remote.delete(&[path()]).await.unwrap_err();
    let listed: Result<Vec<_>> = remote.list("").try_collect().await;
    listed.unwrap_err();
    assert_eq!(faults.injected(Fault::Fail), 4);
    assert_eq!(read(remote.inner()).await.unwrap(), content());
}

#[tokio::test]
async fn what_stalls_happens_late() {
    let (remote, _) = remote(Fault::Stall).await;
    let start = Instant::now();
    assert_eq!(read(&remote).await.unwrap(), content());
    assert!(start.elapsed() >= Duration::from_millis(20));
}

#[tokio::test]
async fn bytes_are_cut_short_changed_repeated_and_out_of_order() {
    let whole = content().to_vec();
    let sorted = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes.sort_unstable();
        bytes
    };
    let (remote_, _) = remote(Fault::Truncate).await;
    let cut = read(&remote_).await.unwrap();
    assert!(
        cut.len() < whole.len() && whole.starts_with(&cut),
        "{}",
        cut.len()
    );
    let (remote_, _) = remote(Fault::Corrupt).await;
    let changed = read(&remote_).await.unwrap();
    let bits = changed
        .iter()
        .zip(&whole)
        .map(|(a, b)| (a ^ b).count_ones())
        .sum::<u32>();
    assert_eq!((changed.len(), bits), (whole.len(), 1));
    let (remote_, _) = remote(Fault::Duplicate).await;
    assert!(read(&remote_).await.unwrap().len() > whole.len());
    let (remote_, _) = remote(Fault::Reorder).await;
    let moved = read(&remote_).await.unwrap();
    assert!(moved != whole && sorted(&moved) == sorted(&whole));
}

#[tokio::test]
async fn what_is_reported_as_timed_out_happened() {
    let (remote, _) = remote(Fault::FalseTimeout).await;
    let error = put(&remote, Precondition::None, "new").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Indeterminate);
    assert_eq!(read(remote.inner()).await.unwrap(), b"new");
    let error = remote.delete(&[path()]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Indeterminate);
    let gone = remote
        .inner()
        .fetch(&path(), FetchOptions::default())
        .await
        .unwrap();
    assert!(gone.is_none());
}

#[tokio::test]
async fn what_is_done_twice_conflicts_with_itself() {
    let (remote, _) = remote(Fault::Duplicate).await;
    remote.inner().delete(&[path()]).await.unwrap();
    let answer = put(&remote, Precondition::Absent, "new").await.unwrap();
    assert_eq!(answer, PutAnswer::Conflict);
    assert_eq!(read(remote.inner()).await.unwrap(), b"new");
}

#[tokio::test]
async fn a_seed_repeats_its_faults_and_a_pause_stops_them() {
    let run = async |seed| {
        let (remote, _) = remote(Fault::Fail).await;
        let faults = Arc::new(Faults::of_all_kinds(seed, 6).stall(Duration::ZERO));
        let remote = FaultyTransport::new(remote.inner().clone(), faults.clone());
        let mut outcomes = Vec::new();
        for _ in 0..60 {
            outcomes.push(format!("{:?}", read(&remote).await));
        }
        faults.pause();
        for _ in 0..60 {
            assert_eq!(read(&remote).await.unwrap(), content());
        }
        (outcomes, Fault::ALL.map(|fault| faults.injected(fault)))
    };
    let (outcomes, injected) = run(5).await;
    assert!(injected.iter().all(|n| *n > 0), "{injected:?}");
    assert_eq!(run(5).await, (outcomes.clone(), injected));
    assert_ne!(run(6).await.0, outcomes);
}

fn tree() -> TreeSample {
    samples::tree(Holds::EVERYTHING, "faults", 20)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_whose_batch_timed_out_may_have_it() {
    let faults = Arc::new(Faults::seeded(2).one_in(Fault::FalseTimeout, 1));
    let store = FaultyStore::new(MemoryStore::default(), faults.clone());
    let batch = store.begin(BatchOptions::default()).await.unwrap();
    faults.pause();
    let objects = tree()
        .objects
        .iter()
        .map(|object| object.incoming())
        .collect();
    for answer in batch.put(objects).await {
        answer.unwrap();
    }
    faults.resume();
    let error = batch.commit().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Indeterminate);
    let stats = store.inner().stat(&tree().names()).await.unwrap();
    assert!(stats.iter().all(Option::is_some));
    let name = RefName::Local("main".parse().unwrap());
    let update = RefUpdate {
        name: name.clone(),
        expected: ExpectedRef::Absent,
        new: Some(RefValue::Commit(tree().commit.name.checksum)),
    };
    let error = store
        .update_refs(std::slice::from_ref(&update))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Indeterminate);
    assert_eq!(store.inner().read_ref(&name).await.unwrap(), update.new);
    // Sent again, it finds that it was made.
    let answers = store
        .inner()
        .update_refs(std::slice::from_ref(&update))
        .await
        .unwrap();
    assert_eq!(
        answers,
        [RefAnswer::Conflict {
            current: update.new
        }]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_came_wrong_is_never_stored() {
    for fault in [
        Fault::Truncate,
        Fault::Corrupt,
        Fault::Duplicate,
        Fault::Reorder,
    ] {
        let source = MemoryStore::default();
        let batch = source.begin(BatchOptions::default()).await.unwrap();
        let objects = tree()
            .objects
            .iter()
            .map(|object| object.incoming())
            .collect();
        for answer in batch.put(objects).await {
            answer.unwrap();
        }
        batch.commit().await.unwrap();
        let source = FaultyStore::new(source, Arc::new(Faults::seeded(9).one_in(fault, 1)));
        let destination = MemoryStore::default();
        let batch = destination.begin(BatchOptions::default()).await.unwrap();
        for name in tree().names() {
            let body = source.fetch(&name).await.unwrap().unwrap();
            let answer = batch
                .put(vec![Incoming::named(name, body)])
                .await
                .pop()
                .unwrap();
            // One byte cannot be out of order, and nothing cannot be changed.
            let harmless = answer.as_ref().is_ok_and(|put| put.unpacked_bytes <= 1);
            assert!(
                answer.is_err() || harmless,
                "{fault:?} of {name} was accepted"
            );
        }
        drop(batch);
        for object_type in ObjectType::ALL {
            let listed: Vec<_> = destination.list(object_type).try_collect().await.unwrap();
            assert!(listed.is_empty(), "{listed:?}");
        }
    }
}
