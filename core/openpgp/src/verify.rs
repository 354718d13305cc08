//! Detached signatures against a keyring.

use pgp::composed::SignedPublicKey;
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::public_key::PublicKeyAlgorithm;
use pgp::packet::{Packet, PacketParser, Signature, SignatureType};
use pgp::types::{Fingerprint, KeyDetails, VerifyingKey};
use treeferry_core::sign::{
    Checked, KeyId, Refusal, Scheme, SignatureDetails, Signatures, Signed, SignedData, Status,
    UserId, Verdict, Verifier, signatures_in,
};

use crate::keyring::{Keyring, dearmour};
use crate::standing::{Standing, expiry, is_expired, made_secs, subkey_standing, understood};
use crate::upper_hex;

/// The longest blob of signatures that is read, bytes.
const SIGNATURE_BYTES_MAX: usize = 256 * 1024;

/// The most signatures in one blob.
const SIGNATURES_MAX: usize = 64;

/// Accepts what a key of its keyring signed that is valid, not expired and not revoked.
#[derive(Debug, Clone)]
pub struct OpenPgpVerifier {
    keyring: Keyring,
}

/// Which key a signature says it was made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerKey(String);

impl IssuerKey {
    /// Returns the fingerprint, or where the signature says no more the key id: upper case digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether that is the key with this fingerprint.
    pub fn is(&self, fingerprint: &str) -> bool {
        fingerprint.ends_with(&self.0)
    }
}

/// Returns which keys the signatures of a blob say they were made with; none of a malformed blob.
pub fn issuers_of(blob: &[u8]) -> Vec<IssuerKey> {
    let signatures = parse(blob).unwrap_or_default();
    let issuer = |signature: &Signature| Some(IssuerKey(issuer(signature)?));
    signatures.iter().filter_map(issuer).collect()
}

impl OpenPgpVerifier {
    /// Trusts the keys of a keyring.
    pub fn new(keyring: Keyring) -> Self {
        Self { keyring }
    }

    /// Returns the keyring.
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// Returns what becomes of each signature over `data` in a blob, at `now_secs` since 1970.
    pub fn check(&self, data: SignedData<'_>, blob: &[u8], now_secs: u64) -> Vec<Checked> {
        match parse(blob) {
            Some(signatures) if !signatures.is_empty() => signatures
                .iter()
                .map(|signature| self.check_one(data, signature, now_secs))
                .collect(),
            _ => vec![malformed()],
        }
    }

    fn check_one(&self, data: SignedData<'_>, signature: &Signature, now_secs: u64) -> Checked {
        let mut details = SignatureDetails::default();
        details.made_secs = signature.created().map(|_| made_secs(signature));
        details.expires_secs = expiry(signature);
        let config = signature.config();
        details.key_algorithm = config.map_or_else(String::new, |c| algorithm_name(c.pub_alg));
        details.hash_algorithm = config.map_or_else(String::new, |c| c.hash_alg.to_string());
        details.fingerprint = issuer(signature).unwrap_or_default();
        let status = match unusable(signature) {
            Some(status) => status,
            None => self.status(data, signature, now_secs, &mut details),
        };
        let key = details.fingerprint.to_ascii_lowercase();
        Checked {
            scheme: Scheme::OpenPgp,
            key: KeyId::of_digits(&key),
            status,
            details: Some(Box::new(details)),
        }
    }

    fn status(
        &self,
        data: SignedData<'_>,
        signature: &Signature,
        now_secs: u64,
        details: &mut SignatureDetails,
    ) -> Status {
        let mut found = Status::UnknownKey { tried: 0 };
        for cert in self.keyring.certs() {
            for key in keys_named(cert, signature) {
                let made_it = match key {
                    KeyOf::Primary => verifies(signature, &cert.primary_key, data),
                    KeyOf::Subkey(at) => verifies(signature, &cert.public_subkeys[at].key, data),
                };
                if found != Status::Bad || made_it {
                    describe(cert, key, now_secs, details);
                }
                if made_it {
                    return standing_status(cert, key, signature, now_secs);
                }
                found = Status::Bad;
            }
        }
        found
    }
}

impl Verifier for OpenPgpVerifier {
    fn verify(&self, signed: &Signed<'_>) -> Verdict {
        let Some(now_secs) = signed.now_secs else {
            return Verdict::refused(Refusal::TimeUnknown);
        };
        let checked = match signatures_in(signed.signatures, Scheme::OpenPgp) {
            Signatures::None => Vec::new(),
            Signatures::Malformed => vec![malformed()],
            Signatures::Some(blobs) => {
                let check = |blob| self.check(signed.data, blob, now_secs);
                blobs.into_iter().flat_map(check).collect()
            }
        };
        Verdict::any_good(Scheme::OpenPgp, checked)
    }
}

fn malformed() -> Checked {
    Checked {
        scheme: Scheme::OpenPgp,
        key: None,
        status: Status::Malformed,
        details: None,
    }
}

/// Reads the signatures of a blob, binary or armoured; `None` when it is something else.
fn parse(blob: &[u8]) -> Option<Vec<Signature>> {
    if blob.len() > SIGNATURE_BYTES_MAX {
        return None;
    }
    let armoured = std::str::from_utf8(blob)
        .ok()
        .filter(|text| text.trim_start().starts_with("-----BEGIN PGP SIGNATURE"));
    let bytes = match armoured {
        Some(text) => dearmour(text.trim_start()).ok()?,
        None => blob.to_vec(),
    };
    let mut signatures = Vec::new();
    for packet in PacketParser::new(&*bytes) {
        match packet {
            Ok(Packet::Signature(signature)) if signatures.len() < SIGNATURES_MAX => {
                signatures.push(signature);
            }
            Ok(Packet::Marker(_) | Packet::Padding(_)) => {}
            _ => return None,
        }
    }
    Some(signatures)
}

/// Returns why a signature counts for nothing, whoever made it.
fn unusable(signature: &Signature) -> Option<Status> {
    let (Some(typ), Some(hash)) = (signature.typ(), signature.hash_alg()) else {
        return Some(Status::Unsupported);
    };
    match (typ, hash) {
        // Those over text ignore how lines end: another commit could have the same.
        (typ, _) if typ != SignatureType::Binary => Some(Status::Unsupported),
        (_, HashAlgorithm::Md5 | HashAlgorithm::Sha1 | HashAlgorithm::Ripemd160) => {
            Some(Status::WeakAlgorithm)
        }
        _ if signature.created().is_none() || !understood(signature) => Some(Status::Unsupported),
        _ => None,
    }
}

#[derive(Debug, Clone, Copy)]
enum KeyOf {
    Primary,
    Subkey(usize),
}

/// Returns the keys of a certificate that a signature says it was made with.
fn keys_named(cert: &SignedPublicKey, signature: &Signature) -> Vec<KeyOf> {
    let mut found = Vec::new();
    if is_named(signature, &cert.primary_key) {
        found.push(KeyOf::Primary);
    }
    for (at, subkey) in cert.public_subkeys.iter().enumerate() {
        if is_named(signature, &subkey.key) {
            found.push(KeyOf::Subkey(at));
        }
    }
    found
}

fn is_named(signature: &Signature, key: &impl KeyDetails) -> bool {
    let fingerprints = signature.issuer_fingerprint();
    if !fingerprints.is_empty() {
        let own = key.fingerprint();
        return fingerprints.contains(&&own);
    }
    let id = key.legacy_key_id();
    signature.issuer_key_id().contains(&&id)
}

fn verifies(signature: &Signature, key: &impl VerifyingKey, data: SignedData<'_>) -> bool {
    signature.verify(key, data.reader()).is_ok()
}

/// Returns what a signature is worth that a key did make, in the order in which GnuPG asks.
fn standing_status(
    cert: &SignedPublicKey,
    key: KeyOf,
    signature: &Signature,
    now_secs: u64,
) -> Status {
    let primary = Standing::of(cert, now_secs);
    let primary_created = u64::from(cert.primary_key.created_at().as_secs());
    let (own, created) = match key {
        KeyOf::Primary => (primary, primary_created),
        KeyOf::Subkey(at) => {
            let subkey = &cert.public_subkeys[at];
            let created = u64::from(subkey.key.created_at().as_secs());
            (subkey_standing(cert, subkey, now_secs), created)
        }
    };
    if created > made_secs(signature) || created > now_secs {
        return Status::WrongTime;
    }
    // Who takes a key back, or lets it expire, need not have vouched for it in other ways.
    if own.revoked && !own.bound || primary.revoked && !primary.bound {
        return Status::KeyRevoked;
    }
    if !primary.bound || !own.bound || !own.may_sign {
        return Status::KeyUnfit;
    }
    if is_expired(signature, now_secs) {
        return Status::SignatureExpired;
    }
    if own.is_expired(now_secs) || primary.is_expired(now_secs) {
        return Status::KeyExpired;
    }
    if own.revoked || primary.revoked {
        return Status::KeyRevoked;
    }
    Status::Good
}

fn describe(cert: &SignedPublicKey, key: KeyOf, now_secs: u64, details: &mut SignatureDetails) {
    let primary = Standing::of(cert, now_secs);
    let fingerprint = upper_hex(cert.primary_key.fingerprint().as_bytes());
    let (own, own_fingerprint) = match key {
        KeyOf::Primary => (primary, fingerprint.clone()),
        KeyOf::Subkey(at) => {
            let subkey = &cert.public_subkeys[at];
            let fingerprint = upper_hex(subkey.key.fingerprint().as_bytes());
            (subkey_standing(cert, subkey, now_secs), fingerprint)
        }
    };
    details.fingerprint = own_fingerprint;
    details.primary_fingerprint = Some(fingerprint);
    details.key_expires_secs = own.expires_secs;
    details.primary_expires_secs = primary.expires_secs;
    let users = &cert.details.users;
    let primary_user = users.iter().find(|user| user.is_primary());
    details.user = primary_user.or(users.first()).map(|user| {
        let text = String::from_utf8_lossy(user.id.id());
        match text.rsplit_once('<') {
            Some((name, email)) => UserId {
                name: name.trim().to_owned(),
                email: email.trim_end_matches('>').to_owned(),
            },
            None => UserId {
                name: text.trim().to_owned(),
                email: String::new(),
            },
        }
    });
}

fn issuer(signature: &Signature) -> Option<String> {
    let fingerprint = signature.issuer_fingerprint();
    if let Some(fingerprint) = fingerprint.first() {
        let bytes: &Fingerprint = fingerprint;
        return Some(upper_hex(bytes.as_bytes()));
    }
    let ids = signature.issuer_key_id();
    ids.first().map(|id| upper_hex(id.as_ref()))
}

/// Returns what GnuPG calls an algorithm.
fn algorithm_name(algorithm: PublicKeyAlgorithm) -> String {
    match algorithm {
        PublicKeyAlgorithm::RSA | PublicKeyAlgorithm::RSASign => "RSA".to_owned(),
        PublicKeyAlgorithm::DSA => "DSA".to_owned(),
        PublicKeyAlgorithm::ECDSA => "ECDSA".to_owned(),
        PublicKeyAlgorithm::EdDSALegacy
        | PublicKeyAlgorithm::Ed25519
        | PublicKeyAlgorithm::Ed448 => "EdDSA".to_owned(),
        other => format!("{other:?}"),
    }
}
