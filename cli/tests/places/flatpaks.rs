//! flatpak installs from a bucket that a repository was mirrored to, as from any web server.

use std::path::Path;
use std::process::Command;

use crate::buckets::{bucket, public_url};
use crate::support::Place;
use crate::support::run::{Ran, treeferry};
use crate::support::tree::write;

const APP: &str = "org.example.Hello";
const RUNTIME: &str = "org.example.Platform";

/// Runs flatpak as somebody who has a home of their own, and no session.
fn flatpak(home: &Path, words: &[&str]) -> Ran {
    let mut command = Command::new("/usr/bin/flatpak");
    command
        .args(words)
        .env("HOME", home)
        .env("XDG_DATA_HOME", home.join("data"))
        .env("XDG_CACHE_HOME", home.join("cache"))
        .env("FLATPAK_USER_DIR", home.join("flatpak"))
        .env_remove("DBUS_SESSION_BUS_ADDRESS");
    Ran::of(&mut command)
}

/// Makes a repository with an application and the runtime that it needs, both but a few files.
fn export(place: &Place, home: &Path) -> std::path::PathBuf {
    let repo = place.join("flatpaks");
    let at = |name: &str| place.join(name);
    let runtime = at("runtime");
    let arch = flatpak(home, &["--default-arch"]).success();
    let arch = arch.trim();
    write(
        &runtime,
        "metadata",
        format!("[Runtime]\nname={RUNTIME}\nruntime={RUNTIME}/{arch}/1\nsdk={RUNTIME}/{arch}/1\n")
            .as_bytes(),
    );
    write(&runtime, "usr/lib/os", b"the runtime");
    // By which it knows a directory that was made to be exported.
    std::fs::create_dir(runtime.join("files")).unwrap();
    let app = at("app");
    write(
        &app,
        "metadata",
        format!(
            "[Application]\nname={APP}\nruntime={RUNTIME}/{arch}/1\nsdk={RUNTIME}/{arch}/1\n\
             command=hello\n"
        )
        .as_bytes(),
    );
    write(&app, "files/bin/hello", b"#!/bin/sh\necho hello\n");
    std::fs::create_dir(app.join("export")).unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (repo_text, app, runtime) = (text(&repo), text(&app), text(&runtime));
    let export = ["build-export", "--disable-sandbox"];
    let of_runtime = ["--runtime", &repo_text, &runtime, "1"];
    flatpak(home, &[&export[..], &of_runtime].concat()).success();
    flatpak(home, &[&export[..], &[&repo_text, &app, "1"]].concat()).success();
    flatpak(home, &["build-update-repo", &repo_text]).success();
    repo
}

#[test]
#[cfg_attr(
    not(all(has_weed, has_flatpak)),
    ignore = "needs SeaweedFS, and flatpak (apt-get install flatpak)"
)]
fn flatpak_installs_an_application_from_a_bucket() {
    let place = Place::new();
    let home = place.join("home");
    std::fs::create_dir(&home).unwrap();
    let origin = export(&place, &home);
    let bucket = bucket();
    let (from, to) = (origin.to_str().unwrap(), bucket.to_str().unwrap());
    treeferry(&place.join("none"), ["copy", from, to]).success();
    let url = public_url(&bucket);
    let add = ["remote-add", "--user", "--no-gpg-verify", "bucket", &url];
    flatpak(&home, &add).success();
    let install = [
        "install",
        "--user",
        "--noninteractive",
        "--assumeyes",
        "bucket",
    ];
    let installed = flatpak(&home, &[&install[..], &[APP]].concat());
    installed.success();
    let listed = flatpak(&home, &["list", "--user", "--columns=application"]).success();
    assert!(
        listed.out.contains(APP) && listed.out.contains(RUNTIME),
        "{}",
        listed.out
    );
    let hello = home.join(format!("flatpak/app/{APP}/current/active/files/bin/hello"));
    assert_eq!(std::fs::read(hello).unwrap(), b"#!/bin/sh\necho hello\n");
}
