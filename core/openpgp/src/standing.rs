//! What a certificate is worth at a time, by its own signatures.
//!
//! As GnuPG reads them: of the self-signatures that verify the newest counts; a key revocation that
//! verifies counts for ever; what belongs to an expired or revoked key shares its fate.

use pgp::composed::{SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::crypto::public_key::PublicKeyAlgorithm;
use pgp::packet::{Signature, SignatureType, SubpacketData};
use pgp::types::{KeyDetails, SignedUser, Tag};

use crate::keyring::KeyState;

/// What a key is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Whether signatures say that it is what it claims to be.
    pub(crate) bound: bool,
    pub(crate) revoked: bool,
    pub(crate) expires_secs: Option<u64>,
    /// Whether it may sign data; of a subkey, with its own consent to be one.
    pub(crate) may_sign: bool,
}

impl Standing {
    /// Returns what the primary key of `cert` is worth.
    pub(crate) fn of(cert: &SignedPublicKey, now_secs: u64) -> Self {
        let key = &cert.primary_key;
        let details = &cert.details;
        let revoked = details.revocation_signatures.iter().any(|signature| {
            // A revocation in a broken hash is still one: nobody is harmed by believing it.
            signature.typ() == Some(SignatureType::KeyRevocation)
                && signature.verify_key(key).is_ok()
        });
        let direct = details.direct_signatures.iter().filter(|signature| {
            signature.typ() == Some(SignatureType::Key)
                && counts(signature, now_secs)
                && signature.verify_key(key).is_ok()
        });
        let direct = direct.max_by_key(|signature| made_secs(signature));
        let users = details.users.iter().flat_map(|user| {
            let own = user.signatures.iter().filter(|signature| {
                signature.is_certification()
                    && signature.typ() != Some(SignatureType::CertRevocation)
                    && counts(signature, now_secs)
                    && signature
                        .verify_certification(key, Tag::UserId, &user.id)
                        .is_ok()
            });
            own.max_by_key(|signature| made_secs(signature))
        });
        let by_user = users.max_by_key(|signature| made_secs(signature));
        let says = |what: fn(&Signature) -> bool| {
            let direct = direct.filter(|signature| what(signature));
            direct.or_else(|| by_user.filter(|signature| what(signature)))
        };
        let created = u64::from(key.created_at().as_secs());
        let expires = says(|signature| signature.key_expiration_time().is_some());
        Self {
            bound: direct.is_some() || by_user.is_some(),
            revoked,
            expires_secs: expires.and_then(|signature| expiry_of_key(signature, created)),
            may_sign: match says(has_flags) {
                Some(signature) => signature.key_flags().sign(),
                None => can_sign(key.algorithm()),
            },
        }
    }

    /// Returns that in one word.
    pub(crate) fn state(&self, now_secs: u64) -> KeyState {
        match self {
            Self { revoked: true, .. } => KeyState::Revoked,
            Self { bound: false, .. } => KeyState::Invalid,
            _ if self.is_expired(now_secs) => KeyState::Expired,
            _ => KeyState::Usable,
        }
    }

    pub(crate) fn is_expired(&self, now_secs: u64) -> bool {
        self.expires_secs.is_some_and(|expires| expires <= now_secs)
    }
}

/// Returns what a subkey of `cert` is worth, apart from what its primary key is.
pub(crate) fn subkey_standing(
    cert: &SignedPublicKey,
    subkey: &SignedPublicSubKey,
    now_secs: u64,
) -> Standing {
    let (primary, key) = (&cert.primary_key, &subkey.key);
    let verifies = |signature: &&Signature| signature.verify_subkey_binding(primary, key).is_ok();
    let of = |wanted: SignatureType| {
        let all = subkey.signatures.iter();
        all.filter(move |signature| signature.typ() == Some(wanted))
    };
    let revoked = of(SignatureType::SubkeyRevocation).any(|signature| verifies(&signature));
    let binding = of(SignatureType::SubkeyBinding)
        .filter(|signature| counts(signature, now_secs))
        .filter(verifies)
        .max_by_key(|signature| made_secs(signature));
    let created = u64::from(key.created_at().as_secs());
    Standing {
        bound: binding.is_some(),
        revoked,
        expires_secs: binding.and_then(|signature| expiry_of_key(signature, created)),
        may_sign: binding.is_some_and(|binding| {
            let flagged = match has_flags(binding) {
                true => binding.key_flags().sign(),
                false => can_sign(key.algorithm()),
            };
            // Else anybody could put somebody's signing key under their own name.
            let consents = binding.embedded_signature().is_some_and(|back| {
                counts(back, now_secs) && back.verify_primary_key_binding(key, primary).is_ok()
            });
            flagged && consents
        }),
    }
}

/// Returns whether the owner of a certificate took a user id back.
pub(crate) fn user_is_revoked(cert: &SignedPublicKey, user: &SignedUser) -> bool {
    user.signatures.iter().any(|signature| {
        signature.typ() == Some(SignatureType::CertRevocation)
            && signature
                .verify_certification(&cert.primary_key, Tag::UserId, &user.id)
                .is_ok()
    })
}

/// Returns whether a self-signature can be taken at all: not expired, nothing critical in it that
/// is not understood, no hash with which it could have been made for something else.
///
/// SHA-1 is taken here, though not over data: what a key says about itself is its own work, and the
/// keys of ten years ago say it so.
fn counts(signature: &Signature, now_secs: u64) -> bool {
    let weak = matches!(
        signature.hash_alg(),
        None | Some(HashAlgorithm::Md5 | HashAlgorithm::Ripemd160)
    );
    !weak && understood(signature) && !is_expired(signature, now_secs)
}

/// Returns whether nothing in a signature is marked critical that is not understood.
pub(crate) fn understood(signature: &Signature) -> bool {
    let Some(config) = signature.config() else {
        return false;
    };
    let unknown = |data: &SubpacketData| {
        matches!(
            data,
            SubpacketData::Other(..)
                | SubpacketData::Experimental(..)
                | SubpacketData::Notation(_)
                | SubpacketData::RegularExpression(_)
        )
    };
    !config
        .hashed_subpackets()
        .any(|subpacket| subpacket.is_critical && unknown(&subpacket.data))
}

/// Returns when a signature was made; it always says so in what it covers, or counts as made never.
pub(crate) fn made_secs(signature: &Signature) -> u64 {
    signature
        .created()
        .map_or(0, |created| u64::from(created.as_secs()))
}

/// Returns when a signature expires.
pub(crate) fn expiry(signature: &Signature) -> Option<u64> {
    let after = u64::from(signature.signature_expiration_time()?.as_secs());
    (after != 0).then(|| made_secs(signature) + after)
}

pub(crate) fn is_expired(signature: &Signature, now_secs: u64) -> bool {
    expiry(signature).is_some_and(|expires| expires <= now_secs)
}

fn expiry_of_key(signature: &Signature, created_secs: u64) -> Option<u64> {
    let after = u64::from(signature.key_expiration_time()?.as_secs());
    (after != 0).then_some(created_secs + after)
}

fn has_flags(signature: &Signature) -> bool {
    let has = |config: &pgp::packet::SignatureConfig| {
        config
            .hashed_subpackets()
            .any(|subpacket| matches!(subpacket.data, SubpacketData::KeyFlags(_)))
    };
    signature.config().is_some_and(has)
}

fn can_sign(algorithm: PublicKeyAlgorithm) -> bool {
    matches!(
        algorithm,
        PublicKeyAlgorithm::RSA
            | PublicKeyAlgorithm::RSASign
            | PublicKeyAlgorithm::DSA
            | PublicKeyAlgorithm::ECDSA
            | PublicKeyAlgorithm::EdDSALegacy
            | PublicKeyAlgorithm::Ed25519
            | PublicKeyAlgorithm::Ed448
    )
}
