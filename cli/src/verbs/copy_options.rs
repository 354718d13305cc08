//! The options that `push` and `copy` share.

use treeferry_core::format::{CollectionId, Refspec};
use treeferry_core::ops::delta::TakeDeltas;
use treeferry_core::ops::replicate::{Depth, ReplicateOptions, SizeEffort};
use treeferry_core::repo::Repo;
use treeferry_core::store::{Durability, RefName};

use super::copy_text::After;
use super::summary;
use crate::failure::{Failure, Result};
use crate::output;
use crate::place::Intent;
use crate::rate::LimitRate;

#[derive(Debug, clap::Args)]
pub(super) struct Transfer {
    /// Say what would be moved, and move nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    #[command(flatten)]
    pub(super) rate: LimitRate,
    /// With --dry-run: read the header of each missing file, so that totals are exact
    #[arg(long, requires = "dry_run")]
    exact: bool,
    /// Print what was moved as JSON
    #[arg(long, conflicts_with = "dry_run")]
    pub(super) json: bool,
    /// Bring the static deltas along that make what is copied (default for copy)
    #[arg(long, conflicts_with = "no_static_deltas")]
    static_deltas: bool,
    /// Leave static deltas behind (default for push)
    #[arg(long)]
    no_static_deltas: bool,
    /// Do not wait for the disk: a power cut may take what was written
    #[arg(long)]
    disable_fsync: bool,
    /// Write the list of refs there anew, signed or not, there or not
    #[arg(long)]
    summary: bool,
    /// Leave the list of refs there as it is
    #[arg(long, conflicts_with = "summary")]
    no_summary: bool,
}

impl Transfer {
    pub(super) fn replicate_options(&self, depth: i32) -> ReplicateOptions {
        let mut options = ReplicateOptions::default();
        options.depth = match u32::try_from(depth) {
            Ok(parents) => Depth::Parents(parents),
            Err(_) => Depth::All,
        };
        if self.disable_fsync {
            options.durability = Durability::None;
        }
        // Many that fail together do not come back together.
        options.retry.seed = u64::from(std::process::id());
        options
    }

    /// Returns whether deltas are taken along, where it is said, and else by what the verb does.
    pub(super) fn deltas(&self, default: TakeDeltas) -> TakeDeltas {
        match (self.static_deltas, self.no_static_deltas) {
            (true, _) => TakeDeltas::Yes,
            (_, true) => TakeDeltas::No,
            (false, false) => default,
        }
    }

    pub(super) fn intent(&self) -> Intent {
        match self.dry_run {
            true => Intent::Plan,
            false => Intent::Write,
        }
    }

    pub(super) fn effort(&self) -> SizeEffort {
        match self.exact {
            true => SizeEffort::ReadHeaders,
            false => SizeEffort::AsKnown,
        }
    }

    /// Brings the summary of the destination up to date, if it has one that may be replaced.
    pub(super) async fn summary_after(&self, destination: &Repo, after: After) -> Result<()> {
        if self.no_summary {
            return Ok(());
        }
        if self.summary {
            return summary::make_now(destination).await;
        }
        if after == After::NothingMoved {
            return Ok(());
        }
        match destination.state().read_summary().await? {
            None => summary::after(summary::Change::Ref, destination).await,
            Some(there) if there.signature.is_none() => summary::make_now(destination).await,
            Some(_) => {
                let message = "the summary there is signed, and was left as it is: it does not \
                               list what was just moved; --summary replaces it, unsigned";
                Ok(output::line(message)?)
            }
        }
    }
}

/// Reads the name of a ref: `BRANCH`, `REMOTE:BRANCH` or `COLLECTION-ID:BRANCH`.
pub(super) async fn ref_name(repo: &Repo, text: &str) -> Result<RefName> {
    let invalid = |_| Failure::new(format!("Invalid refspec {text}"));
    let refspec: Refspec = text.parse().map_err(invalid)?;
    let name = RefName::from(refspec.clone());
    if repo.refs().read_ref(&name).await?.is_some() {
        return Ok(name);
    }
    if let Some(remote) = &refspec.remote
        && let Ok(collection) = CollectionId::new(remote.as_str())
    {
        let mirrored = RefName::Mirror(collection, refspec.branch);
        if repo.refs().read_ref(&mirrored).await?.is_some() {
            return Ok(mirrored);
        }
    }
    Err(Failure::new(format!("there is no ref '{text}'")))
}
