//! GnuPG: the program that signs, and how OSTree tells of OpenPGP signatures and keys.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use async_trait::async_trait;
use treeferry_core::error::{Error, Result as CoreResult};
use treeferry_core::format::gvariant::Dict;
use treeferry_core::pool::Pool;
use treeferry_core::sign::{
    Checked, Scheme, SignatureDetails, Signed, Signer, Status, Verdict, Verifier,
};
use treeferry_core_openpgp::{KeyState, Keyring, OpenPgpVerifier};

use crate::dates;
use crate::failure::{Failure, Result};

/// Signs by running `gpg`, so that a key may be locked, or in a card.
#[derive(Debug, Clone)]
pub(crate) struct GpgProgram {
    home: Option<PathBuf>,
    key: String,
    pool: Pool,
}

impl GpgProgram {
    /// Returns what signs with the key that is called `key` in the home of GnuPG at `home`.
    ///
    /// # Errors
    ///
    /// When there is no such secret key.
    pub(crate) fn new(key: &str, home: Option<&Path>) -> Result<Self> {
        // Run elsewhere than here it would mean another place.
        let home = home.map(std::path::absolute).transpose()?;
        let listed = run(
            home.as_deref(),
            &["--with-colons", "--list-secret-keys", key],
            b"",
        );
        let primaries = listed.map_or(0, |listed| {
            let text = String::from_utf8_lossy(&listed).into_owned();
            text.lines().filter(|line| line.starts_with("sec:")).count()
        });
        let place = home
            .as_deref()
            .map_or_else(|| "default".to_owned(), |home| home.display().to_string());
        match primaries {
            0 => Err(Failure::new(format!(
                "No gpg key found with ID {key} (homedir: {place})"
            ))),
            1 => Ok(Self {
                home,
                key: key.to_owned(),
                pool: Pool::new(1),
            }),
            _ => Err(Failure::new(format!(
                "gpg key id {key} ambiguous (homedir: {place}). Try the fingerprint instead"
            ))),
        }
    }
}

#[async_trait]
impl Signer for GpgProgram {
    fn scheme(&self) -> Scheme {
        Scheme::OpenPgp
    }

    async fn sign(&self, data: &[u8]) -> CoreResult<Vec<u8>> {
        let (program, data) = (self.clone(), data.to_vec());
        let args = ["--local-user", &self.key, "--detach-sign"].map(str::to_owned);
        let job = move || {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let failed = |e: String| Error::invalid(format!("gpg does not sign: {e}"));
            run(program.home.as_deref(), &args, &data).map_err(failed)
        };
        self.pool.run(job).await
    }
}

/// Runs `gpg`, and returns what it wrote, or what it complained of.
fn run(home: Option<&Path>, args: &[&str], input: &[u8]) -> std::result::Result<Vec<u8>, String> {
    let mut command = Command::new("gpg");
    if let Some(home) = home {
        command.arg("--homedir").arg(home);
    }
    command.args(["--batch", "--quiet", "--no-tty"]).args(args);
    command.stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .map_err(|e| format!("the program gpg cannot be run: {e}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // It reads all before it writes anything; if it ends early it says why itself.
        let _ = stdin.write_all(input);
    }
    let output = child.wait_with_output().map_err(|e| e.to_string())?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// Returns the public keys with this name that GnuPG has in its home.
pub(crate) fn exported(key: &str, home: Option<&Path>) -> Result<Keyring> {
    let bytes = run(home, &["--export", key], b"").map_err(Failure::new)?;
    let keyring = Keyring::parse(&bytes)?;
    match keyring.is_empty() {
        true => Err(Failure::new(format!("Unable to find key \"{key}\""))),
        false => Ok(keyring),
    }
}

/// Options that say with which keys of GnuPG to sign.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct GpgOptions {
    /// Sign with this key of GnuPG; can be repeated
    #[arg(long, value_name = "KEY-ID")]
    gpg_sign: Vec<String>,
    /// Where the home of GnuPG is
    #[arg(long, value_name = "HOMEDIR")]
    gpg_homedir: Option<PathBuf>,
}

impl GpgOptions {
    /// Returns what signs with the keys.
    pub(crate) fn signers(&self) -> Result<Vec<Arc<dyn Signer>>> {
        let home = self.gpg_homedir.as_deref();
        let signers = self.gpg_sign.iter().map(|key| {
            let signer: Arc<dyn Signer> = Arc::new(GpgProgram::new(key, home)?);
            Ok(signer)
        });
        signers.collect()
    }
}

/// Verifies the OpenPGP signatures of `data` that a dictionary holds, now.
pub(crate) fn verify_now(keyring: Keyring, data: &[u8], signatures: &Dict) -> Verdict {
    OpenPgpVerifier::new(keyring).verify(&Signed {
        data: data.into(),
        signatures,
        now_secs: Some(dates::now()),
    })
}

/// Returns what became of OpenPGP signatures: `1 signature:` and a paragraph for each.
pub(crate) fn signatures_text(verdict: &Verdict) -> String {
    let count = verdict.checked.len();
    let plural = if count == 1 { "" } else { "s" };
    let mut text = format!("{count} signature{plural}:");
    for checked in &verdict.checked {
        text.push('\n');
        for line in signature_text(checked) {
            text = text + "\n  " + &line;
        }
    }
    text
}

/// Returns what became of an OpenPGP signature, in the words and lines that scripts know.
pub(crate) fn signature_text(checked: &Checked) -> Vec<String> {
    let Some(details) = &checked.details else {
        return vec![format!("Can't check signature: {}", checked.status)];
    };
    let made = dates::locale(details.made_secs.unwrap_or_default());
    let (algorithm, key) = (&details.key_algorithm, short(&details.fingerprint));
    let mut lines = vec![format!(
        "Signature made {made} using {algorithm} key ID {key}"
    )];
    if let Status::UnknownKey { .. } = checked.status {
        lines.push(checked.status.to_string());
        return lines;
    }
    lines.push(format!(
        "{} from \"{}\"",
        verdict(checked.status),
        user(details)
    ));
    match checked.status {
        Status::Good | Status::Bad | Status::SignatureExpired | Status::KeyExpired => {}
        status => lines.push(status.to_string()),
    }
    if let Some(primary) = &details.primary_fingerprint
        && *primary != details.fingerprint
    {
        lines.push(format!("Primary key ID {}", short(primary)));
    }
    let times = [
        ("Signature", details.expires_secs),
        ("Key", details.key_expires_secs),
        ("Primary key", details.primary_expires_secs),
    ];
    let same = details.primary_fingerprint.as_ref() == Some(&details.fingerprint);
    for (what, expires) in &times[..if same { 2 } else { 3 }] {
        if let Some(secs) = expires {
            let word = match *secs <= dates::now() {
                true => "expired",
                false => "expires",
            };
            lines.push(format!("{what} {word} {}", dates::locale(*secs)));
        }
    }
    lines
}

fn verdict(status: Status) -> &'static str {
    match status {
        Status::Good => "Good signature",
        Status::SignatureExpired => "Expired signature",
        _ => "BAD signature",
    }
}

fn user(details: &SignatureDetails) -> String {
    match &details.user {
        Some(user) => format!("{} <{}>", user.name, user.email),
        None => "[unknown name] <[unknown email]>".to_owned(),
    }
}

/// Returns the last 16 digits of a fingerprint: the key id.
fn short(fingerprint: &str) -> &str {
    &fingerprint[fingerprint.len().saturating_sub(16)..]
}

/// Returns how the keys of a keyring are listed.
pub(crate) fn keyring_text(keyring: &Keyring) -> String {
    let mut text = String::new();
    let revoked = |state| match state {
        KeyState::Revoked => " (revoked)",
        _ => "",
    };
    let times = |indent: &str, created: u64, expires: Option<u64>, state| {
        let mut text = format!("{indent}Created: {}\n", dates::locale(created));
        if let Some(expires) = expires {
            let word = match (state, expires <= dates::now()) {
                (KeyState::Expired, _) | (_, true) => "Expired",
                _ => "Expires",
            };
            text += &format!("{indent}{word}: {}\n", dates::locale(expires));
        }
        text
    };
    for cert in keyring.describe(dates::now()) {
        text += &format!("Key: {}{}\n", cert.fingerprint, revoked(cert.state));
        text += &times("  ", cert.created_secs, cert.expires_secs, cert.state);
        for user in cert.users {
            text += &format!("  UID: {}{}\n", user.id, revoked(user.state));
            if let Some([advanced, direct]) = user.update_urls {
                text += &format!("  Advanced update URL: {advanced}\n");
                text += &format!("  Direct update URL: {direct}\n");
            }
        }
        for subkey in cert.subkeys {
            let (fingerprint, state) = (subkey.fingerprint, subkey.state);
            text += &format!("  Subkey: {fingerprint}{}\n", revoked(state));
            text += &times("    ", subkey.created_secs, subkey.expires_secs, state);
        }
    }
    text
}
