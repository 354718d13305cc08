//! Finds out what the tests can use, so that a test without its tool shows as ignored.

use std::os::unix::fs::MetadataExt;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for (cfg, tool) in [
        ("has_nginx", "/usr/sbin/nginx"),
        ("has_gpg", "/usr/bin/gpg"),
        ("has_openssl", "/usr/bin/openssl"),
        ("has_ostree", "/usr/bin/ostree"),
        ("has_time", "/usr/bin/time"),
    ] {
        println!("cargo::rustc-check-cfg=cfg({cfg})");
        if std::path::Path::new(tool).exists() {
            println!("cargo::rustc-cfg={cfg}");
        }
    }
    println!("cargo::rustc-check-cfg=cfg(is_root)");
    // Who builds is who tests: owners, privileged attributes and mounts need root.
    if std::fs::metadata("/proc/self").is_ok_and(|of_self| of_self.uid() == 0) {
        println!("cargo::rustc-cfg=is_root");
    }
}
