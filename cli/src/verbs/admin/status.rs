//! `admin status`.

use std::io::{IsTerminal, Write};

use treeferry_core::format::gvariant::Dict;
use treeferry_core::format::{ObjectName, Refspec};
use treeferry_core::repo::{Required, load_metadata};
use treeferry_core::sign::{Signed, Verifier};
use treeferry_core_openpgp::OpenPgpVerifier;
use treeferry_sysroot::{DeploymentStatus, Origin};

use super::machine::Machine;
use super::signatures;
use crate::failure::Result;
use crate::gpg::signature_text;
use crate::session::remote_config;
use crate::{dates, output, trust};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Verify the signatures of deployed commits, and say who made them
    #[arg(short = 'V', long)]
    verify: bool,
    /// Print it for programs
    #[arg(short = 'J', long)]
    json: bool,
    /// Say nothing of signatures
    #[arg(short = 'S', long)]
    skip_signatures: bool,
    /// Print only whether the default runs: default or not-default
    #[arg(short = 'D', long)]
    is_default: bool,
}

pub(super) async fn run(args: Args, machine: &Machine) -> Result<()> {
    let state = machine.sysroot.load().await?;
    if args.is_default {
        let word = match state.booted {
            Some(0) => "default",
            Some(_) => "not-default",
            None => {
                return Err(state.require_booted().err().map_or_else(
                    || crate::failure::Failure::new("Not currently booted into an OSTree system"),
                    Into::into,
                ));
            }
        };
        return Ok(output::line(word)?);
    }
    let all = state.status(machine.sysroot.repo()).await?;
    if args.json {
        let list: Vec<_> = all.iter().map(|status| status.to_json()).collect();
        let value = serde_json::json!({ "deployments": list });
        return Ok(output::line(format!("{value:#}"))?);
    }
    if all.is_empty() {
        return Ok(output::line("No deployments.")?);
    }
    let emphasis = match std::io::stdout().is_terminal() {
        true => ("\x1b[31m\x1b[1m", "\x1b[22m\x1b[0m"),
        false => ("", ""),
    };
    let mut out = output::stdout();
    for status in &all {
        for line in status.lines(emphasis) {
            writeln!(out, "{line}")?;
        }
        if args.verify {
            // What is known so far is told, whatever comes of this.
            out.flush()?;
            for line in signatures::verified(&status.deployment, machine).await? {
                writeln!(out, "{line}")?;
            }
            writeln!(out)?;
        } else if !args.skip_signatures {
            for line in shown(machine, status).await? {
                writeln!(out, "    {line}")?;
            }
        }
    }
    if let Some(transition) = machine.sysroot.transition().await?
        && let Some(reason) = &transition.reason
    {
        writeln!(
            out,
            "    {} is {}: {reason}",
            transition.target,
            transition.phase.as_str()
        )?;
    }
    Ok(out.flush()?)
}

/// Returns who signed the commit of a deployment with OpenPGP, where the remote that it came from demands that.
async fn shown(machine: &Machine, status: &DeploymentStatus) -> Result<Vec<String>> {
    let deployment = &status.deployment;
    let refspec = deployment.origin.as_ref().and_then(Origin::refspec);
    let refspec = refspec.and_then(|refspec| refspec.parse::<Refspec>().ok());
    let Some(name) = refspec.and_then(|refspec| refspec.remote) else {
        return Ok(Vec::new());
    };
    let opened = machine.session.open_place().await?;
    // One that is gone demands nothing any more.
    let Ok(remote) = remote_config(&opened, &name).await else {
        return Ok(Vec::new());
    };
    let (repo, commit) = (&opened.repo, &deployment.id.checksum);
    let Some(bytes) = load_metadata(&**repo.objects(), &ObjectName::commit(*commit)).await? else {
        return Ok(Vec::new());
    };
    let detached = repo.state().read_detached(commit).await?;
    let metadata = match &detached {
        Some(detached) => Dict::decode(detached)?,
        None => Dict::new(),
    };
    let now_secs = Some(dates::now());
    let mut lines = Vec::new();
    if remote.gpg_verify == Required::Yes {
        let keyring = trust::keyring_of(&opened, &remote).await?;
        let verdict = OpenPgpVerifier::new(keyring).verify(&Signed {
            data: (&*bytes).into(),
            signatures: &metadata,
            now_secs,
        });
        if verdict.checked.is_empty() {
            lines.push("GPG: no signatures found".to_owned());
        }
        for line in verdict.checked.iter().flat_map(signature_text) {
            lines.push(format!("GPG: {line}"));
        }
    }
    Ok(lines)
}
