//! Where a dry run says exact, it is what then happens.

use std::path::Path;

use crate::addresses::sqlite;
use crate::support::run::treeferry;
use crate::support::serve::Serving;
use crate::support::tree::{make_plain, write};
use crate::support::{Place, commit, objects};

/// What a dry run, or the run itself, says in numbers.
#[derive(Debug, PartialEq, Eq)]
struct Numbers {
    metadata: u64,
    content: u64,
    transfer: Option<u64>,
    write: Option<u64>,
}

/// Returns the numbers of a plan; those of bytes only where all of them are exact.
fn planned(text: &str) -> Numbers {
    let line = |start: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(start));
        line.unwrap_or_else(|| panic!("{text}")).to_owned()
    };
    let exact = |start: &str| {
        let line = line(start);
        let bytes = line.split_once(" bytes, exact")?.0;
        Some(bytes.parse().unwrap_or_else(|_| panic!("{text}")))
    };
    let moved = line("to move: ");
    let words: Vec<_> = moved.split(' ').collect();
    Numbers {
        metadata: words[0].parse().unwrap(),
        content: words[2].parse().unwrap(),
        transfer: exact("to transfer: "),
        write: exact("to write: "),
    }
}

/// Returns how many bytes the objects of an archive have that were not there `before`.
fn new_bytes(archive: &Path, before: &[String]) -> u64 {
    let new = objects(archive).into_iter();
    let new = new.filter(|name| !before.contains(name) && !name.ends_with(".commitmeta"));
    new.map(|name| archive.join("objects").join(name).metadata().unwrap().len())
        .sum()
}

#[test]
fn between_archives_all_is_exact_and_comes_true() {
    let place = Place::new();
    let (tree, from) = (place.join("tree"), place.init("from", "archive"));
    let to = place.init("to", "archive");
    let file = sqlite(&place, "file.sqlite");
    make_plain(&tree, 7);
    commit(&from, "os", &tree);
    for round in 0..2 {
        let (held, from_word) = (objects(&to), from.to_str().unwrap());
        let copy = |words: &[&str], from: &str, to: &Path| {
            let words = ["copy"].iter().chain(words).copied();
            let words = words.chain([from, to.to_str().unwrap()]);
            treeferry(to, words).success().out
        };
        let plan = planned(&copy(&["--dry-run"], from_word, &file));
        let done = copy(&[], from_word, &file);
        assert!(done.contains(&format!(
            "{} metadata, {} content objects moved",
            plan.metadata, plan.content
        )));
        assert_eq!(plan.transfer, Some(0), "from this machine");
        let written = plan.write.expect("it is exact");
        // The same objects go on from the file: over a transport, as far as the engine knows.
        let file_word = file.to_str().unwrap();
        let plan = planned(&copy(&["--dry-run"], file_word, &to));
        assert_eq!(objects(&to), held, "a dry run writes nothing");
        copy(&[], file_word, &to);
        assert_eq!(plan.write, Some(written));
        assert_eq!(plan.transfer, Some(written));
        assert_eq!(new_bytes(&to, &held), written, "round {round}");
        write(&tree, "many/new", b"something new");
        commit(&from, "os", &tree);
    }
}

#[test]
fn over_http_headers_or_announced_sizes_make_it_exact() {
    let place = Place::new();
    let (tree, from) = (place.join("tree"), place.init("from", "archive"));
    make_plain(&tree, 8);
    let tree_word = format!("--tree=dir={}", tree.display());
    treeferry(&from, ["commit", "-b", "plain", "-s", "s", &tree_word]).success();
    let words = ["commit", "-b", "sized", "-s", "s", "--generate-sizes"];
    treeferry(&from, words.into_iter().chain([tree_word.as_str()])).success();
    treeferry(&from, ["summary", "--update"]).success();
    let server = Serving::start(&from);
    for (name, mode) in [("archive", "archive"), ("user", "bare-user")] {
        for (branch, options, exact) in [
            ("plain", &["--dry-run"][..], false),
            ("plain", &["--dry-run", "--exact"], true),
            ("sized", &["--dry-run"], true),
            ("sized", &["--dry-run", "--exact"], true),
        ] {
            let to = place.init(&format!("{name}-{branch}-{}", options.len()), mode);
            let pull = ["pull", server.url(), branch];
            let said = treeferry(&to, pull.iter().chain(options)).success().out;
            let plan = planned(&said);
            assert_eq!(plan.transfer.is_some(), exact, "{said}");
            assert_eq!(plan.write.is_some(), exact, "{said}");
            let done = treeferry(&to, pull).success().out;
            let words = format!(
                "{} metadata, {} content objects fetched",
                plan.metadata, plan.content
            );
            assert!(done.contains(&words), "{said}{done}");
            if let (Some(transfer), Some(write)) = (plan.transfer, plan.write) {
                let kib = format!("{} KiB transferred", transfer / 1024);
                assert!(done.contains(&kib), "{said}{done}");
                if mode == "archive" {
                    assert_eq!(new_bytes(&to, &[]), write);
                    assert_eq!(transfer, write);
                }
            }
        }
    }
}

#[test]
fn what_will_be_compressed_is_an_estimate_and_says_so() {
    let place = Place::new();
    let (tree, from) = (place.join("tree"), place.init("from", "bare-user"));
    let to = place.init("to", "archive");
    make_plain(&tree, 9);
    commit(&from, "os", &tree);
    let words = ["push", "--dry-run", to.to_str().unwrap(), "os"];
    let said = treeferry(&from, words).success().out;
    assert_eq!(planned(&said).write, None, "{said}");
    assert!(
        said.contains("estimated, from the lengths before compression"),
        "{said}"
    );
}
