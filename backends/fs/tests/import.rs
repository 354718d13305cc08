//! Copying no work: links, shared blocks, and files that are taken over.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod common;

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use common::*;
use treeferry_backend_fs::{FsMode, FsRepo};
use treeferry_core::error::{Error, ErrorKind};
use treeferry_core::format::{ContentLayout, DirMeta, FileHeader, ObjectName, ObjectType, Xattrs};
use treeferry_core::store::{
    BatchOptions, Body, Incoming, LocalFile, ObjectSource, ObjectStore, Payload, Stored, Takeover,
};

fn local(path: &Path, takeover: Takeover) -> LocalFile {
    let dir = OwnedFd::from(std::fs::File::open(path.parent().unwrap()).unwrap());
    let name = path.file_name().unwrap().to_str().unwrap();
    LocalFile::new(Arc::new(dir), CString::new(name).unwrap(), takeover)
}

fn recorded(path: &Path, takeover: Takeover) -> Incoming {
    let length = std::fs::metadata(path).unwrap().len();
    Incoming::recorded_file(header(), length, Payload::Local(local(path, takeover)))
}

/// A repository to take from, and one to put into.
struct Two {
    dir: tempfile::TempDir,
    from: FsRepo,
    to: FsRepo,
    from_path: PathBuf,
    to_path: PathBuf,
}

async fn two(theirs: FsMode, ours: FsMode) -> Two {
    let dir = tempfile::tempdir().unwrap();
    let (from_path, to_path) = (dir.path().join("from"), dir.path().join("to"));
    Two {
        from: create(&from_path, theirs).await,
        to: create(&to_path, ours).await,
        dir,
        from_path,
        to_path,
    }
}

/// Records a file of 1 000 bytes, which it writes into `dir` first.
async fn put_noise(repo: &FsRepo, dir: &Path) -> ObjectName {
    let content = dir.join("content");
    std::fs::write(&content, noise(1000)).unwrap();
    let recorded = recorded(&content, Takeover::Reflink);
    put_one(repo, recorded).await.unwrap().name
}

#[tokio::test]
async fn a_download_becomes_the_object_itself() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("repo");
    let repo = create(&path, FsMode::BareUser).await;
    let given = dir.path().join("given");
    std::fs::write(&given, noise(100_000)).unwrap();
    let other = create(&dir.path().join("other"), FsMode::BareUser).await;
    let name = put_one(&other, recorded(&given, Takeover::Reflink))
        .await
        .unwrap()
        .name;
    let inode = std::fs::metadata(&given).unwrap().ino();
    let body = Body::File {
        header: header(),
        content_bytes: 100_000,
        content: Payload::Local(local(&given, Takeover::Rename)),
    };
    let put = put_one(&repo, Incoming::named(name, body)).await.unwrap();
    assert!(!given.exists());
    let object = std::fs::metadata(object_path(&path, &put.name, ContentLayout::Bare)).unwrap();
    assert_eq!(object.ino(), inode);
    assert_eq!((object.mode() & 0o7777, object.mtime()), (0o640, 0));
}

fn set_bits(path: &Path, bits: u32) {
    let bits = std::os::unix::fs::PermissionsExt::from_mode(bits);
    std::fs::set_permissions(path, bits).unwrap();
}

#[tokio::test]
async fn a_recorded_file_that_looks_as_its_object_is_linked_and_keeps_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("repo");
    let repo = create(&path, FsMode::BareUserOnly).await;
    let given = dir.path().join("given");
    std::fs::write(&given, noise(100_000)).unwrap();
    set_bits(&given, 0o640);
    let put = put_one(&repo, recorded(&given, Takeover::Rename))
        .await
        .unwrap();
    let object = std::fs::metadata(object_path(&path, &put.name, ContentLayout::Bare)).unwrap();
    assert_eq!(object.ino(), std::fs::metadata(&given).unwrap().ino());
    assert_eq!((object.mode() & 0o7777, object.mtime()), (0o640, 0));
}

#[tokio::test]
async fn a_recorded_file_that_looks_other_than_its_object_is_copied_and_left_as_it_is() {
    for mode in [FsMode::BareUser, FsMode::BareUserOnly] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("repo");
        let repo = create(&path, mode).await;
        let given = dir.path().join("given");
        std::fs::write(&given, noise(100_000)).unwrap();
        set_bits(&given, 0o600);
        let before = std::fs::metadata(&given).unwrap();
        let put = put_one(&repo, recorded(&given, Takeover::Rename))
            .await
            .unwrap();
        let object = object_path(&path, &put.name, ContentLayout::Bare);
        assert_ne!(std::fs::metadata(object).unwrap().ino(), before.ino());
        let after = std::fs::metadata(&given).unwrap();
        let seen = |stat: &std::fs::Metadata| (stat.ino(), stat.mode(), stat.mtime(), stat.nlink());
        assert_eq!(seen(&after), seen(&before));
    }
}

#[tokio::test]
async fn a_batch_that_fails_leaves_the_files_it_recorded_and_nobody_shares_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("repo");
    let repo = create(&path, FsMode::BareUserOnly).await;
    let given = dir.path().join("given");
    std::fs::write(&given, noise(1000)).unwrap();
    set_bits(&given, 0o640);
    // One that is given up halfway, and one that cannot be published.
    let batch = repo.begin(BatchOptions::default()).await.unwrap();
    let object = recorded(&given, Takeover::Rename);
    batch.put(vec![object]).await.remove(0).unwrap();
    drop(batch);
    assert_eq!(std::fs::read(&given).unwrap(), noise(1000));
    let batch = repo.begin(BatchOptions::default()).await.unwrap();
    let object = recorded(&given, Takeover::Rename);
    let name = batch.put(vec![object]).await.remove(0).unwrap().name;
    let objects = path.join("objects");
    let fanout = objects.join(&name.checksum.to_string()[..2]);
    std::fs::write(&fanout, b"not a directory").unwrap();
    batch.commit().await.unwrap_err();
    assert_eq!(std::fs::read(&given).unwrap(), noise(1000));
    std::fs::remove_file(&fanout).unwrap();
    // What the first left is not taken for an object's own file.
    let batch = repo.begin(BatchOptions::default()).await.unwrap();
    batch.stat(&[name]).await.unwrap();
    let object = recorded(&given, Takeover::Reflink);
    batch.put(vec![object]).await.remove(0).unwrap();
    batch.commit().await.unwrap();
    let object = std::fs::metadata(object_path(&path, &name, ContentLayout::Bare)).unwrap();
    assert_ne!(object.ino(), std::fs::metadata(&given).unwrap().ino());
    assert_eq!(std::fs::metadata(&given).unwrap().nlink(), 1);
}

#[tokio::test]
async fn a_file_with_another_link_is_copied_instead_of_taken() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("repo");
    let repo = create(&path, FsMode::BareUser).await;
    let (given, other) = (dir.path().join("given"), dir.path().join("other"));
    std::fs::write(&given, noise(100_000)).unwrap();
    std::fs::hard_link(&given, &other).unwrap();
    let before = std::fs::metadata(&other).unwrap();
    let put = put_one(&repo, recorded(&given, Takeover::Rename))
        .await
        .unwrap();
    let object = std::fs::metadata(object_path(&path, &put.name, ContentLayout::Bare)).unwrap();
    let after = std::fs::metadata(&other).unwrap();
    assert_ne!(object.ino(), before.ino());
    assert_eq!(
        (after.mode(), after.mtime()),
        (before.mode(), before.mtime())
    );
}

#[tokio::test]
async fn a_file_that_is_not_what_was_announced_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("repo");
    let repo = create(&path, FsMode::BareUser).await;
    let given = dir.path().join("given");
    std::fs::write(&given, b"other bytes").unwrap();
    let name = ObjectName::file(treeferry_core::format::Checksum::of(b"announced"));
    let body = Body::File {
        header: header(),
        content_bytes: 11,
        content: Payload::Local(local(&given, Takeover::Rename)),
    };
    let error = put_one(&repo, Incoming::named(name, body))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(std::fs::read(&given).unwrap(), b"other bytes");
    assert!(all_objects(&repo).await.is_empty());
}

#[tokio::test]
async fn a_downloaded_filez_becomes_the_object_itself() {
    let dir = tempfile::tempdir().unwrap();
    let source_path = dir.path().join("source");
    let source = create(&source_path, FsMode::Archive).await;
    let content = dir.path().join("content");
    std::fs::write(&content, noise(600_000)).unwrap();
    let put = put_one(&source, recorded(&content, Takeover::Reflink))
        .await
        .unwrap();
    let downloaded = dir.path().join("downloaded");
    let object = object_path(&source_path, &put.name, ContentLayout::Archive);
    std::fs::copy(&object, &downloaded).unwrap();
    let inode = std::fs::metadata(&downloaded).unwrap().ino();

    let path = dir.path().join("repo");
    let repo = create(&path, FsMode::Archive).await;
    let body = Body::Filez {
        stored_bytes: None,
        payload: Payload::Local(local(&downloaded, Takeover::Rename)),
    };
    let put = put_one(&repo, Incoming::named(put.name, body))
        .await
        .unwrap();
    let object = std::fs::metadata(object_path(&path, &put.name, ContentLayout::Archive)).unwrap();
    assert_eq!((object.ino(), object.mode() & 0o7777), (inode, 0o644));
    assert!(!downloaded.exists());
}

/// What a repository gives of its object: a file that another of the same mode may link to.
async fn lent(repo: &FsRepo, name: ObjectName) -> Incoming {
    Incoming::named(name, repo.fetch(&name).await.unwrap().unwrap())
}

#[tokio::test]
async fn objects_of_the_same_mode_are_linked_and_others_are_not() {
    let layout = |mode| match mode {
        FsMode::Archive => ContentLayout::Archive,
        _ => ContentLayout::Bare,
    };
    let modes = [FsMode::BareUser, FsMode::Archive];
    for (theirs, ours) in modes.into_iter().flat_map(|a| modes.map(|b| (a, b))) {
        let Two {
            dir,
            from,
            to,
            from_path,
            to_path,
        } = two(theirs, ours).await;
        let name = put_noise(&from, dir.path()).await;
        let put = put_one(&to, lent(&from, name).await).await.unwrap();
        assert_eq!((put.name, put.stored), (name, Stored::New));
        let inode = |repo: &Path, mode| {
            let path = object_path(repo, &name, layout(mode));
            std::fs::metadata(path).unwrap().ino()
        };
        let linked = inode(&from_path, theirs) == inode(&to_path, ours);
        assert_eq!(linked, theirs == ours, "{theirs} to {ours}");
    }
}

#[tokio::test]
#[cfg_attr(not(is_root), ignore = "needs root to give files away")]
async fn an_object_that_belongs_to_somebody_else_is_copied_and_not_linked() {
    for mode in [FsMode::Bare, FsMode::BareUser, FsMode::BareUserOnly] {
        for (owner, linked) in [(0, true), (1234, false)] {
            let Two {
                dir,
                from,
                to,
                from_path,
                to_path,
            } = two(mode, mode).await;
            let name = put_noise(&from, dir.path()).await;
            let theirs = object_path(&from_path, &name, ContentLayout::Bare);
            // In mode bare files have owners of their own, and the directory tells whose it is.
            let given = match mode {
                FsMode::Bare => from_path.join("objects"),
                _ => theirs.clone(),
            };
            std::os::unix::fs::chown(given, Some(owner), Some(owner)).unwrap();
            put_one(&to, lent(&from, name).await).await.unwrap();
            let ours = object_path(&to_path, &name, ContentLayout::Bare);
            let inode = |path: &Path| std::fs::metadata(path).unwrap().ino();
            assert_eq!(inode(&ours) == inode(&theirs), linked, "{mode} of {owner}");
            assert_eq!(
                std::fs::metadata(&ours).unwrap().uid(),
                0,
                "{mode} of {owner}"
            );
        }
    }
}

#[tokio::test]
async fn a_damaged_object_is_not_linked() {
    let Two {
        dir,
        from,
        to,
        from_path,
        to_path: _to_path,
    } = two(FsMode::BareUser, FsMode::BareUser).await;
    let name = put_noise(&from, dir.path()).await;
    let object = object_path(&from_path, &name, ContentLayout::Bare);
    std::fs::write(object, noise(999)).unwrap();
    let refused = put_one(&to, lent(&from, name).await).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(all_objects(&to).await.is_empty());
}

/// A metadata object as the file that it is in a repository.
fn lent_metadata(repo: &FsRepo, name: ObjectName) -> Incoming {
    let file = repo.local().unwrap().metadata_file(&name).unwrap().unwrap();
    Incoming::named(name, Body::Metadata(Payload::Local(file)))
}

async fn put_dirmeta(repo: &FsRepo) -> ObjectName {
    let meta = DirMeta {
        uid: 7,
        gid: 7,
        mode: 0o40_755,
        xattrs: Xattrs::default(),
    };
    let object = Incoming::recorded_metadata(ObjectType::DirMeta, meta.to_bytes());
    put_one(repo, object).await.unwrap().name
}

#[tokio::test]
async fn metadata_is_linked_between_all_modes_unless_others_may_write_it() {
    let modes = [FsMode::BareUser, FsMode::Archive, FsMode::BareUserOnly];
    for (theirs, ours) in modes.into_iter().flat_map(|a| modes.map(|b| (a, b))) {
        for bits in [0o644, 0o664] {
            let Two {
                dir: _dir,
                from,
                to,
                from_path,
                to_path,
            } = two(theirs, ours).await;
            let name = put_dirmeta(&from).await;
            set_bits(&object_path(&from_path, &name, ContentLayout::Bare), bits);
            let put = put_one(&to, lent_metadata(&from, name)).await.unwrap();
            assert_eq!((put.name, put.stored), (name, Stored::New));
            let inode = |repo| {
                let path = object_path(repo, &name, ContentLayout::Bare);
                std::fs::metadata(path).unwrap().ino()
            };
            let linked = inode(&from_path) == inode(&to_path);
            // What others may write is not shared.
            assert_eq!(linked, bits == 0o644, "{theirs} to {ours}");
            let again = put_one(&to, lent_metadata(&from, name)).await.unwrap();
            assert_eq!(again.stored, Stored::Present);
        }
    }
}

#[tokio::test]
async fn damaged_metadata_is_not_linked() {
    let Two {
        dir: _dir,
        from,
        to,
        from_path,
        to_path: _to_path,
    } = two(FsMode::BareUser, FsMode::BareUser).await;
    let name = put_dirmeta(&from).await;
    let object = object_path(&from_path, &name, ContentLayout::Bare);
    let mut bytes = std::fs::read(&object).unwrap();
    bytes[0] ^= 1;
    std::fs::write(object, bytes).unwrap();
    let refused = put_one(&to, lent_metadata(&from, name)).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(all_objects(&to).await.is_empty());
}

#[tokio::test]
async fn what_is_vouched_for_is_linked_unread() {
    let Two {
        dir,
        from,
        to,
        from_path,
        to_path,
    } = two(FsMode::BareUser, FsMode::BareUser).await;
    let name = put_noise(&from, dir.path()).await;
    let object = object_path(&from_path, &name, ContentLayout::Bare);
    std::fs::write(&object, noise(999)).unwrap();
    let put = put_one(&to, lent(&from, name).await.vouched()).await;
    assert_eq!(put.unwrap().stored, Stored::New);
    let inode = |path: &Path| std::fs::metadata(path).unwrap().ino();
    let ours = object_path(&to_path, &name, ContentLayout::Bare);
    assert_eq!(inode(&ours), inode(&object));
}

#[tokio::test]
async fn what_is_vouched_for_and_of_no_repository_is_verified_in_an_archive_too() {
    let Two {
        dir,
        from,
        to,
        from_path,
        to_path: _to_path,
    } = two(FsMode::Archive, FsMode::Archive).await;
    let name = put_noise(&from, dir.path()).await;
    let object = object_path(&from_path, &name, ContentLayout::Archive);
    let mut bytes = std::fs::read(&object).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    // A file of its own, whose bytes come from elsewhere than a repository.
    let stray = dir.path().join("stray");
    std::fs::write(&stray, bytes).unwrap();
    let body = Body::Filez {
        stored_bytes: None,
        payload: Payload::Local(local(&stray, Takeover::Reflink)),
    };
    let refused = put_one(&to, Incoming::named(name, body).vouched()).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(all_objects(&to).await.is_empty());
}

#[tokio::test]
async fn files_are_linked_into_mode_bare_user_only_if_they_show_all_there_is_to_them() {
    let xattrs = Xattrs::sorted(vec![(b"user.a".to_vec(), b"b".to_vec())]);
    let other = |change: fn(&mut FileHeader)| {
        let mut header = header();
        change(&mut header);
        header
    };
    let with_xattrs = FileHeader { xattrs, ..header() };
    let cases = [
        (header(), 0o640, Some(true)),
        (header(), 0o600, Some(false)),
        (other(|header| header.uid = 5), 0o640, None),
        (with_xattrs, 0o640, None),
    ];
    for (header, bits, linked) in cases {
        let Two {
            dir,
            from,
            to,
            from_path,
            to_path,
        } = two(FsMode::BareUser, FsMode::BareUserOnly).await;
        let content = dir.path().join("content");
        std::fs::write(&content, noise(1000)).unwrap();
        let payload = Payload::Local(local(&content, Takeover::Reflink));
        let recorded = Incoming::recorded_file(header, 1000, payload);
        let name = put_one(&from, recorded).await.unwrap().name;
        let theirs = object_path(&from_path, &name, ContentLayout::Bare);
        set_bits(&theirs, bits);
        let put = put_one(&to, lent(&from, name).await.vouched()).await;
        let Some(linked) = linked else {
            assert_eq!(put.unwrap_err().kind(), ErrorKind::Unsupported);
            continue;
        };
        put.unwrap();
        let ours = object_path(&to_path, &name, ContentLayout::Bare);
        let inode = |path: &Path| std::fs::metadata(path).unwrap().ino();
        assert_eq!(inode(&ours) == inode(&theirs), linked);
        assert_eq!(std::fs::metadata(&ours).unwrap().mode() & 0o7777, 0o640);
    }
}

#[tokio::test]
async fn a_vouched_header_is_still_checked() {
    let dir = tempfile::tempdir().unwrap();
    let from = create(&dir.path().join("from"), FsMode::BareUser).await;
    let to = create(&dir.path().join("to"), FsMode::BareUser).await;
    let content = dir.path().join("content");
    std::fs::write(&content, noise(1000)).unwrap();
    let recorded = recorded(&content, Takeover::Reflink);
    let name = put_one(&from, recorded).await.unwrap().name;
    let strict = lent(&from, name).await.vouched();
    let strict = strict.check_header(|_| Err(Error::invalid("refused")));
    let refused = put_one(&to, strict).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
    assert!(all_objects(&to).await.is_empty());
}

#[tokio::test]
async fn a_linked_object_still_passes_the_rules_of_its_announcement() {
    let dir = tempfile::tempdir().unwrap();
    let from = create(&dir.path().join("from"), FsMode::BareUser).await;
    let to = create(&dir.path().join("to"), FsMode::BareUser).await;
    let content = dir.path().join("content");
    std::fs::write(&content, noise(1000)).unwrap();
    let recorded = recorded(&content, Takeover::Reflink);
    let name = put_one(&from, recorded).await.unwrap().name;
    let strict = lent(&from, name)
        .await
        .check_header(|_| Err(Error::invalid("refused")));
    let refused = put_one(&to, strict).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
    assert!(all_objects(&to).await.is_empty());
}

#[tokio::test]
#[cfg_attr(not(all(is_root, has_btrfs)), ignore = "needs root and mkfs.btrfs")]
async fn blocks_are_shared_on_btrfs() {
    blocks_are_shared_on("mkfs.btrfs", &["-q"]).await;
}

#[tokio::test]
#[cfg_attr(not(all(is_root, has_xfs)), ignore = "needs root and mkfs.xfs")]
async fn blocks_are_shared_on_xfs() {
    blocks_are_shared_on("mkfs.xfs", &["-q", "-m", "reflink=1"]).await;
}

async fn blocks_are_shared_on(mkfs: &str, options: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let (image, mount) = (dir.path().join("image"), dir.path().join("mount"));
    std::fs::File::create(&image)
        .unwrap()
        .set_len(400 << 20)
        .unwrap();
    std::fs::create_dir(&mount).unwrap();
    let run = |command: &mut Command| {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{command:?}: {output:?}");
    };
    run(Command::new(mkfs).args(options).arg(&image));
    run(Command::new("mount")
        .args(["-o", "loop"])
        .args([&image, &mount]));
    let content = mount.join("content");
    std::fs::write(&content, noise(8 << 20)).unwrap();
    let repo = create(&mount.join("repo"), FsMode::BareUser).await;
    let put = put_one(&repo, recorded(&content, Takeover::Reflink))
        .await
        .unwrap();
    let object = object_path(&mount.join("repo"), &put.name, ContentLayout::Bare);
    let extents = |path: &Path| {
        let output = Command::new("filefrag")
            .arg("-v")
            .arg(path)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let shared = extents(&object).contains("shared");
    let same = std::fs::read(&object).unwrap() == std::fs::read(&content).unwrap();
    drop(repo);
    run(Command::new("umount").arg(&mount));
    assert!(same && shared);
}
