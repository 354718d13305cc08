//! Both implementations do the same, say the same, and go on where the other stopped.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use treeferry_core::format::Checksum;
use treeferry_sysroot::{Cleanup, EntryNaming, KernelArgs, OpenOptions, Pinned, Sysroot};

use crate::rig::{Rig, Tree, listing, ostree, read, write};

fn old_names(options: &mut OpenOptions) {
    options.naming = EntryNaming::RankAndStateroot;
}

/// Returns what our `status` prints.
async fn status(sysroot: &Sysroot) -> String {
    let state = sysroot.load().await.unwrap();
    let all = state.status(sysroot.repo()).await.unwrap();
    let lines: Vec<_> = all
        .iter()
        .flat_map(|status| status.lines(("", "")))
        .collect();
    lines.join("\n") + "\n"
}

/// Returns what the C `ostree` prints.
fn status_of_c(root: &Path) -> String {
    ostree(&["admin", "status", &format!("--sysroot={}", root.display())])
}

async fn agree(rig: &Rig, step: &str) {
    assert_eq!(
        status(&rig.sysroot).await,
        status_of_c(&rig.root()),
        "{step}"
    );
    rig.check_bootable().await;
}

/// A step of a life, done by one implementation or the other.
#[derive(Debug, Clone)]
enum Step {
    Deploy(Checksum, &'static [&'static str]),
    Undeploy(usize),
    Pin(usize),
    Change(&'static str, &'static str),
    SetKargs(&'static str),
    Cleanup,
}

async fn ours(rig: &Rig, step: &Step) {
    let sysroot = &rig.sysroot;
    let state = sysroot.load().await.unwrap();
    match step {
        Step::Deploy(commit, args) => {
            let mut new = rig.new_deployment(&state, *commit);
            if !args.is_empty() {
                let merge = new.merge.as_ref();
                let mut kargs = merge.map_or_else(KernelArgs::new, |d| d.entry.args());
                args.iter().for_each(|arg| kargs.replace(arg));
                new.kargs = Some(kargs);
            }
            rig.deploy_new(&state, &new).await.unwrap();
        }
        Step::Undeploy(index) => {
            sysroot.undeploy(&state, *index).await.unwrap();
            sysroot.cleanup(Cleanup::AndRepo).await.unwrap();
        }
        Step::Pin(index) => assert!(sysroot.pin(&state, *index, Pinned::Yes).await.unwrap()),
        Step::SetKargs(args) => {
            let id = state.deployments[0].id.clone();
            sysroot
                .set_args_in_place(&state, &id, &KernelArgs::parse(args))
                .await
                .unwrap();
            sysroot.cleanup(Cleanup::Deployments).await.unwrap();
        }
        Step::Change(..) => change(rig, step).await,
        Step::Cleanup => drop(sysroot.cleanup(Cleanup::AndRepo).await.unwrap()),
    }
}

async fn theirs(rig: &Rig, step: &Step) {
    let root = format!("--sysroot={}", rig.root().display());
    let run = |args: &[&str]| drop(ostree(&[&["admin"], args, &[root.as_str()]].concat()));
    match step {
        Step::Deploy(commit, args) => {
            let args: Vec<_> = args.iter().map(|arg| format!("--karg={arg}")).collect();
            let args: Vec<_> = args.iter().map(String::as_str).collect();
            // Both record where it comes from.
            ostree(&[&repo(rig), "reset", "os/stable", &commit.to_string()]);
            run(&[&["deploy", "--os=os", "os/stable"], args.as_slice()].concat());
        }
        Step::Undeploy(index) => run(&["undeploy", &index.to_string()]),
        Step::Pin(index) => run(&["pin", &index.to_string()]),
        Step::SetKargs(args) => {
            let args: Vec<_> = args.split(' ').collect();
            run(&[&["instutil", "set-kargs"], args.as_slice()].concat());
        }
        Step::Change(..) => change(rig, step).await,
        Step::Cleanup => run(&["cleanup"]),
    }
}

fn repo(rig: &Rig) -> String {
    format!("--repo={}", rig.sysroot.layout().repo().display())
}

async fn change(rig: &Rig, step: &Step) {
    if let Step::Change(path, content) = step {
        write(&rig.path(0).await.join("etc"), path, content);
    }
}

async fn life(rig: &mut Rig) -> Vec<Step> {
    let files: &[(&str, &str)] = &[
        ("usr/etc/d/default", "1"),
        ("usr/lib/modules/6.1/devicetree", "dt"),
    ];
    let commits = [
        rig.commit(Tree::default()).await,
        rig.commit(Tree {
            version: "2",
            files,
            ..Tree::default()
        })
        .await,
        rig.commit(Tree {
            version: "3",
            kernel: "kernel 2",
            files: &[],
        })
        .await,
    ];
    let [one, two, three] = commits;
    // What a cleanup would prune is held by refs of their own.
    for (index, commit) in commits.iter().enumerate() {
        ostree(&[
            &repo(rig),
            "refs",
            "--create",
            &format!("keep/{index}"),
            &commit.to_string(),
        ]);
    }
    vec![
        Step::Deploy(one, &["root=LABEL=x", "quiet"]),
        Step::Deploy(one, &[]),
        Step::Change("d/mine", "x"),
        Step::Deploy(two, &[]),
        Step::Deploy(two, &["quiet=1"]),
        Step::Pin(1),
        Step::Change("shipped.conf", "changed"),
        Step::Deploy(three, &[]),
        Step::SetKargs("a=1 b"),
        Step::Undeploy(0),
        Step::Deploy(two, &["c"]),
        Step::Cleanup,
    ]
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
async fn step_by_step_the_same_files_come_out() {
    let (mut we, mut they) = (Rig::with(old_names).await, Rig::with(old_names).await);
    let (steps, same) = (life(&mut we).await, life(&mut they).await);
    for (index, (step, other)) in steps.iter().zip(&same).enumerate() {
        ours(&we, step).await;
        theirs(&they, other).await;
        let step = format!("step {index}: {step:?}");
        agree(&we, &step).await;
        let (ours, theirs) = (listing(&we.root()), listing(&they.root()));
        for path in ours.keys().chain(theirs.keys()) {
            assert_eq!(ours.get(path), theirs.get(path), "{path} after {step}");
        }
        let refs = |rig: &Rig| ostree(&[&repo(rig), "refs", "ostree"]);
        assert_eq!(refs(&we), refs(&they), "{step}");
    }
    ostree(&[&repo(&we), "fsck", "-q"]);
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
async fn each_goes_on_where_the_other_stopped() {
    for first_is_ours in [true, false] {
        let mut rig = Rig::with(old_names).await;
        for (index, step) in life(&mut rig).await.iter().enumerate() {
            match (index % 2 == 0) == first_is_ours {
                true => ours(&rig, step).await,
                false => theirs(&rig, step).await,
            }
            agree(
                &rig,
                &format!("step {index}: {step:?}, ours first: {first_is_ours}"),
            )
            .await;
        }
        ostree(&[&repo(&rig), "fsck", "-q"]);
    }
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
async fn names_of_today_are_read_by_the_ostree_of_yesterday() {
    let mut rig = Rig::new().await;
    let one = rig.commit(Tree::default()).await;
    rig.deploy(one).await.unwrap();
    assert!(
        rig.root()
            .join("boot/loader/entries/ostree-1.conf")
            .exists()
    );
    agree(&rig, "one").await;
    let two = rig
        .commit(Tree {
            version: "2",
            ..Tree::default()
        })
        .await;
    theirs(&rig, &Step::Deploy(two, &[])).await;
    assert!(
        rig.root()
            .join("boot/loader/entries/ostree-2-os.conf")
            .exists()
    );
    agree(&rig, "two").await;
}

#[tokio::test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
async fn stateroots_stand_side_by_side_inside_another_system() {
    let mut rig = Rig::new().await;
    write(&rig.root(), "etc/fstab", "of the system that owns the root");
    let other = treeferry_sysroot::Stateroot::new("other").unwrap();
    let var = treeferry_sysroot::VarLayout::Empty;
    rig.sysroot.create_stateroot(&other, var).await.unwrap();
    let files: &[(&str, &str)] = &[("var/lib/app/state", "initial")];
    let one = rig
        .commit(Tree {
            files,
            ..Tree::default()
        })
        .await;
    rig.deploy(one).await.unwrap();
    let state = rig.sysroot.load().await.unwrap();
    let mut new = rig.new_deployment(&state, one);
    (new.stateroot, new.merge) = (other.clone(), None);
    rig.deploy_new(&state, &new).await.unwrap();
    agree(&rig, "two stateroots").await;
    let entry = read(rig.root().join("boot/loader/entries/ostree-2.conf"));
    assert!(entry.contains("title Test 1 (ostree:other:0)\n"), "{entry}");
    // Its /var was empty, and is filled once; the one that was not is left alone.
    let state_of = |os: &str| {
        rig.root()
            .join(format!("ostree/deploy/{os}/var/lib/app/state"))
    };
    assert_eq!(read(state_of("other")), "initial");
    assert!(!state_of("os").exists());
    fs::write(state_of("other"), "used").unwrap();
    let state = rig.sysroot.load().await.unwrap();
    new.merge = state.merge_source(&other).cloned();
    rig.deploy_new(&state, &new).await.unwrap();
    assert_eq!(read(state_of("other")), "used");
    assert_eq!(
        read(rig.root().join("etc/fstab")),
        "of the system that owns the root"
    );
}

#[tokio::test]
async fn a_tree_with_both_etc_and_usr_etc_is_refused_and_leaves_nothing() {
    let mut rig = Rig::new().await;
    let good = rig.commit(Tree::default()).await;
    rig.deploy(good).await.unwrap();
    let before = listing(&rig.root());
    let bad = rig
        .commit(Tree {
            files: &[("etc/x", "x")],
            ..Tree::default()
        })
        .await;
    let error = rig.deploy(bad).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("Tree contains both /etc and /usr/etc"),
        "{error}"
    );
    rig.sysroot.cleanup(Cleanup::Deployments).await.unwrap();
    assert_eq!(listing(&rig.root()), before);
    rig.check_bootable().await;
}

#[tokio::test]
async fn a_menu_entry_that_leads_nowhere_is_named() {
    let mut rig = Rig::new().await;
    let one = rig.commit(Tree::default()).await;
    rig.deploy(one).await.unwrap();
    let entries = rig.root().join("boot/loader/entries");
    fs::write(
        entries.join("ostree-9.conf"),
        "title x\nversion 9\noptions quiet\n",
    )
    .unwrap();
    let error = rig.sysroot.load().await.unwrap_err();
    assert!(error.to_string().contains("ostree-9.conf"), "{error}");
    // Entries of other systems are none of our business.
    fs::rename(entries.join("ostree-9.conf"), entries.join("windows.conf")).unwrap();
    rig.check_bootable().await;
    symlink("nowhere", rig.root().join("boot/loader.tmp")).unwrap();
    rig.check_bootable().await;
}
