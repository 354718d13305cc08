//! Keys of `ostree sign` as command lines give them: to sign with, and to verify by.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use treeferry_core::sign::{
    DummyKey, DummyKeys, DummySigner, DummyVerifier, Ed25519PublicKey, Ed25519SecretKey,
    Ed25519Signer, Ed25519Verifier, KeyDirectories, KeyFileText, Scheme, Signer, SpkiPublicKey,
    SpkiSecretKey, SpkiSigner, SpkiVerifier, Verifier, parse_base64_lines,
};

use crate::failure::{Failure, Result};
use crate::file_text;

/// Returns whether signatures that anybody can make count: in tests, which say so.
pub(crate) fn dummy_keys() -> DummyKeys {
    match std::env::var("OSTREE_DUMMY_SIGN_ENABLED") {
        Ok(value) if value == "1" => DummyKeys::Accept,
        _ => DummyKeys::Refuse,
    }
}

/// Reads the name of a type of signature.
pub(crate) fn scheme(name: Option<&str>) -> Result<Scheme> {
    Scheme::of_sign(name.unwrap_or("ed25519"))
        .ok_or_else(|| Failure::new("Requested signature type is not implemented"))
}

/// Returns what signs with a secret key as it is given: base64, of raw bytes or of DER.
pub(crate) fn signer(scheme: Scheme, key: &str) -> Result<Arc<dyn Signer>> {
    let bad = |e| Failure::from(e).context("the secret key");
    Ok(match scheme {
        Scheme::Spki => {
            let key = SpkiSecretKey::from_base64(key).map_err(bad)?;
            Arc::new(SpkiSigner(key))
        }
        Scheme::Dummy if dummy_keys() == DummyKeys::Refuse => {
            let message = "dummy signature type is only for ostree testing";
            return Err(Failure::new(message));
        }
        Scheme::Dummy => Arc::new(DummySigner(DummyKey(key.to_owned()))),
        _ => {
            let key = Ed25519SecretKey::from_base64(key).map_err(bad)?;
            Arc::new(Ed25519Signer::new(key))
        }
    })
}

/// Returns what signs with the secret keys in a file: one on each line, or PEM.
pub(crate) fn signers_of_file(scheme: Scheme, path: &Path) -> Result<Vec<Arc<dyn Signer>>> {
    let text = file_text::read_text(path)?;
    let about = |failure: Failure| failure.context(path.display());
    let signers: Vec<Arc<dyn Signer>> = match scheme {
        Scheme::Spki => {
            let keys = SpkiSecretKey::parse_pem(&text).map_err(|e| about(e.into()))?;
            let signers = keys.into_iter().map(|key| Arc::new(SpkiSigner(key)) as _);
            signers.collect()
        }
        _ => {
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            let signers = lines.map(|line| signer(scheme, line).map_err(about));
            signers.collect::<Result<_>>()?
        }
    };
    match signers.is_empty() {
        true => Err(about(Failure::new("there is no secret key in it"))),
        false => Ok(signers),
    }
}

/// Returns what verifies by public keys: given, in a file, and in a directory of the layout of
/// `/etc/ostree`. Without any of them those of the machine count.
pub(crate) fn verifier(
    scheme: Scheme,
    keys: &[String],
    file: Option<&Path>,
    directory: Option<&Path>,
) -> Result<Arc<dyn Verifier>> {
    let directories = match directory {
        Some(directory) => KeyDirectories(vec![directory.to_owned()]),
        None => KeyDirectories::system(),
    };
    let mut texts = Vec::new();
    if let Some(file) = file {
        texts.push(KeyFileText::read(file)?);
    }
    if directory.is_some() || (file.is_none() && keys.is_empty()) {
        texts.extend(directories.trusted(scheme)?);
    }
    let revoked = directories.revoked(scheme)?;
    let keys = || keys.iter().map(String::as_str);
    Ok(match scheme {
        Scheme::Spki => {
            let mut trusted = keys()
                .map(SpkiPublicKey::from_base64)
                .collect::<std::result::Result<Vec<_>, _>>()?;
            trusted.extend(read_all(&texts, SpkiPublicKey::parse_pem)?);
            let revoked = read_all(&revoked, SpkiPublicKey::parse_pem)?;
            Arc::new(SpkiVerifier::new(trusted).revoking(revoked))
        }
        Scheme::Dummy => {
            let trusted = match dummy_keys() {
                DummyKeys::Refuse => Vec::new(),
                DummyKeys::Accept => keys().map(|key| DummyKey(key.to_owned())).collect(),
            };
            Arc::new(DummyVerifier(trusted))
        }
        _ => {
            let base64 = Ed25519PublicKey::from_base64;
            let lines = |text: &str| parse_base64_lines(text, base64);
            let mut trusted = keys()
                .map(base64)
                .collect::<std::result::Result<Vec<_>, _>>()?;
            trusted.extend(read_all(&texts, lines)?);
            let revoked = read_all(&revoked, lines)?;
            Arc::new(Ed25519Verifier::new(trusted).revoking(revoked))
        }
    })
}

fn read_all<T>(
    texts: &[KeyFileText],
    parse: impl Fn(&str) -> std::result::Result<Vec<T>, treeferry_core::format::FormatError>,
) -> Result<Vec<T>> {
    let mut keys = Vec::new();
    for text in texts {
        keys.extend(text.keys(&parse)?);
    }
    Ok(keys)
}

/// Options that say with which keys to sign.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct SignOptions {
    /// Sign with this secret key: base64 of seed and public key; can be repeated
    #[arg(long, value_name = "KEY")]
    sign: Vec<String>,
    /// Sign with the secret keys in the file at PATH; can be repeated
    #[arg(long, value_name = "PATH")]
    sign_from_file: Vec<PathBuf>,
    /// The type of those keys: ed25519 or spki (default: ed25519)
    #[arg(long, value_name = "NAME")]
    sign_type: Option<String>,
}

impl SignOptions {
    /// Returns what signs with the keys.
    pub(crate) fn signers(&self) -> Result<Vec<Arc<dyn Signer>>> {
        let scheme = scheme(self.sign_type.as_deref())?;
        let given = self.sign.iter().map(|key| signer(scheme, key));
        let mut signers = given.collect::<Result<Vec<_>>>()?;
        for path in &self.sign_from_file {
            signers.extend(signers_of_file(scheme, path)?);
        }
        Ok(signers)
    }
}
