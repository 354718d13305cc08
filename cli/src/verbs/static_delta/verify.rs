//! `static-delta verify`: whether a delta is signed by who is trusted.

use std::path::PathBuf;
use std::sync::Arc;

use treeferry_core::ops::delta::verify;
use treeferry_core::sign::Verifier;

use super::show::open;
use crate::failure::{Failure, Result};
use crate::session::{Name, Session};
use crate::{dates, keys, output};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    trusting: Trusting,
    /// The delta: FROM-TO, or TO alone; or the path of one that is a file or a directory
    #[arg(value_name = "STATIC-DELTA")]
    delta: Option<String>,
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

pub(crate) async fn run(args: Args, session: &Session) -> Result<()> {
    let verifier = args.trusting.verifier(&args.keys)?;
    let (delta, _, pool) = open(args.delta.as_deref(), session).await?;
    let unsigned = delta.signatures.is_none();
    let now = Some(dates::now());
    let verdict = verify(&delta, &verifier, now, &pool).await?;
    let Err(error) = verdict.into_result() else {
        return Ok(output::line("Verification OK")?);
    };
    let failure = match (unsigned, session.name) {
        (true, Name::Ostree) => Failure::new("no signatures in static-delta"),
        _ => error.into(),
    };
    match session.name {
        Name::Ostree => {
            output::line("Verification fails")?;
            Err(failure)
        }
        Name::Treeferry => Err(failure.context("Verification fails")),
    }
}
