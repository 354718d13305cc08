//! The memory store, wrong in one way at a time.

mod batch;
mod objects;
mod refs;
mod scratch;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use treeferry_conformance::{Fixture, Profile};
use treeferry_core::Result;
use treeferry_core::format::ObjectName;
use treeferry_core::store::{
    Encoding, MemoryOptions, MemoryStore, RefAtomicity, RefName, RefValue,
};

use self::objects::Raw;

/// What is wrong with a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing: the wrapper itself is right.
    None,
    // Objects.
    StoresUnverifiedBytes,
    KeepsHalfAnObject,
    ShowsObjectsBeforeCommit,
    ShowsCommitsFirst,
    LosesTheLastOfALargeBatch,
    SaysNewForPresent,
    AnswersPutsBackwards,
    CallsEveryErrorCorrupt,
    CountsPresentAsWritten,
    DeflatesAgain,
    HoldsOnlyCanonicalHeaders,
    LosesLeftovers,
    AdoptsLeftoversAlways,
    SortsStats,
    FindsAbsentOnesInLargeStats,
    ConfusesKindsInStat,
    ListsNoDirmeta,
    ListsTwice,
    ForgetsToDelete,
    DeletesUnderASharedLock,
    ExclusiveExcludesNobody,
    LocksPerHandle,
    BatchesTakeNoLock,
    NeverReleasesTheLock,
    // Scratch.
    HasNoScratch,
    ForgetsTheValidator,
    ConfusesOrigins,
    SharesDownloads,
    KeepsDiscarded,
    // Refs.
    IgnoresTheExpectedRef,
    ComparesThenSets,
    ConflictIsAnError,
    FlattensAliases,
    RemembersRefs,
    ListsRefsBackwards,
    ListsAllRefsAsLocal,
    MovesRefsOneByOne,
    // State.
    IgnoresTheExpectedMetadata,
    IgnoresTheExpectedConfig,
    EmptyMetadataIsAbsent,
    PartialMarksPerHandle,
    ForgetsWhyPartial,
    KeepsTombstones,
    KeepsTheOldSignature,
    TearsTheSummary,
    ConfusesExtras,
    ListsNoIndexes,
    IgnoresTheOffset,
    KeepsHalfADeltaFile,
    DeletesOneDeltaFile,
    // Places.
    PlacesAreOne,
}

/// A handle on a place that is wrong.
#[derive(Debug, Clone)]
pub(crate) struct Faulty {
    fault: Fault,
    says: Profile,
    inner: MemoryStore,
    /// Whose lock it takes, where that is not its own.
    locks: MemoryStore,
    /// Where this handle keeps what should be shared.
    own: MemoryStore,
    shared: Arc<Shared>,
    seen: Arc<Mutex<BTreeMap<RefName, Option<RefValue>>>>,
}

/// What all handles on a wrong place share.
#[derive(Debug, Default)]
struct Shared {
    /// What it shows although it is no object.
    false_objects: Mutex<BTreeMap<ObjectName, Raw>>,
    /// What it shows to all too early.
    early: Mutex<BTreeSet<ObjectName>>,
    /// What it has lost.
    lost: Mutex<BTreeSet<ObjectName>>,
    /// Which downloads somebody has taken.
    held: Arc<Mutex<BTreeSet<scratch::Key>>>,
}

/// A place that is wrong, and may say so.
pub(crate) struct FaultyPlace {
    fault: Fault,
    profile: Profile,
    inner: MemoryStore,
    locks: MemoryStore,
    shared: Arc<Shared>,
}

impl FaultyPlace {
    /// Makes a place that says that nothing is wrong with it, but for what `say` changes.
    pub(crate) fn new(fault: Fault, say: impl FnOnce(&mut Profile)) -> Self {
        let encoding = match fault {
            Fault::DeflatesAgain => Encoding::Filez,
            _ => Encoding::Canonical,
        };
        let mut profile = Profile {
            encoding,
            ref_atomicity: RefAtomicity::Set,
            ..Profile::default()
        };
        say(&mut profile);
        Self::with_profile(fault, profile)
    }

    fn with_profile(fault: Fault, profile: Profile) -> Self {
        Self {
            fault,
            profile,
            inner: memory(profile.encoding),
            locks: memory(profile.encoding),
            shared: Arc::default(),
        }
    }
}

fn memory(encoding: Encoding) -> MemoryStore {
    MemoryStore::new(MemoryOptions {
        encoding,
        lock_wait: Duration::from_millis(100),
        clock: Some(SystemTime::now),
        ..MemoryOptions::default()
    })
}

impl Fixture for FaultyPlace {
    type Store = Faulty;

    async fn open(&self) -> Result<Faulty> {
        let own = memory(self.profile.encoding);
        let locks = match self.fault {
            Fault::LocksPerHandle => own.clone(),
            _ => self.locks.clone(),
        };
        Ok(Faulty {
            fault: self.fault,
            says: self.profile,
            inner: self.inner.clone(),
            locks,
            own,
            shared: Arc::clone(&self.shared),
            seen: Arc::default(),
        })
    }

    async fn another(&self) -> Result<Self> {
        let mut other = Self::with_profile(self.fault, self.profile);
        if self.fault == Fault::PlacesAreOne {
            other.inner = self.inner.clone();
        }
        Ok(other)
    }

    fn profile(&self) -> Profile {
        self.profile
    }
}
