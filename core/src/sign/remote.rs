//! Which signatures of `ostree sign` a remote must carry, by its configuration.
//!
//! `sign-verify`, `sign-verify-summary` and `sign-verify-deltas` are a boolean, or a list of types of which any will do.
//! For each type `verification-TYPE-key` holds keys and `verification-TYPE-file` paths of files of
//! keys; where neither is set the machine's directories count. Keys that those list as revoked never
//! count.

use std::path::PathBuf;
use std::sync::Arc;

use super::{
    AnyOf, DummyKey, DummyVerifier, Ed25519PublicKey, Ed25519Verifier, KeyDirectories, KeyFileText,
    Refusal, Scheme, Signed, SpkiPublicKey, SpkiVerifier, Trust, Verdict, Verifier,
    parse_base64_lines,
};
use crate::error::{Error, Result, Subject};
use crate::format::RemoteName;
use crate::format::keyfile::KeyFile;
use crate::repo::bad;

/// The types that `true` stands for.
const TYPES: [Scheme; 3] = [Scheme::Ed25519, Scheme::Spki, Scheme::Dummy];

/// Whether signatures that anybody can make count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DummyKeys {
    /// They do not.
    #[default]
    Refuse,
    /// They do: in tests.
    Accept,
}

/// Which signatures of `ostree sign` a remote must carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignVerify {
    commits: Types,
    summary: Types,
    deltas: Types,
    keys: Vec<SignVerifyKeys>,
}

/// The keys of one type that a configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignVerifyKeys {
    /// The type.
    pub scheme: Scheme,
    /// Keys in the configuration itself.
    pub inline: Vec<String>,
    /// Files of keys.
    pub files: Vec<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Types {
    None,
    Any,
    These(Vec<Scheme>),
    /// Something that is not known here: what must be verified, and cannot, must not be pulled.
    Unknown {
        key: String,
        value: String,
    },
}

impl SignVerify {
    /// Reads what the configuration says about a remote. What it says of types that are not known
    /// is an error when it is used, so that such remotes can be listed and mended.
    pub fn read(config: &KeyFile, remote: &RemoteName) -> Result<Self> {
        let group = format!("remote \"{remote}\"");
        let list = |key: &str| {
            let list = config.string_list(&group, key);
            let list = list.map_err(|e| bad(&format!("{group}.{key}"), e))?;
            Ok::<_, Error>(list.unwrap_or_default())
        };
        let mut keys = Vec::new();
        for scheme in TYPES {
            let name = scheme.name();
            keys.push(SignVerifyKeys {
                scheme,
                inline: list(&format!("verification-{name}-key"))?,
                files: list(&format!("verification-{name}-file"))?
                    .into_iter()
                    .map(PathBuf::from)
                    .collect(),
            });
        }
        Ok(Self {
            commits: types(config, &group, "sign-verify")?,
            summary: types(config, &group, "sign-verify-summary")?,
            deltas: types(config, &group, "sign-verify-deltas")?,
            keys,
        })
    }

    /// Returns who must have signed the remote's commits. **Blocking:** reads files.
    pub fn commits(&self, directories: &KeyDirectories, dummy: DummyKeys) -> Result<Trust> {
        self.trust(&self.commits, directories, dummy)
    }

    /// Returns who must have signed the remote's summary. **Blocking:** reads files.
    pub fn summary(&self, directories: &KeyDirectories, dummy: DummyKeys) -> Result<Trust> {
        self.trust(&self.summary, directories, dummy)
    }

    /// Returns who must have signed the static deltas that are used. **Blocking:** reads files.
    pub fn deltas(&self, directories: &KeyDirectories, dummy: DummyKeys) -> Result<Trust> {
        self.trust(&self.deltas, directories, dummy)
    }

    fn trust(
        &self,
        types: &Types,
        directories: &KeyDirectories,
        dummy: DummyKeys,
    ) -> Result<Trust> {
        let mut any: Vec<Arc<dyn Verifier>> = Vec::new();
        if let Types::Unknown { key, value } = types {
            let problem = format!("Requested signature type is not implemented: '{value}'");
            return Err(Error::unsupported(problem).about(Subject::ConfigKey(key.clone())));
        }
        for keys in &self.keys {
            let required = match types {
                Types::None | Types::Unknown { .. } => return Ok(Trust::Anyone),
                Types::Any => false,
                Types::These(schemes) if !schemes.contains(&keys.scheme) => continue,
                Types::These(_) => true,
            };
            if let Some(verifier) = keys.verifier(directories, dummy)? {
                any.push(verifier);
            } else if required {
                let refusal = Refusal::NoKeys(keys.scheme).to_string();
                return Err(Error::new(crate::ErrorKind::Untrusted, refusal));
            }
        }
        if any.is_empty() {
            any.push(Arc::new(NoKeys));
        }
        Ok(Trust::signed(AnyOf(any)))
    }
}

/// Refuses all, and says why: no key is there to accept anything.
#[derive(Debug)]
struct NoKeys;

impl Verifier for NoKeys {
    fn verify(&self, _signed: &Signed<'_>) -> Verdict {
        Verdict::refused(Refusal::NoKeys(Scheme::Ed25519))
    }
}

fn types(config: &KeyFile, group: &str, key: &str) -> Result<Types> {
    match config.boolean(group, key) {
        Ok(None | Some(false)) => return Ok(Types::None),
        Ok(Some(true)) => return Ok(Types::Any),
        Err(_) => {}
    }
    let names = config.string_list(group, key);
    let names = names.map_err(|e| bad(&format!("{group}.{key}"), e))?;
    let names = names.unwrap_or_default();
    let schemes: Option<Vec<_>> = names.iter().map(|name| Scheme::of_sign(name)).collect();
    Ok(match schemes {
        Some(schemes) if !schemes.is_empty() => Types::These(schemes),
        // Somebody meant to require something.
        _ => Types::Unknown {
            key: format!("{group}.{key}"),
            value: names.join(";"),
        },
    })
}

impl SignVerifyKeys {
    /// Returns what accepts signatures by these keys, or by the machine's if there are none;
    /// `None` without any key. **Blocking:** reads files.
    pub fn verifier(
        &self,
        directories: &KeyDirectories,
        dummy: DummyKeys,
    ) -> Result<Option<Arc<dyn Verifier>>> {
        let mut texts = Vec::new();
        for path in &self.files {
            texts.push(KeyFileText::read(path)?);
        }
        if self.inline.is_empty() && self.files.is_empty() {
            texts = directories.trusted(self.scheme)?;
        }
        let revoked = directories.revoked(self.scheme)?;
        match self.scheme {
            Scheme::Ed25519 => {
                let base64 = Ed25519PublicKey::from_base64;
                let lines = |text: &str| parse_base64_lines(text, base64);
                let keys = self.collect(base64, lines, &texts)?;
                let revoked = read_all(&revoked, lines)?;
                let verifier = Ed25519Verifier::new(keys).revoking(revoked);
                let any = verifier.keys().next().is_some();
                Ok(any.then(|| Arc::new(verifier) as _))
            }
            Scheme::Spki => {
                let keys =
                    self.collect(SpkiPublicKey::from_base64, SpkiPublicKey::parse_pem, &texts);
                let revoked = read_all(&revoked, SpkiPublicKey::parse_pem)?;
                let verifier = SpkiVerifier::new(keys?).revoking(revoked);
                let any = verifier.keys().next().is_some();
                Ok(any.then(|| Arc::new(verifier) as _))
            }
            Scheme::Dummy if dummy == DummyKeys::Accept => {
                let whole = |text: &str| Ok(DummyKey(text.to_owned()));
                let lines = |text: &str| Ok(text.lines().map(|l| DummyKey(l.into())).collect());
                let keys = self.collect(whole, lines, &texts)?;
                Ok((!keys.is_empty()).then(|| Arc::new(DummyVerifier(keys)) as _))
            }
            Scheme::Dummy | Scheme::OpenPgp => Ok(None),
        }
    }

    fn collect<T>(
        &self,
        inline: impl Fn(&str) -> std::result::Result<T, crate::format::FormatError>,
        file: impl Fn(&str) -> std::result::Result<Vec<T>, crate::format::FormatError>,
        texts: &[KeyFileText],
    ) -> Result<Vec<T>> {
        let mut keys = Vec::new();
        for text in &self.inline {
            keys.push(inline(text).map_err(|e| {
                let name = self.scheme.name();
                Error::invalid(format!("verification-{name}-key is not a key")).because(e)
            })?);
        }
        keys.extend(read_all(texts, file)?);
        Ok(keys)
    }
}

fn read_all<T>(
    texts: &[KeyFileText],
    parse: impl Fn(&str) -> std::result::Result<Vec<T>, crate::format::FormatError>,
) -> Result<Vec<T>> {
    let mut keys = Vec::new();
    for text in texts {
        keys.extend(text.keys(&parse)?);
    }
    Ok(keys)
}
