//! Archives, read and written beside the C command and the programs that archives come from.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod support;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::run::{Ran, ostree, treeferry, treeferry_command};
use support::tree::{self, Compare, assert_same};
use support::{Place, assert_c_fsck};

/// One entry of an archive that is made by hand: path, type, target, content.
type Entry<'a> = (&'a str, tar::EntryType, &'a str, &'a [u8]);

const FILE: tar::EntryType = tar::EntryType::Regular;
const DIR: tar::EntryType = tar::EntryType::Directory;
const HARD: tar::EntryType = tar::EntryType::Link;
const SYM: tar::EntryType = tar::EntryType::Symlink;

/// Writes an archive of exactly these entries.
fn by_hand(path: &Path, entries: &[Entry<'_>]) {
    let mut builder = tar::Builder::new(fs::File::create(path).unwrap());
    for (name, kind, target, content) in entries {
        let mut header = tar::Header::new_ustar();
        let old = header.as_old_mut();
        old.name[..name.len()].copy_from_slice(name.as_bytes());
        old.linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(if *kind == DIR { 0o750 } else { 0o644 });
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    builder.finish().unwrap();
}

/// Commits with both commands; what each said.
fn commit_both(place: &Place, options: &[&str]) -> (Ran, Ran) {
    let commit = ["commit", "--branch=b", "--parent=none", "--timestamp=@7"];
    let args = || commit.iter().chain(options);
    let ours = treeferry(&place.join("ours"), args());
    (ours, ostree(&place.join("theirs"), args()))
}

/// Commits with both commands and expects the same checksum.
#[track_caller]
fn same(place: &Place, options: &[&str]) {
    let (ours, theirs) = commit_both(place, options);
    let (ours, theirs) = (ours.success().trim(), theirs.success().trim());
    let listed = |repo: &str, commit: &str| {
        let args = ["ls", "-R", "-X", "-C", commit];
        ostree(&place.join(repo), args).success().out
    };
    if ours != theirs {
        let (ours, theirs) = (listed("ours", &ours), listed("theirs", &theirs));
        let missing = |from: &str, other: &str| -> Vec<String> {
            let lines = from
                .lines()
                .filter(|line| !other.lines().any(|o| o == *line));
            lines.take(5).map(str::to_owned).collect()
        };
        let (only_ours, only_theirs) = (missing(&ours, &theirs), missing(&theirs, &ours));
        panic!("{options:?}\nours: {only_ours:#?}\ntheirs: {only_theirs:#?}");
    }
}

fn repos(place: &Place, mode: &str) {
    place.init_unsynced("ours", mode);
    place.init_c("theirs", mode);
}

#[track_caller]
fn run(program: &str, args: &[&str], dir: &Path) -> Vec<u8> {
    let mut command = Command::new(program);
    let output = command.args(args).current_dir(dir).output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {err}");
    output.stdout
}

fn tree_option(path: &Path) -> String {
    format!("--tree=tar={}", path.display())
}

#[test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree and root")]
fn archives_of_an_odd_tree_become_the_same_commits() {
    let place = Place::new();
    repos(&place, "bare-user");
    let odd = place.join("odd");
    tree::make_odd(&odd, 1);
    for format in ["pax", "gnu"] {
        let archive = place.join(format);
        let (name, kind) = (archive.to_str().unwrap(), format!("--format={format}"));
        let mut args = vec!["-cf", name, &kind];
        if format == "pax" {
            args.extend(["--xattrs", "--xattrs-include=*"]);
        }
        args.push(".");
        run("tar", &args, &odd);
        let option = tree_option(&archive);
        same(&place, &[&option]);
        same(&place, &[&option, "--no-xattrs", "--owner-uid=3"]);
        // The C command keeps extended attributes here that it drops from directories.
        let canonical = [option.as_str(), "--canonical-permissions", "--no-xattrs"];
        same(&place, &canonical);
        same(&place, &[&option, "--mode-ro-executables", "--owner-gid=4"]);
        same(&place, &[&option, "--generate-sizes", "-s", "subject"]);
    }
    assert_c_fsck(&place.join("ours"));
    ostree(
        &place.join("ours"),
        ["checkout", "b", place.join("out").to_str().unwrap()],
    )
    .success();
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn archives_come_packed_and_over_pipes() {
    let place = Place::new();
    repos(&place, "archive");
    let plain = place.join("plain");
    tree::make_plain(&plain, 2);
    run(
        "tar",
        &["-cf", "../a.tar", "--owner=0", "--group=0", "."],
        &plain,
    );
    let archive = place.join("a.tar");
    same(&place, &[&tree_option(&archive)]);
    for packer in ["gzip", "xz", "zstd", "bzip2"] {
        if Command::new(packer).arg("--version").output().is_err() {
            println!("{packer} is not there: not tried");
            continue;
        }
        // Two streams, one after the other, as parallel packers write them.
        let bytes = fs::read(&archive).unwrap();
        let mut packed = Vec::new();
        for half in [&bytes[..bytes.len() / 2], &bytes[bytes.len() / 2..]] {
            fs::write(place.join("half"), half).unwrap();
            packed.extend(run(packer, &["-c", "half"], place.path()));
        }
        let path = place.join(packer);
        fs::write(&path, &packed).unwrap();
        same(&place, &[&tree_option(&path)]);
        let mut cut = treeferry_command(&place.join("ours"), ["commit", "-b", "c", "--tree=tar=-"]);
        let mut cut = cut
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = cut.stdin.take().unwrap();
        // The other end may be closed already, and is to say why.
        let _ = stdin.write_all(&packed[..packed.len() - packed.len() / 4]);
        drop(stdin);
        let cut = cut.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&cut.stderr);
        assert!(
            err.starts_with("error: standard input: "),
            "{packer}: {err}"
        );
        assert_eq!(cut.status.code(), Some(1), "{packer}: {err}");
    }
    treeferry(&place.join("ours"), ["rev-parse", "c"]).failure();
    assert_c_fsck(&place.join("ours"));
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn cpio_archives_are_read_with_their_hard_links() {
    let place = Place::new();
    repos(&place, "archive");
    let plain = place.join("plain");
    tree::make_plain(&plain, 3);
    // Names of many lines and the longest ones are not for a list of names by lines.
    fs::remove_dir_all(plain.join("names")).unwrap();
    let Ok(listed) = Command::new("cpio").arg("--version").output() else {
        println!("cpio is not there: not tried");
        return;
    };
    drop(listed);
    for format in ["newc", "crc", "odc"] {
        let make = format!("find . | cpio --quiet -o -H {format} -R 0:0 > ../{format}.cpio");
        run("sh", &["-c", &make], &plain);
        same(
            &place,
            &[&tree_option(&place.join(&format!("{format}.cpio")))],
        );
    }
    let cut = fs::read(place.join("newc.cpio")).unwrap();
    let path = place.join("cut.cpio");
    fs::write(&path, &cut[..cut.len() / 2]).unwrap();
    // The C command reads such an archive for ever.
    let cut = ["commit", "-b", "c", &tree_option(&path)];
    treeferry(&place.join("ours"), cut).failure_naming(&["cut.cpio", "ends within"]);
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn what_archives_say_in_odd_ways_is_understood_alike() {
    let place = Place::new();
    repos(&place, "bare-user");
    let archive = place.join("a.tar");
    let long = vec![b'x'; 700_000];
    let alike: &[&[Entry<'_>]] = &[
        &[],
        &[
            ("./", DIR, "", b""),
            ("f", FILE, "", b"1"),
            ("f", FILE, "", b"22"),
        ],
        &[("l", HARD, "f", b""), ("f", FILE, "", b"1")],
        &[
            ("f", FILE, "", b"1"),
            ("l", HARD, "./f", b""),
            ("f", FILE, "", b"2"),
        ],
        &[
            ("d", DIR, "", b""),
            ("d/", DIR, "", b""),
            ("d/f", FILE, "", b""),
        ],
        &[("a/b/c", FILE, "", b"1"), ("a", DIR, "", b"")],
        &[("a/b/c", FILE, "", b"1"), ("a/l", HARD, "/a/b/c", b"")],
        &[("/abs//x/./y", FILE, "", b"1"), ("/../up", FILE, "", b"2")],
        &[("s", SYM, "../../out", b""), ("long", FILE, "", &long)],
        &[("x/", FILE, "", b""), ("x/y", FILE, "", b"2")],
    ];
    for entries in alike {
        by_hand(&archive, entries);
        same(
            &place,
            &["--tar-autocreate-parents", &tree_option(&archive)],
        );
    }
    for filter in ["^,foo/", "^a/,q/", "nothing,x", "^(a)/b,\\1\\1/\\0"] {
        by_hand(&archive, alike[6]);
        let filter = format!("--tar-pathname-filter={filter}");
        same(
            &place,
            &["--tar-autocreate-parents", &filter, &tree_option(&archive)],
        );
    }
    assert_c_fsck(&place.join("ours"));
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn trees_and_rules_apply_to_archives_as_to_directories() {
    let place = Place::new();
    repos(&place, "bare-user");
    let (first, second) = (place.join("1.tar"), place.join("2.tar"));
    by_hand(
        &first,
        &[
            ("./", DIR, "", b""),
            ("f", FILE, "", b"1"),
            ("g", FILE, "", b"g"),
        ],
    );
    by_hand(
        &second,
        &[
            ("./", DIR, "", b""),
            ("f", FILE, "", b"2"),
            ("d/", DIR, "", b""),
        ],
    );
    tree::write(&place.join("dir"), "d/in", b"dir");
    let (first, second) = (tree_option(&first), tree_option(&second));
    let dir = format!("--tree=dir={}", place.join("dir").display());
    same(&place, &[&first, &second]);
    same(&place, &[&second, &dir, &first]);
    same(&place, &["--base=b", &second]);
    let list = |name: &str, text: &str| {
        fs::write(place.join(name), text).unwrap();
        place.join(name).display().to_string()
    };
    let skip = format!("--skip-list={}", list("skip", "/g\n"));
    let stat = format!("--statoverride={}", list("stat", "2048 /f\n=448 /\n"));
    same(&place, &[&first, &skip, &stat]);
    assert_c_fsck(&place.join("ours"));
}

#[test]
fn what_cannot_be_recorded_is_refused_and_named() {
    let place = Place::new();
    let repo = place.init_unsynced("repo", "bare-user");
    let archive = place.join("a.tar");
    let special = tar::EntryType::Char;
    let refused: &[(&[Entry<'_>], &str)] = &[
        (&[("null", special, "", b"")], "null"),
        (&[("../x", FILE, "", b"")], "../x"),
        (&[("a/../../x", FILE, "", b"")], "a/../../x"),
        (&[("l", HARD, "nope", b"")], "nope"),
        (
            &[("d", DIR, "", b""), ("l", HARD, "d", b"")],
            "hard link to d",
        ),
        (&[("f", FILE, "", b"1"), ("f/g", FILE, "", b"2")], "entry f"),
        (&[("f", FILE, "", b"1"), ("f", DIR, "", b"")], "entry f"),
        (&[("d", DIR, "", b""), ("d", FILE, "", b"")], "entry d"),
        (&[("s", SYM, "", b"")], "entry s"),
        (&[("./", FILE, "", b"x")], "root"),
    ];
    let option = tree_option(&archive);
    for (entries, named) in refused {
        by_hand(&archive, entries);
        let args = ["commit", "-b", "b", "--tar-autocreate-parents", &option];
        // The old way to write a directory is no file.
        if *named == "root" {
            continue;
        }
        treeferry(&repo, args).failure_naming(&["a.tar", named]);
    }
    by_hand(&archive, &[("a/f", FILE, "", b"1")]);
    treeferry(&repo, ["commit", "-b", "b", &option]).failure_naming(&["a.tar", "a"]);
    fs::write(&archive, "this is no archive\n".repeat(100)).unwrap();
    treeferry(&repo, ["commit", "-b", "b", &option]).failure_naming(&["not a tar archive"]);
    let nowhere = tree_option(&place.join("nowhere"));
    treeferry(&repo, ["commit", "-b", "b", &nowhere]).failure_naming(&["nowhere"]);
    treeferry(
        &repo,
        ["commit", "-b", "b", "--tar-pathname-filter=(,x", &option],
    )
    .failure_naming(&["'('"]);
    treeferry(&repo, ["rev-parse", "b"]).failure();
}

#[test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree and root")]
fn what_is_exported_is_the_tree_to_everybody() {
    let place = Place::new();
    repos(&place, "archive");
    let odd = place.join("odd");
    tree::make_odd(&odd, 4);
    let from_dir = format!("--tree=dir={}", odd.display());
    let commit = ["commit", "-b", "odd", "--timestamp=@86400", &from_dir];
    treeferry(&place.join("ours"), commit).success();
    let archive = export(&place, &["odd"]);
    // Again a tree: by our command and by the C one, and by tar.
    let option = tree_option(&archive);
    same(&place, &[&option]);
    let root = |rev: &str| {
        let shown = ostree(&place.join("ours"), ["ls", "-d", "-C", rev]).success();
        shown.trim()
    };
    assert_eq!(root("odd"), root("b"));
    fs::create_dir(place.join("out")).unwrap();
    let name = archive.to_str().unwrap();
    run(
        "tar",
        &["-xpf", name, "--xattrs", "--xattrs-include=*"],
        &place.join("out"),
    );
    assert_same(&odd, &place.join("out"), Compare::All);
    let modified = fs::metadata(place.join("out/plain/a")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::mtime(&modified), 86400);
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn parts_are_exported_under_the_names_that_ostree_gives_them() {
    let place = Place::new();
    repos(&place, "bare-user");
    tree::make_plain(&place.join("plain"), 5);
    let from_dir = format!("--tree=dir={}", place.join("plain").display());
    for options in [&["--no-xattrs"][..], &["--owner-uid=3000000"]] {
        let args = [&["commit", "-b", "b", &from_dir], options].concat();
        ostree(&place.join("theirs"), args).success();
    }
    treeferry(
        &place.join("ours"),
        ["pull-local", place.join("theirs").to_str().unwrap()],
    )
    .success();
    let names = |archive: &[u8]| {
        let mut archive = tar::Archive::new(archive);
        let entries = archive.entries().unwrap();
        let told = entries.map(|entry| {
            let entry = entry.unwrap();
            let header = entry.header();
            let kind = (
                header.entry_type(),
                header.mode().unwrap(),
                header.mtime().unwrap(),
            );
            (
                entry.path_bytes().into_owned(),
                kind,
                header.size().unwrap(),
            )
        });
        let mut told: Vec<_> = told.collect();
        told.sort_by(|a, b| a.0.cmp(&b.0));
        told
    };
    for options in [
        &[][..],
        &["--no-xattrs"],
        &["--subpath=/names"],
        &["--subpath=plain"],
        &["--prefix=the-prefix/"],
        &["--prefix=a/b/", "--subpath=big"],
    ] {
        let args = || ["export", "b"].iter().chain(options);
        let out = place.join("out.tar");
        let output = format!("--output={}", out.display());
        treeferry(&place.join("ours"), args().chain([&output.as_str()])).success();
        let ours = fs::read(&out).unwrap();
        ostree(&place.join("theirs"), args().chain([&output.as_str()])).success();
        assert_eq!(names(&ours), names(&fs::read(&out).unwrap()), "{options:?}");
    }
    let file = export(&place, &["b", "--subpath=/plain/a"]);
    assert_eq!(names(&fs::read(file).unwrap())[0].0, b"a");
    let ours = place.join("ours");
    treeferry(&ours, ["export", "b", "--subpath=/no"]).failure_naming(&["/no"]);
    treeferry(&ours, ["export", "b", "-o", "/no/such/dir/x"]).failure_naming(&["/no/such/dir"]);
}

#[test]
fn a_damaged_file_leaves_no_archive() {
    let place = Place::new();
    let repo = place.init_unsynced("ours", "bare-user");
    tree::write(&place.join("t"), "f", &vec![b'x'; 600_000]);
    treeferry(
        &repo,
        ["commit", "-b", "b", place.join("t").to_str().unwrap()],
    )
    .success();
    let object = support::object_of(&repo, ".file");
    fs::write(object, vec![b'y'; 600_000]).unwrap();
    let out = place.join("out.tar");
    let args = ["export", "b", "-o", out.to_str().unwrap()];
    treeferry(&repo, args).failure_naming(&["corrupted"]);
    assert!(!out.exists());
    assert_eq!(
        fs::read_dir(place.path()).unwrap().count(),
        2,
        "something was left"
    );
}

/// Exports with our command to a file.
fn export(place: &Place, args: &[&str]) -> PathBuf {
    let out = place.join("export.tar");
    let output = format!("--output={}", out.display());
    let args = ["export", &output].into_iter().chain(args.iter().copied());
    treeferry(&place.join("ours"), args).success();
    out
}
