//! Repositories in buckets of real servers, from the command line.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use bytes::Bytes;
use treeferry_core::transport::{Precondition, PutBody, RemotePath, WritableTransport};
use treeferry_transport_s3::{BucketTransport, Credentials, Keys};

use crate::addresses::sqlite;
use crate::round_trip::{all_refs, comes_back, make_source};
use crate::servers::{self, fresh_address, rclone, seaweed};
use crate::support::chance::Chance;
use crate::support::run::{ENVIRONMENT, Ran, ostree, treeferry, treeferry_command};
use crate::support::tree::write;
use crate::support::{Place, add_origin, assert_c_fsck, commit, rev};

const KEYS: [&str; 2] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];

/// Returns an address in the bucket of the server that all tests share. Its keys and where it is stand
/// in the environment.
pub(crate) fn bucket() -> PathBuf {
    let port = seaweed().port;
    ENVIRONMENT.get_or_init(|| {
        let Keys { id, secret, .. } = keys(port);
        let endpoint = format!("http://127.0.0.1:{port}");
        vec![
            (KEYS[0], id),
            (KEYS[1], secret),
            ("AWS_ENDPOINT_URL", endpoint),
            ("AWS_REGION", "eu-north-1".to_owned()),
        ]
    });
    fresh_address().into()
}

fn keys(port: u16) -> Keys {
    match servers::options(port).credentials {
        Credentials::Keys(keys) => keys,
        other => panic!("{other:?}"),
    }
}

/// Returns where everybody can read what is in the bucket.
pub(crate) fn public_url(address: &Path) -> String {
    let place = address.to_str().unwrap().strip_prefix("s3://").unwrap();
    format!("http://127.0.0.1:{}/{place}", seaweed().port)
}

/// Runs our command as somebody who has no keys.
fn as_nobody<'a>(repo: &Path, words: impl IntoIterator<Item = &'a str>) -> Ran {
    let mut command = treeferry_command(repo, words);
    for name in KEYS {
        command.env_remove(name);
    }
    Ran::of(command.env("HOME", "/nonexistent"))
}

/// Makes a repository of another mode than an archive, with a first commit of a tree.
fn source(place: &Place) -> (PathBuf, PathBuf, String) {
    let (repo, tree) = (place.init("source", "bare-user"), place.join("tree"));
    let mut chance = Chance::new(5);
    for at in 0..60 {
        write(&tree, format!("d{}/{at}", at % 7), &chance.bytes(700));
    }
    write(
        &tree,
        "text",
        "all work and no play\n".repeat(9000).as_bytes(),
    );
    let made = commit(&repo, "os/stable", &tree);
    (repo, tree, made)
}

#[test]
#[cfg_attr(not(all(has_weed, has_ostree)), ignore = "needs SeaweedFS, and ostree")]
fn what_is_pushed_is_pulled_by_c_over_http_and_by_us_over_s3() {
    let place = Place::new();
    let (repo, tree, first) = source(&place);
    let bucket = bucket();
    let address = bucket.to_str().unwrap();
    let client = place.init_c("client", "archive");
    add_origin(&client, &public_url(&bucket));
    let ours = place.init("ours", "bare-user");
    let push_and_pull = |made: &str| {
        let said = treeferry(&repo, ["push", "--summary", address, "os/stable"]).success();
        ostree(&client, ["pull", "origin", "os/stable"]).success();
        assert_c_fsck(&client);
        assert_eq!(rev(&client, "origin:os/stable").unwrap(), made);
        treeferry(&ours, ["pull", address, "os/stable"]).success();
        treeferry(&ours, ["fsck"]).success();
        assert_eq!(rev(&ours, "os/stable").unwrap(), made);
        said.out
    };
    let said = push_and_pull(&first);
    assert!(said.contains("os/stable (new)"), "{said}");
    write(&tree, "d1/1", b"second");
    let second = commit(&repo, "os/stable", &tree);
    // What changed: a commit, its root, a directory, and one file.
    let said = push_and_pull(&second);
    assert!(
        said.starts_with("3 metadata, 1 content objects moved"),
        "{said}"
    );
    // Leases are given back.
    let leases = treeferry(&bucket, ["leases"]).success();
    assert_eq!(leases.trim(), "no leases are held");
    // A remote by its name is a bucket as any.
    let named = place.init("named", "archive");
    add_origin(&named, address);
    treeferry(&named, ["pull", "origin", "os/stable"]).success();
    assert_eq!(rev(&named, "origin:os/stable").unwrap(), second);
}

#[test]
#[cfg_attr(not(all(has_weed, has_ostree)), ignore = "needs SeaweedFS, and ostree")]
fn a_repository_comes_back_from_a_bucket_a_file_and_a_stick_as_it_was() {
    let place = Place::new();
    let source = make_source(&place);
    let stick = PathBuf::from(format!("usb:{}", place.join("stick").display()));
    std::fs::create_dir(place.join("stick")).unwrap();
    let file = sqlite(&place, "file.sqlite");
    let back = place.init("back", "bare-user");
    comes_back(&source, &[&bucket(), &file, &stick, &back]);
    assert_c_fsck(&back);
}

#[test]
#[cfg_attr(not(has_weed), ignore = "needs SeaweedFS")]
fn a_repository_in_a_bucket_is_worked_with_as_any() {
    let place = Place::new();
    let bucket = bucket();
    let address = bucket.to_str().unwrap();
    let run = |words: &[&str]| treeferry(&bucket, words).success().out;
    treeferry(&bucket, ["refs"]).failure_naming(&[address, "no repository", "init"]);
    run(&["init", "--collection-id=org.example.Os"]);
    let id = run(&["config", "get", "core.collection-id"]);
    assert_eq!(id.trim(), "org.example.Os");
    let tree = place.join("tree");
    write(&tree, "a", b"first");
    let first = commit(&bucket, "os/stable", &tree);
    write(&tree, "a", b"second");
    write(&tree, "b", b"new");
    let second = commit(&bucket, "os/stable", &tree);
    assert_eq!(run(&["rev-parse", "os/stable"]).trim(), second);
    assert_eq!(run(&["cat", "os/stable", "b"]), "new");
    assert!(run(&["log", "os/stable"]).contains(&first));
    run(&["summary", "--update"]);
    assert!(run(&["summary", "--view"]).contains(&second));
    run(&["fsck"]);
    // The first commit, its root, and a file that has changed since.
    let counted = run(&["prune", "--refs-only", "--depth=0", "--no-prune"]);
    assert!(counted.contains("Would delete: 3 objects"), "{counted}");
    // Whoever pulls it now is not disturbed.
    let kept = run(&["prune", "--refs-only", "--depth=0"]);
    assert!(kept.contains("Deleted no objects"), "{kept}");
    assert!(kept.contains("pull them now: 3 objects"), "{kept}");
    assert_eq!(run(&["cat", &first, "a"]), "first");
    let pruned = run(&["prune", "--refs-only", "--depth=0", "--grace=0"]);
    assert!(pruned.contains("Deleted 3 objects"), "{pruned}");
    treeferry(&bucket, ["cat", &first, "a"]).failure_naming(&[&first]);
    run(&["fsck"]);
    assert_eq!(run(&["cat", "os/stable", "a"]), "second");
    run(&["refs", "--delete", "os/stable"]);
    // The commit with the metadata of a collection stays.
    assert_eq!(run(&["refs"]), "ostree-metadata\n");
    treeferry(&bucket, ["serve"]).failure_naming(&["serve takes a repository in a directory"]);
}

#[test]
#[cfg_attr(not(has_weed), ignore = "needs SeaweedFS")]
fn of_two_who_push_at_once_one_is_told_what_the_other_pushed() {
    let place = Place::new();
    let bucket = bucket();
    let address = bucket.to_str().unwrap();
    let tree = place.join("tree");
    write(&tree, "a", b"first");
    let repos = ["ours", "theirs"].map(|name| place.init(name, "archive"));
    let first = commit(&repos[0], "os", &tree);
    treeferry(&repos[0], ["push", "--expect=none", address, "os"]).success();
    let commits = repos.each_ref().map(|repo| {
        write(&tree, "a", repo.to_str().unwrap().as_bytes());
        commit(repo, "os", &tree)
    });
    let expect = format!("--expect={first}");
    let running = repos.each_ref().map(|repo| {
        let mut command = treeferry_command(repo, ["push", &expect, address, "os"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    });
    let ended = running.map(|child| child.wait_with_output().unwrap());
    let held = treeferry(&bucket, ["rev-parse", "os"]).success().trim();
    let winner = commits.iter().position(|made| *made == held).unwrap();
    assert!(ended[winner].status.success(), "{:?}", ended[winner]);
    let loser = &ended[1 - winner];
    assert_eq!(loser.status.code(), Some(1));
    let said = String::from_utf8_lossy(&loser.stderr);
    for word in [&held, address, "somebody else"] {
        assert!(said.contains(word), "{said}");
    }
    treeferry(&bucket, ["fsck"]).success();
    assert_eq!(
        treeferry(&bucket, ["leases"]).success().trim(),
        "no leases are held"
    );
}

#[test]
#[cfg_attr(not(has_weed), ignore = "needs SeaweedFS")]
fn nobody_reads_what_is_public_and_writes_nothing() {
    let place = Place::new();
    let (repo, _, made) = source(&place);
    let bucket = bucket();
    let address = bucket.to_str().unwrap();
    treeferry(&repo, ["push", address]).success();
    let client = place.init("client", "archive");
    as_nobody(&client, ["pull", address, "os/stable"]).success();
    assert_eq!(rev(&client, "os/stable").unwrap(), made);
    assert_eq!(all_refs(&client), all_refs(&repo));
    as_nobody(&bucket, ["ls", "-R", "os/stable"]).success();
    as_nobody(&bucket, ["fsck"]).success();
    as_nobody(&repo, ["push", address, "os/stable"])
        .failure_naming(&[address, "cannot be written to"]);
    // Also whoever has keys, where the address says so; and the address says where the server is.
    let port = seaweed().port;
    let public = format!("{address}?anonymous&endpoint=http://127.0.0.1:{port}");
    let mut command = treeferry_command(Path::new(&public), ["rev-parse", "os/stable"]);
    let ran = Ran::of(command.env("AWS_ENDPOINT_URL", "http://127.0.0.1:1"));
    assert_eq!(ran.success().trim(), made);
    treeferry(&repo, ["push", &public]).failure_naming(&["cannot be written to"]);
    let unknown = format!("{address}?colour=red");
    treeferry(&repo, ["push", &unknown]).failure_naming(&["colour", "expected endpoint"]);
    treeferry(Path::new("s3:///a"), ["refs"]).failure_naming(&["s3:///a", "names no bucket"]);
}

#[test]
#[cfg_attr(not(has_weed), ignore = "needs SeaweedFS")]
fn what_a_dry_run_says_of_a_bucket_is_what_happens() {
    let place = Place::new();
    let (repo, _, _) = source(&place);
    let bucket = bucket();
    let address = bucket.to_str().unwrap();
    let plan = |words: &[&str]| {
        let words = ["push", "--dry-run"].into_iter().chain(words.to_vec());
        treeferry(&repo, words.chain([address])).success().out
    };
    let planned = plan(&[]);
    let count = planned.lines().find(|line| line.starts_with("to move: "));
    let count = count.unwrap().strip_prefix("to move: ").unwrap();
    // Nothing was made.
    treeferry(&bucket, ["refs"]).failure_naming(&["no repository"]);
    let said = treeferry(&repo, ["push", address]).success().out;
    let objects = count.split(" objects").next().unwrap();
    assert!(said.starts_with(objects), "{planned}\n{said}");
    assert!(plan(&[]).contains("to move: 0 metadata, 0 content objects"));
}

#[test]
#[cfg_attr(not(has_weed), ignore = "needs SeaweedFS")]
fn leases_that_were_left_behind_are_shown_and_broken() {
    let place = Place::new();
    let bucket = bucket();
    treeferry(&bucket, ["init"]).success();
    let tree = place.join("tree");
    write(&tree, "a", b"a");
    commit(&bucket, "os", &tree);
    let (long, short) = (
        "00000000000000aa-0.write.3600000",
        "00000000000000bb-0.write.1",
    );
    for lease in [long, short] {
        leave_lease(&bucket, lease);
    }
    let shown = treeferry(&bucket, ["leases"]).success().out;
    let line = |lease: &str| shown.lines().find(|line| line.starts_with(lease)).unwrap();
    assert!(line(long).contains("writing, renewed"), "{shown}");
    assert!(line(long).ends_with("a builder that died"), "{shown}");
    treeferry(&bucket, ["leases", "--break=no-such"]).failure_naming(&["no-such"]);
    let broken = treeferry(&bucket, ["leases", &format!("--break={long}")]);
    assert!(broken.success().out.contains(long));
    // What has expired is in nobody's way.
    treeferry(&bucket, ["prune"]).success();
    let shown = treeferry(&bucket, ["leases"]).success().trim();
    assert_eq!(shown, "no leases are held");
    let file = sqlite(&place, "file.sqlite");
    treeferry(&file, ["leases"]).failure_naming(&["in buckets and on sticks"]);
}

/// Does as a writer that dies.
fn leave_lease(bucket: &Path, lease: &str) {
    let options = servers::options(seaweed().port);
    let write = async {
        let address = bucket.to_str().unwrap();
        let bucket = BucketTransport::open_for_writing(address, options).await;
        let path = RemotePath::new(&format!(".treeferry/leases/{lease}")).unwrap();
        let body = PutBody::Bytes(Bytes::from_static(b"a builder that died\n0\n"));
        bucket.unwrap().put(&path, Precondition::None, body).await
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(write).unwrap();
}

#[test]
#[cfg_attr(not(all(has_weed, has_rclone)), ignore = "needs SeaweedFS, and rclone")]
fn a_server_that_ignores_conditions_takes_one_writer_who_says_so() {
    let place = Place::new();
    let (repo, _, made) = source(&place);
    // The keys are the same.
    bucket();
    let endpoint = format!("endpoint=http://127.0.0.1:{}", rclone().port);
    let address = format!("{}?{endpoint}", fresh_address());
    treeferry(&repo, ["push", &address]).failure_naming(&["single-writer"]);
    treeferry(Path::new(&address), ["refs"]).failure_naming(&["no repository"]);
    let alone = format!("{address}&single-writer");
    treeferry(&repo, ["push", &alone]).success();
    let held = treeferry(Path::new(&address), ["rev-parse", "os/stable"]);
    assert_eq!(held.success().trim(), made);
}

#[test]
#[cfg_attr(not(has_weed), ignore = "needs SeaweedFS")]
fn no_more_moves_in_a_second_than_was_allowed_both_ways() {
    const BYTES: usize = 3 << 20;
    let place = Place::new();
    let (repo, tree) = (place.init("source", "archive"), place.join("tree"));
    write(&tree, "noise", &Chance::new(9).bytes(BYTES));
    let made = commit(&repo, "os", &tree);
    let bucket = bucket();
    let address = bucket.to_str().unwrap();
    let client = place.init("client", "archive");
    for (repo, verb) in [(&repo, "push"), (&client, "pull")] {
        let begun = Instant::now();
        treeferry(repo, [verb, "--limit-rate=1M", address, "os"]).success();
        let took = begun.elapsed();
        // What moves at once, a part of a file, may wait before and not behind.
        assert!(took >= Duration::from_secs(2), "{verb}: {took:?}");
    }
    assert_eq!(rev(&client, "os").unwrap(), made);
}
