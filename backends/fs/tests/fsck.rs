//! Whatever damage the C `ostree` finds is found, named, and can be repaired.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod common;

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use common::*;
use rustix::fs::XattrFlags;
use treeferry_backend_fs::FsMode;
use treeferry_core::format::{Checksum, ContentLayout, ObjectName};
use treeferry_core::ops::fsck::{
    FsckBindings, FsckExtent, FsckOptions, FsckRepair, FsckReport, FsckTombstones, Problem,
    Unbound, fsck,
};
use treeferry_core::repo::{Repo, TreeEntry};
use treeferry_core::store::{Partial, RepoState};

struct Fixture {
    dir: tempfile::TempDir,
    path: PathBuf,
    mode: FsMode,
    commit: Checksum,
}

fn repo_arg(path: &Path) -> String {
    format!("--repo={}", path.display())
}

/// Makes a repository with the C `ostree` and commits the odd tree to `odd`.
fn fixture(mode: FsMode) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let (path, tree) = (dir.path().join("repo"), dir.path().join("tree"));
    odd_tree(&tree);
    add_root_oddities(&tree);
    let repo = repo_arg(&path);
    ostree(&[&repo, "init", &format!("--mode={mode}")]);
    ostree(&[&repo, "config", "set", "core.fsync", "false"]);
    let mut args = vec![&*repo, "commit", "-b", "odd"];
    if mode == FsMode::BareUserOnly {
        args.extend(["--no-xattrs", "--canonical-permissions"]);
    }
    args.push(tree.to_str().unwrap());
    let commit = ostree(&args).parse().unwrap();
    Fixture {
        dir,
        path,
        mode,
        commit,
    }
}

fn copy_repo(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").args([from, to]).status();
    assert!(copied.unwrap().success());
}

async fn repo_at(path: &Path) -> Repo {
    Repo::new(Arc::new(open(path).await))
}

async fn check(path: &Path) -> FsckReport {
    let mut options = FsckOptions::default();
    options.extent = FsckExtent::All;
    fsck(&repo_at(path).await, &options).await.unwrap()
}

fn object_file(repo: &Path, mode: FsMode, name: &ObjectName) -> PathBuf {
    let layout = match mode {
        FsMode::Archive => ContentLayout::Archive,
        _ => ContentLayout::Bare,
    };
    repo.join("objects").join(name.loose_path(layout))
}

/// A way to damage the file of an object.
#[derive(Debug, Clone, Copy)]
enum Damage {
    FlipAt(usize),
    FlipLast,
    Truncate,
    Empty,
    Append,
    Remove,
    Chmod,
    AddXattr,
    OtherOwner,
    OtherTarget,
    FlipUserMeta,
    DropUserMeta,
    ReplaceBy(&'static str),
}

fn damage(file: &Path, damage: Damage) {
    let rewrite = |change: fn(&mut Vec<u8>)| {
        let permissions = std::fs::symlink_metadata(file).unwrap().permissions();
        let mut bytes = std::fs::read(file).unwrap();
        change(&mut bytes);
        std::fs::write(file, bytes).unwrap();
        std::fs::set_permissions(file, permissions).unwrap();
    };
    let user_meta = || {
        let mut value = vec![0; 4096];
        let length = rustix::fs::lgetxattr(file, "user.ostreemeta", &mut value[..]).unwrap();
        value.truncate(length);
        value
    };
    let set = |name: &str, value: &[u8]| {
        rustix::fs::lsetxattr(file, name, value, XattrFlags::empty()).unwrap();
    };
    match damage {
        Damage::FlipAt(at) => {
            let mut bytes = std::fs::read(file).unwrap();
            bytes[at] ^= 0x10;
            std::fs::write(file, bytes).unwrap();
        }
        Damage::FlipLast => rewrite(|bytes| *bytes.last_mut().unwrap() ^= 1),
        Damage::Truncate => rewrite(|bytes| bytes.truncate(bytes.len() - 1)),
        Damage::Empty => rewrite(Vec::clear),
        Damage::Append => rewrite(|bytes| bytes.push(0)),
        Damage::Remove => std::fs::remove_file(file).unwrap(),
        Damage::Chmod => std::fs::set_permissions(file, Permissions::from_mode(0o640)).unwrap(),
        Damage::AddXattr => set("user.intruder", b"x"),
        Damage::OtherOwner => std::os::unix::fs::lchown(file, Some(77), None).unwrap(),
        Damage::OtherTarget => {
            std::fs::remove_file(file).unwrap();
            symlink("elsewhere", file).unwrap();
        }
        Damage::FlipUserMeta => {
            let mut value = user_meta();
            value[3] ^= 1;
            set("user.ostreemeta", &value);
        }
        Damage::DropUserMeta => rustix::fs::lremovexattr(file, "user.ostreemeta").unwrap(),
        Damage::ReplaceBy(what) => {
            std::fs::remove_file(file).unwrap();
            match what {
                "directory" => std::fs::create_dir(file).unwrap(),
                _ => symlink("/etc/passwd", file).unwrap(),
            }
        }
    }
}

/// What of the tree is damaged: a path, or what is beside it.
#[derive(Debug, Clone, Copy)]
enum Target {
    File(&'static str),
    DirTree(&'static str),
    DirMeta(&'static str),
    Commit,
}

async fn object_of(repo: &Repo, commit: Checksum, target: Target) -> ObjectName {
    let root = match target {
        Target::Commit => return ObjectName::commit(commit),
        _ => repo.tree_of(&commit).await.unwrap(),
    };
    let (Target::File(path) | Target::DirTree(path) | Target::DirMeta(path)) = target else {
        unreachable!("commits were returned above");
    };
    match (repo.find_path(root, path).await.unwrap().unwrap(), target) {
        (TreeEntry::File(file), Target::File(_)) => ObjectName::file(file),
        (TreeEntry::Dir(dir), Target::DirTree(_)) => ObjectName::dirtree(dir.tree),
        (TreeEntry::Dir(dir), Target::DirMeta(_)) => ObjectName::dirmeta(dir.meta),
        (other, _) => panic!("{path} is {other:?}"),
    }
}

/// Whether the C `ostree` notices a damage too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ByC {
    Found,
    Overlooked,
}

async fn finds(fixture: &Fixture, target: Target, how: Damage, by_c: ByC) {
    let case = format!("{} {target:?} {how:?}", fixture.mode);
    let copy = fixture.dir.path().join("damaged");
    copy_repo(&fixture.path, &copy);
    let object = object_of(&repo_at(&fixture.path).await, fixture.commit, target).await;
    damage(&object_file(&copy, fixture.mode, &object), how);

    let (sound, printed) = try_ostree(&["fsck", "-q", "--all", &repo_arg(&copy)]);
    assert_eq!(sound, by_c == ByC::Overlooked, "{case}: {printed}");
    // The C `ostree` has marked the commit.
    let _ = std::fs::remove_file(copy.join(format!("state/{}.commitpartial", fixture.commit)));

    let report = check(&copy).await;
    assert!(!report.is_sound(), "{case}");
    let finding = report.findings.iter().find(|f| f.object == Some(object));
    let finding = finding.unwrap_or_else(|| panic!("{case}: {:?}", report.findings));
    let text = finding.to_string();
    assert!(
        text.contains(&object.checksum.to_string()),
        "{case}: {text}"
    );
    match (how, &finding.problem) {
        (Damage::Remove, Problem::Missing) => {}
        (Damage::Remove, _) | (_, Problem::Missing) => panic!("{case}: {text}"),
        _ => {}
    }
    if let Target::File(path) = target {
        assert_eq!(finding.path.as_deref(), Some(path), "{case}");
        assert_eq!(finding.commits, [fixture.commit], "{case}");
    }
    std::fs::remove_dir_all(&copy).unwrap();
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
async fn every_damage_of_an_archive_is_found() {
    let fixture = fixture(FsMode::Archive);
    let file = Target::File("/sub/large");
    for how in [
        Damage::FlipAt(20),
        Damage::FlipAt(300_000),
        Damage::Truncate,
    ] {
        finds(&fixture, file, how, ByC::Found).await;
    }
    // Nor is the size in the header looked at by the C `ostree`.
    finds(&fixture, file, Damage::FlipAt(9), ByC::Overlooked).await;
    finds(&fixture, file, Damage::Empty, ByC::Found).await;
    finds(&fixture, file, Damage::Remove, ByC::Found).await;
    // What follows the deflate data is not read by the C `ostree`.
    finds(&fixture, file, Damage::Append, ByC::Overlooked).await;
    finds(
        &fixture,
        Target::File("/dangling"),
        Damage::FlipAt(40),
        ByC::Found,
    )
    .await;
    finds(
        &fixture,
        Target::File("/with-xattrs"),
        Damage::FlipAt(60),
        ByC::Found,
    )
    .await;
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
async fn every_damage_of_metadata_is_found() {
    let fixture = fixture(FsMode::Archive);
    for target in [
        Target::Commit,
        Target::DirTree("/sub"),
        Target::DirMeta("/sub"),
    ] {
        for how in [
            Damage::FlipAt(1),
            Damage::FlipLast,
            Damage::Append,
            Damage::Remove,
        ] {
            finds(&fixture, target, how, ByC::Found).await;
        }
    }
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
async fn every_damage_of_a_bare_repository_is_found() {
    let fixture = fixture(FsMode::Bare);
    let content = [
        Damage::FlipAt(0),
        Damage::FlipLast,
        Damage::Truncate,
        Damage::Append,
    ];
    let header = [
        Damage::Chmod,
        Damage::AddXattr,
        Damage::OtherOwner,
        Damage::Empty,
    ];
    for how in content.into_iter().chain(header).chain([Damage::Remove]) {
        finds(&fixture, Target::File("/sub/large"), how, ByC::Found).await;
    }
    finds(
        &fixture,
        Target::File("/dangling"),
        Damage::OtherTarget,
        ByC::Found,
    )
    .await;
    finds(
        &fixture,
        Target::File("/plain"),
        Damage::ReplaceBy("link"),
        ByC::Found,
    )
    .await;
    finds(
        &fixture,
        Target::File("/plain"),
        Damage::ReplaceBy("directory"),
        ByC::Found,
    )
    .await;
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
async fn every_damage_of_a_bare_user_repository_is_found() {
    let fixture = fixture(FsMode::BareUser);
    let large = Target::File("/sub/large");
    for how in [
        Damage::FlipAt(0),
        Damage::Truncate,
        Damage::Append,
        Damage::Remove,
    ] {
        finds(&fixture, large, how, ByC::Found).await;
    }
    finds(&fixture, large, Damage::FlipUserMeta, ByC::Found).await;
    finds(&fixture, large, Damage::DropUserMeta, ByC::Found).await;
    finds(
        &fixture,
        Target::File("/dangling"),
        Damage::FlipAt(2),
        ByC::Found,
    )
    .await;
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
async fn every_damage_of_the_other_bare_modes_is_found() {
    let user_only = fixture(FsMode::BareUserOnly);
    for how in [Damage::FlipLast, Damage::Truncate, Damage::Remove] {
        finds(&user_only, Target::File("/sub/large"), how, ByC::Found).await;
    }
    finds(
        &user_only,
        Target::File("/sub/link"),
        Damage::OtherTarget,
        ByC::Found,
    )
    .await;
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
async fn a_whole_repository_is_sound_in_every_mode() {
    for mode in [
        FsMode::Archive,
        FsMode::Bare,
        FsMode::BareUser,
        FsMode::BareUserOnly,
    ] {
        let fixture = fixture(mode);
        let report = check(&fixture.path).await;
        assert!(report.is_sound(), "{mode}: {:?}", report.findings);
        assert_eq!(
            (report.refs, report.commits, report.commits_partial),
            (1, 1, 0)
        );
        let (sound, printed) = try_ostree(&["fsck", &repo_arg(&fixture.path)]);
        assert!(sound, "{printed}");
        let objects = 1 + report.metadata_objects + report.content_objects;
        assert_eq!(
            objects,
            look_at_objects(&fixture.path).len() as u64,
            "{mode}"
        );
    }
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
async fn damaged_objects_are_deleted_and_a_pull_brings_them_back() {
    let fixture = fixture(FsMode::Archive);
    let copy = fixture.dir.path().join("copy");
    let origin = fixture.path.to_str().unwrap();
    copy_repo(&fixture.path, &copy);
    let repo = repo_at(&copy).await;
    let large = object_of(&repo, fixture.commit, Target::File("/sub/large")).await;
    let plain = object_of(&repo, fixture.commit, Target::File("/plain")).await;
    damage(
        &object_file(&copy, FsMode::Archive, &large),
        Damage::FlipAt(1000),
    );
    damage(&object_file(&copy, FsMode::Archive, &plain), Damage::Remove);

    let mut options = FsckOptions::default();
    options.extent = FsckExtent::All;
    options.repair = FsckRepair::DeleteDamaged;
    let report = fsck(&repo, &options).await.unwrap();
    assert_eq!(report.findings.len(), 2);
    assert_eq!(report.deleted, [large]);
    assert_eq!(report.marked_partial, [fixture.commit]);
    let state = open(&copy).await;
    let mark = state.read_partial(&fixture.commit).await.unwrap();
    assert_eq!(mark, Some(Partial::Damaged));
    let (sound, printed) = try_ostree(&["fsck", &repo_arg(&copy)]);
    assert!(
        !sound && printed.contains("1 partial commits from fsck-detected"),
        "{printed}"
    );
    let again = check(&copy).await;
    assert!(again.findings.is_empty() && !again.is_sound());
    assert_eq!(
        (again.commits_partial, again.commits_damaged_before),
        (1, 1)
    );

    ostree(&["pull-local", &repo_arg(&copy), origin, "odd"]);
    let report = check(&copy).await;
    assert!(report.is_sound(), "{report:?}");
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
async fn a_report_changes_nothing_and_a_mark_only_marks() {
    let fixture = fixture(FsMode::BareUser);
    let repo = repo_at(&fixture.path).await;
    let plain = object_of(&repo, fixture.commit, Target::File("/plain")).await;
    damage(
        &object_file(&fixture.path, fixture.mode, &plain),
        Damage::Remove,
    );
    let before = look_at_objects(&fixture.path);
    let mark = fixture
        .path
        .join(format!("state/{}.commitpartial", fixture.commit));
    check(&fixture.path).await;
    assert!(!mark.exists());
    let mut options = FsckOptions::default();
    options.repair = FsckRepair::MarkPartial;
    let report = fsck(&repo, &options).await.unwrap();
    assert_eq!(report.marked_partial, [fixture.commit]);
    assert_eq!(std::fs::read(mark).unwrap(), b"f");
    assert_eq!(look_at_objects(&fixture.path), before);
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
async fn a_ref_to_nothing_is_found() {
    let fixture = fixture(FsMode::Archive);
    set_c_ref(&fixture.path, "nowhere", &Checksum::of(b"nothing"));
    let report = check(&fixture.path).await;
    let of_ref = report
        .findings
        .iter()
        .find(|f| f.reference.is_some())
        .unwrap();
    assert!(matches!(of_ref.problem, Problem::NoCommit), "{of_ref}");
    assert_eq!(of_ref.reference.as_ref().unwrap().to_string(), "nowhere");
    let (sound, _) = try_ostree(&["fsck", "-q", &repo_arg(&fixture.path)]);
    assert!(!sound);
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
async fn refs_and_commits_must_name_each_other() {
    let fixture = fixture(FsMode::Archive);
    let repo = repo_at(&fixture.path).await;
    let mut options = FsckOptions::default();
    options.bindings = FsckBindings::VerifyBackRefs;
    assert!(fsck(&repo, &options).await.unwrap().is_sound());

    set_c_ref(&fixture.path, "other", &fixture.commit);
    let report = fsck(&repo, &options).await.unwrap();
    let [finding] = &*report.findings else {
        panic!("{:?}", report.findings)
    };
    let Problem::Unbound(unbound) = &finding.problem else {
        panic!("{finding}")
    };
    assert_eq!(*unbound, Unbound::OtherRefs(vec!["odd".into()]));
    let (sound, _) = try_ostree(&["fsck", "-q", "--verify-bindings", &repo_arg(&fixture.path)]);
    assert!(!sound);

    ostree(&["refs", "--delete", "odd", &repo_arg(&fixture.path)]);
    ostree(&["refs", "--delete", "other", &repo_arg(&fixture.path)]);
    let report = fsck(&repo, &options).await.unwrap();
    let [finding] = &*report.findings else {
        panic!("{:?}", report.findings)
    };
    let Problem::Unbound(unbound) = &finding.problem else {
        panic!("{finding}")
    };
    assert_eq!(*unbound, Unbound::NoSuchRef("odd".into()));
    let (sound, _) = try_ostree(&["fsck", "-q", "--verify-back-refs", &repo_arg(&fixture.path)]);
    assert!(!sound);
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
async fn missing_parents_are_no_problem_and_get_a_tombstone_if_asked_for() {
    let fixture = fixture(FsMode::Archive);
    let repo_arg = repo_arg(&fixture.path);
    let tree = fixture.dir.path().join("tree");
    ostree(&[&repo_arg, "commit", "-b", "odd", tree.to_str().unwrap()]);
    let parent = ObjectName::commit(fixture.commit);
    std::fs::remove_file(object_file(&fixture.path, fixture.mode, &parent)).unwrap();
    let repo = repo_at(&fixture.path).await;
    let mut options = FsckOptions::default();
    assert!(fsck(&repo, &options).await.unwrap().is_sound());
    options.tombstones = FsckTombstones::Add;
    let report = fsck(&repo, &options).await.unwrap();
    assert!(report.is_sound());
    assert_eq!(report.tombstones, [fixture.commit]);
    let config = std::fs::read_to_string(fixture.path.join("config")).unwrap();
    assert!(config.contains("tombstone-commits=true"), "{config}");
    ostree(&["fsck", "-q", &repo_arg]);
}
