//! The whole life of a machine with systemd: deployed, upgraded over HTTP, rolled back, brought back by its boot
//! loader from a system that does not come up, upgraded from a stick, and given a package.
//!
//! Firmware, boot loader, initramfs, systemd and units are the real ones; what is done in the machine is a script
//! that it runs once it is up.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::firmware::{Pc, make_deployable, make_fat};
use crate::guest::printed;
use crate::support::Place;
use crate::support::run::{Ran, treeferry};
use crate::support::serve::Serving;
use crate::{PARTS, machine_test};

const BRANCH: &str = "test/main";
/// How often a new system may fail to come up.
const TRIES: &str = "2";

/// Runs what stands on the disk `todo`, once everything is up, and turns the machine off.
const TODO_UNIT: &str = "[Unit]\nAfter=multi-user.target\n\
    Requires=ostree-boot-complete.service\nAfter=ostree-boot-complete.service\n\
    [Service]\nType=oneshot\nExecStart=/usr/lib/machine-todo\nStandardOutput=tty\nTTYPath=/dev/ttyS0\nStandardError=inherit\n";
const TODO_SCRIPT: &str = r#"#!/bin/sh
for disk in /dev/disk/by-id/nvme-*_todo; do tr -d '\0' <"$disk" >/run/todo; done
echo "UP $(cat /usr/lib/os-version)"
export HOME=/root
sh -e -o xtrace /run/todo 2>&1 | cat
echo "ENDED $(cat /run/todo-status)"
systemctl --no-block poweroff
"#;

/// What has to work for a boot to count as good.
const HEALTH_UNIT: &str = "[Unit]\nAfter=multi-user.target\nBefore=boot-complete.target\nFailureAction=reboot-force\n\
    [Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/usr/lib/machine-health\nStandardOutput=tty\nTTYPath=/dev/ttyS0\n";
const WELL: &str = "#!/bin/sh\n";
/// At first it is found to be ill, and then it does not even get so far.
const ILL: &str =
    "#!/bin/sh\necho THE BROKEN ONE\nmkdir /var/tried && exit 1\necho c >/proc/sysrq-trigger\n";

/// What every boot is asked, before what it is asked in particular.
const CHECKS: &str = r#"
trap 'echo $? >/run/todo-status' EXIT
touch /usr/x 2>/dev/null && echo "USR IS WRITABLE"
touch /sysroot/x 2>/dev/null && echo "SYSROOT IS WRITABLE"
touch /boot/x 2>/dev/null && echo "BOOT IS WRITABLE"
systemctl --failed --no-legend | sed 's/^/FAILED UNIT /'
systemctl is-active ostree-remount ostree-boot-complete | tr '\n' ' '
cat /etc/mine /var/mine /etc/late /etc/shipped 2>/dev/null || true
treeferry admin status; ls /boot/loader/entries
"#;

fn write(path: &Path, text: &str, mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Makes a tree of one of the two systems that `make-trees` made, before it is turned into a deployable one.
fn make_tree(from: &str, tree: &Path) {
    printed(
        "cp",
        &[
            "-a",
            PARTS.trees().join(from).to_str().unwrap(),
            tree.to_str().unwrap(),
        ],
    );
    let unit = tree.join("usr/lib/systemd/system/machine-todo.service");
    write(&unit, TODO_UNIT, 0o644);
    write(&tree.join("usr/lib/machine-todo"), TODO_SCRIPT, 0o755);
    let wants = tree.join("usr/lib/systemd/system/graphical.target.wants");
    fs::create_dir_all(&wants).unwrap();
    symlink(
        "../machine-todo.service",
        wants.join("machine-todo.service"),
    )
    .unwrap();
    let units = tree.join("usr/lib/systemd/system");
    write(&units.join("machine-health.service"), HEALTH_UNIT, 0o644);
    write(&tree.join("usr/lib/machine-health"), WELL, 0o755);
    let requires = units.join("boot-complete.target.requires");
    fs::create_dir_all(&requires).unwrap();
    symlink(
        "../machine-health.service",
        requires.join("machine-health.service"),
    )
    .unwrap();
    write(
        &tree.join("etc/fstab"),
        "LABEL=BOOT /boot vfat ro,umask=0077 0 0\n",
        0o644,
    );
    write(
        &tree.join("usr/lib/ostree/prepare-root.conf"),
        "[sysroot]\nreadonly=true\n",
        0o644,
    );
    // The console is for what is tested.
    let getty = tree.join("etc/systemd/system/serial-getty@ttyS0.service");
    symlink("/dev/null", getty).unwrap();
    let network = "[Match]\nName=e*\n[Network]\nAddress=10.0.2.15/24\nGateway=10.0.2.2\n";
    write(
        &tree.join("etc/systemd/network/all.network"),
        network,
        0o644,
    );
    let wants = tree.join("etc/systemd/system/multi-user.target.wants");
    fs::create_dir_all(&wants).unwrap();
    symlink(
        "/lib/systemd/system/systemd-networkd.service",
        wants.join("systemd-networkd.service"),
    )
    .unwrap();
    make_deployable(tree, PARTS.prepare_root(), from);
}

/// A repository with systems, and what tells how long things take.
struct Life {
    place: Place,
    repo: PathBuf,
    started: Instant,
    steps: std::cell::Cell<u32>,
}

impl Life {
    fn step(&self, what: &str) {
        self.steps.set(self.steps.get() + 1);
        println!(
            "[{:4} s] {}. {what}",
            self.started.elapsed().as_secs(),
            self.steps.get()
        );
    }

    /// Records `tree` as version `version`.
    fn publish(&self, tree: &Path, version: &str) {
        write(&tree.join("usr/lib/os-version"), version, 0o644);
        write(
            &tree.join("usr/etc/shipped"),
            &format!("etc of {version}\n"),
            0o644,
        );
        let tree = format!("--tree=dir={}", tree.display());
        let version = format!("--add-metadata-string=version={version}");
        treeferry(
            &self.repo,
            [
                "commit",
                "--generate-sizes",
                "--subject=s",
                &format!("--branch={BRANCH}"),
                &version,
                &tree,
            ],
        )
        .success();
    }

    /// Compares what a machine said that it needs with what it then took.
    fn check_cost(&self, said: &str) {
        let in_repo = numbers_after(said, "repository  exactly ");
        let foreseen = numbers_after(said, "deployment  about ")[0];
        let cost = numbers_after(said, "COST ");
        let (pulled, deployed) = (cost[0], cost[1]);
        println!(
            "         v1 -> v2 took {pulled} bytes in the repository ({} were foreseen) and {deployed} for the deployment ({foreseen} were)",
            in_repo[0]
        );
        for (took, said_before) in [(pulled, in_repo[0]), (deployed, foreseen)] {
            assert!(took.abs_diff(said_before) < said_before / 10, "{said}");
        }
    }

    /// Deploys what is published, as an installer does, with a `/boot` for FAT.
    fn install(&self, server: &Serving) -> PathBuf {
        let root = self.place.join("root");
        fs::create_dir(&root).unwrap();
        let sysroot = format!("--sysroot={}", root.display());
        let admin = |args: &[&str]| {
            let command = &mut std::process::Command::new(env!("CARGO_BIN_EXE_treeferry"));
            // What is thrown away again needs no seal.
            let command = command.env("OSTREE_SYSROOT_DEBUG", "mutable-deployments");
            Ran::of(command.arg("admin").args(args)).success();
        };
        admin(&["init-fs", "--modern", root.to_str().unwrap()]);
        fs::create_dir_all(root.join("boot/loader/entries")).unwrap();
        admin(&[&sysroot, "stateroot-init", "test"]);
        let system = root.join("ostree/repo");
        let url = server.url().replace("127.0.0.1", "10.0.2.2");
        treeferry(
            &system,
            ["config", "set", "sysroot.boot-counting-tries", TRIES],
        )
        .success();
        treeferry(
            &system,
            ["remote", "add", "--no-gpg-verify", "origin", &url],
        )
        .success();
        treeferry(
            &system,
            [
                "pull-local",
                "--remote=origin",
                self.repo.to_str().unwrap(),
                BRANCH,
            ],
        )
        .success();
        let mut args = vec![&*sysroot, "deploy", "--os=test"];
        args.extend([
            "--karg=console=ttyS0",
            "--karg=quiet",
            "--karg=panic=1",
            "--karg=rw",
            "--karg=root=LABEL=sysroot",
        ]);
        args.push("origin:test/main");
        admin(&args);
        root
    }
}

/// Returns the numbers in what follows `words`.
fn numbers_after(said: &str, words: &str) -> Vec<u64> {
    let line = said.lines().find_map(|line| line.split(words).nth(1));
    let line = line.unwrap_or_else(|| panic!("{words:?} is missing: {said}"));
    line.split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

/// Asserts that a machine said all of it, and nothing that it must not.
fn says(said: &str, words: &[&str]) {
    for words in words {
        assert!(said.contains(words), "{words:?} is missing: {said}");
    }
    let bad = said.lines().find(|line| {
        let begins = ["USR IS", "SYSROOT IS", "BOOT IS", "FAILED UNIT"];
        begins.iter().any(|words| line.starts_with(words))
    });
    assert_eq!(bad, None, "{said}");
}

machine_test! {
    fn a_machine_with_systemd_lives() {
        let place = Place::new();
        let repo = place.init_unsynced("build", "archive");
        let life = Life { place, repo, started: Instant::now(), steps: std::cell::Cell::new(0) };
        life.step("v1, with initramfs-tools, is committed and deployed to a disk with a FAT /boot");
        let (one, two) = (life.place.join("one"), life.place.join("two"));
        make_tree("initramfs-tools", &one);
        life.publish(&one, "v1");
        let server = Serving::start(&life.repo);
        let root = life.install(&server);
        let pc = Pc::new(life.place.join("pc"), &PARTS.firmware(), &root);
        fs::remove_dir_all(root).unwrap();

        life.step("v2, with dracut, is published");
        make_tree("dracut", &two);
        life.publish(&two, "v2");

        life.step("v1 boots; v2 is pulled over HTTP and staged, and then /etc is changed once more");
        let upgrade = "echo 'etc is kept' >/etc/mine; echo 'var is kept' >/var/mine\n\
            used() { sync; df -B1 --output=used /sysroot | tail -n1; }\n\
            treeferry --repo=/ostree/repo pull --commit-metadata-only origin test/main\n\
            treeferry admin preflight --os=test origin:test/main\n\
            before=$(used); treeferry admin upgrade --pull-only; pulled=$(used)\n\
            treeferry admin preflight --os=test origin:test/main\n\
            treeferry admin upgrade --deploy-only --stage; staged=$(used)\n\
            echo \"COST $((pulled - before)) $((staged - pulled))\"\n\
            treeferry admin status; echo 'late is kept' >/etc/late";
        let said = pc.run(&format!("{CHECKS}{upgrade}"), None);
        says(&said, &["UP v1", "active active", "etc of v1", "(staged)"]);
        life.check_cost(&said);
        assert_eq!(pc.menu(), ["ostree-2-1.conf", "ostree-2-2+2.conf"], "{said}");

        life.step("v2 boots, with the changes; it is counted as good; v1 is made the default again");
        let said = pc.run(&format!("{CHECKS}treeferry admin rollback"), None);
        says(&said, &["UP v2", "active active", "etc is kept", "var is kept", "late is kept", "etc of v2"]);
        says(&said, &["entries\nostree-2-1.conf\nostree-2-2.conf\n+"]);

        life.step("v1 boots, with its own /etc and the common /var; v2 is made the default again");
        let said = pc.run(&format!("{CHECKS}treeferry admin set-default 1"), None);
        says(&said, &["UP v1", "etc is kept", "var is kept", "etc of v1"]);

        life.step("v3, which boots but does not work, is published");
        let health = two.join("usr/lib/machine-health");
        write(&health, ILL, 0o755);
        life.publish(&two, "v3");

        life.step("v2 boots, and is upgraded to v3");
        let said = pc.run(&format!("{CHECKS}treeferry admin upgrade --stage"), None);
        says(&said, &["UP v2"]);
        assert_eq!(pc.menu(), ["ostree-5-1.conf", "ostree-5-2+2.conf"], "{said}");

        life.step("v3 is tried twice by the boot loader, which then boots v2; that is the default again");
        write(&health, WELL, 0o755);
        life.publish(&two, "v4");
        let stick = life.place.join("stick");
        fs::create_dir(&stick).unwrap();
        treeferry(&life.repo, ["push", &format!("usb:{}", stick.display()), BRANCH]).success();
        // A package comes along.
        fs::copy(PARTS.trees().join("hello.deb"), stick.join("hello.deb")).unwrap();
        let image = life.place.join("stick.img");
        make_fat(&image, "STICK", 600, &stick);
        drop(server);
        let offline = "journalctl -b -o cat -u ostree-boot-complete\n\
            mkdir -p /run/stick; mount -o ro LABEL=STICK /run/stick; cp /run/stick/hello.deb /var/\n\
            treeferry --repo=/ostree/repo pull-local --remote=origin /run/stick/.ostree/repo test/main\n\
            treeferry admin upgrade --deploy-only --stage; treeferry admin status";
        let said = pc.run(&format!("{CHECKS}{offline}"), Some(&image));
        assert_eq!(said.matches("THE BROKEN ONE").count(), 2, "{said}");
        assert_eq!(said.matches("Kernel panic").count(), 1, "{said}");
        // The menu is whole again, and the one that did not come up has no tries left.
        says(&said, &["UP v2", "did not come up: this system is the default again", "(staged)",
            "entries\nostree-6-1+0-2.conf\nostree-6-2.conf\n+"]);

        life.step("v4 boots, which came from a stick, without a network; a package of Debian's is laid over it");
        let overlay = "dpkg-deb --fsys-tarfile /var/hello.deb >/var/hello.tar\n\
            treeferry admin overlay --version-text=v4.hello /var/hello.tar";
        let said = pc.run(&format!("{CHECKS}{overlay}"), None);
        says(&said, &["UP v4", "etc is kept", "var is kept", "late is kept", "etc of v4"]);

        life.step("v4 with the package boots; a soft reboot to v4 without it, under the same kernel, is prepared");
        let prepare = "hello; treeferry admin prepare-soft-reboot 1; treeferry admin status\n\
            treeferry admin prepare-soft-reboot --reset; treeferry admin status | grep soft-reboot || echo FORGOTTEN";
        let said = pc.run(&format!("{CHECKS}{prepare}"), None);
        says(&said, &["UP v4", "Hello, world!", "etc is kept", "var is kept", "overlay/test"]);
        says(&said, &["(rollback) (soft-reboot)", "FORGOTTEN"]);
        life.step("done");
    }
}
