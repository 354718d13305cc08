//! Pulls that use deltas.

use std::fs;

use crate::Versions;
use crate::support::add_origin;
use crate::support::nginx::{Manners, Nginx, Request};
use crate::support::run::{ostree, treeferry};

fn parts_of(requests: &[Request]) -> Vec<Request> {
    let is_part = |request: &&Request| {
        let name = request.path.rsplit('/').next().unwrap_or_default();
        request.path.contains("/deltas/") && name.parse::<u32>().is_ok()
    };
    requests.iter().filter(is_part).cloned().collect()
}

fn files_of(requests: &[Request]) -> usize {
    let files = requests.iter();
    files.filter(|r| r.path.ends_with(".filez")).count()
}

#[test]
#[cfg_attr(not(has_nginx), ignore = "needs nginx")]
fn a_delta_is_found_in_every_way_and_brings_all() {
    for way in ["probing", "index", "summary", "indexed summary"] {
        let versions = Versions::new();
        versions.generate(&[]);
        match way {
            "index" => drop(treeferry(&versions.repo, ["static-delta", "reindex"]).success()),
            "summary" => drop(treeferry(&versions.repo, ["summary", "--update"]).success()),
            "indexed summary" => {
                let set = ["config", "set", "core.no-deltas-in-summary", "true"];
                treeferry(&versions.repo, set).success();
                treeferry(&versions.repo, ["summary", "--update"]).success();
            }
            _ => {}
        }
        let nginx = Nginx::start(&versions.repo, Manners::default());
        let repo = versions.with_first("device", "bare-user");
        add_origin(&repo, &nginx.url());
        treeferry(&repo, ["refs", "--create=origin:main", &versions.first]).success();
        let told = treeferry(&repo, ["pull", "origin", "main"]).success().out;
        assert!(told.contains("delta parts, "), "{way}: {told}");
        let requests = nginx.requests();
        assert!(!parts_of(&requests).is_empty(), "{way}: {requests:?}");
        assert_eq!(files_of(&requests), 0, "{way}: {requests:?}");
        versions.assert_has_second(&repo);
    }
}

#[test]
#[cfg_attr(not(has_nginx), ignore = "needs nginx")]
fn what_comes_with_the_superblock_is_counted_once() {
    for options in [&[][..], &["--inline"]] {
        let versions = Versions::new();
        versions.generate(options);
        let nginx = Nginx::start(&versions.repo, Manners::default());
        let repo = versions.with_first("device", "bare-user");
        add_origin(&repo, &nginx.url());
        treeferry(&repo, ["refs", "--create=origin:main", &versions.first]).success();
        let pull = [
            "pull",
            "--json",
            "--require-static-deltas",
            "origin",
            "main",
        ];
        let told = treeferry(&repo, pull).success().out;
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        let told = told["transferred_bytes"].as_u64().unwrap();
        let deltas = nginx.requests().into_iter();
        let deltas = deltas.filter(|request| request.path.contains("/deltas/"));
        let sent: u64 = deltas.map(|request| request.body_bytes).sum();
        // With it come the commit, and what stands beside it.
        assert!(
            (sent..sent + 4096).contains(&told),
            "{options:?}: {told} of {sent}"
        );
    }
}

#[test]
#[cfg_attr(not(has_nginx), ignore = "needs nginx")]
fn a_delta_is_pulled_into_an_archive_and_by_c() {
    let versions = Versions::new();
    versions.generate(&[]);
    treeferry(&versions.repo, ["summary", "--update"]).success();
    let nginx = Nginx::start(&versions.repo, Manners::default());
    let repo = versions.with_first("mirror", "archive");
    add_origin(&repo, &nginx.url());
    let pull = ["pull", "--require-static-deltas", "origin", "main"];
    treeferry(&repo, ["refs", "--create=origin:main", &versions.first]).success();
    treeferry(&repo, pull).success();
    assert_eq!(files_of(&nginx.requests()), 0);
    versions.assert_has_second(&repo);
    if cfg!(has_ostree) {
        let repo = versions.with_first("c", "bare-user");
        add_origin(&repo, &nginx.url());
        treeferry(&repo, ["refs", "--create=origin:main", &versions.first]).success();
        ostree(&repo, pull).success();
        crate::assert_c_has_second(&versions, &repo);
    }
}

#[test]
#[cfg_attr(not(has_nginx), ignore = "needs nginx")]
fn without_a_delta_objects_come_unless_one_is_required() {
    let versions = Versions::new();
    let nginx = Nginx::start(&versions.repo, Manners::default());
    let repo = versions.with_first("device", "bare-user");
    add_origin(&repo, &nginx.url());
    treeferry(&repo, ["refs", "--create=origin:main", &versions.first]).success();
    let required = ["pull", "--require-static-deltas", "origin", "main"];
    treeferry(&repo, required).failure_naming(&["Static deltas required, but none found"]);
    versions.generate(&[]);
    let before = nginx.requests().len();
    let disabled = ["pull", "--disable-static-deltas", "origin", "main"];
    treeferry(&repo, disabled).success();
    let requests = nginx.requests().split_off(before);
    assert!(
        requests.iter().all(|r| !r.path.contains("/delta")),
        "{requests:?}"
    );
    versions.assert_has_second(&repo);
}

#[test]
#[cfg_attr(not(has_nginx), ignore = "needs nginx")]
fn a_damaged_or_missing_part_is_made_up_for_by_objects() {
    for missing in [true, false] {
        let versions = Versions::new();
        versions.generate(&[]);
        for entry in fs::read_dir(versions.directory()).unwrap() {
            let path = entry.unwrap().path();
            if path.ends_with("superblock") {
                continue;
            }
            match missing {
                true => fs::remove_file(&path).unwrap(),
                false => {
                    let mut bytes = fs::read(&path).unwrap();
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 1;
                    fs::write(&path, bytes).unwrap();
                }
            }
        }
        let nginx = Nginx::start(&versions.repo, Manners::default());
        let repo = versions.with_first("device", "bare-user");
        add_origin(&repo, &nginx.url());
        treeferry(&repo, ["refs", "--create=origin:main", &versions.first]).success();
        let required = ["pull", "--require-static-deltas", "origin", "main"];
        treeferry(&repo, required).failure();
        treeferry(&repo, ["pull", "origin", "main"]).success();
        assert!(files_of(&nginx.requests()) > 0);
        versions.assert_has_second(&repo);
    }
}

#[test]
#[cfg_attr(not(has_nginx), ignore = "needs nginx")]
fn an_interrupted_pull_stays_with_the_delta_and_goes_on_inside_of_a_part() {
    let versions = Versions::new();
    versions.generate(&["--level=1"]);
    let slow = Manners {
        location: "limit_rate 100k;",
        ..Manners::default()
    };
    let mut nginx = Nginx::start(&versions.repo, slow);
    let repo = versions.with_first("device", "bare-user");
    add_origin(&repo, &nginx.url());
    treeferry(&repo, ["refs", "--create=origin:main", &versions.first]).success();
    let mut pull = crate::support::run::treeferry_command(&repo, ["pull", "origin", "main"]);
    let mut child = pull.stdout(std::process::Stdio::null()).spawn().unwrap();
    crate::support::wait_for_a_part(&repo);
    child.kill().unwrap();
    child.wait().unwrap();
    nginx.restart(Manners::default());
    let before = nginx.requests().len();
    treeferry(&repo, ["pull", "origin", "main"]).success();
    let requests = nginx.requests().split_off(before);
    assert_eq!(
        files_of(&requests),
        0,
        "it stays with the delta: {requests:?}"
    );
    let parts = parts_of(&requests);
    assert!(
        parts.iter().any(|part| part.status == 206 && part.from > 0),
        "it goes on inside of a part: {parts:?}"
    );
    versions.assert_has_second(&repo);
}

#[test]
#[cfg_attr(not(has_nginx), ignore = "needs nginx")]
fn a_subpath_does_not_bring_the_whole_delta() {
    let versions = Versions::new();
    versions.generate(&[]);
    let nginx = Nginx::start(&versions.repo, Manners::default());
    let repo = versions.with_first("device", "bare-user");
    add_origin(&repo, &nginx.url());
    treeferry(&repo, ["refs", "--create=origin:main", &versions.first]).success();
    treeferry(&repo, ["pull", "--subpath=/new", "origin", "main"]).success();
    let requests = nginx.requests();
    assert!(parts_of(&requests).is_empty(), "{requests:?}");
    assert_eq!(files_of(&requests), 1, "{requests:?}");
}

#[test]
#[cfg_attr(not(has_nginx), ignore = "needs nginx")]
fn a_dry_run_tells_the_sizes_of_the_delta() {
    let versions = Versions::new();
    versions.generate(&[]);
    let nginx = Nginx::start(&versions.repo, Manners::default());
    let repo = versions.with_first("device", "bare-user");
    add_origin(&repo, &nginx.url());
    treeferry(&repo, ["refs", "--create=origin:main", &versions.first]).success();
    let args = [
        "pull",
        "--dry-run",
        "--require-static-deltas",
        "origin",
        "main",
    ];
    let told = treeferry(&repo, args).success().out;
    assert!(told.starts_with("Delta update: 0/"), "{told}");
    assert!(parts_of(&nginx.requests()).is_empty());
}

#[test]
#[cfg_attr(not(has_nginx), ignore = "needs nginx")]
fn unsigned_deltas_are_not_used_where_signed_ones_are_demanded() {
    // The first of RFC 8032's test vectors.
    let sign = "--sign=nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2DXWpgBgrEKt9VL/tPJZAc6DuFy89qmIyWvAhpo9wdRGg==";
    let trust = [
        "--set=sign-verify-deltas=ed25519",
        "--set=verification-ed25519-key=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
    ];
    let versions = Versions::new();
    versions.generate(&[]);
    let nginx = Nginx::start(&versions.repo, Manners::default());
    let required = ["pull", "--require-static-deltas", "origin", "main"];
    let device = |name: &str| {
        let repo = versions.with_first(name, "bare-user");
        let url = nginx.url();
        let add = [
            "remote",
            "add",
            "--no-gpg-verify",
            trust[0],
            trust[1],
            "origin",
            &url,
        ];
        treeferry(&repo, add).success();
        treeferry(&repo, ["refs", "--create=origin:main", &versions.first]).success();
        repo
    };
    let repo = device("unsigned");
    treeferry(&repo, required).failure_naming(&["o signatures found"]);
    let before = nginx.requests().len();
    treeferry(&repo, ["pull", "origin", "main"]).success();
    let requests = nginx.requests().split_off(before);
    assert!(parts_of(&requests).is_empty() && files_of(&requests) > 0);
    versions.assert_has_second(&repo);
    versions.generate(&[sign]);
    let repo = device("signed");
    let before = nginx.requests().len();
    treeferry(&repo, required).success();
    assert_eq!(files_of(&nginx.requests().split_off(before)), 0);
    versions.assert_has_second(&repo);
}
