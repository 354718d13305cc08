//! Finds out what the tests can use, so that a test without its tool shows as ignored.

use std::process::Command;

/// Freezes a filesystem of its own for a moment.
const FREEZE: &str = r#"
set -e
cd "$(mktemp -d)"
truncate -s 4M ext4
mkfs.ext4 -q ext4
mkdir here
mount -o loop ext4 here
fsfreeze --freeze here
fsfreeze --unfreeze here
umount here
rm -r "$PWD"
"#;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!(
        "cargo::rustc-check-cfg=cfg(has_ostree, has_mount_namespaces, has_images, has_freezing)"
    );
    let works = |command: &str, arguments: &[&str]| {
        let output = Command::new(command).args(arguments).output();
        output.is_ok_and(|output| output.status.success())
    };
    if works("ostree", &["--version"]) {
        println!("cargo::rustc-cfg=has_ostree");
    }
    if works("unshare", &["-m", "mount", "--bind", "/tmp", "/tmp"]) {
        println!("cargo::rustc-cfg=has_mount_namespaces");
        let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
        let knows = |name: &str| known.lines().any(|line| line.ends_with(name));
        if knows("\terofs") && knows("\toverlay") {
            println!("cargo::rustc-cfg=has_images");
        }
        if works("unshare", &["-m", "sh", "-c", FREEZE]) {
            println!("cargo::rustc-cfg=has_freezing");
        }
    }
}
