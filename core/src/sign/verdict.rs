//! What became of the signatures over something.

use std::fmt;

use super::Scheme;
use crate::error::{Error, ErrorKind};

/// What came of looking at all signatures over something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it is trusted.
    pub outcome: Outcome,
    /// Each signature that was looked at.
    pub checked: Vec<Checked>,
}

/// Whether something is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is.
    Accepted,
    /// It is not.
    Refused(Refusal),
}

/// Why something is not trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no signature of this kind, which is required.
    Unsigned(Scheme),
    /// There are signatures, and none is a good one by a trusted key.
    NoGoodSignature,
    /// No key is trusted: nothing can be accepted.
    NoKeys(Scheme),
    /// Fewer agree than must.
    TooFew {
        /// How many must agree.
        needed: usize,
        /// How many do.
        found: usize,
    },
    /// It depends on the time, which is not known.
    TimeUnknown,
}

/// What became of one signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Its kind.
    pub scheme: Scheme,
    /// The key that made it, or the only one that could have; `None` when that cannot be told.
    pub key: Option<KeyId>,
    /// What became of it.
    pub status: Status,
    /// What else is known about it, where the kind says more.
    pub details: Option<Box<SignatureDetails>>,
}

/// What became of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// It is good, and by a trusted key.
    Good,
    /// It does not fit the bytes.
    Bad,
    /// No key that is trusted made it; it was tried with so many.
    UnknownKey {
        /// How many keys were tried; 0 when the signature names its key.
        tried: usize,
    },
    /// The key is on a list of revoked ones, or its owner revoked it.
    KeyRevoked,
    /// The key had expired.
    KeyExpired,
    /// The signature had expired.
    SignatureExpired,
    /// The signature is dated later than now, or earlier than its key.
    WrongTime,
    /// The key is not one that may sign: of another use, or not bound to its primary key.
    KeyUnfit,
    /// It relies on an algorithm that is broken.
    WeakAlgorithm,
    /// Its kind of key or algorithm is not known here.
    Unsupported,
    /// It is not a signature.
    Malformed,
}

/// A key by the name that its kind gives it: hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(String);

impl KeyId {
    /// Returns the name of a key that is known by these bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Returns the key that is called by these hexadecimal digits; `None` when they are none.
    pub fn of_digits(digits: &str) -> Option<Self> {
        let hex = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
        hex.then(|| Self(digits.to_ascii_lowercase()))
    }

    /// Returns the digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What OpenPGP says about a signature and its key. Times are seconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SignatureDetails {
    /// When it says it was made.
    pub made_secs: Option<u64>,
    /// When it expires.
    pub expires_secs: Option<u64>,
    /// The algorithm of the key, such as `RSA`.
    pub key_algorithm: String,
    /// The algorithm of the hash, such as `SHA512`.
    pub hash_algorithm: String,
    /// The fingerprint of the key that made it, or its key id where the key is not known: upper
    /// case digits.
    pub fingerprint: String,
    /// The fingerprint of the primary key, if the key is known.
    pub primary_fingerprint: Option<String>,
    /// Whom the key belongs to, as it says.
    pub user: Option<UserId>,
    /// When the key expires.
    pub key_expires_secs: Option<u64>,
    /// When the primary key expires.
    pub primary_expires_secs: Option<u64>,
}

/// A user id of OpenPGP, `NAME <EMAIL>`, taken apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserId {
    /// The name.
    pub name: String,
    /// The address of mail.
    pub email: String,
}

impl Verdict {
    /// Returns the verdict on signatures of one kind: any good one will do.
    pub fn any_good(scheme: Scheme, checked: Vec<Checked>) -> Self {
        let outcome = if checked.iter().any(Checked::is_good) {
            Outcome::Accepted
        } else if checked.is_empty() {
            Outcome::Refused(Refusal::Unsigned(scheme))
        } else {
            Outcome::Refused(Refusal::NoGoodSignature)
        };
        Self { outcome, checked }
    }

    /// Returns the verdict that nothing can be accepted.
    pub fn refused(refusal: Refusal) -> Self {
        Self {
            outcome: Outcome::Refused(refusal),
            checked: Vec::new(),
        }
    }

    /// Returns whether it is trusted.
    pub fn is_accepted(&self) -> bool {
        self.outcome == Outcome::Accepted
    }

    /// Returns an [`Untrusted`](ErrorKind::Untrusted) error that says why, unless it is accepted.
    ///
    /// # Errors
    ///
    /// When it is refused.
    pub fn into_result(self) -> Result<Self, Error> {
        match self.is_accepted() {
            true => Ok(self),
            false => Err(Error::new(ErrorKind::Untrusted, self.to_string())),
        }
    }
}

impl Checked {
    /// Returns whether the signature counts.
    pub fn is_good(&self) -> bool {
        self.status == Status::Good
    }
}

impl fmt::Display for Verdict {
    /// Says in one line whether it is trusted, and what became of each signature.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Outcome::Accepted => f.write_str("signed by a trusted key")?,
            Outcome::Refused(refusal) => refusal.fmt(f)?,
        }
        for (n, checked) in self.checked.iter().enumerate() {
            write!(f, "{}{checked}", if n == 0 { ": " } else { "; " })?;
        }
        Ok(())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned(Scheme::OpenPgp) => {
                f.write_str("no signatures found, and one of OpenPGP is required")
            }
            Self::Unsigned(scheme) => {
                let name = scheme.name();
                write!(f, "No signatures found, and one of type {name} is required")
            }
            Self::NoGoodSignature => f.write_str("No valid signatures found by a trusted key"),
            Self::NoKeys(scheme) => {
                let name = scheme.name();
                write!(f, "No keys found for required signapi type {name}")
            }
            Self::TooFew { needed, found } => {
                write!(f, "{found} of the {needed} signatures that are required")
            }
            Self::TimeUnknown => {
                f.write_str("keys may have expired, and the caller does not say what time it is")
            }
        }
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(details) = &self.details {
            let (algorithm, key) = (&details.key_algorithm, &details.fingerprint);
            return write!(f, "{algorithm} key {key}: {}", self.status);
        }
        let name = self.scheme.name();
        match (self.status, &self.key) {
            (Status::Good, Some(key)) => {
                write!(
                    f,
                    "{name}: Signature verified successfully with key '{key}'"
                )
            }
            (Status::UnknownKey { .. }, _) if self.scheme == Scheme::Dummy => {
                f.write_str("signature: dummy: incorrect signatures found: 1")
            }
            (Status::UnknownKey { tried: 1 }, Some(key)) => {
                write!(
                    f,
                    "{name}: Signature couldn't be verified with: key '{key}'"
                )
            }
            (Status::UnknownKey { tried }, _) if tried > 0 => {
                write!(
                    f,
                    "{name}: Signature couldn't be verified; tried {tried} keys"
                )
            }
            (status, Some(key)) => write!(f, "{name}: key '{key}': {status}"),
            (status, None) => write!(f, "{name}: {status}"),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Good => "Good signature",
            Self::Bad => "BAD signature",
            Self::UnknownKey { .. } => "Can't check signature: public key not found",
            Self::KeyRevoked => "Key revoked",
            Self::KeyExpired => "Key expired",
            Self::SignatureExpired => "Signature expired",
            Self::WrongTime => "Signature dated in the future, or before its key was made",
            Self::KeyUnfit => "The key is not one that may sign, or not bound to its primary key",
            Self::WeakAlgorithm => "Signature relies on a broken algorithm",
            Self::Unsupported => "Signature by an algorithm that is not known here",
            Self::Malformed => "not a signature",
        })
    }
}
