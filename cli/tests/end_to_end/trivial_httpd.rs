//! The web server of OSTree's tests: it serves both clients, misbehaves as it was told to, and goes
//! when its directory goes.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::run::{Ran, ostree, treeferry};
use crate::support::tree::write;
use crate::support::{Place, assert_c_fsck, rev};

/// How long something may take that takes an instant.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server in the background, of a directory that holds a link to a repository.
struct Server {
    directory: PathBuf,
    log: PathBuf,
    url: String,
}

impl Server {
    fn start(place: &Place, repo: &Path, options: &[&str]) -> Self {
        let directory = place.join("served");
        fs::create_dir(&directory).unwrap();
        symlink(repo, directory.join("repo")).unwrap();
        let (log, port) = (place.join("httpd.log"), place.join("port"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_treeferry"));
        command
            .arg0("ostree")
            .args(["trivial-httpd", "--autoexit", "--daemonize", "--log-file"])
            .args([&log, Path::new("-p"), &port])
            .args(options)
            .current_dir(&directory);
        let printed = Ran::of(&mut command).success();
        assert_eq!((printed.out, printed.err), (String::new(), String::new()));
        let port = fs::read_to_string(port).unwrap();
        let url = format!("http://127.0.0.1:{}/repo", port.trim());
        Self {
            directory,
            log,
            url,
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Deletes the directory, and waits for the server to notice.
    fn end(self) {
        fs::remove_dir_all(&self.directory).unwrap();
        let started = Instant::now();
        while !self.log().contains("root directory removed, exiting") {
            assert!(started.elapsed() < PATIENCE, "{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn source(place: &Place) -> PathBuf {
    let repo = place.init("source", "archive");
    for number in 0..40 {
        let content = format!("{number} ").repeat(2000);
        write(
            &place.join("tree"),
            format!("file-{number}"),
            content.as_bytes(),
        );
    }
    let tree = format!("--tree=dir={}", place.join("tree").display());
    treeferry(&repo, ["commit", "-b", "main", &tree]).success();
    repo
}

/// Adds the server as a remote to a new repository, and pulls from it.
fn pull(place: &Place, name: &str, server: &Server, run: Run) -> (PathBuf, Ran) {
    let repo = place.init(name, "archive");
    let add = ["remote", "add", "--no-gpg-verify", "origin", &server.url];
    treeferry(&repo, add).success();
    let ran = run(&repo, &["pull", "origin", "main"]);
    (repo, ran)
}

/// One of the two commands.
type Run = fn(&Path, &[&str]) -> Ran;

const CLIENTS: [(&str, Run); 2] = [
    ("ours", |repo, args| treeferry(repo, args)),
    ("theirs", |repo, args| ostree(repo, args)),
];

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn both_clients_pull_through_halves_and_errors() {
    for (at, options) in [
        &[][..],
        &["--force-range-requests"],
        &["--random-500s=10", "--random-500s-max=30"],
        &["--random-408s=10", "--random-408s-max=30"],
    ]
    .iter()
    .enumerate()
    {
        let place = Place::new();
        let repo = source(&place);
        let server = Server::start(&place, &repo, options);
        for (name, run) in CLIENTS {
            let (client, ran) = pull(&place, name, &server, run);
            // A broken transfer C takes for an error, and starts it again when it is called again.
            if at == 1 && name == "theirs" {
                assert!(!ran.ok());
                continue;
            }
            ran.success();
            assert_eq!(rev(&client, "origin:main"), rev(&repo, "main"));
            assert_c_fsck(&client);
        }
        let log = server.log();
        let had = |status: &str| log.contains(&format!("  status: {status}"));
        assert_eq!(
            (had("500"), had("408"), had("206")),
            (at == 2, at == 3, at == 1),
            "{log}"
        );
        server.end();
    }
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn what_is_expected_of_requests_is_demanded() {
    for (options, wrong, right) in [
        (
            &["--expected-header=x-key=open"][..],
            "--http-header=x-key=guessed",
            "--http-header=x-key=open",
        ),
        (&["--expected-cookies=key=open"], "", "cookie"),
        (&["--require-basic-auth"], "", "user"),
    ] {
        let place = Place::new();
        let repo = source(&place);
        let server = Server::start(&place, &repo, options);
        let client = place.init("client", "archive");
        let with_user = server.url.replace("://", "://foouser:barpw@");
        let url = if right == "user" {
            &with_user
        } else {
            &server.url
        };
        for (remote, url) in [("right", url), ("wrong", &server.url)] {
            treeferry(&client, ["remote", "add", "--no-gpg-verify", remote, url]).success();
        }
        if right == "cookie" {
            let add = [
                "remote",
                "add-cookie",
                "right",
                "127.0.0.1",
                "/",
                "key",
                "open",
            ];
            treeferry(&client, add).success();
        }
        let ask = |run: Run, remote, option: &str| {
            let mut args = vec!["pull", remote, "main"];
            args.extend(option.starts_with("--").then_some(option));
            run(&client, &args)
        };
        for (_, run) in CLIENTS {
            assert!(!ask(run, "wrong", wrong).ok());
            ask(run, "right", right).success();
        }
        assert!(server.log().contains("  status: 40"), "{}", server.log());
        server.end();
    }
}

#[test]
fn what_cannot_be_served_is_told_to_whoever_started_it() {
    let place = Place::new();
    let ostree = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_treeferry"));
        Ran::of(command.arg0("ostree").arg("trivial-httpd").args(args))
    };
    let nowhere = place.join("nowhere").display().to_string();
    ostree(&["-d", &nowhere]).failure_naming(&["nowhere"]);
    let log = place.join("log");
    fs::write(&log, "of another").unwrap();
    let taken = format!("--log-file={}", log.display());
    let here = place.join("").display().to_string();
    ostree(&["-d", &taken, &here]).failure_naming(&["log"]);
    ostree(&["--random-500s=100", &here]).failure_naming(&["--random-500s=100"]);
    assert!(!ostree(&["-d", "--log-file=-", &here]).ok());
}

#[test]
fn directories_are_listed_and_what_others_may_not_read_is_refused() {
    let place = Place::new();
    let repo = source(&place);
    let server = Server::start(&place, &repo, &[]);
    let port = server.url.rsplit_once(':').unwrap().1.replace("/repo", "");
    let get = |path: &str| {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    write(&server.directory, "a <b>", b"x");
    write(&server.directory, "index/index.html", b"the index");
    write(&server.directory, "secret", b"x");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(server.directory.join("secret"), mode).unwrap();
    for (path, status, text) in [
        ("/", "200", "<a href=\"a &lt;b&gt;\">"),
        ("/index/", "200", "the index"),
        ("/index", "301", "location: /index/"),
        ("/secret", "403", ""),
        ("/repo/config", "200", "mode=archive-z2"),
        ("/../served/secret", "404", ""),
        ("/%2e%2e/httpd.log", "404", ""),
    ] {
        let answer = get(path);
        let of = format!("{path}: {answer}");
        assert_eq!(answer.split(' ').nth(1), Some(status), "{of}");
        assert!(answer.contains(text), "{of}");
    }
    server.end();
}
