//! Finds out which media the tests can make, so that a test without its driver shows as ignored.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(has_fat, has_exfat, has_loop)");
    // Who builds is who tests: mounts need root.
    let root = std::fs::metadata("/proc/self").is_ok_and(|of_self| of_self.uid() == 0);
    let there = |paths: &[&str]| root && paths.iter().all(|path| Path::new(path).exists());
    for (cfg, paths) in [
        (
            "has_fat",
            &["/dev/fuse", "/usr/bin/fusefat", "/usr/sbin/mkfs.vfat"][..],
        ),
        (
            "has_exfat",
            &[
                "/dev/fuse",
                "/dev/loop-control",
                "/usr/sbin/mount.exfat-fuse",
                "/usr/sbin/mkfs.exfat",
            ],
        ),
        ("has_loop", &["/dev/loop-control", "/usr/sbin/mkfs.ext4"]),
    ] {
        if there(paths) {
            println!("cargo::rustc-cfg={cfg}");
        }
    }
}
