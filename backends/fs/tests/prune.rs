//! Pruning leaves what the C `ostree` leaves, and where it errs, what it should have left.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use common::*;
use treeferry_core::ErrorKind;
use treeferry_core::format::{Branch, Checksum, CollectionId};
use treeferry_core::ops::fsck::{FsckOptions, fsck};
use treeferry_core::ops::prune::{PruneAction, PruneOptions, PruneReport, PruneRoots, prune};
use treeferry_core::repo::{Depth, ReachScope, Repo};
use treeferry_core::store::RefName;

/// A repository with branches `main` of five commits and `dev/x` of three, a ref of a remote, a
/// commit without a ref, and objects without a commit.
struct History {
    _dir: tempfile::TempDir,
    path: PathBuf,
    main: Vec<Checksum>,
    dev: Vec<Checksum>,
    loose: Checksum,
}

fn repo_arg(path: &Path) -> String {
    format!("--repo={}", path.display())
}

fn commit(repo: &str, tree: &Path, branch: &str, number: u64) -> Checksum {
    std::fs::write(tree.join("number"), format!("{branch} {number}")).unwrap();
    std::fs::write(tree.join("sub").join(format!("{number}")), branch).unwrap();
    let branch = match branch {
        "" => "--orphan".to_owned(),
        branch => format!("--branch={branch}"),
    };
    let timestamp = format!("--timestamp=@{}", 1_600_000_000 + number * 1000);
    let tree = tree.to_str().unwrap();
    ostree(&[repo, "commit", &branch, &timestamp, tree])
        .parse()
        .unwrap()
}

fn history(mode: &str) -> History {
    let dir = tempfile::tempdir().unwrap();
    let (path, tree) = (dir.path().join("repo"), dir.path().join("tree"));
    std::fs::create_dir_all(tree.join("sub")).unwrap();
    let repo = repo_arg(&path);
    ostree(&[&repo, "init", &format!("--mode={mode}")]);
    ostree(&[&repo, "config", "set", "core.fsync", "false"]);
    let main: Vec<_> = (0..5).map(|n| commit(&repo, &tree, "main", n)).collect();
    let dev: Vec<_> = (10..13).map(|n| commit(&repo, &tree, "dev/x", n)).collect();
    let loose = commit(&repo, &tree, "", 20);
    commit(&repo, &tree, "gone", 30);
    ostree(&[&repo, "refs", "--delete", "gone"]);
    std::fs::create_dir_all(path.join("refs/remotes/origin")).unwrap();
    std::fs::write(
        path.join("refs/remotes/origin/main"),
        format!("{}\n", main[1]),
    )
    .unwrap();
    // Objects that no commit needs, as an interrupted commit leaves them.
    let orphan = commit(&repo, &tree, "", 40).to_string();
    std::fs::remove_file(path.join(format!("objects/{}/{}.commit", &orphan[..2], &orphan[2..])))
        .unwrap();
    History {
        _dir: dir,
        path,
        main,
        dev,
        loose,
    }
}

/// Copies a repository beside itself.
fn copy_of(history: &History, name: &str) -> PathBuf {
    let copy = history.path.with_file_name(name);
    let copied = Command::new("cp")
        .arg("-a")
        .arg(&history.path)
        .arg(&copy)
        .status();
    assert!(copied.unwrap().success());
    copy
}

async fn repo_at(path: &Path) -> Repo {
    Repo::new(Arc::new(open(path).await))
}

fn lengths(path: &Path) -> BTreeMap<PathBuf, u64> {
    let seen = look_at_objects(path).into_iter();
    seen.map(|(name, seen)| (name, seen.content.len() as u64))
        .collect()
}

/// Returns the numbers in what the C `ostree` prints: all objects, and those it deleted.
fn counts(printed: &str) -> (u64, u64) {
    let number_after = |text: &str| {
        let rest = printed.split_once(text)?.1;
        rest.split_whitespace().next()?.parse().ok()
    };
    let total = number_after("objects: ").unwrap();
    let pruned = number_after("Deleted ").or_else(|| number_after("Would delete: "));
    (total, pruned.unwrap_or(0))
}

async fn prunes_like_c(mode: &str, c_args: &[&str], options: impl Fn(&History) -> PruneOptions) {
    let history = history(mode);
    let (theirs, ours) = (copy_of(&history, "theirs"), copy_of(&history, "ours"));
    let before = lengths(&ours);
    let c_args: Vec<String> = c_args
        .iter()
        .map(|arg| arg.replace("LOOSE", &history.loose.to_string()))
        .collect();
    let theirs_arg = repo_arg(&theirs);
    let mut args = vec!["prune", &*theirs_arg];
    args.extend(c_args.iter().map(String::as_str));
    let printed = ostree(&args);

    let repo = repo_at(&ours).await;
    let report = prune(&repo, &options(&history)).await.unwrap();
    assert_eq!(
        (report.objects_total, report.objects_pruned),
        counts(&printed),
        "{printed}"
    );
    let after = lengths(&ours);
    assert_eq!(after, lengths(&theirs), "{c_args:?}");
    if options(&history).action == PruneAction::Delete && options(&history).delete_commit.is_none()
    {
        let freed: u64 = before.values().sum::<u64>() - after.values().sum::<u64>();
        assert_eq!(report.freed_bytes, freed);
    }
    let config = |path: &Path| std::fs::read_to_string(path.join("config")).unwrap();
    assert_eq!(config(&ours), config(&theirs));
    assert!(repo.state().list_partial().await.unwrap().is_empty());
    ostree(&["fsck", "-q", &repo_arg(&ours)]);
}

fn with(change: impl Fn(&mut PruneOptions, &History)) -> impl Fn(&History) -> PruneOptions {
    move |history| {
        let mut options = PruneOptions::default();
        change(&mut options, history);
        options
    }
}

fn local(name: &str) -> RefName {
    RefName::Local(Branch::new(name).unwrap())
}

#[tokio::test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
async fn objects_without_a_commit_go() {
    for mode in ["archive", "bare-user"] {
        prunes_like_c(mode, &[], with(|_, _| {})).await;
    }
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
async fn objects_without_a_commit_go_from_a_bare_repository() {
    prunes_like_c(
        "bare",
        &["--refs-only"],
        with(|o, _| o.roots = PruneRoots::Refs),
    )
    .await;
}

#[tokio::test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
async fn commits_without_a_ref_go_if_only_refs_count() {
    let refs = with(|o, _| o.roots = PruneRoots::Refs);
    prunes_like_c("archive", &["--refs-only"], refs).await;
    let shallow = with(|o, _| {
        o.roots = PruneRoots::Refs;
        o.depth = Some(Depth::Parents(1));
    });
    prunes_like_c("archive", &["--refs-only", "--depth=1"], shallow).await;
}

#[tokio::test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
async fn a_count_deletes_nothing() {
    let count = with(|o, _| {
        o.roots = PruneRoots::Refs;
        o.depth = Some(Depth::Parents(0));
        o.action = PruneAction::Count;
    });
    prunes_like_c(
        "archive",
        &["--refs-only", "--depth=0", "--no-prune"],
        count,
    )
    .await;
}

#[tokio::test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
async fn commits_alone_can_go() {
    let commits = with(|o, _| {
        o.roots = PruneRoots::Refs;
        o.depth = Some(Depth::Parents(0));
        o.scope = ReachScope::CommitsOnly;
    });
    prunes_like_c(
        "archive",
        &["--refs-only", "--depth=0", "--commit-only"],
        commits,
    )
    .await;
}

#[tokio::test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
async fn young_commits_stay() {
    let young = with(|o, _| o.keep_younger_than_secs = Some(1_600_003_000));
    prunes_like_c("archive", &["--keep-younger-than=@1600003000"], young).await;
    // The commit of a ref stays however old it is.
    let none = with(|o, _| o.keep_younger_than_secs = Some(1_700_000_000));
    prunes_like_c("archive", &["--keep-younger-than=@1700000000"], none).await;
}

#[tokio::test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
async fn branches_keep_what_they_are_to_retain() {
    let retain = with(|o, _| {
        o.retain = vec![(local("main"), Depth::Parents(2))];
        o.depth = Some(Depth::Parents(0));
    });
    prunes_like_c(
        "archive",
        &["--retain-branch-depth=main=2", "--depth=0"],
        retain,
    )
    .await;
}

#[tokio::test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
async fn other_branches_stay_whole() {
    let only = with(|o, _| {
        o.only = vec![local("dev/x")];
        o.depth = Some(Depth::Parents(0));
    });
    prunes_like_c("archive", &["--only-branch=dev/x", "--depth=0"], only).await;
}

#[tokio::test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
async fn a_deleted_commit_leaves_a_tombstone() {
    let delete = with(|o, h| o.delete_commit = Some(h.loose));
    prunes_like_c("archive", &["--delete-commit=LOOSE"], delete).await;
}

#[tokio::test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
async fn a_commit_that_a_ref_holds_is_not_deleted() {
    let history = history("archive");
    let before = look_at_objects(&history.path);
    let repo = repo_at(&history.path).await;
    let mut options = PruneOptions::default();
    options.delete_commit = history.dev.last().copied();
    let error = prune(&repo, &options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("dev/x"), "{error}");
    options.delete_commit = Some(Checksum::of(b"no such commit"));
    let error = prune(&repo, &options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing);
    assert_eq!(look_at_objects(&history.path), before);
    let config = std::fs::read_to_string(history.path.join("config")).unwrap();
    assert!(!config.contains("tombstone"), "{config}");
}

/// The C `ostree` deletes the commits of mirrored collections in these modes.
#[tokio::test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
async fn refs_of_mirrors_count_in_all_modes() {
    let modes: [fn(&mut PruneOptions); 3] = [
        |o| o.keep_younger_than_secs = Some(1_700_000_000),
        |o| o.only = vec![local("main")],
        |o| o.retain = vec![(local("main"), Depth::Parents(0))],
    ];
    for set_mode in modes {
        let history = history("archive");
        let mirror = history.path.join("refs/mirrors/org.example.Os");
        std::fs::create_dir_all(&mirror).unwrap();
        std::fs::write(mirror.join("os"), format!("{}\n", history.loose)).unwrap();
        let repo = repo_at(&history.path).await;
        let mut options = PruneOptions::default();
        set_mode(&mut options);
        options.depth = Some(Depth::Parents(0));
        prune(&repo, &options).await.unwrap();
        let id = CollectionId::new("org.example.Os").unwrap();
        let name = RefName::Mirror(id, Branch::new("os").unwrap());
        let held = repo.follow_ref(&name).await.unwrap().unwrap();
        repo.load_commit(&held).await.unwrap();
        assert!(
            fsck(&repo, &FsckOptions::default())
                .await
                .unwrap()
                .is_sound()
        );
        ostree(&["fsck", "-q", &repo_arg(&history.path)]);
    }
}

/// Two refs on one line of history, one reaching further back: the order must not matter.
#[tokio::test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
async fn the_ref_that_keeps_most_of_a_history_counts() {
    let history = history("archive");
    let heads = history.path.join("refs/heads");
    for name in ["a-older", "z-older"] {
        std::fs::write(heads.join(name), format!("{}\n", history.main[3])).unwrap();
    }
    let repo = repo_at(&history.path).await;
    let mut options = PruneOptions::default();
    options.roots = PruneRoots::Refs;
    options.depth = Some(Depth::Parents(1));
    prune(&repo, &options).await.unwrap();
    for kept in &history.main[..5] {
        repo.load_commit(kept).await.unwrap();
    }
    let report = prune(&repo, &options).await.unwrap();
    let nothing = PruneReport::default();
    assert_eq!(report.objects_pruned, nothing.objects_pruned);
}

#[tokio::test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
async fn nothing_goes_while_a_kept_dirtree_is_missing() {
    let history = history("archive");
    let repo = repo_at(&history.path).await;
    let tree = repo
        .load_commit(&history.main[4])
        .await
        .unwrap()
        .tree
        .to_string();
    let path = format!("objects/{}/{}.dirtree", &tree[..2], &tree[2..]);
    std::fs::remove_file(history.path.join(path)).unwrap();
    let before = look_at_objects(&history.path);
    let error = prune(&repo, &PruneOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing);
    assert_eq!(look_at_objects(&history.path), before);
    // A commit that is marked partial may miss it.
    let mark = history
        .path
        .join(format!("state/{}.commitpartial", history.main[4]));
    std::fs::write(mark, "").unwrap();
    prune(&repo, &PruneOptions::default()).await.unwrap();
}

#[tokio::test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
async fn an_unknown_branch_is_an_error_and_nothing_goes() {
    let history = history("archive");
    let before = look_at_objects(&history.path);
    let repo = repo_at(&history.path).await;
    let mut options = PruneOptions::default();
    options.only = vec![local("mian")];
    let error = prune(&repo, &options).await.unwrap_err();
    assert!(error.to_string().contains("mian"), "{error}");
    assert_eq!(look_at_objects(&history.path), before);
}
