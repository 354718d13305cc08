//! Machines, booted for real: a kernel in QEMU, early boot, a deployment, an upgrade over HTTP, a power
//! cut.
//!
//! Run in release (`.ci/test` does): everything in a machine is emulated, and slow enough as it is. With
//! `TREEFERRY_KEEP_MACHINES=DIR` the disks of the machine with systemd are kept as they are after each boot.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod firmware;
mod guest;
mod power;
#[path = "../support/mod.rs"]
mod support;
mod systemd;
mod vm;
mod write_log;

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use guest::Parts;
use support::chance::Chance;
use support::run::{Ran, treeferry};
use support::serve::Serving;
use support::{Place, commit};
use vm::Disk;

/// Why these tests are not run with the others.
macro_rules! machine_test {
    ($(#[$meta:meta])* fn $name:ident() $body:block) => {
        #[test]
        #[ignore = "boots machines: run by .ci/test, in release, after cli/tests/machine/fetch"]
        $(#[$meta])*
        fn $name() $body
    };
}
pub(crate) use machine_test;

static PARTS: LazyLock<Parts> = LazyLock::new(Parts::find);

/// The scripts that `do=` can name, in every tree.
const TODO: [(&str, &str); 6] = [
    (
        "look",
        "cat /etc/mine /var/mine /etc/new 2>/dev/null; grep ' / ' /proc/mounts | tail -1; treeferry admin status",
    ),
    (
        "write",
        "echo 'etc is kept' > /etc/mine; echo 'var is kept' > /var/mine; touch /usr/x || echo 'usr is read-only'",
    ),
    ("upgrade", "treeferry admin upgrade"),
    (
        "steps",
        "echo PHASE pull; treeferry admin upgrade --pull-only && echo PHASE deploy && \
         treeferry admin upgrade --deploy-only --stage && treeferry --verbose admin finalize-staged && \
         echo PHASE end",
    ),
    (
        "after",
        "echo TELLS $(cat /usr/lib/os-version); treeferry admin boot-complete; echo TOLD; \
         case $(cat /usr/lib/os-version) in v1) treeferry admin upgrade;; \
         *) treeferry admin switch test/next;; esac",
    ),
    ("rollback", "treeferry admin set-default 1"),
];

/// A web server with two versions of a system, and a disk on which the first is deployed.
struct World {
    place: Place,
    repo: PathBuf,
    _server: Serving,
    disk: Disk,
}

impl World {
    fn new() -> Self {
        let place = Place::new();
        let repo = place.init_unsynced("build", "archive");
        let tree = place.join("v1");
        PARTS.make_tree(&tree, "v1", &TODO);
        commit(&repo, "test/main", &tree);
        let server = Serving::start(&repo);
        let disk = install(&place, &repo, &server);
        Self {
            place,
            repo,
            _server: server,
            disk,
        }
    }

    fn publish(&self, version: &str, change: impl FnOnce(&Path)) {
        let tree = self.place.join(version);
        PARTS.make_tree(&tree, version, &TODO);
        change(&tree);
        commit(&self.repo, "test/main", &tree);
    }
}

/// Writes what makes an upgrade long enough to be cut off in: defaults for `/etc`, programs, and another
/// initramfs.
fn write_files(tree: &Path) {
    let mut chance = Chance::new(2);
    for (dir, count) in [("usr/etc/many", 150), ("usr/share/many", 150)] {
        std::fs::create_dir_all(tree.join(dir)).unwrap();
        for number in 0..count {
            std::fs::write(tree.join(dir).join(number.to_string()), chance.bytes(8000)).unwrap();
        }
    }
    let modules = std::fs::read_dir(tree.join("usr/lib/modules")).unwrap();
    let initramfs = modules
        .last()
        .unwrap()
        .unwrap()
        .path()
        .join("initramfs.img");
    // Zeros between archives are skipped.
    let file = std::fs::OpenOptions::new()
        .append(true)
        .open(initramfs)
        .unwrap();
    std::io::Write::write_all(&mut &file, &vec![0; 8 << 20]).unwrap();
}

fn install(place: &Place, repo: &Path, server: &Serving) -> Disk {
    let root = place.join("root");
    std::fs::create_dir(&root).unwrap();
    let sysroot = format!("--sysroot={}", root.display());
    let admin = |args: &[&str]| {
        let mut all = vec!["admin"];
        all.extend(args);
        Ran::of(std::process::Command::new(env!("CARGO_BIN_EXE_treeferry")).args(all)).success()
    };
    admin(&["init-fs", root.to_str().unwrap()]);
    admin(&[&sysroot, "stateroot-init", "test"]);
    let system = root.join("ostree/repo");
    // How a machine reaches this one.
    let url = server.url().replace("127.0.0.1", "10.0.2.2");
    treeferry(
        &system,
        ["remote", "add", "--no-gpg-verify", "origin", &url],
    )
    .success();
    let from = repo.to_str().unwrap();
    treeferry(
        &system,
        ["pull-local", "--remote=origin", from, "test/main"],
    )
    .success();
    let karg = |text: &str| format!("--karg={text}");
    let args = [
        &sysroot,
        "deploy",
        "--os=test",
        &karg("console=ttyS0"),
        &karg("quiet"),
        &karg("panic=-1"),
        "origin:test/main",
    ];
    admin(&args);
    Disk::of_directory(place.path(), &root, 640)
}

machine_test! {
    fn a_machine_is_upgraded_and_rolled_back() {
        let world = World::new();
        let said = world.disk.boot("do=write").wait();
        assert!(said.contains("BOOTED v1"), "{said}");
        assert!(said.contains("usr is read-only"), "{said}");
        // The new version boots from a composefs image, which the old one makes of it.
        world.publish("v2", |tree| {
            std::fs::write(tree.join("usr/etc/new"), "etc of v2\n").unwrap();
            let wants_image = "[composefs]\nenabled=yes\n";
            std::fs::write(tree.join("usr/lib/ostree/prepare-root.conf"), wants_image).unwrap();
        });
        let said = world.disk.boot("do=upgrade").wait();
        assert!(said.contains("ENDED 0"), "{said}");
        let said = world.disk.boot("do=look").wait();
        for words in ["BOOTED v2", "etc is kept", "var is kept", "etc of v2", "composefs / overlay ro,"] {
            assert!(said.contains(words), "{words}: {said}");
        }
        let said = world.disk.boot("do=rollback").wait();
        assert!(said.contains("ENDED 0"), "{said}");
        let said = world.disk.boot("do=look").wait();
        for words in ["BOOTED v1", "etc is kept", "var is kept"] {
            assert!(said.contains(words), "{words}: {said}");
        }
        assert!(!said.contains("etc of v2") && !said.contains("composefs / "), "{said}");
    }
}
