//! Every file that the C `ostree` writes is read, and written back as the same bytes.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{add_root_oddities, odd_tree};
use treeferry_backend_fs::FsMode;
use treeferry_core::format::gvariant::Dict;
use treeferry_core::format::keyfile::KeyFile;
use treeferry_core::format::{
    Checksum, Commit, DirMeta, DirTree, FileHeader, SIZES_KEY, Summary, Tombstone, Xattrs,
    read_header_frame, read_sizes, sizes_value,
};

fn ostree(args: &[&str]) -> String {
    let mut command = Command::new("ostree");
    command.env("OSTREE_EXP_WRITE_BARE_SPLIT_XATTRS", "1");
    let output = command.args(args).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ostree {args:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Makes a repository that has something of everything: odd files, metadata of many types, a
/// parent, detached metadata, sizes, a tombstone, a mirrored collection, a summary.
fn repo_of_everything(dir: &Path, mode: FsMode) -> PathBuf {
    let (tree, path) = (dir.join("tree"), dir.join("repo"));
    odd_tree(&tree);
    add_root_oddities(&tree);
    let repo = format!("--repo={}", path.display());
    let mode_arg = format!("--mode={mode}");
    ostree(&[&repo, "init", &mode_arg, "--collection-id=org.example.Odd"]);
    ostree(&[&repo, "config", "set", "core.fsync", "false"]);
    let mut commit = vec![
        &*repo,
        "commit",
        "-b",
        "odd/one",
        "--subject=One",
        "--body=Two\nlines",
    ];
    if mode == FsMode::BareUserOnly {
        commit.extend(["--no-xattrs", "--canonical-permissions"]);
    }
    let values = [
        "text='ümlaut'",
        "number=uint32 7",
        "big=uint64 18446744073709551615",
        "small=byte 0x07",
        "yes=true",
        "list=['a', 'b', '']",
        "none=@as []",
        "pairs=@a{sv} {'x': <1>, 'y': <(1, 'z')>}",
        "double=1.5",
        "maybe=@ms nothing",
        "bytes=b'raw'",
        "path=objectpath '/a/b'",
        "nested=<<(byte 1, uint64 2, ['q'])>>",
    ];
    let added: Vec<String> = values
        .iter()
        .map(|v| format!("--add-metadata={v}"))
        .collect();
    commit.extend(added.iter().map(String::as_str));
    let detached = [
        "--add-detached-metadata-string=note=beside",
        "--generate-sizes",
    ];
    commit.extend(
        ["--add-metadata-string=version=1.0"]
            .into_iter()
            .chain(detached),
    );
    let tree_arg = tree.to_str().unwrap();
    commit.push(tree_arg);
    ostree(&commit);
    std::fs::write(tree.join("plain"), "changed").unwrap();
    ostree(&commit);
    commit.retain(|arg| *arg != "odd/one" && *arg != "-b");
    commit.insert(2, "--orphan");
    std::fs::write(tree.join("plain"), "changed again").unwrap();
    let gone = ostree(&commit);
    ostree(&[&repo, "prune", &format!("--delete-commit={gone}")]);
    let head = std::fs::read(path.join("refs/heads/odd/one")).unwrap();
    std::fs::create_dir_all(path.join("refs/mirrors/org.example.Other")).unwrap();
    std::fs::write(path.join("refs/mirrors/org.example.Other/os"), head).unwrap();
    ostree(&[
        &repo,
        "summary",
        "-u",
        "--add-metadata=ostree.summary.expires=uint64 9",
    ]);
    path
}

/// Reads a file by its extension, and returns what we write for it, or `None` if it is content.
fn rewrite(extension: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    Some(match extension {
        "dirtree" => DirTree::parse(bytes).unwrap().to_bytes(),
        "dirmeta" => DirMeta::parse(bytes).unwrap().to_bytes(),
        "commit" => rewrite_commit(bytes),
        "commitmeta" => Dict::decode(bytes).unwrap().encode(),
        "tombstone-commit" => Tombstone::parse(bytes).unwrap().to_bytes(),
        "file-xattrs" | "file-xattrs-link" => Xattrs::parse(bytes).unwrap().to_bytes(),
        "filez" => {
            let frame = read_header_frame(&mut &*bytes).unwrap();
            let (header, content_bytes) = FileHeader::parse_filez(&frame).unwrap();
            let mut written = header.to_filez(content_bytes);
            written.extend_from_slice(&bytes[written.len()..]);
            written
        }
        "file" | "payload-link" => return None,
        other => panic!("what is .{other}?"),
    })
}

fn rewrite_commit(bytes: &[u8]) -> Vec<u8> {
    let mut commit = Commit::parse(bytes).unwrap();
    if let Some(sizes) = read_sizes(&commit.metadata).unwrap() {
        let named = sizes.into_iter().map(|size| {
            let object_type = size.object_type.unwrap();
            let name = treeferry_core::format::ObjectName::new(object_type, size.checksum);
            (name, size.archived_bytes, size.unpacked_bytes)
        });
        commit
            .metadata
            .insert(SIZES_KEY, sizes_value(named.collect()));
    }
    commit.to_bytes()
}

fn check_user_meta(path: &Path) -> bool {
    let mut value = vec![0; 65536];
    let Ok(length) = rustix::fs::lgetxattr(path, "user.ostreemeta", &mut value[..]) else {
        return false;
    };
    let parsed = DirMeta::parse_any_mode(&value[..length]).unwrap();
    assert_eq!(parsed.to_bytes(), value[..length]);
    true
}

/// Rewrites all objects, and returns how many of each kind there were.
fn rewrites_all_objects(repo: &Path) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for fanout in std::fs::read_dir(repo.join("objects")).unwrap() {
        let fanout = fanout.unwrap().path();
        for entry in std::fs::read_dir(&fanout).unwrap() {
            let path = entry.unwrap().path();
            let extension = path.extension().unwrap().to_str().unwrap();
            let prefix = fanout.file_name().unwrap().to_str().unwrap();
            let hex = format!("{prefix}{}", path.file_stem().unwrap().to_str().unwrap());
            *counts.entry(extension.to_owned()).or_default() += 1;
            if extension == "file" {
                if check_user_meta(&path) {
                    *counts.entry("user.ostreemeta".to_owned()).or_default() += 1;
                }
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            let written = rewrite(extension, &bytes);
            assert_eq!(written.as_ref(), Some(&bytes), "{}", path.display());
            if ["dirtree", "dirmeta", "commit", "file-xattrs"].contains(&extension) {
                assert_eq!(Checksum::of(&bytes), hex.parse().unwrap());
            }
            if extension == "tombstone-commit" {
                assert_eq!(
                    Tombstone::parse(&bytes).unwrap().commit(),
                    hex.parse().unwrap()
                );
            }
        }
    }
    counts
}

fn rewrites_all_else(repo: &Path) {
    let summary = std::fs::read(repo.join("summary")).unwrap();
    let parsed = Summary::parse(&summary).unwrap();
    assert!(!parsed.refs.is_empty() && parsed.metadata.len() >= 7);
    assert_eq!(parsed.to_bytes(), summary);
    let config = std::fs::read_to_string(repo.join("config")).unwrap();
    assert_eq!(KeyFile::parse(&config).unwrap().to_string(), config);
}

fn log_has_our_content_checksums(repo: &Path) {
    let log = ostree(&["log", "odd/one", &format!("--repo={}", repo.display())]);
    let field = |name: &str| -> Vec<Checksum> {
        let lines = log
            .lines()
            .filter_map(|line| line.trim().strip_prefix(name));
        lines.map(|value| value.trim().parse().unwrap()).collect()
    };
    let commits = field("commit ");
    assert_eq!(commits.len(), 2, "{log}");
    let ours = commits.iter().map(|commit| {
        let hex = commit.to_string();
        let path = repo.join(format!("objects/{}/{}.commit", &hex[..2], &hex[2..]));
        Commit::parse(&std::fs::read(path).unwrap())
            .unwrap()
            .content_checksum()
    });
    assert_eq!(ours.collect::<Vec<_>>(), field("ContentChecksum:"), "{log}");
}

fn reads_and_writes_all_of(mode: FsMode, expected: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let repo = repo_of_everything(dir.path(), mode);
    let counts = rewrites_all_objects(&repo);
    let always = [
        "dirtree",
        "dirmeta",
        "commit",
        "commitmeta",
        "tombstone-commit",
    ];
    for kind in always.iter().chain(expected) {
        assert!(counts.contains_key(*kind), "no {kind} in {counts:?}");
    }
    rewrites_all_else(&repo);
    log_has_our_content_checksums(&repo);
}

#[test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
fn all_of_an_archive_is_read_and_written() {
    reads_and_writes_all_of(FsMode::Archive, &["filez"]);
}

#[test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
fn all_of_a_bare_repository_is_read_and_written() {
    reads_and_writes_all_of(FsMode::Bare, &["file"]);
}

#[test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
fn all_of_a_bare_user_repository_is_read_and_written() {
    reads_and_writes_all_of(FsMode::BareUser, &["file", "user.ostreemeta"]);
}

#[test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
fn all_of_a_bare_user_only_repository_is_read_and_written() {
    reads_and_writes_all_of(FsMode::BareUserOnly, &["file"]);
}

/// This version of the C `ostree` writes the mode without the attributes themselves.
#[test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
fn all_of_a_repository_with_split_xattrs_is_read_and_written() {
    reads_and_writes_all_of(FsMode::BareSplitXattrs, &["file"]);
}
