//! OpenPGP signatures, both ways with the C `ostree`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::raw_server::{Answer, RawServer};
use crate::support::run::{ostree, ostree_command, treeferry, treeferry_command};
use crate::support::tree::write;
use crate::support::{Place, objects, rev};

/// A home of GnuPG. Its path is short: sockets live below it.
pub(crate) struct Home(tempfile::TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let home = tempfile::Builder::new()
            .prefix("gh")
            .tempdir_in("/tmp")
            .unwrap();
        let private = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(home.path(), private).unwrap();
        Self(home)
    }

    fn path(&self) -> &str {
        self.0.path().to_str().unwrap()
    }

    fn gpg(&self, args: &[&str]) -> Vec<u8> {
        let output = Command::new("gpg")
            .args(["--homedir", self.path(), "--batch", "--yes"])
            .args(["--pinentry-mode", "loopback", "--passphrase", ""])
            .args(args)
            .output()
            .unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {err}");
        output.stdout
    }

    /// Makes a key; returns its fingerprint.
    pub(crate) fn key(&self, name: &str, algorithm: &str) -> String {
        let user = format!("{name} <{name}@example.org>");
        self.gpg(&["--quick-gen-key", &user, algorithm, "sign", "never"]);
        let listed = self.gpg(&["--with-colons", "--list-keys", &user]);
        let text = String::from_utf8(listed).unwrap();
        let fpr = text.lines().find(|line| line.starts_with("fpr:")).unwrap();
        fpr.split(':').nth(9).unwrap().to_owned()
    }

    pub(crate) fn export(&self, place: &Place, name: &str, key: &str) -> PathBuf {
        let path = place.join(name);
        std::fs::write(&path, self.gpg(&["--armor", "--export", key])).unwrap();
        path
    }

    /// Revokes a key, by the certificate that was made with it.
    pub(crate) fn revoke(&self, key: &str) {
        let path = self.0.path().join(format!("openpgp-revocs.d/{key}.rev"));
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace(":-----BEGIN", "-----BEGIN")).unwrap();
        self.gpg(&["--import", path.to_str().unwrap()]);
    }

    /// Signs a commit with our own command.
    pub(crate) fn sign_commit(&self, repo: &Path, rev: &str, key: &str) {
        treeferry(repo, ["gpg-sign", &self.option(), rev, key]).success();
    }

    pub(crate) fn option(&self) -> String {
        format!("--gpg-homedir={}", self.path())
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf")
            .args(["--homedir", self.path(), "--kill", "all"])
            .output();
    }
}

type Run = fn(&Path, Vec<String>) -> crate::support::run::Ran;

fn ours(repo: &Path, args: Vec<String>) -> crate::support::run::Ran {
    treeferry(repo, args)
}

fn theirs(repo: &Path, args: Vec<String>) -> crate::support::run::Ran {
    ostree(repo, args)
}

fn strings(args: &[&str]) -> Vec<String> {
    args.iter().map(|arg| (*arg).to_owned()).collect()
}

/// One signs a commit and a summary, the other pulls them, over HTTP.
fn one_signs_and_the_other_pulls(signs: Run, pulls: Run, algorithm: &str) {
    let (place, home) = (Place::new(), Home::new());
    let (key, other) = (home.key("good", algorithm), home.key("other", "ed25519"));
    let source = place.init_c("source", "archive");
    write(&place.join("tree"), "file", b"content");
    let tree = format!("--tree=dir={}", place.join("tree").display());
    let (by, of) = (format!("--gpg-sign={key}"), home.option());
    signs(&source, strings(&["commit", "-b", "main", &tree, &by, &of])).success();
    signs(&source, strings(&["summary", "-u", &by, &of])).success();
    let server = RawServer::start(&source, |_, _| Answer::File);
    let head = rev(&source, "main").unwrap();

    let repo = place.init("pulled", "bare-user");
    for (remote, trusted) in [("right", &key), ("wrong", &other)] {
        let file = home.export(&place, remote, trusted);
        let file = format!("--gpg-import={}", file.display());
        let summary = "--set=gpg-verify-summary=true";
        let added = pulls(
            &repo,
            strings(&["remote", "add", summary, &file, remote, server.url()]),
        );
        let out = added.success().out;
        assert!(out.contains("Imported 1 GPG key to remote"), "{out}");
    }
    let error = pulls(&repo, strings(&["pull", "wrong", "main"])).failure();
    assert!(error.contains("public key not found"), "{error}");
    assert_eq!(objects(&repo), Vec::<String>::new());
    pulls(&repo, strings(&["pull", "right", "main"])).success();
    assert_eq!(rev(&repo, "right:main").as_deref(), Some(&*head));
    let shown = pulls(
        &repo,
        strings(&["show", "--gpg-verify-remote=right", "right:main"]),
    );
    let out = shown.success().out;
    assert!(out.contains("Found 1 signature:"), "{out}");
    assert!(
        out.contains("Good signature from \"good <good@example.org>\""),
        "{out}"
    );
}

#[test]
#[cfg_attr(not(all(has_ostree, has_gpg)), ignore = "needs ostree and gpg")]
fn what_c_signs_we_verify() {
    one_signs_and_the_other_pulls(theirs, ours, "rsa2048");
    one_signs_and_the_other_pulls(theirs, ours, "ed25519");
}

#[test]
#[cfg_attr(not(all(has_ostree, has_gpg)), ignore = "needs ostree and gpg")]
fn what_we_sign_c_verifies() {
    one_signs_and_the_other_pulls(ours, theirs, "rsa2048");
    one_signs_and_the_other_pulls(ours, theirs, "ed25519");
}

#[test]
#[cfg_attr(not(all(has_ostree, has_gpg)), ignore = "needs ostree and gpg")]
fn a_signed_summary_is_demanded_and_cached_where_it_is_told() {
    let (place, home) = (Place::new(), Home::new());
    let key = home.key("good", "ed25519");
    let source = place.init_c("source", "archive");
    write(&place.join("tree"), "file", b"content");
    let tree = format!("--tree=dir={}", place.join("tree").display());
    let (by, of) = (format!("--gpg-sign={key}"), home.option());
    ostree(&source, ["commit", "-b", "main", &tree]).success();
    let server = RawServer::start(&source, |_, _| Answer::File);
    let exported = home.export(&place, "key", &key);
    let path = source.to_str().unwrap();
    for (name, runs) in [("ours", ours as Run), ("theirs", theirs as Run)] {
        let repo = place.init(name, "bare-user");
        let run = |args: &[&str]| runs(&repo, strings(args));
        let demand = ["--set=gpg-verify=false", "--set=gpg-verify-summary=true"];
        run(&[
            "remote",
            "add",
            demand[0],
            demand[1],
            "origin",
            server.url(),
        ])
        .success();
        // The key comes by standard input.
        let import = ["remote", "gpg-import", "--stdin", "origin"];
        let mut command = match name {
            "ours" => treeferry_command(&repo, import),
            _ => ostree_command(&repo, import),
        };
        let imported = command
            .stdin(std::fs::File::open(&exported).unwrap())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&imported.stdout).into_owned();
        assert!(said.contains("Imported 1 GPG key to remote"), "{said}");

        let cache = place.join(&format!("cache of {name}"));
        std::fs::create_dir(&cache).unwrap();
        let cached = format!("--cache-dir={}", cache.display());
        let pull = ["pull", &cached, "origin", "main"];
        let local = [
            "pull-local",
            "--remote=origin",
            "--gpg-verify-summary",
            path,
            "main",
        ];
        let _ = std::fs::remove_file(source.join("summary"));
        let _ = std::fs::remove_file(source.join("summary.sig"));
        ostree(&source, ["summary", "-u"]).success();
        for unsigned in [&pull[..], &local[..]] {
            run(unsigned).failure();
            assert_eq!(objects(&repo), Vec::<String>::new());
        }
        ostree(&source, ["summary", "-u", &by, &of]).success();
        run(&pull).success();
        run(&local).success();
        run(&["pull-local", "--gpg-verify-summary", path]).failure_naming(&["remote name"]);
        let read = |path: &Path| std::fs::read(path).unwrap();
        for suffix in ["", ".sig"] {
            let kept = cache.join(format!("summaries/origin{suffix}"));
            assert_eq!(read(&kept), read(&source.join(format!("summary{suffix}"))));
        }
        let elsewhere = repo.join("tmp/cache/summaries/origin");
        assert!(!elsewhere.exists(), "{name}");
        run(&pull).success();
    }
}

#[test]
#[cfg_attr(not(all(has_ostree, has_gpg)), ignore = "needs ostree and gpg")]
fn signatures_and_keys_are_told_as_c_tells_them() {
    let (place, home) = (Place::new(), Home::new());
    let keys = [home.key("one", "rsa2048"), home.key("two", "ed25519")];
    home.gpg(&["--quick-add-key", &keys[1], "ed25519", "sign", "2d"]);
    home.gpg(&["--quick-set-expire", &keys[1], "3d"]);
    let repo = place.init_c("repo", "archive");
    write(&place.join("tree"), "file", b"content");
    let tree = format!("--tree=dir={}", place.join("tree").display());
    let signs = keys.each_ref().map(|key| format!("--gpg-sign={key}"));
    let of = home.option();
    treeferry(
        &repo,
        ["commit", "-b", "main", &tree, &signs[0], &signs[1], &of],
    )
    .success();
    let same = |args: &[&str]| {
        let (ours, theirs) = (
            treeferry(&repo, args).success(),
            ostree(&repo, args).success(),
        );
        assert_eq!(ours.out, theirs.out);
        ours.out
    };
    let unknown = same(&["show", "main"]);
    assert!(unknown.contains("Found 2 signatures:") && unknown.contains("public key not found"));
    let file = home.export(&place, "one", &keys[0]);
    treeferry(&repo, ["remote", "add", "origin", "http://127.0.0.1:1"]).success();
    let keyring = format!("--keyring={}", file.display());
    treeferry(&repo, ["remote", "gpg-import", &keyring, "origin"]).success();
    same(&["show", "--gpg-verify-remote=origin", "main"]);
    let file = home.export(&place, "two", &keys[1]);
    let keyring = format!("--keyring={}", file.display());
    ostree(&repo, ["remote", "gpg-import", &keyring, "origin"]).success();
    let known = same(&["show", "--gpg-verify-remote=origin", "main"]);
    assert!(
        known.contains("Primary key ID") && known.contains("Key expires"),
        "{known}"
    );
    let listed = same(&["remote", "gpg-list-keys", "origin"]);
    assert!(
        listed.contains("Direct update URL:") && listed.contains("Subkey:"),
        "{listed}"
    );

    // A key that signed it does so once; what is taken away is gone.
    treeferry(&repo, ["gpg-sign", &of, "main", &keys[0]]).failure_naming(&["already signed"]);
    let out = treeferry(&repo, ["gpg-sign", &of, "--delete", "main", &keys[1]])
        .success()
        .out;
    assert!(out.contains("Signatures deleted: 1"), "{out}");
    assert!(same(&["show", "main"]).contains("Found 1 signature:"));
    treeferry(&repo, ["gpg-sign", &of, "main", "DEADBEEF"]).failure_naming(&["No gpg key found"]);
}

#[test]
#[cfg_attr(not(has_gpg), ignore = "needs gpg")]
fn both_kinds_are_required_where_both_are_demanded() {
    let (place, home) = (Place::new(), Home::new());
    let key = home.key("good", "ed25519");
    let raw = super::signed::Key::new(&place, "raw");
    let source = place.init("source", "archive");
    write(&place.join("tree"), "file", b"content");
    let tree = format!("--tree=dir={}", place.join("tree").display());
    let (by, of) = (format!("--gpg-sign={key}"), home.option());
    treeferry(&source, ["commit", "-b", "main", &tree, &by, &of]).success();
    let server = RawServer::start(&source, |_, _| Answer::File);
    let repo = place.init("repo", "bare-user");
    let import = format!(
        "--gpg-import={}",
        home.export(&place, "key", &key).display()
    );
    let also = format!("--sign-verify=ed25519=inline:{}", raw.public());
    treeferry(
        &repo,
        ["remote", "add", &import, &also, "origin", server.url()],
    )
    .success();
    treeferry(&repo, ["pull", "origin", "main"]).failure_naming(&["ed25519"]);
    treeferry(&source, ["sign", "main", &raw.secret()]).success();
    treeferry(&repo, ["pull", "origin", "main"]).success();
    let path = source.to_str().unwrap();
    let local = [
        "pull-local",
        "--remote=origin",
        "--gpg-verify",
        path,
        "main",
    ];
    treeferry(&repo, local).success();
    treeferry(&repo, ["pull-local", "--gpg-verify", path, "main"]).failure_naming(&["remote name"]);
    treeferry(&source, ["gpg-sign", "--delete", "main", &key]).success();
    let fresh = place.init("fresh", "bare-user");
    treeferry(&fresh, ["remote", "add", &import, "origin", server.url()]).success();
    treeferry(&fresh, ["pull", "origin", "main"]).failure_naming(&["no signatures found"]);
}

/// Runs `admin status` of both, and returns whether they succeeded, what they printed, and what they complained of.
fn admin_status(sysroot: &Path, option: &str) -> [(bool, String, String); 2] {
    ["ostree", env!("CARGO_BIN_EXE_treeferry")].map(|program| {
        let mut command = Command::new(program);
        let command = command
            .args(["admin", "status"])
            .args(Some(option).filter(|o| !o.is_empty()))
            .arg(format!("--sysroot={}", sysroot.display()));
        let output = command
            .env("TZ", "UTC")
            .env_remove("OSTREE_GPG_HOME")
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.success(),
            text(&output.stdout),
            text(&output.stderr),
        )
    })
}

#[test]
#[cfg_attr(
    not(all(has_ostree, has_gpg, is_root)),
    ignore = "needs ostree, gpg, and root"
)]
fn the_status_of_a_machine_says_who_signed_it_as_with_ostree() {
    let (place, home) = (Place::new(), Home::new());
    let (key, other) = (home.key("good", "rsa2048"), home.key("other", "rsa2048"));
    let source = place.init("source", "archive");
    write(
        &place.join("tree"),
        "usr/lib/modules/6.1/vmlinuz",
        b"kernel",
    );
    write(
        &place.join("tree"),
        "usr/etc/os-release",
        b"ID=x\nPRETTY_NAME=\"X\"\n",
    );
    let tree = format!("--tree=dir={}", place.join("tree").display());
    treeferry(&source, ["commit", "-b", "unsigned", &tree, "--subject=u"]).success();
    let signed = ["commit", "-b", "signed", &tree, "--subject=s"].map(str::to_owned);
    let by = [format!("--gpg-sign={key}"), home.option()];
    treeferry(&source, signed.into_iter().chain(by)).success();
    let root = place.join("root");
    std::fs::create_dir(&root).unwrap();
    let sysroot = format!("--sysroot={}", root.display());
    let admin = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_treeferry"));
        command
            .env("OSTREE_SYSROOT_DEBUG", "mutable-deployments")
            .arg("admin")
            .args(args);
        crate::support::run::Ran::of(&mut command).success();
    };
    admin(&["init-fs", root.to_str().unwrap()]);
    admin(&[&sysroot, "stateroot-init", "os"]);
    let repo = root.join("ostree/repo");
    for (remote, options) in [
        (
            "good",
            vec![format!(
                "--gpg-import={}",
                home.export(&place, "good", &key).display()
            )],
        ),
        (
            "wrong",
            vec![format!(
                "--gpg-import={}",
                home.export(&place, "wrong", &other).display()
            )],
        ),
        ("none", vec!["--no-gpg-verify".to_owned()]),
    ] {
        let args = ["remote", "add", remote, "http://127.0.0.1:1"].map(str::to_owned);
        treeferry(&repo, args.into_iter().chain(options)).success();
    }
    for (remote, branch, said) in [
        (
            "good",
            "signed",
            "Good signature from \"good <good@example.org>\"",
        ),
        ("wrong", "signed", "public key not found"),
        ("none", "signed", "Cannot verify commit for remote none"),
        ("good", "unsigned", "no signatures found"),
    ] {
        let from = source.to_str().unwrap();
        treeferry(
            &repo,
            ["pull-local", &format!("--remote={remote}"), from, branch],
        )
        .success();
        admin(&[&sysroot, "deploy", "--os=os", &format!("{remote}:{branch}")]);
        let [(ok, out, err), (our_ok, our_out, our_err)] = admin_status(&root, "--verify");
        assert_eq!(ok, our_ok, "{err}\n{our_err}");
        assert_eq!(ok, (remote, branch) == ("good", "signed"));
        assert_eq!(out, our_out);
        assert!(
            format!("{our_out}{our_err}").contains(said),
            "{our_out}{our_err}"
        );
        // Unasked, it says the same, indented; told not to, nothing.
        let [_, (_, plain, _)] = admin_status(&root, "");
        assert_eq!(plain.contains("    GPG: "), remote != "none", "{plain}");
        let [_, (_, silent, _)] = admin_status(&root, "-S");
        assert!(!silent.contains("GPG"), "{silent}");
        admin(&[&sysroot, "undeploy", "0"]);
    }
}
