//! The tree that the machines boot: a kernel, busybox, our command with the libraries it needs, and an `init`
//! that does one thing and powers off.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::run::Ran;

/// Programs and files that go into trees, the same for all tests.
pub(crate) struct Parts {
    kernel: PathBuf,
    modules: PathBuf,
    busybox: PathBuf,
    prepare_root: PathBuf,
    machine: PathBuf,
}

/// What the kernel needs to reach the host over a virtual network, in the order of loading.
const NETWORK: [&str; 7] = [
    "drivers/virtio/virtio_ring.ko",
    "drivers/virtio/virtio.ko",
    "drivers/virtio/virtio_pci_legacy_dev.ko",
    "drivers/virtio/virtio_pci_modern_dev.ko",
    "drivers/virtio/virtio_pci.ko",
    "net/core/failover.ko",
    "drivers/net/net_failover.ko",
];

/// What the kernel needs to have a composefs image for a root, in the order of loading.
const IMAGES: [&str; 4] = [
    "lib/libcrc32c.ko",
    "fs/erofs/erofs.ko",
    "drivers/block/loop.ko",
    "fs/overlayfs/overlay.ko",
];

/// The first thing that runs in a machine: mounts the disk, as a boot loader's initramfs does.
const INITRAMFS: &str = r#"#!/bin/busybox sh
export PATH=/bin
/bin/busybox --install -s /bin
mkdir -p /dev /proc /sys /run /sysroot
mount -t devtmpfs dev /dev; mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t tmpfs run /run
for module in /modules/*.ko; do insmod "$module" || echo "NO MODULE $module"; done
mount -t ext4 -o ro /dev/nvme0n1 /sysroot || echo "NO DISK"
ostree-prepare-root /sysroot || { echo "PREPARE-ROOT FAILED"; poweroff -f; }
mount -o move /run /sysroot/run; mount -o move /dev /sysroot/dev
umount /proc /sys
exec switch_root /sysroot /usr/sbin/init
"#;

/// The `init` of the tree: makes the system usable, does what `do=` names, and powers off.
const INIT: &str = r#"#!/usr/bin/busybox sh
export PATH=/usr/bin:/usr/sbin HOME=/root
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t tmpfs tmp /tmp
mkfifo /tmp/out; cat /tmp/out & # no terminal: no progress bars
exec >/tmp/out 2>&1
mount -o remount,rw / 2>/dev/null || echo "the root is an image"
ostree-remount
for module in /usr/lib/modules/*/network/*.ko; do insmod "$module" || echo "NO MODULE $module"; done
ip link set lo up; ip link set eth0 up; ip addr add 10.0.2.15/24 dev eth0; ip route add default via 10.0.2.2
for word in $(cat /proc/cmdline); do case $word in do=*) what=${word#do=};; esac; done
echo "BOOTED $(cat /usr/lib/os-version) $what"
. "/usr/lib/todo/$what"
echo "ENDED $?"
sync; sleep 0.2
poweroff -f
"#;

fn write(path: &Path, text: &str, mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(from, to).unwrap_or_else(|e| panic!("{}: {e}", from.display()));
}

/// Returns what is printed by a command that must succeed.
pub(crate) fn printed(program: impl AsRef<std::ffi::OsStr>, args: &[&str]) -> String {
    Ran::of(Command::new(program).args(args)).success().trim()
}

impl Parts {
    /// Finds what `fetch` put there, and builds early boot.
    pub(crate) fn find() -> Self {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let exe = Path::new(env!("CARGO_BIN_EXE_treeferry"));
        let machine = exe.ancestors().nth(2).unwrap().join("machine");
        let first = |dir: PathBuf, start: &str| {
            let entries = fs::read_dir(&dir)
                .unwrap_or_else(|e| panic!("{}: {e}; run cli/tests/machine/fetch", dir.display()));
            let mut found = entries.map(|entry| entry.unwrap().path());
            let named = |path: &PathBuf| {
                path.file_name()
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .starts_with(start)
            };
            found.find(named).unwrap()
        };
        let build = top.join("sysroot/prepare-root/build-static");
        Self {
            kernel: first(machine.join("kernel/boot"), "vmlinuz"),
            modules: first(machine.join("kernel/lib/modules"), ""),
            busybox: machine.join("busybox/bin/busybox"),
            prepare_root: printed(build, &[]).into(),
            machine,
        }
    }

    /// Returns where early boot is, statically linked.
    pub(crate) fn prepare_root(&self) -> &Path {
        &self.prepare_root
    }

    /// Returns where firmware and boot loader are.
    pub(crate) fn firmware(&self) -> PathBuf {
        self.machine.join("firmware")
    }

    /// Returns where the systems with systemd are.
    pub(crate) fn trees(&self) -> PathBuf {
        self.machine.join("trees")
    }

    /// Makes the tree of version `version` at `tree`, with the scripts that `do=` can name.
    pub(crate) fn make_tree(&self, tree: &Path, version: &str, todo: &[(&str, &str)]) {
        for dir in [
            "sysroot", "boot", "var", "run", "proc", "sys", "dev", "tmp", "root", "usr/etc",
        ] {
            fs::create_dir_all(tree.join(dir)).unwrap();
        }
        for (name, to) in [
            ("ostree", "sysroot/ostree"),
            ("bin", "usr/bin"),
            ("sbin", "usr/sbin"),
            ("lib", "usr/lib"),
            ("lib64", "usr/lib64"),
        ] {
            symlink(to, tree.join(name)).unwrap();
        }
        let release = format!("NAME=Test\nID=test\nPRETTY_NAME=\"Test {version}\"\n");
        write(&tree.join("usr/etc/os-release"), &release, 0o644);
        write(&tree.join("usr/lib/os-version"), version, 0o644);
        for (name, script) in todo {
            write(&tree.join("usr/lib/todo").join(name), script, 0o644);
        }
        write(&tree.join("usr/sbin/init"), INIT, 0o755);
        copy(&self.busybox, &tree.join("usr/bin/busybox"));
        for applet in printed(&self.busybox, &["--list"]).lines() {
            let link = tree.join("usr/bin").join(applet);
            if link.symlink_metadata().is_err() {
                symlink("busybox", link).unwrap();
            }
        }
        copy(
            &self.prepare_root,
            &tree.join("usr/lib/ostree/ostree-prepare-root"),
        );
        symlink(
            "../lib/ostree/ostree-prepare-root",
            tree.join("usr/bin/ostree-remount"),
        )
        .unwrap();
        self.add_command(tree);
        self.add_kernel(tree);
    }

    /// Adds our command, and what it is linked with.
    fn add_command(&self, tree: &Path) {
        let exe = env!("CARGO_BIN_EXE_treeferry");
        copy(Path::new(exe), &tree.join("usr/bin/treeferry"));
        for word in printed("ldd", &[exe])
            .split_whitespace()
            .filter(|w| w.starts_with('/'))
        {
            let to = if word.starts_with("/usr") {
                word.to_owned()
            } else {
                format!("/usr{word}")
            };
            copy(Path::new(word), &tree.join(to.trim_start_matches('/')));
        }
    }

    fn add_kernel(&self, tree: &Path) {
        let version = self.modules.file_name().unwrap();
        let at = tree.join("usr/lib/modules").join(version);
        copy(&self.kernel, &at.join("vmlinuz"));
        let network = NETWORK.iter().chain(&["drivers/net/virtio_net.ko"]);
        for (number, module) in network.enumerate() {
            let name = module.rsplit('/').next().unwrap();
            let from = self.modules.join("kernel").join(module);
            // Some are built in, or part of another, from one version to the next.
            if from.exists() {
                copy(&from, &at.join(format!("network/{number:02}-{name}")));
            }
        }
        let initramfs = tempfile::tempdir().unwrap();
        let root = initramfs.path();
        copy(&self.busybox, &root.join("bin/busybox"));
        copy(&self.prepare_root, &root.join("bin/ostree-prepare-root"));
        for (number, module) in IMAGES.iter().enumerate() {
            let name = module.rsplit('/').next().unwrap();
            let from = self.modules.join("kernel").join(module);
            if from.exists() {
                copy(&from, &root.join(format!("modules/{number}-{name}")));
            }
        }
        write(&root.join("init"), INITRAMFS, 0o755);
        let pack = "cd \"$1\" && find . | cpio -o -H newc --quiet | gzip -1 > \"$2\"";
        let to = at.join("initramfs.img");
        printed(
            "sh",
            &[
                "-c",
                pack,
                "sh",
                root.to_str().unwrap(),
                to.to_str().unwrap(),
            ],
        );
    }
}
