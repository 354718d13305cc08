//! Several processes at one file.

mod common;

use std::io::{BufRead, BufReader};
use std::time::Duration;

use treeferry_backend_sqlite::SqliteRepo;
use treeferry_core::ErrorKind;
use treeferry_core::store::{BatchOptions, LockKind, ObjectStore, RefStore};

use common::work::{commit_of, generation, last_said, listen, local, read_whole, start};
use common::{OneFile, options, work};

const TIME: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process for the tests here"]
async fn writer() {
    work::write_until_killed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process for the tests here"]
async fn reader() {
    work::read_for_a_while().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_read_whole_trees_while_one_writes() {
    let place = OneFile::new();
    drop(place.create().await);
    let mut writer = start("writer", &place.path(), "main", 0, TIME);
    let readers: Vec<_> = (0..3)
        .map(|_| start("reader", &place.path(), "main", 0, TIME))
        .collect();
    let written = last_said(&listen(&mut writer), "REF");
    assert!(
        writer.wait().expect("it ends").success(),
        "the writer failed"
    );
    let mut walks = Vec::new();
    for mut reader in readers {
        walks.push(last_said(&listen(&mut reader), "WALKS").unwrap_or(0));
        assert!(reader.wait().expect("it ends").success(), "a reader failed");
    }
    println!("{written:?} was the last generation written, walks: {walks:?}");
    assert!(written > Some(1), "the writer wrote {written:?}");
    assert!(walks.iter().all(|walks| *walks > 0), "walks: {walks:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_writers_take_turns_and_lose_nothing() {
    let place = OneFile::new();
    drop(place.create().await);
    let branches = ["one", "other"];
    let writers = branches.map(|branch| start("writer", &place.path(), branch, 0, TIME));
    let mut last = Vec::new();
    for mut writer in writers {
        last.push(last_said(&listen(&mut writer), "REF"));
        assert!(writer.wait().expect("it ends").success(), "a writer failed");
    }
    println!("the last generations: {last:?}");
    let repo = SqliteRepo::open(place.path(), options())
        .await
        .expect("it opens");
    for (branch, last) in branches.into_iter().zip(last) {
        let last = last.unwrap_or_else(|| panic!("{branch} never wrote anything"));
        let found = repo.read_ref(&local(branch)).await.expect("a ref is read");
        assert_eq!(found, Some(commit_of(branch, last)), "{branch}");
        for number in 0..=last {
            for sample in generation(branch, number) {
                read_whole(&repo, sample.name).await;
            }
        }
    }
    repo.check_file().await.expect("it is sound");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process for the tests here"]
async fn holder() {
    work::hold_a_batch().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_writer_leaves_its_objects_and_no_lock() {
    let place = OneFile::new();
    let repo = place.create().await;
    let mut holder = start("holder", &place.path(), "main", 7, Duration::from_secs(60));
    let out = holder.stdout.take().expect("its output is a pipe");
    let told = BufReader::new(out)
        .lines()
        .map_while(Result::ok)
        .any(|line| line == "HELD 7");
    assert!(told, "the holder ended");
    let refused = repo
        .lock(LockKind::Exclusive)
        .await
        .expect_err("a batch is open");
    assert_eq!(refused.kind(), ErrorKind::Locked, "{refused}");
    let names: Vec<_> = generation("main", 7)
        .iter()
        .map(|sample| sample.name)
        .collect();
    // Who lives is not robbed.
    let batch = repo
        .begin(BatchOptions::default())
        .await
        .expect("a batch begins");
    let seen = batch.stat(&names).await.expect("they are looked up");
    assert_eq!(
        seen.iter().flatten().count(),
        0,
        "objects taken from a living batch"
    );
    drop(batch);
    holder.kill().expect("it can be killed");
    holder.wait().expect("it ends");
    drop(
        repo.lock(LockKind::Exclusive)
            .await
            .expect("the lock is free"),
    );
    let batch = repo
        .begin(BatchOptions::default())
        .await
        .expect("a batch begins");
    let seen = batch.stat(&names).await.expect("they are looked up");
    assert_eq!(
        seen.iter().flatten().count(),
        names.len(),
        "objects taken up"
    );
    batch.commit().await.expect("a batch is committed");
    for name in names {
        read_whole(&repo, name).await;
    }
}
