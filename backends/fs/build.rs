//! Tells the tests what this machine has, so that those it cannot run show as ignored.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!(
        "cargo::rustc-check-cfg=cfg(has_btrfs, has_ostree, has_strace, has_two_filesystems, has_xfs, is_root)"
    );
    let runs = |command: &str, argument: &str| {
        std::process::Command::new(command)
            .arg(argument)
            .output()
            .ok()
    };
    if runs("ostree", "--version").is_some_and(|output| output.status.success()) {
        println!("cargo::rustc-cfg=has_ostree");
    }
    if runs("strace", "-V").is_some_and(|output| output.status.success()) {
        println!("cargo::rustc-cfg=has_strace");
    }
    if runs("mkfs.btrfs", "--version").is_some() && runs("filefrag", "-V").is_some() {
        println!("cargo::rustc-cfg=has_btrfs");
    }
    if runs("mkfs.xfs", "-V").is_some() && runs("filefrag", "-V").is_some() {
        println!("cargo::rustc-cfg=has_xfs");
    }
    if runs("id", "-u").is_some_and(|output| output.stdout == b"0\n") {
        println!("cargo::rustc-cfg=is_root");
    }
    let device = |path: &std::path::Path| {
        use std::os::unix::fs::MetadataExt;
        path.metadata().ok().map(|stat| stat.dev())
    };
    // Where tests put their files, and a place that is likely to be elsewhere.
    let (here, there) = (std::env::temp_dir(), "/dev/shm".as_ref());
    if device(there).is_some() && device(&here) != device(there) {
        println!("cargo::rustc-cfg=has_two_filesystems");
    }
}
