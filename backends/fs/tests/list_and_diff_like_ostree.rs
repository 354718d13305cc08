//! Listings and differences as the C `ostree` prints them, and as we tell them.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod common;

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::sync::Arc;

use common::*;
use futures::TryStreamExt;
use treeferry_backend_fs::FsMode;
use treeferry_core::ErrorKind;
use treeferry_core::format::Checksum;
use treeferry_core::ops::diff::{DiffOptions, DiffSide, LocalXattrs, diff, diff_stats};
use treeferry_core::ops::list::{ListDepth, ListEntry, ListNode, ListOptions, cat, list};
use treeferry_core::repo::Repo;

struct Place {
    dir: tempfile::TempDir,
    repo: Repo,
    arg: String,
}

impl Place {
    async fn new(mode: FsMode) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let arg = format!("--repo={}", dir.path().join("repo").display());
        ostree(&[&arg, "init", &format!("--mode={mode}")]);
        let repo = Repo::new(Arc::new(open(&dir.path().join("repo")).await));
        Self { dir, repo, arg }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn commit(&self, branch: &str, tree: &str) -> Checksum {
        let tree = self.path(tree);
        let commit = ostree(&[&self.arg, "commit", "-b", branch, &tree]);
        commit.parse().unwrap()
    }

    async fn side(&self, name: &str) -> DiffSide {
        if name.starts_with('/') {
            return DiffSide::Dir(name.into());
        }
        let commit = self.repo.resolve(name).await.unwrap();
        DiffSide::Tree(self.repo.tree_of(&commit).await.unwrap())
    }

    async fn compare_diff(&self, from: &str, to: &str, args: &[&str], options: DiffOptions) {
        let mut all = vec![&*self.arg, "diff", from, to];
        all.extend(args);
        let theirs = ostree(&all);
        let (a, b) = (self.side(from).await, self.side(to).await);
        let found = diff(&self.repo, &a, &b, options).await.unwrap();
        let mut ours = String::new();
        let root = |side: &DiffSide| {
            if matches!(side, DiffSide::Tree(_)) {
                "/"
            } else {
                ""
            }
        };
        for (letter, paths, root) in [
            ("M", &found.modified, root(&a)),
            ("D", &found.removed, root(&a)),
            ("A", &found.added, root(&b)),
        ] {
            for told in paths {
                writeln!(ours, "{letter}    {root}{}", told.path.to_str().unwrap()).unwrap();
            }
        }
        assert_eq!(theirs, ours.trim_end(), "{from} {to} {args:?}");
    }
}

fn write(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// Makes two trees that differ in every way there is.
fn two_trees(dir: &Path) {
    for side in ["one", "two"] {
        let dir = dir.join(side);
        for name in [
            "same/f",
            "content",
            "mode",
            "owner",
            "xattr",
            "in/content",
            "in/same",
        ] {
            write(&dir.join(name), "1");
        }
        fs::create_dir(dir.join("dir-mode")).unwrap();
        write(&dir.join("dir-mode/f"), "1");
    }
    let (one, two) = (dir.join("one"), dir.join("two"));
    for name in [
        "gone/deep/er/f",
        "gone/g",
        "file-to-dir",
        "dir-to-file/f",
        "file-to-link",
    ] {
        write(&one.join(name), "1");
    }
    for name in [
        "new/deep/er/f",
        "new/a",
        "Z",
        "0",
        "in/new",
        "file-to-dir/f",
        "dir-to-file",
    ] {
        write(&two.join(name), "2");
    }
    symlink("x", one.join("link")).unwrap();
    symlink("y", two.join("link")).unwrap();
    symlink("y", two.join("new/link")).unwrap();
    symlink("1", two.join("file-to-link")).unwrap();
    write(&two.join("content"), "22");
    write(&two.join("in/content"), "2");
    fs::set_permissions(two.join("mode"), PermissionsExt::from_mode(0o600)).unwrap();
    fs::set_permissions(two.join("dir-mode"), PermissionsExt::from_mode(0o700)).unwrap();
    fs::set_permissions(&two, PermissionsExt::from_mode(0o711)).unwrap();
    chown(two.join("owner"), Some(3), Some(4)).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(two.join("xattr"), "user.x", b"x", flags).unwrap();
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
async fn differences_are_told_in_the_same_order() {
    let place = Place::new(FsMode::BareUser).await;
    two_trees(place.dir.path());
    place.commit("first", "one");
    place.commit("second", "two");
    let (one, two) = (place.path("one"), place.path("two"));
    let mut no_xattrs = DiffOptions::default();
    no_xattrs.xattrs = LocalXattrs::Ignore;
    let mut owned = DiffOptions::default();
    (owned.owner_uid, owned.owner_gid) = (Some(3), Some(4));
    for (from, to) in [
        ("first", "second"),
        ("second", "first"),
        ("first", "first"),
        ("first", &one),
        ("first", &two),
        (&two, "first"),
        (&one, &two),
        (&two, &one),
        ("second", &two),
    ] {
        place
            .compare_diff(from, to, &[], DiffOptions::default())
            .await;
        place
            .compare_diff(from, to, &["--no-xattrs"], no_xattrs)
            .await;
        let args = ["--owner-uid=3", "--owner-gid=4"];
        place.compare_diff(from, to, &args, owned).await;
    }
    let mut user = DiffOptions::default();
    user.owner_uid = Some(3);
    place
        .compare_diff(&one, &two, &["--owner-uid=3"], user)
        .await;
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
async fn objects_in_common_are_counted_alike() {
    let place = Place::new(FsMode::Bare).await;
    two_trees(place.dir.path());
    let first = place.commit("first", "one");
    let second = place.commit("second", "two");
    let stats = diff_stats(&place.repo, &first, &second).await.unwrap();
    let ours = format!(
        "[A] Object Count: {}\n[B] Object Count: {}\nCommon Object Count: {}\n\
         Common Object Size: {} bytes",
        stats.from_objects, stats.to_objects, stats.common_objects, stats.common_stored_bytes
    );
    let theirs = ostree(&[&place.arg, "diff", "--stats", "first", "second"]);
    // Outside of the C locale the space is one that does not break.
    assert_eq!(theirs.replace('\u{a0}', " "), ours);
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
async fn special_files_differ_by_what_they_are() {
    let place = Place::new(FsMode::Bare).await;
    for side in ["one", "two"] {
        fs::create_dir(place.path(side)).unwrap();
        for name in ["same", "other"] {
            let path = format!("{}/{name}", place.path(side));
            let mode = if (side, name) == ("two", "other") {
                0o600
            } else {
                0o644
            };
            let kind = rustix::fs::FileType::Fifo;
            rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode.into(), 0).unwrap();
        }
    }
    let side = |name: &str| DiffSide::Dir(place.path(name).into());
    let (one, two) = (side("one"), side("two"));
    let found = diff(&place.repo, &one, &two, DiffOptions::default()).await;
    let found = found.unwrap();
    assert_eq!(found.modified.len(), 1);
    assert_eq!(found.modified[0].path, "other");
}

fn line(entry: &ListEntry) -> String {
    let (kind, mode, uid, gid, bytes, checksums, target) = match &entry.node {
        ListNode::Dir { root, meta } => {
            let meta = meta.as_ref().unwrap();
            let checksums = format!("{} {}", root.tree, root.meta);
            (
                'd',
                meta.mode,
                meta.uid,
                meta.gid,
                0,
                checksums,
                String::new(),
            )
        }
        ListNode::File { checksum, details } => {
            let details = details.as_ref().unwrap();
            let header = &details.header;
            let (kind, target) = match header.is_symlink() {
                true => ('l', format!(" -> {}", header.symlink_target)),
                false => ('-', String::new()),
            };
            let checksum = checksum.to_string();
            (
                kind,
                header.mode,
                header.uid,
                header.gid,
                details.content_bytes,
                checksum,
                target,
            )
        }
    };
    let mode = mode & !0o170_000;
    format!(
        "{kind}{mode:05o} {uid} {gid} {bytes:6} {checksums} {}{target}",
        entry.path
    )
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
async fn trees_are_listed_alike() {
    for mode in [FsMode::Bare, FsMode::BareUser, FsMode::Archive] {
        let place = Place::new(mode).await;
        fs::create_dir(place.path("tree")).unwrap();
        odd_tree(Path::new(&place.path("tree")));
        add_root_oddities(Path::new(&place.path("tree")));
        let commit = place.commit("odd", "tree");
        let root = place.repo.tree_of(&commit).await.unwrap();
        for path in ["/", "/sub", "sub/deep", "/plain", "/dangling"] {
            for (flag, depth) in [
                ("-C", ListDepth::Children),
                ("-d", ListDepth::Itself),
                ("-R", ListDepth::All),
            ] {
                let theirs = ostree(&[&place.arg, "ls", "-C", flag, "odd", path]);
                let mut options = ListOptions::default();
                options.depth = depth;
                let entries = list(&place.repo, root, path, options).await.unwrap();
                let entries: Vec<_> = entries.try_collect().await.unwrap();
                let ours: Vec<_> = entries.iter().map(line).collect();
                assert_eq!(theirs, ours.join("\n"), "{mode} {flag} {path}");
            }
        }
    }
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
async fn files_are_read_and_links_followed_inside_the_tree() {
    for mode in [FsMode::Bare, FsMode::BareUser, FsMode::Archive] {
        let place = Place::new(mode).await;
        let tree = place.path("tree");
        let tree = Path::new(&tree);
        write(&tree.join("sub/large"), &"x".repeat(1_000_001));
        write(&tree.join("empty"), "");
        symlink("sub/large", tree.join("link")).unwrap();
        symlink("../sub/../link", tree.join("sub/up")).unwrap();
        symlink("/empty", tree.join("sub/from-root")).unwrap();
        symlink("../../../../../etc/passwd", tree.join("out")).unwrap();
        symlink("ring", tree.join("ring")).unwrap();
        let commit = place.commit("odd", "tree");
        let root = place.repo.tree_of(&commit).await.unwrap();
        let read = async |path: &str| {
            let chunks: Vec<_> = cat(&place.repo, root, path).await?.try_collect().await?;
            Ok::<_, treeferry_core::Error>(chunks.concat())
        };
        for path in ["/sub/large", "empty", "/link", "/sub/from-root"] {
            let theirs = ostree(&[&place.arg, "cat", "odd", path]);
            assert_eq!(
                theirs.as_bytes(),
                read(path).await.unwrap(),
                "{mode} {path}"
            );
        }
        // Which the C `ostree` does not follow.
        assert_eq!(read("/sub/up").await.unwrap().len(), 1_000_001);
        let kind = async |path: &str| read(path).await.unwrap_err().kind();
        assert_eq!(kind("/out").await, ErrorKind::Missing);
        assert_eq!(kind("/nothing").await, ErrorKind::Missing);
        assert_eq!(kind("/sub").await, ErrorKind::Invalid);
        assert_eq!(kind("/ring").await, ErrorKind::Invalid);
    }
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
async fn a_file_that_does_not_hash_ends_in_an_error() {
    let place = Place::new(FsMode::BareUser).await;
    write(&Path::new(&place.path("tree")).join("file"), "right");
    let commit = place.commit("odd", "tree");
    let root = place.repo.tree_of(&commit).await.unwrap();
    let listed = ostree(&[&place.arg, "ls", "-C", "odd", "/file"]);
    let checksum = listed.split_whitespace().nth(4).unwrap();
    let object = format!("repo/objects/{}/{}.file", &checksum[..2], &checksum[2..]);
    fs::write(place.path(&object), "wrong").unwrap();
    let mut chunks = cat(&place.repo, root, "/file").await.unwrap();
    let mut last = None;
    while let Some(chunk) = futures::StreamExt::next(&mut chunks).await {
        last = Some(chunk);
    }
    assert_eq!(last.unwrap().unwrap_err().kind(), ErrorKind::Corrupt);
}
