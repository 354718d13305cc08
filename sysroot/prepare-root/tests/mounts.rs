//! The root that early boot puts together, from a deployment that the C `ostree` made, in a mount
//! namespace of its own.

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;

use tempfile::TempDir;
use treeferry_backend_fs::{FsRepo, OpenOptions};
use treeferry_core::ops::checkout::{Destination, checkout_image};
use treeferry_core::ops::composefs::FileDigests;
use treeferry_core::repo::Repo;

/// What is run in the namespace before prepare-root: another command line, another `/run`, and a
/// physical root that is a mount.
const BEFORE: &str = r#"
set -e
mount --bind "$D/cmdline" /proc/cmdline
mount -t tmpfs run /run
mount --bind "$D/disk" "$D/disk"
cd "$D"
"#;

/// A disk with one deployment.
struct Disk {
    dir: TempDir,
    tree: PathBuf,
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        text(&output.stderr)
    );
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

impl Disk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        let kernel = tree.join("usr/lib/modules/6.1");
        fs::create_dir_all(&kernel).unwrap();
        fs::write(kernel.join("vmlinuz"), "a kernel").unwrap();
        fs::write(kernel.join("initramfs.img"), "an initramfs").unwrap();
        for below in [
            "usr/etc", "usr/bin", "sysroot", "boot", "var", "run", "proc", "ostree",
        ] {
            fs::create_dir_all(tree.join(below)).unwrap();
        }
        fs::write(tree.join("usr/etc/os-release"), "NAME=Test\nID=test\n").unwrap();
        fs::write(tree.join("usr/bin/tool"), "tool").unwrap();
        let disk = dir.path().join("disk");
        fs::create_dir(&disk).unwrap();
        let script = r#"
            set -e
            export OSTREE_SYSROOT="$D/disk" OSTREE_SYSROOT_DEBUG=mutable-deployments
            ostree admin init-fs "$D/disk"
            ostree admin os-init os
            ostree --repo="$D/disk/ostree/repo" commit -b os/main -s one --tree=dir="$D/tree"
            ostree admin deploy --os=os --karg=root=LABEL=x os/main
            cat "$D"/disk/boot/loader/entries/*.conf"#;
        let script = ["-c", script];
        let entry = run(Command::new("sh").args(script).env("D", dir.path())).stdout;
        let entry = text(&entry);
        let options = entry
            .lines()
            .find_map(|l| l.strip_prefix("options "))
            .unwrap();
        fs::write(dir.path().join("cmdline"), options).unwrap();
        let deployments = disk.join("ostree/deploy/os/deploy");
        let is_dir = |p: &PathBuf| p.is_dir();
        let mut found = fs::read_dir(deployments)
            .unwrap()
            .map(|e| e.unwrap().path());
        let tree = found.find(is_dir).unwrap();
        Self { dir, tree }
    }

    /// Writes the image of the deployment's commit, as a deployment with composefs has it.
    fn image(&self) {
        let repo = self.dir.path().join("disk/ostree/repo");
        let name = self.tree.file_name().unwrap().to_str().unwrap();
        let commit = name.split_once('.').unwrap().0.parse().unwrap();
        let to = Destination::path(self.tree.join(".ostree.cfs"));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let repo = FsRepo::open(repo, OpenOptions::default()).await.unwrap();
            let repo = Repo::new(Arc::new(repo));
            checkout_image(&repo, &commit, &to, FileDigests::None)
                .await
                .unwrap();
        });
    }

    fn file(&self, path: &str, bytes: &str) {
        let path = self.tree.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn try_boot(&self, checks: &str) -> Output {
        let prepare = r#""$PREPARE" "$D/disk"
            new="$D/disk"
            cd /
        "#;
        Command::new("unshare")
            .args(["-m", "sh", "-c", &format!("{BEFORE}{prepare}{checks}")])
            .env("D", self.dir.path())
            .env("PREPARE", env!("CARGO_BIN_EXE_treeferry-prepare-root"))
            .output()
            .unwrap()
    }

    /// Boots, runs `checks` with `$new` the new root, and returns what they print.
    fn boot(&self, checks: &str) -> String {
        let output = self.try_boot(checks);
        assert!(
            output.status.success(),
            "{}\n{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        text(&output.stdout)
    }
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

/// Prints for each path whether it can be written to.
const WRITABLE: &str = r#"
for at in usr etc var sysroot; do
  if touch "$new/$at/touched" 2>/dev/null; then echo "$at yes"; else echo "$at no"; fi
done
"#;

/// Runs ostree-remount in the new root, with what it is linked with.
const REMOUNT: &str = r#"
mkdir -p /run/bin && cp "$PREPARE" /run/bin/ostree-remount
cp -L $(ldd "$PREPARE" | grep -o '/[^ ]*') /run/bin/
mount --bind /run "$new/run"
chroot "$new" $(ls /run/bin/ld-linux*) --library-path /run/bin --argv0 ostree-remount \
  /run/bin/ostree-remount 2>&1
"#;

#[test]
#[cfg_attr(not(has_ostree), ignore = "the C ostree is not installed")]
#[cfg_attr(not(has_mount_namespaces), ignore = "needs root and mount namespaces")]
fn the_deployment_becomes_the_root() {
    let disk = Disk::new();
    let seen = disk.boot(&format!(
        r#"{WRITABLE}
        cat "$new/usr/bin/tool"; echo
        test -d "$new/sysroot/ostree/repo/objects" && echo sysroot
        test -L "$new/boot/loader" && echo boot
        test -s /run/ostree-booted && echo booted
        "#
    ));
    let wanted = [
        "usr no",
        "etc yes",
        "var yes",
        "sysroot yes",
        "tool",
        "sysroot",
        "boot",
        "booted",
    ];
    assert_eq!(lines(&seen), wanted);
    let disk_root = disk.dir.path().join("disk");
    assert!(disk_root.join("ostree/deploy/os/var/touched").exists());
    assert!(disk.tree.join("etc/touched").exists());
    assert!(!disk.tree.join("usr/touched").exists());
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "the C ostree is not installed")]
#[cfg_attr(not(has_mount_namespaces), ignore = "needs root and mount namespaces")]
fn a_read_only_sysroot_leaves_etc_and_var_writable() {
    let disk = Disk::new();
    disk.file(
        "usr/lib/ostree/prepare-root.conf",
        "[sysroot]\nreadonly=true\n",
    );
    assert_eq!(
        lines(&disk.boot(WRITABLE)),
        ["usr no", "etc yes", "var yes", "sysroot no"]
    );
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "the C ostree is not installed")]
#[cfg_attr(not(has_mount_namespaces), ignore = "needs root and mount namespaces")]
fn a_transient_etc_forgets_what_was_written() {
    let disk = Disk::new();
    disk.file(
        "usr/lib/ostree/prepare-root.conf",
        "[etc]\ntransient=true\n",
    );
    let seen =
        disk.boot(r#"cat "$new/etc/os-release"; echo mine > "$new/etc/mine" && echo written"#);
    assert_eq!(lines(&seen), ["NAME=Test", "ID=test", "written"]);
    assert!(!disk.tree.join("etc/mine").exists());
    assert!(!disk.tree.join("usr/etc/mine").exists());
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "the C ostree is not installed")]
#[cfg_attr(not(has_mount_namespaces), ignore = "needs root and mount namespaces")]
fn a_transient_root_can_be_written_to_and_forgets_it() {
    let disk = Disk::new();
    disk.file(
        "usr/lib/ostree/prepare-root.conf",
        "[root]\ntransient=true\n",
    );
    let seen = disk.boot(
        r#"echo mine > "$new/usr/bin/mine" && echo > "$new/top" && echo written
        echo kept > "$new/var/kept""#,
    );
    assert_eq!(seen, "written");
    let again =
        disk.boot(r#"ls "$new/usr/bin"; cat "$new/var/kept"; ls "$new" | grep -c top || true"#);
    assert_eq!(lines(&again), ["tool", "kept", "0"]);
    assert!(!disk.tree.join("usr/bin/mine").exists());
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "the C ostree is not installed")]
#[cfg_attr(not(has_mount_namespaces), ignore = "needs root and mount namespaces")]
fn an_unlocked_usr_keeps_what_is_written_beside_the_deployment() {
    let disk = Disk::new();
    fs::create_dir(disk.tree.join(".usr-ovl-upper")).unwrap();
    fs::create_dir(disk.tree.join(".usr-ovl-work")).unwrap();
    let seen = disk.boot(r#"echo fix > "$new/usr/bin/tool" && cat "$new/usr/bin/tool""#);
    assert_eq!(seen, "fix");
    assert_eq!(
        fs::read_to_string(disk.tree.join("usr/bin/tool")).unwrap(),
        "tool"
    );
    assert_eq!(disk.boot(r#"cat "$new/usr/bin/tool""#), "fix");
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "the C ostree is not installed")]
#[cfg_attr(not(has_mount_namespaces), ignore = "needs root and mount namespaces")]
fn var_is_left_to_a_line_of_fstab() {
    let disk = Disk::new();
    disk.file("etc/fstab", "LABEL=var /var ext4 defaults 0 2\n");
    let seen = disk.boot(r#"touch "$new/var/mine" 2>&1 | head -c0; echo done"#);
    assert_eq!(seen, "done");
    assert!(
        !disk
            .dir
            .path()
            .join("disk/ostree/deploy/os/var/mine")
            .exists()
    );
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "the C ostree is not installed")]
#[cfg_attr(
    not(has_images),
    ignore = "needs root, mount namespaces, erofs and overlayfs"
)]
fn an_image_becomes_the_root() {
    let disk = Disk::new();
    disk.image();
    disk.file(
        "usr/lib/ostree/prepare-root.conf",
        "[composefs]\nenabled=yes\n",
    );
    // What is in the directory beside the image is not in the image.
    disk.file("usr/bin/planted", "planted");
    let seen = disk.boot(&format!(
        r#"{WRITABLE}
        stat -f -c %T "$new/usr"; cat "$new/usr/bin/tool"; echo
        ls "$new/usr/bin"
        touch "$new/top" 2>/dev/null || echo read-only
        grep -ac composefs.verity /run/ostree-booted
        losetup -a | grep -c ostree.cfs || true
        "#
    ));
    let wanted = [
        "usr no",
        "etc yes",
        "var yes",
        "sysroot no",
        "overlayfs",
        "tool",
        "tool",
        "read-only",
        "1",
        "0",
    ];
    assert_eq!(lines(&seen), wanted);
    disk.file(
        "usr/lib/ostree/prepare-root.conf",
        "[composefs]\nenabled=signed\nkeypath=/nowhere/key\n",
    );
    let refused = disk.try_boot("echo went on");
    assert_eq!(text(&refused.stdout), "", "it went on");
    let said = text(&refused.stderr);
    assert!(said.contains("/nowhere/key"), "{said}");
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "the C ostree is not installed")]
#[cfg_attr(not(has_mount_namespaces), ignore = "needs root and mount namespaces")]
fn what_cannot_be_booted_is_said_and_nothing_is_mounted() {
    let disk = Disk::new();
    let refused = |why: &str| {
        let output = disk.try_boot("echo went on");
        assert!(!output.status.success());
        assert_eq!(text(&output.stdout), "", "it went on");
        let said = text(&output.stderr);
        assert!(said.contains(why), "{said}");
    };
    disk.file(
        "usr/lib/ostree/prepare-root.conf",
        "[composefs]\nenabled=yes\n",
    );
    refused(".ostree.cfs: a composefs image is demanded");
    disk.file(
        "usr/lib/ostree/prepare-root.conf",
        "[composefs]\nenabled=sure\n",
    );
    refused("config key composefs.enabled: 'sure' is none of");
    let cmdline = disk.dir.path().join("cmdline");
    fs::write(&cmdline, "quiet root=LABEL=x").unwrap();
    refused("no ostree= argument");
    fs::write(&cmdline, "ostree=/ostree/boot.1/os/gone/0").unwrap();
    refused("boot.1/os/gone/0");
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "the C ostree is not installed")]
#[cfg_attr(not(has_mount_namespaces), ignore = "needs root and mount namespaces")]
fn remounting_is_for_booted_deployments_only() {
    let disk = Disk::new();
    let link = disk.dir.path().join("ostree-remount");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_treeferry-prepare-root"), &link).unwrap();
    assert!(run(&mut Command::new(&link)).stderr.is_empty());
    // As after a start with `ro`, once systemd has made the root writable: in a root of its own.
    disk.file(
        "usr/lib/ostree/prepare-root.conf",
        "[sysroot]\nreadonly=true\n",
    );
    let seen = disk.boot(&format!(
        r#"
        mount -o remount,bind,ro "$new/etc"
        mount -o remount,bind,ro "$new/var"
        {REMOUNT}
        touch "$new/etc/a" "$new/var/a" && echo both
        touch "$new/sysroot/a" 2>/dev/null || echo still read-only
        "#
    ));
    let wanted = [
        "ostree-remount: /etc is writable",
        "ostree-remount: /var is writable",
        "both",
        "still read-only",
    ];
    assert_eq!(lines(&seen), wanted);
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "the C ostree is not installed")]
#[cfg_attr(
    not(has_freezing),
    ignore = "needs root, mount namespaces, a loop device, mkfs.ext4 and fsfreeze"
)]
fn a_frozen_filesystem_is_waited_for() {
    let disk = Disk::new();
    let seen = disk.boot(&format!(
        r#"
        truncate -s 4M "$D/var"
        mkfs.ext4 -q "$D/var"
        mount -o loop "$D/var" "$new/var"
        mount -o remount,bind,ro "$new/var"
        fsfreeze --freeze "$new/var"
        mount -o remount,rw "$new/var" 2>/dev/null || echo busy
        (sleep 0.3; fsfreeze --unfreeze "$new/var") &
        {REMOUNT}
        wait
        touch "$new/var/a" && echo written
        "#
    ));
    assert_eq!(
        lines(&seen),
        ["busy", "ostree-remount: /var is writable", "written"]
    );
}
