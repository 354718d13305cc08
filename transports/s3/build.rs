//! Finds out which servers the tests can use, so that a test without its server shows as ignored.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for (cfg, tool) in [
        ("has_weed", "/usr/local/bin/weed"),
        ("has_rclone", "/usr/local/bin/rclone"),
        ("has_azurite", "/usr/local/bin/azurite-blob"),
        ("has_ostree", "/usr/bin/ostree"),
    ] {
        println!("cargo::rustc-check-cfg=cfg({cfg})");
        println!("cargo::rerun-if-changed={tool}");
        if std::path::Path::new(tool).exists() {
            println!("cargo::rustc-cfg={cfg}");
        }
    }
}
