//! Finds out which tools the tests can use, so that a test without its tool shows as ignored.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for (cfg, tool) in [
        ("has_nginx", "/usr/sbin/nginx"),
        ("has_openssl", "/usr/bin/openssl"),
        ("has_ostree", "/usr/bin/ostree"),
    ] {
        println!("cargo::rustc-check-cfg=cfg({cfg})");
        if std::path::Path::new(tool).exists() {
            println!("cargo::rustc-cfg={cfg}");
        }
    }
}
