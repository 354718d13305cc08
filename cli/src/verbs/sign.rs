//! `sign`: puts signatures beside a commit, verifies them, takes them away.

use std::path::PathBuf;

use serde_json::{Value, json};
use treeferry_core::format::gvariant::Dict;
use treeferry_core::format::{Checksum, ObjectName};
use treeferry_core::ops::sign::{sign_commit, unsign_commit, verify_commit};
use treeferry_core::repo::{Repo, load_metadata};
use treeferry_core::sign::add_signature;
use treeferry_core::sign::{Scheme, Signed};

use crate::failure::{Failure, Result};
use crate::session::{Session, no_such_object, resolve};
use crate::{dates, json, keys, output};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Take away the signatures that were made with the keys; KEYS are public then
    #[arg(short, long)]
    delete: bool,
    /// Verify the signatures; KEYS are public then
    #[arg(long)]
    verify: bool,
    /// The type of signature: ed25519 or spki (default: ed25519)
    #[arg(short = 's', long, value_name = "NAME")]
    sign_type: Option<String>,
    /// Read keys from a file: one on each line in base64, or PEM for spki
    #[arg(long, value_name = "NAME")]
    keys_file: Option<PathBuf>,
    /// Where trusted and revoked keys are, in place of /etc/ostree and /usr/share/ostree
    #[arg(long, value_name = "NAME")]
    keys_dir: Option<PathBuf>,
    /// Print what was signed, each signature that was verified, or how many were deleted, as JSON
    #[arg(long)]
    json: bool,
    /// The commit
    #[arg(value_name = "COMMIT")]
    commit: Option<String>,
    /// Keys, in base64
    #[arg(value_name = "[KEY...]")]
    keys: Vec<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let Some(rev) = &args.commit else {
        return Err(Failure::usage("Need a COMMIT to sign or verify"));
    };
    let scheme = keys::scheme(args.sign_type.as_deref())?;
    let repo = session.open().await?;
    let commit = resolve(&repo, rev).await?;
    if args.verify || args.delete {
        let (file, directory) = (args.keys_file.as_deref(), args.keys_dir.as_deref());
        let verifier = keys::verifier(scheme, &args.keys, file, directory)?;
        if args.delete {
            let deleted = delete(&repo, &commit, scheme, &*verifier).await?;
            return match args.json {
                true => json::line(&told(&commit, scheme, "deleted", deleted)),
                false => Ok(output::line(format!("Signatures deleted: {deleted}"))?),
            };
        }
        let verdict = verify_commit(&repo, &commit, verifier, dates::now()).await;
        let verdict = verdict.map_err(|e| match e.kind() {
            treeferry_core::ErrorKind::Untrusted => {
                Failure::from(e).context("No valid signatures found")
            }
            _ => e.into(),
        })?;
        for checked in &verdict.checked {
            match args.json {
                true => json::line(&json!({
                    "commit": commit.to_string(),
                    "type": checked.scheme.name(),
                    "key": checked.key.as_ref().map(ToString::to_string),
                    "good": checked.is_good(),
                    "text": checked.to_string(),
                }))?,
                false if checked.is_good() => output::line(checked)?,
                false => {}
            }
        }
        return Ok(());
    }
    if args.keys.is_empty() && args.keys_file.is_none() {
        return Err(Failure::usage("Need at least one KEY-ID to sign with"));
    }
    let given = args.keys.iter().map(|key| keys::signer(scheme, key));
    let mut signers = given.collect::<Result<Vec<_>>>()?;
    if let Some(path) = &args.keys_file {
        signers.extend(keys::signers_of_file(scheme, path)?);
    }
    sign_commit(&repo, &commit, &signers).await?;
    match args.json {
        true => json::line(&told(&commit, scheme, "made", signers.len())),
        false => Ok(()),
    }
}

/// Returns what became of how many signatures.
fn told(commit: &Checksum, scheme: Scheme, what: &str, count: usize) -> Value {
    json!({ "commit": commit.to_string(), "type": scheme.name(), what: count })
}

async fn delete(
    repo: &Repo,
    commit: &Checksum,
    scheme: Scheme,
    verifier: &dyn treeferry_core::sign::Verifier,
) -> Result<usize> {
    let name = ObjectName::commit(*commit);
    let bytes = load_metadata(&**repo.objects(), &name).await?;
    let bytes = bytes.ok_or_else(|| no_such_object(&name))?;
    let is_by_others = |signature: &[u8]| {
        let mut alone = Dict::new();
        let added = add_signature(&mut alone, scheme, signature.to_vec());
        let signed = Signed {
            data: (&*bytes).into(),
            signatures: &alone,
            now_secs: Some(dates::now()),
        };
        added.is_err() || !verifier.verify(&signed).is_accepted()
    };
    Ok(unsign_commit(repo, commit, scheme, is_by_others).await?)
}
