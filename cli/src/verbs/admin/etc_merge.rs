//! `admin etc-merge`: what an upgrade would do to `/etc`, or did.

use treeferry_sysroot::etc_merge::{Fate, Pattern, Strategies, Strategy};

use super::machine::{Machine, index, stateroot_option};
use super::told;
use crate::failure::{Failure, Result};
use crate::output;

/// What happens in `/etc` where both sides changed something.
#[derive(Debug, clap::Args)]
pub(super) struct StrategyOptions {
    /// What to do about paths in /etc that were changed here and in the new system: ostree,
    /// keep-mine, take-new, beside or fail; can be repeated, the first pattern that matches counts
    #[arg(long, value_name = "PATTERN=STRATEGY")]
    etc_strategy: Vec<String>,
}

impl StrategyOptions {
    pub(super) fn strategies(&self) -> Result<Strategies> {
        let rule = |text: &String| -> Result<(Pattern, Strategy)> {
            let (pattern, strategy) = text.rsplit_once('=').ok_or_else(|| {
                Failure::new(format!("--etc-strategy: expected PATTERN=STRATEGY: {text}"))
            })?;
            Ok((pattern.parse()?, strategy.parse()?))
        };
        let rules = self.etc_strategy.iter().map(rule);
        Ok(Strategies::new(rules.collect::<Result<_>>()?))
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The stateroot (default: the one that runs)
    #[arg(long, value_name = "STATEROOT")]
    os: Option<String>,
    #[command(flatten)]
    strategies: StrategyOptions,
    /// Print what became of each path, for programs
    #[arg(long)]
    json: bool,
    /// Print what was done when this deployment was made
    #[arg(long, value_name = "INDEX")]
    report: Option<String>,
    /// The deployment whose /usr/etc to merge onto
    #[arg(value_name = "INDEX")]
    onto: Option<String>,
}

pub(super) async fn run(args: Args, machine: &Machine) -> Result<()> {
    let strategies = args.strategies.strategies()?;
    let (sysroot, state) = (&machine.sysroot, machine.sysroot.load().await?);
    if let Some(word) = &args.report {
        let id = &state.at(index(word)?)?.id;
        let report = sysroot.etc_merge_report(id).await?;
        let missing = || {
            Failure::new(format!(
                "deployment {word} has no report: its /etc was not merged"
            ))
        };
        return Ok(output::line(report.ok_or_else(missing)?.trim_end())?);
    }
    let word = args
        .onto
        .as_deref()
        .ok_or_else(|| Failure::usage("INDEX must be specified"))?;
    let onto = state.at(index(word)?)?;
    let asked = stateroot_option(args.os.as_deref())?.unwrap_or_else(|| onto.id.stateroot.clone());
    let from = state.merge_source(&asked);
    let from = from.ok_or_else(|| Failure::new(format!("No deployment for OS '{asked}'")))?;
    let plan = sysroot
        .plan_etc_merge(&from.id, &onto.id, &strategies)
        .await?;
    if args.json {
        return Ok(output::line(plan.report.to_json().trim_end())?);
    }
    for (fate, word) in [
        (Fate::Kept, "kept"),
        (Fate::Added, "kept, added here"),
        (Fate::Deleted, "stays removed"),
        (
            Fate::Replaced,
            "replaced: it is as the old system shipped it",
        ),
        (
            Fate::RemovedWithDefault,
            "removed: the new system does not have it",
        ),
        (Fate::NewDefault, "new"),
    ] {
        for path in plan.report.with_fate(fate) {
            output::line(format!("/etc/{}: {word}", path.display()))?;
        }
    }
    told::conflicts(&plan.report)
}
