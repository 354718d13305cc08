//! Writers killed at any moment: what was acknowledged is there, what was not is whole or nothing.

mod common;

use std::path::Path;
use std::time::Duration;

use futures::TryStreamExt;
use rusqlite::Connection;
use treeferry_backend_sqlite::SqliteRepo;
use treeferry_core::format::{ObjectName, ObjectType};
use treeferry_core::store::{BatchOptions, ObjectStore, RefStore};

use common::work::{commit_of, generation, last_said, listen, local, read_whole, start, walk};
use common::{OneFile, options, work};

const BRANCH: &str = "main";
const LONG: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a writer for the tests here to kill"]
async fn writer() {
    work::write_until_killed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_50_times_it_loses_nothing() {
    kill_rounds(50).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn killed_1000_times_it_loses_nothing() {
    kill_rounds(1000).await;
}

async fn kill_rounds(rounds: u64) {
    let place = OneFile::new();
    let (mut next, mut acknowledged, mut cut) = (0, 0, 0);
    // Rounds in a row in which nothing was said: a slow machine is given longer.
    let mut silent = 0_u32;
    for round in 0..rounds {
        let mut child = start("writer", &place.path(), BRANCH, next, LONG);
        let id = child.id();
        // Some are killed while they open the file, some in the middle of work.
        let pause = round.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let pause = Duration::from_millis(15 + pause % 200) * (1 + silent / 4);
        tokio::time::sleep(pause).await;
        child.kill().expect("it can be killed");
        let said = listen(&mut child);
        silent = if said.is_empty() { silent + 1 } else { 0 };
        let status = child.wait().expect("it ends");
        assert!(
            !status.success(),
            "round {round}: process {id} ended by itself: {said:?}"
        );
        acknowledged += said.len();
        if !place.path().exists() {
            continue;
        }
        let repo = SqliteRepo::create(place.path(), Default::default()).await;
        let repo = repo.unwrap_or_else(|e| panic!("round {round}: it does not open: {e}"));
        repo.check_file()
            .await
            .unwrap_or_else(|e| panic!("round {round}: {e}"));
        let objects = last_said(&said, "OBJECTS").or(next.checked_sub(1));
        let moved = last_said(&said, "REF").or(next.checked_sub(1));
        for number in next..objects.map_or(next, |n| n + 1) {
            for sample in generation(BRANCH, number) {
                read_whole(&repo, sample.name).await;
            }
        }
        let found = repo.read_ref(&local(BRANCH)).await.expect("a ref is read");
        let after = moved.map_or(0, |n| n + 1);
        let old = moved.map(|n| commit_of(BRANCH, n));
        if found == old {
            next = after;
        } else {
            // It happened, and nobody lived to hear of it.
            assert_eq!(
                found,
                Some(commit_of(BRANCH, after)),
                "round {round}: the ref"
            );
            next = after + 1;
            cut += 1;
        }
    }
    assert!(acknowledged > 0, "no writer came to write anything");
    println!("{rounds} rounds: {acknowledged} acknowledged, {next} generations, {cut} unheard");
    everything_is_whole(&place.path(), next).await;
}

async fn everything_is_whole(file: &Path, generations: u64) {
    let repo = SqliteRepo::open(file, options()).await.expect("it opens");
    let commits: Vec<_> = repo
        .list(ObjectType::Commit)
        .try_collect()
        .await
        .expect("it lists");
    assert!(
        commits.len() as u64 >= generations,
        "{} commits",
        commits.len()
    );
    for number in 0..generations {
        let treeferry_core::store::RefValue::Commit(commit) = commit_of(BRANCH, number) else {
            panic!("a generation is a commit");
        };
        walk(&repo, ObjectName::commit(commit)).await;
    }
    // All that dead writers left is in the next batch, or gone.
    let batch = repo
        .begin(BatchOptions::default())
        .await
        .expect("a batch begins");
    let database = Connection::open(file).expect("it opens");
    let count = |sql: &str| database.query_row(sql, [], |row| row.get::<_, i64>(0));
    let lost = "SELECT count(*) FROM chunk WHERE body NOT IN (SELECT body FROM object)
        AND body NOT IN (SELECT body FROM staged)";
    assert_eq!(count(lost).expect("it counts"), 0, "chunks of nothing");
    let torn = "SELECT count(*) FROM staged WHERE checksum IS NULL";
    assert_eq!(
        count(torn).expect("it counts"),
        0,
        "unfinished objects after all were adopted"
    );
    drop(database);
    batch.commit().await.expect("a batch is committed");
}
