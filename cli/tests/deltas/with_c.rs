//! What one command makes the other applies.

use std::fs;

use treeferry_core::format::delta::DeltaIndex;

use crate::support::run::{ostree, treeferry};
use crate::{Versions, assert_c_has_second};

/// Each way to make a delta that C takes in one piece.
const WAYS: [&[&str]; 6] = [
    &[],
    &["--inline"],
    &["--disable-bsdiff"],
    &["--swap-endianness"],
    &["--max-chunk-size=1", "--memory=40"],
    &["--level=9"],
];

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs the C ostree")]
fn c_applies_what_we_make() {
    let versions = Versions::new();
    for (number, way) in WAYS.iter().enumerate() {
        versions.generate(way);
        let mode = if cfg!(is_root) { "bare" } else { "bare-user" };
        let repo = versions.with_first(&format!("c{number}"), mode);
        let delta = versions.directory();
        let path = match way.contains(&"--inline") {
            true => delta.join("superblock"),
            false => delta,
        };
        let path = path.to_str().unwrap();
        ostree(&repo, ["static-delta", "apply-offline", path]).success();
        assert_c_has_second(&versions, &repo);
    }
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs the C ostree")]
fn c_applies_what_we_make_from_nothing() {
    let versions = Versions::new();
    let file = versions.place.join("from-nothing");
    let filename = format!("--filename={}", file.display());
    versions.generate(&["--empty", "--inline", "--min-fallback-size=0", &filename]);
    let mode = if cfg!(is_root) { "bare" } else { "bare-user" };
    let repo = versions.place.init_c("c", mode);
    let path = file.to_str().unwrap();
    ostree(&repo, ["static-delta", "apply-offline", path]).success();
    assert_c_has_second(&versions, &repo);
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs the C ostree")]
fn we_apply_what_c_makes_into_every_kind_of_repository() {
    let versions = Versions::new();
    let ways: [&[&str]; 5] = [
        &[],
        &["--inline"],
        &["--disable-bsdiff"],
        &["--swap-endianness"],
        &["--max-chunk-size=1"],
    ];
    let modes = ["bare-user", "archive", "sqlite"];
    for (number, way) in ways.iter().enumerate() {
        let mut args = vec!["static-delta", "generate", "main"];
        args.extend(*way);
        ostree(&versions.repo, args).success();
        let mode = modes[number % modes.len()];
        let repo = match mode {
            "sqlite" => {
                let place = format!("sqlite:{}", versions.place.join("db").display());
                let repo = std::path::PathBuf::from(place);
                treeferry(&repo, ["init"]).success();
                let source = versions.repo.to_str().unwrap();
                treeferry(&repo, ["pull", source, &versions.first]).success();
                repo
            }
            mode => versions.with_first(&format!("ours{number}"), mode),
        };
        let delta = versions.directory();
        let path = delta.to_str().unwrap();
        treeferry(&repo, ["static-delta", "apply-offline", path]).success();
        versions.assert_has_second(&repo);
    }
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs the C ostree")]
fn both_say_the_same_of_a_delta() {
    let versions = Versions::new();
    let name = versions.name();
    for by_c in [true, false] {
        match by_c {
            true => drop(ostree(&versions.repo, ["static-delta", "generate", "main"]).success()),
            false => versions.generate(&[]),
        }
        let args = ["static-delta", "show", &name];
        let ours = treeferry(&versions.repo, args).success().out;
        let theirs = ostree(&versions.repo, args).success().out;
        assert_eq!(ours, theirs, "made by C: {by_c}");
    }
    let list = ["static-delta", "list"];
    let ours = treeferry(&versions.repo, list).success().out;
    assert_eq!(ours, ostree(&versions.repo, list).success().out);
    assert_eq!(ours.trim(), name);
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs the C ostree")]
fn indexes_are_those_of_c() {
    let versions = Versions::new();
    versions.generate(&[]);
    versions.generate(&["--empty"]);
    let index = |args: &[&str]| {
        treeferry(&versions.repo, ["static-delta", "indexes"]).success();
        let to: treeferry_core::format::Checksum = versions.second.parse().unwrap();
        let path = treeferry_core::format::delta::DeltaFile::Index(to).path();
        let _ = fs::remove_file(versions.repo.join(&path));
        match args {
            ["c"] => ostree(&versions.repo, ["static-delta", "reindex"]).success(),
            _ => treeferry(&versions.repo, ["static-delta", "reindex"]).success(),
        };
        let bytes = fs::read(versions.repo.join(&path)).unwrap();
        let mut deltas = DeltaIndex::parse(&bytes).unwrap().deltas;
        // C lists them in the order of its directory.
        deltas.sort_by_key(|(name, _)| name.to_string());
        (bytes.len(), deltas)
    };
    assert_eq!(index(&["ours"]), index(&["c"]));
    let list = ["static-delta", "indexes"];
    let ours = treeferry(&versions.repo, list).success().out;
    assert_eq!(ours, ostree(&versions.repo, list).success().out);
    treeferry(&versions.repo, ["static-delta", "delete", &versions.name()]).success();
    let again = treeferry(&versions.repo, ["static-delta", "delete", &versions.name()]);
    again.failure_naming(&["Can't find delta"]);
    assert!(!versions.directory().exists());
    // The summary lists what is left, for both.
    treeferry(&versions.repo, ["summary", "--update"]).success();
    let summary = fs::read(versions.repo.join("summary")).unwrap();
    let found = |text: &str| summary.windows(text.len()).any(|w| w == text.as_bytes());
    assert!(found(&versions.second) && found("ostree.static-deltas"));
    assert!(!found(&versions.name()));
}
