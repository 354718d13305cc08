//! What stands between a configured remote and its files: lists of mirrors, metalinks, cookies,
//! headers, passwords, proxies.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::nginx::{Manners, Nginx};
use support::run::{Ran, ostree, treeferry, treeferry_command};
use support::{Place, assert_c_fsck, commit, rev, tree};

/// An archive with one commit on `main`, below a directory that is served.
fn served(place: &Place) -> (PathBuf, String) {
    fs::create_dir(place.join("www")).unwrap();
    let repo = place.init_unsynced("www/repo", "archive");
    tree::make_plain(&place.join("tree"), 11);
    let commit = commit(&repo, "main", &place.join("tree"));
    treeferry(&repo, ["summary", "-u"]).success();
    (repo, commit)
}

/// Makes an empty repository with a remote of these options and this address.
fn client(place: &Place, name: &str, options: &[&str], url: &str) -> PathBuf {
    let repo = place.init_unsynced(name, "bare-user");
    let add = ["remote", "add", "--no-gpg-verify"];
    let args = add.iter().chain(options).copied();
    treeferry(&repo, args.chain(["origin", url])).success();
    repo
}

#[track_caller]
fn pulls(repo: &Path, commit: &str) {
    treeferry(repo, ["pull", "origin", "main"]).success();
    assert_eq!(rev(repo, "origin:main").as_deref(), Some(commit));
    assert_c_fsck(repo);
}

/// Copies a repository to be served as a mirror.
fn mirror(repo: &Path, name: &str) -> PathBuf {
    let to = repo.with_file_name(name);
    let copied = Command::new("cp").arg("-a").arg(repo).arg(&to).status();
    assert!(copied.unwrap().success());
    to
}

#[test]
#[cfg_attr(not(all(has_ostree, has_nginx)), ignore = "needs ostree and nginx")]
fn a_list_of_mirrors_gives_what_any_of_them_has() {
    let place = Place::new();
    let (repo, commit) = served(&place);
    let (first, second) = (mirror(&repo, "one"), mirror(&repo, "two"));
    let files: Vec<_> = support::objects(&first);
    let files: Vec<_> = files
        .iter()
        .filter(|name| name.ends_with(".filez"))
        .collect();
    fs::remove_file(first.join("objects").join(files[0])).unwrap();
    fs::remove_file(second.join("objects").join(files[1])).unwrap();
    // Half a file is what it would be without the others.
    fs::write(first.join("objects").join(files[2]), b"broken").unwrap();
    let nginx = Nginx::start(&place.join("www"), Manners::default());
    let url = nginx.url();
    let dead = "http://127.0.0.1:1/repo";
    let list = format!("# mirrors\n\n{url}nowhere\nrsync://x/y\n{url}one\n  {url}two\n{dead}\n");
    fs::write(place.join("www/list"), list).unwrap();
    let list = format!("mirrorlist={url}list?arch=x");
    // A file that a mirror has damaged is not healed by another: it does not hash to its name.
    let broken = client(&place, "broken", &[], &list);
    treeferry(&broken, ["pull", "origin", "main"]).failure();
    fs::copy(
        repo.join("objects").join(files[2]),
        first.join("objects").join(files[2]),
    )
    .unwrap();

    pulls(&client(&place, "all", &[], &list), &commit);
    let content = format!("--contenturl={list}");
    pulls(
        &client(&place, "content", &[&content], &format!("{url}repo")),
        &commit,
    );
    pulls(&client(&place, "both", &[&content], &list), &commit);
    let asked = nginx.requests();
    let lost = asked
        .iter()
        .filter(|request| request.path.starts_with("/nowhere/"));
    assert_eq!(
        lost.count(),
        5,
        "a place that has nothing is asked once a list"
    );

    for (text, named) in [
        ("", "names no mirror"),
        ("http://127.0.0.1:1/x\n", "127.0.0.1:1"),
    ] {
        fs::write(place.join("www/list"), text).unwrap();
        let pull = treeferry(&broken, ["pull", "origin", "main"]);
        pull.failure_naming(&[named]);
    }
    fs::remove_file(place.join("www/list")).unwrap();
    treeferry(&broken, ["pull", "origin", "main"]).failure_naming(&["list", "is not there"]);
}

#[test]
#[cfg_attr(not(all(has_ostree, has_nginx)), ignore = "needs ostree and nginx")]
fn a_metalink_vouches_for_the_summary_and_its_refs() {
    let place = Place::new();
    let (repo, commit) = served(&place);
    let nginx = Nginx::start(&place.join("www"), Manners::default());
    let url = nginx.url();
    let summary = fs::read(repo.join("summary")).unwrap();
    let digest = treeferry_core::format::Checksum::of(&summary);
    let metalink = format!(
        "<metalink version=\"3.0\" xmlns=\"http://www.metalinker.org/\"><files>\
         <file name=\"summary\"><size>{}</size><verification>\
         <hash type=\"sha256\">{digest}</hash></verification><resources>\
         <url protocol=\"http\" preference=\"9\">{url}nowhere/summary</url>\
         <url protocol=\"http\" preference=\"8\">{url}repo/summary</url></resources></file>\
         </files></metalink>",
        summary.len()
    );
    fs::write(place.join("www/link.xml"), &metalink).unwrap();
    let link = format!("metalink={url}link.xml");
    let ours = client(&place, "ours", &[], &link);
    // Not what the server has for the ref, but what the summary says that the metalink names.
    fs::write(repo.join("refs/heads/main"), "0".repeat(64)).unwrap();
    pulls(&ours, &commit);
    let listed = treeferry(&ours, ["remote", "refs", "origin"]).success();
    assert_eq!(listed.trim(), "origin:main");

    fs::write(repo.join("summary"), [&summary[..], b"x"].concat()).unwrap();
    treeferry(&ours, ["pull", "origin", "main"]).failure_naming(&["Expected size"]);
    let mut other = summary.clone();
    other[0] ^= 1;
    fs::write(repo.join("summary"), other).unwrap();
    let pull = treeferry(&ours, ["pull", "origin", "main"]);
    pull.failure_naming(&["link.xml", "repo/summary", "Expected checksum"]);
}

#[test]
#[cfg_attr(not(all(has_ostree, has_nginx)), ignore = "needs ostree and nginx")]
fn cookies_are_sent_as_long_as_they_are_there() {
    let place = Place::new();
    let (_, commit) = served(&place);
    let location = "if ($http_cookie != \"foo=bar; baz=badger\") { return 401; }";
    let manners = Manners {
        location,
        ..Manners::default()
    };
    let nginx = Nginx::start(&place.join("www"), manners);
    let repo = client(&place, "ours", &[], &format!("{}repo", nginx.url()));
    let cookie = |words: &str| treeferry(&repo, words.split(' ').map(str::to_owned));
    let pull = || treeferry(&repo, ["pull", "origin", "main"]);
    pull().failure_naming(&["401"]);
    cookie("remote add-cookie origin 127.0.0.1 / foo bar").success();
    cookie("remote add-cookie origin 127.0.0.1 / baz badger").success();
    pulls(&repo, &commit);
    let listed = cookie("remote list-cookies origin").success().out;
    assert!(
        listed.contains("Name: baz\n") && listed.contains("Value: badger\n"),
        "{listed}"
    );
    let mode = fs::metadata(repo.join("origin.cookies.txt")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&mode.permissions());
    assert_eq!(mode & 0o777, 0o600, "others could be let in by them");
    cookie("remote delete-cookie origin 127.0.0.1 / baz").success();
    pull().failure_naming(&["401"]);
    cookie("remote delete-cookie origin 127.0.0.1 / baz").failure_naming(&["not found"]);
    cookie("remote add-cookie nope 127.0.0.1 / a b").failure_naming(&["nope"]);
    // The C command reads and extends the same file.
    let add = [
        "remote",
        "add-cookie",
        "origin",
        "127.0.0.1",
        "/",
        "baz",
        "badger",
    ];
    ostree(&repo, add).success();
    pull().success();
    treeferry(&repo, ["remote", "delete", "origin"]).success();
    assert!(!repo.join("origin.cookies.txt").exists());
}

#[test]
#[cfg_attr(not(all(has_ostree, has_nginx)), ignore = "needs ostree and nginx")]
fn headers_passwords_and_the_user_agent_reach_the_server() {
    let place = Place::new();
    let (_, commit) = served(&place);
    let passwords = place.join("passwords");
    fs::write(&passwords, "me:{PLAIN}s@cret word\n").unwrap();
    let location = format!(
        "auth_basic x; auth_basic_user_file {};\
         if ($http_x_token != \"a=b c\") {{ return 410; }}\
         if ($http_user_agent !~ \"/.* and more$\") {{ return 410; }}",
        passwords.display()
    );
    let manners = Manners {
        location: &location,
        ..Manners::default()
    };
    let nginx = Nginx::start(&place.join("www"), manners);
    let with = nginx.url().replace("http://", "http://me:s%40cret%20word@");
    let repo = client(&place, "ours", &[], &format!("{with}repo"));
    let token = "--http-header=X-Token=a=b c";
    let agent = "--append-user-agent=and more";
    let pull = |args: &[&str]| -> Ran {
        let args = ["pull", "origin", "main"].iter().chain(args);
        treeferry(&repo, args)
    };
    pull(&[agent]).failure();
    pull(&[token]).failure();
    pull(&[token, agent]).success();
    assert_eq!(rev(&repo, "origin:main"), Some(commit));
    treeferry(
        &repo,
        [
            "config",
            "set",
            "--group=remote \"origin\"",
            "url",
            &nginx.url(),
        ],
    )
    .success();
    let err = pull(&[token, agent]).failure_naming(&["401"]);
    assert!(!err.contains("cret"), "{err}");
}

#[test]
#[cfg_attr(not(all(has_ostree, has_nginx)), ignore = "needs ostree and nginx")]
fn a_proxy_is_gone_through_that_is_configured_or_in_the_environment() {
    let place = Place::new();
    let (_, commit) = served(&place);
    let nginx = Nginx::start(&place.join("www"), Manners::default());
    let manners = Manners {
        location: "proxy_pass http://$http_host$request_uri;",
        ..Manners::default()
    };
    let proxy = Nginx::start(&place.join("www"), manners);
    let url = format!("{}repo", nginx.url());
    let option = format!("--set=proxy={}", proxy.url());
    pulls(&client(&place, "configured", &[&option], &url), &commit);
    let configured = proxy.requests().len();
    assert!(configured > 10, "{configured}");
    let repo = client(&place, "environment", &[], &url);
    let mut pull = treeferry_command(&repo, ["pull", "origin", "main"]);
    Ran::of(pull.env("http_proxy", proxy.url())).success();
    assert!(proxy.requests().len() > configured + 10);
    let repo = client(&place, "dead", &["--set=proxy=http://127.0.0.1:1"], &url);
    let args = ["pull", "--network-retries=0", "origin", "main"];
    treeferry(&repo, args).failure();
}
