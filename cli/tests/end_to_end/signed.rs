//! Signatures of `ostree sign`, with keys and signatures by OpenSSL on the other side: the C
//! `ostree` of Debian is built without these.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use treeferry_core::format::gvariant::{Dict, Type, Value};

use crate::support::raw_server::{Answer, RawServer};
use crate::support::run::treeferry;
use crate::support::tree::write;
use crate::support::{Place, commit, commit_c, object_path, objects, rev};

fn openssl(args: &[&str]) -> Vec<u8> {
    let output = Command::new("openssl").args(args).output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {err}");
    output.stdout
}

/// A key that OpenSSL made.
pub(crate) struct Key {
    pem: PathBuf,
}

impl Key {
    pub(crate) fn new(place: &Place, name: &str) -> Self {
        let pem = place.join(name);
        let path = pem.to_str().unwrap();
        openssl(&["genpkey", "-algorithm", "ed25519", "-out", path]);
        Self { pem }
    }

    fn path(&self) -> &str {
        self.pem.to_str().unwrap()
    }

    fn der(&self, more: &[&str]) -> Vec<u8> {
        let mut args = vec!["pkey", "-in", self.path(), "-outform", "DER"];
        args.extend(more);
        openssl(&args)
    }

    /// The public key as key files have it.
    pub(crate) fn public(&self) -> String {
        let der = self.der(&["-pubout"]);
        STANDARD.encode(&der[der.len() - 32..])
    }

    /// The secret key as `--sign` takes it: seed, then public key.
    pub(crate) fn secret(&self) -> String {
        let (secret, public) = (self.der(&[]), self.der(&["-pubout"]));
        let seed = &secret[secret.len() - 32..];
        STANDARD.encode([seed, &public[public.len() - 32..]].concat())
    }

    fn spki(&self) -> String {
        STANDARD.encode(self.der(&["-pubout"]))
    }

    fn sign(&self, file: &Path) -> Vec<u8> {
        let file = file.to_str().unwrap();
        openssl(&[
            "pkeyutl",
            "-sign",
            "-rawin",
            "-inkey",
            self.path(),
            "-in",
            file,
        ])
    }

    fn verify(&self, file: &Path, signature: &Path) {
        let (file, signature) = (file.to_str().unwrap(), signature.to_str().unwrap());
        let args = [
            "pkeyutl",
            "-verify",
            "-rawin",
            "-inkey",
            self.path(),
            "-in",
            file,
        ];
        openssl(&[&args[..], &["-sigfile", signature]].concat());
    }
}

/// Puts a signature where commits have theirs, or summaries.
fn signed_dict(key: &str, signature: Vec<u8>) -> Vec<u8> {
    let mut dict = Dict::new();
    let bytes = Type::parse("ay").unwrap();
    dict.insert(key, Value::array(bytes, vec![Value::Bytes(signature)]));
    dict.encode()
}

fn signature_in(detached: &Path, key: &str) -> Vec<u8> {
    let dict = Dict::decode(&fs::read(detached).unwrap()).unwrap();
    let signatures = dict.get(key).unwrap().as_slice().unwrap().to_vec();
    signatures[0].as_bytes().unwrap().to_vec()
}

fn add_signed(repo: &Path, url: &str, settings: &[&str]) {
    let settings = settings.iter().map(|setting| format!("--set={setting}"));
    let mut args = vec![
        "remote".to_owned(),
        "add".into(),
        "--set=gpg-verify=false".into(),
    ];
    args.extend(settings);
    args.extend(["origin".into(), url.to_owned()]);
    treeferry(repo, args).success();
}

/// Asserts that a pull is refused with `words`, and that nothing but the commit and what is beside
/// it was asked for.
fn is_refused(place: &Place, server: &RawServer, settings: &[&str], words: &[&str]) {
    let repo = place.init("refused", "archive");
    add_signed(&repo, server.url(), settings);
    let before = server.requests().len();
    let error = treeferry(&repo, ["pull", "origin", "main"]).failure_naming(words);
    println!("{}", error.trim());
    let asked: Vec<_> = server.requests().split_off(before);
    let asked: Vec<_> = asked.into_iter().map(|(_, path)| path).collect();
    let content = |path: &String| path.ends_with(".dirtree") || path.ends_with(".filez");
    assert!(!asked.iter().any(content), "{asked:?}");
    assert_eq!(objects(&repo), Vec::<String>::new());
    assert_eq!(rev(&repo, "origin:main"), None);
    fs::remove_dir_all(&repo).unwrap();
}

#[test]
#[cfg_attr(not(all(has_ostree, has_openssl)), ignore = "needs ostree and openssl")]
fn a_commit_that_openssl_signed_is_pulled_and_no_other() {
    let place = Place::new();
    let (key, other) = (Key::new(&place, "key"), Key::new(&place, "other"));
    let source = place.init_c("source", "archive");
    write(&place.join("tree"), "file", b"content");
    let head = commit_c(&source, "main", &place.join("tree"));
    let server = RawServer::start(&source, |_, _| Answer::File);
    let (commit, beside) = (
        object_path(&source, &head, "commit"),
        object_path(&source, &head, "commitmeta"),
    );
    let by = |key: &Key| format!("verification-ed25519-key={}", key.public());
    let trusted = ["sign-verify=true", &by(&key)];
    is_refused(&place, &server, &trusted, &[&head, "No signatures found"]);

    fs::write(
        &beside,
        signed_dict("ostree.sign.ed25519", key.sign(&commit)),
    )
    .unwrap();
    let refused = [&head, "Signature couldn't be verified"];
    is_refused(
        &place,
        &server,
        &["sign-verify=ed25519", &by(&other)],
        &refused,
    );
    is_refused(&place, &server, &["sign-verify=true"], &["No keys found"]);
    let repo = place.init("good", "bare-user");
    add_signed(&repo, server.url(), &trusted);
    treeferry(&repo, ["pull", "origin", "main"]).success();
    assert_eq!(rev(&repo, "origin:main").as_deref(), Some(&*head));

    // One bit, in the signature: refused, also where the commit is already.
    let mut broken = fs::read(&beside).unwrap();
    let middle = broken
        .windows(64)
        .position(|part| part == key.sign(&commit));
    broken[middle.unwrap() + 20] ^= 1;
    fs::write(&beside, &broken).unwrap();
    is_refused(&place, &server, &trusted, &refused);
    treeferry(&repo, ["pull", "origin", "main"]).failure_naming(&refused);
    fs::write(&beside, "borkborkbork").unwrap();
    is_refused(&place, &server, &trusted, &[&head, "No signatures found"]);

    fs::write(&beside, signed_dict("ostree.sign.spki", key.sign(&commit))).unwrap();
    let spki = format!("verification-spki-key={}", key.spki());
    is_refused(&place, &server, &trusted, &[&head, "No signatures found"]);
    treeferry(&repo, ["remote", "delete", "origin"]).success();
    add_signed(&repo, server.url(), &["sign-verify=spki", &spki]);
    treeferry(&repo, ["pull", "origin", "main"]).success();
}

#[test]
#[cfg_attr(not(has_openssl), ignore = "needs openssl")]
fn what_we_sign_is_verified_by_openssl_and_by_us() {
    let place = Place::new();
    let key = Key::new(&place, "key");
    let source = place.init("source", "archive");
    write(&place.join("tree"), "file", b"content");
    let tree = format!("--tree=dir={}", place.join("tree").display());
    let secret = format!("--sign={}", key.secret());
    let secrets = place.join("secrets");
    fs::write(&secrets, format!("{}\n", key.secret())).unwrap();
    let from_file = format!("--sign-from-file={}", secrets.display());
    let head = treeferry(&source, ["commit", "--branch=main", &tree, &from_file]).success();
    let head = head.trim();
    let pem = format!("--keys-file={}", key.path());
    treeferry(&source, ["sign", "--sign-type=spki", &pem, "main"]).success();
    treeferry(&source, ["summary", "-u", &secret]).success();
    let commit = object_path(&source, &head, "commit");
    let beside = object_path(&source, &head, "commitmeta");
    for (file, beside, kind) in [
        (&commit, &beside, "ed25519"),
        (&commit, &beside, "spki"),
        (
            &source.join("summary"),
            &source.join("summary.sig"),
            "ed25519",
        ),
    ] {
        let signature = place.join("signature");
        let bytes = signature_in(beside, &format!("ostree.sign.{kind}"));
        fs::write(&signature, bytes).unwrap();
        key.verify(file, &signature);
    }
    let verify = ["sign", "--verify", "main", &key.public()];
    let out = treeferry(&source, verify).success().out;
    assert!(
        out.contains("ed25519: Signature verified successfully with key"),
        "{out}"
    );
    let spki = ["sign", "--verify", "--sign-type=spki", "main", &key.spki()];
    treeferry(&source, spki).success();
    let wrong = Key::new(&place, "wrong").public();
    treeferry(&source, ["sign", "--verify", "main", &wrong])
        .failure_naming(&["No valid signatures"]);

    let deleted = ["sign", "--delete", "main", &key.public()];
    let out = treeferry(&source, deleted).success().out;
    assert!(out.contains("Signatures deleted: 1"), "{out}");
    treeferry(&source, verify).failure_naming(&["No signatures found"]);
    treeferry(&source, spki).success();
}

#[test]
#[cfg_attr(not(has_openssl), ignore = "needs openssl")]
fn trust_is_given_on_the_command_line_too() {
    let place = Place::new();
    let (key, other) = (Key::new(&place, "key"), Key::new(&place, "other"));
    let source = place.init("source", "archive");
    write(&place.join("tree"), "file", b"content");
    let head = commit(&source, "main", &place.join("tree"));
    treeferry(&source, ["sign", "main", &key.secret()]).success();
    let repo = place.init("repo", "bare-user");
    let path = source.to_str().unwrap();
    let by = |key: &Key| format!("--sign-verify=ed25519=inline:{}", key.public());
    treeferry(&repo, ["pull-local", path, "main", &by(&other)])
        .failure_naming(&[&head, "couldn't be verified"]);
    assert_eq!(objects(&repo), Vec::<String>::new());
    let file = place.join("keys");
    fs::write(&file, format!("{}\n{}\n", other.public(), key.public())).unwrap();
    let file = format!("--sign-verify=ed25519=file:{}", file.display());
    treeferry(&repo, ["pull-local", path, "main", &file]).success();
    // Both must be met: what the remote demands, and what was asked for.
    let server = RawServer::start(&source, |_, _| Answer::File);
    let own = format!("verification-ed25519-key={}", key.public());
    add_signed(&repo, server.url(), &["sign-verify=true", &own]);
    treeferry(&repo, ["pull", "origin", "main", &by(&other)]).failure();
    treeferry(&repo, ["pull", "origin", "main", &by(&key)]).success();
    let needs = ["--sign-verify-summary", &by(&key)];
    let unsigned = ["no summary"];
    treeferry(&repo, ["pull", "origin", "main", needs[0], needs[1]]).failure_naming(&unsigned);
    treeferry(&source, ["summary", "-u"]).success();
    treeferry(&repo, ["pull", "origin", "main", needs[0], needs[1]])
        .failure_naming(&["No signatures found"]);
    let secret = format!("--sign={}", key.secret());
    treeferry(&source, ["summary", "-u", &secret]).success();
    treeferry(&repo, ["pull", "origin", "main", needs[0], needs[1]]).success();
}
