//! Options that change how a verb works, or what it prints, each seen to do so.

#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// A directory with a source repository, an archive with two commits, and an empty destination.
struct Place(tempfile::TempDir);

struct Ran {
    ok: bool,
    out: String,
    err: String,
}

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir_all(place.path("tree/dir")).unwrap();
        std::fs::write(place.path("tree/dir/file"), "content").unwrap();
        std::fs::write(place.path("tree/empty"), "").unwrap();
        place.ok("--repo=src init --mode=archive");
        place.ok(
            "--repo=src commit -b main --timestamp=@2000 --add-metadata-string=version=1 \
                  --add-metadata=bytes=[byte~0x01] --add-detached-metadata-string=note=x tree",
        );
        place.ok("--repo=dst init --mode=bare-user");
        let url = format!("file://{}", place.path("src").display());
        place.ok(&format!(
            "--repo=dst remote add --no-gpg-verify origin {url}"
        ));
        place
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    /// Runs the command by the name `ostree`, whose output scripts read. Words are separated by
    /// spaces; a `~` stands for one in a word.
    fn run(&self, line: &str, stdin: &[u8], environment: &[(&str, &str)]) -> Ran {
        let words = line.split_whitespace();
        let words = words.map(|word| word.replace('~', " "));
        let link = self.path("ostree");
        if !link.exists() {
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_treeferry"), &link).unwrap();
        }
        let mut child = Command::new(link)
            .args(words)
            .current_dir(self.0.path())
            .env_remove("OSTREE_REPO")
            .env_remove("SOURCE_DATE_EPOCH")
            .envs(environment.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(stdin).unwrap();
        let output = child.wait_with_output().unwrap();
        Ran {
            ok: output.status.success(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn ok(&self, line: &str) -> String {
        let ran = self.run(line, b"", &[]);
        assert!(ran.ok, "{line}: {}{}", ran.out, ran.err);
        ran.out
    }

    fn fails(&self, line: &str) -> String {
        let ran = self.run(line, b"", &[]);
        assert!(!ran.ok, "{line}: {}", ran.out);
        ran.err
    }

    fn is_whole(&self) {
        self.ok("--repo=dst fsck -q");
        assert_eq!(self.ok("--repo=dst cat origin:main /dir/file"), "content");
    }
}

#[test]
fn pulls_that_differ_in_how_they_sync_or_trust_bring_the_same() {
    for option in [
        "--disable-fsync",
        "--per-object-fsync",
        "--untrusted",
        "--http-trusted",
        "--max-outstanding-fetcher-requests=1",
    ] {
        let place = Place::new();
        place.ok(&format!("--repo=dst pull {option} origin main"));
        place.is_whole();
    }
    for option in ["--disable-fsync", "--per-object-fsync", "--untrusted"] {
        let place = Place::new();
        place.ok(&format!(
            "--repo=dst pull-local --remote=origin {option} src main"
        ));
        place.is_whole();
    }
}

#[test]
fn a_commit_is_pulled_only_as_the_ref_that_it_is_bound_to_unless_told_otherwise() {
    let place = Place::new();
    place.ok("--repo=src refs --create=other main");
    let error = place.fails("--repo=dst pull origin other");
    assert!(error.contains("main") && error.contains("other"), "{error}");
    assert_eq!(place.ok("--repo=dst refs"), "");
    place.ok("--repo=dst pull --disable-verify-bindings origin other");
    place.fails("--repo=dst pull-local src other");
    place.ok("--repo=dst pull-local --disable-verify-bindings src other");
}

#[test]
fn a_commit_older_than_the_one_named_is_refused() {
    let place = Place::new();
    place.ok("--repo=dst pull origin main");
    place.ok("--repo=src commit -b main --timestamp=@1000 tree");
    let error = place.fails("--repo=dst pull --timestamp-check-from-rev=origin:main origin main");
    assert!(error.contains("older"), "{error}");
    place.fails("--repo=dst pull -T origin main");
    place.ok("--repo=dst pull origin main");
}

#[test]
fn another_url_and_a_local_cache_are_used() {
    let place = Place::new();
    let good = format!("file://{}", place.path("src").display());
    place.ok("--repo=dst remote add --no-gpg-verify elsewhere file:///nonexistent/repo");
    place.fails("--repo=dst pull elsewhere main");
    place.ok(&format!("--repo=dst pull --url={good} elsewhere main"));
    assert_eq!(
        place.ok("--repo=dst cat elsewhere:main /dir/file"),
        "content"
    );

    place.ok("--repo=cache init --mode=bare-user");
    place.ok("--repo=cache pull-local src");
    place.ok("--repo=second init --mode=bare-user");
    place.ok(&format!(
        "--repo=second remote add --no-gpg-verify origin {good}"
    ));
    let file = place.ok("--repo=src ls -C main /dir/file");
    let checksum = file.split(' ').find(|word| word.len() == 64).unwrap();
    let object = format!("src/objects/{}/{}.filez", &checksum[..2], &checksum[2..]);
    std::fs::remove_file(place.path(&object)).unwrap();
    place.fails("--repo=second pull origin main");
    place.ok("--repo=second pull -L cache origin main");
    place.ok("--repo=second fsck -q");
}

#[test]
fn checkouts_take_their_list_from_standard_input() {
    let place = Place::new();
    place.ok("--repo=dst pull origin main");
    let list = b"origin:main\0/dir\0";
    let ran = place.run("--repo=dst checkout -U --from-stdin out", list, &[]);
    assert!(ran.ok, "{}", ran.err);
    assert_eq!(std::fs::read(place.path("out/file")).unwrap(), b"content");
    assert!(!place.path("out/empty").exists());
    place.ok("--repo=dst checkout -U -z --fsync=false origin:main all");
    assert_eq!(std::fs::read(place.path("all/empty")).unwrap(), b"");
}

#[test]
fn keys_and_revisions_are_listed() {
    let place = Place::new();
    let commit = place.ok("--repo=src rev-parse main").trim().to_owned();
    assert_eq!(place.ok("--repo=src refs -r"), format!("main\t{commit}\n"));
    let keys = place.ok("--repo=src show --list-metadata-keys main");
    assert!(keys.lines().any(|key| key == "version"), "{keys}");
    let detached = place.ok("--repo=src show --list-detached-metadata-keys main");
    assert_eq!(detached, "note\n");
    let hex = place.ok("--repo=src show --print-hex --print-metadata-key=bytes main");
    assert_eq!(hex, "01\n");
    place.ok("--repo=src summary -u -m key='value'");
    let keys = place.ok("--repo=src summary --list-metadata-keys");
    assert!(keys.lines().any(|key| key == "key"), "{keys}");
    let value = place.ok("--repo=src summary --print-metadata-key=key");
    assert_eq!(value, "'value'\n");
    let refs = place.ok("--repo=dst remote refs -r --cache-dir=cache origin");
    assert_eq!(refs, format!("origin:main\t{commit}\n"));
    let path = format!("src/objects/{}/{}.commit", &commit[..2], &commit[2..]);
    let text = place.ok(&format!(
        "show --print-variant-type=(a{{sv}}aya(say)sstayay) {path}"
    ));
    assert!(text.contains("'version': <'1'>"), "{text}");
}

#[test]
fn the_environment_names_repository_and_time() {
    let place = Place::new();
    let environment = [("OSTREE_REPO", "src"), ("SOURCE_DATE_EPOCH", "1234")];
    let ran = place.run("commit -b timed --disable-fsync tree", b"", &environment);
    assert!(ran.ok, "{}", ran.err);
    let log = place.ok("--repo=src log timed");
    assert!(log.contains("1970-01-01 00:20:34"), "{log}");
    let version = place.ok("--version");
    assert!(version.starts_with("libostree:\n Version: '"), "{version}");
}

#[test]
fn remotes_of_a_system_are_added_and_deleted() {
    let place = Place::new();
    std::fs::create_dir_all(place.path("root/ostree")).unwrap();
    place.ok("--repo=root/ostree/repo init --mode=bare-user");
    place.ok("remote add --sysroot=root --no-gpg-verify there http://127.0.0.1/");
    let config = place.path("root/ostree/repo/config");
    let configured = |path: &Path| {
        let own = std::fs::read_to_string(path).unwrap().contains("there");
        own || place.path("root/etc/ostree/remotes.d/there.conf").exists()
    };
    assert!(configured(&config));
    place.ok("remote delete --sysroot=root there");
    assert!(!configured(&config));
}

#[test]
fn a_value_behind_a_flag_is_ignored_as_by_the_parser_that_scripts_know() {
    let place = Place::new();
    place.ok("--repo=dst pull-local --disable-fsync=yes --remote=origin src main");
    place.is_whole();
    // Of an option that takes one it counts, and an unknown option stays unknown.
    assert!(
        place
            .fails("--repo=dst log --depth=x main")
            .contains("depth")
    );
    assert!(
        place
            .fails("--repo=dst log --nonsense=1 main")
            .contains("--nonsense")
    );
}

#[test]
fn a_command_fails_where_it_is_told_to_and_the_next_goes_on_from_there() {
    let place = Place::new();
    let fail = [
        ("OSTREE_REPO_TEST_ERROR", "pre-commit"),
        ("OSTREE_BOOTID", "boot-1"),
    ];
    let ran = place.run("--repo=dst pull origin main", b"", &fail);
    assert!(
        !ran.ok && ran.err.contains("OSTREE_REPO_TEST_ERROR_PRE_COMMIT"),
        "{}",
        ran.err
    );
    assert_eq!(place.ok("--repo=dst refs"), "");
    let staged = || {
        let names = std::fs::read_dir(place.path("dst/tmp")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names
            .filter(|name| name.starts_with("staging-") && !name.ends_with("-lock"))
            .collect::<Vec<_>>()
    };
    assert!(
        staged()
            .iter()
            .any(|name| name.starts_with("staging-boot-1-")),
        "{:?}",
        staged()
    );
    let ran = place.run("--repo=src commit -b other tree", b"", &fail);
    assert!(!ran.ok, "{}", ran.out);
    place.fails("--repo=src rev-parse other");
    place.ok("--repo=dst pull origin main");
    place.is_whole();
}

#[test]
fn files_of_an_archive_are_kept_unpacked_for_the_next_checkout() {
    use std::os::unix::fs::MetadataExt;
    let place = Place::new();
    let inode = |path: &str| std::fs::metadata(place.path(path)).unwrap().ino();
    let kept = || walk(&place.path("src/uncompressed-objects-cache"));
    place.ok("--repo=src checkout -U --disable-cache main uncached");
    assert_eq!(kept(), 0);
    place.ok("--repo=src checkout -U main a");
    place.ok("--repo=src checkout -U main b");
    assert_eq!(inode("a/dir/file"), inode("b/dir/file"));
    assert_ne!(inode("a/dir/file"), inode("uncached/dir/file"));
    // Empty files exhaust link counts, and copies are copies.
    assert_eq!(kept(), 1);
    place.ok("--repo=src checkout -U -C main c");
    assert_ne!(inode("a/dir/file"), inode("c/dir/file"));
    // What no checkout has any more goes with the next one that writes there.
    std::fs::remove_dir_all(place.path("a")).unwrap();
    std::fs::remove_dir_all(place.path("b")).unwrap();
    place.ok("--repo=src config set core.enable-uncompressed-cache false");
    place.ok("--repo=src checkout -U main d");
    assert_eq!(
        std::fs::metadata(place.path("d/dir/file")).unwrap().nlink(),
        1
    );
}

/// Counts the files below a directory, which need not be there.
fn walk(path: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(path) else {
        return 0;
    };
    let count = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        if path.is_dir() { walk(&path) } else { 1 }
    };
    entries.map(count).sum()
}

#[test]
fn a_delta_is_verified_by_its_name_and_by_its_path() {
    let place = Place::new();
    let (seed, public) = (
        "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2DXWpgBgrEKt9VL/tPJZAc6DuFy89qmIyWvAhpo9wdRGg==",
        "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
    );
    let other = "PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=";
    let rev = place.ok("--repo=src rev-parse main");
    let rev = rev.trim();
    place.ok("--repo=src static-delta generate --empty main");
    let ran = place.run(
        &format!("--repo=src static-delta verify {rev} {public}"),
        b"",
        &[],
    );
    assert!(!ran.ok && ran.out == "Verification fails\n", "{}", ran.out);
    assert!(
        ran.err.contains("no signatures in static-delta"),
        "{}",
        ran.err
    );
    place.ok(&format!(
        "--repo=src static-delta generate --empty --sign={seed} main"
    ));
    let verify = |key: &str| format!("--repo=src static-delta verify {rev} {key}");
    assert_eq!(place.ok(&verify(public)), "Verification OK\n");
    place.fails(&verify(other));
    place.ok(&format!(
        "--repo=src static-delta generate --empty --sign={seed} --filename=d main"
    ));
    assert_eq!(
        place.ok(&format!("--repo=src static-delta verify d {public}")),
        "Verification OK\n"
    );
}

#[test]
fn a_remote_of_another_program_is_written_down_and_not_pulled_from() {
    let place = Place::new();
    place.ok("--repo=dst remote add --custom-backend=boat ferry");
    let error = place.fails("--repo=dst pull ferry main");
    assert!(
        error.contains("remote 'ferry' uses custom backend 'boat'"),
        "{error}"
    );
    assert!(
        place
            .fails("--repo=dst remote show-url ferry")
            .contains("No \"url\" option")
    );
    place.ok("--repo=dst remote add --set=unconfigured-state=buy~first shop file:///nowhere");
    assert!(
        place
            .fails("--repo=dst pull shop main")
            .contains("buy first")
    );
}

#[test]
fn a_prune_forgets_summaries_of_remotes_that_are_gone() {
    let place = Place::new();
    let kept = place.path("dst/tmp/cache/summaries");
    std::fs::create_dir_all(&kept).unwrap();
    for name in ["origin", "origin.sig", "gone", "gone.sig"] {
        std::fs::write(kept.join(name), "").unwrap();
    }
    place.ok("--repo=dst prune --no-prune");
    assert_eq!(walk(&kept), 4);
    place.ok("--repo=dst prune");
    assert_eq!(walk(&kept), 2);
    assert!(kept.join("origin.sig").exists() && !kept.join("gone").exists());
}
