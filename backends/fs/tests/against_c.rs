//! Repositories that the C `ostree` wrote, and what we write for it.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod common;

use std::path::Path;

use common::*;
use treeferry_backend_fs::FsMode;
use treeferry_core::format::{ObjectName, ObjectType};
use treeferry_core::store::{BatchOptions, Incoming, ObjectSource, ObjectStore, Stored, Trust};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Makes a repository with the C `ostree` and commits the odd tree to it.
fn c_repo(dir: &Path, mode: FsMode) -> std::path::PathBuf {
    let tree = dir.join("tree");
    odd_tree(&tree);
    add_root_oddities(&tree);
    let repo = dir.join("c");
    let repo_arg = format!("--repo={}", text(&repo));
    ostree(&[&repo_arg, "init", &format!("--mode={mode}")]);
    let mut args = vec![&*repo_arg, "commit", "-b", "odd"];
    if mode == FsMode::BareUserOnly {
        args.extend(["--no-xattrs", "--canonical-permissions"]);
    }
    args.push(text(&tree));
    ostree(&args);
    repo
}

async fn commit_of(path: &Path) -> treeferry_core::format::Checksum {
    let repo = open(path).await;
    let names = all_objects(&repo).await;
    let mut commits = names.iter().filter(|n| n.object_type == ObjectType::Commit);
    let commit = commits.next().unwrap().checksum;
    assert!(commits.next().is_none());
    commit
}

/// Reads all objects of a C repository, checking each, and writes them into one of ours.
async fn reads_and_writes_like_c(mode: FsMode) {
    let dir = tempfile::tempdir().unwrap();
    let theirs_path = c_repo(dir.path(), mode);
    let theirs = open(&theirs_path).await;
    assert_eq!(theirs.mode(), mode);
    let names = all_objects(&theirs).await;
    assert!(names.len() > 15, "only {} objects", names.len());
    for stat in theirs.stat(&names).await.unwrap() {
        assert_eq!(stat.unwrap().trust, Trust::Whole);
    }

    let ours_path = dir.path().join("ours");
    let ours = create(&ours_path, mode).await;
    let puts = copy_all(&theirs, &ours).await;
    assert_eq!(puts.len(), names.len());
    assert!(puts.iter().all(|put| put.stored == Stored::New));
    assert_eq!(look_at_objects(&theirs_path), look_at_objects(&ours_path));

    set_c_ref(&ours_path, "odd", &commit_of(&theirs_path).await);
    ostree(&["fsck", &format!("--repo={}", text(&ours_path))]);
    let config = |path: &Path| std::fs::read_to_string(path.join("config")).unwrap();
    assert_eq!(config(&theirs_path), config(&ours_path));
    let leftover = std::fs::read_dir(ours_path.join("tmp")).unwrap().count();
    assert_eq!(leftover, 1, "only tmp/cache stays");
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
async fn bare_is_read_and_written_like_c() {
    reads_and_writes_like_c(FsMode::Bare).await;
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
async fn bare_user_is_read_and_written_like_c() {
    reads_and_writes_like_c(FsMode::BareUser).await;
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
async fn bare_user_only_is_read_and_written_like_c() {
    reads_and_writes_like_c(FsMode::BareUserOnly).await;
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
async fn archive_is_read_and_written_like_c() {
    reads_and_writes_like_c(FsMode::Archive).await;
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
async fn every_mode_converts_into_every_other_and_c_finds_no_fault() {
    let modes = [
        FsMode::Bare,
        FsMode::BareUser,
        FsMode::Archive,
        FsMode::BareSplitXattrs,
    ];
    let dir = tempfile::tempdir().unwrap();
    let c_path = c_repo(dir.path(), FsMode::BareUser);
    let commit = commit_of(&c_path).await;
    let mut from = open(&c_path).await;
    // A round through all of them, twice, so that each is source and destination.
    for (round, mode) in modes.iter().cycle().take(2 * modes.len()).enumerate() {
        let path = dir.path().join(format!("{round}-{mode}"));
        let to = create(&path, *mode).await;
        copy_all(&from, &to).await;
        set_c_ref(&path, "odd", &commit);
        ostree(&["fsck", &format!("--repo={}", text(&path))]);
        from = to;
    }
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
async fn bare_user_only_refuses_what_it_cannot_give_back() {
    let dir = tempfile::tempdir().unwrap();
    let theirs = open(&c_repo(dir.path(), FsMode::Bare)).await;
    let ours = create(&dir.path().join("ours"), FsMode::BareUserOnly).await;
    let batch = ours.begin(BatchOptions::default()).await.unwrap();
    let mut refused = 0;
    for name in all_objects(&theirs).await {
        if name.object_type != ObjectType::File {
            continue;
        }
        let body = theirs.fetch(&name).await.unwrap().unwrap();
        let answer = batch.put(vec![Incoming::named(name, body)]).await.remove(0);
        if let Err(error) = answer {
            assert_eq!(error.code(), "unsupported", "{error}");
            refused += 1;
        }
    }
    // setuid, setgid, world-writable, with attributes, and two with owners.
    assert_eq!(refused, 6);
    batch.commit().await.unwrap();
    for name in all_objects(&ours).await {
        let body = ours.fetch(&name).await.unwrap().unwrap();
        let object = Incoming::named(name, body);
        let mut reader = object
            .into_content(&treeferry_core::codec::FlateCodec)
            .unwrap();
        std::io::copy(&mut reader, &mut std::io::sink()).unwrap();
    }
}

#[tokio::test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
async fn a_new_repository_is_laid_out_like_that_of_c() {
    for mode in FsMode::ALL {
        let dir = tempfile::tempdir().unwrap();
        let (ours, theirs) = (dir.path().join("ours"), dir.path().join("theirs"));
        ostree(&[
            "init",
            &format!("--repo={}", text(&theirs)),
            &format!("--mode={mode}"),
        ]);
        create(&ours, mode).await;
        let list = |path: &Path| {
            let listed = std::process::Command::new("find")
                .args([".", "-printf", "%M %s %p\n"])
                .current_dir(path)
                .output()
                .unwrap();
            let text = String::from_utf8(listed.stdout).unwrap();
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(list(&ours), list(&theirs));
        let config = |path: &Path| std::fs::read(path.join("config")).unwrap();
        assert_eq!(config(&ours), config(&theirs));
    }
}

#[tokio::test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
async fn missing_objects_and_refs_are_read_from_the_parent() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("a"), "a").unwrap();
    let parent = dir.path().join("parent");
    let repo = format!("--repo={}", text(&parent));
    ostree(&[&repo, "init", "--mode=bare-user"]);
    let commit = ostree(&[&repo, "commit", "-b", "x", text(&tree)]);
    let child = dir.path().join("child");
    create(&child, FsMode::Archive).await;
    let config = format!(
        "[core]\nrepo_version=1\nmode=archive-z2\nparent={}\n",
        text(&parent)
    );
    std::fs::write(child.join("config"), config).unwrap();

    let child = open(&child).await;
    let name = ObjectName::commit(commit.parse().unwrap());
    assert!(child.fetch(&name).await.unwrap().is_some());
    assert!(child.stat(&[name]).await.unwrap()[0].is_some());
    assert!(
        all_objects(&child).await.is_empty(),
        "listing is of the repository itself"
    );
    use treeferry_core::store::{RefName, RefStore, RefValue};
    let x = RefName::Local("x".parse().unwrap());
    let found = child.read_ref(&x).await.unwrap();
    assert_eq!(found, Some(RefValue::Commit(commit.parse().unwrap())));
    let batch = child.begin(BatchOptions::default()).await.unwrap();
    let body = child.fetch(&name).await.unwrap().unwrap();
    let put = batch
        .put(vec![Incoming::named(name, body)])
        .await
        .remove(0)
        .unwrap();
    assert_eq!(put.stored, Stored::New, "what only a parent has is written");
}
