//! What `pull --dry-run` says of deltas.

use treeferry_core::ops::pull::{PullOptions, PullSource, plan_deltas};
use treeferry_core::repo::Repo;

use super::size_text::size_text;
use crate::failure::Result;
use crate::output;

/// Says what the deltas that a pull would use would move, and moves nothing.
pub(super) async fn dry_run(repo: &Repo, source: &PullSource, options: &PullOptions) -> Result<()> {
    for (_, plan) in plan_deltas(repo, source, options).await? {
        output::line(format!(
            "Delta update: 0/{} parts, {}/{}, {} total uncompressed",
            plan.parts,
            size_text(0),
            size_text(plan.part_bytes.saturating_add(plan.fallback_bytes)),
            size_text(plan.unpacked_bytes)
        ))?;
    }
    Ok(())
}
