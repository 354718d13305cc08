//! `/boot` without symbolic links.

use std::fs;
use std::path::Path;
use std::process::Command;

use treeferry_sysroot::{BootLinks, Stateroot, VarLayout};

use crate::rig::{Rig, Tree, read};

fn entries(rig: &Rig) -> Vec<String> {
    let dir = rig.root().join("boot/loader/entries");
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

async fn deploy(rig: &mut Rig, version: &str, kernel: &str) {
    let commit = rig
        .commit(Tree {
            version,
            kernel,
            files: &[],
        })
        .await;
    rig.deploy(commit).await.unwrap();
    rig.check_bootable().await;
}

async fn a_life(rig: &mut Rig) {
    deploy(rig, "1", "kernel 1").await;
    assert_eq!(entries(rig), ["ostree-1-1.conf"]);
    deploy(rig, "2", "kernel 2").await;
    assert_eq!(entries(rig), ["ostree-2-1.conf", "ostree-2-2.conf"]);
    let newest = read(rig.root().join("boot/loader/entries/ostree-2-2.conf"));
    assert!(
        newest.contains("title Test 2") && newest.contains("\nversion 2002\n"),
        "{newest}"
    );
    deploy(rig, "3", "kernel 3").await;
    deploy(rig, "4", "kernel 3").await;
    let state = rig.sysroot.load().await.unwrap();
    assert_eq!(state.deployments.len(), 2);
    rig.sysroot.set_default(&state, 1).await.unwrap();
    rig.sysroot
        .cleanup(treeferry_sysroot::Cleanup::AndRepo)
        .await
        .unwrap();
    rig.check_bootable().await;
    let other = Stateroot::new("other").unwrap();
    rig.sysroot
        .create_stateroot(&other, VarLayout::Empty)
        .await
        .unwrap();
    let state = rig.sysroot.load().await.unwrap();
    let mut new = rig.new_deployment(&state, state.deployments[0].id.checksum);
    (new.stateroot, new.merge) = (other, None);
    rig.deploy_new(&state, &new).await.unwrap();
    rig.check_bootable().await;
    assert_eq!(entries(rig).len(), 3);
}

#[tokio::test]
async fn a_menu_is_changed_by_one_rename() {
    let mut rig = Rig::with(|options| options.boot_links = BootLinks::None).await;
    a_life(&mut rig).await;
    assert!(rig.root().join("boot/loader").is_dir());
    assert!(!rig.root().join("boot/loader.1").exists());
}

#[tokio::test]
async fn what_was_cut_off_after_the_rename_is_completed() {
    let mut rig = Rig::with(|options| options.boot_links = BootLinks::None).await;
    deploy(&mut rig, "1", "kernel 1").await;
    deploy(&mut rig, "2", "kernel 2").await;
    // As if the power went after the default was renamed: the other one still waits.
    let dir = rig.root().join("boot/loader/entries");
    fs::rename(dir.join("ostree-2-1.conf"), dir.join("ostree-2-1.conf.new")).unwrap();
    rig.check_bootable().await;
    assert_eq!(rig.sysroot.load().await.unwrap().deployments.len(), 2);
    // And before: what is new does not count.
    fs::rename(dir.join("ostree-2-2.conf"), dir.join("ostree-3-2.conf.new")).unwrap();
    fs::write(
        dir.join("ostree-1-1.conf"),
        read(dir.join("ostree-2-1.conf.new")).replace("x-treeferry-count 2", "x-treeferry-count 1"),
    )
    .unwrap();
    fs::remove_file(dir.join("ostree-2-1.conf.new")).unwrap();
    assert_eq!(rig.sysroot.load().await.unwrap().deployments.len(), 1);
}

/// Makes the machine try each new deployment so often, and deploys and boots one.
async fn counted(tries: u64) -> Rig {
    let mut rig = Rig::with(|options| options.boot_links = BootLinks::None).await;
    let set = |config: &mut treeferry_core::format::keyfile::KeyFile| {
        config.set_uint64("sysroot", "boot-counting-tries", tries)?;
        Ok(())
    };
    rig.sysroot.repo().clone().change_config(set).await.unwrap();
    deploy(&mut rig, "1", "kernel 1").await;
    rig.boot(0, "a").await;
    let state = rig.sysroot.load().await.unwrap();
    rig.sysroot.boot_complete(&state).await.unwrap();
    assert_eq!(entries(&rig), ["ostree-1-1.conf"]);
    rig
}

async fn stage_and_finalize(rig: &mut Rig, version: &str) {
    let commit = rig
        .commit(Tree {
            version,
            kernel: version,
            files: &[],
        })
        .await;
    let state = rig.sysroot.load().await.unwrap();
    let new = rig.new_deployment(&state, commit);
    rig.sysroot
        .stage(&state, &new, treeferry_sysroot::Locked::No)
        .await
        .unwrap();
    let state = rig.sysroot.load().await.unwrap();
    rig.sysroot.finalize_staged(&state).await.unwrap();
}

#[tokio::test]
async fn a_fallback_leaves_one_whole_menu() {
    let mut rig = counted(2).await;
    stage_and_finalize(&mut rig, "2").await;
    assert_eq!(entries(&rig), ["ostree-2-1.conf", "ostree-2-2+2.conf"]);
    // A boot loader tries it twice, and boots the other.
    let dir = rig.root().join("boot/loader/entries");
    fs::rename(
        dir.join("ostree-2-2+2.conf"),
        dir.join("ostree-2-2+0-2.conf"),
    )
    .unwrap();
    rig.boot(1, "b").await;
    let state = rig.sysroot.load().await.unwrap();
    let report = rig.sysroot.boot_complete(&state).await.unwrap();
    assert!(report.fell_back_from.is_some());
    assert_eq!(entries(&rig), ["ostree-3-1+0-2.conf", "ostree-3-2.conf"]);
    rig.check_bootable().await;
}

#[tokio::test]
async fn a_menu_that_was_cut_off_is_completed_once_its_default_is_up() {
    let mut rig = counted(2).await;
    let old = rig.root().join("boot/loader/entries/ostree-1-1.conf");
    let text = read(&old);
    stage_and_finalize(&mut rig, "2").await;
    // As if the power went after the rename of the default.
    let dir = rig.root().join("boot/loader/entries");
    fs::rename(dir.join("ostree-2-1.conf"), dir.join("ostree-2-1.conf.new")).unwrap();
    fs::write(&old, text).unwrap();
    rig.boot(0, "b").await;
    let state = rig.sysroot.load().await.unwrap();
    let report = rig.sysroot.boot_complete(&state).await.unwrap();
    assert!(report.marked_good.is_some());
    assert_eq!(entries(&rig), ["ostree-2-1.conf", "ostree-2-2.conf"]);
}

/// A FAT filesystem, mounted.
struct Fat<'a>(&'a Path);

impl Fat<'_> {
    fn mount(image: &Path, at: &Path) -> Option<()> {
        let file = fs::File::create(image).unwrap();
        file.set_len(32 << 20).unwrap();
        let run = |program: &str, args: &[&std::ffi::OsStr]| {
            Command::new(program)
                .args(args)
                .output()
                .is_ok_and(|output| output.status.success())
        };
        let made = run("mkfs.vfat", &[image.as_os_str()])
            && run(
                "fusefat",
                &[
                    "-o".as_ref(),
                    "rw+".as_ref(),
                    image.as_os_str(),
                    at.as_os_str(),
                ],
            );
        made.then_some(())
    }
}

impl Drop for Fat<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

#[tokio::test]
#[cfg_attr(not(all(has_fusefat, is_root)), ignore = "needs fusefat, and root")]
async fn boot_on_fat_is_recognised_and_works() {
    let mut rig = Rig::new().await;
    let boot = rig.root().join("boot");
    let image = rig.dir.path().join("fat.img");
    Fat::mount(&image, &boot).expect("FAT cannot be mounted");
    let _mounted = Fat(&boot);
    assert!(std::os::unix::fs::symlink("x", boot.join("x")).is_err());
    a_life(&mut rig).await;
}
