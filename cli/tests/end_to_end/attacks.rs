//! The attacks that The Update Framework lists, as far as they apply: each by a server that makes it,
//! each refused with an error that says why, each leaving the repository as it was.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use treeferry_core::format::{FileHeader, Xattrs};
use treeferry_core::sign::Ed25519SecretKey;

use crate::support::raw_server::{Answer, RawServer};
use crate::support::run::{Peak, treeferry};
use crate::support::tree::write;
use crate::support::{Place, object_path, objects, rev};

/// Most that any pull may need, however it is lied to: metadata may be 128 MiB long, and is read whole.
const PEAK_KIB_MAX: u64 = 400 * 1024;

/// A key for `--sign`, and for the remote's configuration.
fn key(number: u8) -> (String, String) {
    let seed = [number; 32];
    let public = Ed25519SecretKey::from_seed(&seed).public();
    let secret = STANDARD.encode([&seed[..], public.as_bytes()].concat());
    (format!("--sign={secret}"), public.to_base64())
}

/// The owner's repository, and a client that has pulled its first commit.
struct Scene {
    place: Place,
    source: PathBuf,
    client: PathBuf,
    first: String,
}

impl Scene {
    fn new() -> Self {
        let place = Place::new();
        let source = place.init("source", "archive");
        let scene = Self {
            client: place.init("client", "bare-user"),
            first: String::new(),
            source,
            place,
        };
        let first = scene.commit("main", b"first", 1, &["--timestamp=@1700000000"]);
        scene.summary();
        Self { first, ..scene }
    }

    /// Commits a file to a branch, signed with a key.
    fn commit(&self, branch: &str, content: &[u8], by: u8, more: &[&str]) -> String {
        write(&self.place.join("tree"), "file", content);
        let tree = format!("--tree=dir={}", self.place.join("tree").display());
        let mut args = vec!["commit", "-b", branch, &tree];
        let secret = key(by).0;
        args.push(&secret);
        args.extend(more);
        treeferry(&self.source, args).success().trim()
    }

    fn summary(&self) {
        let (secret, _) = key(1);
        treeferry(&self.source, ["summary", "-u", "--grace=0", &secret]).success();
    }

    /// Points the client at a server, trusting the owner's key alone, and with more settings.
    fn trust(&self, server: &RawServer, more: &[&str]) {
        let verify = format!("--sign-verify=ed25519=inline:{}", key(1).1);
        let mut args = vec!["remote", "add", "--force", "--no-gpg-verify", &verify];
        args.extend(more);
        args.extend(["origin", server.url()]);
        treeferry(&self.client, args).success();
    }

    fn pull(&self) {
        treeferry(&self.client, ["pull", "origin", "main"]).success();
    }

    /// Asserts that a pull fails, names all of `words`, and changes nothing.
    fn is_refused(&self, args: &[&str], words: &[&str]) {
        let before = (objects(&self.client), rev_of(&self.client));
        let mut line = vec!["pull"];
        line.extend(args);
        let started = Instant::now();
        let (ran, peak) = Peak::treeferry(&self.client, line);
        println!("{}", ran.failure_naming(words).trim());
        assert!(started.elapsed() < Duration::from_secs(60));
        assert!(peak.is_none_or(|peak| peak.kib < PEAK_KIB_MAX), "{peak:?}");
        assert_eq!((objects(&self.client), rev_of(&self.client)), before);
        treeferry(&self.client, ["fsck", "--quiet"]).success();
    }

    fn set_ref(&self, branch: &str, commit: &str) {
        let path = self.source.join("refs/heads").join(branch);
        fs::write(path, format!("{commit}\n")).unwrap();
    }
}

fn rev_of(repo: &Path) -> Option<String> {
    let found = treeferry(repo, ["rev-parse", "origin:main"]);
    found.ok().then(|| found.success().trim())
}

fn serve(root: &Path) -> RawServer {
    RawServer::start(root, |_, _| Answer::File)
}

const MAIN: &[&str] = &["origin", "main"];

#[test]
fn arbitrary_installation_is_refused() {
    let scene = Scene::new();
    let server = serve(&scene.source);
    scene.trust(&server, &[]);
    scene.pull();
    // Signed with a key of the attacker's own, then not at all.
    let evil = scene.commit("main", b"evil", 66, &[]);
    scene.is_refused(MAIN, &[&evil, "Signature couldn't be verified"]);
    fs::remove_file(object_path(&scene.source, &evil, "commitmeta")).unwrap();
    scene.is_refused(MAIN, &[&evil, "No signatures found"]);
    // The signature of a good commit does not make another good.
    let good = object_path(&scene.source, &scene.first, "commitmeta");
    fs::copy(good, object_path(&scene.source, &evil, "commitmeta")).unwrap();
    scene.is_refused(MAIN, &[&evil, "Signature couldn't be verified"]);
}

#[test]
fn rollback_is_refused() {
    let scene = Scene::new();
    let server = serve(&scene.source);
    scene.trust(&server, &["--set=sign-verify-summary=true"]);
    let old = ["summary", "summary.sig"].map(|name| fs::read(scene.source.join(name)).unwrap());
    // Past the second in which the first summary was made: they are told apart by it.
    std::thread::sleep(Duration::from_millis(1100));
    scene.commit("main", b"second", 1, &["--timestamp=@1700000100"]);
    scene.summary();
    scene.pull();
    // What was true once, and signed, is served again.
    for (name, bytes) in ["summary", "summary.sig"].iter().zip(old) {
        fs::write(scene.source.join(name), bytes).unwrap();
    }
    let check = ["--timestamp-check", "origin", "main"];
    scene.is_refused(&check, &["summary is older", "step back"]);
    // Of commits alone, too.
    scene.trust(&server, &[]);
    scene.set_ref("main", &scene.first);
    scene.is_refused(&check, &["ref 'main'", "step back is refused"]);
    let from = ["--timestamp-check-from-rev=origin:main", "origin", "main"];
    scene.is_refused(&from, &["ref 'main'", "step back is refused"]);
}

#[test]
fn freezing_at_an_old_state_is_refused() {
    let scene = Scene::new();
    let server = serve(&scene.source);
    scene.trust(&server, &["--set=sign-verify-summary=true"]);
    // All is signed, and stays as it was in 2023.
    let limit = ["--max-commit-age=86400", "origin", "main"];
    scene.is_refused(&limit, &[&scene.first, "held back at an old state"]);
    let summary = ["--max-summary-age=0", "origin", "main"];
    std::thread::sleep(Duration::from_millis(1100));
    scene.is_refused(&summary, &["summary", "held back at an old state"]);
    scene.trust(&server, &["--set=max-commit-age-secs=86400"]);
    scene.is_refused(MAIN, &[&scene.first, "held back at an old state"]);
    let (secret, _) = key(1);
    let expires = "--add-metadata=ostree.summary.expires=uint64 72057594037927936";
    treeferry(
        &scene.source,
        ["summary", "-u", "--grace=0", &secret, expires],
    )
    .success();
    scene.trust(&server, &["--set=sign-verify-summary=true"]);
    let year = ["--max-summary-age=31536000", "origin", "main"];
    scene.is_refused(&year, &["summary expired"]);
    scene.pull();
}

#[test]
fn endless_data_is_refused() {
    for endless in [".commit", "summary.sig", "summary", ".commitmeta"] {
        let scene = Scene::new();
        let server = RawServer::start(&scene.source, move |path, _| {
            match path.ends_with(endless) {
                true => Answer::Endless,
                false => Answer::File,
            }
        });
        scene.trust(&server, &["--set=sign-verify-summary=true"]);
        scene.is_refused(&["--network-retries=0", "origin", "main"], &["limit"]);
    }
}

/// The beginning of a file of an archive, which says that its content is so long.
fn file_of(content_bytes: u64) -> Answer {
    let header = FileHeader {
        uid: 0,
        gid: 0,
        mode: 0o100_644,
        symlink_target: "".into(),
        xattrs: Xattrs::default(),
    };
    Answer::ThenEndless(header.to_filez(content_bytes))
}

/// What a pull left that is neither an object nor a ref, bytes.
fn left_bytes(repo: &Path) -> u64 {
    let entries = walk(&repo.join("tmp"));
    entries
        .iter()
        .map(|path| path.metadata().unwrap().len())
        .sum()
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(walk(&path)),
            false => files.push(path),
        }
    }
    files
}

#[test]
fn endless_files_are_refused() {
    const HUGE: u64 = 1 << 60;
    // What the file itself announces, whether the commit says how long it is, how much may come.
    let cases = [
        (1000, "--bind-ref=main", "limit"),
        (HUGE, "--generate-sizes", "limit"),
        (HUGE, "--bind-ref=main", "min-free-space"),
    ];
    for (announced, option, word) in cases {
        let scene = Scene::new();
        scene.commit("main", b"second", 1, &[option]);
        let server = RawServer::start(&scene.source, move |path, _| {
            match path.ends_with(".filez") {
                true => file_of(announced),
                false => Answer::File,
            }
        });
        scene.trust(&server, &[]);
        // Of the rest of the disk others may need some.
        let keep = format!("{}MB", free_mib(scene.place.path()).saturating_sub(300));
        let set = ["config", "set", "core.min-free-space-size", &keep];
        treeferry(&scene.client, set).success();
        scene.is_refused(&["--network-retries=0", "origin", "main"], &[word]);
        assert!(left_bytes(&scene.client) < 100_000, "{announced} {option}");
    }
}

/// How much room there is for whoever runs this, as `min-free-space` counts, MiB.
fn free_mib(dir: &Path) -> u64 {
    let blocks = if cfg!(is_root) { "%f" } else { "%a" };
    let mut stat = std::process::Command::new("stat");
    let ran = stat
        .args(["-f", "-c", &format!("{blocks} %S")])
        .arg(dir)
        .output();
    let out = String::from_utf8(ran.unwrap().stdout).unwrap();
    let numbers = out.split_whitespace().map(|n| n.parse::<u64>().unwrap());
    numbers.product::<u64>() >> 20
}

#[test]
fn endless_deltas_are_refused() {
    for endless in ["/superblock", "/0"] {
        let scene = Scene::new();
        let first = serve(&scene.source);
        scene.trust(&first, &[]);
        scene.pull();
        scene.commit("main", &[7; 100_000], 1, &[]);
        treeferry(&scene.source, ["static-delta", "generate", "main"]).success();
        let server = RawServer::start(&scene.source, move |path, _| {
            match path.contains("/deltas/") && path.ends_with(endless) {
                true => Answer::Endless,
                false => Answer::File,
            }
        });
        scene.trust(&server, &[]);
        let required = ["--require-static-deltas", "origin", "main"];
        scene.is_refused(&required, &["limit"]);
        assert!(left_bytes(&scene.client) < 100_000, "{endless}");
        // Where none is required, objects come instead.
        scene.pull();
    }
}

#[test]
fn slow_retrieval_is_refused() {
    let scene = Scene::new();
    let server = RawServer::start(&scene.source, |path, _| match path.ends_with(".filez") {
        true => Answer::Drip,
        false => Answer::File,
    });
    scene.trust(&server, &[]);
    let patience = [
        "--network-retries=0",
        "--low-speed-limit-bytes=1000",
        "--low-speed-time-seconds=6",
        "origin",
        "main",
    ];
    let started = Instant::now();
    scene.is_refused(&patience, &["slow"]);
    assert!(started.elapsed() < Duration::from_secs(120));
}

#[test]
fn mix_and_match_of_summary_and_signature_is_refused() {
    let scene = Scene::new();
    let server = serve(&scene.source);
    scene.trust(&server, &["--set=sign-verify-summary=true"]);
    let signature = fs::read(scene.source.join("summary.sig")).unwrap();
    scene.commit("main", b"second", 1, &[]);
    scene.summary();
    fs::write(scene.source.join("summary.sig"), signature).unwrap();
    scene.is_refused(MAIN, &["summary", "couldn't be verified"]);
}

#[test]
fn mix_and_match_of_refs_that_the_signed_summary_does_not_have_is_refused() {
    let scene = Scene::new();
    let server = serve(&scene.source);
    scene.trust(&server, &["--set=sign-verify-summary=true"]);
    let (secret, _) = key(1);
    // A commit that the owner signed, and a ref that the owner never published.
    scene.commit("unpublished", b"not ready", 1, &[]);
    scene.is_refused(
        &["origin", "unpublished"],
        &["unpublished", "signed summary"],
    );
    scene.set_ref("main", &rev(&scene.source, "unpublished").unwrap());
    scene.pull();
    assert_eq!(rev_of(&scene.client).as_deref(), Some(&*scene.first));
    treeferry(&scene.source, ["summary", "-u", "--grace=0", &secret]).success();
}

#[test]
fn a_commit_of_another_ref_is_refused() {
    let scene = Scene::new();
    let server = serve(&scene.source);
    scene.trust(&server, &[]);
    let other = scene.commit("testing", b"for testers", 1, &[]);
    scene.set_ref("main", &other);
    scene.is_refused(MAIN, &[&other, "not bound to the ref 'main'", "testing"]);
}

#[test]
fn a_commit_of_another_collection_is_refused() {
    let scene = Scene::new();
    let server = serve(&scene.source);
    scene.trust(&server, &["--collection-id=org.example.Ours"]);
    scene.is_refused(
        MAIN,
        &[&scene.first, "bound to no collection", "org.example.Ours"],
    );
    let set = ["config", "set", "core.collection-id", "org.example.Theirs"];
    treeferry(&scene.source, set).success();
    let theirs = scene.commit("main", b"theirs", 1, &[]);
    scene.is_refused(MAIN, &[&theirs, "org.example.Theirs", "org.example.Ours"]);
}

#[test]
fn a_malicious_mirror_is_refused() {
    let scene = Scene::new();
    let server = serve(&scene.source);
    // The mirror of objects gives every file the same content.
    let mirror = scene.place.join("mirror");
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .args([&scene.source, &mirror])
        .status();
    assert!(copied.unwrap().success());
    for name in objects(&mirror) {
        if name.ends_with(".filez") {
            fs::write(mirror.join("objects").join(name), b"evil").unwrap();
        }
    }
    let evil = serve(&mirror);
    let content = format!("--contenturl={}", evil.url());
    scene.trust(&server, &[&content]);
    scene.is_refused(MAIN, &[".file"]);
    // One that has nothing keeps nobody from pulling from another.
    let empty = scene.place.join("empty");
    fs::create_dir(&empty).unwrap();
    let nothing = serve(&empty);
    let content = format!("--contenturl={}", nothing.url());
    scene.trust(&server, &[&content]);
    scene.is_refused(MAIN, &["is not at", nothing.url().trim_end_matches('/')]);
    scene.trust(&server, &[]);
    scene.pull();
}

#[test]
#[cfg_attr(not(has_gpg), ignore = "needs gpg")]
fn a_revoked_key_is_refused() {
    let scene = Scene::new();
    let home = super::gpg::Home::new();
    let owner = home.key("owner", "ed25519");
    let head = scene.commit("main", b"second", 1, &[]);
    home.sign_commit(&scene.source, "main", &owner);
    let server = serve(&scene.source);
    let before = home.export(&scene.place, "before", &owner);
    home.revoke(&owner);
    let after = home.export(&scene.place, "after", &owner);
    let remote = |keys: &Path| {
        let import = format!("--gpg-import={}", keys.display());
        let add = ["remote", "add", "--force", &import, "origin", server.url()];
        treeferry(&scene.client, add).success();
    };
    remote(&before);
    scene.pull();
    // Known to be revoked, even what is here already is not to be believed, nor what comes.
    remote(&after);
    scene.is_refused(MAIN, &[&head, "Key revoked"]);
    let third = scene.commit("main", b"third", 1, &[]);
    let detached = object_path(&scene.source, &head, "commitmeta");
    fs::copy(detached, object_path(&scene.source, &third, "commitmeta")).unwrap();
    scene.is_refused(MAIN, &[&third, "BAD signature"]);
}
