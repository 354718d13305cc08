//! A file longer than 32 bits can say.

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::process::Command;
use std::sync::Arc;

use treeferry_backend_fs::{CreateOptions, FsMode, FsRepo};
use treeferry_core::ops::checkout::{CheckoutItem, CheckoutOptions, Destination, checkout};
use treeferry_core::ops::commit::{CommitOptions, TreeInput, commit};
use treeferry_core::repo::Repo;

const LENGTH: u64 = (4 << 30) + (100 << 20) + 7;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes, and 5 GB of disk: a file of more than 4 GiB"]
async fn a_file_above_four_gib_is_recorded_as_ostree_does_and_comes_back() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let tree = dir.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    let file = std::fs::File::create(tree.join("sparse")).unwrap();
    file.set_len(LENGTH).unwrap();
    for mode in [FsMode::Bare, FsMode::Archive] {
        let path = |name: &str| dir.path().join(format!("{mode}-{name}"));
        let ours = FsRepo::create(path("ours"), mode, CreateOptions::default());
        let ours = Repo::new(Arc::new(ours.await.unwrap()));
        let mut options = CommitOptions::default();
        options.timestamp = 1_700_000_000;
        options.target = Some("main".parse().unwrap());
        options.trees = vec![TreeInput::Dir(tree.clone())];
        let report = commit(&ours, options).await.unwrap();

        let run = |args: &[&str]| {
            let output = Command::new("ostree").args(args).output().unwrap();
            assert!(output.status.success(), "{args:?}: {output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        let theirs = format!("--repo={}", path("theirs").display());
        run(&["init", &theirs, &format!("--mode={}", mode.config_value())]);
        let tree = tree.to_str().unwrap();
        let theirs = run(&[
            "commit",
            &theirs,
            "-b",
            "main",
            "--timestamp=@1700000000",
            tree,
        ]);
        assert_eq!(report.commit.to_string(), theirs.trim());
        run(&["fsck", "-q", &format!("--repo={}", path("ours").display())]);

        let out = Destination::path(path("out"));
        let item = CheckoutItem::commit(report.commit);
        let options = CheckoutOptions::default();
        checkout(&ours, &item, &out, &options).await.unwrap();
        let length = std::fs::metadata(path("out").join("sparse")).unwrap().len();
        assert_eq!(length, LENGTH);
        for name in ["ours", "theirs", "out"] {
            std::fs::remove_dir_all(path(name)).unwrap();
        }
    }
}
