//! Finds out what the tests can use, so that a test without its tool shows as ignored.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(has_mkcomposefs, has_fsck_erofs)");
    // Both print their usage and fail when they are told nothing: that they can be run is enough.
    let is_there = |command: &str| Command::new(command).arg("--help").output().is_ok();
    if is_there("mkcomposefs") {
        println!("cargo::rustc-cfg=has_mkcomposefs");
    }
    if is_there("fsck.erofs") {
        println!("cargo::rustc-cfg=has_fsck_erofs");
    }
}
