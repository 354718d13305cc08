//! What is there, found out by few listings.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use tokio::sync::OnceCell;

use super::Place;
use crate::archive::layout::{self, OBJECTS_PREFIX};
use crate::error::Result;
use crate::format::{ObjectName, ObjectType};
use crate::transport::{ListedFile, retrying};

/// A repository of up to this many files is listed in one go.
const FILES_IN_ONE_GO: usize = 4000;

/// When so many of the 256 directories are asked about, listing all in one go is tried first.
const MANY_DIRECTORIES: usize = 8;

/// How many directories are listed at once.
const LISTINGS_AT_ONCE: usize = 16;

/// How many directories are in memory while all are listed.
const DIRECTORIES_AT_ONCE: usize = 4;

/// What a listing says of an object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) stored_bytes: u64,
    pub(super) modified: Option<SystemTime>,
}

impl Entry {
    /// Returns whether the object can be whole: none is as short as what a cut upload may leave.
    pub(super) fn is_possible(&self, name: &ObjectName) -> bool {
        match name.object_type {
            // A length, and a header.
            ObjectType::File => self.stored_bytes > 8,
            _ => self.stored_bytes > 0,
        }
    }
}

type Entries = HashMap<ObjectName, Entry>;

/// What was found out so far. Each directory is listed once.
#[derive(Debug)]
pub(super) struct Known {
    /// Everything, if that is little.
    all: OnceCell<Option<Entries>>,
    directories: Vec<OnceCell<Entries>>,
    /// What was deleted since.
    gone: Mutex<HashSet<ObjectName>>,
}

impl Known {
    pub(super) fn nothing() -> Self {
        let mut directories = Vec::new();
        directories.resize_with(256, OnceCell::new);
        Self {
            all: OnceCell::new(),
            directories,
            gone: Mutex::default(),
        }
    }

    /// Notes that objects were deleted.
    pub(super) fn forget(&self, names: &[ObjectName]) {
        let mut gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        gone.extend(names);
    }

    fn is_gone(&self, name: &ObjectName) -> bool {
        let gone = self.gone.lock().unwrap_or_else(PoisonError::into_inner);
        gone.contains(name)
    }

    /// Looks `names` up, listing what was not listed before.
    pub(super) async fn look(
        &self,
        place: &Place,
        names: &[ObjectName],
    ) -> Result<Vec<Option<Entry>>> {
        let wanted: BTreeSet<u8> = names.iter().map(first_byte).collect();
        let unknown = wanted.iter().filter(|first| self.of(**first).is_none());
        let unknown: Vec<u8> = unknown.copied().collect();
        if unknown.len() >= MANY_DIRECTORIES && self.load_all(place).await? {
            return Ok(self.answer(names));
        }
        let load = |first| async move { self.load(place, first).await.map(|_| ()) };
        let loads = stream::iter(unknown.into_iter().map(load));
        let loads = loads.buffer_unordered(LISTINGS_AT_ONCE);
        loads.try_collect::<()>().await?;
        Ok(self.answer(names))
    }

    fn answer(&self, names: &[ObjectName]) -> Vec<Option<Entry>> {
        let find = |name| self.of(first_byte(name))?.get(name).copied();
        let there = |name: &&ObjectName| !self.is_gone(name);
        let find = |name| Some(name).filter(there).and_then(find);
        names.iter().map(find).collect()
    }

    /// Returns what is known of the directory of checksums that begin with `first`.
    fn of(&self, first: u8) -> Option<&Entries> {
        match self.all.get() {
            Some(Some(all)) => Some(all),
            _ => self.directories[usize::from(first)].get(),
        }
    }

    /// Tries to list everything; `false` if it is too much for one go.
    async fn load_all(&self, place: &Place) -> Result<bool> {
        let load = || async { list_in_one_go(place).await };
        Ok(self.all.get_or_try_init(load).await?.is_some())
    }

    async fn load(&self, place: &Place, first: u8) -> Result<&Entries> {
        let load = || async { list_directory(place, first).await };
        self.directories[usize::from(first)]
            .get_or_try_init(load)
            .await
    }

    async fn is_little(&self, place: &Place) -> Result<Option<Listing>> {
        self.load_all(place).await?;
        let all = self.all.get().and_then(Option::as_ref);
        Ok(all.map(|all| in_memory(all, |name| !self.is_gone(name))))
    }

    async fn directory(&self, place: &Place, first: u8) -> Result<Listing> {
        let entries = self.load(place, first).await?;
        Ok(in_memory(entries, |name| !self.is_gone(name)))
    }
}

/// Lists everything. What is listed through a `known` is not listed again by it.
pub(super) fn list(
    known: Option<Arc<Known>>,
    place: Arc<Place>,
) -> BoxStream<'static, Result<(ObjectName, Entry)>> {
    let start = start_list(known, place);
    stream::once(start).try_flatten().boxed()
}

async fn start_list(
    known: Option<Arc<Known>>,
    place: Arc<Place>,
) -> Result<BoxStream<'static, Result<(ObjectName, Entry)>>> {
    let little = match &known {
        Some(known) => known.is_little(&place).await?,
        None => list_in_one_go(&place)
            .await?
            .map(|all| in_memory(&all, |_| true)),
    };
    if let Some(all) = little {
        return Ok(all.boxed());
    }
    let directory = move |first| {
        let (known, place) = (known.clone(), Arc::clone(&place));
        async move {
            match known {
                Some(known) => known.directory(&place, first).await,
                None => {
                    let entries = list_directory(&place, first).await?;
                    Ok(in_memory(&entries, |_| true))
                }
            }
        }
    };
    let directories = stream::iter((0..=255).map(directory));
    let directories = directories.buffered(DIRECTORIES_AT_ONCE);
    Ok(directories.try_flatten().boxed())
}

type Listing = stream::Iter<std::vec::IntoIter<Result<(ObjectName, Entry)>>>;

fn in_memory(entries: &Entries, is_there: impl Fn(&ObjectName) -> bool) -> Listing {
    let there = entries.iter().filter(|(name, _)| is_there(name));
    let entries: Vec<_> = there.map(|(name, entry)| Ok((*name, *entry))).collect();
    stream::iter(entries)
}

fn first_byte(name: &ObjectName) -> u8 {
    name.checksum.as_bytes()[0]
}

/// Lists all objects; `None` if there are too many.
async fn list_in_one_go(place: &Place) -> Result<Option<Entries>> {
    let once = async || {
        let mut entries = Entries::new();
        let mut files = place.transport.list(OBJECTS_PREFIX);
        let mut count = 0;
        while let Some(file) = files.try_next().await? {
            count += 1;
            if count > FILES_IN_ONE_GO {
                return Ok(None);
            }
            add(&mut entries, &file);
        }
        Ok(Some(entries))
    };
    retrying(&place.options.retry, || Box::pin(once())).await
}

async fn list_directory(place: &Place, first: u8) -> Result<Entries> {
    let prefix = layout::fanout_prefix(first);
    let once = async || {
        let mut entries = Entries::new();
        let mut files = place.transport.list(&prefix);
        while let Some(file) = files.try_next().await? {
            add(&mut entries, &file);
        }
        Ok(entries)
    };
    retrying(&place.options.retry, || Box::pin(once())).await
}

fn add(entries: &mut Entries, file: &ListedFile) {
    if let Some(name) = layout::parse_object_path(&file.path) {
        let entry = Entry {
            stored_bytes: file.bytes,
            modified: file.modified,
        };
        entries.insert(name, entry);
    }
}
