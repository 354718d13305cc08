//! What is begun when there is room for it.

use super::{
    BACKLOG_BYTES_MAX, CONTENT_WAITING_MAX, GROUP_BYTES_MAX, GROUP_OBJECTS_MAX, LOOKUP_NAMES_MAX,
    Run, SIFTED_MAX, Step,
};
use crate::error::Error;
use crate::format::Checksum;
use crate::ops::replicate::lookup;
use crate::ops::replicate::sources::Attempt;
use crate::store::{Incoming, ScratchFile};

impl Run<'_> {
    /// Starts whatever can be started: what finds out more comes before what only moves bytes.
    pub(super) fn start(&mut self) {
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
                let announced = self.planner.announced(&checksum);
                let announced = announced.map(|size| size.unpacked_bytes);
                self.spawn(engine.fetch_content(checksum, attempt, announced));
            } else {
                return;
            }
        }
    }

    pub(super) fn store_group(&mut self) {
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

    pub(super) fn store_spooled(
        &mut self,
        checksum: Checksum,
        arrival: Incoming,
        file: Box<dyn ScratchFile>,
    ) {
        self.stores += 1;
        let batch = self.engine.batch;
        self.spawn(async move {
            let put = batch.put(vec![arrival]).await.pop();
            let put = put.unwrap_or_else(|| Err(Error::invalid("a store gave no answer")));
            Ok(Step::StoredSpooled(checksum, put, file))
        });
    }
}
