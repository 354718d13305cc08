//! The engine, from memory into a file and out of it again.

mod common;

use std::sync::Arc;

use treeferry_conformance::{Holds, samples};
use treeferry_core::format::ObjectName;
use treeferry_core::ops::fsck::{FsckOptions, fsck};
use treeferry_core::ops::prune::{PruneOptions, PruneRoots, prune};
use treeferry_core::ops::replicate::{ReplicateOptions, replicate};
use treeferry_core::repo::Repo;
use treeferry_core::spill::SpillPlace;
use treeferry_core::store::{
    BatchOptions, Body, MemoryOptions, MemoryStore, ObjectSource, ObjectStore, Payload,
};

use common::OneFile;

/// Returns the bytes of an object as they lie in a place.
async fn stored(source: &dyn ObjectSource, name: ObjectName) -> Vec<u8> {
    let payload = match source
        .fetch(&name)
        .await
        .expect("it is fetched")
        .expect("it is there")
    {
        Body::Metadata(payload) | Body::Filez { payload, .. } => payload,
        Body::File { .. } => panic!("{name} is not kept in the framing of archives"),
    };
    match payload {
        Payload::Bytes(bytes) => bytes.to_vec(),
        payload => {
            let read = move || {
                let mut bytes = Vec::new();
                std::io::copy(&mut payload.into_reader()?, &mut bytes).map(|_| bytes)
            };
            let read = tokio::task::spawn_blocking(read).await;
            read.expect("it does not panic").expect("it is read")
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deflated_bytes_go_in_and_out_as_they_are() {
    // Another level than the file's own: what is deflated again would differ.
    let options = MemoryOptions {
        deflate_level: 1,
        ..MemoryOptions::archive()
    };
    let source = MemoryStore::new(options);
    let mut tree = samples::tree(Holds::EVERYTHING, "ferried", 300);
    let header = samples::plain_header(Holds::EVERYTHING);
    let large = samples::Sample::file(header, samples::large_content());
    let meta = samples::dirmeta(0o755);
    let root = samples::dirtree(&[("large", &large)], &[]);
    let commit = samples::commit("large", &root, &meta);
    tree.objects
        .extend([large.clone(), meta, root, commit.clone()]);
    let batch = source
        .begin(BatchOptions::default())
        .await
        .expect("a batch begins");
    for put in batch
        .put(
            tree.objects
                .iter()
                .map(|sample| sample.incoming())
                .collect(),
        )
        .await
    {
        put.expect("it is taken");
    }
    batch.commit().await.expect("a batch is committed");

    let place = OneFile::new();
    let file = place.create().await;
    let target = MemoryStore::new(MemoryOptions::archive());
    let commits = [tree.commit.name.checksum, commit.name.checksum];
    let options = ReplicateOptions::default();
    let from: Arc<dyn ObjectSource> = Arc::new(source.clone());
    let via = Repo::new(Arc::new(file.clone()));
    let report = replicate(&[from], &via, &commits, &options)
        .await
        .expect("it is ferried");
    assert_eq!(report.commits.len(), 2);
    let from: Arc<dyn ObjectSource> = Arc::new(file.clone());
    let to = Repo::new(Arc::new(target.clone()));
    replicate(&[from], &to, &commits, &options)
        .await
        .expect("it is ferried");
    for sample in &tree.objects {
        let before = stored(&source, sample.name).await;
        assert_eq!(
            stored(&file, sample.name).await,
            before,
            "{} in the file",
            sample.name
        );
        assert_eq!(
            stored(&target, sample.name).await,
            before,
            "{} behind it",
            sample.name
        );
    }
    let again = replicate(&[Arc::new(source)], &via, &commits, &options).await;
    let again = again.expect("it is ferried");
    assert_eq!(
        (again.metadata_fetched, again.content_fetched),
        (0, 0),
        "what is there is not read"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn room_of_deleted_objects_is_given_back() {
    let place = OneFile::new();
    let repo = place.create().await;
    let header = samples::plain_header(Holds::EVERYTHING);
    let large = samples::Sample::file(header, samples::large_content());
    let batch = repo
        .begin(BatchOptions::default())
        .await
        .expect("a batch begins");
    let put = batch
        .put(vec![large.incoming()])
        .await
        .pop()
        .expect("it is answered");
    let stored_bytes = put.expect("it is taken").stored_bytes;
    batch.commit().await.expect("a batch is committed");
    let length = || std::fs::metadata(place.path()).expect("it is there").len();
    assert_eq!(
        repo.reclaim().await.expect("it reclaims"),
        0,
        "before anything is deleted"
    );
    let before = length();
    let lock = repo
        .lock(treeferry_core::store::LockKind::Exclusive)
        .await
        .expect("it is free");
    repo.delete(&lock, &[large.name]).await.expect("it deletes");
    drop(lock);
    let freed = repo.reclaim().await.expect("it reclaims");
    assert!(
        freed >= stored_bytes,
        "{freed} of {stored_bytes} bytes were given back"
    );
    assert_eq!(before - length(), freed, "what the file lost");
    repo.check_file().await.expect("it is sound");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_are_too_many_for_memory_go_beside_the_file() {
    let source = MemoryStore::new(MemoryOptions::archive());
    let tree = samples::tree(Holds::EVERYTHING, "ferried", 300);
    let batch = source.begin(BatchOptions::default()).await.expect("begins");
    let objects = tree.objects.iter().map(|sample| sample.incoming());
    for put in batch.put(objects.collect()).await {
        put.expect("it is taken");
    }
    batch.commit().await.expect("a batch is committed");

    let place = OneFile::new();
    let repo = Repo::from(place.create().await);
    let mut spill = repo.spill().clone();
    let path = place.path().canonicalize().expect("it is there");
    assert_eq!(spill.place, path.parent().map(SpillPlace::new));
    spill.names_in_memory_max = 7;
    let repo = repo.with_spill(spill);
    let from: Arc<dyn ObjectSource> = Arc::new(source);
    let commits = [tree.commit.name.checksum];
    replicate(&[from], &repo, &commits, &ReplicateOptions::default())
        .await
        .expect("it is ferried");
    let found = fsck(&repo, &FsckOptions::default()).await.expect("checked");
    assert!(found.is_sound());
    assert!(found.content_objects >= 300);
    // No ref holds it.
    let mut options = PruneOptions::default();
    options.roots = PruneRoots::Refs;
    let pruned = prune(&repo, &options).await.expect("it is pruned");
    assert_eq!(pruned.objects_pruned, tree.objects.len() as u64);
    let names = std::fs::read_dir(path.parent().expect("it has one")).expect("it is read");
    for name in names {
        let name = name.expect("it is read").file_name();
        let name = name.to_string_lossy();
        assert!(name.starts_with("repo.sqlite"), "{name}");
    }
}
