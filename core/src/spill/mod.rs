//! Sets of names that do not fit in memory.
//!
//! A walk over a repository has to know what it has seen, and a repository may hold more objects
//! than there is memory for their names. Up to a threshold such a set is in memory; beyond it, it
//! is written out in order, to files without a name, which are gone when the set is. Where there is
//! no place for them, or none that can be written, all of it stays in memory.
//!
//! ```text
//! memory (a hash set) --full--> run --as many again--> a run twice as long ...
//! ```
//!
//! A run is sorted; of each block of it the first name is kept in memory. Looking a name up reads
//! a block of each run, of which there are as many as the set has doubled over the threshold. Runs
//! hold any record of a fixed length: what knows more than names spills by the same means.

mod name_set;
mod place;
mod run;

pub(crate) use name_set::{Name, NameSet, SortedNames};
pub use place::SpillPlace;
pub use run::{FileRun, Record, Run};

/// When, and where to, a set of names is written out.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Spill {
    /// How many names one set holds in memory, at most, if there is a place. Each takes some 40
    /// bytes, and one operation has two or three sets.
    pub names_in_memory_max: usize,
    /// Where the rest goes; `None` keeps all of it in memory.
    pub place: Option<SpillPlace>,
}

/// What fills a hash table of 2^18 places before it grows: some 10 MB.
const NAMES_IN_MEMORY_MAX: usize = (1 << 18) / 8 * 7;

impl Spill {
    /// Spills to `place`.
    pub fn to(place: Option<SpillPlace>) -> Self {
        Self {
            names_in_memory_max: NAMES_IN_MEMORY_MAX,
            place,
        }
    }
}
