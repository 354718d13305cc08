//! What core must never depend on: whoever embeds it links no network, TLS, SQLite or C.

use std::process::Command;

/// Names of packages that bring one of these in, or build C.
const FORBIDDEN: &[&str] = &[
    "aws-lc-rs",
    "aws-lc-sys",
    "bindgen",
    "cc",
    "cmake",
    "curl",
    "curl-sys",
    "hyper",
    "hyper-util",
    "h2",
    "libsqlite3-sys",
    "libz-sys",
    "lzma-sys",
    "liblzma-sys",
    "mio",
    "native-tls",
    "object_store",
    "openssl",
    "openssl-sys",
    "pkg-config",
    "quinn",
    "reqwest",
    "ring",
    "rusqlite",
    "rustls",
    "socket2",
    "ureq",
    "zstd-sys",
];

fn tree(kinds: &str) -> Vec<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "tree",
            "--offline",
            "--locked",
            "-p",
            "treeferry-core",
            "--prefix",
            "none",
        ])
        .args(["-e", kinds, "--format", "{p}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("package names are UTF-8");
    text.lines()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect()
}

#[test]
fn core_has_no_network_tls_sqlite_or_c() {
    let packages = tree("normal,build");
    assert!(
        packages.iter().any(|name| name == "sha2"),
        "the list is not what it should be"
    );
    let found: Vec<_> = packages
        .iter()
        .filter(|name| FORBIDDEN.contains(&&***name))
        .collect();
    assert!(found.is_empty(), "core depends on {found:?}");
}

#[test]
fn core_links_no_system_library() {
    let packages = tree("normal,build");
    let linking: Vec<_> = packages
        .iter()
        .filter(|name| name.ends_with("-sys"))
        .collect();
    // linux-raw-sys is constants and types: it links nothing.
    let linking: Vec<_> = linking
        .into_iter()
        .filter(|name| *name != "linux-raw-sys")
        .collect();
    assert!(linking.is_empty(), "core links {linking:?}");
}
