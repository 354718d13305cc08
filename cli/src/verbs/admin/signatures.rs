//! What `admin status` says of the signatures of deployed commits.

use bytes::Bytes;
use treeferry_core::format::gvariant::Dict;
use treeferry_core::format::{ObjectName, RemoteName};
use treeferry_core::repo::{Required, load_metadata};
use treeferry_core::sign::{Scheme, Trust, Verdict, require};
use treeferry_sysroot::Deployment;

use crate::failure::{Failure, Result};
use crate::gpg::{self, signature_text};
use crate::place::Opened;
use crate::session::remote_config;
use crate::trust;

/// The commit of a deployment, with what stands beside it, and the remote that it came from.
struct Evidence {
    remote: RemoteName,
    commit: Bytes,
    detached: Option<Bytes>,
}

impl Evidence {
    /// Finds it, or says why there is nothing to verify.
    async fn of(
        deployment: &Deployment,
        opened: &Opened,
    ) -> Result<std::result::Result<Self, &'static str>> {
        let Some(origin) = deployment.origin.as_ref() else {
            return Ok(Err("Cannot verify deployment with no origin"));
        };
        if origin.refspec().is_none() {
            return Ok(Err("No origin/refspec, cannot verify"));
        }
        let Some(remote) = origin.require_refspec()?.remote else {
            return Ok(Err("Cannot verify deployment without remote"));
        };
        let name = ObjectName::commit(deployment.id.checksum);
        let Some(commit) = load_metadata(&**opened.repo.objects(), &name).await? else {
            return Ok(Err("Cannot verify, failed to load commit"));
        };
        let state = opened.repo.state();
        Ok(Ok(Self {
            remote,
            commit,
            detached: state.read_detached(&deployment.id.checksum).await?,
        }))
    }
}

/// Verifies the commit of a deployment as its remote demands, and returns who signed it.
///
/// # Errors
/// When it is not signed as demanded, and when nothing is demanded, so that nothing can be verified.
pub(super) async fn verified(deployment: &Deployment, opened: &Opened) -> Result<Vec<String>> {
    let found = Evidence::of(deployment, opened).await?;
    let evidence = found.map_err(Failure::new)?;
    let remote = remote_config(opened, &evidence.remote).await?;
    let policy = trust::of_remote(opened, &remote).await?;
    let Trust::Signed(verifier) = policy.commits else {
        return Err(Failure::new(format!(
            "Cannot verify commit for remote {}; GPG verification disabled, and no signapi verifiers configured",
            remote.name
        )));
    };
    let detached = evidence.detached.as_deref();
    let verdict = require(&*verifier, &evidence.commit, detached, policy.now_secs)
        .map_err(|e| Failure::from(e).context(&deployment.id))?;
    Ok(lines(&verdict))
}

/// Returns who signed the commit of a deployment with OpenPGP, where the remote that it came from demands
/// that.
pub(super) async fn shown(deployment: &Deployment, opened: &Opened) -> Result<Vec<String>> {
    let Ok(evidence) = Evidence::of(deployment, opened).await? else {
        return Ok(Vec::new());
    };
    // One that is gone demands nothing any more.
    let Ok(remote) = remote_config(opened, &evidence.remote).await else {
        return Ok(Vec::new());
    };
    if remote.gpg_verify != Required::Yes {
        return Ok(Vec::new());
    }
    let metadata = match &evidence.detached {
        Some(detached) => Dict::decode(detached)?,
        None => Dict::new(),
    };
    let keyring = trust::keyring_of(opened, &remote).await?;
    let verdict = gpg::verify_now(keyring, &evidence.commit, &metadata);
    if verdict.checked.is_empty() {
        return Ok(vec!["GPG: no signatures found".to_owned()]);
    }
    Ok(lines(&verdict))
}

fn lines(verdict: &Verdict) -> Vec<String> {
    let mut all = Vec::new();
    for checked in &verdict.checked {
        match checked.scheme {
            Scheme::OpenPgp => {
                let text = signature_text(checked);
                all.extend(text.into_iter().map(|line| format!("GPG: {line}")));
            }
            scheme => {
                let key = checked
                    .key
                    .as_ref()
                    .map_or_else(String::new, |key| format!(" by {key}"));
                all.push(format!("{}: {}{key}", scheme.name(), checked.status));
            }
        }
    }
    all
}
