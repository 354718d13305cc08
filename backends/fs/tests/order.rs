//! What a power cut can find, told from the order of system calls.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod common;

use std::path::Path;
use std::process::Command;

use common::*;
use treeferry_backend_fs::FsMode;

const CHILD: &str = "TREEFERRY_TEST_COPY";

/// Not a test of its own: what the other one runs under `strace`.
#[tokio::test]
#[ignore = "run by data_is_durable_before_names_and_children_before_parents"]
async fn copies_when_asked_to() {
    let Some(paths) = std::env::var_os(CHILD) else {
        return;
    };
    let paths = paths.into_string().unwrap();
    let (from, to) = paths.split_once(':').unwrap();
    let (from, to) = (open(Path::new(from)).await, open(Path::new(to)).await);
    copy_all(&from, &to).await;
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, has_strace)), ignore = "needs ostree and strace")]
async fn data_is_durable_before_names_and_children_before_parents() {
    let dir = tempfile::tempdir().unwrap();
    let (tree, from, to) = (
        dir.path().join("tree"),
        dir.path().join("from"),
        dir.path().join("to"),
    );
    odd_tree(&tree);
    let arg = format!("--repo={}", from.display());
    ostree(&[&arg, "init", "--mode=bare-user"]);
    ostree(&[&arg, "commit", "-b", "x", tree.to_str().unwrap()]);
    create(&to, FsMode::BareUser).await;
    let log = dir.path().join("log");
    let output = Command::new("strace")
        .args([
            "-f",
            "-y",
            "-qq",
            "-e",
            "trace=renameat2,fsync,syncfs",
            "-o",
        ])
        .arg(&log)
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "copies_when_asked_to"])
        .env(CHILD, format!("{}:{}", from.display(), to.display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");

    // Each line becomes what it did: how far a rename is in the order, or a sync.
    let log = std::fs::read_to_string(&log).unwrap();
    let mut phases = Vec::new();
    let mut data_syncs = 0;
    for line in log.lines().filter(|line| line.contains("to/")) {
        if line.contains("renameat2(") && line.contains("/to/objects") {
            phases.push(match line {
                _ if line.contains(".file\"") => 1,
                _ if line.contains(".dirtree\"") || line.contains(".dirmeta\"") => 3,
                _ if line.contains(".commit\"") => 5,
                _ => panic!("{line}"),
            });
        } else if line.contains("sync(") && line.contains("/to/tmp/staging-") {
            assert!(
                phases.is_empty(),
                "data is synced after it has a name: {line}"
            );
            data_syncs += 1;
        } else if line.contains("fsync(") && line.contains("/to/objects/") {
            let last = phases.last().copied().unwrap();
            phases.push(last + last % 2);
        }
    }
    let files = phases.iter().filter(|phase| **phase % 2 == 1).count();
    assert_eq!(
        data_syncs, files,
        "each of so few files is synced on its own"
    );
    let mut sorted = phases.clone();
    sorted.sort_unstable();
    assert_eq!(phases, sorted);
    phases.dedup();
    assert_eq!(phases, [1, 2, 3, 4, 5, 6]);
}
