//! Packages on top of what is deployed.

use std::process::Command;

use treeferry_sysroot::{BASE_KEY, LayerOptions};

use crate::rig::{Rig, Tree, read, write};

#[tokio::test]
async fn a_directory_is_laid_over_the_base_and_deployed() {
    let mut rig = Rig::new().await;
    let base_tree = rig.dir.path().join("base");
    crate::rig::make_tree(&base_tree, Tree::default());
    std::os::unix::fs::symlink("usr/lib", base_tree.join("lib")).unwrap();
    let base = rig.commit_dir(&base_tree, "1").await;
    rig.deploy(base).await.unwrap();
    let layer = rig.dir.path().join("layer");
    write(&layer, "usr/bin/tool", "a tool");
    write(&layer, "usr/bin/sh", "another shell");
    write(&layer, "lib/tool.so", "behind a link of the base");
    write(&layer, "etc/tool.conf", "its configuration");
    let branch = "overlay/os".parse().unwrap();
    let options = LayerOptions::new(base, vec![layer], branch, 1_800_000_000);
    let report = rig.sysroot.commit_layers(&options).await.unwrap();
    // Only what is new was read.
    assert_eq!(report.stats.content_written, 4, "{:?}", report.stats);
    let commit = rig
        .sysroot
        .repo()
        .load_commit(&report.commit)
        .await
        .unwrap();
    assert_eq!(commit.version(), Some("1"));
    let recorded = commit
        .metadata
        .get(BASE_KEY)
        .and_then(|value| value.as_str().map(str::to_owned));
    assert_eq!(recorded, Some(base.to_string()));
    rig.deploy(report.commit).await.unwrap();
    rig.check_bootable().await;
    let root = rig.path(0).await;
    assert_eq!(read(root.join("usr/bin/sh")), "another shell");
    assert_eq!(
        read(root.join("usr/lib/tool.so")),
        "behind a link of the base"
    );
    assert_eq!(read(root.join("etc/tool.conf")), "its configuration");
    assert!(root.join("lib").is_symlink());
    // The base, whose objects were linked, is as it was.
    assert_eq!(read(rig.path(1).await.join("usr/bin/sh")), "a shell");
}

#[tokio::test]
#[cfg_attr(not(all(has_dpkg, is_root)), ignore = "needs dpkg, and root")]
async fn a_debian_package_is_layered() {
    let mut rig = Rig::new().await;
    let base = rig.commit(Tree::default()).await;
    rig.deploy(base).await.unwrap();
    // A package as dpkg makes them.
    let package = rig.dir.path().join("package");
    let control = "Package: hello\nVersion: 1.0\nArchitecture: all\nMaintainer: n <n@example.org>\n\
                   Description: says hello\n";
    write(&package, "DEBIAN/control", control);
    write(&package, "usr/bin/hello", "#!/bin/sh\necho hello\n");
    write(&package, "etc/hello.conf", "greeting=hello\n");
    let deb = rig.dir.path().join("hello.deb");
    let run = |args: &[&std::ffi::OsStr]| {
        let output = Command::new("dpkg-deb").args(args).output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    run(&[
        "--build".as_ref(),
        "--root-owner-group".as_ref(),
        package.as_os_str(),
        deb.as_os_str(),
    ]);
    let unpacked = rig.dir.path().join("unpacked");
    run(&["--extract".as_ref(), deb.as_os_str(), unpacked.as_os_str()]);
    let branch = "overlay/os".parse().unwrap();
    let options = LayerOptions::new(base, vec![unpacked], branch, 1_800_000_000);
    let report = rig.sysroot.commit_layers(&options).await.unwrap();
    rig.deploy(report.commit).await.unwrap();
    rig.check_bootable().await;
    let root = rig.path(0).await;
    assert!(read(root.join("usr/bin/hello")).contains("echo hello"));
    assert_eq!(read(root.join("etc/hello.conf")), "greeting=hello\n");
    // A new base: the layer is laid over that.
    let base = rig
        .commit(Tree {
            version: "2",
            ..Tree::default()
        })
        .await;
    let mut options = options;
    options.base = base;
    let report = rig.sysroot.commit_layers(&options).await.unwrap();
    rig.deploy(report.commit).await.unwrap();
    let root = rig.path(0).await;
    assert!(read(root.join("usr/lib/os-release")).contains("Test 2"));
    assert!(root.join("usr/bin/hello").exists());
}
