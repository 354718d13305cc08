//! The verdicts that `gpgv` gives, on keys and signatures that `gpg` made.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use pgp::composed::{Deserializable, SignedPublicKey, SignedSecretKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{KeyFlags, SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::ser::Serialize;
use pgp::types::{KeyDetails, Password, Timestamp};
use treeferry_core::sign::{Checked, SignedData, Signer, Status};
use treeferry_core_openpgp::{KeyState, Keyring, OpenPgpSigner, OpenPgpVerifier, issuers_of};

const DATA: &[u8] = b"a commit, for example\n";

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// A home of GnuPG with keys of its own.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        // Short: sockets live below it.
        let home = Self(
            tempfile::Builder::new()
                .prefix("gh")
                .tempdir_in("/tmp")
                .unwrap(),
        );
        std::fs::set_permissions(
            home.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o700),
        )
        .unwrap();
        home
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn gpg_with(&self, args: &[&str], input: &[u8]) -> Vec<u8> {
        let mut child = Command::new("gpg")
            .args([
                "--homedir",
                self.path().to_str().unwrap(),
                "--batch",
                "--yes",
            ])
            .args(["--pinentry-mode", "loopback", "--passphrase", ""])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{args:?}: {err}");
        output.stdout
    }

    fn gpg(&self, args: &[&str]) -> Vec<u8> {
        self.gpg_with(args, b"")
    }

    /// Makes a key, at a time if one is given; returns its fingerprint.
    fn key(&self, algorithm: &str, expires: &str, at: Option<&str>) -> String {
        let name = format!("Key {} <k@example.org>", self.fingerprints().len());
        let mut args = faked(at);
        args.extend(["--quick-gen-key", &name, algorithm, "sign", expires]);
        self.gpg(&args);
        self.fingerprints().pop().unwrap()
    }

    fn subkey(&self, primary: &str, expires: &str, at: Option<&str>) -> String {
        let mut args = faked(at);
        args.extend(["--quick-add-key", primary, "ed25519", "sign", expires]);
        self.gpg(&args);
        let listed = self.gpg(&["--with-colons", "--list-keys", primary]);
        colons(&listed).pop().unwrap()
    }

    fn fingerprints(&self) -> Vec<String> {
        let text = self.gpg(&["--with-colons", "--list-keys"]);
        let text = String::from_utf8(text).unwrap();
        let mut found = Vec::new();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if line.starts_with("pub:") {
                let fpr = lines.next().unwrap();
                found.push(fpr.split(':').nth(9).unwrap().to_owned());
            }
        }
        found
    }

    fn sign(&self, key: &str, more: &[&str], at: Option<&str>) -> Vec<u8> {
        let key = format!("{key}!");
        let mut args = faked(at);
        args.extend(["--local-user", &key, "--detach-sign"]);
        args.extend(more);
        self.gpg_with(&args, DATA)
    }

    fn export(&self, key: &str) -> Vec<u8> {
        self.gpg(&["--export", key])
    }

    fn revoke(&self, key: &str) {
        let path = self.path().join(format!("openpgp-revocs.d/{key}.rev"));
        let text = std::fs::read_to_string(path).unwrap();
        let text = text.replace(":-----BEGIN", "-----BEGIN");
        self.gpg_with(&["--import"], text.as_bytes());
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = Command::new("gpgconf")
            .args(["--homedir", self.path().to_str().unwrap(), "--kill", "all"])
            .output();
    }
}

fn faked(at: Option<&str>) -> Vec<&str> {
    match at {
        Some(at) => vec!["--faked-system-time", at],
        None => Vec::new(),
    }
}

fn colons(listed: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(listed);
    let lines = text.lines().filter(|line| line.starts_with("fpr:"));
    lines
        .map(|line| line.split(':').nth(9).unwrap().to_owned())
        .collect()
}

/// What `gpgv` says, by its status lines.
fn gpgv(keyring: &[u8], data: &[u8], signature: &[u8]) -> String {
    let place = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = place.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let output = Command::new("gpgv")
        .arg("--homedir")
        .arg(place.path())
        .args(["--status-fd", "1", "--keyring"])
        .arg(put("keyring.gpg", keyring))
        .arg(put("signature", signature))
        .arg(put("data", data))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = [
        "GOODSIG",
        "BADSIG",
        "EXPSIG",
        "EXPKEYSIG",
        "REVKEYSIG",
        "NO_PUBKEY",
        "ERRSIG",
    ];
    let said = |word: &&&str| {
        text.lines()
            .any(|line| line.starts_with(&format!("[GNUPG:] {word} ")))
    };
    let found = words.iter().find(said);
    (*found.unwrap_or_else(|| panic!("{text} {}", String::from_utf8_lossy(&output.stderr))))
        .to_owned()
}

fn check(keyring: &[u8], data: &[u8], signature: &[u8]) -> Checked {
    let verifier = OpenPgpVerifier::new(Keyring::parse(keyring).unwrap());
    let mut checked = verifier.check(data.into(), signature, now());
    let bytes = Bytes::copy_from_slice(data);
    let read = verifier.check(SignedData::Source(&bytes), signature, now());
    assert_eq!(read, checked);
    assert_eq!(checked.len(), 1);
    checked.remove(0)
}

/// Asserts that we give the verdict, and that `gpgv` gives its own word for it.
#[track_caller]
fn agree(keyring: &[u8], data: &[u8], signature: &[u8], word: &str, status: Status) -> Checked {
    assert_eq!(gpgv(keyring, data, signature), word);
    let checked = check(keyring, data, signature);
    assert_eq!(checked.status, status, "{checked}");
    checked
}

const LONG_AGO: Option<&str> = Some("20200101T000000!");
const LATER: Option<&str> = Some("20200201T000000!");

#[test]
#[cfg_attr(not(has_gpg), ignore = "needs gpg and gpgv")]
fn good_tampered_and_unknown() {
    let home = Home::new();
    for algorithm in ["rsa2048", "rsa4096", "ed25519", "nistp256", "dsa2048"] {
        let key = home.key(algorithm, "never", None);
        let ring = home.export(&key);
        let signature = home.sign(&key, &[], None);
        let good = agree(&ring, DATA, &signature, "GOODSIG", Status::Good);
        let details = good.details.unwrap();
        assert_eq!(details.fingerprint, key);
        assert_eq!(details.user.unwrap().email, "k@example.org");
        agree(&ring, b"another", &signature, "BADSIG", Status::Bad);
        // Armoured keyrings and signatures are the same.
        let armoured = home.gpg(&["--armor", "--export", &key]);
        let armour = home.sign(&key, &["--armor"], None);
        assert_eq!(check(&armoured, DATA, &armour).status, Status::Good);
    }
    let all = home.gpg(&["--export"]);
    let other = Home::new();
    let stranger = other.key("ed25519", "never", None);
    let signature = other.sign(&stranger, &[], None);
    let unknown = Status::UnknownKey { tried: 0 };
    let checked = agree(&all, DATA, &signature, "NO_PUBKEY", unknown);
    assert_eq!(checked.details.unwrap().fingerprint, stranger);
    assert!(issuers_of(&signature)[0].is(&stranger));
}

#[test]
#[cfg_attr(not(has_gpg), ignore = "needs gpg and gpgv")]
fn expired_keys_and_signatures() {
    let home = Home::new();
    let key = home.key("ed25519", "1y", LONG_AGO);
    let signature = home.sign(&key, &[], LATER);
    let ring = home.export(&key);
    let checked = agree(&ring, DATA, &signature, "EXPKEYSIG", Status::KeyExpired);
    let expires = checked.details.unwrap().key_expires_secs.unwrap();
    assert!(expires < now() && expires > 1_590_000_000, "{expires}");

    // Extended, the same signature is good: the newest self-signature counts.
    home.gpg(&["--quick-set-expire", &key, "0"]);
    agree(
        &home.export(&key),
        DATA,
        &signature,
        "GOODSIG",
        Status::Good,
    );

    let key = home.key("rsa2048", "never", LONG_AGO);
    let signature = home.sign(&key, &["--default-sig-expire", "1d"], LATER);
    let ring = home.export(&key);
    agree(&ring, DATA, &signature, "EXPSIG", Status::SignatureExpired);
}

#[test]
#[cfg_attr(not(has_gpg), ignore = "needs gpg and gpgv")]
fn revoked_keys_and_copies_of_them_that_do_not_say_so() {
    let home = Home::new();
    let key = home.key("ed25519", "never", None);
    let signature = home.sign(&key, &[], None);
    let before = home.export(&key);
    home.revoke(&key);
    let after = home.export(&key);
    agree(&before, DATA, &signature, "GOODSIG", Status::Good);
    agree(&after, DATA, &signature, "REVKEYSIG", Status::KeyRevoked);
    // A revocation in one keyring counts for the copy in another, in any order.
    for both in [[&before[..], &after], [&after[..], &before]] {
        assert_eq!(
            check(&both.concat(), DATA, &signature).status,
            Status::KeyRevoked
        );
    }
    let info = Keyring::parse(&after).unwrap().describe(now()).remove(0);
    assert_eq!(info.state, KeyState::Revoked);
}

#[test]
#[cfg_attr(not(has_gpg), ignore = "needs gpg and gpgv")]
fn subkeys() {
    let home = Home::new();
    let primary = home.key("ed25519", "never", LONG_AGO);
    let subkey = home.subkey(&primary, "never", LONG_AGO);
    let short = home.subkey(&primary, "1y", LONG_AGO);
    assert_ne!(subkey, short);
    let signature = home.sign(&subkey, &[], LATER);
    let by_short = home.sign(&short, &[], LATER);
    let ring = home.export(&primary);
    let checked = agree(&ring, DATA, &signature, "GOODSIG", Status::Good);
    let details = checked.details.unwrap();
    assert_eq!(details.fingerprint, subkey);
    assert_eq!(details.primary_fingerprint.as_deref(), Some(&*primary));
    agree(&ring, DATA, &by_short, "EXPKEYSIG", Status::KeyExpired);

    // The subkey alone is revoked: what the others signed stays good.
    let edit = b"key 1\nrevkey\ny\n0\n\ny\nsave\n";
    home.gpg_with(&["--command-fd", "0", "--edit-key", &primary], edit);
    let revoked = home.export(&primary);
    agree(&revoked, DATA, &signature, "REVKEYSIG", Status::KeyRevoked);
    let by_primary = home.sign(&primary, &[], None);
    agree(&revoked, DATA, &by_primary, "GOODSIG", Status::Good);

    // What belongs to an expired or revoked key shares its fate.
    home.gpg(&[
        "--faked-system-time",
        "20210101T000000!",
        "--quick-set-expire",
        &primary,
        "1d",
    ]);
    let expired = home.export(&primary);
    agree(&expired, DATA, &by_short, "EXPKEYSIG", Status::KeyExpired);
    home.revoke(&primary);
    let gone = home.export(&primary);
    let word = gpgv(&gone, DATA, &by_primary);
    assert!(word == "REVKEYSIG" || word == "EXPKEYSIG", "{word}");
    assert!(!check(&gone, DATA, &by_primary).is_good());
}

/// Reads a secret key for the tests that forge.
fn secret(home: &Home, key: &str) -> SignedSecretKey {
    let bytes = home.gpg(&["--export-secret-keys", key]);
    SignedSecretKey::from_bytes(&*bytes).unwrap()
}

fn bytes_of(cert: &SignedPublicKey) -> Vec<u8> {
    let mut bytes = Vec::new();
    cert.to_writer(&mut bytes).unwrap();
    bytes
}

#[test]
#[cfg_attr(not(has_gpg), ignore = "needs gpg and gpgv")]
fn a_subkey_with_a_bad_binding_signs_nothing() {
    let home = Home::new();
    let (trusted, stranger) = (
        home.key("ed25519", "never", None),
        home.key("ed25519", "never", None),
    );
    let subkey = home.subkey(&stranger, "never", None);
    let signature = home.sign(&subkey, &[], None);
    let (mut ours, theirs) = (
        secret(&home, &trusted).to_public_key(),
        secret(&home, &stranger).to_public_key(),
    );
    // Their subkey put under our trusted key, bound by themselves and not by us.
    ours.public_subkeys = theirs.public_subkeys.clone();
    let ring = bytes_of(&ours);
    let word = gpgv(&ring, DATA, &signature);
    assert!(word == "NO_PUBKEY" || word == "ERRSIG", "{word}");
    assert_eq!(check(&ring, DATA, &signature).status, Status::KeyUnfit);
}

#[test]
#[cfg_attr(not(has_gpg), ignore = "needs gpg and gpgv")]
fn a_subkey_that_does_not_consent_signs_nothing() {
    let home = Home::new();
    let (thief, victim) = (
        home.key("ed25519", "never", None),
        home.key("ed25519", "never", None),
    );
    let subkey = home.subkey(&victim, "never", None);
    let signature = home.sign(&subkey, &[], None);
    let (ours, theirs) = (
        secret(&home, &thief),
        secret(&home, &victim).to_public_key(),
    );
    let stolen = &theirs.public_subkeys[0];
    // The thief binds the key of somebody else: good but for the back signature that is missing,
    // then with one that was made for another.
    for back in [None, stolen.signatures[0].embedded_signature().cloned()] {
        let mut flags = KeyFlags::default();
        flags.set_sign(true);
        let mut config = SignatureConfig::v4(
            SignatureType::SubkeyBinding,
            ours.primary_key.algorithm(),
            HashAlgorithm::Sha256,
        );
        let time = Timestamp::from_secs(u32::try_from(now()).unwrap());
        config.hashed_subpackets = vec![
            Subpacket::regular(SubpacketData::SignatureCreationTime(time)).unwrap(),
            Subpacket::regular(SubpacketData::KeyFlags(flags)).unwrap(),
            Subpacket::regular(SubpacketData::IssuerFingerprint(
                ours.primary_key.fingerprint(),
            ))
            .unwrap(),
        ];
        if let Some(back) = back {
            let embedded = SubpacketData::EmbeddedSignature(Box::new(back));
            config
                .hashed_subpackets
                .push(Subpacket::regular(embedded).unwrap());
        }
        config.unhashed_subpackets = vec![
            Subpacket::regular(SubpacketData::IssuerKeyId(ours.primary_key.legacy_key_id()))
                .unwrap(),
        ];
        let public = ours.primary_key.public_key();
        let binding = config
            .sign_subkey_binding(&ours.primary_key, public, &Password::empty(), &stolen.key)
            .unwrap();
        let mut cert = ours.to_public_key();
        cert.public_subkeys = vec![stolen.clone()];
        cert.public_subkeys[0].signatures = vec![binding];
        let ring = bytes_of(&cert);
        let word = gpgv(&ring, DATA, &signature);
        assert!(word == "ERRSIG" || word == "NO_PUBKEY", "{word}");
        assert_eq!(check(&ring, DATA, &signature).status, Status::KeyUnfit);
    }
    // Of its owner it is good.
    let ring = home.export(&victim);
    agree(&ring, DATA, &signature, "GOODSIG", Status::Good);
}

#[test]
#[cfg_attr(not(has_gpg), ignore = "needs gpg and gpgv")]
fn weak_hashes_and_signatures_over_text_count_for_nothing() {
    let home = Home::new();
    let key = home.key("rsa2048", "never", None);
    let ring = home.export(&key);
    for hash in ["SHA256", "SHA384", "SHA512", "SHA224"] {
        let signature = home.sign(&key, &["--digest-algo", hash], None);
        let checked = agree(&ring, DATA, &signature, "GOODSIG", Status::Good);
        assert_eq!(checked.details.unwrap().hash_algorithm, hash);
    }
    for hash in ["SHA1", "RIPEMD160"] {
        // GnuPG 2.2 still takes these.
        let signature = home.sign(&key, &["--digest-algo", hash], None);
        assert_eq!(check(&ring, DATA, &signature).status, Status::WeakAlgorithm);
    }
    let md5 = ["--allow-weak-digest-algos", "--digest-algo", "MD5"];
    let signature = home.sign(&key, &md5, None);
    assert_eq!(check(&ring, DATA, &signature).status, Status::WeakAlgorithm);
    let signature = home.sign(&key, &["--textmode"], None);
    assert_eq!(check(&ring, DATA, &signature).status, Status::Unsupported);
}

#[tokio::test]
#[cfg_attr(not(has_gpg), ignore = "needs gpg and gpgv")]
async fn what_we_sign_is_good_to_gpgv() {
    let home = Home::new();
    for algorithm in ["rsa2048", "ed25519"] {
        let key = home.key(algorithm, "never", None);
        let exported = home.gpg(&["--export-secret-keys", &key]);
        let signer = OpenPgpSigner::new(&exported, "", now()).unwrap();
        assert_eq!(signer.fingerprint(), key);
        let signature = signer.sign(DATA).await.unwrap();
        let ring = home.export(&key);
        agree(&ring, DATA, &signature, "GOODSIG", Status::Good);
        assert!(issuers_of(&signature)[0].is(&key));

        let subkey = home.subkey(&key, "never", None);
        let exported = home.gpg(&["--armor", "--export-secret-keys", &key]);
        let signer = OpenPgpSigner::new(&exported, "", now()).unwrap();
        assert_eq!(signer.fingerprint(), subkey);
        let signature = signer.sign(DATA).await.unwrap();
        agree(
            &home.export(&key),
            DATA,
            &signature,
            "GOODSIG",
            Status::Good,
        );
        assert!(!format!("{signer:?}").contains("Secret"));
    }
    let public = home.gpg(&["--export"]);
    assert!(OpenPgpSigner::new(&public, "", now()).is_err());
}

#[test]
#[cfg_attr(not(has_gpg), ignore = "needs gpg and gpgv")]
fn keyrings_are_read_selected_and_written() {
    let home = Home::new();
    let keys = [
        home.key("ed25519", "never", None),
        home.key("ed25519", "1y", None),
    ];
    let bytes = home.gpg(&["--export"]);
    let ring = Keyring::parse(&bytes).unwrap();
    assert_eq!(ring.len(), 2);
    assert_eq!(
        Keyring::parse(&ring.to_bytes().unwrap())
            .unwrap()
            .fingerprints(),
        keys
    );
    let one = ring.select(&keys[1][24..]).unwrap();
    assert_eq!(one.fingerprints(), keys[1..]);
    assert!(ring.select("DEADBEEFDEADBEEF").is_none());
    let mut target = Keyring::default();
    assert_eq!(target.add(one.clone()).new, 1);
    assert_eq!(target.add(one).new, 0);
    assert_eq!(target.add(ring).new, 1);
    // Cut anywhere it is not a panic, and never more keys than there were.
    for end in 0..bytes.len() {
        if let Ok(cut) = Keyring::parse(&bytes[..end]) {
            assert!(cut.len() <= 2);
        }
    }
    // Keyboxes are GnuPG's own.
    let kbx = std::fs::read(home.path().join("pubring.kbx")).unwrap();
    let error = Keyring::parse(&kbx).unwrap_err();
    assert!(error.to_string().contains("gpg --export"), "{error}");
    // GnuPG writes its notes about trust into keyrings of the old kind.
    let old = home.path().join("old.gpg");
    let args = [
        "--no-default-keyring",
        "--keyring",
        old.to_str().unwrap(),
        "--import",
    ];
    std::fs::write(&old, b"").unwrap();
    home.gpg_with(&args, &bytes);
    let old = std::fs::read(old).unwrap();
    assert!(old.len() > bytes.len());
    assert_eq!(Keyring::parse(&old).unwrap().fingerprints(), keys);
}
