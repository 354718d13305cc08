//! A set that only grows, and what it is once it does not grow any more.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use super::Spill;
use super::run::{FileRun, Record, Run};
use crate::error::Result;
use crate::format::Checksum;
use crate::pool::Pool;

const NAME_BYTES: usize = 4 + 32;

/// What sets hold: a checksum, and in which role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Name([u8; NAME_BYTES]);

impl Name {
    /// Names `checksum` in the role `role`. Names are ordered by role first.
    pub(crate) fn new(role: u32, checksum: &Checksum) -> Self {
        let mut bytes = [0; NAME_BYTES];
        bytes[..4].copy_from_slice(&role.to_be_bytes());
        bytes[4..].copy_from_slice(checksum.as_bytes());
        Self(bytes)
    }

    /// Returns the role.
    pub(crate) fn role(&self) -> u32 {
        let [a, b, c, d, ..] = self.0;
        u32::from_be_bytes([a, b, c, d])
    }

    /// Returns the checksum.
    pub(crate) fn checksum(&self) -> Checksum {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(&self.0[4..]);
        Checksum::from_bytes(bytes)
    }
}

impl Record for Name {
    const BYTES: usize = NAME_BYTES;

    fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn read(bytes: &[u8]) -> Self {
        let mut name = [0; NAME_BYTES];
        name.copy_from_slice(bytes);
        Self(name)
    }
}

/// A set of names. Clones are the same set.
#[derive(Debug, Clone)]
pub(crate) struct NameSet {
    inner: Arc<Mutex<Inner>>,
    pool: Pool,
}

#[derive(Debug)]
struct Inner {
    memory: HashSet<Name>,
    runs: Vec<FileRun<Name>>,
    spill: Spill,
}

impl NameSet {
    /// Makes an empty set, whose work with files is done on `pool`.
    pub(crate) fn new(spill: Spill, pool: Pool) -> Self {
        let inner = Inner {
            memory: HashSet::new(),
            runs: Vec::new(),
            spill,
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
            pool,
        }
    }

    /// Adds a name if that takes no work with files, and returns whether it was new; `None` when
    /// [`insert`](Self::insert) must be asked.
    pub(crate) fn insert_now(&self, name: Name) -> Option<bool> {
        let mut inner = self.try_lock()?;
        if inner.memory.contains(&name) {
            return Some(false);
        }
        (inner.runs.is_empty() && inner.has_room(1)).then(|| inner.memory.insert(name))
    }

    /// Returns whether a name is known to be in here, without work with files.
    pub(crate) fn is_known(&self, name: &Name) -> bool {
        self.try_lock()
            .is_some_and(|inner| inner.memory.contains(name))
    }

    /// Adds names, and returns of each whether it was new.
    pub(crate) async fn insert(&self, names: Vec<Name>) -> Result<Vec<bool>> {
        if let Some(mut inner) = self.try_lock()
            && inner.runs.is_empty()
            && inner.has_room(names.len())
        {
            return Ok(names.into_iter().map(|n| inner.memory.insert(n)).collect());
        }
        let inner = Arc::clone(&self.inner);
        self.pool.run(move || lock(&inner).insert(names)).await
    }

    /// Ends the growing. What is inserted through clones from now on is not in what this returns.
    pub(crate) async fn into_sorted(self) -> Result<SortedNames> {
        let (inner, pool) = (self.inner, self.pool);
        let sort = move || {
            let mut inner = lock(&inner);
            let mut memory: Vec<_> = std::mem::take(&mut inner.memory).into_iter().collect();
            memory.sort_unstable();
            let files = std::mem::take(&mut inner.runs);
            let files = files.into_iter().map(Run::File);
            Ok(files.chain([Run::Memory(memory)]).collect())
        };
        let runs = pool.run(sort).await?;
        Ok(SortedNames {
            runs: Arc::new(runs),
            pool,
        })
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, Inner>> {
        match self.inner.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            // A job works with files.
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    // A step that panicked left names in the set that were asked about: nothing half-done.
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Inner {
    fn has_room(&self, names: usize) -> bool {
        self.spill.place.is_none() || self.memory.len() + names <= self.spill.names_in_memory_max
    }

    /// **Blocking.**
    fn insert(&mut self, names: Vec<Name>) -> Result<Vec<bool>> {
        // Of a name that is there twice the first is new.
        let mut order: Vec<usize> = (0..names.len()).collect();
        order.sort_unstable_by_key(|at| (names[*at], *at));
        order.dedup_by_key(|at| names[*at]);
        order.retain(|at| !self.memory.contains(&names[*at]));
        for run in &self.runs {
            let sorted: Vec<_> = order.iter().map(|at| names[*at]).collect();
            let mut known = vec![false; sorted.len()];
            run.find(&sorted, |at| known[at] = true)?;
            let mut known = known.into_iter();
            order.retain(|_| !known.next().unwrap_or_default());
        }
        if !self.has_room(order.len()) {
            self.spill_memory();
        }
        let mut new = vec![false; names.len()];
        for at in order {
            new[at] = true;
            self.memory.insert(names[at]);
        }
        Ok(new)
    }

    /// Writes out what is in memory. Where that fails it stays there: a full disk must not keep a
    /// prune from freeing room.
    fn spill_memory(&mut self) {
        if self.memory.is_empty() {
            return;
        }
        if let Err(error) = self.try_spill() {
            tracing::warn!(%error, "names of objects are kept in memory");
            self.spill.place = None;
        }
    }

    fn try_spill(&mut self) -> Result<()> {
        let Some(place) = self.spill.place.clone() else {
            return Ok(());
        };
        let mut names: Vec<_> = self.memory.iter().copied().collect();
        names.sort_unstable();
        let run = FileRun::write(place.open()?, &names)?;
        drop(names);
        self.memory.clear();
        self.runs.push(run);
        FileRun::settle(&mut self.runs, &place)
    }
}

/// A set of names that does not grow any more, in order.
#[derive(Debug, Clone)]
pub(crate) struct SortedNames {
    runs: Arc<Vec<Run<Name>>>,
    pool: Pool,
}

impl SortedNames {
    /// Returns of each name whether it is in the set.
    pub(crate) async fn contains(&self, names: Vec<Name>) -> Result<Vec<bool>> {
        let find = |runs: &[Run<Name>], names: Vec<Name>| {
            let mut order: Vec<usize> = (0..names.len()).collect();
            order.sort_unstable_by_key(|at| names[*at]);
            let sorted: Vec<_> = order.iter().map(|at| names[*at]).collect();
            let mut found = vec![false; names.len()];
            for run in runs {
                run.find(&sorted, |at| found[order[at]] = true)?;
            }
            Ok(found)
        };
        if self.is_in_memory() {
            return find(&self.runs, names);
        }
        let runs = Arc::clone(&self.runs);
        self.pool.run(move || find(&runs, names)).await
    }

    /// Returns the checksums in the role `role` that come after `after`, in order, at most `max`.
    pub(crate) async fn page(
        &self,
        role: u32,
        after: Option<Checksum>,
        max: usize,
    ) -> Result<Vec<Checksum>> {
        let after = match after {
            Some(after) => Some(Name::new(role, &after)),
            // The last of the role before: a name that no object has.
            None => role
                .checked_sub(1)
                .map(|before| Name::new(before, &Checksum::from_bytes([0xff; 32]))),
        };
        let read = move |runs: &[Run<Name>]| {
            let mut names = Vec::new();
            for run in runs {
                names.extend(run.after(after.as_ref(), max)?);
            }
            names.sort_unstable();
            names.truncate(max);
            let of_role = names.iter().take_while(|name| name.role() == role);
            Ok(of_role.map(Name::checksum).collect())
        };
        if self.is_in_memory() {
            return read(&self.runs);
        }
        let runs = Arc::clone(&self.runs);
        self.pool.run(move || read(&runs)).await
    }

    fn is_in_memory(&self) -> bool {
        self.runs.iter().all(|run| matches!(run, Run::Memory(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spill::SpillPlace;

    /// Names that repeat, in an order of their own.
    fn names(count: u32) -> Vec<Name> {
        let name = |n: u32| Name::new(n % 3, &Checksum::of(&n.to_be_bytes()));
        (0..count).map(|n| name(n % (count / 2 + 1))).collect()
    }

    fn spilling(dir: &std::path::Path, max: usize) -> Spill {
        let mut spill = Spill::to(Some(SpillPlace::new(dir)));
        spill.names_in_memory_max = max;
        spill
    }

    async fn fill(spill: Spill, names: &[Name], step: usize) -> (Vec<bool>, NameSet) {
        let set = NameSet::new(spill, Pool::new(1));
        let mut new = Vec::new();
        for some in names.chunks(step) {
            new.extend(set.insert(some.to_vec()).await.unwrap());
        }
        (new, set)
    }

    #[tokio::test]
    async fn what_spilled_answers_as_what_did_not() {
        let dir = tempfile::tempdir().unwrap();
        let names = names(5000);
        let (expected, small) = fill(Spill::to(None), &names, 100).await;
        let small = small.into_sorted().await.unwrap();
        for (max, step) in [(1, 1), (7, 3), (128, 100), (1000, 500), (2400, 64)] {
            let (new, set) = fill(spilling(dir.path(), max), &names, step).await;
            assert_eq!(new, expected, "{max}, {step}");
            assert!(!lock(&set.inner).runs.is_empty());
            let runs = lock(&set.inner).runs.len();
            assert!(runs <= 14, "{runs} runs");
            let set = set.into_sorted().await.unwrap();
            let mut asked = names[..300].to_vec();
            asked.push(Name::new(9, &Checksum::of(b"absent")));
            let found = set.contains(asked).await.unwrap();
            assert_eq!(found.iter().filter(|found| **found).count(), 300);
            for role in 0..4 {
                let mut after = None;
                loop {
                    let page = set.page(role, after, 77).await.unwrap();
                    assert_eq!(page, small.page(role, after, 77).await.unwrap());
                    let Some(last) = page.last() else { break };
                    after = Some(*last);
                }
            }
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn what_would_take_work_with_files_is_not_done_now() {
        let dir = tempfile::tempdir().unwrap();
        let names = names(40);
        let set = NameSet::new(spilling(dir.path(), 10), Pool::new(1));
        assert_eq!(set.insert_now(names[0]), Some(true));
        assert_eq!(set.insert_now(names[0]), Some(false));
        set.insert(names[..15].to_vec()).await.unwrap();
        set.insert(names[..18].to_vec()).await.unwrap();
        // It may be in a file.
        assert_eq!(set.insert_now(names[0]), None);
        assert_eq!(set.insert_now(names[17]), Some(false));
        assert_eq!(set.insert(vec![names[0]]).await.unwrap(), [false]);
    }

    #[tokio::test]
    async fn without_a_place_that_can_be_written_names_stay_in_memory() {
        let names = names(2000);
        let (expected, _) = fill(Spill::to(None), &names, 100).await;
        let nowhere = std::path::Path::new("/nonexistent/directory");
        let (new, set) = fill(spilling(nowhere, 10), &names, 100).await;
        assert_eq!(new, expected);
        assert!(lock(&set.inner).runs.is_empty());
    }

    #[tokio::test]
    async fn a_million_names_take_the_memory_of_a_quarter() {
        let dir = tempfile::tempdir().unwrap();
        let set = NameSet::new(Spill::to(Some(SpillPlace::new(dir.path()))), Pool::new(1));
        let name = |n: u32| {
            // As scattered as checksums, and quicker to make.
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&n.wrapping_mul(0x9e37_79b9).to_be_bytes());
            Name::new(2, &Checksum::from_bytes(bytes))
        };
        for step in 0..500_u32 {
            let some: Vec<_> = (0..2048).map(|n| name(step * 2048 + n)).collect();
            assert!(set.insert(some).await.unwrap().iter().all(|new| *new));
        }
        let again = set.insert((0..2048).map(name).collect()).await.unwrap();
        assert!(again.iter().all(|new| !new));
        let inner = lock(&set.inner);
        let firsts: usize = inner.runs.iter().map(|run| run.len() / 128).sum();
        let bytes = (inner.memory.capacity() * 8 / 7) * (Name::BYTES + 1) + firsts * Name::BYTES;
        println!(
            "{} names in {} runs: {bytes} bytes",
            500 * 2048,
            inner.runs.len()
        );
        assert!(bytes < 12_000_000, "{bytes} bytes");
    }
}
