//! What `admin status` says of the signatures of deployed commits.

use treeferry_core::format::ObjectName;
use treeferry_core::repo::{RemoteConfig, load_metadata};
use treeferry_core::sign::{Scheme, Trust, Verdict, require};
use treeferry_sysroot::Deployment;

use super::machine::Machine;
use crate::failure::{Failure, Result};
use crate::gpg::signature_text;
use crate::place::Opened;
use crate::session::remote_config;
use crate::trust;

/// The commit of a deployment, with what stands beside it, and the remote that it came from.
struct Evidence {
    remote: RemoteConfig,
    commit: Vec<u8>,
    detached: Option<Vec<u8>>,
}

impl Evidence {
    async fn of(deployment: &Deployment, opened: &Opened) -> Result<Self> {
        let origin = deployment.origin.as_ref();
        let origin =
            origin.ok_or_else(|| Failure::new("Cannot verify deployment with no origin"))?;
        if origin.refspec().is_none() {
            return Err(Failure::new("No origin/refspec, cannot verify"));
        }
        let remote = origin.require_refspec()?.remote;
        let remote =
            remote.ok_or_else(|| Failure::new("Cannot verify deployment without remote"))?;
        let name = ObjectName::commit(deployment.id.checksum);
        let commit = load_metadata(&**opened.repo.objects(), &name).await?;
        let commit = commit.ok_or_else(|| Failure::new("Cannot verify, failed to load commit"))?;
        let detached = opened
            .repo
            .state()
            .read_detached(&deployment.id.checksum)
            .await?;
        Ok(Self {
            remote: remote_config(opened, &remote).await?,
            commit: commit.to_vec(),
            detached: detached.map(|bytes| bytes.to_vec()),
        })
    }
}

/// Verifies the commit of a deployment as its remote demands, and returns who signed it.
///
/// # Errors
/// When it is not signed as demanded, and when nothing is demanded, so that nothing can be verified.
pub(super) async fn verified(deployment: &Deployment, machine: &Machine) -> Result<Vec<String>> {
    let opened = machine.session.open_place().await?;
    let evidence = Evidence::of(deployment, &opened).await?;
    let policy = trust::of_remote(&opened, &evidence.remote).await?;
    let Trust::Signed(verifier) = policy.commits else {
        return Err(Failure::new(format!(
            "Cannot verify commit for remote {}; GPG verification disabled, and no signapi verifiers configured",
            evidence.remote.name
        )));
    };
    let detached = evidence.detached.as_deref();
    let verdict = require(&*verifier, &evidence.commit, detached, policy.now_secs)
        .map_err(|e| Failure::from(e).context(&deployment.id))?;
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
