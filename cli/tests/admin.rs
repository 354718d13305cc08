//! `admin`, from the command line: a machine is made, upgraded, rolled back, and killed.

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

struct Place(tempfile::TempDir);

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Place {
    /// Makes a repository with versions of a system, and an empty machine that has it for a remote.
    fn new(versions: usize) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.ok("--repo=build init --mode=archive");
        for version in 1..=versions {
            place.commit(version);
        }
        fs::create_dir(place.path("root")).unwrap();
        place.ok("admin init-fs --modern root");
        place.ok("admin --sysroot=root stateroot-init os");
        let url = format!("file://{}", place.path("build").display());
        place.ok(&format!(
            "--repo=root/ostree/repo remote add --no-gpg-verify origin {url}"
        ));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, path: &str, content: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn commit(&self, version: usize) {
        let os_release = format!("ID=x\nPRETTY_NAME=\"X {version}\"\n");
        self.write("tree/usr/lib/os-release", &os_release);
        self.write(
            "tree/usr/lib/modules/6.1/vmlinuz",
            &format!("kernel {version}"),
        );
        self.write("tree/usr/lib/modules/6.1/initramfs.img", "an initramfs");
        self.write("tree/usr/etc/default.conf", &format!("default {version}"));
        for file in 0..60 {
            self.write(
                &format!("tree/usr/share/{}/{file}", file % 20),
                &format!("{file} {}", version * (file / 6)),
            );
        }
        self.ok(&format!("--repo=build commit -b os/stable --bootable --timestamp=@{} --add-metadata-string=version={version} tree", 1_700_000_000 + version));
    }

    fn command(&self, program: &str, line: &str) -> Command {
        let mut command = Command::new(program);
        command.args(line.split(' ')).current_dir(self.0.path());
        for name in ["OSTREE_REPO", "OSTREE_SYSROOT"] {
            command.env_remove(name);
        }
        command
            .env("OSTREE_SYSROOT_DEBUG", "mutable-deployments")
            // A kill is no power cut, and whoever else uses the disk would be waited for.
            .env("OSTREE_SYSROOT_OPTS", "skip-sync")
            .stdin(Stdio::null());
        command
    }

    fn ours(&self, line: &str) -> Output {
        self.command(env!("CARGO_BIN_EXE_treeferry"), line)
            .output()
            .unwrap()
    }

    #[track_caller]
    fn ok(&self, line: &str) -> String {
        let output = self.ours(line);
        assert!(output.status.success(), "{line}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    #[track_caller]
    fn fails(&self, line: &str) -> String {
        let output = self.ours(line);
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{line}: {err}");
        assert!(err.contains("error: "), "{line}: {err}");
        err
    }

    #[track_caller]
    fn theirs(&self, line: &str) -> String {
        let output = self.command("/usr/bin/ostree", line).output().unwrap();
        assert!(output.status.success(), "{line}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Returns the version that boots next, after a look at whether everything is there for it.
    fn default_version(&self) -> String {
        let state = self.ok("admin --sysroot=root status --json");
        let state: serde_json::Value = serde_json::from_str(&state).unwrap();
        let first = &state["deployments"][0];
        let (os, csum) = (
            first["stateroot"].as_str().unwrap(),
            first["checksum"].as_str().unwrap(),
        );
        let dir = format!("root/ostree/deploy/{os}/deploy/{csum}.{}", first["serial"]);
        let version = first["version"].as_str().unwrap().to_owned();
        let release = fs::read_to_string(self.path(&format!("{dir}/usr/lib/os-release"))).unwrap();
        assert!(release.contains(&format!("X {version}")), "{release}");
        assert!(self.path(&format!("{dir}/etc/default.conf")).exists());
        let entries = self.path("root/boot/loader/entries");
        for entry in fs::read_dir(entries).unwrap() {
            let entry = fs::read_to_string(entry.unwrap().path()).unwrap();
            for line in entry
                .lines()
                .filter(|l| l.starts_with("linux ") || l.starts_with("initrd "))
            {
                let (_, path) = line.split_once(' ').unwrap();
                assert!(self.path(&format!("root/boot{path}")).exists(), "{line}");
            }
            let link = entry
                .split("ostree=")
                .nth(1)
                .unwrap()
                .split_whitespace()
                .next()
                .unwrap();
            assert!(
                self.path(&format!("root{link}")).join("usr").exists(),
                "{link}"
            );
        }
        version
    }
}

#[test]
fn a_machine_is_made_upgraded_changed_and_rolled_back() {
    let place = Place::new(2);
    let pull = |commit: &str| {
        place.ok(&format!(
            "--repo=root/ostree/repo pull origin os/stable{commit}"
        ))
    };
    let one = place
        .ok("--repo=build rev-parse os/stable^")
        .trim()
        .to_owned();
    pull(&format!("@{one}"));
    let room = place.ok("admin --sysroot=root preflight --os=os origin:os/stable");
    assert!(
        room.contains("deployment") && room.contains("/boot") && room.contains("bytes needed"),
        "{room}"
    );
    let out = place.ok("admin --sysroot=root deploy --os=os --karg=quiet origin:os/stable");
    assert!(
        out.contains("bootconfig swap: yes; bootversion: boot.1.1, deployment count change: 1"),
        "{out}"
    );
    assert_eq!(place.default_version(), "1");
    let current = place.ok("admin --sysroot=root --print-current-dir");
    fs::write(Path::new(current.trim()).join("etc/default.conf"), "mine").unwrap();
    let out = place.ok("admin --sysroot=root upgrade --os=os");
    assert!(
        out.contains("/etc/default.conf: changed here and in the new system: kept as it was here"),
        "{out}"
    );
    assert_eq!(place.default_version(), "2");
    assert_eq!(
        place.ok("admin --sysroot=root upgrade --os=os"),
        "No update available.\n"
    );
    let report = place.ok("admin --sysroot=root etc-merge --report=0");
    assert!(report.contains("both-changed"), "{report}");
    let dry = place.ok("admin --sysroot=root etc-merge --os=os --etc-strategy=*=take-new 1");
    assert!(dry.contains("/etc/default.conf"), "{dry}");
    assert_eq!(
        place.ok("admin --sysroot=root config-diff --os=os"),
        "M    default.conf\n"
    );
    place.ok("admin --sysroot=root rollback");
    assert_eq!(place.default_version(), "1");
    place.ok("admin --sysroot=root set-default 1");
    assert_eq!(place.default_version(), "2");
    place.ok("admin --sysroot=root kargs edit --os=os --append=a=1 --delete=quiet");
    let args = place.ok("admin --sysroot=root kargs show");
    assert!(
        args.ends_with(" a=1\n") && args.starts_with("ostree=/ostree/boot."),
        "{args}"
    );
    let told: serde_json::Value =
        serde_json::from_str(&place.ok("admin --sysroot=root kargs show --json")).unwrap();
    let words: Vec<_> = args.trim().split(' ').collect();
    assert_eq!(told["args"], serde_json::json!(words));
    place.ok("admin --sysroot=root pin 0");
    place.ok("admin --sysroot=root undeploy 1");
    let status = place.ok("admin --sysroot=root status");
    assert!(
        status.contains("    Pinned: yes\n") && status.matches("Version:").count() == 1,
        "{status}"
    );
    if cfg!(has_ostree) {
        assert_eq!(status, place.theirs("admin --sysroot=root status"));
        place.theirs("--repo=root/ostree/repo fsck -q");
    }
}

#[test]
fn remotes_of_a_deployment_stand_in_its_etc() {
    let place = Place::new(1);
    place.ok("--repo=root/ostree/repo pull origin os/stable");
    place.ok("admin --sysroot=root deploy --os=os origin:os/stable");
    let current = place.ok("admin --sysroot=root --print-current-dir");
    let current = Path::new(current.trim());
    // What early boot mounts.
    std::os::unix::fs::symlink(place.path("root"), current.join("sysroot")).unwrap();
    std::os::unix::fs::symlink("sysroot/ostree", current.join("ostree")).unwrap();
    let at = current.display();
    place.ok(&format!(
        "remote add --sysroot={at} --no-gpg-verify mine http://127.0.0.1/"
    ));
    let file = current.join("etc/ostree/remotes.d/mine.conf");
    assert!(
        fs::read_to_string(&file)
            .unwrap()
            .contains("[remote \"mine\"]")
    );
    let own = fs::read_to_string(place.path("root/ostree/repo/config")).unwrap();
    assert!(!own.contains("mine"), "{own}");
    let list = place.ok(&format!("--repo={at}/ostree/repo remote list"));
    assert!(list.contains("mine") && list.contains("origin"), "{list}");
    place.ok(&format!("remote delete --sysroot={at} mine"));
    assert!(!file.exists());
    // From outside it is the repository's.
    place.ok("remote add --sysroot=root --no-gpg-verify mine http://127.0.0.1/");
    let own = fs::read_to_string(place.path("root/ostree/repo/config")).unwrap();
    assert!(own.contains("mine"), "{own}");
}

#[test]
fn mistakes_are_told() {
    let place = Place::new(1);
    for (line, words) in [
        ("admin --sysroot=root", "No \"admin\" subcommand specified"),
        (
            "admin --sysroot=root frobnicate",
            "Unknown \"admin\" subcommand 'frobnicate'",
        ),
        ("admin --sysroot=nowhere status", "no such directory"),
        (
            "admin --sysroot=root deploy --os=os",
            "REF/REV must be specified",
        ),
        (
            "admin --sysroot=root deploy --os=os nothing",
            "there is no ref or commit 'nothing'",
        ),
        (
            "admin --sysroot=root deploy nothing",
            "no --os= argument given",
        ),
        (
            "admin --sysroot=root undeploy 3",
            "there is no deployment 3",
        ),
        ("admin --sysroot=root pin medal", "Invalid index: medal"),
        (
            "admin --sysroot=root upgrade --os=os",
            "nothing of 'os' is deployed",
        ),
        (
            "admin --sysroot=root upgrade --os=os --pull-only --deploy-only",
            "Cannot simultaneously",
        ),
        (
            "admin --sysroot=root unlock --hotfix",
            "Not currently booted into an OSTree system",
        ),
        ("admin --sysroot=root stateroot-init os", "cannot be made"),
        ("admin --sysroot=root stateroot-init a/b", "contains '/'"),
        ("admin init-fs --epoch=7 root", "Invalid epoch: 7"),
        (
            "admin --sysroot=root etc-merge --etc-strategy=x 0",
            "PATTERN=STRATEGY",
        ),
        (
            "admin --sysroot=root overlay --os=os tree",
            "--base must be specified",
        ),
    ] {
        let err = place.fails(line);
        assert!(err.contains(words), "{line}: {err}");
    }
    // A stateroot that is not there, with a commit that is.
    place.ok("--repo=root/ostree/repo pull origin os/stable");
    let err = place.fails("admin --sysroot=root deploy --os=other origin:os/stable");
    assert!(err.contains("No such stateroot: other"), "{err}");
}

#[test]
#[cfg_attr(not(is_root), ignore = "needs root: packages are root's")]
fn an_archive_is_laid_over_what_is_deployed() {
    let place = Place::new(1);
    place.ok("--repo=root/ostree/repo pull origin os/stable");
    place.ok("admin --sysroot=root deploy --os=os origin:os/stable");
    place.write("layer/usr/bin/tool", "a tool");
    place.write("layer/etc/tool.conf", "its configuration");
    let tar = Command::new("tar")
        .args(["-C", "layer", "-czf", "layer.tar.gz", "."])
        .current_dir(place.0.path())
        .status();
    assert!(tar.unwrap().success());
    place.ok("admin --sysroot=root overlay --os=os --version-text=1 layer.tar.gz");
    assert_eq!(place.default_version(), "1");
    let current = place.ok("admin --sysroot=root --print-current-dir");
    let read = |path: &str| fs::read_to_string(Path::new(current.trim()).join(path)).unwrap();
    assert_eq!(read("usr/bin/tool"), "a tool");
    assert_eq!(read("etc/tool.conf"), "its configuration");
    let status = place.ok("admin --sysroot=root status");
    assert!(status.contains("origin refspec: overlay/os"), "{status}");
}

#[test]
fn an_upgrade_that_is_killed_at_any_moment_leaves_old_or_new_and_the_next_completes() {
    const KILLS: u32 = 20;
    let place = Place::new(1);
    place.ok("--repo=root/ostree/repo pull origin os/stable");
    place.ok("admin --sysroot=root deploy --os=os origin:os/stable");
    // How long it takes when nobody kills it.
    let mut whole = Duration::ZERO;
    for version in 2..=3 {
        place.commit(version);
        let begun = Instant::now();
        place.ok("admin --sysroot=root upgrade --os=os");
        whole = begun.elapsed();
    }
    let (mut old, mut new) = (0, 0);
    let mut version = 3;
    for kill in 0..KILLS {
        version += 1;
        place.commit(version);
        let mut child = place
            .command(
                env!("CARGO_BIN_EXE_treeferry"),
                "admin --sysroot=root upgrade --os=os",
            )
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Every part of an upgrade is hit by some.
        std::thread::sleep(whole * 3 / 2 * (kill + 1) / KILLS);
        let _ = child.kill();
        child.wait().unwrap();
        let found = place.default_version();
        match found == version.to_string() {
            true => new += 1,
            false => old += 1,
        }
        if cfg!(has_ostree) {
            let ours = place.ok("admin --sysroot=root status");
            assert_eq!(ours, place.theirs("admin --sysroot=root status"));
        }
        place.ok("admin --sysroot=root upgrade --os=os");
        assert_eq!(place.default_version(), version.to_string());
    }
    println!(
        "{KILLS} kills within one and a half times {whole:?}: {old} left the old system, {new} the new one"
    );
    if cfg!(has_ostree) {
        place.theirs("--repo=root/ostree/repo fsck -q");
    }
}
