//! `static-delta verify`: whether a delta is signed by who is trusted.

use std::path::PathBuf;
use std::sync::Arc;

use treeferry_core::ops::delta::{OpenDelta, verify};
use treeferry_core::pool::Pool;
use treeferry_core::sign::Verifier;

use crate::failure::{Failure, Result};
use crate::session::Session;
use crate::{dates, delta_budget, keys, output};

/// The longest superblock whose signatures are verified: it is in memory meanwhile.
pub(crate) const SIGNED_BYTES_MAX: u64 = 4 << 30;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    trusting: Trusting,
    /// The delta: a file, or a directory with its superblock
    #[arg(value_name = "STATIC-DELTA-FILE")]
    path: Option<PathBuf>,
    /// Public keys, in base64
    #[arg(value_name = "[KEY-ID...]")]
    keys: Vec<String>,
}

/// The options that say who is trusted.
#[derive(Debug, clap::Args)]
pub(crate) struct Trusting {
    /// The type of signature: ed25519 or spki (default: ed25519)
    #[arg(long, value_name = "NAME")]
    sign_type: Option<String>,
    /// Trust the public keys in a file
    #[arg(long, value_name = "NAME")]
    keys_file: Option<PathBuf>,
    /// Where trusted and revoked keys are, in place of /etc/ostree and /usr/share/ostree
    #[arg(long, value_name = "NAME")]
    keys_dir: Option<PathBuf>,
}

impl Trusting {
    /// Returns whether anything was said about who is trusted.
    pub(crate) fn is_given(&self, keys: &[String]) -> bool {
        !keys.is_empty() || self.keys_file.is_some() || self.keys_dir.is_some()
    }

    /// Returns what verifies by the keys that are given, or by those of the machine.
    pub(crate) fn verifier(&self, keys: &[String]) -> Result<Arc<dyn Verifier>> {
        let scheme = keys::scheme(self.sign_type.as_deref())?;
        let (file, directory) = (self.keys_file.as_deref(), self.keys_dir.as_deref());
        keys::verifier(scheme, keys, file, directory)
    }
}

pub(crate) async fn run(args: Args, _: &Session) -> Result<()> {
    let path = args
        .path
        .ok_or_else(|| Failure::usage("DELTA must be specified"))?;
    let verifier = args.trusting.verifier(&args.keys)?;
    let (pool, budget) = (Pool::default(), delta_budget::to_look());
    let opener = pool.clone();
    let delta = pool
        .run(move || OpenDelta::open_path(&path, &budget, &opener))
        .await?;
    let now = Some(dates::now());
    let verdict = verify(&delta, &verifier, now, SIGNED_BYTES_MAX, &pool).await?;
    let failed = |e| Failure::from(e).context("Verification fails");
    verdict.into_result().map_err(failed)?;
    Ok(output::line("Verification OK")?)
}
