//! The memory transport, wrong in one way at a time.

mod read;
mod write;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use treeferry_conformance::{TransportFixture, TransportProfile};
use treeferry_conformance::{publish_by_put, withdraw_by_delete};
use treeferry_core::Result;
use treeferry_core::transport::{MemoryTransport, RemotePath};

use crate::memory_transport::memory_files;

/// What is wrong with a transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing: the wrapper itself is right.
    None,
    // Reading.
    LosesTheLastByteOfLargeFiles,
    AbsentIsEmpty,
    AbsentIsAnError,
    DirectoriesAreFiles,
    DecodesPercent,
    FoldsCase,
    TellsNoTotals,
    TellsTheTotalOfTheRest,
    TellsNoVersions,
    VersionsAreLengths,
    VersionsPerHandle,
    NeverNotModified,
    BelievesAnyVersion,
    ForgetsThatItIsAbsent,
    StartsOver,
    SendsTheWholeAsTheRest,
    ContinuesAnyVersion,
    ClampsTheOffset,
    IgnoresTheLimit,
    CutsAtTheLimit,
    LimitsTheRest,
    MixesVersions,
    RemembersFiles,
    AddressesNameNoFile,
    // Writing.
    ShowsPuts,
    KeepsWhatBroke,
    TakesTheWrongLength,
    BreaksAsCorrupt,
    IgnoresAbsent,
    IgnoresUnchanged,
    ComparesThenWrites,
    ConflictIsAnError,
    ConflictWrites,
    TellsTheOldVersion,
    RefusesConditions,
    DeletesNothingAbsent,
    DeletesAThousand,
    DeletesWhatStartsAlike,
    ListsAPage,
    ListsNoEmptyFiles,
    ListsByDirectoryWithoutSlash,
    ListsTheWrongLength,
    ListsNoTimes,
    ListsWhatFailed,
    ListsAll,
    // Places.
    PlacesAreOne,
    AddressesAreOne,
}

/// A handle on a remote that is wrong.
#[derive(Debug, Clone)]
pub(crate) struct Faulty {
    fault: Fault,
    inner: MemoryTransport,
    /// Says which handle this is.
    handle: u64,
    /// What this handle has seen.
    seen: Arc<Mutex<BTreeMap<RemotePath, Bytes>>>,
    /// Paths that never were files.
    left: Arc<Mutex<Vec<RemotePath>>>,
}

static HANDLES: AtomicU64 = AtomicU64::new(0);

/// A remote that is wrong, and may say so.
pub(crate) struct FaultyRemote {
    fault: Fault,
    profile: TransportProfile,
    inner: MemoryTransport,
    left: Arc<Mutex<Vec<RemotePath>>>,
}

impl FaultyRemote {
    /// Makes a remote that says that nothing is wrong with it, but for what `say` changes.
    pub(crate) fn new(fault: Fault, say: impl FnOnce(&mut TransportProfile)) -> Self {
        let mut profile = TransportProfile::default();
        say(&mut profile);
        Self {
            fault,
            profile,
            inner: memory_files(),
            left: Arc::default(),
        }
    }
}

impl TransportFixture for FaultyRemote {
    type Transport = Faulty;

    async fn open(&self) -> Result<Faulty> {
        Ok(Faulty {
            fault: self.fault,
            inner: self.inner.clone(),
            handle: HANDLES.fetch_add(1, std::sync::atomic::Ordering::Relaxed),
            seen: Arc::default(),
            left: Arc::clone(&self.left),
        })
    }

    async fn another(&self) -> Result<Self> {
        let mut other = Self::new(self.fault, |p| *p = self.profile);
        if self.fault == Fault::PlacesAreOne {
            other.inner = self.inner.clone();
        }
        Ok(other)
    }

    async fn publish(&self, path: &RemotePath, bytes: Bytes) -> Result<()> {
        let path = match self.fault {
            Fault::FoldsCase => RemotePath::new(&path.as_str().to_lowercase())?,
            Fault::DecodesPercent => read::decoded(path),
            _ => path.clone(),
        };
        publish_by_put(&self.inner, &path, bytes).await
    }

    async fn withdraw(&self, path: &RemotePath) -> Result<()> {
        withdraw_by_delete(&self.inner, path).await
    }

    fn profile(&self) -> TransportProfile {
        self.profile
    }
}
