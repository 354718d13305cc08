//! `gpg-sign`: puts OpenPGP signatures beside a commit, or takes them away.

use std::path::PathBuf;
use std::sync::Arc;

use treeferry_core::format::gvariant::Dict;
use treeferry_core::format::{Checksum, ObjectName};
use treeferry_core::ops::sign::{add_to_commit, make, unsign_commit};
use treeferry_core::repo::{Repo, load_metadata};
use treeferry_core::sign::{Scheme, Signatures, Signer, signatures_in};
use treeferry_core_openpgp::{IssuerKey, issuers_of};

use crate::failure::{Failure, Result};
use crate::gpg::{GpgProgram, exported};
use crate::output;
use crate::session::{Session, no_such_object, resolve};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Take away the signatures that were made with the keys
    #[arg(short, long)]
    delete: bool,
    /// Where the home of GnuPG is
    #[arg(long, value_name = "HOMEDIR")]
    gpg_homedir: Option<PathBuf>,
    /// The commit
    #[arg(value_name = "COMMIT")]
    commit: Option<String>,
    /// Keys of GnuPG
    #[arg(value_name = "[KEY-ID...]")]
    keys: Vec<String>,
}

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let Some(rev) = &args.commit else {
        return Err(Failure::usage("Need a COMMIT to sign"));
    };
    if args.keys.is_empty() {
        return Err(Failure::usage("Need at least one GPG KEY-ID to sign with"));
    }
    let repo = session.open().await?;
    let commit = resolve(&repo, rev).await?;
    if args.delete {
        return delete(&args, &repo, &commit).await;
    }
    let name = ObjectName::commit(commit);
    let bytes = load_metadata(&**repo.objects(), &name).await?;
    let bytes = bytes.ok_or_else(|| no_such_object(&name))?;
    let mut held = issuers(&repo, &commit).await?;
    let mut signatures = Vec::new();
    for key in &args.keys {
        let signer: Arc<dyn Signer> = Arc::new(GpgProgram::new(key, args.gpg_homedir.as_deref())?);
        let made = make(&bytes, &[signer]).await?;
        for (_, signature) in &made {
            for issuer in issuers_of(signature) {
                if held.contains(&issuer) {
                    let message = format!("Commit is already signed with GPG key {key}");
                    return Err(Failure::new(message));
                }
                held.push(issuer);
            }
        }
        signatures.extend(made);
    }
    Ok(add_to_commit(&repo, &commit, &signatures).await?)
}

/// Returns which keys a commit is said to be signed with.
async fn issuers(repo: &Repo, commit: &Checksum) -> Result<Vec<IssuerKey>> {
    let Some(detached) = repo.state().read_detached(commit).await? else {
        return Ok(Vec::new());
    };
    let metadata = Dict::decode(&detached)?;
    Ok(match signatures_in(&metadata, Scheme::OpenPgp) {
        Signatures::Some(blobs) => blobs.into_iter().flat_map(issuers_of).collect(),
        Signatures::None | Signatures::Malformed => Vec::new(),
    })
}

async fn delete(args: &Args, repo: &Repo, commit: &Checksum) -> Result<()> {
    let mut unwanted = Vec::new();
    for key in &args.keys {
        match exported(key, args.gpg_homedir.as_deref()) {
            Ok(keyring) => unwanted.extend(keyring.fingerprints()),
            // A key that is gone can still be named by its own name.
            Err(_) => unwanted.push(key.trim_start_matches("0x").to_ascii_uppercase()),
        }
    }
    let is_unwanted = |issuer: &IssuerKey| {
        let named = |key: &String| issuer.is(key) || issuer.as_str().ends_with(key.as_str());
        unwanted.iter().any(named)
    };
    let is_wanted = |blob: &[u8]| !issuers_of(blob).iter().any(is_unwanted);
    let deleted = unsign_commit(repo, commit, Scheme::OpenPgp, is_wanted).await?;
    Ok(output::line(format!("Signatures deleted: {deleted}"))?)
}
