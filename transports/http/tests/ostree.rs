//! Our server and our client with repositories and commands of the C implementation.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use support::{Served, client, patient, pattern};
use treeferry_core::archive::ArchiveRemote;
use treeferry_core::codec::FlateCodec;
use treeferry_core::format::ObjectName;
use treeferry_core::store::{Incoming, ObjectSource, RefName};

/// Runs a command of the C implementation in a repository, and returns what it prints.
fn ostree(repo: &str, args: &[&str]) -> String {
    let repo = format!("--repo={repo}");
    let (command, rest) = args.split_first().unwrap();
    let output = Command::new("/usr/bin/ostree")
        .args([command, &&*repo])
        .args(rest)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ostree {args:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// Makes an archive with one commit at `repo`, and returns its checksum.
fn commit(dir: &Path, repo: &str) -> String {
    let tree = dir.join("tree");
    std::fs::create_dir_all(tree.join("sub")).unwrap();
    std::fs::write(tree.join("large"), pattern(1_000_000)).unwrap();
    std::fs::write(tree.join("sub/small"), "hello").unwrap();
    std::os::unix::fs::symlink("large", tree.join("link")).unwrap();
    ostree(repo, &["init", "--mode=archive"]);
    let tree = format!("--tree=dir={}", tree.display());
    let detached = "--add-detached-metadata-string=a=b";
    let checksum = ostree(repo, &["commit", "-b", "os/stable", &tree, detached]);
    ostree(repo, &["summary", "-u"]);
    checksum.trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
async fn the_c_client_pulls_from_our_server() {
    let served = Served::start(|options| options).await;
    let dir = served.root.path().to_owned();
    let url = served.url();
    let pull = move || {
        let repo = dir.join("repo");
        let checksum = commit(&dir, repo.to_str().unwrap());
        let copy = dir.join("copy");
        let copy = copy.to_str().unwrap();
        ostree(copy, &["init", "--mode=bare-user"]);
        ostree(copy, &["remote", "add", "--no-gpg-verify", "r", &url]);
        ostree(copy, &["pull", "r", "os/stable"]);
        ostree(copy, &["fsck"]);
        assert_eq!(ostree(copy, &["rev-parse", "r:os/stable"]).trim(), checksum);
    };
    tokio::task::spawn_blocking(pull).await.unwrap();
    assert!(
        served
            .log()
            .iter()
            .any(|s| s.path.ends_with(".filez") && s.status == 200)
    );
}

#[tokio::test(flavor = "multi_thread")]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
async fn objects_of_a_c_archive_arrive_and_verify() {
    let served = Served::start(|options| options).await;
    let dir = served.root.path().to_owned();
    let repo = dir.join("repo").to_str().unwrap().to_owned();
    let in_repo = repo.clone();
    let checksum = tokio::task::spawn_blocking(move || commit(&dir, &in_repo))
        .await
        .unwrap();
    let transport = client(&served.url(), patient()).await;
    let remote = ArchiveRemote::new(Arc::new(transport));
    let branch = RefName::Local("os/stable".parse().unwrap());
    let found = remote.read_ref(&branch).await.unwrap().unwrap();
    assert_eq!(found.to_string(), checksum);
    assert!(remote.read_detached(&found).await.unwrap().is_some());
    assert!(remote.read_config().await.unwrap().is_some());
    assert!(
        remote
            .read_summary(None)
            .await
            .unwrap()
            .into_bytes()
            .is_some()
    );
    let mut count = 0;
    for entry in walk(&Path::new(&repo).join("objects")) {
        let Ok(name) = entry.replace(".filez", ".file").parse::<ObjectName>() else {
            assert!(entry.ends_with(".commitmeta"), "{entry}");
            continue;
        };
        let body = remote.fetch(&name).await.unwrap().unwrap();
        let incoming = Incoming::named(name, body);
        let read = move || match name.object_type.is_metadata() {
            true => drop(incoming.into_metadata().unwrap()),
            false => {
                let mut content = incoming.into_content(&FlateCodec).unwrap();
                std::io::copy(&mut content, &mut std::io::sink()).unwrap();
            }
        };
        tokio::task::spawn_blocking(read).await.unwrap();
        count += 1;
    }
    // Three files, two dirtrees, a dirmeta and a commit.
    assert_eq!(count, 7);
}

fn walk(objects: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for dir in std::fs::read_dir(objects).unwrap() {
        let dir = dir.unwrap();
        for file in std::fs::read_dir(dir.path()).unwrap() {
            let (start, rest) = (dir.file_name(), file.unwrap().file_name());
            names.push(format!(
                "{}{}",
                start.to_str().unwrap(),
                rest.to_str().unwrap()
            ));
        }
    }
    names
}
