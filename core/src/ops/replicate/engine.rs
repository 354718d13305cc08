//! The loop: looks up, fetches, stores, and asks the planner what that makes wanted.

use std::collections::HashSet;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;

use super::ReplicateReport;
use super::budget::Share;
use super::fetch::{Arrival, ArrivedMetadata, Fetcher};
use super::lookup::{self, FoundMetadata};
use super::options::{FilePolicy, ReplicateOptions};
use super::planner::{Candidate, Planner, Want};
use super::sources::Attempt;
use crate::error::{Error, ErrorKind, Result, Subject};
use crate::format::{Checksum, FileHeader, ObjectName, ObjectType};
use crate::repo::{Certainty, Phase, Repo};
use crate::store::{Batch, Body, Encoding, Incoming, Payload, Put, ScratchFile, Stored};

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
}

/// What commits said of the sizes of what is to be fetched.
#[derive(Default)]
struct Announced {
    bytes: u64,
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
    /// Starts whatever can be started: what finds out more comes before what only moves bytes.
    fn start(&mut self) {
        self.start_sift();
        self.start_lookups();
        self.start_stores();
        self.start_fetches();
        if self.tasks.is_empty() && !self.group.is_empty() {
            self.store_group();
        }
    }

    fn start_sift(&mut self) {
        // One at a time: the next would only wait for it.
        if self.sifts > 0 || !self.planner.is_unsure() {
            return;
        }
        self.sifts += 1;
        let (engine, seen) = (self.engine, self.planner.seen().clone());
        let candidates = self.planner.take_unsifted(SIFTED_MAX);
        self.spawn(async move { engine.sift(seen, candidates).await.map(Step::Sifted) });
    }

    /// Returns whether so much content is wanted that nothing which wants more is looked at.
    fn is_content_waiting(&self) -> bool {
        let found = self.local_content.len() + self.remote_content.len();
        found + self.planner.content_waiting() > CONTENT_WAITING_MAX
    }

    fn start_lookups(&mut self) {
        let engine = self.engine;
        while self.lookups < 2 {
            let wants = match self.is_content_waiting() {
                true => Vec::new(),
                false => self.planner.take_metadata(LOOKUP_NAMES_MAX),
            };
            if !wants.is_empty() {
                self.lookups += 1;
                self.spawn(
                    async move { lookup::metadata(engine, wants).await.map(Step::Metadata) },
                );
                continue;
            }
            let files = self.planner.take_content(LOOKUP_NAMES_MAX);
            if files.is_empty() {
                return;
            }
            self.lookups += 1;
            self.spawn(async move {
                lookup::missing_files(engine.batch, files)
                    .await
                    .map(Step::MissingContent)
            });
        }
    }

    fn start_stores(&mut self) {
        // A store that is not busy takes what there is, so that little is lost to a sudden end; a
        // busy one waits for a full group.
        let width = self.engine.destination.pool().width();
        let full = self.group.len() >= GROUP_OBJECTS_MAX || self.group_bytes >= GROUP_BYTES_MAX;
        if (full && self.stores <= width) || (self.stores < width && !self.group.is_empty()) {
            self.store_group();
        }
    }

    fn start_fetches(&mut self) {
        let engine = self.engine;
        let width = engine.width();
        let pool_width = engine.destination.pool().width();
        while self.fetches < width && self.group_bytes < BACKLOG_BYTES_MAX {
            // What has arrived and is not stored counts as under way: a sudden end costs as much.
            let may_ask = self.fetches + self.unstored < width;
            let may_want_more = may_ask && !self.is_content_waiting();
            if let Some(want) = self.missing_metadata.pop_if(|_| may_want_more) {
                self.fetches += 1;
                self.spawn(engine.fetch_metadata(want));
            } else if !self.local_content.is_empty() && self.stores <= pool_width {
                let at = self.local_content.len().saturating_sub(GROUP_OBJECTS_MAX);
                let group = self.local_content.split_off(at);
                self.fetches += 1;
                self.stores += 1;
                self.spawn(engine.open_local(group));
                return;
            } else if let Some(checksum) = self.remote_content.pop_if(|_| may_ask) {
                self.fetches += 1;
                let attempt = match self.fetched_again.contains(&checksum) {
                    true => Attempt::Again,
                    false => Attempt::First,
                };
                self.spawn(engine.fetch_content(checksum, attempt));
            } else {
                return;
            }
        }
    }

    fn spawn(&mut self, task: impl Future<Output = Result<Step>> + Send + 'e) {
        self.tasks.push(Box::pin(task));
    }

    fn store_group(&mut self) {
        let group = std::mem::take(&mut self.group);
        let shares = std::mem::take(&mut self.group_shares);
        self.group_bytes = 0;
        self.stores += 1;
        let fetched = std::mem::take(&mut self.group_fetched);
        let batch = self.engine.batch;
        self.spawn(async move {
            let puts = batch.put(group).await;
            drop(shares);
            Ok(Step::Stored { puts, fetched })
        });
    }

    fn store_spooled(&mut self, checksum: Checksum, arrival: Incoming, file: Box<dyn ScratchFile>) {
        self.stores += 1;
        let batch = self.engine.batch;
        self.spawn(async move {
            let put = batch.put(vec![arrival]).await.pop();
            let put = put.unwrap_or_else(|| Err(Error::invalid("a store gave no answer")));
            Ok(Step::StoredSpooled(checksum, put, file))
        });
    }

    /// Adds what came over a transport.
    fn add_fetched(&mut self, incoming: Incoming, bytes: u64) {
        self.unstored += 1;
        self.group_fetched += 1;
        self.add_to_group(incoming, bytes);
    }

    fn add_to_group(&mut self, incoming: Incoming, bytes: u64) {
        self.group_bytes += bytes;
        self.group.push(self.policed(incoming));
    }

    fn policed(&self, incoming: Incoming) -> Incoming {
        let incoming = incoming.limit_metadata(self.engine.options.limits.metadata_bytes_max);
        match self.engine.options.files {
            FilePolicy::Any => incoming,
            FilePolicy::BareUserOnly => incoming.check_header(refuse_unusual_modes),
        }
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

    fn on_found(&mut self, found: FoundMetadata) -> Result<()> {
        for want in found.missing {
            self.engine
                .options
                .progress
                .update(|s| s.metadata.total += 1);
            self.missing_metadata.push(want);
        }
        for (want, bytes) in found.whole_commits {
            self.report.commits.push(want.name.checksum);
            self.planner.on_whole_commit(&want, &bytes)?;
        }
        for (want, bytes) in found.present {
            self.note_commit(&want);
            self.planner.on_object(&want, &bytes)?;
        }
        self.planner.put_back(found.later);
        for (want, bytes, file) in found.from_local {
            self.engine
                .options
                .progress
                .update(|s| s.metadata.total += 1);
            self.report.metadata_local += 1;
            self.on_metadata(&want, &bytes)?;
            // Read again when it is stored, which may be no more than another link to it.
            let body = Body::Metadata(Payload::Local(file));
            self.add_to_group(Incoming::named(want.name, body), 0);
            if self.group.len() >= GROUP_OBJECTS_MAX {
                self.store_group();
            }
        }
        Ok(())
    }

    /// Queues files that have to come over a transport.
    fn want_remote(&mut self, files: Vec<Checksum>) {
        for file in &files {
            if let Some(bytes) = self.planner.archived_bytes(file) {
                self.announced.bytes = self.announced.bytes.saturating_add(bytes);
                self.announced.files += 1;
            }
        }
        self.transfers += files.len() as u64;
        self.remote_content.extend(files);
    }

    /// Takes the answers of a store. What a local copy got wrong, or the line, is fetched once more
    /// from a remote before it is an error.
    fn on_stored(&mut self, puts: Vec<Result<Put>>) -> Result<()> {
        let remote = self.engine.remotes().next().is_some();
        for put in puts {
            let error = match put {
                Ok(put) => {
                    self.note_written(&put);
                    continue;
                }
                Err(error) => error,
            };
            let file = match error.subject() {
                Some(Subject::Object(name)) if name.object_type == ObjectType::File => *name,
                _ => return Err(error),
            };
            let again = remote && error.kind() == ErrorKind::Corrupt;
            if !again || !self.fetched_again.insert(file.checksum) {
                return Err(error);
            }
            tracing::warn!(%error, "damaged where it was taken from: fetching it again");
            self.want_remote(vec![file.checksum]);
        }
        Ok(())
    }

    fn note_written(&mut self, put: &Put) {
        if put.stored == Stored::Present {
            return;
        }
        let unpacked = self.engine.destination.objects().encoding() == Encoding::Canonical
            && put.name.object_type == ObjectType::File;
        self.report.written_bytes += match unpacked {
            true => put.unpacked_bytes,
            false => put.stored_bytes,
        };
    }

    fn note_commit(&mut self, want: &Want) {
        if Planner::is_commit(want) {
            self.report.commits.push(want.name.checksum);
        }
    }

    fn on_fetched_metadata(&mut self, want: Want, arrived: Option<ArrivedMetadata>) -> Result<()> {
        let Some(ArrivedMetadata { bytes, share }) = arrived else {
            self.engine
                .options
                .progress
                .update(|s| s.metadata.done += 1);
            return self.planner.on_missing(&want, &self.engine.describe());
        };
        self.report.transferred_bytes += bytes.len() as u64;
        self.report.commits_transferred += u64::from(Planner::is_commit(&want));
        self.on_metadata(&want, &bytes)?;
        let length = bytes.len() as u64;
        let body = Body::Metadata(Payload::Bytes(bytes));
        self.add_fetched(Incoming::named(want.name, body), length);
        if share.is_some() {
            self.group_shares.push(share);
        }
        Ok(())
    }

    /// Takes what a metadata object says, wherever it came from.
    fn on_metadata(&mut self, want: &Want, bytes: &Bytes) -> Result<()> {
        self.engine
            .options
            .progress
            .update(|s| s.metadata.done += 1);
        self.note_commit(want);
        self.report.metadata_fetched += 1;
        self.planner.on_object(want, bytes)
    }

    fn on_local_content(&mut self, arrived: Vec<Incoming>, rest: Vec<Checksum>) -> Result<()> {
        let remote = self.engine.remotes().next().is_some();
        if let (Some(first), false) = (rest.first(), remote) {
            return Err(self.engine.missing(ObjectName::file(*first)));
        }
        self.want_remote(rest);
        self.report.content_fetched += arrived.len() as u64;
        self.report.content_local += arrived.len() as u64;
        self.engine
            .options
            .progress
            .update(|s| s.content.done += arrived.len() as u64);
        for incoming in arrived {
            // Read when it is stored: costs no memory now.
            self.add_to_group(incoming, 0);
        }
        if !self.group.is_empty() {
            self.store_group();
        }
        Ok(())
    }

    fn on_fetched_content(&mut self, checksum: Checksum, arrival: Option<Arrival>) -> Result<()> {
        let Some(arrival) = arrival else {
            return Err(self.engine.missing(ObjectName::file(checksum)));
        };
        self.report.content_fetched += 1;
        self.report.transferred_bytes += arrival.bytes;
        self.content_bytes += arrival.bytes;
        self.engine.options.progress.update(|s| s.content.done += 1);
        match arrival.spooled {
            Some(file) => {
                let incoming = self.policed(arrival.incoming);
                self.store_spooled(checksum, incoming, file);
            }
            None => self.add_fetched(arrival.incoming, arrival.bytes),
        }
        Ok(())
    }

    fn on_stored_spooled(
        &mut self,
        checksum: Checksum,
        put: Result<Put>,
        file: Box<dyn ScratchFile>,
    ) -> Result<()> {
        // Two halves of which one is bad: once, all of it is fetched anew.
        let again = match put {
            Ok(put) => {
                self.note_written(&put);
                false
            }
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                if !self.fetched_again.insert(checksum) {
                    return Err(error);
                }
                true
            }
            Err(error) => return Err(error),
        };
        self.lookups += 1;
        let refetch = if again { vec![checksum] } else { Vec::new() };
        self.spawn(async move {
            file.discard().await?;
            Ok(Step::MissingContent(refetch))
        });
        Ok(())
    }

    /// Reports totals: exact once nothing can be wanted any more that is not known.
    fn tell(&self) {
        let scanning = self.lookups + self.sifts > 0
            || self.planner.is_unsure()
            || !self.missing_metadata.is_empty();
        let certainty = if scanning {
            Certainty::Estimated
        } else {
            Certainty::Exact
        };
        self.engine.options.progress.update(|snapshot| {
            if !scanning {
                snapshot.phase = Phase::Transferring;
            }
            snapshot.metadata.certainty = certainty;
            snapshot.content.certainty = certainty;
            let files = snapshot.content;
            let all_announced = self.announced.files == self.transfers && !scanning;
            let metadata_bytes = self.report.transferred_bytes - self.content_bytes;
            snapshot.transferred.certainty = if all_announced {
                Certainty::Exact
            } else {
                Certainty::Estimated
            };
            let average = self.content_bytes.checked_div(files.done);
            let left = files.total.saturating_sub(files.done);
            let transferred = self.report.transferred_bytes;
            let estimated = |average: u64| transferred.saturating_add(average.saturating_mul(left));
            snapshot.transferred.total_bytes = match all_announced {
                true => Some(self.announced.bytes.saturating_add(metadata_bytes)),
                false => average.map(estimated),
            };
        });
    }
}

fn refuse_unusual_modes(header: &FileHeader) -> Result<()> {
    let unusual = header.mode & 0o7777 & !0o775;
    if header.is_symlink() || unusual == 0 {
        return Ok(());
    }
    let problem = format!(
        "has mode {:04o}, outside of 0775: set-user-id, set-group-id, sticky and world-writable \
         files are refused here",
        header.mode & 0o7777
    );
    Err(Error::invalid(problem))
}
