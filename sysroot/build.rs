//! Tells the tests what this machine has, so that those it cannot run show as ignored.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let runs = |command: &str, argument: &str| {
        let output = std::process::Command::new(command).arg(argument).output();
        output.is_ok()
    };
    for (cfg, has) in [
        ("has_ostree", runs("ostree", "--version")),
        ("has_dpkg", runs("dpkg-deb", "--version")),
        (
            "has_fusefat",
            runs("fusefat", "--help") && runs("mkfs.vfat", "--help"),
        ),
    ] {
        println!("cargo::rustc-check-cfg=cfg({cfg})");
        if has {
            println!("cargo::rustc-cfg={cfg}");
        }
    }
    println!("cargo::rustc-check-cfg=cfg(is_root)");
    let id = std::process::Command::new("id").arg("-u").output();
    if id.is_ok_and(|output| output.stdout == b"0\n") {
        println!("cargo::rustc-cfg=is_root");
    }
}
