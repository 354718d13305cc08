//! composefs images of trees in memory.

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use support::{Pile, header, memory_repo};
use treeferry_core::ErrorKind;
use treeferry_core::format::gvariant::Value;
use treeferry_core::format::{Checksum, ObjectName};
use treeferry_core::ops::checkout::{Destination, checkout_image};
use treeferry_core::ops::commit::{
    Bootable, CommitOptions, ImageDigest, Permissions, TreeInput, XattrPolicy, commit,
};
use treeferry_core::ops::composefs::{DIGEST_KEY, FileDigests, composefs_image, recorded_digest};
use treeferry_core::repo::{Repo, TreeRoot};
use treeferry_core::store::LockKind;

/// What OSTree's own test of composefs (`test-composefs.sh`, 2026.4) expects of the tree below: the digest of its
/// image, and the SHA-256 of images with and without digests of files.
const DIGEST: &str = "be956966c70970ea23b1a8043bca58cfb0d011d490a35a7817b36d04c0210954";
const SHA256: &str = "031fab2c7f390b752a820146dc89f6880e5739cba7490f64024e0c7d11aad7c9";
const SHA256_NO_DIGESTS: &str = "78f873a76ccfea3ad7c86312ba0e06f8e0bca54ab4912b23871b31caafe59c24";

/// Writes the tree of which the above was published.
fn write_tree(root: &Path) {
    for dir in ["baz/another", "baz/deeper", "baz/sub1", "baz/sub2"] {
        fs::create_dir_all(root.join(dir)).unwrap();
        fs::set_permissions(root.join(dir), fs::Permissions::from_mode(0o755)).unwrap();
    }
    for (path, content, mode) in [
        ("firstfile", "first\n", 0o644),
        ("baz/cow", "moo\n", 0o644),
        ("baz/cowro", "mooro\n", 0o600),
        ("baz/saucer", "alien\n", 0o644),
        ("baz/another/y", "x\n", 0o644),
        ("baz/deeper/ohyeah", "hi\n", 0o644),
        ("baz/deeper/ohyeahx", "hix\n", 0o755),
        ("baz/sub1/duplicate_a", "SAME_CONTENT\n", 0o644),
        ("baz/sub1/duplicate_b", "SAME_CONTENT\n", 0o644),
        ("baz/sub2/duplicate_c", "SAME_CONTENT\n", 0o644),
    ] {
        fs::write(root.join(path), content).unwrap();
        fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    symlink("nosuchfile", root.join("somelink")).unwrap();
    symlink("nonexistent", root.join("baz/alink")).unwrap();
}

/// Commits that tree.
async fn record(repo: &Repo, set: impl FnOnce(&mut CommitOptions)) -> Checksum {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    write_tree(dir.path());
    let mut options = CommitOptions::default();
    options.trees = vec![TreeInput::Dir(dir.path().to_owned())];
    options.modifier.permissions = Permissions::Canonical;
    options.modifier.xattrs = XattrPolicy::Drop;
    set(&mut options);
    commit(repo, options).await.unwrap().commit
}

#[tokio::test]
async fn images_are_those_that_ostree_publishes() {
    let repo = memory_repo();
    let commit = record(&repo, |options| options.image_digest = ImageDigest::Record).await;
    let value = repo.load_commit(&commit).await.unwrap();
    let recorded = recorded_digest(&value).unwrap().unwrap();
    assert_eq!(recorded.to_string(), DIGEST);
    let dir = tempfile::tempdir().unwrap();
    for (digests, sha256) in [
        (FileDigests::All, SHA256),
        (FileDigests::None, SHA256_NO_DIGESTS),
        // Nothing in memory is sealed.
        (FileDigests::Sealed, SHA256_NO_DIGESTS),
    ] {
        let path = dir.path().join("image");
        let to = Destination::path(&path);
        let digest = checkout_image(&repo, &commit, &to, digests).await.unwrap();
        assert_eq!(digest == recorded, digests == FileDigests::All);
        let bytes = fs::read(&path).unwrap();
        assert_eq!(Checksum::of(&bytes).to_string(), sha256, "{digests:?}");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o644);
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

/// As OSTree does it: a hash table of all that is there already.
#[tokio::test]
async fn the_digest_is_put_among_other_metadata() {
    let repo = memory_repo();
    let string = |key: &str| (key.to_owned(), Value::from("1"));
    let keys = ["version", "a", "b", "c"];
    let commit = record(&repo, |options| {
        options.image_digest = ImageDigest::Record;
        options.metadata = keys.map(string).to_vec();
    })
    .await;
    let value = repo.load_commit(&commit).await.unwrap();
    for key in keys.into_iter().chain([DIGEST_KEY]) {
        assert!(value.metadata.get(key).is_some(), "{key}");
    }
    let without = record(&repo, |options| options.bootable = Bootable::No).await;
    let value = repo.load_commit(&without).await.unwrap();
    assert_eq!(recorded_digest(&value).unwrap(), None);
}

#[tokio::test]
async fn an_image_that_is_not_the_recorded_one_is_not_written() {
    let repo = memory_repo();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    fs::write(&path, "before").unwrap();
    for (digest, why) in [
        (vec![7; 32], "doesn't match expected digest (07070707"),
        (vec![7; 31], "is no digest"),
    ] {
        let entry = (DIGEST_KEY.to_owned(), Value::Bytes(digest));
        let commit = record(&repo, |options| options.metadata = vec![entry]).await;
        let to = Destination::path(&path);
        let error = checkout_image(&repo, &commit, &to, FileDigests::All).await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert!(error.to_string().contains(why), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"before");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        // Without digests of files it is another image.
        let written = checkout_image(&repo, &commit, &to, FileDigests::None).await;
        assert!(written.is_ok());
        fs::write(&path, "before").unwrap();
    }
}

/// Puts what a test piled up into a repository of its own.
async fn repo_of(pile: &Pile) -> Repo {
    use treeferry_core::store::{BatchOptions, Incoming, ObjectSource};
    let repo = memory_repo();
    let batch = repo.objects().begin(BatchOptions::default()).await.unwrap();
    for name in pile.names() {
        let body = pile.fetch(&name).await.unwrap().unwrap();
        let put = batch.put(vec![Incoming::named(name, body)]).await;
        assert!(put.iter().all(Result::is_ok), "{put:?}");
    }
    batch.commit().await.unwrap();
    repo
}

#[tokio::test]
async fn trees_that_mean_harm_are_refused() {
    // 2^40 directories out of 40 objects; and 300 of them one in the other.
    for (levels, twins, why) in [(40, 2, "holds more than"), (300, 1, "nested deeper")] {
        let pile = Pile::default();
        let meta = pile.meta(0o755);
        let names = ["a", "b"];
        let mut tree = pile.tree(&[], &[]);
        for _ in 0..levels {
            let dirs: Vec<_> = names[..twins]
                .iter()
                .map(|name| (*name, tree, meta))
                .collect();
            tree = pile.tree(&[], &dirs);
        }
        let repo = repo_of(&pile).await;
        let root = TreeRoot { tree, meta };
        let error = composefs_image(&repo, root, FileDigests::None).await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[tokio::test]
async fn a_file_that_is_not_there_is_named() {
    let pile = Pile::default();
    let (meta, file) = (pile.meta(0o755), pile.file(&header(0o644), b"content"));
    let tree = pile.tree(&[("file", file)], &[]);
    let repo = repo_of(&pile).await;
    let gone = ObjectName::file(file);
    let lock = repo.objects().lock(LockKind::Exclusive).await.unwrap();
    repo.objects().delete(&lock, &[gone]).await.unwrap();
    drop(lock);
    let root = TreeRoot { tree, meta };
    for digests in [FileDigests::All, FileDigests::Sealed, FileDigests::None] {
        let error = composefs_image(&repo, root, digests).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Missing);
        assert_eq!(
            error.subject().unwrap().to_string(),
            format!("object {gone}")
        );
    }
}
