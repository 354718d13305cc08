//! What follows from what came back.

use bytes::Bytes;

use super::{GROUP_OBJECTS_MAX, Run, Step};
use crate::error::{ErrorKind, Result, Subject};
use crate::format::{Checksum, ObjectName, ObjectType};
use crate::ops::replicate::fetch::{Arrival, ArrivedMetadata};
use crate::ops::replicate::lookup::FoundMetadata;
use crate::ops::replicate::planner::{Planner, Want};
use crate::store::{Body, Encoding, Incoming, Payload, Put, ScratchFile, Stored};

impl Run<'_> {
    pub(super) fn on_found(&mut self, found: FoundMetadata) -> Result<()> {
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
            let body = Body::Metadata(Payload::Local(file));
            self.add_local(Incoming::named(want.name, body));
            if self.group.len() >= GROUP_OBJECTS_MAX {
                self.store_group();
            }
        }
        Ok(())
    }

    /// Queues files that have to come over a transport.
    pub(super) fn want_remote(&mut self, files: Vec<Checksum>) {
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
    pub(super) fn on_stored(&mut self, puts: Vec<Result<Put>>) -> Result<()> {
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
        self.written.files += u64::from(put.name.object_type == ObjectType::File);
        if put.stored == Stored::Present {
            return;
        }
        let unpacked = self.engine.destination.objects().encoding() == Encoding::Canonical
            && put.name.object_type == ObjectType::File;
        self.report.written_bytes += match unpacked {
            true => put.unpacked_bytes,
            false => put.stored_bytes,
        };
        self.written.bytes += put.stored_bytes;
        if put.name.object_type == ObjectType::File {
            self.written.file_bytes += put.stored_bytes;
        }
    }

    fn note_commit(&mut self, want: &Want) {
        if Planner::is_commit(want) {
            self.report.commits.push(want.name.checksum);
        }
    }

    pub(super) fn on_fetched_metadata(
        &mut self,
        want: Want,
        arrived: Option<ArrivedMetadata>,
    ) -> Result<()> {
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

    pub(super) fn on_local_content(
        &mut self,
        arrived: Vec<Incoming>,
        rest: Vec<Checksum>,
    ) -> Result<()> {
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
            self.add_local(incoming);
        }
        if !self.group.is_empty() {
            self.store_group();
        }
        Ok(())
    }

    pub(super) fn on_fetched_content(
        &mut self,
        checksum: Checksum,
        arrival: Option<Arrival>,
    ) -> Result<()> {
        let Some(arrival) = arrival else {
            return Err(self.engine.missing(ObjectName::file(checksum)));
        };
        let incoming = self.trusted(&checksum, arrival.incoming, arrival.transfer);
        self.report.content_fetched += 1;
        self.report.transferred_bytes += arrival.bytes;
        self.content_bytes += arrival.bytes;
        self.engine.options.progress.update(|s| s.content.done += 1);
        match arrival.spooled {
            Some(file) => {
                let incoming = self.policed(incoming);
                self.store_spooled(checksum, incoming, file);
            }
            None => self.add_fetched(incoming, arrival.bytes),
        }
        Ok(())
    }

    pub(super) fn on_stored_spooled(
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
}
