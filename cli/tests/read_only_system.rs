//! A running system whose `/sysroot` and `/boot` are read-only: what changes it sees them writable, nobody else does.

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::fs;
use std::process::Command;

/// Deploys a system with the command in it, and makes the mounts of a running one below `$D/new`, in a mount
/// namespace that the rest of the test is in.
const BEFORE: &str = r#"
set -e
export OSTREE_SYSROOT_DEBUG=mutable-deployments
cd "$D"
mkdir -p tree/usr/{bin,lib/modules/6.1} tree/usr/etc tree/{sysroot,boot,var,run,proc,dev,tmp}
for dir in bin lib lib64; do ln -s usr/$dir tree/$dir; done
mkdir -p tree/usr/lib64; ln -s sysroot/ostree tree/ostree
for file in "$EXE" $(command -v touch cat mount) $(ldd "$EXE" $(command -v touch mount) | grep -o '/[^ ):]*'); do
  case $file in
    */lib*/*.so*) install -D "$file" "tree/usr/${file#/usr}" 2>/dev/null || install -D "$file" "tree/usr$file";;
    *) install -D "$file" "tree/usr/bin/${file##*/}";;
  esac
done
printf 'ID=x\nPRETTY_NAME="X"\n' >tree/usr/lib/os-release
echo kernel >tree/usr/lib/modules/6.1/vmlinuz
echo initramfs >tree/usr/lib/modules/6.1/initramfs.img
mkdir disk
mount --bind disk disk
"$EXE" admin init-fs --modern disk
"$EXE" admin --sysroot=disk stateroot-init os
repo=disk/ostree/repo
"$EXE" --repo=$repo commit -b os/stable tree
"$EXE" admin --sysroot=disk deploy --os=os --karg=root=LABEL=x os/stable
deployment=$(echo disk/ostree/deploy/os/deploy/*.0)
mkdir new
mount --bind "$deployment" new
mount --bind disk new/sysroot
mount --bind disk/boot new/boot
mount --bind disk/ostree/deploy/os/var new/var
mount -t tmpfs run new/run
mount -t tmpfs tmp new/tmp
mount -t proc proc new/proc
mount --bind new/usr new/usr
touch new/run/ostree-booted
for path in usr sysroot boot; do mount -o remount,bind,ro new/$path; done
in_it() { chroot new "$@"; }
echo READY
"#;

/// Runs `checks` beside such a system, and returns what they print.
fn run(checks: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new("unshare")
        .args(["-m", "bash", "-c", &format!("{BEFORE}{checks}")])
        .env("D", dir.path())
        .env("EXE", env!("CARGO_BIN_EXE_treeferry"))
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(
        !mounts.contains(dir.path().to_str().unwrap()),
        "the mounts were everybody's"
    );
    let out = out.split_once("READY\n").unwrap().1.to_owned();
    fs::remove_dir_all(dir.path()).unwrap();
    out
}

#[test]
#[cfg_attr(not(has_mount_namespaces), ignore = "needs root and mount namespaces")]
fn what_changes_it_sees_it_writable_and_nobody_else_does() {
    let said = run(r#"
in_it treeferry admin status
in_it treeferry admin deploy --karg=more os/stable >/dev/null
in_it treeferry admin pin 0 >/dev/null
in_it treeferry --repo=/ostree/repo refs --create=made/here os/stable
in_it treeferry --repo=/sysroot/ostree/repo fsck --quiet
in_it treeferry admin status
grep -h options new/boot/loader/entries/*
cat disk/ostree/repo/refs/heads/made/here
for path in usr sysroot boot; do touch new/$path/x 2>&1 | grep -o 'Read-only.*'; done
in_it treeferry admin unlock >/dev/null
in_it touch /usr/changed && echo "usr is changeable"
touch new/sysroot/x 2>&1 | grep -o 'Read-only.*'
"#);
    assert!(said.contains("* os "), "{said}");
    assert!(
        said.contains(".1 (pending)\n") && said.contains("Pinned: yes"),
        "{said}"
    );
    assert!(said.contains("/0 more\n"), "{said}");
    assert_eq!(said.matches("Read-only file system").count(), 4, "{said}");
    assert!(said.contains("usr is changeable"), "{said}");
}

#[test]
#[cfg_attr(not(has_mount_namespaces), ignore = "needs root and mount namespaces")]
fn where_that_is_forbidden_it_says_so_and_changes_nothing() {
    let said = run(r#"
find disk -newer new/run/ostree-booted >before
without="setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin"
for verb in "admin pin 0" "admin cleanup" "--repo=/ostree/repo refs --create=x os/stable"; do
  $without chroot new treeferry $verb 2>&1 && echo "IT WORKED: $verb"
done
$without chroot new treeferry admin status
find disk -newer new/run/ostree-booted >after
cmp before after
"#);
    let refusal =
        "/sysroot and /boot are read-only, and no mount namespace can be made in which they could";
    assert_eq!(said.matches(refusal).count(), 3, "{said}");
    assert!(
        !said.contains("IT WORKED") && said.contains("* os "),
        "{said}"
    );
}
