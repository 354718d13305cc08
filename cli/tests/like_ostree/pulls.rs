//! Pulls, and what is asked of a remote.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::beside::{Agree, Beside};

/// A regular file of another mode than 0775 allows is refused, whatever is pulled how.
#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn files_that_users_must_not_be_given_are_refused_alike() {
    let beside = Beside::new();
    let trees = [
        ("set-user-id", 0o4755),
        ("set-group-id", 0o2755),
        ("sticky", 0o1755),
        ("of-the-world", 0o666),
        ("of-the-group", 0o775),
    ];
    beside.both(|at| {
        for (name, mode) in trees {
            fs::create_dir(at.join(name)).unwrap();
            let file = at.join(name).join("file");
            fs::write(&file, name).unwrap();
            fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
            // Directories are not looked at.
            let all = fs::Permissions::from_mode(0o1777);
            fs::set_permissions(at.join(name), all).unwrap();
        }
    });
    beside.same(Agree::Fully, &["--repo=u init --mode=bare-user"]);
    for repo in ["r", "u", "c"] {
        for (name, _) in trees {
            let call = format!("--repo={repo} commit -b {name} --timestamp=@1 {name}");
            beside.same(Agree::Fully, &[&call]);
        }
    }
    // Where C has its own is as good for us.
    let url = format!("file://{}", beside.theirs().join("c").display());
    for mode in ["bare", "bare-user", "bare-user-only", "archive"] {
        let to = format!("to-{mode}");
        beside.same(
            Agree::Fully,
            &[
                &format!("--repo={to} init --mode={mode}"),
                &format!("--repo={to} remote add --no-gpg-verify o {url}"),
            ],
        );
        for (name, file_mode) in trees {
            for from in ["r", "u", "c", "c --untrusted", "o"] {
                let pull = match from {
                    "o" => "pull --bareuseronly-files o",
                    from => &format!("pull-local --bareuseronly-files {from}"),
                };
                let call = format!("--repo={to} {pull} {name}");
                let (ours, theirs) = (beside.call(&call), beside.call_theirs(&call));
                let code = i32::from(file_mode & !0o775 != 0);
                assert_eq!(theirs.code, Some(code), "{call}: {theirs:?}");
                assert_eq!(ours.code, Some(code), "{call}: {ours:?}");
            }
        }
        beside.same(Agree::InAnyOrder, &[&format!("--repo={to} refs --list")]);
        is_sound(&beside, &to);
        // And without the option they arrive, where they can be kept.
        if mode != "bare-user-only" {
            let call = format!("--repo={to} pull-local c set-user-id");
            assert_eq!(beside.call(&call).code, Some(0), "{call}");
        }
    }
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn commits_alone_are_pulled_alike() {
    let beside = Beside::new();
    let depths = ["", "--depth=1", "--depth=-1"];
    for (n, depth) in depths.iter().enumerate() {
        beside.same(
            Agree::InAnyOrder,
            &[
                &format!("--repo=n{n} init --mode=bare-user"),
                &format!("--repo=n{n} pull-local --commit-metadata-only {depth} r m"),
                &format!("--repo=n{n} refs"),
                &format!("--repo=n{n} log m"),
            ],
        );
        is_sound(&beside, &format!("n{n}"));
        beside.same(Agree::ButErrorText, &[&format!("--repo=n{n} ls m")]);
        beside.same_files(&format!("n{n}/state"));
        beside.same_files(&format!("n{n}/objects"));
        beside.same(
            Agree::InAnyOrder,
            &[
                &format!("--repo=n{n} pull-local r m"),
                &format!("--repo=n{n} ls -R m"),
            ],
        );
        is_sound(&beside, &format!("n{n}"));
        beside.same_files(&format!("n{n}/state"));
    }
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn the_summary_of_a_remote_is_printed_alike() {
    let beside = Beside::new();
    let update = "--repo=c summary -u -m a.b='@as []'";
    assert_eq!(beside.call_theirs(update).code, Some(0));
    let url = format!("file://{}", beside.theirs().join("c").display());
    beside.both(|at| fs::create_dir(at.join("cache")).unwrap());
    beside.same(
        Agree::Fully,
        &[
            &format!("--repo=r remote add --no-gpg-verify o {url}"),
            "--repo=r remote summary o",
            "--repo=r remote summary --raw o",
            "--repo=r remote summary --cache-dir=cache o",
            "--repo=r remote refs o",
            "--repo=r remote refs --cache-dir=cache o",
            "--repo=r remote summary",
            "--repo=r remote summary nope",
        ],
    );
    fs::remove_file(beside.theirs().join("c/summary")).unwrap();
    beside.same(
        Agree::ButErrorText,
        &["--repo=r remote summary o", "--repo=r remote refs o"],
    );
}

/// Has each check what it made itself: C is at times told of partial commits that we do not leave.
fn is_sound(beside: &Beside, repo: &str) {
    let call = format!("--repo={repo} fsck -q");
    assert_eq!(beside.call(&call).code, Some(0), "{repo}");
    assert_eq!(beside.call_theirs(&call).code, Some(0), "{repo}");
}

/// A repository on this machine is believed, and a ref whose commit is damaged keeps no other from
/// being published; whoever pulls it and does not trust it finds out.
#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn a_commit_that_is_not_what_its_name_says_is_listed_and_linked_alike() {
    let beside = Beside::new();
    let real = beside.call("--repo=r rev-parse foo/bar").lines.remove(0);
    let false_name = "5".repeat(64);
    let object = |at: &Path, name: &str| {
        let (first, rest) = name.split_at(2);
        at.join(format!("r/objects/{first}/{rest}.commit"))
    };
    beside.both(|at| {
        let to = object(at, &false_name);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::rename(object(at, &real), to).unwrap();
        fs::write(at.join("r/refs/heads/foo/bar"), format!("{false_name}\n")).unwrap();
    });
    beside.same(Agree::Fully, &["--repo=r summary -u"]);
    let view = |mut outcome: crate::beside::Outcome| {
        outcome.lines.retain(|line| !line.contains("Last-Modified"));
        outcome
    };
    let (ours, theirs) = (
        view(beside.call("--repo=r summary -v")),
        view(beside.call_theirs("--repo=r summary -v")),
    );
    assert!(ours.lines.iter().any(|line| line.contains(&false_name)));
    assert_eq!(ours, theirs);
    let told = Command::new(env!("CARGO_BIN_EXE_treeferry"))
        .args(["--repo=r", "summary", "-u"])
        .current_dir(beside.ours())
        .output()
        .unwrap();
    // By our own name it is an error.
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(
        told.starts_with("error: ") && told.contains(&false_name),
        "{told}"
    );
    beside.same(
        Agree::Fully,
        &[
            "--repo=believes init --mode=bare-user",
            "--repo=believes pull-local r foo/bar",
            "--repo=believes rev-parse foo/bar",
            "--repo=verifies init --mode=bare-user",
        ],
    );
    // C's text says that it was its fsck.
    let untrusted = "--repo=verifies pull-local --untrusted r foo/bar";
    beside.same(Agree::ButErrorText, &[untrusted, "--repo=verifies refs"]);
}
