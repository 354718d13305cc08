//! Sticks of every kind: written by one implementation, read by the other, pulled out half way.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::addresses::sqlite;
use crate::media::{Kind, Medium};
use crate::round_trip::{all_refs, copy, make_source};
use crate::support::chance::Chance;
use crate::support::run::{ostree, ostree_command, treeferry, treeferry_command};
use crate::support::tree::write;
use crate::support::{Place, assert_c_fsck, commit, object_of, rev, wait_until};

const ID: &str = "org.example.Os";

fn address(stick: &Path) -> PathBuf {
    format!("usb:{}", stick.display()).into()
}

/// Makes a repository with a collection, and a commit in it.
fn source_with(place: &Place, name: &str) -> (PathBuf, String) {
    let (repo, tree) = (place.join(name), place.join(&format!("{name}-tree")));
    let id = format!("--collection-id={ID}");
    treeferry(&repo, ["init", "--mode=bare-user", &id]).success();
    let mut chance = Chance::new(12);
    write(
        &tree,
        "text",
        "all work and no play\n".repeat(9000).as_bytes(),
    );
    write(&tree, "empty", b"");
    write(&tree, "grün/日本語", b"names are in dirtrees");
    write(&tree, "long", &chance.bytes(300_000));
    std::os::unix::fs::symlink("text", tree.join("link")).unwrap();
    for at in 0..40 {
        let bytes = chance.bytes(2000);
        write(&tree, format!("more/{at:04}"), &bytes);
    }
    let made = commit(&repo, "os/stable", &tree);
    (repo, made)
}

/// Makes a client of the collection, whose remote is nowhere.
fn client(place: &Place, name: &str, url: &str) -> PathBuf {
    let repo = place.init(name, "bare-user");
    let id = format!("--collection-id={ID}");
    let words = ["remote", "add", "--no-gpg-verify", &id, "vendor", url];
    treeferry(&repo, words).success();
    repo
}

fn create_usb(repo: &Path, stick: &Path) {
    let words = ["create-usb", stick.to_str().unwrap(), ID, "os/stable"];
    let said = treeferry(repo, words).success().out;
    assert!(said.starts_with("Copied 1/1 refs successfully"), "{said}");
}

/// Both implementations write a stick, and each reads what the other wrote.
fn both_ways(kind: Kind) {
    let place = Place::new();
    let medium = Medium::new(kind, 200);
    let stick = medium.path();
    let (source, made) = source_with(&place, "source");
    create_usb(&source, stick);
    let repo = stick.join(".ostree/repo");
    let url = format!("file://{}", repo.display());
    assert_c_fsck(&repo);
    // C takes refs of collections by name only from what its finders find; a commit it takes.
    let theirs = client(&place, "theirs", &url);
    let wanted = format!("os/stable@{made}");
    ostree(&theirs, ["pull", "vendor", &wanted]).success();
    assert_c_fsck(&theirs);
    let summary = ostree(&repo, ["summary", "--view"]).success().out;
    assert!(summary.contains(&format!("({ID}, os/stable)")), "{summary}");

    let ours = client(&place, "ours", &url);
    treeferry(&ours, ["pull", "vendor", "os/stable"]).success();
    assert_eq!(rev(&ours, "vendor:os/stable").unwrap(), made);

    // Pushed to as a repository, it has refs of its own, which C pulls by name.
    let to = address(stick);
    treeferry(&source, ["push", to.to_str().unwrap(), "os/stable"]).success();
    let plain = place.init("plain", "bare-user");
    treeferry(&plain, ["remote", "add", "--no-gpg-verify", "origin", &url]).success();
    treeferry(&to, ["summary", "--update"]).success();
    ostree(&plain, ["pull", "origin", "os/stable"]).success();
    assert_eq!(rev(&plain, "origin:os/stable").unwrap(), made);
    treeferry(&to, ["fsck"]).success();

    // What C writes, where it can write, or what was copied there.
    let other = place.join("of-c");
    fs::create_dir(&other).unwrap();
    let words = ["create-usb", other.to_str().unwrap(), ID, "os/stable"];
    ostree(&source, words).success();
    fs::remove_dir_all(stick.join(".ostree")).unwrap();
    copy_tree(&other.join(".ostree"), &stick.join(".ostree"));
    let mirror = sqlite(&place, "mirror.sqlite");
    copy(&to, &mirror);
    let refs = treeferry(&mirror, ["refs", "--collections", "--revision"]).success();
    assert_eq!(refs.out.trim(), format!("({ID}, os/stable)\t{made}"));
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_tree(&entry.path(), &to),
            // Modes are nothing that these filesystems have.
            false => fs::write(&to, fs::read(entry.path()).unwrap()).unwrap(),
        }
    }
}

#[test]
#[cfg_attr(not(has_fat), ignore = "needs root, ostree, fusefat and mkfs.vfat")]
fn both_ways_on_fat() {
    both_ways(Kind::Fat);
}

#[test]
#[cfg_attr(
    not(has_exfat),
    ignore = "needs root, ostree, exfat-fuse and mkfs.exfat"
)]
fn both_ways_on_exfat() {
    both_ways(Kind::Exfat);
}

#[test]
#[cfg_attr(
    not(has_loop),
    ignore = "needs root, ostree, loop devices and mkfs.ext4"
)]
fn both_ways_on_ext4() {
    both_ways(Kind::Ext4);
}

#[test]
#[cfg_attr(
    not(has_exfat),
    ignore = "needs root, ostree, exfat-fuse and mkfs.exfat"
)]
fn all_refs_come_back_from_a_file_and_a_stick() {
    let place = Place::new();
    let medium = Medium::new(Kind::Exfat, 100);
    let source = make_source(&place);
    let file = sqlite(&place, "file.sqlite");
    let back = place.init("back", "bare-user");
    copy(&source, &file);
    copy(&file, &address(medium.path()));
    copy(&address(medium.path()), &back);
    assert_eq!(all_refs(&back), all_refs(&source));
    assert_c_fsck(&back);
    // From stick to stick.
    let other = Medium::new(Kind::Exfat, 100);
    copy(&address(medium.path()), &address(other.path()));
    assert_eq!(all_refs(&address(other.path())), all_refs(&source));
}

/// The driver is killed while the command writes; then the stick is repaired and written again.
fn pulled_out(kind: Kind) {
    let place = Place::new();
    let mut medium = Medium::new(kind, 100);
    let (source, first) = source_with(&place, "source");
    create_usb(&source, medium.path());
    let tree = place.join("source-tree");
    let mut chance = Chance::new(5);
    // The one driver is slow, and the other is not.
    let files = match kind {
        Kind::Fat => 80,
        Kind::Exfat | Kind::Ext4 => 800,
    };
    for at in 0..files {
        let bytes = chance.bytes(20_000);
        write(&tree, format!("second/{at:04}"), &bytes);
    }
    let second = commit(&source, "os/stable", &tree);
    let stick = medium.path().to_owned();
    let words = ["create-usb", stick.to_str().unwrap(), ID, "os/stable"];
    let mut writing = treeferry_command(&source, words);
    let quiet = writing.stdout(Stdio::null()).stderr(Stdio::null());
    let mut writing = quiet.spawn().unwrap();
    // Once it has opened the stick it writes.
    let open_files = format!("/proc/{}/fd", writing.id());
    wait_until(|| {
        let links = fs::read_dir(&open_files).unwrap().flatten();
        let mut paths = links.filter_map(|link| fs::read_link(link.path()).ok());
        paths.any(|path| path.starts_with(&stick))
    });
    std::thread::sleep(Duration::from_millis(150));
    medium.pull_out();
    assert!(
        !writing.wait().unwrap().success(),
        "it was over before the stick was out"
    );
    medium.repair();
    medium.mount();
    let held = |stick: &Path| {
        let refs = treeferry(&address(stick), ["refs", "--collections", "--revision"]);
        refs.success().out.trim().to_owned()
    };
    assert_eq!(held(&stick), format!("({ID}, os/stable)\t{first}"));
    treeferry(&address(&stick), ["fsck"]).success();
    create_usb(&source, &stick);
    assert_eq!(held(&stick), format!("({ID}, os/stable)\t{second}"));
    treeferry(&address(&stick), ["fsck"]).success();
    assert_c_fsck(&stick.join(".ostree/repo"));
}

#[test]
#[cfg_attr(not(has_fat), ignore = "needs root, ostree, fusefat and mkfs.vfat")]
fn pulled_out_of_fat_it_still_has_the_first() {
    pulled_out(Kind::Fat);
}

#[test]
#[cfg_attr(
    not(has_exfat),
    ignore = "needs root, ostree, exfat-fuse and mkfs.exfat"
)]
fn pulled_out_of_exfat_it_still_has_the_first() {
    pulled_out(Kind::Exfat);
}

#[test]
#[cfg_attr(
    not(has_loop),
    ignore = "needs root, ostree, loop devices and mkfs.ext4"
)]
fn sticks_are_found_as_c_finds_them_and_the_newest_is_pulled() {
    let place = Place::new();
    let (old, new) = (
        Medium::plugged_in(Kind::Ext4, 60),
        Medium::plugged_in(Kind::Ext4, 60),
    );
    let (source, first) = source_with(&place, "source");
    create_usb(&source, old.path());
    let tree = place.join("source-tree");
    write(&tree, "new", b"new");
    std::thread::sleep(Duration::from_millis(1100));
    let second = commit(&source, "os/stable", &tree);
    create_usb(&source, new.path());

    let client = client(&place, "client", "http://127.0.0.1:9/");
    let find = [
        "find-remotes",
        "--finders=mount",
        ID,
        "os/stable",
        ID,
        "os/no",
    ];
    let theirs = ostree(&client, find).success().out;
    let ours = treeferry(&client, find).success().out;
    // In C's the order of refs is that of a hash table.
    let sorted = |text: &str| {
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&ours), sorted(&theirs));
    assert!(ours.contains(&second) && !ours.contains(&first), "{ours}");

    // A stick that says it has a newer one, and lies, is not chosen.
    let liar = Medium::plugged_in(Kind::Ext4, 60);
    let (other, _) = source_with(&place, "other");
    treeferry(
        &other,
        ["config", "set", "core.collection-id", "org.example.Other"],
    )
    .success();
    std::thread::sleep(Duration::from_millis(1100));
    let forged = commit(&other, "os/stable", &place.join("other-tree"));
    let words = [
        "create-usb",
        liar.path().to_str().unwrap(),
        "org.example.Other",
        "os/stable",
    ];
    treeferry(&other, words).success();
    let refs = liar.path().join(".ostree/repo/refs/mirrors");
    fs::rename(refs.join("org.example.Other"), refs.join(ID)).unwrap();
    let found = treeferry(&client, find).success();
    assert!(found.out.contains(&second) && !found.out.contains(&forged));
    assert!(
        found.err.contains("not bound to the collection"),
        "{}",
        found.err
    );

    let words = ["find-remotes", "--finders=mount", "--pull", ID, "os/stable"];
    let said = treeferry(&client, words).success().out;
    assert!(said.ends_with("Pulled 1/1 refs successfully.\n"), "{said}");
    assert_eq!(rev(&client, "vendor:os/stable").unwrap(), second);
    assert_c_fsck(&client);
    // With only the old stick there is nothing to go back to.
    drop((new, liar));
    let refused = treeferry_command(&client, words).output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("a step back is refused"), "{said}");
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(rev(&client, "vendor:os/stable").unwrap(), second);
}

#[test]
fn a_stick_that_leads_out_is_refused() {
    let place = Place::new();
    let (source, _) = source_with(&place, "source");
    let (stick, outside) = (place.join("stick"), place.join("outside"));
    fs::create_dir_all(&stick).unwrap();
    fs::create_dir_all(&outside).unwrap();
    std::os::unix::fs::symlink(&outside, stick.join(".ostree")).unwrap();
    let words = ["create-usb", stick.to_str().unwrap(), ID, "os/stable"];
    treeferry(&source, words).failure_naming(&["stick"]);
    fs::remove_file(stick.join(".ostree")).unwrap();
    create_usb(&source, &stick);
    let objects = stick.join(".ostree/repo/objects");
    fs::rename(&objects, outside.join("objects")).unwrap();
    std::os::unix::fs::symlink(outside.join("objects"), &objects).unwrap();
    let client = place.init("client", "bare-user");
    let to = address(&stick);
    let name = format!("{ID}:os/stable");
    let words = [
        "copy",
        to.to_str().unwrap(),
        client.to_str().unwrap(),
        &name,
    ];
    treeferry(&client, words).failure_naming(&["symbolic link", "refused"]);
    treeferry(&client, ["refs"]).success();
    assert!(fs::read_dir(&outside).unwrap().count() == 1);
}

#[test]
fn options_and_mistakes_are_those_of_c() {
    let place = Place::new();
    let (source, made) = source_with(&place, "source");
    let stick = place.join("stick");
    fs::create_dir(&stick).unwrap();
    let at = stick.to_str().unwrap();
    let both = |words: &[&str]| {
        let mut ours = treeferry_command(&source, words);
        // By our own name errors are in our words.
        let ours = ours.arg0("ostree").output().unwrap();
        assert!(
            !stick.join(".ostree").exists(),
            "nothing is written: {words:?}"
        );
        let theirs = ostree_command(&source, words).output().unwrap();
        // C makes a repository before it looks.
        let _ = fs::remove_dir_all(stick.join(".ostree"));
        let last = |out: Vec<u8>| {
            let text = String::from_utf8(out).unwrap();
            text.lines().last().unwrap_or_default().to_owned()
        };
        assert_eq!(last(ours.stderr), last(theirs.stderr), "{words:?}");
        assert_eq!(ours.status.code(), theirs.status.code(), "{words:?}");
    };
    if cfg!(has_ostree) {
        for words in [
            &["create-usb"][..],
            &["create-usb", at],
            &["create-usb", at, ID],
            &["create-usb", at, ID, "os/stable", ID],
            &["create-usb", at, "bad", "os/stable"],
            &["create-usb", at, ID, "os/none"],
            &["create-usb", "/no/such/place", ID, "os/stable"],
            &["create-usb", "--commit", &made, at, ID, "a", ID, "b"],
            &["find-remotes"],
            &["find-remotes", ID],
            &["find-remotes", "bad", "a"],
            &["find-remotes", "--finders=", ID, "a"],
            &["find-remotes", "--finders=foo", ID, "a"],
            &["find-remotes", "--mirror", ID, "a"],
        ] {
            both(words);
        }
    }
    // C writes there, as long as it is on the same device.
    let outside = [
        "create-usb",
        "--destination-repo=/elsewhere",
        at,
        ID,
        "os/stable",
    ];
    let refused = treeferry_command(&source, outside).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(!Path::new("/elsewhere").exists());
    assert!(!stick.join(".ostree").exists());
    // A repository elsewhere is noted, and one commit can be chosen.
    let tree = place.join("source-tree");
    write(&tree, "new", b"new");
    commit(&source, "os/stable", &tree);
    let words = [
        "create-usb",
        "--destination-repo=other/repo",
        "--commit",
        &made,
    ];
    treeferry(&source, words.into_iter().chain([at, ID, "os/stable"])).success();
    let link = fs::read_link(stick.join(".ostree/repos.d/00-generated")).unwrap();
    assert_eq!(link, Path::new("../../other/repo"));
    let refs = treeferry(&address(&stick), ["refs", "--collections", "--revision"]).success();
    assert_eq!(refs.out.trim(), format!("({ID}, os/stable)\t{made}"));
}

#[test]
#[cfg_attr(
    not(has_fat),
    ignore = "needs root, /dev/fuse, fusefat, mkfs.vfat and ostree"
)]
fn a_file_that_fat_cannot_hold_is_refused_by_name_before_anything_is_written() {
    let place = Place::new();
    let (repo, tree) = (place.init("repo", "archive"), place.join("tree"));
    write(&tree, "disks/image", b"to be longer");
    commit(&repo, "os", &tree);
    // As an archive keeps five gigabytes that do not get smaller; none of them is read.
    let object = object_of(&repo, ".filez");
    let mut bytes = fs::read(&object).unwrap();
    bytes[8..16].copy_from_slice(&(5_u64 << 30).to_be_bytes());
    fs::write(&object, bytes).unwrap();
    let file = fs::File::options().write(true).open(&object).unwrap();
    file.set_len(5 << 30).unwrap();
    let medium = Medium::new(Kind::Fat, 100);
    let usb = address(medium.path());
    let (stick, usb) = (medium.path().to_str().unwrap(), usb.to_str().unwrap());
    treeferry(
        &repo,
        ["config", "set", "core.collection-id", "org.example.Os"],
    )
    .success();
    for words in [
        &["create-usb", stick, "org.example.Os", "os"][..],
        &["push", usb, "os"],
        &["copy", repo.to_str().unwrap(), usb],
    ] {
        let said = ["/disks/image", "FAT", "exFAT"];
        treeferry(&repo, words.iter().copied()).failure_naming(&said);
        let there = fs::read_dir(medium.path()).unwrap().count();
        assert_eq!(there, 0, "{words:?} left something on the stick");
    }
}
