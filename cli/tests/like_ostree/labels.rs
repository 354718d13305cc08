//! SELinux labels.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::beside::{Agree, Beside};

/// Makes a policy at `policy`, the smallest that C takes, with `more` rules.
pub(crate) fn make_policy(at: &Path, more: &str) {
    let contexts = at.join("policy/etc/selinux/toy/contexts/files");
    fs::create_dir_all(&contexts).unwrap();
    // Never read but for a checksum of it.
    fs::create_dir(at.join("policy/etc/selinux/toy/policy")).unwrap();
    fs::write(at.join("policy/etc/selinux/toy/policy/policy.33"), "").unwrap();
    let config = "SELINUX=enforcing\nSELINUXTYPE=toy\n";
    fs::write(at.join("policy/etc/selinux/config"), config).unwrap();
    let rules = "/.*\tsystem_u:object_r:default_t:s0\n/d(/.*)?\tsystem_u:object_r:d_t:s0\n";
    fs::write(contexts.join("file_contexts"), format!("{rules}{more}")).unwrap();
}

/// Returns the labels of a tree by path, beginning with the type of file.
fn labels(root: &Path) -> BTreeMap<String, Option<Vec<u8>>> {
    let script = "find . -printf '%y %p\\n'";
    let listed = std::process::Command::new("sh")
        .args(["-c", script])
        .current_dir(root)
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let read = |line: &str| {
        let mut value = vec![0; 256];
        let path = root.join(&line[2..]);
        let found = rustix::fs::lgetxattr(path, "security.selinux", &mut value[..]);
        let value = found.ok().map(|len| value[..len].to_vec());
        (line.to_owned(), value)
    };
    listed.lines().map(read).collect()
}

/// C labels files itself, and has directories and links labelled by a kernel with SELinux, without
/// which they get none; we label them ourselves. What the kernel would make them is what C records
/// for them.
#[test]
#[cfg_attr(not(all(has_ostree, is_root)), ignore = "needs ostree, and root")]
fn checkouts_are_labelled_alike() {
    let beside = Beside::new();
    beside.both(|at| make_policy(at, "/pre/d(/.*)?\tsystem_u:object_r:pre_t:s0\n"));
    let kernel_has_selinux = Path::new("/sys/fs/selinux/enforce").exists();
    beside.same(
        Agree::Fully,
        &[
            "--repo=r commit -b old --timestamp=@1 --selinux-policy=policy t",
            "--repo=u init --mode=bare-user",
            "--repo=u pull-local r old",
            "--repo=r commit -b d --timestamp=@1 --selinux-policy=policy t",
            "--repo=u pull-local r d",
            "--repo=c pull-local r d",
        ],
    );
    let mut seen = 0;
    for repo in ["r", "u", "c"] {
        for mode in ["", "-U"] {
            for prefix in ["", "--selinux-prefix=/pre"] {
                let out = format!("out{seen}");
                let options = format!("{mode} --selinux-policy=policy {prefix}");
                let call = format!("--repo={repo} checkout {options} d {out}");
                beside.same(Agree::Fully, &[&call]);
                beside.same_files(&out);
                let theirs = labels(&beside.theirs().join(&out));
                let ours = labels(&beside.ours().join(&out));
                assert_eq!(ours.len(), theirs.len());
                for (path, label) in &ours {
                    if path.starts_with('f') || kernel_has_selinux {
                        assert_eq!(label, &theirs[path], "{call}: {path}");
                        continue;
                    }
                    let expected = match path[2..].strip_prefix("./d") {
                        Some(_) if !prefix.is_empty() => "pre_t",
                        Some(_) => "d_t",
                        None => "default_t",
                    };
                    let expected = format!("system_u:object_r:{expected}:s0");
                    assert_eq!(
                        label.as_deref(),
                        Some(expected.as_bytes()),
                        "{call}: {path}"
                    );
                }
                seen += 1;
            }
        }
    }
    // What no label is asked for has the one that was recorded, with its NUL, or none.
    for mode in ["", "-U"] {
        let out = format!("out{seen}");
        beside.same(
            Agree::Fully,
            &[&format!("--repo=c checkout {mode} d {out}")],
        );
        let theirs = labels(&beside.theirs().join(&out));
        assert_eq!(labels(&beside.ours().join(&out)), theirs);
        seen += 1;
    }
    beside.same(
        Agree::Fully,
        &["--repo=r checkout --selinux-prefix=/pre d x"],
    );
    let nowhere = "--repo=r checkout --selinux-policy=nowhere d x";
    beside.same(Agree::ButErrorText, &[nowhere]);
    // C crashes where there is no policy.
    let none = beside.call("--repo=r checkout --selinux-policy=t d x");
    assert_eq!(none.code, Some(1), "{none:?}");
}
