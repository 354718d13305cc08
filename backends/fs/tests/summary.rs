//! Summaries are those of the C `ostree`, byte for byte.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use common::*;
use treeferry_core::ErrorKind;
use treeferry_core::format::gvariant::{Dict, Value};
use treeferry_core::format::{Checksum, Commit, Summary};
use treeferry_core::ops::summary::{
    DamagedCommits, SummaryOptions, build_summary, commit_repo_metadata, update_summary,
};
use treeferry_core::repo::Repo;
use treeferry_core::store::RepoState;

struct Fixture {
    dir: tempfile::TempDir,
    path: PathBuf,
    repo_arg: String,
    commits: Vec<Checksum>,
}

/// Makes a repository with refs, aliases, refs of remotes and of mirrored collections.
fn fixture(mode: &str, collection: Option<&str>) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let (path, tree) = (dir.path().join("repo"), dir.path().join("tree"));
    std::fs::create_dir(&tree).unwrap();
    let repo_arg = format!("--repo={}", path.display());
    ostree(&[&repo_arg, "init", &format!("--mode={mode}")]);
    ostree(&[&repo_arg, "config", "set", "core.fsync", "false"]);
    if let Some(id) = collection {
        ostree(&[&repo_arg, "config", "set", "core.collection-id", id]);
    }
    let version = "--add-metadata-string=version=1.0";
    let cases: [(&str, &[&str]); 5] = [
        ("os/stable/x86_64", &[version, "--timestamp=@1600000000"]),
        ("main", &["--timestamp=@0"]),
        ("a", &["--add-metadata=version=uint32 7"]),
        ("z-last", &[version, "--timestamp=@253402300799"]),
        (
            "os/0",
            &[version, "--subject=long", "--body=longer than the others"],
        ),
    ];
    let commits = cases.map(|(branch, args)| {
        std::fs::write(tree.join("file"), branch).unwrap();
        let branch = format!("--branch={branch}");
        let mut all = vec![&*repo_arg, "commit", &*branch, tree.to_str().unwrap()];
        all.extend(args);
        ostree(&all).parse().unwrap()
    });
    ostree(&[
        &repo_arg,
        "refs",
        "--alias",
        "--create=alias/of/main",
        "main",
    ]);
    let set = |name: &str, commit: &Checksum| {
        let file = path.join("refs").join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, format!("{commit}\n")).unwrap();
    };
    set("remotes/plain/main", &commits[0]);
    set("remotes/bound/os/x", &commits[1]);
    set("remotes/bound/shared", &commits[2]);
    set("mirrors/org.example.Bound/shared", &commits[3]);
    set("mirrors/org.example.Bound/mine", &commits[0]);
    set("mirrors/com.example.Other/os", &commits[4]);
    set("mirrors/org.example.Own/main", &commits[2]);
    for (remote, id) in [("plain", None), ("bound", Some("org.example.Bound"))] {
        let mut args = vec![
            &*repo_arg,
            "remote",
            "add",
            "--no-gpg-verify",
            remote,
            "http://e",
        ];
        let id = id.map(|id| format!("--collection-id={id}"));
        args.extend(id.as_deref());
        ostree(&args);
    }
    Fixture {
        dir,
        path,
        repo_arg,
        commits: commits.to_vec(),
    }
}

async fn repo_at(path: &Path) -> Repo {
    Repo::new(Arc::new(open(path).await))
}

fn big_endian(value: Option<&Value>) -> u64 {
    value.and_then(Value::as_u64).unwrap().swap_bytes()
}

/// Compares after the C `ostree` made a summary with this metadata.
async fn is_as_c_makes_it(fixture: &Fixture, metadata: &[(&str, &str, Value)]) {
    let given = metadata
        .iter()
        .map(|(key, text, _)| format!("--add-metadata={key}={text}"));
    let given: Vec<_> = given.collect();
    let mut args = vec![&*fixture.repo_arg, "summary", "-u"];
    args.extend(given.iter().map(String::as_str));
    ostree(&args);
    let theirs = std::fs::read(fixture.path.join("summary")).unwrap();
    let parsed = Summary::parse(&theirs).unwrap();

    let mut options = SummaryOptions::default();
    options.now_secs = big_endian(parsed.metadata.get("ostree.summary.last-modified"));
    let entry = |(key, _, value): &(&str, &str, Value)| ((*key).to_owned(), value.clone());
    options.metadata = metadata.iter().map(entry).collect();
    let repo = repo_at(&fixture.path).await;
    let ours = build_summary(&repo, &options).await.unwrap();
    assert_eq!(ours, parsed);
    assert_eq!(ours.to_bytes(), theirs);
}

#[tokio::test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
async fn without_a_collection_it_is_as_c_makes_it() {
    for mode in ["archive", "bare-user-only"] {
        is_as_c_makes_it(&fixture(mode, None), &[]).await;
    }
}

#[tokio::test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
async fn with_a_collection_it_is_as_c_makes_it() {
    is_as_c_makes_it(&fixture("archive", Some("org.example.Own")), &[]).await;
    // A remote and the repository may be of one collection.
    is_as_c_makes_it(&fixture("archive", Some("org.example.Bound")), &[]).await;
}

#[tokio::test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
async fn added_metadata_is_where_c_puts_it() {
    let fixture = fixture("archive", Some("org.example.Own"));
    ostree(&[
        &fixture.repo_arg,
        "config",
        "set",
        "core.tombstone-commits",
        "true",
    ]);
    let mut metadata = vec![
        ("ostree.summary.expires", "uint64 12345", Value::U64(12345)),
        ("ostree.summary.mode", "'nonsense'", Value::from("nonsense")),
        ("list", "['a', 'b']", Value::strings(["a", "b"])),
    ];
    is_as_c_makes_it(&fixture, &metadata).await;
    // Enough keys that the hash table behind it grows.
    let names: Vec<String> = (0..40).map(|n| format!("key.number.{n}")).collect();
    metadata.extend(
        names
            .iter()
            .map(|name| (name.as_str(), "true", Value::Bool(true))),
    );
    is_as_c_makes_it(&fixture, &metadata).await;
}

#[tokio::test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
async fn an_empty_repository_has_a_summary() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("repo");
    let repo_arg = format!("--repo={}", path.display());
    ostree(&[&repo_arg, "init", "--mode=archive"]);
    let fixture = Fixture {
        dir,
        path,
        repo_arg,
        commits: Vec::new(),
    };
    is_as_c_makes_it(&fixture, &[]).await;
}

#[tokio::test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
async fn the_metadata_commit_is_as_c_makes_it() {
    let fixture = fixture("archive", Some("org.example.Own"));
    let copy = fixture.dir.path().join("copy");
    let copied = Command::new("cp")
        .arg("-a")
        .args([&fixture.path, &copy])
        .status();
    assert!(copied.unwrap().success());
    let ours = repo_at(&copy).await;
    let mut options = SummaryOptions::default();
    options.metadata = Dict::from_iter([("some.key".to_owned(), Value::from("value"))]);
    // The second has the first as its parent.
    for _ in 0..2 {
        ostree(&[
            &fixture.repo_arg,
            "summary",
            "-u",
            "--add-metadata=some.key='value'",
        ]);
        let theirs = repo_at(&fixture.path).await;
        let commit = theirs.resolve("ostree-metadata").await.unwrap();
        let loaded: Commit = theirs.load_commit(&commit).await.unwrap();
        options.now_secs = loaded.timestamp;
        let made = commit_repo_metadata(&ours, &options).await.unwrap();
        assert_eq!(made, Some(commit));
        assert_eq!(ours.resolve("ostree-metadata").await.unwrap(), commit);
    }
    ostree(&["fsck", "-q", &format!("--repo={}", copy.display())]);
}

#[tokio::test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
async fn an_update_replaces_the_summary_and_drops_its_signature() {
    let fixture = fixture("archive", None);
    std::fs::write(fixture.path.join("summary.sig"), b"").unwrap();
    let repo = repo_at(&fixture.path).await;
    let mut options = SummaryOptions::default();
    options.now_secs = 1_600_000_000;
    let bytes = update_summary(&repo, &options).await.unwrap();
    assert_eq!(std::fs::read(fixture.path.join("summary")).unwrap(), bytes);
    assert!(!fixture.path.join("summary.sig").exists());
    let stored = open(&fixture.path)
        .await
        .read_summary()
        .await
        .unwrap()
        .unwrap();
    assert_eq!(stored.signature, None);
    let viewed = ostree(&[&fixture.repo_arg, "summary", "-v"]);
    assert!(viewed.contains(&fixture.commits[0].to_string()), "{viewed}");
    assert!(viewed.contains("2020-09-13"), "{viewed}");
}

#[tokio::test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
async fn a_ref_to_nothing_is_named() {
    let fixture = fixture("archive", None);
    set_c_ref(&fixture.path, "nowhere", &Checksum::of(b"nothing"));
    let repo = repo_at(&fixture.path).await;
    let error = build_summary(&repo, &SummaryOptions::default())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing);
    assert!(error.to_string().contains("nowhere"), "{error}");
}

#[tokio::test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
async fn a_ref_to_a_damaged_commit_is_listed_only_where_that_is_asked_for() {
    let fixture = fixture("archive", None);
    let (real, false_name) = (fixture.commits[0], Checksum::of(b"another"));
    let path = |checksum: &Checksum| {
        let text = checksum.to_string();
        let (first, rest) = text.split_at(2);
        fixture.path.join(format!("objects/{first}/{rest}.commit"))
    };
    std::fs::create_dir_all(path(&false_name).parent().unwrap()).unwrap();
    std::fs::copy(path(&real), path(&false_name)).unwrap();
    set_c_ref(&fixture.path, "damaged", &false_name);
    let repo = repo_at(&fixture.path).await;
    let mut options = SummaryOptions::default();
    let error = build_summary(&repo, &options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    options.damaged = DamagedCommits::List;
    let summary = build_summary(&repo, &options).await.unwrap();
    let listed = summary.refs.iter().find(|entry| entry.name == "damaged");
    let listed = listed.unwrap();
    assert_eq!(listed.commit, false_name);
    let length = std::fs::metadata(path(&real)).unwrap().len();
    assert_eq!(listed.commit_bytes, length);
    // What is no commit at all cannot be listed.
    std::fs::write(path(&false_name), b"nothing of that kind").unwrap();
    let error = build_summary(&repo, &options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}
