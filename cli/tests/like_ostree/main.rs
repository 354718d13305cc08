//! The command by the name `ostree`, call by call beside the C one on the same repositories.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod beside;
mod editor;
mod labels;
mod prunes;
mod pulls;
mod signing;

use std::fs;

use beside::{Agree, Beside};

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn log_and_show_print_the_same() {
    Beside::new().same(
        Agree::Fully,
        &[
            "--repo=r log m",
            "--repo=r log --raw m",
            "--repo=r log nope",
            "--repo=r log",
            "--repo=r show m",
            "--repo=r show m^",
            "--repo=r show --raw m",
            "--repo=r show -B m",
            "--repo=r show --print-metadata-key=version m^",
            "--repo=r show --print-metadata-key=n m",
            "--repo=r show --print-metadata-key=none m",
            "--repo=r show --print-detached-metadata-key=none m",
            "--repo=r show --print-related m",
            "--repo=r show --print-sizes m",
            "--repo=c show --print-sizes o",
            "--repo=c show --raw o",
            "show --repo=r m",
            "--repo=r show",
        ],
    );
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn show_prints_objects_of_every_kind() {
    let beside = Beside::new();
    for extension in ["dirtree", "dirmeta", "file"] {
        for checksum in objects(&beside, extension) {
            let call = |form: &str| format!("--repo=r show {form} {checksum}");
            let calls = [call(""), call("--raw"), call("-B")];
            beside.same(Agree::Fully, &calls.each_ref().map(String::as_str));
        }
    }
    let zeroes = format!("--repo=r show {}", "0".repeat(64));
    beside.same(Agree::Fully, &[&zeroes]);
}

/// Returns the checksums of the objects with that extension.
fn objects(beside: &Beside, extension: &str) -> Vec<String> {
    let mut found = Vec::new();
    for directory in fs::read_dir(beside.ours().join("r/objects")).unwrap() {
        let directory = directory.unwrap();
        let start = directory.file_name().into_string().unwrap();
        for object in fs::read_dir(directory.path()).unwrap() {
            let name = object.unwrap().file_name().into_string().unwrap();
            if let Some((rest, found_extension)) = name.split_once('.')
                && found_extension == extension
            {
                found.push(format!("{start}{rest}"));
            }
        }
    }
    assert!(!found.is_empty(), "{extension}");
    found
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn ls_and_cat_print_the_same() {
    let beside = Beside::new();
    for (repo, rev) in [("r", "m"), ("r", "foo/bar"), ("c", "o")] {
        for options in [
            "",
            "-R",
            "-RCX",
            "-d",
            "-dR",
            "-C --xattrs",
            "-R --nul-filenames-only",
        ] {
            let call = |paths: &str| format!("--repo={repo} ls {options} {rev} {paths}");
            let calls = [call(""), call("/"), call("/d f"), call("d nope"), call("l")];
            beside.same(Agree::Fully, &calls.each_ref().map(String::as_str));
        }
        let call = |paths: &str| format!("--repo={repo} cat {rev} {paths}");
        let calls = [
            call("f"),
            call("l 'd/sp ace/x' /empty"),
            call("abs"),
            call("d"),
            call("nope"),
        ];
        beside.same(Agree::Fully, &calls.each_ref().map(String::as_str));
    }
    beside.same(
        Agree::Fully,
        &["--repo=r ls", "--repo=r ls nope", "--repo=r cat m"],
    );
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn rev_parse_finds_the_same() {
    let beside = Beside::new();
    let commit = beside.call("--repo=r rev-parse m").lines.remove(0);
    let beginning = format!("--repo=r rev-parse {}", &commit[..10]);
    beside.same(
        Agree::Fully,
        &[
            "--repo=r rev-parse m m^ foo/bar",
            "--repo=r rev-parse m^^",
            "--repo=r rev-parse nope",
            "--repo=r rev-parse 'a b'",
            "--repo=r rev-parse",
            "--repo=r rev-parse -S",
            "--repo=r rev-parse -S m",
            "--repo=c rev-parse -S",
            "--repo=r refs --create=origin:far/away m^",
            "--repo=r rev-parse origin:far/away origin/far/away far/away",
            &beginning,
        ],
    );
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn refs_are_listed_made_and_deleted_alike() {
    let beside = Beside::new();
    let before: [&str; 13] = [
        "--repo=r refs --create=foo/baz m",
        "--repo=r refs --create=foo/baz m",
        "--repo=r refs --create=foo/baz m^ --force",
        "--repo=r refs --create=alias foo/bar -A",
        "--repo=r refs --create=origin:x m",
        "--repo=r refs --create=origin:foo/y m",
        "--repo=r refs --create=x",
        "--repo=r refs --create=x nope",
        "--repo=r refs -A --create=q nope",
        "--repo=r refs --create='a b' m",
        "--repo=r refs --create=- m",
        "--repo=r refs --delete foo/bar",
        "--repo=r refs --delete",
    ];
    beside.same(Agree::Fully, &before);
    beside.same(
        Agree::ButErrorText,
        &[
            "--repo=r refs --create=foo m",
            "--repo=r refs --create=m/x m",
        ],
    );
    beside.same(
        Agree::InAnyOrder,
        &[
            "--repo=r refs",
            "--repo=r refs --list",
            "--repo=r refs foo",
            "--repo=r refs --list foo",
            "--repo=r refs foo/bar",
            "--repo=r refs -A",
            "--repo=r refs origin:",
            "--repo=r refs origin:foo",
            "--repo=r refs --list origin:foo",
            "--repo=r refs nope",
            "--repo=r refs -c",
        ],
    );
    beside.same(
        Agree::InAnyOrder,
        &[
            "--repo=r refs --delete alias",
            "--repo=r refs --delete foo origin:x",
            "--repo=r refs",
            "--repo=r reset m m^",
            "--repo=r rev-parse m",
            "--repo=r reset nope m",
            "--repo=r reset m",
        ],
    );
    beside.same_files("r/refs");
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn refs_of_collections_are_alike() {
    let beside = Beside::new();
    beside.same(
        Agree::InAnyOrder,
        &[
            "--repo=c refs -c",
            "--repo=c refs -c org.example.Own",
            "--repo=c refs -c org.example.Other",
            "--repo=c refs -c --create=org.example.Other:y o",
            "--repo=c refs -c --create=org.example.Own:z o",
            "--repo=c refs -c --list",
            "--repo=c refs",
            "--repo=c refs --delete -c org.example.Other",
            "--repo=c refs -c",
        ],
    );
    beside.same_files("c/refs/heads");
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn config_changes_the_same_bytes() {
    let beside = Beside::new();
    beside.same(
        Agree::Fully,
        &[
            "--repo=r config",
            "--repo=r config get",
            "--repo=r config get core.mode",
            "--repo=r config get mode",
            "--repo=r config get core.nope",
            "--repo=r config get nogroup.nope",
            "--repo=r config get --group=core mode",
            "--repo=r config get a b",
            "--repo=r config set core.foo",
            "--repo=r config set core.foo bar",
            "--repo=r config get core.foo",
            "--repo=r config set --group='remote \"x\"' url 'http://a b;\\n'",
            "--repo=r config set --group=x",
            "--repo=r config set core.empty ''",
            "--repo=r config unset core.foo",
            "--repo=r config unset core.foo",
            "--repo=r config unset core",
            "--repo=r config frob",
        ],
    );
    let config = |at: std::path::PathBuf| fs::read_to_string(at.join("r/config")).unwrap();
    assert_eq!(config(beside.ours()), config(beside.theirs()));
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn remotes_are_configured_in_the_same_bytes() {
    let beside = Beside::new();
    let other = "--contenturl=http://c --custom-backend=q --collection-id=org.example.B";
    let all = format!("--repo=r remote add b http://x b1 b2 --set=z=1 --no-sign-verify {other}");
    beside.same(
        Agree::Fully,
        &[
            "--repo=r remote add",
            "--repo=r remote add a http://a",
            "--repo=r remote add --if-not-exists a http://b",
            "--repo=r remote add --force a http://b --no-gpg-verify --set=foo=bar",
            "--repo=r remote add a http://b --set=foo",
            "--repo=r remote add --if-not-exists --force a http://x",
            "--repo=r remote add m metalink=http://x",
            "--repo=r remote add 'f g' http://x",
            &all,
            "--repo=r remote list",
            "--repo=r remote show-url a",
            "--repo=r remote show-url m",
            "--repo=r remote show-url nope",
            "--repo=r remote delete",
            "--repo=r remote delete nope",
            "--repo=r remote delete nope --if-exists",
            "--repo=r remote delete m",
            "--repo=r remote list -u",
            "remote list --repo=r",
            "--repo=r remote refs nope",
        ],
    );
    let config = |at: std::path::PathBuf| fs::read_to_string(at.join("r/config")).unwrap();
    assert_eq!(config(beside.ours()), config(beside.theirs()));
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn commit_makes_the_same_commits() {
    let beside = Beside::new();
    beside.both(|at| {
        fs::write(at.join("body"), "S\n\nB\n").unwrap();
        fs::write(at.join("modes"), "=256 /f\n2048 /exec\n").unwrap();
        fs::write(at.join("skip"), "/d\n").unwrap();
        labels::make_policy(at, "");
    });
    let date = "--timestamp='2020-01-02 03:04:05 +0100'";
    let calls = [
        format!("commit -b s {date} t --table-output"),
        format!("commit -b s {date} t -s sub -F body"),
        format!("commit -b s {date} t --statoverride=modes"),
        format!("commit -b s {date} t --skip-list=skip"),
        format!("commit -b s {date} t --parent=none"),
        format!("commit --orphan {date} t"),
        format!("commit --orphan -b s {date} t"),
        format!("commit -b s {date} t --add-metadata-string=a=1 --add-metadata='b=[1,2]'"),
        format!("commit -b s {date} t --keep-metadata=a --add-detached-metadata-string=d=e"),
        format!("commit -b s {date} t --bind-ref=z --bind-ref=a"),
        format!("commit -b s {date} t --no-bindings"),
        format!("commit -b s {date} t --owner-uid 5 --owner-gid=-1"),
        format!("commit -b s {date} t --canonical-permissions"),
        format!("commit -b s {date} t --no-xattrs --mode-ro-executables --fsync=false"),
        format!("commit -b s {date} --tree=ref=m --tree=dir=t"),
        format!("commit -b s {date} --base=foo/bar t"),
        format!("commit -b re:s {date} t"),
        format!("commit -b s {date} t --link-checkout-speedup"),
        format!("commit -b s {date} t -I"),
        format!("commit -b s {date} t --selinux-policy=policy"),
        format!("commit -b s {date} --tree=dir=t --selinux-policy-from-base"),
        "log s".to_owned(),
        "show --raw s".to_owned(),
        "show --print-detached-metadata-key=d s^^^^^^^^^^^^".to_owned(),
        "commit -b s --skip-if-unchanged --base=foo/bar t".to_owned(),
        "refs --list s".to_owned(),
    ];
    for call in &calls {
        beside.same(Agree::Fully, &[&format!("--repo=r {call}")]);
        let call = call.replace("foo/bar", "o").replace("ref=m", "ref=o");
        beside.same(Agree::Fully, &[&format!("--repo=c {call}")]);
    }
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn commit_refuses_the_same() {
    let beside = Beside::new();
    beside.same(
        Agree::Fully,
        &[
            "--repo=r commit",
            "--repo=r commit -b s --tree=foo",
            "--repo=r commit -b s --tree=foo=x",
            "--repo=r commit -b s --parent=nope t",
            "--repo=r commit -b s --timestamp=foo t",
            "--repo=r commit -b s --add-metadata-string=foo t",
            "--repo=r commit -b s --add-detached-metadata-string=foo t",
            "--repo=r commit -b s --base=nope t",
            "--repo=r commit -b 'a b' t",
            "--repo=r commit -b s --owner-uid=x t",
            "--repo=r commit -b s --fsync=maybe t",
            "--repo=r commit -b s --frob t",
        ],
    );
    beside.same(
        Agree::ButErrorText,
        &[
            "--repo=r commit -b s --add-metadata=foo=zz t",
            "--repo=r commit -b s nodir",
            "--repo=r commit -b s -F nofile t",
            "--repo=r commit -b s --statoverride=nofile t",
            "--repo=r commit -b s --skip-list=nofile t",
        ],
    );
    beside.same_files("r/refs");
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn checkout_writes_the_same_trees() {
    let beside = Beside::new();
    beside.both(|at| {
        fs::write(at.join("skip"), "/f\n/d/\n").unwrap();
        fs::write(at.join("many"), "m\0/d\0").unwrap();
    });
    beside.same(
        Agree::Fully,
        &[
            "--repo=r checkout",
            "--repo=r checkout -U m co1",
            "--repo=r checkout -U m co2 --subpath=d",
            "--repo=r checkout -U m co3 --subpath=/f",
            "--repo=r checkout -U m co4 --subpath=nope",
            "--repo=r checkout -U m co4 --subpath=nope --allow-noent",
            "--repo=r checkout -U m",
            "--repo=r checkout -U --union foo/bar co1",
            "--repo=r checkout -U --union-add m co1",
            "--repo=r checkout -U --union --union-add m co1",
            "--repo=r checkout -U --union-identical m co1",
            "--repo=r checkout -H -C m co5",
            "--repo=r checkout -UC m co6",
            "--repo=r checkout -UM m co7",
            "--repo=r checkout -U --skip-list=skip m co8",
            "--repo=r checkout -U --from-file=many co9",
            "--repo=c checkout -U o co10",
            "--repo=r checkout nope",
        ],
    );
    beside.same(Agree::ButErrorText, &["--repo=r checkout -U m co1"]);
    for tree in ["co1", "co2", "co3", "m", "co6", "co7", "co8", "co9", "co10"] {
        beside.same_files(tree);
    }
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn prune_counts_and_deletes_the_same() {
    let beside = Beside::new();
    beside.same(
        Agree::Fully,
        &[
            "--repo=r prune --no-prune",
            "--repo=r prune",
            "--repo=r prune --refs-only --depth=0 --no-prune",
            "--repo=r prune --commit-only --refs-only --depth=0 --no-prune",
            "--repo=r prune --refs-only --depth 0",
            "--repo=r prune --refs-only --depth=0",
            "--repo=r prune --keep-younger-than=foo",
            "--repo=r prune --keep-younger-than='1 week ago'",
            "--repo=r prune --retain-branch-depth=foo",
            "--repo=r prune --retain-branch-depth=m=x",
            "--repo=r prune --retain-branch-depth=m=1",
            "--repo=r prune --only-branch=nope",
            "--repo=r refs --delete foo",
            "--repo=r prune --refs-only",
        ],
    );
    beside.same(Agree::ButErrorText, &["--repo=r prune --delete-commit=m"]);
    beside.same_files("r/objects");
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn fsck_ends_the_same_on_the_same_damage() {
    type Damage = fn(&std::path::Path);
    let damages: [(&str, Damage); 4] = [
        ("a file with other bytes", |repo| {
            let path = object_at(repo, "file");
            fs::write(&path, "other").unwrap();
        }),
        ("a missing dirmeta", |repo| {
            fs::remove_file(object_at(repo, "dirmeta")).unwrap();
        }),
        ("a dirtree with other bytes", |repo| {
            fs::write(object_at(repo, "dirtree"), "other").unwrap();
        }),
        ("no commits at all", |repo| {
            for _ in 0..3 {
                fs::remove_file(object_at(repo, "commit")).unwrap();
            }
        }),
    ];
    for (name, damage) in damages {
        for options in ["", "-a", "--delete", "-q"] {
            let beside = Beside::new();
            beside.both(|at| damage(&at.join("r")));
            let call = format!("--repo=r fsck {options}");
            let (ours, theirs) = (beside.call(&call), beside.call_theirs(&call));
            assert_eq!(
                ours.code, theirs.code,
                "{name}: {call}: {ours:?} {theirs:?}"
            );
            assert_eq!(ours.code, Some(1), "{name}: {call}");
            let again = "--repo=r fsck";
            let (ours, theirs) = (beside.call(again), beside.call_theirs(again));
            assert_eq!(
                ours.code, theirs.code,
                "{name}: {call}, again: {ours:?} {theirs:?}"
            );
        }
    }
}

/// Returns the first object with that extension, the same in equal repositories.
fn object_at(repo: &std::path::Path, extension: &str) -> std::path::PathBuf {
    let mut found = Vec::new();
    for directory in fs::read_dir(repo.join("objects")).unwrap() {
        for object in fs::read_dir(directory.unwrap().path()).unwrap() {
            let path = object.unwrap().path();
            let is_link = path.is_symlink();
            if path.extension().is_some_and(|e| e == extension) && !is_link {
                found.push(path);
            }
        }
    }
    found.sort();
    found.remove(0)
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn a_sound_repository_passes_with_the_same_words() {
    let beside = Beside::new();
    let theirs = beside.call_theirs("--repo=r fsck");
    // C also says that it has begun, which on a terminal is a bar.
    let lines = theirs
        .lines
        .iter()
        .filter(|line| !line.starts_with("fsck objects (1/"));
    let lines: Vec<_> = lines.cloned().collect();
    assert_eq!(beside.call("--repo=r fsck").lines, lines);
    beside.same(
        Agree::Fully,
        &[
            "--repo=r refs --create=other m",
            "--repo=r fsck --verify-bindings",
        ],
    );
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn pull_local_and_init_are_alike() {
    let beside = Beside::new();
    beside.same(
        Agree::InAnyOrder,
        &[
            "--repo=n init --mode=bare-user-only",
            "--repo=n init --mode=archive",
            "--repo=n config get core.mode",
            "--repo=a init --mode=archive --collection-id=org.example.New",
            "--repo=b init --mode=none",
            "init",
            "--repo=a pull-local",
            "--repo=n pull-local --remote=far c o",
            "--repo=a refs",
            "--repo=a pull-local r m",
            "--repo=a pull-local --depth=-1 r m",
            "--repo=a pull-local c",
            "--repo=a log m",
            "--repo=a refs",
        ],
    );
    beside.same(
        Agree::ButErrorText,
        &[
            "--repo=a pull-local nowhere",
            "--repo=a pull-local r nope",
            "--repo=t refs",
        ],
    );
    let config = |at: std::path::PathBuf| fs::read_to_string(at.join("a/config")).unwrap();
    assert_eq!(config(beside.ours()), config(beside.theirs()));
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn what_is_not_understood_is_refused_alike() {
    Beside::new().same(
        Agree::Fully,
        &[
            "",
            "frob",
            "--frob",
            "log --frob",
            "remote",
            "remote frob",
            "--repo=r commit --subject",
            "refs",
            "--repo=r log m and more",
            "--repo=r config get core.mode more",
        ],
    );
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn diff_finds_the_same() {
    let beside = Beside::new();
    beside.both(|at| {
        let copied = std::process::Command::new("cp")
            .args(["-a", "t", "t2"])
            .current_dir(at)
            .status();
        assert!(copied.unwrap().success());
        fs::write(at.join("t2/new"), "new").unwrap();
        fs::remove_file(at.join("t2/f")).unwrap();
        fs::write(at.join("t2/exec"), "other").unwrap();
    });
    beside.same(
        Agree::Fully,
        &[
            "--repo=r commit -b m --timestamp=@5000 t2",
            "--repo=r diff",
            "--repo=r diff m",
            "--repo=r diff m^ m",
            "--repo=r diff m ./t",
            "--repo=r diff ./t m",
            "--repo=r diff ./t ./t2",
            "--repo=r diff --stats m^ m",
            "--repo=r diff --fs-diff --stats m^ m",
            "--repo=r diff --owner-uid=5 m ./t2",
            "--repo=r diff --no-xattrs m ./t2",
            "--repo=r diff nope m",
            "--repo=r diff m nope",
        ],
    );
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn a_summary_of_either_reads_the_same_to_both() {
    for updater in ["ours", "theirs"] {
        let beside = Beside::new();
        for repo in ["r", "c"] {
            let update = format!("--repo={repo} summary -u -m a.b='x' -m n=5");
            let update = update.replace("'x'", "'\"x\"'");
            let outcome = match updater {
                "ours" => beside.call(&update),
                _ => beside.call_theirs(&update),
            };
            assert_eq!(outcome.code, Some(0), "{outcome:?}");
            let (from, to) = match updater {
                "ours" => (beside.ours(), beside.theirs()),
                _ => (beside.theirs(), beside.ours()),
            };
            for file in ["summary", "refs/heads"] {
                let copied = std::process::Command::new("cp")
                    .arg("-a")
                    .arg(from.join(repo).join(file))
                    .arg(to.join(repo).join(file).parent().unwrap())
                    .status();
                assert!(copied.unwrap().success());
            }
            let calls = [
                format!("--repo={repo} summary --view"),
                format!("--repo={repo} summary --raw"),
            ];
            beside.same(Agree::Fully, &calls.each_ref().map(String::as_str));
        }
        beside.same(
            Agree::Fully,
            &["--repo=r summary", "--repo=r summary -u -m foo"],
        );
    }
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn a_repository_set_to_it_keeps_its_summary_up_to_date() {
    let changes = [
        ("commit-update-summary", "--repo=r commit -b new t"),
        ("auto-update-summary", "--repo=r commit -b new t"),
        ("auto-update-summary", "--repo=r refs --create=new m"),
        ("auto-update-summary", "--repo=r refs --delete foo"),
        ("auto-update-summary", "--repo=r reset m m^"),
        ("auto-update-summary", "--repo=r pull-local c o"),
    ];
    for (key, change) in changes {
        let beside = Beside::new();
        let (before, set) = (
            "--repo=r refs --create=before m".to_owned(),
            format!("--repo=r config set core.{key} true"),
        );
        beside.same(Agree::Fully, &[&before]);
        assert!(!beside.ours().join("r/summary").exists());
        beside.same(Agree::Fully, &[&set]);
        let outcome = beside.call(change);
        assert_eq!(outcome.code, Some(0), "{change}: {outcome:?}");
        assert!(beside.ours().join("r/summary").exists(), "{key}: {change}");
    }
}

#[test]
#[cfg_attr(not(has_ostree), ignore = "needs ostree")]
fn checksum_names_files_alike() {
    let beside = Beside::new();
    let calls = ["t/f", "t/l", "t", "t/exec", "--ignore-xattrs t/empty"];
    let calls = calls.map(|path| format!("checksum {path}"));
    beside.same(Agree::Fully, &calls.each_ref().map(String::as_str));
    beside.same(Agree::ButErrorText, &["checksum t/nope", "checksum"]);
}

#[test]
fn commits_that_race_for_a_branch_all_land_on_it() {
    let place = tempfile::tempdir().unwrap();
    let program = place.path().join("ostree");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_treeferry"), &program).unwrap();
    let call = |words: &[&str]| {
        let mut command = std::process::Command::new(&program);
        command.args(words).current_dir(place.path());
        command
    };
    assert!(
        call(&["--repo=repo", "init", "--mode=bare-user-only"])
            .status()
            .unwrap()
            .success()
    );
    let racers = 6;
    let mut running = Vec::new();
    for racer in 0..racers {
        let tree = format!("t{racer}");
        fs::create_dir(place.path().join(&tree)).unwrap();
        fs::write(place.path().join(&tree).join("file"), &tree).unwrap();
        let words = ["--repo=repo", "commit", "-b", "b", "--consume", &tree];
        running.push(
            call(&words)
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap(),
        );
    }
    for mut process in running {
        assert!(process.wait().unwrap().success());
    }
    let log = call(&["--repo=repo", "log", "b"]).output().unwrap();
    let log = String::from_utf8(log.stdout).unwrap();
    assert_eq!(log.matches("commit ").count(), racers, "{log}");
    for racer in 0..racers {
        assert!(!place.path().join(format!("t{racer}")).exists());
    }
}
