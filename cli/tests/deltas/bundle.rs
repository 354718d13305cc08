//! Bundles: made, shown, verified, applied.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Versions;
use crate::support::chance::Chance;
use crate::support::run::{Peak, ostree, treeferry, treeferry_command};
use crate::support::tree::write;
use crate::support::{Place, objects};

/// A pair of keys as the command takes them: base64 of seed and public key, and of that alone.
/// They are the first of RFC 8032's test vectors.
const SECRET: &str =
    "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2DXWpgBgrEKt9VL/tPJZAc6DuFy89qmIyWvAhpo9wdRGg==";
const PUBLIC: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
const OTHER: &str = "PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=";

fn create(versions: &Versions, name: &str, options: &[&str]) -> PathBuf {
    let path = versions.place.join(name);
    let output = format!("--output={}", path.display());
    let sign = format!("--sign={SECRET}");
    let mut args = vec!["bundle", "create", "main", &output, &sign];
    args.extend(options);
    treeferry(&versions.repo, args).success();
    path
}

fn apply(repo: &Path, bundle: &Path, more: &[&str]) -> crate::support::run::Ran {
    let mut args = vec!["bundle", "apply", bundle.to_str().unwrap()];
    args.extend(more);
    treeferry(repo, args)
}

#[test]
fn a_bundle_brings_a_commit_and_its_ref() {
    let versions = Versions::new();
    let full = create(&versions, "full", &["--target=device 7"]);
    let from = format!("--from={}", versions.first);
    let update = create(&versions, "update", &[&from]);
    assert!(fs::metadata(&update).unwrap().len() < fs::metadata(&full).unwrap().len());

    let show = ["bundle", "show", full.to_str().unwrap(), PUBLIC];
    let shown = treeferry(&versions.repo, show).success().out;
    for line in [
        "Refs: main",
        "Target: device 7",
        "Needs: nothing",
        "Verified: yes",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let show = ["bundle", "show", "--json", update.to_str().unwrap(), OTHER];
    let shown = treeferry(&versions.repo, show).success().out;
    assert!(
        shown.contains("\"verified\":false") && shown.contains(&versions.first),
        "{shown}"
    );

    for (number, mode) in ["bare-user", "archive"].into_iter().enumerate() {
        let repo = versions
            .place
            .init_unsynced(&format!("device{number}"), mode);
        apply(&repo, &update, &[PUBLIC]).failure_naming(&["delta source"]);
        apply(&repo, &full, &[PUBLIC]).success();
        versions.assert_has_second(&repo);
        let held = treeferry(&repo, ["rev-parse", "main"]).success().trim();
        assert_eq!(held, versions.second);
    }
    let repo = versions.with_first("device", "bare-user");
    apply(&repo, &update, &[PUBLIC]).success();
    versions.assert_has_second(&repo);
}

#[test]
fn nothing_is_written_before_the_signature_verifies() {
    let versions = Versions::new();
    let bundle = create(&versions, "bundle", &[]);
    let repo = versions.place.init_unsynced("device", "bare-user");
    apply(&repo, &bundle, &[OTHER]).failure_naming(&["nothing was changed"]);
    apply(&repo, &bundle, &[]).failure();
    let mut bytes = fs::read(&bundle).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    let damaged = versions.place.join("damaged");
    fs::write(&damaged, bytes).unwrap();
    apply(&repo, &damaged, &[PUBLIC]).failure();
    assert_eq!(objects(&repo), Vec::<String>::new());
    assert_eq!(treeferry(&repo, ["refs"]).success().out, "");
}

#[test]
fn a_bundle_comes_through_a_pipe_of_limited_length() {
    let versions = Versions::new();
    let bundle = create(&versions, "bundle", &[]);
    for (limit, goes) in [("--max-size=100", true), ("--max-size=0", false)] {
        let name = limit.trim_start_matches('-').replace('=', "-");
        let repo = versions.place.init_unsynced(&name, "bare-user");
        let mut cat = Command::new("cat")
            .arg(&bundle)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let args = ["bundle", "apply", limit, "-", PUBLIC];
        let status = treeferry_command(&repo, args)
            .stdin(cat.stdout.take().unwrap())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        cat.wait().unwrap();
        assert_eq!(status.unwrap().success(), goes, "{limit}");
        if goes {
            versions.assert_has_second(&repo);
        }
    }
}

#[test]
fn an_older_bundle_is_refused() {
    let versions = Versions::new();
    // Each commit has its own second.
    let tree = versions.place.join("tree");
    let tree = format!("--tree=dir={}", tree.display());
    let args = ["commit", "--branch=main", "--timestamp=@4000000000", &tree];
    treeferry(&versions.repo, args).success();
    let newer = create(&versions, "newer", &[]);
    treeferry(&versions.repo, ["reset", "main", &versions.second]).success();
    let older = create(&versions, "older", &[]);
    let repo = versions.place.init_unsynced("device", "bare-user");
    apply(&repo, &newer, &[PUBLIC]).success();
    apply(&repo, &older, &[PUBLIC]).failure_naming(&["older"]);
    apply(&repo, &older, &["--allow-older", PUBLIC]).success();
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs the C ostree")]
fn c_takes_a_bundle_as_the_delta_that_it_is() {
    let versions = Versions::new();
    let path = versions.place.join("bundle");
    let output = format!("--output={}", path.display());
    treeferry(&versions.repo, ["bundle", "create", "main", &output]).success();
    let mode = if cfg!(is_root) { "bare" } else { "bare-user" };
    let repo = versions.place.init_c("c", mode);
    let path = path.to_str().unwrap();
    ostree(&repo, ["static-delta", "apply-offline", path]).success();
    crate::assert_c_has_second(&versions, &repo);
}

/// What it takes to verify, and to apply, a bundle of any length: less than this one has, and little more
/// than a decoder.
const PEAKS_KIB_MAX: [(&str, u64); 2] = [("show", 40 * 1024), ("apply", 80 * 1024)];

#[test]
#[cfg_attr(not(has_time), ignore = "needs /usr/bin/time")]
fn a_long_signed_bundle_is_verified_and_applied_in_bounded_memory() {
    let place = Place::new();
    let repo = place.init_unsynced("source", "archive");
    for number in 0..5 {
        let noise = Chance::new(number + 1).bytes(10_000_000);
        write(&place.join("tree"), format!("file{number}"), &noise);
    }
    let tree = format!("--tree=dir={}", place.join("tree").display());
    treeferry(&repo, ["commit", "-b", "main", &tree]).success();
    let bundle = place.join("bundle");
    let output = format!("--output={}", bundle.display());
    let sign = format!("--sign={SECRET}");
    let create = ["bundle", "create", "main", &output, &sign, "--level=1"];
    treeferry(&repo, create).success();
    assert!(fs::metadata(&bundle).unwrap().len() > 49_000_000);
    let device = place.init_unsynced("device", "archive");
    let path = bundle.to_str().unwrap();
    let mut by_hand = vec!["bundle", "show", path, PUBLIC];
    for (verb, most) in PEAKS_KIB_MAX {
        by_hand[1] = verb;
        let (ran, peak) = Peak::treeferry(&device, by_hand.clone());
        ran.success();
        let peak = peak.expect("the test is ignored where it cannot be told");
        println!("{verb}: {:.1} MiB", peak.kib as f64 / 1024.0);
        assert!(peak.kib < most, "{verb}: {peak:?}");
    }
    assert_eq!(
        crate::support::rev(&device, "main"),
        crate::support::rev(&repo, "main")
    );
    // One bit in the middle of its megabytes.
    let mut bytes = fs::read(&bundle).unwrap();
    bytes[25_000_000] ^= 1;
    fs::write(&bundle, bytes).unwrap();
    let other = place.init_unsynced("other", "archive");
    apply(&other, &bundle, &[PUBLIC]).failure_naming(&["couldn't be verified"]);
    assert_eq!(objects(&other), Vec::<String>::new());
}
