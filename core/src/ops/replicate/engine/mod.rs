//! The loop: looks up, fetches, stores, and asks the planner what that makes wanted.

mod finish;
mod group;
mod start;
mod tell;

use std::collections::HashSet;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;

use super::ReplicateReport;
use super::budget::Share;
use super::fetch::{Arrival, ArrivedMetadata, Fetcher};
use super::lookup::FoundMetadata;
use super::options::ReplicateOptions;
use super::planner::{Candidate, Planner, Want};
use crate::error::Result;
use crate::format::Checksum;
use crate::repo::{Phase, Repo};
use crate::store::{Batch, Incoming, Put, ScratchFile};

/// How many names are looked up in one go.
const LOOKUP_NAMES_MAX: usize = 512;
/// How many objects are stored in one go, at most.
const GROUP_OBJECTS_MAX: usize = 32;
/// How many bytes are gathered before they are stored.
const GROUP_BYTES_MAX: u64 = 1024 * 1024;
/// How many gathered bytes stop further fetching until some are stored.
const BACKLOG_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// How many candidates are sifted in one go.
pub(super) const SIFTED_MAX: usize = 8192;
/// How much content is wanted before it is fetched, and no more metadata that would want more.
pub(super) const CONTENT_WAITING_MAX: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Engine<'a> {
    pub(super) fetchers: &'a [Fetcher],
    pub(super) destination: &'a Repo,
    pub(super) batch: &'a dyn Batch,
    pub(super) options: &'a ReplicateOptions,
}

/// What a task came back with.
pub(super) enum Step {
    Metadata(FoundMetadata),
    /// Files that the destination does not have.
    MissingContent(Vec<Checksum>),
    /// Files from sources on this machine, and those that are not there.
    LocalContent {
        arrived: Vec<Incoming>,
        rest: Vec<Checksum>,
    },
    FetchedMetadata(Want, Option<ArrivedMetadata>),
    FetchedContent(Checksum, Option<Arrival>),
    /// What is wanted for the first time.
    Sifted(Vec<Candidate>),
    /// What became of a group, in which so many objects came over a transport.
    Stored {
        puts: Vec<Result<Put>>,
        fetched: usize,
    },
    StoredSpooled(Checksum, Result<Put>, Box<dyn ScratchFile>),
}

struct Run<'e> {
    engine: &'e Engine<'e>,
    planner: Planner,
    tasks: FuturesUnordered<BoxFuture<'e, Result<Step>>>,
    lookups: usize,
    fetches: usize,
    stores: usize,
    /// Objects that came over a transport and are not stored: a sudden end would lose them.
    unstored: usize,
    /// Those of them that are in the group.
    group_fetched: usize,
    sifts: usize,
    missing_metadata: Vec<Want>,
    local_content: Vec<Checksum>,
    remote_content: Vec<Checksum>,
    group: Vec<Incoming>,
    group_bytes: u64,
    /// What the group holds of the budget for metadata.
    group_shares: Vec<Share>,
    fetched_again: HashSet<Checksum>,
    /// Bytes of fetched files that their commit had announced, and of all such files.
    report: ReplicateReport,
    content_bytes: u64,
    /// Files that come over a transport.
    transfers: u64,
    announced: Announced,
    written: Written,
}

/// What commits said of the sizes of what is to be fetched.
#[derive(Default)]
struct Announced {
    bytes: u64,
    files: u64,
}

/// What the destination took, as it lies there.
#[derive(Default)]
struct Written {
    bytes: u64,
    /// The bytes of files among them.
    file_bytes: u64,
    /// Files that the destination has now, of those that it was given.
    files: u64,
}

impl<'a> Engine<'a> {
    pub(super) fn new(
        fetchers: &'a [Fetcher],
        destination: &'a Repo,
        batch: &'a dyn Batch,
        options: &'a ReplicateOptions,
    ) -> Self {
        Self {
            fetchers,
            destination,
            batch,
            options,
        }
    }

    pub(super) async fn run(&self, planner: Planner) -> Result<ReplicateReport> {
        self.options
            .progress
            .update(|snapshot| snapshot.phase = Phase::Scanning);
        let mut run = Run {
            engine: self,
            planner,
            tasks: FuturesUnordered::new(),
            lookups: 0,
            fetches: 0,
            stores: 0,
            unstored: 0,
            group_fetched: 0,
            sifts: 0,
            missing_metadata: Vec::new(),
            local_content: Vec::new(),
            remote_content: Vec::new(),
            group: Vec::new(),
            group_bytes: 0,
            group_shares: Vec::new(),
            fetched_again: HashSet::new(),
            report: ReplicateReport::default(),
            content_bytes: 0,
            written: Written::default(),
            transfers: 0,
            announced: Announced::default(),
        };
        loop {
            run.start();
            let Some(step) = run.tasks.next().await else {
                break;
            };
            run.finish(step?)?;
            run.tell();
        }
        Ok(run.report)
    }
}
impl<'e> Run<'e> {
    fn spawn(&mut self, task: impl Future<Output = Result<Step>> + Send + 'e) {
        self.tasks.push(Box::pin(task));
    }

    fn finish(&mut self, step: Step) -> Result<()> {
        match step {
            Step::Metadata(found) => {
                self.lookups -= 1;
                self.on_found(found)
            }
            Step::MissingContent(files) => {
                self.lookups -= 1;
                self.engine
                    .options
                    .progress
                    .update(|s| s.content.total += files.len() as u64);
                if self.engine.is_local() {
                    self.local_content.extend(files);
                } else {
                    self.want_remote(files);
                }
                Ok(())
            }
            Step::LocalContent { arrived, rest } => {
                self.fetches -= 1;
                self.stores -= 1;
                self.on_local_content(arrived, rest)
            }
            Step::FetchedMetadata(want, bytes) => {
                self.fetches -= 1;
                self.on_fetched_metadata(want, bytes)
            }
            Step::FetchedContent(checksum, arrival) => {
                self.fetches -= 1;
                self.on_fetched_content(checksum, arrival)
            }
            Step::Sifted(new) => {
                self.sifts -= 1;
                self.planner.on_sifted(new);
                Ok(())
            }
            Step::Stored { puts, fetched } => {
                self.stores -= 1;
                self.unstored -= fetched;
                self.on_stored(puts)
            }
            Step::StoredSpooled(checksum, put, file) => {
                self.stores -= 1;
                self.on_stored_spooled(checksum, put, file)
            }
        }
    }
}
