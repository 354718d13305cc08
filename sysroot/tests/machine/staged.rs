//! Staged deployments, boots that succeed and boots that do not.

use std::fs;

use treeferry_sysroot::transition::Phase;
use treeferry_sysroot::{
    Deployment, Finalized, Locked, SoftRebootTarget, Staging, State, Unlocked,
};

use crate::rig::{Rig, Tree, read, write};

async fn booted_rig() -> (Rig, State) {
    let mut rig = Rig::new().await;
    let one = rig.commit(Tree::default()).await;
    rig.deploy(one).await.unwrap();
    rig.boot(0, "a").await;
    let state = rig.sysroot.load().await.unwrap();
    (rig, state)
}

async fn stage(rig: &mut Rig, tree: Tree<'_>, locked: Locked) -> State {
    let commit = rig.commit(tree).await;
    let state = rig.sysroot.load().await.unwrap();
    let new = rig.new_deployment(&state, commit);
    rig.sysroot.stage(&state, &new, locked).await.unwrap();
    rig.sysroot.load().await.unwrap()
}

const SECOND: Tree<'_> = Tree {
    version: "2",
    kernel: "kernel 2",
    files: &[],
};

fn names(state: &State) -> Vec<(u32, bool, Option<u32>)> {
    let tries = |d: &Deployment| {
        d.entry
            .name
            .as_ref()
            .and_then(|name| name.tries)
            .map(|t| t.left)
    };
    state
        .deployments
        .iter()
        .map(|d| (d.id.serial, d.is_staged(), tries(d)))
        .collect()
}

#[tokio::test]
async fn a_staged_deployment_gets_the_etc_of_when_the_machine_goes_down() {
    let (mut rig, _) = booted_rig().await;
    let state = stage(&mut rig, SECOND, Locked::No).await;
    assert_eq!(state.deployments[0].staging, Staging::Staged);
    assert_eq!((state.deployments.len(), state.booted), (2, Some(1)));
    // The menu is as before.
    assert!(
        !rig.root()
            .join("boot/loader/entries/ostree-2.conf")
            .exists()
    );
    write(&rig.path(1).await, "etc/late.conf", "written after staging");
    let done = rig.sysroot.finalize_staged(&state).await.unwrap();
    assert!(matches!(done, Finalized::Done { .. }));
    let state = rig.sysroot.load().await.unwrap();
    assert_eq!((state.deployments.len(), state.booted), (2, Some(1)));
    assert!(state.staged.is_none());
    assert_eq!(
        read(rig.path(0).await.join("etc/late.conf")),
        "written after staging"
    );
    rig.check_bootable().await;
    // It boots, and is good.
    rig.boot(0, "b").await;
    let state = rig.sysroot.load().await.unwrap();
    let report = rig.sysroot.boot_complete(&state).await.unwrap();
    assert_eq!(report.marked_good.as_ref(), Some(&state.deployments[0].id));
    assert!(rig.sysroot.transition().await.unwrap().is_none());
}

#[tokio::test]
async fn staging_again_replaces_what_was_staged() {
    let (mut rig, _) = booted_rig().await;
    let state = stage(&mut rig, SECOND, Locked::No).await;
    let before = rig.sysroot.layout().deployment(&state.deployments[0].id);
    let third = Tree {
        version: "3",
        ..SECOND
    };
    let state = stage(&mut rig, third, Locked::No).await;
    assert_eq!(state.deployments.len(), 2);
    assert!(!before.exists());
    assert!(rig.path(0).await.exists());
}

#[tokio::test]
async fn a_held_back_deployment_waits_until_it_is_let_go() {
    let (mut rig, _) = booted_rig().await;
    let state = stage(&mut rig, SECOND, Locked::Yes).await;
    assert_eq!(state.deployments[0].staging, Staging::Locked);
    let done = rig.sysroot.finalize_staged(&state).await.unwrap();
    assert!(matches!(done, Finalized::Locked));
    rig.sysroot
        .lock_finalization(&state, Locked::No)
        .await
        .unwrap();
    let state = rig.sysroot.load().await.unwrap();
    assert_eq!(state.deployments[0].staging, Staging::Staged);
    let done = rig.sysroot.finalize_staged(&state).await.unwrap();
    assert!(matches!(done, Finalized::Done { .. }));
}

#[tokio::test]
async fn what_is_not_booted_cannot_stage() {
    let mut rig = Rig::new().await;
    let one = rig.commit(Tree::default()).await;
    rig.deploy(one).await.unwrap();
    let state = rig.sysroot.load().await.unwrap();
    let new = rig.new_deployment(&state, one);
    let error = rig
        .sysroot
        .stage(&state, &new, Locked::No)
        .await
        .unwrap_err();
    let text = "Cannot stage deployment: Not currently booted into an OSTree system";
    assert_eq!(error.to_string(), text);
}

#[tokio::test]
async fn a_power_cut_before_the_machine_went_down_is_continued() {
    let (mut rig, _) = booted_rig().await;
    let staged = stage(&mut rig, SECOND, Locked::No).await.deployments[0]
        .id
        .clone();
    // /run is gone: the machine boots what it had.
    rig.boot(1, "b").await;
    let state = rig.sysroot.load().await.unwrap();
    assert_eq!(state.deployments.len(), 1);
    // Cleaning up leaves alone what is to be continued.
    rig.sysroot
        .cleanup(treeferry_sysroot::Cleanup::AndRepo)
        .await
        .unwrap();
    let report = rig.sysroot.boot_complete(&state).await.unwrap();
    assert_eq!(report.staged_again, Some(staged.clone()));
    let state = rig.sysroot.load().await.unwrap();
    assert_eq!(state.deployments[0].id, staged);
    rig.sysroot.finalize_staged(&state).await.unwrap();
    let state = rig.sysroot.load().await.unwrap();
    assert_eq!(state.deployments[0].id, staged);
    rig.check_bootable().await;
}

#[tokio::test]
async fn a_finalization_that_is_cut_off_anywhere_is_continued_or_done() {
    for failing in 1.. {
        let (mut rig, _) = booted_rig().await;
        let state = stage(&mut rig, SECOND, Locked::No).await;
        let staged = state.deployments[0].id.clone();
        write(&rig.path(1).await, "etc/mine.conf", "mine");
        rig.fail_next_sync(failing);
        let cut = rig.sysroot.finalize_staged(&state).await.is_err();
        rig.fail_next_sync(usize::MAX / 2);
        rig.check_bootable().await;
        if !cut {
            assert!(failing > 2, "nothing was cut");
            break;
        }
        // The record says why, though the machine was not asked to be down.
        let transition = rig.sysroot.transition().await.unwrap().unwrap();
        assert_eq!(transition.phase, Phase::Failed);
        assert!(transition.reason.unwrap().contains("the power went"));
        // As long as the machine runs it can be finalized again.
        let state = rig.sysroot.load().await.unwrap();
        if state.staged.is_some() {
            rig.sysroot.finalize_staged(&state).await.unwrap();
        }
        let state = rig.sysroot.load().await.unwrap();
        assert_eq!(state.deployments[0].id, staged);
        assert_eq!(read(rig.path(0).await.join("etc/mine.conf")), "mine");
        rig.check_bootable().await;
    }
}

#[tokio::test]
async fn why_finalization_failed_is_told_at_the_next_boot() {
    let (mut rig, _) = booted_rig().await;
    let state = stage(&mut rig, SECOND, Locked::No).await;
    // A directory stands where the administrator has a file: no merge can be.
    write(&rig.path(0).await, "usr/etc/conflict/x", "x");
    write(&rig.path(0).await, "etc/conflict/x", "x");
    write(&rig.path(1).await, "etc/conflict", "a file");
    let error = rig.sysroot.finalize_staged(&state).await.unwrap_err();
    assert!(
        error.to_string().contains("newly defaults to directory"),
        "{error}"
    );
    let stamp = rig.root().join("boot/ostree/finalize-failure.stamp");
    assert!(read(&stamp).contains("newly defaults to directory"));
    rig.boot(1, "b").await;
    let state = rig.sysroot.load().await.unwrap();
    let report = rig.sysroot.boot_complete(&state).await.unwrap();
    assert!(
        report
            .failure
            .unwrap()
            .contains("newly defaults to directory")
    );
    assert!(!stamp.exists());
    // Told once, and not tried again: nothing loops.
    let report = rig.sysroot.boot_complete(&state).await.unwrap();
    assert!(report.failure.is_none() && report.staged_again.is_none());
}

#[tokio::test]
async fn a_new_default_that_does_not_come_up_is_not_tried_for_ever() {
    let (mut rig, _) = booted_rig().await;
    let state = stage(&mut rig, SECOND, Locked::No).await;
    rig.sysroot.finalize_staged(&state).await.unwrap();
    let bad = rig.sysroot.load().await.unwrap().deployments[0].id.clone();
    // The boot loader gave up on it, and booted the other one.
    rig.boot(1, "b").await;
    let state = rig.sysroot.load().await.unwrap();
    let report = rig.sysroot.boot_complete(&state).await.unwrap();
    assert_eq!(report.fell_back_from, Some(bad.clone()));
    let state = rig.sysroot.load().await.unwrap();
    assert_eq!((state.booted, &state.deployments[1].id), (Some(0), &bad));
}

#[tokio::test]
async fn boots_are_counted_and_a_good_one_ends_that() {
    let mut rig = Rig::new().await;
    let repo = rig.sysroot.repo().clone();
    let set = |config: &mut treeferry_core::format::keyfile::KeyFile| {
        config
            .set_uint64("sysroot", "boot-counting-tries", 3)
            .unwrap();
        Ok(())
    };
    repo.change_config(set).await.unwrap();
    let one = rig.commit(Tree::default()).await;
    rig.deploy(one).await.unwrap();
    let entries = rig.root().join("boot/loader/entries");
    assert!(entries.join("ostree-1+3.conf").exists());
    rig.boot(0, "a").await;
    let state = rig.sysroot.load().await.unwrap();
    let report = rig.sysroot.boot_complete(&state).await.unwrap();
    assert!(report.marked_good.is_some());
    assert!(entries.join("ostree-1.conf").exists());
    // The next one is counted, this one is not any more.
    let two = rig.commit(SECOND).await;
    rig.deploy(two).await.unwrap();
    let state = rig.sysroot.load().await.unwrap();
    assert_eq!(names(&state), [(0, false, Some(3)), (0, false, None)]);
    // A boot loader counts it down to nothing and boots the other: that becomes the default.
    fs::rename(
        entries.join("ostree-2+3.conf"),
        entries.join("ostree-2+0-3.conf"),
    )
    .unwrap();
    rig.boot(1, "b").await;
    let state = rig.sysroot.load().await.unwrap();
    let report = rig.sysroot.boot_complete(&state).await.unwrap();
    assert_eq!(report.fell_back_from.map(|id| id.checksum), Some(two));
    let state = rig.sysroot.load().await.unwrap();
    assert_eq!(state.booted, Some(0));
}

#[tokio::test]
async fn what_looks_the_same_in_the_menu_is_counted_too() {
    let mut rig = Rig::new().await;
    let set = |config: &mut treeferry_core::format::keyfile::KeyFile| {
        config.set_uint64("sysroot", "boot-counting-tries", 2)?;
        Ok(())
    };
    rig.sysroot.repo().clone().change_config(set).await.unwrap();
    for (index, file) in ["a", "b", "c"].into_iter().enumerate() {
        let commit = rig
            .commit(Tree {
                files: &[("usr/share/file", file)],
                ..Tree::default()
            })
            .await;
        rig.deploy(commit).await.unwrap();
        let state = rig.sysroot.load().await.unwrap();
        assert_eq!(names(&state)[0].2, Some(2), "{file}");
        assert!(
            names(&state)[1..]
                .iter()
                .all(|(_, _, tries)| tries.is_none())
        );
        rig.boot(0, &index.to_string()).await;
        let state = rig.sysroot.load().await.unwrap();
        rig.sysroot.boot_complete(&state).await.unwrap();
    }
}

#[tokio::test]
async fn unlocking_mounts_and_tells_and_a_hotfix_leaves_a_way_back() {
    for (kind, expected) in [
        (Unlocked::Development, 1),
        (Unlocked::Transient, 1),
        (Unlocked::Hotfix, 2),
    ] {
        let (rig, state) = booted_rig().await;
        rig.sysroot.unlock(&state, kind).await.unwrap();
        let state = rig.sysroot.load().await.unwrap();
        assert_eq!(state.booted().unwrap().unlocked, kind);
        assert_eq!((state.deployments.len(), state.booted), (expected, Some(0)));
        let overlays = rig.recorder.overlays.lock().unwrap().clone();
        assert_eq!(overlays.len(), 1);
        assert!(overlays[0].upper.is_dir() && overlays[0].work.is_dir());
        let error = rig.sysroot.unlock(&state, kind).await.unwrap_err();
        assert!(
            error.to_string().contains("already in unlocked state"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_soft_reboot_needs_the_same_kernel() {
    let (mut rig, _) = booted_rig().await;
    let same_kernel = rig
        .commit(Tree {
            version: "2",
            ..Tree::default()
        })
        .await;
    rig.deploy(same_kernel).await.unwrap();
    let state = rig.sysroot.load().await.unwrap();
    rig.sysroot.prepare_soft_reboot(&state, 0).await.unwrap();
    let state = rig.sysroot.load().await.unwrap();
    assert_eq!(
        state.deployments[0].soft_reboot_target,
        SoftRebootTarget::Yes
    );
    rig.sysroot.reset_soft_reboot().await.unwrap();
    let other = rig.commit(SECOND).await;
    rig.deploy(other).await.unwrap();
    let state = rig.sysroot.load().await.unwrap();
    let error = rig
        .sysroot
        .prepare_soft_reboot(&state, 0)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("kernel"), "{error}");
}
