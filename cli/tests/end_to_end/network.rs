//! Servers that fail, stall, go away, ask for patience, or are not there.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::support::nginx::{Manners, Nginx};
use crate::support::raw_server::{Answer, RawServer};
use crate::support::run::{treeferry, treeferry_command};
use crate::support::tree::{make_plain, write};
use crate::support::{
    Place, add_origin, commit, object_of, objects, staged_objects, wait_for_a_part, wait_until,
};

/// A server's repository, and one that is to pull from it.
struct Two {
    place: Place,
    source: PathBuf,
    repo: PathBuf,
    commit: String,
}

impl Two {
    fn new(make: impl FnOnce(&Path)) -> Self {
        let place = Place::new();
        let source = place.init_unsynced("source", "archive");
        make(&place.join("tree"));
        let commit = commit(&source, "main", &place.join("tree"));
        let repo = place.init("pulled", "bare-user");
        Self {
            place,
            source,
            repo,
            commit,
        }
    }

    fn small() -> Self {
        Self::new(|tree| write(tree, "file", &[7; 5000]))
    }

    #[track_caller]
    fn assert_arrived(&self) {
        let found = treeferry(&self.repo, ["rev-parse", "origin:main"]).success();
        assert_eq!(found.trim(), self.commit);
        treeferry(&self.repo, ["fsck"]).success();
    }

    /// Asserts that nothing of a pull that failed is visible.
    #[track_caller]
    fn assert_nothing_visible(&self) {
        assert_eq!(objects(&self.repo), Vec::<String>::new());
        treeferry(&self.repo, ["rev-parse", "origin:main"]).failure();
        treeferry(&self.repo, ["fsck"]).success();
    }

    /// The path under which the only file is served.
    fn file_path(&self) -> String {
        let file = object_of(&self.source, ".filez");
        let path = file.strip_prefix(&self.source).unwrap();
        format!("/{}", path.display())
    }

    /// Starts a pull that goes on by itself.
    fn pulling(&self) -> Child {
        treeferry_command(&self.repo, ["pull", "origin", "main"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    }
}

#[test]
fn a_server_that_fails_now_and_then_is_asked_again() {
    let two = Two::new(|tree| make_plain(tree, 3));
    let server = RawServer::start(&two.source, |path, before| {
        let kind = path.bytes().map(usize::from).sum::<usize>() % 9;
        match (kind, before) {
            (0, 0 | 1) => Answer::Status("500 Internal Server Error", &[]),
            (1, 0) if path.ends_with(".filez") => Answer::HalfThenClose,
            (2, 0) => Answer::Status("503 Service Unavailable", &["Retry-After: 0"]),
            _ => Answer::File,
        }
    });
    add_origin(&two.repo, server.url());
    treeferry(&two.repo, ["pull", "origin", "main"]).success();
    two.assert_arrived();
}

#[test]
fn a_server_that_always_fails_is_named_after_some_tries() {
    let two = Two::small();
    let path = two.file_path();
    let failing = path.clone();
    let server = RawServer::start(&two.source, move |path, _| {
        if path == failing {
            return Answer::Status("502 Bad Gateway", &[]);
        }
        Answer::File
    });
    add_origin(&two.repo, server.url());
    let args = ["pull", "--network-retries=2", "origin", "main"];
    treeferry(&two.repo, args).failure_naming(&[&path, "502", "3 tries"]);
    let asked = server.requests();
    assert_eq!(asked.iter().filter(|(_, asked)| *asked == path).count(), 3);
    two.assert_nothing_visible();
}

#[test]
fn retry_after_is_waited_for() {
    let two = Two::small();
    let path = two.file_path();
    let busy = path.clone();
    let server = RawServer::start(&two.source, move |path, before| {
        if path == busy && before == 0 {
            return Answer::Status("503 Service Unavailable", &["Retry-After: 2"]);
        }
        Answer::File
    });
    add_origin(&two.repo, server.url());
    treeferry(&two.repo, ["pull", "origin", "main"]).success();
    two.assert_arrived();
    let asked = server.requests();
    let mut times = asked.iter().filter(|(_, asked)| *asked == path);
    let (first, second) = (times.next().unwrap().0, times.next().unwrap().0);
    assert!(
        second - first >= Duration::from_secs(2),
        "{:?}",
        second - first
    );
}

/// Pulls from a server that sends no more, and returns how long that took.
fn gives_up_on(answer: Answer) -> Duration {
    let two = Two::new(|tree| {
        write(
            tree,
            "file",
            &crate::support::chance::Chance::new(1).bytes(500_000),
        )
    });
    let path = two.file_path();
    let stalling = path.clone();
    let server = RawServer::start(&two.source, move |path, _| {
        if path == stalling {
            return answer.clone();
        }
        Answer::File
    });
    add_origin(&two.repo, server.url());
    let started = Instant::now();
    let limits = [
        "pull",
        "--low-speed-time-seconds=5",
        "--disable-retry-on-network-errors",
        "origin",
        "main",
    ];
    treeferry(&two.repo, limits).failure_naming(&[server.url(), &path]);
    two.assert_nothing_visible();
    started.elapsed()
}

#[test]
fn a_transfer_that_stalls_is_given_up() {
    let took = gives_up_on(Answer::HalfThenHang);
    assert!(took < Duration::from_secs(120), "{took:?}");
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let took = gives_up_on(Answer::Hang);
    assert!(took < Duration::from_secs(120), "{took:?}");
}

#[test]
fn a_host_that_is_not_there_is_named() {
    let two = Two::small();
    // A port that was free a moment ago.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/repo/", listener.local_addr().unwrap());
    drop(listener);
    add_origin(&two.repo, &url);
    let args = [
        "pull",
        "--disable-retry-on-network-errors",
        "origin",
        "main",
    ];
    treeferry(&two.repo, args).failure_naming(&[&url, "refused"]);
    two.assert_nothing_visible();

    add_origin_called(&two.repo, "unknown", "http://no-such-host.invalid/repo/");
    let args = [
        "pull",
        "--disable-retry-on-network-errors",
        "unknown",
        "main",
    ];
    treeferry(&two.repo, args).failure_naming(&["no-such-host.invalid"]);
}

/// An address as errors give it, which is without the last slash.
fn host(url: &str) -> &str {
    url.trim_end_matches('/')
}

fn add_origin_called(repo: &Path, name: &str, url: &str) {
    treeferry(repo, ["remote", "add", "--no-gpg-verify", name, url]).success();
}

#[test]
fn an_address_without_a_repository_is_named() {
    let two = Two::small();
    let server = RawServer::start(&two.place.join("nothing"), |_, _| Answer::File);
    add_origin(&two.repo, server.url());
    let args = ["pull", "origin", "main"];
    treeferry(&two.repo, args).failure_naming(&[host(server.url()), "no repository"]);
    two.assert_nothing_visible();
}

#[test]
fn a_branch_that_is_not_there_is_named() {
    let two = Two::small();
    let server = RawServer::start(&two.source, |_, _| Answer::File);
    add_origin(&two.repo, server.url());
    let args = ["pull", "origin", "no/such"];
    treeferry(&two.repo, args).failure_naming(&[host(server.url()), "no/such"]);
    two.assert_nothing_visible();
}

#[test]
fn an_object_that_is_not_there_is_named_and_taken_later() {
    let two = Two::small();
    let path = two.file_path();
    let object = two.source.join(&path[1..]);
    let aside = two.place.join("aside");
    std::fs::rename(&object, &aside).unwrap();
    let server = RawServer::start(&two.source, |_, _| Answer::File);
    add_origin(&two.repo, server.url());
    let checksum: String = path["/objects/".len()..]
        .replace('/', "")
        .replace(".filez", "");
    treeferry(&two.repo, ["pull", "origin", "main"])
        .failure_naming(&[&checksum, host(server.url())]);
    two.assert_nothing_visible();
    std::fs::rename(&aside, &object).unwrap();
    treeferry(&two.repo, ["pull", "origin", "main"]).success();
    two.assert_arrived();
}

/// So slow that the server can be stopped in between.
const SLOW: Manners<'_> = Manners {
    http: "",
    location: "limit_rate 100k;",
};

#[test]
#[cfg_attr(not(has_nginx), ignore = "needs nginx")]
fn a_pull_outlives_a_restart_of_its_server() {
    let two = Two::new(|tree| make_plain(tree, 4));
    let mut nginx = Nginx::start(&two.source, SLOW);
    add_origin(&two.repo, &nginx.url());
    let mut pulling = two.pulling();
    wait_for_a_part(&two.repo);
    assert_eq!(pulling.try_wait().unwrap(), None, "it ended too early");
    nginx.stop();
    std::thread::sleep(Duration::from_millis(500));
    nginx.restart(Manners::default());
    assert!(pulling.wait().unwrap().success());
    two.assert_arrived();
    let continued = nginx
        .requests()
        .into_iter()
        .filter(|request| request.from > 0);
    assert!(
        continued.count() > 0,
        "it did not continue in the middle of a file"
    );
}

#[test]
#[cfg_attr(not(has_nginx), ignore = "needs nginx")]
fn a_pull_whose_server_went_away_is_taken_up_later() {
    let two = Two::new(|tree| make_plain(tree, 5));
    let mut nginx = Nginx::start(&two.source, SLOW);
    add_origin(&two.repo, &nginx.url());
    let mut pulling = treeferry_command(
        &two.repo,
        [
            "pull",
            "--disable-retry-on-network-errors",
            "origin",
            "main",
        ],
    )
    .stdin(Stdio::null())
    .stdout(Stdio::null())
    .stderr(Stdio::null())
    .spawn()
    .unwrap();
    wait_until(|| staged_objects(&two.repo).len() > 50);
    assert_eq!(pulling.try_wait().unwrap(), None, "it ended too early");
    nginx.stop();
    assert_eq!(pulling.wait().unwrap().code(), Some(1));
    two.assert_nothing_visible();
    let stored = staged_objects(&two.repo);
    assert!(stored.len() > 50, "{}", stored.len());

    nginx.restart(Manners::default());
    let before = nginx.requests().len();
    treeferry(&two.repo, ["pull", "origin", "main"]).success();
    two.assert_arrived();
    for request in &nginx.requests()[before..] {
        let stored = stored.iter().map(|name| name.replace(".file", ".filez"));
        let again = stored.into_iter().find(|name| request.path.ends_with(name));
        assert_eq!(again, None, "was stored already");
    }
}
