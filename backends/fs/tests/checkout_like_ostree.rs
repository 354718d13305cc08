//! The same commit checked out by the C `ostree` and by us, with the same options, compared.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod common;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::*;
use treeferry_backend_fs::FsMode;
use treeferry_core::ops::checkout::{
    CheckoutItem, CheckoutMode, CheckoutOptions, Destination, DirModes, IfMissing, Overwrite,
    PassthroughWhiteouts, Sharing, SkipList, Whiteouts, checkout, checkout_all,
};
use treeferry_core::repo::Repo;

const MODES: [FsMode; 4] = [
    FsMode::Bare,
    FsMode::BareUser,
    FsMode::BareUserOnly,
    FsMode::Archive,
];

/// All that can be seen of a file, from outside.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    kind: String,
    mode: u32,
    owner: (u32, u32),
    /// `None` for now: the time of the checkout.
    time: Option<i64>,
    xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    content: Vec<u8>,
    /// Whether it is a hard link into the repository.
    is_object: bool,
}

type Tree = BTreeMap<PathBuf, Seen>;

fn see(dir: &Path, objects: &HashSet<u64>) -> Tree {
    let mut tree = Tree::new();
    let mut todo = vec![dir.to_path_buf()];
    while let Some(path) = todo.pop() {
        let Ok(stat) = path.symlink_metadata() else {
            continue;
        };
        let kind = stat.file_type();
        let content = if kind.is_symlink() {
            fs::read_link(&path)
                .unwrap()
                .as_os_str()
                .as_bytes()
                .to_vec()
        } else if kind.is_file() {
            fs::read(&path).unwrap()
        } else {
            stat.rdev().to_le_bytes().to_vec()
        };
        if kind.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        }
        let seen = Seen {
            kind: format!(
                "{}{}{}",
                if kind.is_dir() { "dir" } else { "" },
                if kind.is_symlink() { "link" } else { "" },
                if kind.is_char_device() { "device" } else { "" }
            ),
            mode: stat.mode() & 0o7777,
            owner: (stat.uid(), stat.gid()),
            // Symbolic links in the objects of a bare repository have the time of the commit.
            time: (stat.mtime() < 1_000_000).then_some(stat.mtime()),
            xattrs: read_xattrs(&path),
            content,
            is_object: objects.contains(&stat.ino()),
        };
        tree.insert(path.strip_prefix(dir).unwrap().to_path_buf(), seen);
    }
    tree
}

fn read_xattrs(path: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut names = vec![0; 65536];
    let n = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let names = names[..n].split(|b| *b == 0).filter(|n| !n.is_empty());
    let get = |name: &[u8]| {
        let mut value = vec![0; 65536];
        let n = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
        (name.to_vec(), value[..n].to_vec())
    };
    names.map(get).collect()
}

fn inodes(dir: &Path) -> HashSet<u64> {
    let mut inodes = HashSet::new();
    for part in fs::read_dir(dir).unwrap() {
        for object in fs::read_dir(part.unwrap().path()).unwrap() {
            inodes.insert(object.unwrap().path().symlink_metadata().unwrap().ino());
        }
    }
    inodes
}

fn differences(theirs: &Tree, ours: &Tree) -> Vec<String> {
    let mut differences = Vec::new();
    let short = |seen: Option<&Seen>| {
        seen.map(|s| Seen {
            kind: s.kind.clone(),
            xattrs: s.xattrs.clone(),
            content: s.content[..s.content.len().min(40)].to_vec(),
            ..*s
        })
    };
    for path in theirs.keys().chain(ours.keys()).collect::<HashSet<_>>() {
        let (a, b) = (theirs.get(path), ours.get(path));
        if a != b {
            differences.push(format!(
                "{path:?}\n  C    {:?}\n  ours {:?}",
                short(a),
                short(b)
            ));
        }
    }
    differences
}

/// A repository that the C `ostree` wrote, in a temporary directory.
struct Place {
    dir: tempfile::TempDir,
    mode: FsMode,
    repo: Repo,
}

impl Place {
    async fn new(mode: FsMode, fill: impl Fn(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        fs::create_dir(&tree).unwrap();
        fill(&tree);
        let repo = format!("--repo={}", dir.path().join("repo").display());
        ostree(&[&repo, "init", &format!("--mode={mode}")]);
        let mut args = vec![&*repo, "commit", "-b", "b", "--timestamp=@1"];
        if mode == FsMode::BareUserOnly {
            args.extend(["--no-xattrs", "--canonical-permissions"]);
        }
        args.push(tree.to_str().unwrap());
        ostree(&args);
        let repo = Repo::new(Arc::new(open(&dir.path().join("repo")).await));
        Self { dir, mode, repo }
    }

    /// Checks out with both, into destinations that `prepare` made the same, and compares.
    async fn compare(&self, case: &Case) {
        let destination = |name: &str| {
            let path = self.dir.path().join(name);
            if let Some(prepare) = case.prepare {
                fs::create_dir(&path).unwrap();
                prepare(&path);
            }
            path
        };
        let (theirs, ours) = (destination("theirs"), destination("ours"));
        let repo = format!("--repo={}", self.dir.path().join("repo").display());
        let mut args = vec![&*repo, "checkout", "--disable-cache"];
        args.extend(case.args.split_whitespace());
        let from = self.dir.path().join("from");
        let from_file = format!("--from-file={}", from.display());
        let skip = self.dir.path().join("skip");
        let skip_list = format!("--skip-list={}", skip.display());
        if !case.skip.is_empty() {
            fs::write(&skip, case.skip.join("\n") + "\n").unwrap();
            args.push(&skip_list);
        }
        match case.subpaths {
            [] => args.push("b"),
            many => {
                let list: String = many.iter().map(|path| format!("b\0{path}\0")).collect();
                fs::write(&from, list).unwrap();
                args.push(&from_file);
            }
        }
        args.push(theirs.to_str().unwrap());
        let (c_succeeded, c_said) = try_ostree(&args);

        let commit = self.repo.resolve("b").await.unwrap();
        let options = case.options();
        let to = Destination::path(&ours);
        let result = match case.subpaths {
            [] => checkout(&self.repo, &CheckoutItem::commit(commit), &to, &options).await,
            many => {
                let item = |path: &&str| CheckoutItem {
                    if_missing: IfMissing::Fail,
                    ..CheckoutItem::subpath(commit, *path)
                };
                let items: Vec<_> = many.iter().map(item).collect();
                checkout_all(&self.repo, &items, &to, &options).await
            }
        };
        let what = format!("{} {case:?}: C said {c_said:?}, we {result:?}", self.mode);
        assert_eq!(c_succeeded, result.is_ok(), "{what}");
        if c_succeeded {
            let objects = inodes(&self.dir.path().join("repo/objects"));
            let differences = differences(&see(&theirs, &objects), &see(&ours, &objects));
            assert!(differences.is_empty(), "{what}\n{}", differences.join("\n"));
        }
        for path in [theirs, ours] {
            if path.exists() {
                fs::remove_dir_all(path).unwrap();
            }
        }
    }
}

/// One way to call both.
#[derive(Default, Clone, Copy)]
struct Case {
    args: &'static str,
    subpaths: &'static [&'static str],
    skip: &'static [&'static str],
    prepare: Option<fn(&Path)>,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "'{}' {:?} {:?}", self.args, self.subpaths, self.skip)
    }
}

impl Case {
    fn options(&self) -> CheckoutOptions {
        let mut options = CheckoutOptions::default();
        for arg in self.args.split_whitespace() {
            match arg {
                "-U" => options.mode = CheckoutMode::User,
                "-C" => options.sharing = Sharing::Copies,
                "-H" => options.sharing = Sharing::LinksOnly,
                "-M" => options.dir_modes = DirModes::BareUserOnly,
                "--union" => options.overwrite = Overwrite::UnionFiles,
                "--union-add" => options.overwrite = Overwrite::AddFiles,
                "--union-identical" => options.overwrite = Overwrite::UnionIdentical,
                "--whiteouts" => options.whiteouts = Whiteouts::Process,
                "--process-passthrough-whiteouts" => {
                    options.passthrough_whiteouts = PassthroughWhiteouts::Process;
                }
                other => panic!("{other}"),
            }
        }
        options.skip = SkipList::new(self.skip.iter().map(|path| (*path).to_owned()));
        options
    }
}

fn case(args: &'static str) -> Case {
    Case {
        args,
        ..Case::default()
    }
}

fn write(path: &Path, content: &str, mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

fn odd(dir: &Path) {
    odd_tree(dir);
    add_root_oddities(dir);
    fs::create_dir_all(dir.join("shared/private")).unwrap();
    chown(dir.join("shared"), Some(7), Some(8)).unwrap();
    fs::set_permissions(dir.join("shared"), PermissionsExt::from_mode(0o3777)).unwrap();
    fs::set_permissions(dir.join("shared/private"), PermissionsExt::from_mode(0o500)).unwrap();
    write(&dir.join("shared/writable-only"), "w", 0o222);
    write(&dir.join("shared/sticky"), "s", 0o7644);
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(dir.join("shared"), "user.dir", b"d", flags).unwrap();
    rustix::fs::lsetxattr(dir.join("sub/link"), "trusted.link", b"l", flags).unwrap();
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
async fn every_mode_is_checked_out_with_every_way_of_sharing() {
    for mode in MODES {
        let place = Place::new(mode, odd).await;
        for args in [
            "",
            "-U",
            "-C",
            "-U -C",
            "-H",
            "-U -H",
            "-M",
            "-U -M",
            "-U -M -C",
            "--union",
            "--union-add -U",
        ] {
            place.compare(&case(args)).await;
        }
    }
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
async fn parts_are_checked_out() {
    for mode in MODES {
        let place = Place::new(mode, odd).await;
        let subpaths: &[&[&str]] = &[
            &["/sub"],
            &["sub/deep"],
            &["/plain"],
            &["/sub/link"],
            &["/empty"],
            &["/nowhere"],
            &["/plain/below"],
            &["/plain", "/sub/large", "/dangling"],
            &["/plain", "/plain"],
            &["/sub", "/shared"],
        ];
        for subpaths in subpaths {
            for args in ["-U", "", "--union", "--union-add", "-U --union"] {
                let case = Case {
                    subpaths,
                    ..case(args)
                };
                place.compare(&case).await;
            }
        }
        for prepare in [
            |_: &Path| {},
            |dir: &Path| write(&dir.join("plain"), "old", 0o644),
        ] {
            let case = Case {
                subpaths: &["/plain"],
                prepare: Some(prepare),
                ..case("-U")
            };
            place.compare(&case).await;
        }
    }
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
async fn skipped_paths_are_left_out() {
    let place = Place::new(FsMode::Bare, odd).await;
    let lists: &[&[&str]] = &[
        &["/plain", "/sub/large"],
        &["/sub/"],
        &["/sub", "plain", "/nothing", "/sub/deep/empty/"],
        &["/"],
        &["/large", "/deep/", "/sub/large"],
    ];
    for skip in lists {
        for subpaths in [&[][..], &["/sub"]] {
            place
                .compare(&Case {
                    skip,
                    subpaths,
                    ..Case::default()
                })
                .await;
        }
    }
}

fn layer(dir: &Path) {
    for (name, content) in [
        ("new", "n"),
        ("same", "same"),
        ("other", "theirs"),
        ("zero", ""),
    ] {
        write(&dir.join(name), content, 0o644);
        write(&dir.join("dir").join(name), content, 0o644);
    }
    write(&dir.join("mode"), "m", 0o600);
    write(&dir.join("unreadable"), "m", 0);
    write(&dir.join("xattr"), "x", 0o644);
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(dir.join("xattr"), "user.x", b"x", flags).unwrap();
    symlink("same", dir.join("link")).unwrap();
    symlink("theirs", dir.join("other-link")).unwrap();
    fs::create_dir(dir.join("new-dir")).unwrap();
}

fn aged(path: &Path) {
    let time = rustix::fs::Timespec {
        tv_sec: 5,
        tv_nsec: 0,
    };
    let times = rustix::fs::Timestamps {
        last_access: time,
        last_modification: time,
    };
    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, flags).unwrap();
}

fn existing(dir: &Path, name: &str, content: &str, mode: u32) {
    write(&dir.join(name), content, mode);
    aged(&dir.join(name));
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
async fn unions_treat_what_exists_alike() {
    let prepares: &[fn(&Path)] = &[
        |dir| {
            fs::create_dir(dir.join("dir")).unwrap();
            fs::set_permissions(dir.join("dir"), PermissionsExt::from_mode(0o700)).unwrap();
            existing(dir, "dir/kept", "k", 0o644);
            aged(&dir.join("dir"));
            fs::set_permissions(dir, PermissionsExt::from_mode(0o711)).unwrap();
        },
        |dir| existing(dir, "same", "same", 0o644),
        |dir| existing(dir, "dir/same", "same", 0o644),
        |dir| existing(dir, "other", "ours", 0o644),
        |dir| existing(dir, "same", "same", 0o600),
        |dir| existing(dir, "mode", "m", 0o644),
        |dir| existing(dir, "zero", "", 0o644),
        |dir| existing(dir, "zero", "", 0o600),
        |dir| existing(dir, "zero", "ours", 0o644),
        |dir| existing(dir, "unreadable", "m", 0),
        |dir| existing(dir, "xattr", "x", 0o644),
        |dir| {
            existing(dir, "same", "same", 0o644);
            chown(dir.join("same"), Some(3), Some(4)).unwrap();
        },
        |dir| symlink("same", dir.join("link")).unwrap(),
        |dir| symlink("ours", dir.join("other-link")).unwrap(),
        |dir| symlink("/tmp/nowhere", dir.join("other")).unwrap(),
        |dir| existing(dir, "link", "ours", 0o644),
        |dir| existing(dir, "dir", "ours", 0o644),
        |dir| fs::create_dir(dir.join("other")).unwrap(),
        |dir| existing(dir, "zero/in", "ours", 0o644),
        |dir| fs::create_dir(dir.join("other-link")).unwrap(),
    ];
    for mode in MODES {
        let place = Place::new(mode, layer).await;
        for args in [
            "--union",
            "--union-add",
            "--union-identical -H",
            "-U --union",
            "-U --union-add",
            "-U --union-identical -H",
            "-C --union",
            "-C --union-add",
        ] {
            for prepare in prepares {
                place
                    .compare(&Case {
                        prepare: Some(*prepare),
                        ..case(args)
                    })
                    .await;
            }
        }
    }
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
async fn a_destination_that_exists_is_refused() {
    let place = Place::new(FsMode::Bare, layer).await;
    place
        .compare(&Case {
            prepare: Some(|_| {}),
            ..Case::default()
        })
        .await;
}

fn whiteouts(dir: &Path) {
    write(&dir.join("opaque/.wh..wh..opq"), "", 0o644);
    write(&dir.join("opaque/new"), "n", 0o644);
    write(&dir.join("b/.wh.dir"), "", 0o644);
    write(&dir.join("b/.wh.file"), "content", 0o600);
    write(&dir.join("b/file"), "again", 0o600);
    write(&dir.join("b/.wh.nothing"), "", 0o644);
    symlink("x", dir.join("b/.wh.link")).unwrap();
    fs::create_dir(dir.join("b/.wh.is-dir")).unwrap();
    write(&dir.join("c/.ostree-wh.file"), "", 0o640);
    write(&dir.join("c/.ostree-wh.setuid"), "content", 0o4777);
    write(&dir.join("c/.ostree-wh.owned"), "", 0o600);
    chown(dir.join("c/.ostree-wh.owned"), Some(3), Some(4)).unwrap();
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(dir.join("c/.ostree-wh.owned"), "trusted.x", b"x", flags).unwrap();
    symlink("x", dir.join("c/.ostree-wh.link")).unwrap();
    fs::create_dir(dir.join("c/.ostree-wh.is-dir")).unwrap();
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
async fn whiteouts_do_what_they_ask_for() {
    fn device(dir: &Path, mode: u32) {
        fs::create_dir(dir.join("c")).unwrap();
        let path = dir.join("c/file");
        let kind = rustix::fs::FileType::CharacterDevice;
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode.into(), 0).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        aged(&path);
    }
    let prepares: &[Option<fn(&Path)>] = &[
        None,
        Some(|_| {}),
        Some(|dir| {
            existing(dir, "opaque/gone", "g", 0o644);
            existing(dir, "opaque/dir/gone", "g", 0o644);
            existing(dir, "b/file", "g", 0o644);
            existing(dir, "b/dir/a/b/c", "g", 0o644);
            symlink("/", dir.join("b/dir/a/root")).unwrap();
            existing(dir, "b/kept", "k", 0o644);
            existing(dir, "c/kept", "k", 0o644);
        }),
        Some(|dir| existing(dir, "c/file", "k", 0o644)),
        Some(|dir| device(dir, 0o640)),
        Some(|dir| device(dir, 0o600)),
        Some(|dir| fs::create_dir_all(dir.join("c/file")).unwrap()),
    ];
    for mode in [FsMode::Bare, FsMode::BareUser, FsMode::Archive] {
        let place = Place::new(mode, whiteouts).await;
        for args in [
            "",
            "--whiteouts",
            "--union --whiteouts",
            "-U --union --whiteouts",
            "--union-add --whiteouts",
            "--process-passthrough-whiteouts",
            "-U --process-passthrough-whiteouts",
            "--union --process-passthrough-whiteouts",
            "-U --union --process-passthrough-whiteouts",
            "--union-add --process-passthrough-whiteouts",
            "--union-identical -H --process-passthrough-whiteouts",
            "-U --union-identical -H --process-passthrough-whiteouts",
        ] {
            for (number, prepare) in prepares.iter().enumerate() {
                if prepare.is_some() && !args.contains("--union") {
                    continue;
                }
                // In user mode the C `ostree` takes anything for the device; see below.
                let kind_matters = args.starts_with("-U --union-identical");
                if kind_matters && [3, 6].contains(&number) {
                    continue;
                }
                place
                    .compare(&Case {
                        prepare: *prepare,
                        ..case(args)
                    })
                    .await;
            }
        }
    }
}
