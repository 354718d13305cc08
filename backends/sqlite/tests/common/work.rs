//! A writer and a reader, to be run as processes of their own, and what they agree on.
//!
//! The writer publishes generation after generation of a small tree and moves a ref to each. What it
//! says on its output it was told by the store, and must never be lost.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use treeferry_backend_sqlite::SqliteRepo;
use treeferry_conformance::Holds;
use treeferry_conformance::samples::{self, Sample};
use treeferry_core::codec::FlateCodec;
use treeferry_core::format::{Commit, DirTree, ObjectName, ObjectType};
use treeferry_core::store::{
    BatchOptions, Body, ExpectedRef, Incoming, ObjectSource, ObjectStore, RefAnswer, RefName,
    RefStore, RefUpdate, RefValue,
};

const FILE: &str = "TREEFERRY_TEST_FILE";
const BRANCH: &str = "TREEFERRY_TEST_BRANCH";
const FIRST: &str = "TREEFERRY_TEST_FIRST";
const MILLISECONDS: &str = "TREEFERRY_TEST_MS";

/// Starts this test binary again, to run its test `role` alone.
pub(crate) fn start(role: &str, file: &Path, branch: &str, first: u64, time: Duration) -> Child {
    let this = std::env::current_exe().expect("this binary has a path");
    Command::new(this)
        .args([
            "--exact",
            role,
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(FILE, file)
        .env(BRANCH, branch)
        .env(FIRST, first.to_string())
        .env(MILLISECONDS, time.as_millis().to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a process can be started")
}

fn given(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Returns the file to work on; who runs all ignored tests gives none, and is told.
fn given_file() -> Option<String> {
    let file = given(FILE);
    if file.is_none() {
        eprintln!("ignored: this is started by other tests, as a process of its own");
    }
    file
}

fn number(name: &str) -> u64 {
    given(name).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// A generation: children before parents, the commit last.
pub(crate) fn generation(branch: &str, number: u64) -> Vec<Sample> {
    let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ branch.len() as u64;
    let mut noise = |length: usize| -> Vec<u8> {
        let next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        };
        std::iter::repeat_with(next).take(length).collect()
    };
    let header = samples::plain_header(Holds::EVERYTHING);
    // Sometimes some chunks long, so that a kill can hit between two.
    let large = Sample::file(
        header.clone(),
        noise(if number.is_multiple_of(3) {
            900_000
        } else {
            5000
        }),
    );
    let small: Vec<_> = (0..8)
        .map(|_| Sample::file(header.clone(), noise(200)))
        .collect();
    let meta = samples::dirmeta(0o755);
    let names: Vec<String> = (0..small.len()).map(|i| format!("small-{i}")).collect();
    let mut files = vec![("large", &large)];
    files.extend(names.iter().map(String::as_str).zip(&small));
    let inner = samples::dirtree(&files, &[]);
    let root = samples::dirtree(&[], &[("sub", &inner, &meta)]);
    let commit = samples::commit(&format!("{branch} {number}"), &root, &meta);
    let mut all = small.clone();
    all.extend([
        large.clone(),
        meta.clone(),
        inner.clone(),
        root.clone(),
        commit,
    ]);
    all
}

pub(crate) fn commit_of(branch: &str, number: u64) -> RefValue {
    let all = generation(branch, number);
    RefValue::Commit(all[all.len() - 1].name.checksum)
}

pub(crate) fn local(branch: &str) -> RefName {
    RefName::Local(branch.parse().expect("it is a branch"))
}

/// Writes generations until it is killed, or its time is over. The body of the test `writer`.
pub(crate) async fn write_until_killed() {
    let Some(file) = given_file() else {
        return;
    };
    let branch = given(BRANCH).unwrap_or_default();
    let until = Instant::now() + Duration::from_millis(number(MILLISECONDS));
    let repo = SqliteRepo::create(&file, Default::default())
        .await
        .expect("it opens");
    let first = number(FIRST);
    for number in first.. {
        // However slow the machine is, something is written.
        if Instant::now() > until && number >= first + 3 {
            return;
        }
        let samples = generation(&branch, number);
        let batch = repo
            .begin(BatchOptions::default())
            .await
            .expect("a batch begins");
        let incoming = samples.iter().enumerate().map(|(i, sample)| match i % 2 {
            0 => sample.streamed(100_000),
            _ => sample.incoming(),
        });
        for put in batch.put(incoming.collect()).await {
            put.expect("an object is taken");
        }
        batch.commit().await.expect("a batch is committed");
        say("OBJECTS", number);
        let update = RefUpdate {
            name: local(&branch),
            expected: match number {
                0 => ExpectedRef::Absent,
                _ => ExpectedRef::Value(commit_of(&branch, number - 1)),
            },
            new: Some(commit_of(&branch, number)),
        };
        let answers = repo.update_refs(&[update]).await.expect("a ref moves");
        assert_eq!(answers, [RefAnswer::Committed], "generation {number}");
        say("REF", number);
    }
}

/// Puts a generation into a batch that it never commits. The body of the test `holder`.
pub(crate) async fn hold_a_batch() {
    let Some(file) = given_file() else {
        return;
    };
    let repo = SqliteRepo::open(&file, super::options())
        .await
        .expect("it opens");
    let samples = generation(&given(BRANCH).unwrap_or_default(), number(FIRST));
    let batch = repo
        .begin(BatchOptions::default())
        .await
        .expect("a batch begins");
    for put in batch
        .put(samples.iter().map(Sample::incoming).collect())
        .await
    {
        put.expect("an object is taken");
    }
    say("HELD", number(FIRST));
    tokio::time::sleep(Duration::from_millis(number(MILLISECONDS))).await;
}

/// Reads what a ref names, all of it, again and again. The body of the test `reader`.
pub(crate) async fn read_for_a_while() {
    let Some(file) = given_file() else {
        return;
    };
    let name = local(&given(BRANCH).unwrap_or_default());
    let until = Instant::now() + Duration::from_millis(number(MILLISECONDS));
    let repo = SqliteRepo::open(&file, super::options())
        .await
        .expect("it opens");
    let mut walks = 0;
    let late = until + Duration::from_secs(120);
    // However slow the machine is, something is read.
    while Instant::now() < until || (walks == 0 && Instant::now() < late) {
        if let Some(RefValue::Commit(commit)) = repo.read_ref(&name).await.expect("a ref is read") {
            walk(&repo, ObjectName::commit(commit)).await;
            walks += 1;
        }
    }
    say("WALKS", walks);
}

fn say(what: &str, number: u64) {
    let mut out = std::io::stdout().lock();
    // Whoever killed us may be gone: then there is nobody to tell.
    let _ = writeln!(out, "\n{what} {number}");
    let _ = out.flush();
}

/// Returns the highest number said of `what`, once the process is gone.
pub(crate) fn last_said(output: &[(String, u64)], what: &str) -> Option<u64> {
    output
        .iter()
        .filter(|(said, _)| said == what)
        .map(|(_, number)| *number)
        .max()
}

/// Returns all that a process says until it ends.
pub(crate) fn listen(child: &mut Child) -> Vec<(String, u64)> {
    let out = child.stdout.take().expect("its output is a pipe");
    let parse = |line: std::io::Result<String>| {
        let line = line.ok()?;
        let (what, number) = line.split_once(' ')?;
        Some((what.to_owned(), number.parse().ok()?))
    };
    BufReader::new(out).lines().filter_map(parse).collect()
}

/// Reads an object to its end, verified, and returns the bytes of metadata.
pub(crate) async fn read_whole(repo: &SqliteRepo, name: ObjectName) -> Vec<u8> {
    let body = repo
        .fetch(&name)
        .await
        .unwrap_or_else(|e| panic!("{name}: {e}"));
    let body = body.unwrap_or_else(|| panic!("{name} is not there"));
    verify(name, body)
        .await
        .unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// Reads a body to its end, verified; the bytes of metadata, nothing of content.
pub(crate) async fn verify(name: ObjectName, body: Body) -> treeferry_core::Result<Vec<u8>> {
    let read = tokio::task::spawn_blocking(move || {
        let incoming = Incoming::named(name, body);
        if name.object_type.is_metadata() {
            return Ok(incoming.into_metadata()?.1.to_vec());
        }
        let mut content = incoming.into_content(&FlateCodec)?;
        let mut work = vec![0; 64 * 1024];
        while content
            .read(&mut work)
            .map_err(|e| treeferry_core::error::from_read("cannot be read", e))?
            > 0
        {}
        Ok(Vec::new())
    });
    read.await.expect("it does not panic")
}

/// Reads all that a commit names.
pub(crate) async fn walk(repo: &SqliteRepo, commit: ObjectName) {
    let commit = Commit::parse(&read_whole(repo, commit).await).expect("it is a commit");
    let mut todo = vec![
        ObjectName::dirtree(commit.tree),
        ObjectName::dirmeta(commit.meta),
    ];
    while let Some(name) = todo.pop() {
        let bytes = read_whole(repo, name).await;
        if name.object_type == ObjectType::DirTree {
            let tree = DirTree::parse(&bytes).expect("it is a dirtree");
            todo.extend(
                tree.files()
                    .iter()
                    .map(|entry| ObjectName::file(entry.file)),
            );
            let dirs = tree.dirs().iter();
            todo.extend(
                dirs.flat_map(|e| [ObjectName::dirtree(e.tree), ObjectName::dirmeta(e.meta)]),
            );
        }
    }
}
