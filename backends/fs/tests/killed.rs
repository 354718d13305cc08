//! Writers killed at any moment: what was acknowledged is there, what was not is whole or nothing.

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use treeferry_backend_fs::{CreateOptions, FsMode, FsRepo};
use treeferry_conformance::Holds;
use treeferry_conformance::samples::{self, Sample, TreeSample};
use treeferry_core::format::ObjectName;
use treeferry_core::ops::fsck::{FsckOptions, fsck};
use treeferry_core::repo::Repo;
use treeferry_core::store::{
    BatchOptions, ExpectedRef, ObjectSource, ObjectStore, Partial, RefAnswer, RefName, RefStore,
    RefUpdate, RefValue, RepoState, Swap,
};

const PLACE: &str = "TREEFERRY_TEST_PLACE";
const FIRST: &str = "TREEFERRY_TEST_FIRST";

/// How many files a generation has, and how much the large one holds at most.
const FILES: usize = 12;

fn mode(path: &Path) -> FsMode {
    match path.ends_with("archive") {
        true => FsMode::Archive,
        false => FsMode::BareUserOnly,
    }
}

async fn open(path: &Path) -> FsRepo {
    let created = FsRepo::create(path, mode(path), CreateOptions::default());
    created.await.unwrap()
}

fn branch() -> RefName {
    RefName::Local("main".parse().unwrap())
}

/// Returns a generation: objects that others have, and a file of its own, sometimes a long one.
fn generation(number: u64) -> TreeSample {
    let mut tree = samples::tree(Holds::CANONICAL, &format!("{}", number / 4), FILES);
    let long = if number.is_multiple_of(5) {
        700_000
    } else {
        900
    };
    let start = (number as usize * 1009) % 100_000;
    let content = samples::large_content().slice(start..start + long);
    let own = Sample::file(samples::plain_header(Holds::CANONICAL), content);
    let meta = samples::dirmeta(0o755);
    let inner = tree.objects[tree.objects.len() - 2].clone();
    let root = samples::dirtree(&[("own", &own)], &[("shared", &inner, &meta)]);
    let commit = samples::commit(&format!("generation {number}"), &root, &meta);
    tree.objects.pop();
    tree.objects.extend([own, root, commit.clone()]);
    tree.commit = commit;
    tree
}

fn commit_of(number: u64) -> treeferry_core::format::Checksum {
    generation(number).commit.name.checksum
}

fn detached(number: u64) -> Bytes {
    // An empty `a{sv}` is no bytes at all; this one holds a byte string under a key.
    let mut dict = treeferry_core::format::gvariant::Dict::new();
    dict.insert("of", format!("generation {number}").as_str());
    dict.encode().into()
}

fn say(what: &str, number: u64) {
    let mut out = std::io::stdout().lock();
    // Whoever killed us may be gone: then there is nobody to tell.
    let _ = writeln!(out, "\n{what} {number}");
    let _ = out.flush();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a writer for the tests here to kill"]
async fn writer() {
    let (Ok(place), Ok(first)) = (std::env::var(PLACE), std::env::var(FIRST)) else {
        eprintln!("ignored: this is started by other tests, as a process of its own");
        return;
    };
    let repo = open(Path::new(&place)).await;
    for number in first.parse::<u64>().unwrap().. {
        let tree = generation(number);
        let commit = tree.commit.name.checksum;
        repo.write_partial(&commit, Some(Partial::Fetching))
            .await
            .unwrap();
        say("MARK", number);
        let batch = repo.begin(BatchOptions::default()).await.unwrap();
        for put in batch
            .put(tree.objects.iter().map(Sample::incoming).collect())
            .await
        {
            put.unwrap();
        }
        batch.commit().await.unwrap();
        say("OBJECTS", number);
        repo.write_partial(&commit, None).await.unwrap();
        let before = repo.read_detached(&commit).await.unwrap();
        let swapped = repo.swap_detached(&commit, before.as_ref(), Some(detached(number)));
        assert_eq!(swapped.await.unwrap(), Swap::Done);
        say("DETACHED", number);
        let update = RefUpdate {
            name: branch(),
            expected: match number {
                0 => ExpectedRef::Absent,
                _ => ExpectedRef::Value(RefValue::Commit(commit_of(number - 1))),
            },
            new: Some(RefValue::Commit(commit)),
        };
        let answers = repo.update_refs(&[update]).await.unwrap();
        assert_eq!(answers, [RefAnswer::Committed], "generation {number}");
        say("REF", number);
    }
}

/// Starts the writer, kills it after a while, and returns what it said.
fn write_until_killed(place: &Path, first: u64, pause: Duration) -> BTreeSet<(String, u64)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "writer",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(PLACE, place)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(pause);
    child.kill().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let said = lines.map_while(Result::ok).filter_map(|line| {
        let (what, number) = line.split_once(' ')?;
        Some((what.to_owned(), number.parse().ok()?))
    });
    let said = said.collect();
    assert!(
        !child.wait().unwrap().success(),
        "it ended by itself: {said:?}"
    );
    said
}

async fn check(repo: &FsRepo, said: &BTreeSet<(String, u64)>, round: u64) {
    for (what, number) in said {
        let (tree, commit) = (generation(*number), commit_of(*number));
        match what.as_str() {
            "OBJECTS" => {
                let stats = repo.stat(&tree.names()).await.unwrap();
                assert!(
                    stats.iter().all(Option::is_some),
                    "round {round}: {number} is not whole"
                );
            }
            "DETACHED" => {
                let found = repo.read_detached(&commit).await.unwrap();
                assert_eq!(found, Some(detached(*number)), "round {round}: of {number}");
            }
            "MARK" => {
                let there = repo.stat(&[ObjectName::commit(commit)]).await.unwrap()[0].is_some();
                let marked = repo.read_partial(&commit).await.unwrap().is_some();
                assert!(
                    there || marked,
                    "round {round}: the mark of {number} is gone"
                );
            }
            _ => {}
        }
    }
}

async fn kill_rounds(name: &str, rounds: u64) {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join(name);
    let (mut next, mut acknowledged, mut unheard) = (0_u64, 0, 0_u64);
    // Rounds in a row in which nothing was said: a slow machine is given longer.
    let mut silent = 0_u32;
    for round in 0..rounds {
        // Some are killed while they open the place, some in the middle of work.
        let pause = round.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let pause = Duration::from_millis(15 + pause % 200) * (1 + silent / 4);
        let said = write_until_killed(&place, next, pause);
        silent = if said.is_empty() { silent + 1 } else { 0 };
        acknowledged += said.len();
        let repo = open(&place).await;
        check(&repo, &said, round).await;
        let heard = said
            .iter()
            .filter(|(what, _)| what == "REF")
            .map(|(_, number)| *number)
            .max();
        let after = heard.map_or(next, |number| number + 1);
        let value = |number: u64| Some(RefValue::Commit(commit_of(number)));
        let found = repo.read_ref(&branch()).await.unwrap();
        if found == after.checked_sub(1).and_then(value) {
            next = after;
        } else {
            // It happened, and nobody lived to hear of it.
            assert_eq!(found, value(after), "round {round}: the ref");
            next = after + 1;
            unheard += 1;
        }
        if round % 10 == 9 || round + 1 == rounds {
            let repo = Repo::new(std::sync::Arc::new(repo));
            let report = fsck(&repo, &FsckOptions::default()).await.unwrap();
            assert!(
                report.findings.is_empty(),
                "round {round}: {:?}",
                report.findings
            );
        }
    }
    assert!(acknowledged > 0, "no writer came to write anything");
    println!(
        "{name}: {rounds} rounds, {acknowledged} acknowledged, {next} generations, {unheard} unheard"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_killed_50_times_loses_nothing() {
    kill_rounds("archive", 50).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bare_repository_killed_50_times_loses_nothing() {
    kill_rounds("bare-user-only", 50).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn an_archive_killed_1000_times_loses_nothing() {
    kill_rounds("archive", 1000).await;
}
