//! Brings what an upgrade wants.

use treeferry_core::format::RemoteName;
use treeferry_core::ops::pull::{AgeCheck, Naming, PullOptions, PullRef, pull};

use super::machine::Machine;
use crate::failure::Result;
use crate::session::remote_config;
use crate::{progress, source, trust};

/// Pulls a ref or commit from a configured remote.
pub(super) async fn pull_from(
    machine: &Machine,
    remote: &RemoteName,
    wanted: PullRef,
    age: AgeCheck,
) -> Result<()> {
    let session = &machine.session;
    let opened = session.open_place().await?;
    let remote = remote_config(&opened, remote).await?;
    let mut options = PullOptions::default();
    options.verify = trust::of_remote(&opened, &remote).await?;
    options.refs = vec![wanted];
    options.naming = Naming::Remote(remote.name.clone());
    options.collection_id = remote.collection_id.clone();
    options.age = age;
    let http = source::http_options(&opened.repo, &remote, session.name).await?;
    let source = source::open(&remote.url, remote.content_url.as_deref(), &http).await?;
    let (progress, drawing) = progress::draw(session);
    options.replicate.progress = progress;
    let report = pull(&opened.repo, &source, &options).await;
    drawing.clear();
    report?;
    Ok(())
}
