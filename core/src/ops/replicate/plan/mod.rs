//! What a replication would move, without moving it: the same planner, told of the same objects.
//!
//! Objects are counted exactly: all metadata that is missing is read, and what is there is looked up
//! as the replication itself would. A dirtree has no sizes, so bytes are another matter: each total
//! says how much of it is exact, and where both parts come from.

mod sizes;

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::StreamExt;

use super::engine::{CONTENT_WAITING_MAX, Engine, SIFTED_MAX, Step};
use super::fetch::ArrivedMetadata;
use super::planner::{Planner, Want};
use super::{ReplicateOptions, fetchers, lookup};
use crate::error::Result;
use crate::format::Checksum;
use crate::repo::Repo;
use crate::spill::NameSet;
use crate::store::{BatchOptions, Leftovers, ObjectSource};

/// How many names are looked up in one go.
const LOOKUP_NAMES_MAX: usize = 512;

/// What a replication would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplicatePlan {
    /// Commits, dirtrees and dirmetas that are missing.
    pub metadata_missing: u64,
    /// Files that are missing.
    pub content_missing: u64,
    /// Metadata that was looked up and is there.
    pub metadata_present: u64,
    /// Files that were looked up and are there.
    pub content_present: u64,
    /// Commits that are there with all that they consist of: what that is was not counted.
    pub commits_whole: u64,
    /// What would come over a transport:
    /// [`ReplicateReport::transferred_bytes`](super::ReplicateReport::transferred_bytes).
    pub transfer: PlannedBytes,
    /// What would be written: [`ReplicateReport::written_bytes`](super::ReplicateReport::written_bytes).
    pub write: PlannedBytes,
}

/// A number of bytes, and how it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlannedBytes {
    /// The part that is exact.
    pub exact_bytes: u64,
    /// The part that is an estimate; 0 also where `estimated_from` is empty.
    pub estimated_bytes: u64,
    /// Where the exact part comes from.
    pub exact_from: BTreeSet<ExactFrom>,
    /// Where the estimated part comes from; empty: nothing is estimated.
    pub estimated_from: BTreeSet<EstimatedFrom>,
}

/// Where an exact number of bytes comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ExactFrom {
    /// The objects themselves: metadata, which is read to know what else is wanted.
    Objects,
    /// What the source lists, or the files on this machine are long.
    Listing,
    /// What commits announce of their objects (`ostree.sizes`).
    Announced,
    /// The headers of the files.
    Headers,
}

/// Where an estimate comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum EstimatedFrom {
    /// The length of the content, where it will be compressed.
    UnpackedLength,
    /// The compressed length, where it will be unpacked.
    PackedLength,
    /// The average of some of the files.
    Sample,
}

/// How hard to look for sizes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SizeEffort {
    /// What is known anyway, and a sample.
    #[default]
    AsKnown,
    /// The header of every missing file is read.
    ReadHeaders,
}

impl PlannedBytes {
    /// Returns both parts together.
    pub fn total_bytes(&self) -> u64 {
        self.exact_bytes.saturating_add(self.estimated_bytes)
    }

    /// Returns whether all of it is exact.
    pub fn is_exact(&self) -> bool {
        self.estimated_from.is_empty()
    }

    fn add_exact(&mut self, bytes: u64, from: ExactFrom) {
        self.exact_bytes = self.exact_bytes.saturating_add(bytes);
        self.exact_from.insert(from);
    }

    fn add_estimate(&mut self, bytes: u64, from: EstimatedFrom) {
        self.estimated_bytes = self.estimated_bytes.saturating_add(bytes);
        self.estimated_from.insert(from);
    }
}

/// Finds out what [`replicate`](super::replicate) would move. Writes nothing and moves no file.
///
/// The gate of `options` is asked as it would be then.
///
/// # Errors
///
/// As the replication itself would fail for what is missing at all sources, or not admitted.
pub async fn plan(
    sources: &[Arc<dyn ObjectSource>],
    destination: &Repo,
    commits: &[Checksum],
    options: &ReplicateOptions,
    effort: SizeEffort,
) -> Result<ReplicatePlan> {
    let batch_options = BatchOptions {
        durability: options.durability,
        // What an interrupted batch left need not come again.
        leftovers: Leftovers::Adopt,
    };
    let batch = destination.objects().begin(batch_options).await?;
    let fetchers = fetchers(sources, destination, options).await?;
    let engine = Engine::new(&fetchers, destination, &*batch, options);
    let seen = NameSet::new(destination.spill().clone(), destination.pool().clone());
    let mut planner = Planner::new(options.scope.clone(), options.limits, seen)?;
    for commit in commits {
        planner.want_commit(*commit, options.depth);
    }
    let mut run = Run {
        engine: &engine,
        planner,
        plan: ReplicatePlan::default(),
        sizes: sizes::Sizes::new(effort),
    };
    loop {
        let unsifted = run.planner.take_unsifted(SIFTED_MAX);
        if !unsifted.is_empty() {
            let seen = run.planner.seen().clone();
            run.planner.on_sifted(engine.sift(seen, unsifted).await?);
            continue;
        }
        let wants = match run.planner.content_waiting() > CONTENT_WAITING_MAX {
            true => Vec::new(),
            false => run.planner.take_metadata(LOOKUP_NAMES_MAX),
        };
        if !wants.is_empty() {
            run.on_metadata(wants).await?;
            continue;
        }
        let files = run.planner.take_content(LOOKUP_NAMES_MAX);
        if files.is_empty() {
            break;
        }
        run.on_content(files).await?;
    }
    run.sizes.finish(&engine, &mut run.plan).await?;
    Ok(run.plan)
}

struct Run<'e> {
    engine: &'e Engine<'e>,
    planner: Planner,
    plan: ReplicatePlan,
    sizes: sizes::Sizes,
}

impl Run<'_> {
    async fn on_metadata(&mut self, wants: Vec<Want>) -> Result<()> {
        let engine = self.engine;
        let found = lookup::metadata(engine, wants).await?;
        for (want, bytes) in &found.whole_commits {
            self.plan.commits_whole += 1;
            self.planner.on_whole_commit(want, bytes)?;
        }
        for (want, bytes) in &found.present {
            self.plan.metadata_present += 1;
            self.planner.on_object(want, bytes)?;
        }
        self.planner.put_back(found.later);
        for (want, bytes, _) in &found.from_local {
            self.add_metadata(want, bytes)?;
        }
        let fetches = found
            .missing
            .into_iter()
            .map(|want| engine.fetch_metadata(want));
        let mut fetches = futures::stream::iter(fetches).buffer_unordered(engine.width().max(1));
        while let Some(step) = fetches.next().await {
            let Step::FetchedMetadata(want, bytes) = step? else {
                continue;
            };
            let Some(ArrivedMetadata { bytes, .. }) = bytes else {
                self.planner.on_missing(&want, &engine.describe())?;
                continue;
            };
            let length = bytes.len() as u64;
            self.plan.transfer.add_exact(length, ExactFrom::Objects);
            self.add_metadata(&want, &bytes)?;
        }
        Ok(())
    }

    fn add_metadata(&mut self, want: &Want, bytes: &[u8]) -> Result<()> {
        self.plan.metadata_missing += 1;
        let length = bytes.len() as u64;
        self.plan.write.add_exact(length, ExactFrom::Objects);
        self.planner.on_object(want, bytes)
    }

    async fn on_content(&mut self, files: Vec<Checksum>) -> Result<()> {
        let looked_up = files.len() as u64;
        let missing = lookup::missing_files(self.engine.batch, files).await?;
        self.plan.content_missing += missing.len() as u64;
        self.plan.content_present += looked_up - missing.len() as u64;
        let announced = missing.iter().map(|file| self.planner.announced(file));
        let announced = announced.collect();
        self.sizes
            .add(self.engine, &mut self.plan, missing, announced)
            .await
    }
}
