//! Static deltas come along with the commits that they make.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use treeferry_core::format::delta::DeltaName;

use crate::addresses::sqlite;
use crate::buckets::bucket;
use crate::support::chance::Chance;
use crate::support::run::{Printed, ostree, treeferry};
use crate::support::serve::Serving;
use crate::support::tree::write;
use crate::support::{Place, add_origin, assert_c_fsck, commit, rev};

/// An archive with two commits, and a delta between them that has several parts.
struct Source {
    repo: PathBuf,
    first: String,
    second: String,
}

impl Source {
    fn new(place: &Place) -> Self {
        let (repo, tree) = (place.init("source", "archive"), place.join("tree"));
        write(&tree, "same", b"same");
        let first = commit(&repo, "os", &tree);
        let mut chance = Chance::new(11);
        for number in 0..4 {
            write(&tree, format!("new{number}"), &chance.bytes(700_000));
        }
        let second = commit(&repo, "os", &tree);
        let made = ["static-delta", "generate", "--max-chunk-size=1", "os"];
        treeferry(&repo, made).success();
        Self {
            repo,
            first,
            second,
        }
    }

    fn directory(&self) -> PathBuf {
        let name = format!("{}-{}", self.first, self.second);
        let name: DeltaName = name.parse().unwrap();
        PathBuf::from(name.directory())
    }

    fn copy(&self, to: &Path, more: &[&str]) -> Printed {
        copy(&self.repo, to, more)
    }
}

fn copy(from: &Path, to: &Path, more: &[&str]) -> Printed {
    let words = ["copy", from.to_str().unwrap(), to.to_str().unwrap()];
    treeferry(from, words.iter().chain(more)).success()
}

/// Returns the files of a delta by name.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let Ok(listed) = fs::read_dir(directory) else {
        return BTreeMap::new();
    };
    let read = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().unwrap();
        (name, fs::read(entry.path()).unwrap())
    };
    listed.map(|entry| read(entry.unwrap())).collect()
}

/// Returns how many deltas, files and bytes a dry run says would move, and how many deltas are there.
fn planned(text: &str) -> (u64, u64, u64, u64) {
    let line = |line: &str| Some(line.strip_prefix("static deltas to move: ")?.to_owned());
    let line = text.lines().find_map(line);
    let line = line.unwrap_or_else(|| panic!("{text}"));
    let digits = line.split(|c: char| !c.is_ascii_digit());
    let numbers: Vec<u64> = digits.filter_map(|digits| digits.parse().ok()).collect();
    (numbers[0], numbers[1], numbers[2], numbers[3])
}

#[test]
#[cfg_attr(not(all(has_weed, has_ostree)), ignore = "needs SeaweedFS, and ostree")]
fn a_delta_goes_from_place_to_place_and_c_takes_it_from_the_last() {
    let place = Place::new();
    let source = Source::new(&place);
    // Which lists the delta, and without which C looks for none.
    treeferry(&source.repo, ["summary", "--update"]).success();
    let made = files(&source.repo.join(source.directory()));
    assert!(made.len() > 2, "{:?}", made.keys());
    let bytes: usize = made.values().map(Vec::len).sum();
    let (bucket, file) = (bucket(), sqlite(&place, "file.sqlite"));
    let last = place.init("last", "archive");
    let mut from = source.repo.as_path();
    for to in [&bucket, &file, &last] {
        let plan = planned(&copy(from, to, &["--dry-run"]).out);
        assert_eq!(plan, (1, made.len() as u64, bytes as u64, 0));
        let said = copy(from, to, &[]).out;
        assert!(said.contains("1 static deltas came along"), "{said}");
        // Nothing of it is sent again.
        assert_eq!(planned(&copy(from, to, &["--dry-run"]).out), (0, 0, 0, 1));
        let said = copy(from, to, &[]).out;
        assert!(!said.contains("static deltas"), "{said}");
        from = to;
    }
    assert_eq!(files(&last.join(source.directory())), made);
    let indexes = treeferry(&last, ["static-delta", "indexes"]).success().out;
    assert!(indexes.contains(&source.second), "{indexes}");

    let serving = Serving::start(&last);
    let client = place.init_c("client", "bare-user");
    add_origin(&client, serving.url());
    let old = format!("os@{}", source.first);
    ostree(&client, ["pull", "origin", &old]).success();
    let pull = ["pull", "--require-static-deltas", "origin", "os"];
    let said = ostree(&client, pull).success();
    assert!(said.out.contains("delta parts"), "{}", said.out);
    assert_eq!(rev(&client, "origin:os").unwrap(), source.second);
    assert_c_fsck(&client);
}

#[test]
fn what_an_interrupted_copy_left_of_a_delta_is_not_sent_again_unless_it_is_another() {
    let place = Place::new();
    let source = Source::new(&place);
    let to = place.init("to", "archive");
    source.copy(&to, &[]);
    let (made, there) = (source.directory(), to.join(source.directory()));
    let made = files(&source.repo.join(made));
    // Without its superblock a delta is not there. One part is missing, one is another's.
    for name in ["superblock", "0"] {
        fs::remove_file(there.join(name)).unwrap();
    }
    let mut other = made["1"].clone();
    other[100] ^= 1;
    fs::write(there.join("1"), &other).unwrap();
    let plan = planned(&source.copy(&to, &["--dry-run"]).out);
    let bytes = ["superblock", "0", "1"].map(|name| made[name].len() as u64);
    assert_eq!(plan, (1, 3, bytes.iter().sum(), 0));
    source.copy(&to, &[]);
    assert_eq!(files(&there), made);
    // The delta is made anew, with fewer parts: it takes the place of what is there whole.
    let made = ["static-delta", "generate", "--max-chunk-size=32", "os"];
    treeferry(&source.repo, made).success();
    source.copy(&to, &[]);
    let made = files(&source.repo.join(source.directory()));
    assert_eq!(files(&there), made);
}

#[test]
fn a_damaged_delta_stays_behind_and_all_else_is_copied() {
    let place = Place::new();
    let source = Source::new(&place);
    let part = source.repo.join(source.directory()).join("1");
    let mut bytes = fs::read(&part).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&part, &bytes).unwrap();
    fs::create_dir(place.join("stick")).unwrap();
    let stick = PathBuf::from(format!("usb:{}", place.join("stick").display()));
    for to in [
        place.init("archive", "archive"),
        place.init("bare", "bare-user"),
        sqlite(&place, "file.sqlite"),
        stick,
    ] {
        let said = source.copy(&to, &[]);
        assert!(said.err.contains("was left out"), "{}", said.err);
        assert!(said.err.contains("checksum"), "{}", said.err);
        let held = treeferry(&to, ["rev-parse", "os"]).success().trim();
        assert_eq!(held, source.second);
        let listed = treeferry(&to, ["static-delta", "list"]).success().out;
        assert!(!listed.contains(&source.second), "{listed}");
        if to.is_dir() {
            assert_eq!(files(&to.join(source.directory())).len(), 0);
        }
    }
}

#[test]
fn deltas_stay_behind_where_that_is_asked_for_and_with_what_is_not_copied() {
    let place = Place::new();
    let source = Source::new(&place);
    let has_delta = |repo: &Path| {
        let listed = treeferry(repo, ["static-delta", "list"]).success().out;
        listed.contains(&source.second)
    };
    let without = place.init("without", "archive");
    source.copy(&without, &["--no-static-deltas"]);
    assert!(!has_delta(&without));
    // Of another branch, whose history does not have that commit.
    let tree = place.join("other");
    write(&tree, "a", b"a");
    commit(&source.repo, "other", &tree);
    let other = place.init("other-repo", "archive");
    source.copy(&other, &["other"]);
    assert!(!has_delta(&other));
    // With a later commit only as far back as history comes along.
    write(&tree, "b", b"b");
    let tree = format!("--tree=dir={}", tree.display());
    let later = ["commit", "--subject=later", "--branch=os", &tree];
    treeferry(&source.repo, later).success();
    for (name, depth, expected) in [("shallow", "--depth=0", false), ("deep", "--depth=1", true)] {
        let repo = place.init(name, "archive");
        source.copy(&repo, &[depth, "os"]);
        assert_eq!(has_delta(&repo), expected, "{depth}");
    }
    let (pushed, address) = (place.init("pushed", "archive"), place.join("pushed"));
    let push = |more: &str| {
        let words = ["push", "--depth=1", address.to_str().unwrap(), more, "os"];
        treeferry(
            &source.repo,
            words.into_iter().filter(|word| !word.is_empty()),
        )
        .success();
    };
    push("");
    assert!(!has_delta(&pushed));
    push("--static-deltas");
    assert!(has_delta(&pushed));
}

#[test]
fn a_mirror_keeps_deltas_where_that_is_asked_for() {
    let place = Place::new();
    let source = Source::new(&place);
    treeferry(&source.repo, ["summary", "--update"]).success();
    let serving = Serving::start(&source.repo);
    let made = files(&source.repo.join(source.directory()));
    for (name, branches) in [("all", &[][..]), ("one", &["os"][..])] {
        let mirror = place.init(name, "archive");
        add_origin(&mirror, serving.url());
        let pull = |more: &[&str]| {
            let words = ["pull", "--mirror", "origin"].iter().chain(branches);
            treeferry(&mirror, words.chain(more)).success().out
        };
        pull(&[]);
        assert!(files(&mirror.join(source.directory())).is_empty());
        let bytes: usize = made.values().map(Vec::len).sum();
        let plan = planned(&pull(&["--dry-run", "--static-deltas"]));
        assert_eq!(plan, (1, made.len() as u64, bytes as u64, 0));
        let said = pull(&["--static-deltas"]);
        assert!(said.contains("1 static deltas came along"), "{said}");
        assert_eq!(files(&mirror.join(source.directory())), made);
    }
    let without_mirror = ["pull", "--static-deltas", "origin", "os"];
    assert!(!treeferry(&source.repo, without_mirror).ok());
}
