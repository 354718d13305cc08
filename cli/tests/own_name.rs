//! The command by its own name: help of every verb, clear refusals, and the demo.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

use std::path::Path;
use std::process::{Command, Output};

fn treeferry(at: &Path, words: &[&str]) -> (String, String, Option<i32>) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_treeferry"))
        .args(words)
        .current_dir(at)
        .env_remove("OSTREE_REPO")
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(stdout), text(stderr), status.code())
}

/// Returns the verbs that a help text lists: two blanks in, between usage and options.
fn verbs(help: &str) -> Vec<String> {
    let lines = help.lines().skip(2).take_while(|line| *line != "Options:");
    let verb = |line: &str| {
        let line = line.strip_prefix("  ")?;
        let is_verb = line.starts_with(|c: char| c.is_ascii_lowercase());
        is_verb.then(|| line.split(' ').next().map(str::to_owned))?
    };
    lines.filter_map(verb).collect()
}

#[test]
fn every_verb_has_help_that_needs_no_repository() {
    let place = tempfile::tempdir().unwrap();
    let (help, _, code) = treeferry(place.path(), &["--help"]);
    assert_eq!(code, Some(0));
    let mut todo: Vec<Vec<String>> = verbs(&help).into_iter().map(|verb| vec![verb]).collect();
    assert!(todo.len() >= 20, "{help}");
    let mut seen = 0;
    while let Some(path) = todo.pop() {
        let mut words: Vec<&str> = path.iter().map(String::as_str).collect();
        words.push("--help");
        let (help, err, code) = treeferry(place.path(), &words);
        assert_eq!((err.as_str(), code), ("", Some(0)), "{words:?}");
        let usage = format!("  treeferry {} [OPTION…]", path.join(" "));
        assert!(
            help.lines().any(|line| line.starts_with(&usage)),
            "{words:?}: {help}"
        );
        for verb in verbs(&help) {
            let mut deeper = path.clone();
            deeper.push(verb);
            todo.push(deeper);
        }
        seen += 1;
    }
    assert!(seen >= 26, "{seen}");
}

#[test]
fn what_is_not_understood_is_said_with_what_may_be_meant() {
    let place = tempfile::tempdir().unwrap();
    let (out, err, code) = treeferry(place.path(), &["checkout", "--forse-copy"]);
    assert_eq!((out.as_str(), code), ("", Some(1)));
    assert!(
        err.starts_with("error: Unknown option --forse-copy; did you mean --force-copy"),
        "{err}"
    );
    let (_, err, code) = treeferry(place.path(), &["comit"]);
    assert_eq!(code, Some(1));
    assert!(
        err.ends_with("error: Unknown command 'comit'; did you mean 'commit'?\n"),
        "{err}"
    );
    let (_, err, _) = treeferry(place.path(), &["refs"]);
    assert!(err.starts_with("error: which repository?"), "{err}");
}

#[test]
fn what_is_not_there_is_said_with_what_to_do_next() {
    let place = tempfile::tempdir().unwrap();
    let fails = |words: &str| {
        let words: Vec<_> = words.split(' ').collect();
        let (_, err, code) = treeferry(place.path(), &words);
        assert_eq!(code, Some(1), "{words:?}: {err}");
        err.lines().last().unwrap_or_default().to_owned()
    };
    let (_, err, code) = treeferry(place.path(), &["--repo=r", "init"]);
    assert_eq!(code, Some(0), "{err}");
    std::fs::create_dir(place.path().join("tree")).unwrap();
    let commit = ["--repo=r", "commit", "-b", "os/stable", "tree"];
    assert_eq!(treeferry(place.path(), &commit).2, Some(0));
    for (words, told) in [
        ("--repo=r log os/stabel", "'refs' lists the refs"),
        ("--repo=r ls", "error: COMMIT must be specified"),
        ("--repo=r pull nowhere", "'remote add' makes one"),
        (
            "--repo=r push other",
            "'--repo=other init' makes a repository",
        ),
        (
            "--repo=r copy r other",
            "'--repo=other init' makes a repository",
        ),
        ("--repo=r checkout os/stable", "DESTINATION says where"),
        ("--repo=r summary", "--view"),
        ("--repo=r config list", "it is get, set or unset"),
        ("--repo=r config get core.none", "does not set core.none"),
        (
            "--repo=r bundle",
            "error: No \"bundle\" subcommand specified",
        ),
        (
            "admin --sysroot=nowhere status",
            "'admin init-fs PATH' makes one",
        ),
        ("init", "--repo=PATH must be specified"),
    ] {
        let err = fails(words);
        assert!(err.contains(told), "{words}: {err}");
    }
    let delete = ["--repo=r", "refs", "--delete", "none"];
    let (_, err, code) = treeferry(place.path(), &delete);
    assert_eq!(code, Some(0));
    assert!(err.starts_with("nothing to delete"), "{err}");
}

#[test]
fn a_repository_is_found_in_the_working_directory() {
    let place = tempfile::tempdir().unwrap();
    let (_, err, code) = treeferry(
        place.path(),
        &["init", "--repo=repo", "--mode=bare-user-only"],
    );
    assert_eq!(code, Some(0), "{err}");
    let (out, err, code) = treeferry(&place.path().join("repo"), &["config", "get", "core.mode"]);
    assert_eq!((out.as_str(), code), ("bare-user-only\n", Some(0)), "{err}");
    let (_, err, code) = treeferry(place.path(), &["init", "--repo=repo", "--mode=archive"]);
    assert_eq!(code, Some(1), "{err}");
}

#[test]
fn the_demo_shows_identical_trees_and_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    let (sample, temporary) = (place.path().join("sample"), place.path().join("tmp"));
    std::fs::create_dir_all(sample.join("deep/er")).unwrap();
    std::fs::create_dir(&temporary).unwrap();
    for number in 0..100 {
        let directory = ["", "deep", "deep/er"][number % 3];
        let path = sample.join(directory).join(format!("file {number}"));
        std::fs::write(path, format!("{number}").repeat(number * 50)).unwrap();
    }
    let output = Command::new(env!("CARGO_BIN_EXE_treeferry"))
        .args(["demo", sample.to_str().unwrap()])
        .env("TMPDIR", &temporary)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{text}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(text.matches("compare   identical").count(), 2, "{text}");
    assert!(
        text.contains("5 files added, 5 edited, 5 removed"),
        "{text}"
    );
    // The update brings what changed, and no more.
    assert!(text.contains(": 10 files and"), "{text}");
    assert_eq!(std::fs::read_dir(&temporary).unwrap().count(), 0);
}
