//! Signatures, and the keys that they are verified with.

use std::sync::OnceLock;

use treeferry_core::format::gvariant::Dict;
use treeferry_core::sign::{
    DummyKey, DummyVerifier, Ed25519PublicKey, Ed25519SecretKey, Ed25519Verifier, Scheme,
    Signatures, Signed, SpkiPublicKey, SpkiSecretKey, SpkiVerifier, Verifier, parse_base64_lines,
    signatures_in,
};
use treeferry_core_openpgp::{Keyring, OpenPgpVerifier, issuers_of};

/// What the seeds sign.
const MESSAGE: &[u8] = b"signed\n";
/// The time at which it is verified, seconds since 1970.
const NOW_SECS: u64 = 1_700_000_000;

/// An `a{sv}` with signatures: of the seeds' kinds of key, whose public halves lie here.
///
/// What one of the keys signed counts over the message alone.
pub fn fuzz_signatures(data: &[u8]) {
    let Ok(signatures) = Dict::decode(data) else {
        return;
    };
    let signed = |data: &'static [u8]| Signed {
        data: data.into(),
        signatures: &signatures,
        now_secs: Some(NOW_SECS),
    };
    for verifier in verifiers() {
        verifier.verify(&signed(MESSAGE));
        let other = verifier.verify(&signed(b"another message"));
        assert!(!other.is_accepted(), "{verifier:?}");
    }
    // One without keys, and so without a message.
    DummyVerifier(vec![DummyKey("dummysign".to_owned())]).verify(&signed(MESSAGE));
    for scheme in Scheme::ALL {
        if let Signatures::Some(blobs) = signatures_in(&signatures, scheme) {
            blobs.into_iter().for_each(|blob| drop(issuers_of(blob)));
        }
    }
}

/// Files of keys: what is read is written and read again.
pub fn fuzz_key_files(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(keys) = parse_base64_lines(&text, Ed25519PublicKey::from_base64) {
        let again: Vec<String> = keys.iter().map(Ed25519PublicKey::to_base64).collect();
        let again = parse_base64_lines(&again.join("\n"), Ed25519PublicKey::from_base64);
        assert_eq!(again, Ok(keys));
    }
    if let Ok(keys) = SpkiPublicKey::parse_pem(&text) {
        for key in keys {
            assert_eq!(SpkiPublicKey::from_der(key.to_der()), Ok(key.clone()));
            assert!(!key.verifies(MESSAGE, data));
        }
    }
    drop(parse_base64_lines(&text, Ed25519SecretKey::from_base64));
    drop(parse_base64_lines(&text, SpkiPublicKey::from_base64));
    drop(SpkiSecretKey::parse_pem(&text));
}

/// Keyrings: what is read is written and read again, and described.
pub fn fuzz_openpgp_keyring(data: &[u8]) {
    let Ok(keyring) = Keyring::parse(data) else {
        return;
    };
    let described = keyring.describe(NOW_SECS);
    assert_eq!(described.len(), keyring.len());
    if let Ok(bytes) = keyring.to_bytes() {
        let again = Keyring::parse(&bytes).map(|again| again.fingerprints());
        assert_eq!(again.ok(), Some(keyring.fingerprints()));
    }
    let verifier = OpenPgpVerifier::new(keyring);
    verifier.check(MESSAGE.into(), SIGNATURE, NOW_SECS);
}

/// Blobs of signatures, against the keyring of the seeds.
pub fn fuzz_openpgp_signature(data: &[u8]) {
    let verifier = openpgp();
    verifier.check(MESSAGE.into(), data, NOW_SECS);
    let other = verifier.check(b"another message"[..].into(), data, NOW_SECS);
    assert!(other.iter().all(|checked| !checked.is_good()));
    issuers_of(data);
}

const ED25519: &str = include_str!("../corpus/key_files/lines");
const P256: &str = include_str!("../corpus/key_files/p256");
const KEYRING: &[u8] = include_bytes!("../corpus/openpgp_keyring/0");
const SIGNATURE: &[u8] = include_bytes!("../corpus/openpgp_signature/two");

fn openpgp() -> &'static OpenPgpVerifier {
    static VERIFIER: OnceLock<OpenPgpVerifier> = OnceLock::new();
    VERIFIER.get_or_init(|| OpenPgpVerifier::new(Keyring::parse(KEYRING).unwrap_or_default()))
}

fn verifiers() -> [Box<dyn Verifier>; 3] {
    let ed25519 = parse_base64_lines(ED25519, Ed25519PublicKey::from_base64);
    [
        Box::new(Ed25519Verifier::new(ed25519.unwrap_or_default())),
        Box::new(SpkiVerifier::new(
            SpkiPublicKey::parse_pem(P256).unwrap_or_default(),
        )),
        Box::new(openpgp().clone()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_are_good() {
        let seed = include_bytes!("../corpus/signatures/0");
        let signatures = Dict::decode(seed).unwrap_or_default();
        for verifier in verifiers() {
            let signed = Signed {
                data: MESSAGE.into(),
                signatures: &signatures,
                now_secs: Some(NOW_SECS),
            };
            let verdict = verifier.verify(&signed);
            assert!(verdict.is_accepted(), "{verifier:?}: {verdict:?}");
        }
    }
}
