//! What each boot loader gets: files written, and programs called.

use std::fs;

use treeferry_core::format::keyfile::KeyFile;

use crate::rig::{Rig, Tree, read, write};

async fn configured(loader: &str) -> Rig {
    let rig = Rig::new().await;
    let set = |config: &mut KeyFile| {
        config.set_string("sysroot", "bootloader", loader).unwrap();
        Ok(())
    };
    rig.sysroot.repo().change_config(set).await.unwrap();
    rig
}

async fn deploy(rig: &mut Rig, tree: Tree<'_>) {
    let commit = rig.commit(tree).await;
    rig.deploy(commit).await.unwrap();
    rig.check_bootable().await;
}

fn calls(rig: &Rig) -> Vec<String> {
    let calls = rig.recorder.calls.lock().unwrap();
    let words = |call: &treeferry_sysroot::host::Call| {
        let args = call
            .args
            .iter()
            .map(|arg| arg.to_string_lossy().into_owned());
        let words: Vec<_> = std::iter::once(call.program.to_string_lossy().into_owned())
            .chain(args)
            .collect();
        words.join(" ")
    };
    calls.iter().map(words).collect()
}

#[tokio::test]
async fn zipl_runs_after_the_change_and_in_the_new_system() {
    let mut rig = configured("zipl").await;
    deploy(&mut rig, Tree::default()).await;
    assert_eq!(calls(&rig), ["zipl --secure auto -V"]);
    let root = rig.recorder.calls.lock().unwrap()[0].root.clone().unwrap();
    assert_eq!(root, rig.path(0).await);
    assert!(
        !rig.root()
            .join("boot/ostree-bootloader-update.stamp")
            .exists()
    );
}

#[tokio::test]
async fn aboot_deploy_gets_image_configuration_and_arguments() {
    let mut rig = configured("aboot").await;
    let files: &[(&str, &str)] = &[
        ("usr/lib/modules/6.1/aboot.img", "image"),
        ("usr/lib/ostree-boot/aboot.cfg", "cfg"),
    ];
    deploy(
        &mut rig,
        Tree {
            files,
            ..Tree::default()
        },
    )
    .await;
    let [call] = calls(&rig).try_into().unwrap();
    assert!(
        call.starts_with("aboot-deploy -r . -c ostree/deploy/os/deploy/"),
        "{call}"
    );
    assert!(
        call.contains("/usr/lib/ostree-boot/aboot.cfg -o ostree=/ostree/boot.1/os/"),
        "{call}"
    );
    let image = call.rsplit(' ').next().unwrap();
    assert_eq!(read(rig.root().join(image)), "image");
}

#[tokio::test]
async fn grub_is_configured_by_its_own_program() {
    let mut rig = Rig::new().await;
    fs::create_dir_all(rig.root().join("boot/grub2")).unwrap();
    std::os::unix::fs::symlink("../loader/grub.cfg", rig.root().join("boot/grub2/grub.cfg"))
        .unwrap();
    deploy(&mut rig, Tree::default()).await;
    let [call] = calls(&rig).try_into().unwrap();
    assert!(
        call.starts_with("grub2-mkconfig -o ") && call.ends_with("/boot/loader.1/grub.cfg"),
        "{call}"
    );
    assert_eq!(read(rig.root().join("boot/grub2/grub.cfg")), "menu");
}

#[tokio::test]
async fn grub_on_efi_keeps_the_old_configuration_beside_the_new_one() {
    let mut rig = Rig::new().await;
    write(&rig.root(), "boot/efi/EFI/fedora/grub.cfg", "old");
    deploy(&mut rig, Tree::default()).await;
    let dir = rig.root().join("boot/efi/EFI/fedora");
    assert_eq!(read(dir.join("grub.cfg")), "menu");
    assert_eq!(read(dir.join("grub.cfg.old")), "old");
    assert!(!dir.join("grub.cfg.new").exists());
}

#[tokio::test]
async fn grub_that_reads_the_menu_itself_is_left_alone() {
    let mut rig = Rig::new().await;
    write(&rig.root(), "boot/grub2/grub.cfg", "static");
    write(
        &rig.root(),
        "boot/bootupd-state.json",
        "{\"static-configs\": {\"x\": 1}}",
    );
    deploy(&mut rig, Tree::default()).await;
    assert!(calls(&rig).is_empty());
    assert_eq!(read(rig.root().join("boot/grub2/grub.cfg")), "static");
}

#[tokio::test]
async fn systemd_boot_keeps_its_settings_and_the_entries_of_others() {
    let mut rig = Rig::new().await;
    deploy(&mut rig, Tree::default()).await;
    write(&rig.root(), "boot/loader/loader.conf", "timeout 3\n");
    write(
        &rig.root(),
        "boot/loader/entries/windows.conf",
        "title Windows\n",
    );
    for version in ["2", "3", "4"] {
        deploy(
            &mut rig,
            Tree {
                version,
                ..Tree::default()
            },
        )
        .await;
        assert_eq!(
            read(rig.root().join("boot/loader/loader.conf")),
            "timeout 3\n"
        );
        assert_eq!(
            read(rig.root().join("boot/loader/entries/windows.conf")),
            "title Windows\n"
        );
    }
}

#[tokio::test]
async fn device_trees_overlays_and_fips_checksums_are_there() {
    let mut rig = Rig::new().await;
    let files: &[(&str, &str)] = &[
        ("usr/lib/modules/6.1/dtb/a.dtb", "tree"),
        ("usr/lib/modules/6.1/dtb/overlays/o.dtbo", "overlay"),
        ("usr/lib/modules/6.1/.vmlinuz.hmac", "hmac"),
    ];
    let commit = rig
        .commit(Tree {
            files,
            ..Tree::default()
        })
        .await;
    let state = rig.sysroot.load().await.unwrap();
    let mut new = rig.new_deployment(&state, commit);
    let run = rig.dir.path().join("extra.cpio");
    fs::write(&run, "cpio").unwrap();
    let mut options = rig.sysroot.options().clone();
    options.running.run = rig.dir.path().join("run");
    rig.sysroot = treeferry_sysroot::Sysroot::open(rig.root(), options)
        .await
        .unwrap();
    let overlay = rig.sysroot.stage_overlay_initrd(&run).await.unwrap();
    new.overlay_initrds.push(overlay);
    rig.deploy_new(&state, &new).await.unwrap();
    let state = rig.sysroot.load().await.unwrap();
    let entry = &state.deployments[0].entry;
    let boot = rig.root().join("boot");
    let at = |path: &str| boot.join(path.trim_start_matches('/'));
    assert_eq!(
        read(at(entry.get("fdtdir").unwrap()).join("overlays/o.dtbo")),
        "overlay"
    );
    assert_eq!(read(at(&entry.initrds()[1])), "cpio");
    let kernel = at(entry.get("linux").unwrap());
    assert_eq!(read(kernel.with_file_name(".vmlinuz-6.1.hmac")), "hmac");
    assert_eq!(state.deployments[0].overlay_initrds, [overlay]);
    // The next one without it, and the file goes when nobody needs it.
    deploy(
        &mut rig,
        Tree {
            version: "2",
            files,
            ..Tree::default()
        },
    )
    .await;
    assert!(at(&entry.initrds()[1]).exists());
    deploy(
        &mut rig,
        Tree {
            version: "3",
            files,
            ..Tree::default()
        },
    )
    .await;
    assert!(!at(&entry.initrds()[1]).exists());
}

#[tokio::test]
async fn paths_begin_with_boot_where_that_is_asked_for() {
    let mut rig = Rig::new().await;
    let set = |config: &mut KeyFile| {
        config.set_boolean("sysroot", "bootprefix", true).unwrap();
        config
            .set_string_list("sysroot", "bls-append-except-default", ["key=value"])
            .unwrap();
        Ok(())
    };
    rig.sysroot.repo().change_config(set).await.unwrap();
    deploy(&mut rig, Tree::default()).await;
    deploy(
        &mut rig,
        Tree {
            version: "2",
            ..Tree::default()
        },
    )
    .await;
    let [one, two] = [1, 2].map(|n| {
        read(
            rig.root()
                .join(format!("boot/loader/entries/ostree-{n}.conf")),
        )
    });
    assert!(
        two.contains("\nlinux /boot/ostree/os-") && !two.contains("key value"),
        "{two}"
    );
    assert!(one.contains("\nkey value\n"), "{one}");
}
