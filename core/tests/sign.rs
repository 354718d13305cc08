//! Signatures of `ostree sign`: vectors of RFC 8032, keys and signatures made by OpenSSL, and what
//! verifiers make of one another.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;

use bytes::Bytes;
use treeferry_core::ErrorKind;
use treeferry_core::format::gvariant::{Dict, Value};
use treeferry_core::format::keyfile::KeyFile;
use treeferry_core::sign::{
    AllOf, AnyOf, DummyKeys, Ed25519PublicKey, Ed25519SecretKey, Ed25519Signer, Ed25519Verifier,
    KeyDirectories, Outcome, Refusal, Scheme, SignVerify, Signatures, Signed, SignedData, Signer,
    SpkiPublicKey, SpkiSecretKey, SpkiVerifier, Status, Threshold, Trust, Verdict, Verifier,
    add_signature, parse_base64_lines, remove_signatures, require, signatures_in,
};

fn bytes(hex: &str) -> Vec<u8> {
    let digits = (0..hex.len()).step_by(2);
    digits
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

fn array<const N: usize>(hex: &str) -> [u8; N] {
    bytes(hex).try_into().unwrap()
}

/// Seed, public key, message and signature of RFC 8032, section 7.1.
const RFC_8032: [[&str; 4]; 3] = [
    [
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ],
    [
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ],
    [
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ],
];

#[test]
fn the_vectors_of_rfc_8032_are_made_and_verified() {
    for [seed, public, message, signature] in RFC_8032 {
        let key = Ed25519SecretKey::from_seed(&array(seed));
        let public = Ed25519PublicKey::from_bytes(array(public));
        assert_eq!(key.public(), public);
        let message = bytes(message);
        assert_eq!(key.sign(&message).to_vec(), bytes(signature));
        assert!(public.verifies(&message, &bytes(signature)));
        for at in 0..64 {
            let mut other = bytes(signature);
            other[at] ^= 1;
            assert!(!public.verifies(&message, &other), "byte {at}");
        }
    }
}

#[test]
fn a_key_of_small_order_signs_nothing() {
    // The neutral element: with it one signature fits every message, unless it is refused.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let mut signature = [0; 64];
    signature[0] = 1;
    let key = Ed25519PublicKey::from_bytes(neutral);
    assert!(!key.verifies(b"anything", &signature));
    let mut dict = Dict::new();
    add_signature(&mut dict, Scheme::Ed25519, signature.to_vec()).unwrap();
    assert!(!verify(&Ed25519Verifier::new([key]), &dict).is_accepted());
}

fn key(number: u8) -> Ed25519SecretKey {
    Ed25519SecretKey::from_seed(&[number; 32])
}

fn trusting(numbers: &[u8]) -> Ed25519Verifier {
    Ed25519Verifier::new(numbers.iter().map(|number| key(*number).public()))
}

fn one(number: u8) -> Arc<dyn Verifier> {
    Arc::new(trusting(&[number]))
}

const DATA: &[u8] = b"what is signed";

fn signed_by(numbers: &[u8]) -> Dict {
    let mut dict = Dict::new();
    for number in numbers {
        let signature = key(*number).sign(DATA).to_vec();
        add_signature(&mut dict, Scheme::Ed25519, signature).unwrap();
    }
    dict
}

/// Verifies what is in memory, and the same read piece by piece.
fn verify(verifier: &dyn Verifier, signatures: &Dict) -> Verdict {
    let verify = |data| {
        verifier.verify(&Signed {
            data,
            signatures,
            now_secs: None,
        })
    };
    let verdict = verify(DATA.into());
    let read = verify(SignedData::Source(&Bytes::from_static(DATA)));
    assert_eq!(verdict.to_string(), read.to_string());
    assert_eq!(verdict.is_accepted(), read.is_accepted());
    verdict
}

fn accepts(verifier: &dyn Verifier, by: &[u8]) -> bool {
    verify(verifier, &signed_by(by)).is_accepted()
}

#[test]
fn any_trusted_key_is_enough_and_what_is_wrong_is_told() {
    assert!(accepts(&trusting(&[1, 2]), &[2]));
    assert!(accepts(&trusting(&[1]), &[7, 1]));
    let verdict = verify(&trusting(&[1]), &signed_by(&[2]));
    assert_eq!(verdict.checked[0].status, Status::UnknownKey { tried: 1 });
    let text = verdict.to_string();
    let public = key(1).public();
    let hex: String = public
        .as_bytes()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    assert!(text.contains(&hex), "{text}");
    let unsigned = verify(&trusting(&[1]), &Dict::new());
    let refusal = Refusal::Unsigned(Scheme::Ed25519);
    assert_eq!(unsigned.outcome, Outcome::Refused(refusal));
    let nobody = verify(&trusting(&[]), &signed_by(&[1]));
    let refusal = Refusal::NoKeys(Scheme::Ed25519);
    assert_eq!(nobody.outcome, Outcome::Refused(refusal));
}

#[test]
fn a_revoked_key_is_told_from_one_that_is_not_known() {
    let verifier = trusting(&[1, 2]).revoking([key(1).public()]);
    let verdict = verify(&verifier, &signed_by(&[1]));
    assert!(!verdict.is_accepted());
    assert_eq!(verdict.checked[0].status, Status::KeyRevoked);
    assert!(accepts(&verifier, &[1, 2]));
    let all_revoked = trusting(&[1]).revoking([key(1).public()]);
    let verdict = verify(&all_revoked, &signed_by(&[1]));
    assert_eq!(verdict.checked[0].status, Status::KeyRevoked);
}

#[test]
fn combinations_count_keys_and_not_signatures() {
    let any = AnyOf(vec![one(1), one(2)]);
    assert!(accepts(&any, &[2]) && !accepts(&any, &[3]) && !accepts(&AnyOf(vec![]), &[1]));
    let all = AllOf(vec![one(1), one(2)]);
    assert!(accepts(&all, &[2, 1]) && !accepts(&all, &[1]) && !accepts(&AllOf(vec![]), &[1]));

    let two_of_three = Threshold::new(2, vec![one(1), one(2), one(3)]);
    assert!(accepts(&two_of_three, &[3, 1]));
    assert!(accepts(&two_of_three, &[1, 2, 3]));
    for too_few in [&[1][..], &[1, 1, 1], &[1, 9], &[]] {
        let verdict = verify(&two_of_three, &signed_by(too_few));
        let refused = matches!(
            verdict.outcome,
            Outcome::Refused(Refusal::TooFew { needed: 2, .. })
        );
        assert!(refused, "{too_few:?}: {verdict}");
    }
    // One key that two holders trust is one key.
    let same = Threshold::new(2, vec![one(1), Arc::new(trusting(&[1, 2]))]);
    assert!(!accepts(&same, &[1]) && accepts(&same, &[1, 2]));
    // None of none is still not nothing.
    assert!(!accepts(&Threshold::new(0, vec![]), &[1]));
}

#[test]
fn what_is_no_list_of_signatures_is_refused_and_not_fatal() {
    let verifier = trusting(&[1]);
    let junk = [
        Value::from("text"),
        Value::Bytes(vec![1; 64]),
        Value::strings(["a"]),
        Value::array("ay".parse_type(), vec![Value::Bytes(vec![0; 64]); 300]),
        Value::array("ay".parse_type(), vec![Value::Bytes(vec![0; 63])]),
        Value::array("ay".parse_type(), vec![]),
    ];
    for value in junk {
        let mut dict = Dict::new();
        dict.insert("ostree.sign.ed25519", value.clone());
        assert!(!verify(&verifier, &dict).is_accepted(), "{value:?}");
    }
    let error = require(&verifier, DATA, Some(b"borkborkbork"), None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Untrusted);
    assert!(error.to_string().contains("No signatures found"), "{error}");
}

trait ParseType {
    fn parse_type(&self) -> treeferry_core::format::gvariant::Type;
}

impl ParseType for str {
    fn parse_type(&self) -> treeferry_core::format::gvariant::Type {
        treeferry_core::format::gvariant::Type::parse(self).unwrap()
    }
}

#[test]
fn signatures_are_added_and_removed() {
    let mut dict = signed_by(&[1, 2]);
    dict.insert("other", "kept");
    let second = key(2).sign(DATA).to_vec();
    let removed = remove_signatures(&mut dict, Scheme::Ed25519, |bytes| bytes != second);
    assert_eq!(removed, 1);
    let first = key(1).sign(DATA);
    let left = signatures_in(&dict, Scheme::Ed25519);
    assert_eq!(left, Signatures::Some(vec![&first[..]]));
    assert_eq!(remove_signatures(&mut dict, Scheme::Ed25519, |_| false), 1);
    assert_eq!(signatures_in(&dict, Scheme::Ed25519), Signatures::None);
    assert_eq!(dict.len(), 1);
}

#[test]
fn key_files_have_keys_blank_lines_and_notes() {
    let text = format!("# ours\n\n  {}  \n", key(1).public().to_base64());
    let keys = parse_base64_lines(&text, Ed25519PublicKey::from_base64).unwrap();
    assert_eq!(keys, [key(1).public()]);
    let error = parse_base64_lines("\nnot base64\n", Ed25519PublicKey::from_base64).unwrap_err();
    assert!(error.to_string().contains("line 2"), "{error}");
    let error = Ed25519PublicKey::from_base64("QUJD").unwrap_err();
    assert!(
        error.to_string().contains("32 bytes, this one 3"),
        "{error}"
    );
}

#[test]
fn a_secret_key_must_belong_to_its_public_half_and_is_not_printed() {
    let seed: [u8; 32] = array(RFC_8032[0][0]);
    let pair = |public: &str| {
        let mut both = seed.to_vec();
        both.extend(bytes(public));
        base64(&both)
    };
    let key = Ed25519SecretKey::from_base64(&pair(RFC_8032[0][1])).unwrap();
    let printed = format!("{key:?} {:?}", Ed25519Signer::new(key.clone()));
    assert!(!printed.contains(&base64(&seed)[..20]), "{printed}");
    assert!(Ed25519SecretKey::from_base64(&pair(RFC_8032[1][1])).is_err());
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn sign_verify(text: &str) -> SignVerify {
    let config = format!("[remote \"o\"]\nurl=http://e\n{text}\n");
    let config = KeyFile::parse(config.as_bytes()).unwrap();
    SignVerify::read(&config, &"o".parse().unwrap()).unwrap()
}

#[test]
fn what_a_remote_must_carry_is_read_from_its_configuration() {
    let (none, refuse) = (KeyDirectories::default(), DummyKeys::Refuse);
    let inline = format!("verification-ed25519-key={}", key(1).public().to_base64());
    let commits = |text: &str| sign_verify(text).commits(&none, refuse);

    assert!(!commits("").unwrap().is_required());
    assert!(
        !commits(&format!("sign-verify=false\n{inline}"))
            .unwrap()
            .is_required()
    );
    for value in ["true", "ed25519", "ed25519;spki;"] {
        let spki = base64(SpkiPublicKey::parse_pem(P256_PUBLIC).unwrap()[0].to_der());
        let text = format!("sign-verify={value}\n{inline}\nverification-spki-key={spki}");
        let Trust::Signed(verifier) = commits(&text).unwrap() else {
            panic!("{value}: nothing is required");
        };
        assert!(accepts(&*verifier, &[1]) && !accepts(&*verifier, &[2]));
        let summary = sign_verify(&text).summary(&none, refuse).unwrap();
        assert!(!summary.is_required());
    }
    // Without keys nothing is accepted.
    let error = commits("sign-verify=ed25519").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Untrusted);
    let Trust::Signed(verifier) = commits("sign-verify=true").unwrap() else {
        panic!("nothing is required");
    };
    assert!(!accepts(&*verifier, &[1]));
    // What anybody can sign does not count unless a test says so.
    let dummy = "sign-verify=dummy\nverification-dummy-key=x";
    assert!(commits(dummy).is_err());
    assert!(sign_verify(dummy).commits(&none, DummyKeys::Accept).is_ok());
    for unknown in [
        "sign-verify=nosuch",
        "sign-verify=ed25519;nosuch",
        "sign-verify=",
    ] {
        let error = commits(&format!("{unknown}\n{inline}")).unwrap_err();
        assert!(error.to_string().contains("not implemented"), "{error}");
    }
    let error =
        commits("sign-verify=ed25519\nverification-ed25519-file=/non/existing").unwrap_err();
    assert!(error.to_string().contains("/non/existing"), "{error}");
}

#[test]
fn keys_of_the_machine_count_where_a_remote_has_none_and_revoked_ones_never() {
    let place = tempfile::tempdir().unwrap();
    let write = |name: &str, number: u8| {
        let path = place.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("{}\n", key(number).public().to_base64())).unwrap();
    };
    write("trusted.ed25519", 1);
    write("trusted.ed25519.d/more", 2);
    write("trusted.ed25519.d/gone", 3);
    write("revoked.ed25519.d/gone", 3);
    let directories = KeyDirectories(vec![place.path().to_owned(), "/nowhere".into()]);
    let verifier = |text: &str| match sign_verify(text).commits(&directories, DummyKeys::Refuse) {
        Ok(Trust::Signed(verifier)) => verifier,
        other => panic!("{other:?}"),
    };
    let machine = verifier("sign-verify=ed25519");
    assert!(accepts(&*machine, &[1]) && accepts(&*machine, &[2]));
    assert!(!accepts(&*machine, &[3]));
    let public = key(4).public().to_base64();
    let own = verifier(&format!(
        "sign-verify=true\nverification-ed25519-key={public}"
    ));
    assert!(accepts(&*own, &[4]) && !accepts(&*own, &[1]));
    let public = key(3).public().to_base64();
    let text = format!("sign-verify=true\nverification-ed25519-key={public}");
    assert!(!accepts(&*verifier(&text), &[3]));
}

// Made by OpenSSL 3.0: `openssl genpkey`, and `openssl pkeyutl -sign -rawin` over "what is signed".
include!("vectors/spki.rs");

fn spki_signed(signature: &str) -> Dict {
    let mut dict = Dict::new();
    add_signature(&mut dict, Scheme::Spki, bytes(signature)).unwrap();
    dict
}

#[test]
fn what_openssl_signed_is_verified() {
    for (public, signature) in [
        (ED25519_PUBLIC, ED25519_SIGNATURE),
        (P256_PUBLIC, P256_SIGNATURE),
        (P384_PUBLIC, P384_SIGNATURE),
    ] {
        let keys = SpkiPublicKey::parse_pem(public).unwrap();
        let verifier = SpkiVerifier::new(keys.clone());
        let good = spki_signed(signature);
        let verdict = verify(&verifier, &good);
        assert!(verdict.is_accepted(), "{verdict}");
        let other = verifier.verify(&Signed {
            data: b"what is not"[..].into(),
            signatures: &good,
            now_secs: None,
        });
        assert!(!other.is_accepted());
        let revoked = verifier.revoking(keys);
        let verdict = verify(&revoked, &good);
        assert_eq!(verdict.checked[0].status, Status::KeyRevoked);
        // Under the key of another kind it is not looked for.
        let mut misplaced = Dict::new();
        add_signature(&mut misplaced, Scheme::Ed25519, bytes(signature)).unwrap();
        let keys = SpkiPublicKey::parse_pem(public).unwrap();
        assert!(!verify(&SpkiVerifier::new(keys), &misplaced).is_accepted());
    }
}

#[test]
fn keys_of_openssl_sign() {
    for (secret, public) in [
        (ED25519_SECRET, ED25519_PUBLIC),
        (P256_SECRET, P256_PUBLIC),
        (P384_SECRET, P384_PUBLIC),
    ] {
        let key = &SpkiSecretKey::parse_pem(secret).unwrap()[0];
        let public = &SpkiPublicKey::parse_pem(public).unwrap()[0];
        let signature = key.sign(DATA).unwrap();
        assert!(public.verifies(DATA, &signature));
        assert!(!public.verifies(b"other", &signature));
    }
    let error = SpkiPublicKey::parse_pem(RSA_PUBLIC).unwrap_err();
    assert!(error.to_string().contains("ECDSA P-256"), "{error}");
    assert!(SpkiPublicKey::parse_pem("-----BEGIN PUBLIC KEY-----\nAAAA\n").is_err());
}

#[tokio::test]
async fn a_signer_may_live_anywhere() {
    let signer: Arc<dyn Signer> = Arc::new(Ed25519Signer::new(key(5)));
    let signature = signer.sign(DATA).await.unwrap();
    let mut dict = Dict::new();
    add_signature(&mut dict, signer.scheme(), signature).unwrap();
    assert!(verify(&trusting(&[5]), &dict).is_accepted());
}
