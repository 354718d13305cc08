//! Finds out what the tests can use, so that a test without its tool shows as ignored.

use std::os::unix::fs::MetadataExt;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for (cfg, tool) in [
        ("has_nginx", "/usr/sbin/nginx"),
        ("has_flatpak", "/usr/bin/flatpak"),
        ("has_gpg", "/usr/bin/gpg"),
        ("has_openssl", "/usr/bin/openssl"),
        ("has_ostree", "/usr/bin/ostree"),
        ("has_time", "/usr/bin/time"),
        ("has_weed", "/usr/local/bin/weed"),
        ("has_rclone", "/usr/local/bin/rclone"),
        ("has_azurite", "/usr/local/bin/azurite-blob"),
    ] {
        println!("cargo::rustc-check-cfg=cfg({cfg})");
        println!("cargo::rerun-if-changed={tool}");
        if std::path::Path::new(tool).exists() {
            println!("cargo::rustc-cfg={cfg}");
        }
    }
    // Media are mounted by root.
    let root = std::fs::metadata("/proc/self").is_ok_and(|of_self| of_self.uid() == 0);
    let there =
        |paths: &[&str]| root && paths.iter().all(|path| std::path::Path::new(path).exists());
    println!("cargo::rustc-check-cfg=cfg(has_fat, has_exfat, has_loop)");
    let fat = ["/dev/fuse", "/usr/bin/fusefat", "/usr/sbin/mkfs.vfat"];
    let exfat = [
        "/dev/fuse",
        "/usr/sbin/mount.exfat-fuse",
        "/usr/sbin/mkfs.exfat",
    ];
    let ext4 = ["/dev/loop-control", "/usr/sbin/mkfs.ext4"];
    for (cfg, paths) in [
        ("has_fat", fat.as_slice()),
        ("has_exfat", &exfat),
        ("has_loop", &ext4),
    ] {
        if there(paths) && there(&["/usr/bin/ostree"]) {
            println!("cargo::rustc-cfg={cfg}");
        }
    }
    println!("cargo::rustc-check-cfg=cfg(has_mount_namespaces)");
    let unshare = std::process::Command::new("unshare")
        .args(["-m", "mount", "--bind", "/tmp", "/tmp"])
        .output();
    if unshare.is_ok_and(|output| output.status.success()) {
        println!("cargo::rustc-cfg=has_mount_namespaces");
    }
    println!("cargo::rustc-check-cfg=cfg(has_erofs)");
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let knows = |name: &str| known.lines().any(|line| line.ends_with(name));
    if there(&["/dev/loop-control"]) && knows("\terofs") && knows("\toverlay") {
        println!("cargo::rustc-cfg=has_erofs");
    }
    println!("cargo::rustc-check-cfg=cfg(is_root)");
    // Who builds is who tests: owners, privileged attributes and mounts need root.
    if std::fs::metadata("/proc/self").is_ok_and(|of_self| of_self.uid() == 0) {
        println!("cargo::rustc-cfg=is_root");
    }
}
