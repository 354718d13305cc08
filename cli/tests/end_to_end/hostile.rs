//! Repositories on the other side that are damaged, or lie.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use treeferry_core::format::Checksum;

use crate::support::chance::Chance;
use crate::support::forge;
use crate::support::raw_server::{Answer, RawServer};
use crate::support::run::{Peak, ostree, treeferry};
use crate::support::serve::Serving;
use crate::support::tree::{longest_name, write};
use crate::support::{Place, add_origin, assert_c_fsck, commit_c, object_path, objects, rev};

/// Most that any pull may need, however it is lied to.
const PEAK_KIB_MAX: u64 = 64 * 1024;

/// Has something put into a served repository as the branch `evil`, and asserts that pulling it
/// fails, names all of the words that come back, and changes nothing.
fn is_refused(forge: impl Fn(&Place, &Path) -> Vec<String>) {
    for mode in ["bare-user", "archive"] {
        let place = Place::new();
        let source = place.init_c("source", "archive");
        write(&place.join("good"), "file", b"good");
        commit_c(&source, "good", &place.join("good"));
        let server = RawServer::start(&source, |_, _| Answer::File);
        let repo = place.init("pulled", mode);
        add_origin(&repo, server.url());
        treeferry(&repo, ["pull", "origin", "good"]).success();
        let (before, good) = (objects(&repo), rev(&repo, "origin:good"));

        let words = forge(&place, &source);
        let around = names_in(place.path());
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let started = Instant::now();
        let (ran, peak) = Peak::treeferry(&repo, ["pull", "origin", "evil"]);
        println!("{}", ran.failure_naming(&words).trim());
        let took = started.elapsed();
        assert!(took < Duration::from_secs(60), "{took:?}");
        assert!(peak.is_none_or(|peak| peak.kib < PEAK_KIB_MAX), "{peak:?}");

        assert_eq!(objects(&repo), before);
        assert_eq!(rev(&repo, "origin:good"), good);
        assert_eq!(rev(&repo, "origin:evil"), None);
        assert_eq!(names_in(place.path()), around, "something escaped");
        assert_c_fsck(&repo);
        treeferry(&repo, ["fsck"]).success();
        treeferry(&repo, ["pull", "origin", "good"]).success();
    }
}

fn names_in(dir: &Path) -> Vec<std::ffi::OsString> {
    let names = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

/// Commits one file as `evil`, and returns where its object is and what must be said of it: the end
/// of its name, which its address has as well.
fn evil_file(place: &Place, source: &Path, bytes: &[u8]) -> (PathBuf, String) {
    let before = objects(source);
    write(&place.join("evil"), "file", bytes);
    commit_c(source, "evil", &place.join("evil"));
    let name = objects(source)
        .into_iter()
        .find(|name| name.ends_with(".filez") && !before.contains(name))
        .unwrap();
    let named = name[3..].replace(".filez", "");
    (source.join("objects").join(name), named)
}

fn is_refused_after(damage: fn(&mut Vec<u8>), word: &'static str) {
    is_refused(|place, source| {
        let (path, checksum) = evil_file(place, source, &Chance::new(1).bytes(200_000));
        let mut bytes = fs::read(&path).unwrap();
        damage(&mut bytes);
        fs::write(&path, bytes).unwrap();
        vec![checksum, word.to_owned()]
    });
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn a_flipped_bit_is_refused() {
    is_refused_after(|bytes| bytes[100_000] ^= 4, "");
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn a_file_of_another_checksum_is_refused() {
    is_refused(|place, source| {
        let (path, checksum) = evil_file(place, source, b"what it should be");
        let good = object_of_good(source);
        fs::write(path, fs::read(good).unwrap()).unwrap();
        vec![checksum, "checksum".to_owned()]
    });
}

/// The file object that was there first.
fn object_of_good(source: &Path) -> PathBuf {
    let listed = ostree(source, ["ls", "-C", "good", "/file"]).success();
    let checksum = listed.out.split_whitespace().nth(4).unwrap();
    object_path(source, checksum, "filez")
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn a_truncated_file_is_refused() {
    is_refused_after(|bytes| bytes.truncate(bytes.len() / 2), "");
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn an_empty_file_object_is_refused() {
    is_refused_after(Vec::clear, "");
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn bytes_after_the_end_of_the_stream_are_refused() {
    is_refused_after(|bytes| bytes.push(0), "after the end");
}

/// Where the length of the content is in a `.filez`, after the length of the header.
const SIZE_AT: usize = 8;

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn a_size_too_small_by_one_is_refused() {
    is_refused_after(|bytes| bytes[SIZE_AT + 7] -= 1, "");
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn a_size_too_large_by_one_is_refused() {
    is_refused_after(|bytes| bytes[SIZE_AT + 7] += 1, "");
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn a_decompression_bomb_stops_at_the_size_that_it_announces() {
    is_refused(|place, source| {
        write(&place.join("evil"), "file", b"");
        let bomb = fs::File::create(place.join("evil/file")).unwrap();
        bomb.set_len(1_000_000_000).unwrap();
        drop(bomb);
        commit_c(source, "evil", &place.join("evil"));
        let largest = objects(source)
            .into_iter()
            .max_by_key(|name| {
                fs::metadata(source.join("objects").join(name))
                    .unwrap()
                    .len()
            })
            .unwrap();
        let path = source.join("objects").join(&largest);
        let mut bytes = fs::read(&path).unwrap();
        assert!(bytes.len() < 2_000_000);
        bytes[SIZE_AT..SIZE_AT + 8].copy_from_slice(&10_u64.to_be_bytes());
        fs::write(path, bytes).unwrap();
        vec![largest[3..].replace(".filez", "")]
    });
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn a_header_that_is_longer_than_the_file_is_refused() {
    is_refused_after(|bytes| bytes[0] = 0xff, "");
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn metadata_above_the_limit_is_refused() {
    is_refused(|_, source| {
        let meta = forge::dirmeta(source);
        let tree = Checksum::of(b"any");
        let path = forge::put_as(source, &tree, b"", "dirtree");
        fs::File::create(path)
            .unwrap()
            .set_len(140_000_000)
            .unwrap();
        forge::branch(source, "evil", tree, meta);
        // By its address, which has a slash in it.
        vec![tree.to_string().split_off(2), "limit".to_owned()]
    });
}

/// One metadata object as long as may be, and what else a pull needs.
const PEAK_WITH_METADATA_KIB_MAX: u64 = (128 + 48) * 1024;

#[test]
#[cfg_attr(
    not(all(has_ostree, has_time)),
    ignore = "needs ostree and /usr/bin/time"
)]
fn huge_metadata_is_refused_without_being_in_memory_all_at_once() {
    let place = Place::new();
    let source = place.init_c("source", "archive");
    let meta = forge::dirmeta(&source);
    // Within the limit each, beyond any memory together: nothing but zeroes, of the wrong checksum.
    let names: Vec<_> = (0..12).map(|n| format!("d{n:02}")).collect();
    let dirs: Vec<_> = names
        .iter()
        .map(|name| {
            let promised = Checksum::of(name.as_bytes());
            let path = forge::put_as(&source, &promised, b"", "dirtree");
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(100 * 1024 * 1024).unwrap();
            (name.as_str(), promised, meta)
        })
        .collect();
    let tree = forge::put(&source, &forge::dirtree(&[], &dirs), "dirtree");
    forge::branch(&source, "evil", tree, meta);
    let server = Serving::start(&source);
    let repo = place.init("pulled", "bare-user");
    add_origin(&repo, server.url());
    let (ran, peak) = Peak::treeferry(&repo, ["pull", "origin", "evil"]);
    println!("{}", ran.failure_naming(&["dirtree", "checksum"]).trim());
    let peak = peak.expect("the test is ignored where it cannot be told");
    println!("{:.1} MiB", peak.kib as f64 / 1024.0);
    assert!(peak.kib < PEAK_WITH_METADATA_KIB_MAX, "{peak:?}");
    assert_eq!(objects(&repo), Vec::<String>::new());
    assert_eq!(rev(&repo, "origin:evil"), None);
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn metadata_of_another_checksum_is_refused() {
    is_refused(|_, source| {
        let meta = forge::dirmeta(source);
        let tree = Checksum::of(b"any");
        forge::put_as(source, &tree, &forge::dirtree(&[], &[]), "dirtree");
        forge::branch(source, "evil", tree, meta);
        vec![tree.to_string(), "checksum".to_owned()]
    });
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn a_tree_that_contains_itself_is_refused() {
    is_refused(|_, source| {
        let meta = forge::dirmeta(source);
        // No bytes hold their own hash, so it has to be called by one that it has not.
        let tree = Checksum::of(b"any");
        let bytes = forge::dirtree(&[], &[("self", tree, meta)]);
        forge::put_as(source, &tree, &bytes, "dirtree");
        forge::branch(source, "evil", tree, meta);
        vec![tree.to_string()]
    });
}

fn names_are_refused(files: &[&str], dirs: &[&str]) {
    is_refused(|_, source| {
        let meta = forge::dirmeta(source);
        let inside = forge::put(source, &forge::dirtree(&[], &[]), "dirtree");
        let good = object_of_good(source);
        let good = good.strip_prefix(source.join("objects")).unwrap();
        let good = good
            .to_str()
            .unwrap()
            .replace('/', "")
            .replace(".filez", "");
        let file: Checksum = good.parse().unwrap();
        let files: Vec<_> = files.iter().map(|name| (*name, file)).collect();
        let dirs: Vec<_> = dirs.iter().map(|name| (*name, inside, meta)).collect();
        let tree = forge::put(source, &forge::dirtree(&files, &dirs), "dirtree");
        forge::branch(source, "evil", tree, meta);
        vec![tree.to_string()]
    });
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn names_that_lead_elsewhere_are_refused() {
    for name in ["..", ".", "", "a/b", "/tmp/escaped", "../escaped"] {
        names_are_refused(&[name], &[]);
        names_are_refused(&[], &[name]);
    }
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn names_that_no_file_can_have_are_refused() {
    let too_long = format!("{}x", longest_name('n'));
    for name in ["nul\0inside", &too_long] {
        names_are_refused(&[name], &[]);
        names_are_refused(&[], &[name]);
    }
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn a_name_that_is_there_twice_is_refused() {
    names_are_refused(&["twice", "twice"], &[]);
    names_are_refused(&[], &["twice", "twice"]);
    names_are_refused(&["twice"], &["twice"]);
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn a_tree_of_endless_depth_is_refused() {
    is_refused(|_, source| {
        let meta = forge::dirmeta(source);
        let mut tree = forge::put(source, &forge::dirtree(&[], &[]), "dirtree");
        for _ in 0..5000 {
            tree = forge::put(
                source,
                &forge::dirtree(&[], &[("d", tree, meta)]),
                "dirtree",
            );
        }
        forge::branch(source, "evil", tree, meta);
        vec!["deep".to_owned()]
    });
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn a_tree_of_endless_paths_is_walked_once() {
    let place = Place::new();
    let source = place.init_c("source", "archive");
    let meta = forge::dirmeta(&source);
    let mut tree = forge::put(&source, &forge::dirtree(&[], &[]), "dirtree");
    for _ in 0..64 {
        let both = [("a", tree, meta), ("b", tree, meta)];
        tree = forge::put(&source, &forge::dirtree(&[], &both), "dirtree");
    }
    forge::branch(&source, "wide", tree, meta);
    let server = RawServer::start(&source, |_, _| Answer::File);
    let repo = place.init("pulled", "bare-user");
    add_origin(&repo, server.url());
    let (ran, peak) = Peak::treeferry(&repo, ["pull", "origin", "wide"]);
    ran.success();
    assert!(peak.is_none_or(|peak| peak.kib < PEAK_KIB_MAX), "{peak:?}");
    assert_eq!(objects(&repo).len(), 65 + 1 + 1);
    assert_c_fsck(&repo);
    treeferry(&repo, ["fsck"]).success();
    treeferry(&repo, ["prune"]).success();
    // Nothing can write that many files: it is said before any is written.
    let out = place.join("out");
    let to = out.to_str().unwrap();
    let err = treeferry(&repo, ["checkout", "-U", "origin:wide", to]).failure();
    println!("{}", err.trim());
    assert!(!out.exists());
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn a_ref_that_is_no_checksum_is_refused() {
    is_refused(|_, source| {
        fs::write(source.join("refs/heads/evil"), "../../../etc/passwd\n").unwrap();
        vec!["evil".to_owned()]
    });
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn a_commit_that_is_none_is_refused() {
    is_refused(|_, source| {
        let commit = forge::put(source, b"no commit at all", "commit");
        fs::write(source.join("refs/heads/evil"), format!("{commit}\n")).unwrap();
        vec![commit.to_string(), "commit".to_owned()]
    });
}
