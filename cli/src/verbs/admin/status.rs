//! `admin status`.

use std::io::{IsTerminal, Write};

use super::machine::Machine;
use super::signatures;
use crate::failure::Result;
use crate::output;

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
    // See https://no-color.org.
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let emphasis = match std::io::stdout().is_terminal() && !plain {
        true => ("\x1b[31m\x1b[1m", "\x1b[22m\x1b[0m"),
        false => ("", ""),
    };
    let opened = machine.session.open_place().await?;
    let mut out = output::stdout();
    for status in &all {
        for line in status.lines(emphasis) {
            writeln!(out, "{line}")?;
        }
        if args.verify {
            // What is known so far is told, whatever comes of this.
            out.flush()?;
            for line in signatures::verified(&status.deployment, &opened).await? {
                writeln!(out, "{line}")?;
            }
            writeln!(out)?;
        } else if !args.skip_signatures {
            for line in signatures::shown(&status.deployment, &opened).await? {
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
