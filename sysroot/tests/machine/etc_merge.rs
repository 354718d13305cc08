//! The merge of `/etc` gives what the C `ostree` gives, on trees made by chance.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use treeferry_core::format::Checksum;
use treeferry_sysroot::etc_merge::{Blocked, EtcTree, Kind, MergePlan, Node, Strategies, plan};

use crate::rig::{Rig, Tree, make_tree, ostree, read, try_ostree, write};

/// Numbers that look random, the same each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// What a tree of configuration is made of, with the content of its files.
type Paths = std::collections::BTreeMap<PathBuf, Thing>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Thing {
    Dir(u32),
    File(u32, u64),
    Link(u64),
    Pipe,
}

fn random_thing(chance: &mut Chance, pipes: bool) -> Thing {
    match chance.below(10) {
        0..=3 => Thing::Dir([0o755, 0o700][chance.below(2) as usize]),
        4..=7 => Thing::File([0o644, 0o600][chance.below(2) as usize], chance.below(4)),
        8 => Thing::Link(chance.below(3)),
        _ if pipes => Thing::Pipe,
        _ => Thing::File(0o644, chance.below(4)),
    }
}

fn random_path(chance: &mut Chance, paths: &Paths) -> PathBuf {
    let dirs: Vec<_> = paths
        .iter()
        .filter(|(_, t)| matches!(t, Thing::Dir(_)))
        .collect();
    let dirs: Vec<_> = dirs
        .iter()
        .filter(|(p, _)| p.components().count() < 3)
        .collect();
    let parent = match chance.below(dirs.len() as u64 + 1) {
        0 => PathBuf::new(),
        n => dirs[n as usize - 1].0.clone(),
    };
    parent.join(["a", "b", "c"][chance.below(3) as usize])
}

fn put(paths: &mut Paths, path: PathBuf, thing: Thing) {
    let keeps_children =
        matches!(thing, Thing::Dir(_)) && matches!(paths.get(&path), Some(Thing::Dir(_)));
    if !keeps_children {
        paths.retain(|p, _| !p.starts_with(&path));
    }
    paths.insert(path, thing);
}

fn change(chance: &mut Chance, paths: &Paths, times: u64, pipes: bool) -> Paths {
    let mut paths = paths.clone();
    for _ in 0..chance.below(times + 1) {
        let existing: Vec<_> = paths.keys().cloned().collect();
        let path = match chance.below(3) {
            0 => random_path(chance, &paths),
            _ if existing.is_empty() => continue,
            _ => existing[chance.below(existing.len() as u64) as usize].clone(),
        };
        match chance.below(4) {
            0 => paths.retain(|p, _| !p.starts_with(&path)),
            _ => {
                let thing = random_thing(chance, pipes);
                put(&mut paths, path, thing);
            }
        }
    }
    paths
}

fn triple(chance: &mut Chance) -> [Paths; 3] {
    let old = change(chance, &Paths::new(), 8, false);
    let mine = change(chance, &old, 4, true);
    let new = change(chance, &old, 4, false);
    [old, mine, new]
}

fn to_tree(paths: &Paths) -> EtcTree {
    let one = |thing: &Thing| {
        let (kind, mode) = match thing {
            Thing::Dir(mode) => (Kind::Dir, *mode),
            Thing::File(mode, n) => (Kind::File(Checksum::of(content(*n).as_bytes())), *mode),
            Thing::Link(n) => (Kind::Symlink(target(*n).into()), 0o777),
            Thing::Pipe => (Kind::Special, 0o644),
        };
        Node {
            kind,
            mode,
            uid: 0,
            gid: 0,
        }
    };
    EtcTree(
        paths
            .iter()
            .map(|(path, thing)| (path.clone(), one(thing)))
            .collect(),
    )
}

fn content(number: u64) -> String {
    format!("content {number}")
}

/// Links lead nowhere: where they lead to a directory, the C `ostree` follows them.
fn target(number: u64) -> String {
    format!("nowhere-{number}")
}

fn write_paths(root: &Path, paths: &Paths) {
    fs::create_dir_all(root).unwrap();
    let set_mode =
        |path: &Path, mode| fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    for (path, thing) in paths {
        let path = root.join(path);
        match thing {
            Thing::Dir(mode) => {
                fs::create_dir(&path).unwrap();
                set_mode(&path, *mode);
            }
            Thing::File(mode, number) => {
                fs::write(&path, content(*number)).unwrap();
                set_mode(&path, *mode);
            }
            Thing::Link(number) => symlink(target(*number), &path).unwrap(),
            Thing::Pipe => {
                rustix::fs::mknodat(
                    rustix::fs::CWD,
                    &path,
                    rustix::fs::FileType::Fifo,
                    rustix::fs::Mode::from_raw_mode(0o644),
                    0,
                )
                .unwrap();
                set_mode(&path, 0o644);
            }
        }
    }
}

fn decide([old, mine, new]: &[Paths; 3]) -> Result<MergePlan, Blocked> {
    plan(
        &to_tree(old),
        &to_tree(mine),
        &to_tree(new),
        &Strategies::default(),
    )
}

/// Puts triples into the `/etc` of one system, side by side, and returns the system and the commit
/// that is to be deployed.
async fn packed(triples: &[[Paths; 3]]) -> (Rig, Checksum) {
    let mut rig = Rig::new().await;
    let (one, two) = (rig.dir.path().join("one"), rig.dir.path().join("two"));
    make_tree(&one, Tree::default());
    make_tree(
        &two,
        Tree {
            version: "2",
            ..Tree::default()
        },
    );
    for (index, [old, _, new]) in triples.iter().enumerate() {
        write_paths(&one.join(format!("usr/etc/t{index}")), old);
        write_paths(&two.join(format!("usr/etc/t{index}")), new);
    }
    let one = rig.commit_dir(&one, "1").await;
    rig.deploy(one).await.unwrap();
    let etc = rig.path(0).await.join("etc");
    for (index, [old, mine, _]) in triples.iter().enumerate() {
        if mine != old {
            let root = etc.join(format!("t{index}"));
            fs::remove_dir_all(&root).unwrap();
            write_paths(&root, mine);
        }
    }
    let two = rig.commit_dir(&two, "2").await;
    (rig, two)
}

fn deploy_by_c(rig: &Rig) -> (bool, String) {
    let root = format!("--sysroot={}", rig.root().display());
    let (ok, _, err) = try_ostree(&["admin", &root, "deploy", "--retain", "--os=os", "os/stable"]);
    (ok, err)
}

/// Compares `count` triples that can be merged, packed, and `alone` that cannot, each alone.
async fn compare(seed: u64, count: usize, alone: usize) {
    const PACK: usize = 2500;
    let mut chance = Chance(seed);
    let (mut merged, mut blocked) = (Vec::new(), Vec::new());
    let mut tried = 0;
    while merged.len() < count || blocked.len() < alone {
        let triple = triple(&mut chance);
        tried += 1;
        match decide(&triple) {
            Ok(_) if merged.len() < count => merged.push(triple),
            Err(by) if blocked.len() < alone => blocked.push((triple, by)),
            _ => {}
        }
    }
    for pack in merged.chunks(PACK) {
        let (rig, _) = packed(pack).await;
        let (ok, err) = deploy_by_c(&rig);
        assert!(ok, "{err}");
        let theirs = rig.path(0).await;
        // The same again by ours, from the same place.
        let state = rig.sysroot.load().await.unwrap();
        let mut new = rig.new_deployment(&state, state.deployments[0].id.checksum);
        new.merge = Some(state.deployments[1].clone());
        let ours = rig.sysroot.deploy(&new).await.unwrap().deployment;
        let ours = rig.sysroot.layout().deployment(&ours.id);
        for (index, triple) in pack.iter().enumerate() {
            let read = |root: &Path| EtcTree::read(&root.join(format!("etc/t{index}"))).unwrap();
            let expected = read(&theirs);
            assert_eq!(
                decide(triple).unwrap().result,
                expected,
                "decided for {triple:?}"
            );
            assert_eq!(read(&ours), expected, "made for {triple:?}");
        }
    }
    for (triple, by) in &blocked {
        let (rig, _) = packed(std::slice::from_ref(triple)).await;
        let (ok, err) = deploy_by_c(&rig);
        assert!(
            !ok,
            "the C ostree merged what is blocked here by {by:?}: {triple:?}"
        );
        assert!(err.contains("/etc merge") || err.contains("ommon"), "{err}");
    }
    println!(
        "{tried} triples were made; {} merged as by the C ostree, {} stopped as there",
        merged.len(),
        blocked.len()
    );
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
async fn trees_made_by_chance_are_merged_as_by_ostree() {
    compare(0x5eed, 1000, 10).await;
}

#[tokio::test]
#[ignore = "takes minutes"]
async fn ten_thousand_trees_made_by_chance_are_merged_as_by_ostree() {
    compare(0xfee1_600d, 10_000, 200).await;
}

#[tokio::test]
async fn the_report_is_kept_and_a_dry_run_changes_nothing() {
    let mut rig = Rig::new().await;
    let files: &[(&str, &str)] = &[("usr/etc/a", "1"), ("usr/etc/b", "1")];
    let one = rig
        .commit(Tree {
            files,
            ..Tree::default()
        })
        .await;
    rig.deploy(one).await.unwrap();
    write(&rig.path(0).await, "etc/a", "mine");
    let files: &[(&str, &str)] = &[("usr/etc/a", "2"), ("usr/etc/b", "2")];
    let two = rig
        .commit(Tree {
            version: "2",
            files,
            ..Tree::default()
        })
        .await;
    let deployed = rig.deploy(two).await.unwrap();
    let state = rig.sysroot.load().await.unwrap();
    let (new, old) = (&state.deployments[0].id, &state.deployments[1].id);
    let kept = rig.sysroot.etc_merge_report(new).await.unwrap().unwrap();
    assert_eq!(kept, deployed.etc.unwrap().to_json());
    assert!(
        kept.contains("both-changed") && kept.contains("\"replaced\""),
        "{kept}"
    );
    let dry = rig
        .sysroot
        .plan_etc_merge(old, new, &Strategies::default())
        .await
        .unwrap();
    assert_eq!(dry.report.to_json(), kept);
    assert_eq!(read(rig.path(0).await.join("etc/a")), "mine");
    assert_eq!(read(rig.path(0).await.join("etc/b")), "2");
    let diff = rig.sysroot.config_diff(old).await.unwrap();
    assert_eq!(diff, [('M', PathBuf::from("a"))]);
    // The other one was not merged.
    assert_eq!(rig.sysroot.etc_merge_report(old).await.unwrap(), None);
}

#[tokio::test]
async fn strategies_are_carried_out() {
    let mut rig = Rig::new().await;
    let files: &[(&str, &str)] = &[("usr/etc/a", "1"), ("usr/etc/b", "1"), ("usr/etc/c", "1")];
    let one = rig
        .commit(Tree {
            files,
            ..Tree::default()
        })
        .await;
    rig.deploy(one).await.unwrap();
    for path in ["etc/a", "etc/b", "etc/c"] {
        write(&rig.path(0).await, path, "mine");
    }
    let files: &[(&str, &str)] = &[("usr/etc/a", "2"), ("usr/etc/b", "2"), ("usr/etc/c/x", "2")];
    let two = rig
        .commit(Tree {
            version: "2",
            files,
            ..Tree::default()
        })
        .await;
    let state = rig.sysroot.load().await.unwrap();
    let mut new = rig.new_deployment(&state, two);
    let rules = [("a", "take-new"), ("b", "beside"), ("c", "keep-mine")];
    let rules =
        rules.map(|(pattern, strategy)| (pattern.parse().unwrap(), strategy.parse().unwrap()));
    new.strategies = Strategies::new(rules.to_vec());
    rig.deploy_new(&state, &new).await.unwrap();
    let etc = rig.path(0).await.join("etc");
    let found = ["a", "b", "b.ostnew", "c"].map(|name| read(etc.join(name)));
    assert_eq!(found, ["2", "mine", "2", "mine"]);
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
async fn config_diff_is_the_one_of_ostree() {
    let mut rig = Rig::new().await;
    let files: &[(&str, &str)] = &[
        ("usr/etc/a", "1"),
        ("usr/etc/d/b", "1"),
        ("usr/etc/gone", "1"),
    ];
    let one = rig
        .commit(Tree {
            files,
            ..Tree::default()
        })
        .await;
    rig.deploy(one).await.unwrap();
    let root = rig.path(0).await;
    write(&root, "etc/a", "2");
    write(&root, "etc/new/x", "x");
    fs::remove_file(root.join("etc/gone")).unwrap();
    let state = rig.sysroot.load().await.unwrap();
    let ours = rig
        .sysroot
        .config_diff(&state.deployments[0].id)
        .await
        .unwrap();
    let mut ours: Vec<_> = ours
        .iter()
        .map(|(l, p)| format!("{l}    {}", p.display()))
        .collect();
    let sysroot = format!("--sysroot={}", rig.root().display());
    let theirs = ostree(&["admin", "config-diff", &sysroot, "--os=os"]);
    let mut theirs: Vec<_> = theirs.lines().map(str::to_owned).collect();
    ours.sort();
    theirs.sort();
    assert_eq!(ours, theirs);
}
