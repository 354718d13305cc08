//! Pulls that are killed in mid-transfer, and begun again: nothing that came comes twice.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::support::chance::Chance;
use crate::support::nginx::{Manners, Nginx, Request};
use crate::support::run::{treeferry, treeferry_command};
use crate::support::tree::{make_plain, write};
use crate::support::{Place, add_origin, assert_c_fsck, commit_c, objects, rev, staged_objects};

const KILLS: usize = 20;

/// What our command gathers before it writes it down: what a kill may cost of a long file.
const APPEND_BYTES: u64 = 64 * 1024;

/// What can be on its way between the two kernels, counted as sent and never read.
const IN_FLIGHT_BYTES: u64 = 160 * 1024;

/// A short file is held in memory until it is whole.
const SHORT_BYTES_MAX: u64 = 128 * 1024;

/// How many requests are under way at most. What has come and is not stored counts as under way.
const REQUESTS_MAX: usize = 24;

/// Slow enough that a pull takes much longer than the time until it is killed: so many requests
/// a second, and so many bytes a second for each.
const SLOW: Manners<'_> = Manners {
    http: "limit_req_zone $server_port zone=all:1m rate=400r/s;",
    location: "limit_req zone=all burst=5000; limit_rate 250k;",
};

/// What twenty kills cost.
#[derive(Debug, Default)]
struct Cost {
    /// Of long files.
    cut: usize,
    bytes_again: u64,
    bytes_again_max: u64,
    /// Short files that had come whole and were not stored yet.
    short_again: usize,
    bytes_sent: u64,
    bytes_needed: u64,
}

fn make_tree(root: &Path) {
    let mut chance = Chance::new(7);
    make_plain(root, 7);
    for at in 0..2500 {
        let len = chance.among(1..3000) as usize;
        write(root, format!("small/{}/{at}", at % 20), &chance.bytes(len));
    }
    for at in 0..12 {
        let len = chance.among(150_000..600_000) as usize;
        write(root, format!("medium/{at}"), &chance.bytes(len));
    }
    for at in 0..3 {
        write(root, format!("large/{at}"), &chance.bytes(6_000_000 + at));
    }
}

/// The paths below which the objects of a repository are served.
fn served_as(names: Vec<String>) -> impl Iterator<Item = String> {
    let archived = |name: String| match name.strip_suffix(".file") {
        Some(name) => format!("{name}.filez"),
        None => name,
    };
    names
        .into_iter()
        .map(move |name| format!("/objects/{}", archived(name)))
}

/// Pulls until it is killed; `false` if that was before anything was asked for.
fn pull_until_killed(repo: &Path, nginx: &Nginx, after: Duration) -> bool {
    let before = nginx.requests().len();
    let mut child = treeferry_command(repo, ["pull", "origin", "main"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(after);
    assert_eq!(
        child.try_wait().unwrap(),
        None,
        "it ended before it was killed"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    nginx.requests().len() > before
}

fn resumes_after_kills(mode: &str, seed: u64) {
    let place = Place::new();
    let source = place.init_c("source", "archive");
    make_tree(&place.join("tree"));
    commit_c(&source, "main", &place.join("tree"));
    let mut nginx = Nginx::start(&source, SLOW);
    let repo = place.init("pulled", mode);
    add_origin(&repo, &nginx.url());

    let mut chance = Chance::new(seed);
    let mut stored_before: BTreeSet<String> = BTreeSet::new();
    let mut looked_at = 0;
    let (mut kills, mut lost_max) = (0, 0);
    // Rounds in a row in which nothing was asked for: a slow machine is given longer.
    let mut silent = 0_u32;
    while kills < KILLS {
        let after = Duration::from_millis(chance.among(40..600)) * (1 + silent / 4);
        let counts = pull_until_killed(&repo, &nginx, after);
        silent = if counts { 0 } else { silent + 1 };
        kills += usize::from(counts);
        let round = looked_at;
        looked_at = assert_not_asked_again(&nginx, looked_at, &stored_before);
        assert_eq!(
            rev(&repo, "origin:main"),
            None,
            "no ref moves before the end"
        );
        stored_before.extend(served_as(staged_objects(&repo)));
        stored_before.extend(served_as(objects(&repo)));
        let requests = &nginx.requests()[round..looked_at];
        let lost = came_and_was_not_stored(&source, requests, &stored_before);
        assert!(lost <= REQUESTS_MAX, "{lost} objects had come");
        lost_max = lost_max.max(lost);
    }
    nginx.restart(Manners::default());
    treeferry(&repo, ["pull", "origin", "main"]).success();
    assert_not_asked_again(&nginx, looked_at, &stored_before);
    assert_c_fsck(&repo);
    treeferry(&repo, ["fsck"]).success();
    assert_eq!(rev(&repo, "origin:main"), rev(&source, "main"));
    assert_eq!(staged_objects(&repo), Vec::<String>::new());

    let cost = cost(&source, &nginx.requests());
    println!("{mode}, seed {seed}, {kills} kills, at most {lost_max} lost: {cost:?}");
    assert!(cost.short_again <= KILLS * lost_max, "{cost:?}");
    assert!(
        cost.cut >= KILLS / 2,
        "too few long files were cut: {cost:?}"
    );
}

/// Asserts that what was stored is not asked for; returns how far the log was looked at.
fn assert_not_asked_again(nginx: &Nginx, from: usize, stored: &BTreeSet<String>) -> usize {
    let requests = nginx.requests();
    for request in &requests[from..] {
        assert!(
            !stored.contains(&request.path),
            "stored already: {request:?}"
        );
    }
    requests.len()
}

/// Counts the short objects that were sent whole before a kill, and were not stored yet.
fn came_and_was_not_stored(
    source: &Path,
    requests: &[Request],
    stored: &BTreeSet<String>,
) -> usize {
    let is_whole = |request: &&Request| {
        let len = fs::metadata(source.join(&request.path[1..])).map_or(0, |meta| meta.len());
        request.status == 200 && request.body_bytes == len && len <= SHORT_BYTES_MAX
    };
    let objects = requests.iter().filter(|r| r.path.starts_with("/objects/"));
    let whole = objects.filter(is_whole);
    let detached = |path: &str| path.ends_with(".commitmeta");
    whole
        .filter(|request| !stored.contains(&request.path) && !detached(&request.path))
        .count()
}

/// Adds up what was sent more than once, and asserts that it is no more than it may be.
fn cost(source: &Path, requests: &[Request]) -> Cost {
    let mut of_path: BTreeMap<&str, Vec<&Request>> = BTreeMap::new();
    for request in requests.iter().filter(|r| r.path.starts_with("/objects/")) {
        of_path.entry(&request.path).or_default().push(request);
    }
    let mut cost = Cost::default();
    for (path, requests) in of_path {
        let len = fs::metadata(source.join(&path[1..])).map_or(0, |meta| meta.len());
        let sent: u64 = requests.iter().map(|request| request.body_bytes).sum();
        cost.bytes_needed += len;
        cost.bytes_sent += sent;
        if len <= SHORT_BYTES_MAX {
            let whole = requests
                .iter()
                .filter(|r| r.status == 200 && r.body_bytes == len);
            cost.short_again += whole.count().saturating_sub(1);
            continue;
        }
        let again = sent.saturating_sub(len);
        let cuts = requests.len() - 1;
        let allowed = cuts as u64 * (APPEND_BYTES + IN_FLIGHT_BYTES);
        assert!(
            again <= allowed,
            "{path}, cut {cuts} times: {again} bytes came again"
        );
        cost.cut += cuts;
        cost.bytes_again += again;
        for two in requests.windows(2) {
            let (end, next) = (two[0].from + two[0].body_bytes, two[1].from);
            cost.bytes_again_max = cost.bytes_again_max.max(end.saturating_sub(next));
        }
    }
    cost
}

#[test]
#[cfg_attr(not(all(has_nginx, has_ostree)), ignore = "needs nginx and ostree")]
fn an_archive_that_is_killed_twenty_times_gets_nothing_twice() {
    resumes_after_kills("archive", 1);
}

#[test]
#[cfg_attr(not(all(has_nginx, has_ostree)), ignore = "needs nginx and ostree")]
fn a_bare_repository_that_is_killed_twenty_times_gets_nothing_twice() {
    resumes_after_kills("bare", 2);
}
