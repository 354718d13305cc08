//! Keyrings: certificates by their fingerprints.

use pgp::armor::Dearmor;
use pgp::composed::{SignedPublicKey, SignedPublicKeyParser, SignedSecretKeyParser};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Packet, PacketParser, PacketTrait, Signature};
use pgp::ser::Serialize;
use pgp::types::{KeyDetails, Tag};
use treeferry_core::format::FormatError;

use crate::standing::{Standing, subkey_standing, user_is_revoked};
use crate::{format_error, upper_hex};

const WHAT: &str = "OpenPGP keyring";

/// The longest keyring that is read, bytes.
const KEYRING_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The most certificates in one.
const CERTS_MAX: usize = 20_000;

/// A set of certificates. What is added twice is merged: a revocation in either counts.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    certs: Vec<SignedPublicKey>,
}

/// How many certificates were imported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Imported {
    /// Those that were not there before.
    pub new: usize,
    /// Those that were, and now say more.
    pub changed: usize,
}

/// What a key is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// It can be used.
    Usable,
    /// It has expired.
    Expired,
    /// Its owner revoked it.
    Revoked,
    /// No signature says that it is what it claims to be.
    Invalid,
}

/// A certificate, for people. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertInfo {
    /// The fingerprint of the primary key, upper case digits.
    pub fingerprint: String,
    /// When it was made.
    pub created_secs: u64,
    /// When it expires.
    pub expires_secs: Option<u64>,
    /// What it is worth.
    pub state: KeyState,
    /// Whom it belongs to.
    pub users: Vec<UserInfo>,
    /// The keys that belong to it.
    pub subkeys: Vec<SubkeyInfo>,
}

/// A user id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserInfo {
    /// What it says, usually `NAME <EMAIL>`.
    pub id: String,
    /// What it is worth.
    pub state: KeyState,
    /// Where the key can be had anew by Web Key Directory: the advanced address, then the direct one.
    pub update_urls: Option<[String; 2]>,
}

/// A subkey.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubkeyInfo {
    /// Its fingerprint, upper case digits.
    pub fingerprint: String,
    /// When it was made.
    pub created_secs: u64,
    /// When it expires.
    pub expires_secs: Option<u64>,
    /// What it is worth.
    pub state: KeyState,
}

impl Keyring {
    /// Reads a keyring, binary or ASCII-armoured, one block or several. Secret keys are read for
    /// their public halves.
    ///
    /// # Errors
    ///
    /// When it is no keyring, or damaged: what is left of a damaged one is not believed.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        if bytes.len() > KEYRING_BYTES_MAX {
            let problem = format!("longer than {KEYRING_BYTES_MAX} bytes");
            return Err(FormatError::new(WHAT, problem));
        }
        if bytes.get(8..12) == Some(b"KBXf") {
            let problem = "a keybox of GnuPG: export the keys in it with 'gpg --export'";
            return Err(FormatError::new(WHAT, problem));
        }
        let mut keyring = Self::default();
        match armoured_blocks(bytes) {
            Some(blocks) => {
                for block in blocks? {
                    keyring.add_packets(&block)?;
                }
            }
            None => keyring.add_packets(bytes)?,
        }
        Ok(keyring)
    }

    fn add_packets(&mut self, bytes: &[u8]) -> Result<(), FormatError> {
        for group in grouped(bytes)? {
            if let Some(cert) = parse_cert(group)? {
                self.merge(cert);
            }
            if self.certs.len() > CERTS_MAX {
                return Err(FormatError::new(
                    WHAT,
                    format!("more than {CERTS_MAX} keys"),
                ));
            }
        }
        Ok(())
    }

    /// Adds what another keyring holds.
    pub fn add(&mut self, other: Self) -> Imported {
        let mut imported = Imported::default();
        for cert in other.certs {
            match self.merge(cert) {
                Merged::New => imported.new += 1,
                Merged::Changed => imported.changed += 1,
                Merged::Known => {}
            }
        }
        imported
    }

    fn merge(&mut self, cert: SignedPublicKey) -> Merged {
        let fingerprint = cert.primary_key.fingerprint();
        let same = |held: &&mut SignedPublicKey| held.primary_key.fingerprint() == fingerprint;
        let Some(held) = self.certs.iter_mut().find(same) else {
            self.certs.push(cert);
            return Merged::New;
        };
        match merge_into(held, cert) {
            true => Merged::Changed,
            false => Merged::Known,
        }
    }

    /// Returns only the certificates of which a key is called `id`: a fingerprint, or its last 8 or
    /// 16 digits. `None` when there is none.
    pub fn select(&self, id: &str) -> Option<Self> {
        let wanted = id.trim_start_matches("0x").to_ascii_uppercase();
        let hex = wanted.len() >= 8 && wanted.bytes().all(|b| b.is_ascii_hexdigit());
        let fits = |cert: &&SignedPublicKey| match hex {
            true => fingerprints(cert).any(|found| found.ends_with(&wanted)),
            false => users(cert).any(|user| user.contains(id)),
        };
        let certs: Vec<_> = self.certs.iter().filter(fits).cloned().collect();
        (!certs.is_empty()).then_some(Self { certs })
    }

    /// Returns the fingerprints of all keys and subkeys, upper case digits.
    pub fn fingerprints(&self) -> Vec<String> {
        self.certs.iter().flat_map(fingerprints).collect()
    }

    /// Returns how many certificates there are.
    pub fn len(&self) -> usize {
        self.certs.len()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.certs.is_empty()
    }

    /// Returns the keyring as it is stored: binary, one certificate after another.
    pub fn to_bytes(&self) -> Result<Vec<u8>, FormatError> {
        let mut bytes = Vec::new();
        for cert in &self.certs {
            cert.to_writer(&mut bytes)
                .map_err(|e| format_error(WHAT, &e))?;
        }
        Ok(bytes)
    }

    /// Describes the certificates, as they are at `now_secs` since 1970.
    pub fn describe(&self, now_secs: u64) -> Vec<CertInfo> {
        let describe = |cert| describe(cert, now_secs);
        self.certs.iter().map(describe).collect()
    }

    pub(crate) fn certs(&self) -> &[SignedPublicKey] {
        &self.certs
    }
}

enum Merged {
    New,
    Changed,
    Known,
}

/// Returns the content of the armoured blocks of a text; `None` when it is not one.
fn armoured_blocks(bytes: &[u8]) -> Option<Result<Vec<Vec<u8>>, FormatError>> {
    const BEGIN: &str = "-----BEGIN PGP ";
    let text = std::str::from_utf8(bytes).ok()?;
    let first = text.find(BEGIN)?;
    let mut rest = &text[first..];
    let mut blocks = Vec::new();
    loop {
        let next = rest[BEGIN.len()..].find(BEGIN);
        let (block, after) = match next {
            Some(at) => rest.split_at(at + BEGIN.len()),
            None => (rest, ""),
        };
        match dearmour(block) {
            Ok(bytes) => blocks.push(bytes),
            Err(error) => return Some(Err(error)),
        }
        if after.is_empty() {
            return Some(Ok(blocks));
        }
        rest = after;
    }
}

/// Takes the armour off one block.
pub(crate) fn dearmour(block: &str) -> Result<Vec<u8>, FormatError> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let limit = KEYRING_BYTES_MAX as u64;
    let dearmour = Dearmor::new(block.as_bytes());
    let read = dearmour.take(limit).read_to_end(&mut bytes);
    read.map_err(|e| FormatError::new(WHAT, format!("its armour is damaged: {e}")))?;
    Ok(bytes)
}

/// Splits packets into those of one certificate each. GnuPG's notes about trust are left out.
fn grouped(bytes: &[u8]) -> Result<Vec<Vec<Packet>>, FormatError> {
    let mut groups: Vec<Vec<Packet>> = Vec::new();
    for packet in PacketParser::new(bytes) {
        let packet = match packet {
            Ok(packet) => packet,
            // Keys of kinds that are not known: nothing can be verified by them.
            Err(pgp::errors::Error::Unsupported { .. }) => continue,
            Err(pgp::errors::Error::InvalidPacketContent { .. }) => continue,
            Err(error) => return Err(format_error(WHAT, &error)),
        };
        match packet.tag() {
            Tag::PublicKey | Tag::SecretKey => groups.push(vec![packet]),
            Tag::PublicSubkey
            | Tag::SecretSubkey
            | Tag::UserId
            | Tag::UserAttribute
            | Tag::Signature => match groups.last_mut() {
                Some(group) => group.push(packet),
                // What follows a key that was skipped belongs to it.
                None => continue,
            },
            Tag::Trust | Tag::Marker | Tag::Padding => {}
            other => {
                let problem = format!("a packet that is no part of a key: {other:?}");
                return Err(FormatError::new(WHAT, problem));
            }
        }
    }
    Ok(groups)
}

fn parse_cert(group: Vec<Packet>) -> Result<Option<SignedPublicKey>, FormatError> {
    let is_secret = group.first().is_some_and(|p| p.tag() == Tag::SecretKey);
    let packets = group.into_iter().map(Ok).peekable();
    let parsed = match is_secret {
        true => SignedSecretKeyParser::from_packets(packets)
            .next()
            .map(|key| key.map(|key| key.to_public_key())),
        false => SignedPublicKeyParser::from_packets(packets).next(),
    };
    parsed.transpose().map_err(|e| format_error(WHAT, &e))
}

fn add_new(held: &mut Vec<Signature>, more: Vec<Signature>) -> bool {
    let before = held.len();
    for signature in more {
        if !held.contains(&signature) {
            held.push(signature);
        }
    }
    held.len() > before
}

/// Adds to a certificate what another copy of it says; returns whether that was anything new.
fn merge_into(held: &mut SignedPublicKey, more: SignedPublicKey) -> bool {
    let (details, others) = (&mut held.details, more.details);
    let mut changed = add_new(
        &mut details.revocation_signatures,
        others.revocation_signatures,
    );
    changed |= add_new(&mut details.direct_signatures, others.direct_signatures);
    for user in others.users {
        match details.users.iter_mut().find(|held| held.id == user.id) {
            Some(held) => changed |= add_new(&mut held.signatures, user.signatures),
            None => {
                details.users.push(user);
                changed = true;
            }
        }
    }
    for subkey in more.public_subkeys {
        let fingerprint = subkey.key.fingerprint();
        let same =
            |held: &&mut pgp::composed::SignedPublicSubKey| held.key.fingerprint() == fingerprint;
        match held.public_subkeys.iter_mut().find(same) {
            Some(held) => changed |= add_new(&mut held.signatures, subkey.signatures),
            None => {
                held.public_subkeys.push(subkey);
                changed = true;
            }
        }
    }
    changed
}

fn fingerprints(cert: &SignedPublicKey) -> impl Iterator<Item = String> {
    let subkeys = cert.public_subkeys.iter();
    let subkeys = subkeys.map(|subkey| upper_hex(subkey.key.fingerprint().as_bytes()));
    let primary = upper_hex(cert.primary_key.fingerprint().as_bytes());
    std::iter::once(primary).chain(subkeys)
}

fn users(cert: &SignedPublicKey) -> impl Iterator<Item = String> {
    let users = cert.details.users.iter();
    users.map(|user| String::from_utf8_lossy(user.id.id()).into_owned())
}

fn describe(cert: &SignedPublicKey, now_secs: u64) -> CertInfo {
    let standing = Standing::of(cert, now_secs);
    let state = standing.state(now_secs);
    let subkeys = cert.public_subkeys.iter().map(|subkey| {
        let own = subkey_standing(cert, subkey, now_secs);
        SubkeyInfo {
            fingerprint: upper_hex(subkey.key.fingerprint().as_bytes()),
            created_secs: u64::from(subkey.key.created_at().as_secs()),
            expires_secs: own.expires_secs,
            state: match state {
                KeyState::Revoked => KeyState::Revoked,
                _ => own.state(now_secs),
            },
        }
    });
    let users = cert.details.users.iter().map(|user| {
        let id = String::from_utf8_lossy(user.id.id()).into_owned();
        UserInfo {
            state: match (state, user_is_revoked(cert, user)) {
                (KeyState::Revoked, _) | (_, true) => KeyState::Revoked,
                _ => KeyState::Usable,
            },
            update_urls: update_urls(&id),
            id,
        }
    });
    CertInfo {
        fingerprint: upper_hex(cert.primary_key.fingerprint().as_bytes()),
        created_secs: u64::from(cert.primary_key.created_at().as_secs()),
        expires_secs: standing.expires_secs,
        state,
        users: users.collect(),
        subkeys: subkeys.collect(),
    }
}

/// Returns where a Web Key Directory has the keys of the address of mail in a user id.
fn update_urls(user: &str) -> Option<[String; 2]> {
    let address = match user.rsplit_once('<') {
        Some((_, rest)) => rest.strip_suffix('>')?,
        None => user,
    };
    let (local, domain) = address.rsplit_once('@')?;
    if local.is_empty() || domain.is_empty() || address.contains(char::is_whitespace) {
        return None;
    }
    let domain = domain.to_ascii_lowercase();
    let hash = HashAlgorithm::Sha1.digest(local.to_ascii_lowercase().as_bytes());
    let hash = z_base_32(&hash.ok()?);
    let escaped: String = local.bytes().map(escape).collect();
    Some([
        format!(
            "https://openpgpkey.{domain}/.well-known/openpgpkey/{domain}/hu/{hash}?l={escaped}"
        ),
        format!("https://{domain}/.well-known/openpgpkey/hu/{hash}?l={escaped}"),
    ])
}

fn escape(byte: u8) -> String {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    }
}

/// Five bits to a character, of an alphabet made to be read aloud.
fn z_base_32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ybndrfg8ejkmcpqxot1uwisza345h769";
    let bit = |n: usize| bytes.get(n / 8).map_or(0, |byte| (byte >> (7 - n % 8)) & 1);
    let digits = (bytes.len() * 8).div_ceil(5);
    let digit = |at: usize| {
        let value = (0..5).fold(0, |value, n| value << 1 | bit(at * 5 + n));
        char::from(ALPHABET[usize::from(value)])
    };
    (0..digits).map(digit).collect()
}
