//! Commits have the checksums that the C `ostree` gives them: the same tree, options and time, in
//! every mode.

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod common;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use common::{add_root_oddities, odd_tree, ostree, try_ostree};
use rustix::fs::XattrFlags;
use tempfile::TempDir;
use treeferry_backend_fs::{CreateOptions, FsMode, FsRepo, OpenOptions, SplitXattrs};
use treeferry_core::format::Checksum;
use treeferry_core::format::gvariant::Value;
use treeferry_core::ops::commit::{
    Bindings, Bootable, CommitOptions, CommitOutcome, CommitReport, Executables, HardLinks,
    Modifier, Parent, Permissions, Sizes, SourceUse, TreeInput, Unchanged, XattrPolicy, commit,
};
use treeferry_core::ops::labels::Labels;
use treeferry_core::repo::Repo;

const MODES: [&str; 4] = ["bare", "bare-user", "bare-user-only", "archive"];

/// Two repositories with the same history, one written by each implementation.
struct Pair {
    dir: TempDir,
    ours: Repo,
}

impl Pair {
    async fn new(mode: &str, collection: Option<&str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let theirs = format!("--repo={}", dir.path().join("theirs").display());
        let mut init = vec!["init".to_owned(), theirs, format!("--mode={mode}")];
        init.extend(collection.map(|id| format!("--collection-id={id}")));
        ostree(&init.iter().map(String::as_str).collect::<Vec<_>>());
        let options = CreateOptions {
            collection_id: collection.map(|id| id.parse().unwrap()),
            open: OpenOptions {
                split_xattrs: SplitXattrs::Writable,
                ..OpenOptions::default()
            },
        };
        let mode: FsMode = mode.parse().unwrap();
        let ours = FsRepo::create(dir.path().join("ours"), mode, options);
        let ours = Repo::new(Arc::new(ours.await.unwrap()));
        Self { dir, ours }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// Runs `ostree commit` with `flags`, separated by spaces; `%` stands for the directory.
    fn theirs(&self, flags: &str) -> (bool, String) {
        let dir = self.dir.path().display().to_string();
        let flags = flags.replace('%', &dir);
        let repo = format!("--repo={dir}/theirs");
        let mut args = vec!["commit", &repo, "--timestamp=@1700000000"];
        args.extend(flags.split(' ').filter(|flag| !flag.is_empty()));
        let mut command = Command::new("ostree");
        command.env("OSTREE_EXP_WRITE_BARE_SPLIT_XATTRS", "1");
        let output = command.args(args).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        (output.status.success(), text)
    }

    async fn ours(
        &self,
        set: impl FnOnce(&mut CommitOptions),
    ) -> treeferry_core::Result<CommitReport> {
        let mut options = CommitOptions::default();
        options.timestamp = 1_700_000_000;
        options.target = Some("os/main".parse().unwrap());
        set(&mut options);
        commit(&self.ours, options).await
    }

    /// Commits with both, and expects the same checksum.
    async fn both(&self, flags: &str, set: impl FnOnce(&mut CommitOptions)) -> CommitReport {
        let (done, theirs) = self.theirs(&format!("-b os/main {flags}"));
        assert!(done, "{flags}: {theirs}");
        let ours = self.ours(set).await.unwrap();
        let same = ours.commit.to_string() == theirs.trim();
        assert!(
            same,
            "{flags}\n{}",
            self.difference(&ours.commit, theirs.trim())
        );
        ours
    }

    fn difference(&self, ours: &Checksum, theirs: &str) -> String {
        let show = |repo: &str, commit: &str| {
            let repo = format!("--repo={}", self.path(repo).display());
            let raw = try_ostree(&["show", &repo, "--raw", commit]).1;
            let files = try_ostree(&["ls", &repo, "-R", "-X", "-C", commit]).1;
            format!("{raw}\n{files}")
        };
        let (ours, theirs) = (show("ours", &ours.to_string()), show("theirs", theirs));
        let differs = |(a, b): &(&str, &str)| a != b;
        let lines = ours.lines().zip(theirs.lines()).filter(differs);
        let lines = lines.map(|(a, b)| format!("ours   {a}\ntheirs {b}\n"));
        lines.take(5).collect()
    }

    fn fsck(&self) {
        let repo = format!("--repo={}", self.path("ours").display());
        ostree(&["fsck", "-q", &repo]);
    }
}

fn dir(path: impl Into<std::path::PathBuf>) -> Vec<TreeInput> {
    vec![TreeInput::Dir(path.into())]
}

/// A tree of all that is odd; owners and attributes of the system need root.
fn make_odd(path: &Path) {
    std::fs::create_dir(path).unwrap();
    odd_tree(path);
    if rustix::process::geteuid().is_root() {
        add_root_oddities(path);
    }
    std::fs::create_dir(path.join("-dash")).unwrap();
    std::fs::create_dir(path.join(".hidden dir")).unwrap();
    std::fs::hard_link(path.join("plain"), path.join(".hidden dir/hard link")).unwrap();
    let chmod = |name: &str, mode: u32| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(path.join(name), mode).unwrap();
    };
    chmod("-dash", 0o1777);
    chmod(".hidden dir", 0o2775);
    for (name, value) in [("user.b", b"2"), ("user.a", b"1")] {
        let name = name.to_owned();
        rustix::fs::setxattr(path.join("-dash"), name, value, XattrFlags::empty()).unwrap();
    }
}

type Set = fn(&mut CommitOptions);
type Change = fn(&mut Modifier);
type Setting<'a> = Box<dyn Fn(&mut CommitOptions) + 'a>;

/// Options that change what is recorded of a tree.
const MODIFIERS: &[(&str, Set)] = &[
    ("", |_| {}),
    ("--canonical-permissions", |o| {
        o.modifier.permissions = Permissions::Canonical;
    }),
    ("--owner-uid=9 --owner-gid=1234567", |o| {
        (o.modifier.owner_uid, o.modifier.owner_gid) = (Some(9), Some(1_234_567));
    }),
    ("--owner-gid=0", |o| o.modifier.owner_gid = Some(0)),
    ("--no-xattrs", |o| o.modifier.xattrs = XattrPolicy::Drop),
    ("--mode-ro-executables", |o| {
        o.modifier.executables = Executables::ReadOnly;
    }),
    ("--statoverride=%/override", override_some),
    ("--skip-list=%/skip", skip_some),
    (
        "--statoverride=%/override --skip-list=%/skip --mode-ro-executables --no-xattrs --owner-uid=1",
        |o| {
            override_some(o);
            skip_some(o);
            o.modifier.executables = Executables::ReadOnly;
            o.modifier.xattrs = XattrPolicy::Drop;
            o.modifier.owner_uid = Some(1);
        },
    ),
    (
        "--statoverride=%/override --canonical-permissions --mode-ro-executables",
        |o| {
            override_some(o);
            o.modifier.permissions = Permissions::Canonical;
            o.modifier.executables = Executables::ReadOnly;
        },
    ),
];

const OVERRIDE: &str = "2048 /plain\n=448 /setuid\n\n+1024 /empty\n64 /sub\n1024 /sub/large\n\
                        =256 /sub/large\n8 /dangling\n16 /\n2 /sub/zeros\n1 /sub/zeros\n";
const SKIP: &str = "/sub/deep\n\n/everybody\n/dangling\n";

fn override_some(options: &mut CommitOptions) {
    options.modifier.stat_overrides = OVERRIDE.replace("8 /dangling\n", "").parse().unwrap();
}

fn skip_some(options: &mut CommitOptions) {
    options.modifier.skip_list = SKIP.parse().unwrap();
}

async fn modifiers_agree(mode: &str) {
    let pair = Pair::new(mode, None).await;
    make_odd(&pair.path("tree"));
    let without_links = OVERRIDE.replace("8 /dangling\n", "");
    std::fs::write(pair.path("override"), without_links).unwrap();
    std::fs::write(pair.path("skip"), SKIP).unwrap();
    for (flags, set) in MODIFIERS {
        let flags = format!("{flags} -s subject -m body %/tree");
        pair.both(&flags, |options| {
            options.subject = "subject".to_owned();
            options.body = "body".to_owned();
            options.trees = dir(pair.path("tree"));
            set(options);
        })
        .await;
    }
    pair.fsck();
}

#[tokio::test(flavor = "multi_thread")]
async fn modifiers_agree_in_bare() {
    modifiers_agree("bare").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn modifiers_agree_in_bare_user() {
    modifiers_agree("bare-user").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn modifiers_agree_in_bare_user_only() {
    modifiers_agree("bare-user-only").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn modifiers_agree_in_bare_split_xattrs() {
    modifiers_agree("bare-split-xattrs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn modifiers_agree_in_archive() {
    modifiers_agree("archive").await;
}

fn text(pairs: &[(&str, &str)]) -> Vec<(String, Value)> {
    let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), Value::from(*value));
    pairs.iter().map(pair).collect()
}

fn bind(refs: &[&str]) -> Bindings {
    Bindings::Record(refs.iter().map(|name| name.parse().unwrap()).collect())
}

const MANY_KEYS: &str = "--add-metadata-string=version=3 --add-metadata-string=zz=1 \
    --add-metadata-string=ostree.endoflife=no --add-metadata-string=a=b --add-metadata-string=a=c \
    --add-metadata-string=ostree.source-title=t --add-metadata=n=true \
    --add-metadata-string=k1=1 --add-metadata-string=k2=2 --add-metadata-string=k3=3";

fn many_keys() -> Vec<(String, Value)> {
    let mut keys = text(&[
        ("version", "3"),
        ("zz", "1"),
        ("ostree.endoflife", "no"),
        ("a", "b"),
        ("a", "c"),
        ("ostree.source-title", "t"),
        ("k1", "1"),
        ("k2", "2"),
        ("k3", "3"),
    ]);
    // The command adds texts before other values.
    keys.push(("n".to_owned(), Value::Bool(true)));
    keys
}

/// Writes the smallest bootable tree.
fn make_bootable(path: &Path) {
    let modules = path.join("usr/lib/modules");
    std::fs::create_dir_all(modules.join("6.1.0-treeferry")).unwrap();
    std::fs::create_dir_all(modules.join("5.0-without-kernel")).unwrap();
    std::fs::write(modules.join("6.1.0-treeferry/vmlinuz"), "kernel").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_is_laid_out_alike() {
    let many = MANY_KEYS;
    for collection in [None, Some("org.example.Os")] {
        let pair = Pair::new("archive", collection).await;
        make_bootable(&pair.path("tree"));
        let trees = || dir(pair.path("tree"));
        pair.both("%/tree", |o| o.trees = trees()).await;
        pair.both(&format!("{many} %/tree"), |o| {
            (o.trees, o.metadata) = (trees(), many_keys());
        })
        .await;
        pair.both("--no-bindings %/tree", |o| {
            (o.trees, o.bindings) = (trees(), Bindings::Omit);
        })
        .await;
        pair.both(&format!("--no-bindings --bootable {many} %/tree"), |o| {
            (o.trees, o.metadata, o.bindings) = (trees(), many_keys(), Bindings::Omit);
            o.bootable = Bootable::Yes;
        })
        .await;
        pair.both(
            "--bind-ref=zz --bind-ref=a/b --bind-ref=os/main %/tree",
            |o| {
                (o.trees, o.bindings) = (trees(), bind(&["zz", "a/b", "os/main"]));
            },
        )
        .await;
        pair.both(&format!("--bootable {many} --bind-ref=x %/tree"), |o| {
            (o.trees, o.metadata, o.bindings) = (trees(), many_keys(), bind(&["x"]));
            o.bootable = Bootable::Yes;
        })
        .await;
        let keep = "--keep-metadata=zz --keep-metadata=version --add-metadata-string=b=1";
        pair.both(&format!("{keep} --bootable %/tree"), |o| {
            (o.trees, o.metadata) = (trees(), text(&[("b", "1")]));
            o.keep_metadata = vec!["zz".to_owned(), "version".to_owned()];
            o.bootable = Bootable::Yes;
        })
        .await;
        pair.both(&format!("{keep} %/tree"), |o| {
            (o.trees, o.metadata) = (trees(), text(&[("b", "1")]));
            o.keep_metadata = vec!["zz".to_owned(), "version".to_owned()];
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parents_and_refs_follow_alike() {
    let pair = Pair::new("archive", None).await;
    std::fs::create_dir(pair.path("tree")).unwrap();
    std::fs::write(pair.path("tree/file"), "1").unwrap();
    let trees = || dir(pair.path("tree"));
    let first = pair.both("%/tree", |o| o.trees = trees()).await;
    assert_eq!(first.parent, None);
    let second = pair.both("%/tree", |o| o.trees = trees()).await;
    assert_eq!(second.parent, Some(first.commit));
    pair.both("--parent=none %/tree", |o| {
        (o.trees, o.parent) = (trees(), Parent::None);
    })
    .await;
    let unknown = Checksum::of(b"no commit of this repository");
    pair.both(&format!("--parent={unknown} %/tree"), |o| {
        (o.trees, o.parent) = (trees(), Parent::Commit(unknown));
    })
    .await;
    let (_, theirs) = pair.theirs("--orphan %/tree");
    let orphan = pair.ours(|o| (o.trees, o.target) = (trees(), None)).await;
    assert_eq!(orphan.unwrap().commit.to_string(), theirs.trim());
    let (_, theirs) = pair.theirs("-b other:os/main %/tree");
    let remote = pair
        .ours(|o| (o.trees, o.target) = (trees(), Some("other:os/main".parse().unwrap())))
        .await;
    assert_eq!(remote.unwrap().commit.to_string(), theirs.trim());
    let heads = ["refs/heads/os/main", "refs/remotes/other/os/main"];
    for head in heads {
        let read = |repo: &str| std::fs::read(pair.path(repo).join(head)).unwrap();
        assert_eq!(read("ours"), read("theirs"), "{head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unchanged_trees_are_skipped_alike() {
    let pair = Pair::new("bare-user", None).await;
    std::fs::create_dir(pair.path("tree")).unwrap();
    let skip = |o: &mut CommitOptions| {
        (o.trees, o.unchanged) = (dir(pair.path("tree")), Unchanged::Skip);
    };
    let first = pair.both("--skip-if-unchanged %/tree", skip).await;
    assert_eq!(first.outcome, CommitOutcome::Committed);
    let again = pair.both("--skip-if-unchanged %/tree", skip).await;
    assert_eq!(again.outcome, CommitOutcome::Unchanged);
    assert_eq!(again.commit, first.commit);
    std::fs::write(pair.path("tree/new"), "").unwrap();
    let changed = pair.both("--skip-if-unchanged %/tree", skip).await;
    assert_eq!(changed.outcome, CommitOutcome::Committed);
}

#[tokio::test(flavor = "multi_thread")]
async fn trees_are_laid_over_one_another_alike() {
    for mode in MODES {
        let pair = Pair::new(mode, None).await;
        let write = |path: &str, mode: u32| {
            let path = pair.path(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, path.as_os_str().len().to_string()).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
            std::fs::set_permissions(path.parent().unwrap(), mode).unwrap();
        };
        write("a/dir/deep/x", 0o700);
        write("a/dir/same", 0o711);
        write("a/only-a/y", 0o755);
        write("bee/dir/same", 0o755);
        write("bee/dir/deep/other", 0o750);
        write("bee/new/z", 0o700);
        let a = pair
            .both("%/a", |o| o.trees = dir(pair.path("a")))
            .await
            .commit;
        let b = pair
            .both("%/bee", |o| o.trees = dir(pair.path("bee")))
            .await
            .commit;
        let (dir_a, dir_b) = (
            TreeInput::Dir(pair.path("a")),
            TreeInput::Dir(pair.path("bee")),
        );
        let (ref_a, ref_b) = (TreeInput::Commit(a), TreeInput::Commit(b));
        let stacks = [
            (
                "--tree=dir=%/a --tree=dir=%/bee".to_owned(),
                [&dir_a, &dir_b],
            ),
            (format!("--tree=ref={a} --tree=dir=%/bee"), [&ref_a, &dir_b]),
            (format!("--tree=dir=%/a --tree=ref={b}"), [&dir_a, &ref_b]),
            (format!("--tree=ref={a} --tree=ref={b}"), [&ref_a, &ref_b]),
            (format!("--tree=ref={a} --tree=ref={a}"), [&ref_a, &ref_a]),
        ];
        let changes: [(&str, Change); 4] = [
            ("", |_| {}),
            ("--owner-uid=7 --no-xattrs", |m| {
                (m.owner_uid, m.xattrs) = (Some(7), XattrPolicy::Drop);
            }),
            ("--canonical-permissions", |m| {
                m.permissions = Permissions::Canonical
            }),
            ("--skip-list=%/skip", |m| {
                m.skip_list = "/dir/deep\n".parse().unwrap()
            }),
        ];
        std::fs::write(pair.path("skip"), "/dir/deep\n").unwrap();
        for (flags, trees) in stacks {
            for (more, change) in changes {
                pair.both(&format!("{flags} {more}"), |o| {
                    o.trees = trees.map(Clone::clone).to_vec();
                    change(&mut o.modifier);
                })
                .await;
            }
        }
        for (flags, tree) in [
            (format!("--tree=ref={b}"), ref_b),
            ("--tree=dir=%/bee".into(), dir_b),
        ] {
            pair.both(&format!("--base={a} --owner-gid=5 {flags}"), |o| {
                (o.base, o.trees, o.modifier.owner_gid) = (Some(a), vec![tree], Some(5));
            })
            .await;
        }
        pair.fsck();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hard_links_to_objects_are_recognised_alike() {
    for mode in &MODES[..3] {
        let pair = Pair::new(mode, None).await;
        make_odd(&pair.path("tree"));
        pair.both("%/tree", |o| o.trees = dir(pair.path("tree")))
            .await;
        std::fs::write(pair.path("skip"), "/new\n").unwrap();
        std::fs::write(pair.path("override"), "1024 /sub/large\n").unwrap();
        for repo in ["ours", "theirs"] {
            let checkout = pair.path(&format!("{repo}-checkout"));
            let from = format!("--repo={}", pair.path(repo).display());
            let user = if *mode == "bare" { "-H" } else { "-UH" };
            ostree(&[
                "checkout",
                &from,
                user,
                "os/main",
                checkout.to_str().unwrap(),
            ]);
            std::fs::write(checkout.join("new"), "new").unwrap();
            std::fs::remove_file(checkout.join("sub/zeros")).unwrap();
        }
        let options: [(&str, HardLinks, Change); 6] = [
            ("--link-checkout-speedup", HardLinks::Recognise, |_| {}),
            (
                "--link-checkout-speedup --owner-gid=3",
                HardLinks::Recognise,
                |m| {
                    m.owner_gid = Some(3);
                },
            ),
            (
                "--link-checkout-speedup --no-xattrs",
                HardLinks::Recognise,
                |m| {
                    m.xattrs = XattrPolicy::Drop;
                },
            ),
            (
                "--link-checkout-speedup --statoverride=%/override",
                HardLinks::Recognise,
                |m| {
                    m.stat_overrides = "1024 /sub/large\n".parse().unwrap();
                },
            ),
            ("-I --owner-uid=5", HardLinks::Trust, |m| {
                m.owner_uid = Some(5)
            }),
            ("-I --skip-list=%/skip", HardLinks::Trust, |m| {
                m.skip_list = "/new\n".parse().unwrap();
            }),
        ];
        for (flags, hard_links, change) in options {
            let report = pair
                .both(&format!("{flags} %/theirs-checkout"), |o| {
                    (o.trees, o.hard_links) = (dir(pair.path("ours-checkout")), hard_links);
                    change(&mut o.modifier);
                })
                .await;
            if flags == "--link-checkout-speedup" {
                assert!(report.stats.content_cache_hits > 5, "{:?}", report.stats);
                assert!(report.stats.content_total <= 8, "{:?}", report.stats);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn consumed_directories_are_gone_alike() {
    for mode in MODES {
        let pair = Pair::new(mode, None).await;
        make_odd(&pair.path("a"));
        make_odd(&pair.path("bee"));
        std::fs::write(pair.path("skip"), "/sub\n/plain\n").unwrap();
        let (done, theirs) = pair.theirs("-b os/main --consume --skip-list=%/skip %/a");
        assert!(done, "{theirs}");
        let ours = pair.ours(|o| {
            (o.trees, o.sources) = (dir(pair.path("bee")), SourceUse::Consume);
            o.modifier.skip_list = "/sub\n/plain\n".parse().unwrap();
        });
        assert_eq!(ours.await.unwrap().commit.to_string(), theirs.trim());
        assert!(!pair.path("a").exists());
        assert!(!pair.path("bee").exists());
        pair.fsck();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_counted_is_counted_alike() {
    for mode in ["bare", "archive"] {
        let pair = Pair::new(mode, None).await;
        make_odd(&pair.path("tree"));
        for (flags, trees) in [("%/tree", 1), ("--tree=dir=%/tree --tree=dir=%/tree", 2)] {
            let (_, table) = pair.theirs(&format!("-b os/main --table-output {flags}"));
            let number = |key: &str| -> u64 {
                let line = table.lines().find_map(|line| line.strip_prefix(key));
                line.unwrap().trim().parse().unwrap()
            };
            let all = vec![TreeInput::Dir(pair.path("tree")); trees];
            let stats = pair.ours(|o| o.trees = all).await.unwrap().stats;
            assert_eq!(stats.metadata_total, number("Metadata Total:"), "{flags}");
            assert_eq!(
                stats.metadata_written,
                number("Metadata Written:"),
                "{flags}"
            );
            assert_eq!(stats.content_total, number("Content Total:"), "{flags}");
            assert_eq!(stats.content_written, number("Content Written:"), "{flags}");
            assert_eq!(
                stats.content_bytes_written,
                number("Content Bytes Written:"),
                "{flags}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn detached_metadata_is_written_alike() {
    let pair = Pair::new("bare", None).await;
    std::fs::create_dir(pair.path("tree")).unwrap();
    let flags = "--add-detached-metadata-string=a=b --add-detached-metadata-string=a=c \
                 --add-detached-metadata-string=z=y %/tree";
    let report = pair
        .both(flags, |o| {
            o.trees = dir(pair.path("tree"));
            o.detached_metadata = text(&[("a", "b"), ("a", "c"), ("z", "y")]);
        })
        .await;
    let hex = report.commit.to_string();
    let path = format!("objects/{}/{}.commitmeta", &hex[..2], &hex[2..]);
    let read = |repo: &str| std::fs::read(pair.path(repo).join(&path)).unwrap();
    assert_eq!(read("ours"), read("theirs"));
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_name_every_object_that_the_c_ostree_names() {
    let pair = Pair::new("archive", None).await;
    make_odd(&pair.path("tree"));
    let (_, theirs) = pair.theirs("-b os/main --generate-sizes %/tree");
    let ours = pair.ours(|o| {
        (o.trees, o.sizes) = (dir(pair.path("tree")), Sizes::Record);
    });
    let ours = ours.await.unwrap().commit;
    let sizes = |bytes: Vec<u8>| {
        let commit = treeferry_core::format::Commit::parse(&bytes).unwrap();
        let sizes = treeferry_core::format::read_sizes(&commit.metadata).unwrap();
        // Compressed lengths are each compressor's own.
        let sizes = sizes.unwrap().into_iter();
        let entry =
            |s: treeferry_core::format::ObjectSize| (s.checksum, s.object_type, s.unpacked_bytes);
        sizes.map(entry).collect::<Vec<_>>()
    };
    let read = |repo: &str, hex: &str| {
        let path = format!("objects/{}/{}.commit", &hex[..2], &hex[2..]);
        std::fs::read(pair.path(repo).join(path)).unwrap()
    };
    let ours = sizes(read("ours", &ours.to_string()));
    assert_eq!(ours, sizes(read("theirs", theirs.trim())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_of_20_000_entries_is_recorded_alike() {
    let pair = Pair::new("bare-user", None).await;
    let tree = pair.path("tree");
    std::fs::create_dir_all(tree.join("many")).unwrap();
    for i in 0..20_000_u32 {
        std::fs::write(tree.join(format!("many/{i:x}")), (i % 50).to_string()).unwrap();
    }
    for i in 0..2_000_u32 {
        std::fs::create_dir(tree.join(format!("{i}"))).unwrap();
    }
    pair.both("%/tree", |o| o.trees = dir(tree.clone())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deep_nesting_is_recorded_alike() {
    let pair = Pair::new("bare-user", None).await;
    let deep = pair.path("tree").join(["d"; 200].join("/"));
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::write(deep.join("bottom"), "bottom").unwrap();
    pair.both("%/tree", |o| o.trees = dir(pair.path("tree")))
        .await;
}

const CONTEXTS: &str = "\
/.*\tsystem_u:object_r:default_t:s0
/\t-d\tsystem_u:object_r:root_t:s0
/usr(/.*)?\tsystem_u:object_r:usr_t:s0
/usr/(.*/)?bin(/.*)?\tsystem_u:object_r:bin_t:s0
/usr/.*\\.so(\\.[^/]*)*\t--\tsystem_u:object_r:lib_t:s0
/usr/bin/exact\\.sh\t--\tsystem_u:object_r:exact_t:s0
/usr/bin/[a-c]x?y+\t-l\tsystem_u:object_r:link_t:s0
/tmp(/.*)?\t<<none>>
/home/[^/]+/.+\tsystem_u:object_r:user_home_t:s0
";

#[tokio::test(flavor = "multi_thread")]
async fn selinux_labels_are_given_alike() {
    for place in ["etc", "usr/etc"] {
        let pair = Pair::new("archive", None).await;
        let tree = pair.path("tree");
        let write = |path: &str, content: &str| {
            let path = tree.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        };
        let files = format!("{place}/selinux/own/contexts/files/file_contexts");
        write(
            &format!("{place}/selinux/config"),
            "SELINUX=permissive\nSELINUXTYPE=own\n",
        );
        write(&files, CONTEXTS);
        // The C implementation wants to have a compiled policy, and hashes it.
        write(&format!("{place}/selinux/own/policy/policy.33"), "compiled");
        write(
            &format!("{files}.local"),
            "/usr/local(/.*)?\tsystem_u:object_r:local_t:s0\n",
        );
        write(
            &format!("{files}.homedirs"),
            "/home/admin/.+\tsystem_u:object_r:admin_home_t:s0\n",
        );
        write(&format!("{files}.subs_dist"), "/opt /usr\n");
        write(&format!("{files}.subs"), "/srv/home /home\n");
        for path in [
            "usr/bin/exact.sh",
            "usr/bin/other",
            "usr/lib/x/bin/y",
            "usr/lib/a.so.1.2",
            "tmp/x",
            "usr/local/bin/z",
            "opt/bin/w",
            "srv/home/joe/x",
            "home/joe/.profile",
            "home/admin/x",
            "proc/x",
            "with space/a b",
            "usr/bin/axy",
            "grün/x",
            "etcetera",
        ] {
            write(path, path);
        }
        std::os::unix::fs::symlink("x", tree.join("usr/bin/axyy")).unwrap();
        std::os::unix::fs::symlink("x", tree.join("usr/a.so")).unwrap();
        let set = |path: &str, name: &str| {
            let path = tree.join(path);
            rustix::fs::setxattr(path, name, b"old", XattrFlags::empty()).unwrap();
        };
        set("usr/bin/exact.sh", "user.z");
        if rustix::process::geteuid().is_root() {
            set("usr/bin/exact.sh", "security.selinux");
            set("tmp/x", "security.selinux");
        }
        let labels = Labels::read_directory(&tree).unwrap().unwrap();
        let labels = Arc::new(labels);
        let recorded = pair
            .both("--selinux-policy=%/tree %/tree", |o| {
                (o.trees, o.modifier.labels) = (dir(tree.clone()), Some(Arc::clone(&labels)));
            })
            .await;
        pair.both(
            &format!("--selinux-policy=%/tree --tree=ref={}", recorded.commit),
            |o| {
                o.trees = vec![TreeInput::Commit(recorded.commit)];
                o.modifier.labels = Some(Arc::clone(&labels));
            },
        )
        .await;
        let from_commit = Labels::load_tree(&pair.ours, recorded.root).await.unwrap();
        assert_eq!(
            from_commit.unwrap().lookup("/opt/bin/w", 0).unwrap(),
            labels.lookup("/opt/bin/w", 0).unwrap()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_refuses_the_other_refuses() {
    let pair = Pair::new("archive", None).await;
    std::fs::create_dir_all(pair.path("tree/dir")).unwrap();
    std::fs::create_dir_all(pair.path("other")).unwrap();
    std::fs::write(pair.path("other/dir"), "a file").unwrap();
    std::fs::create_dir_all(pair.path("fifo")).unwrap();
    std::os::unix::net::UnixListener::bind(pair.path("fifo/socket")).unwrap();
    std::os::unix::fs::symlink("tree", pair.path("link")).unwrap();
    std::fs::write(pair.path("skip"), "/nowhere\n").unwrap();
    std::fs::write(pair.path("override"), "1 /nowhere\n").unwrap();
    let tree = || TreeInput::Dir(pair.path("tree"));
    let other = || TreeInput::Dir(pair.path("other"));
    let cases: Vec<(&str, &str, Setting<'_>)> = vec![
        (
            "Can't replace directory with file: dir",
            "--tree=dir=%/tree --tree=dir=%/other",
            Box::new(|o| o.trees = vec![tree(), other()]),
        ),
        (
            "Can't replace file with directory: dir",
            "--tree=dir=%/other --tree=dir=%/tree",
            Box::new(|o| o.trees = vec![other(), tree()]),
        ),
        (
            "Not a regular file or symlink: socket",
            "%/fifo",
            Box::new(|o| o.trees = dir(pair.path("fifo"))),
        ),
        (
            "Not a directory",
            "%/link",
            Box::new(|o| o.trees = dir(pair.path("link"))),
        ),
        (
            "No such file or directory",
            "%/nowhere",
            Box::new(|o| o.trees = dir(pair.path("nowhere"))),
        ),
        (
            "Unmatched skip-list path",
            "--skip-list=%/skip %/tree",
            Box::new(|o| {
                o.trees = vec![tree()];
                o.modifier.skip_list = "/nowhere".parse().unwrap();
            }),
        ),
        (
            "Unmatched statoverride path",
            "--statoverride=%/override %/tree",
            Box::new(|o| {
                o.trees = vec![tree()];
                o.modifier.stat_overrides = "1 /nowhere".parse().unwrap();
            }),
        ),
        (
            "No such file or directory: /usr",
            "--bootable %/tree",
            Box::new(|o| {
                o.trees = vec![tree()];
                o.bootable = Bootable::Yes;
            }),
        ),
    ];
    for (problem, flags, set) in cases {
        let (done, theirs) = pair.theirs(&format!("-b os/main {flags}"));
        assert!(!done && theirs.contains(problem), "{flags}: {theirs}");
        let error = pair.ours(|o| set(o)).await.unwrap_err();
        let ours = std::iter::successors(Some(&error as &dyn std::error::Error), |e| e.source());
        let ours: String = ours.map(|e| format!("{e}: ")).collect();
        assert!(ours.contains(problem), "{flags}: {ours}");
        assert!(!pair.path("ours/refs/heads/os/main").exists(), "{flags}");
    }
}
