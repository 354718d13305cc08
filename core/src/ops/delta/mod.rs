//! Static deltas: making, keeping and applying them.
//!
//! Applying streams: a part is unpacked to a place that need not be memory, its operations are read
//! one object at a time, and what they make goes into the destination like any other object, which
//! verifies it. So a delta is applied into every kind of store, and the worst that a hostile one can
//! do is to be refused after it has used what its [`ApplyBudget`] allows.

mod apply;
mod assemble;
mod bundle;
mod content;
mod execute;
mod generate;
mod inspect;
mod keep;
mod limits;
mod offered;
mod old;
mod open;
mod payload;
mod recipe;
mod spill;
mod take;
mod verify;
mod window;

pub use apply::{ApplyOptions, ApplyReport, apply};
pub use assemble::{Destination, MakeOptions, PartsIn, make};
pub use bundle::BundleInfo;
pub use content::patched;
pub use execute::{DeltaReport, PartFile, PartSource};
pub(crate) use execute::{execute, missing};
pub use generate::{GenerateOptions, GenerateReport, PartSink, generate, parent_of};
pub use inspect::{PartContents, inspect_part};
pub use keep::{delete_kept, kept_deltas, kept_indexes, reindex, superblock_checksums};
pub use limits::ApplyBudget;
pub(crate) use offered::{Demands, Listed, open_superblock};
pub use open::{DeltaPlace, OpenDelta};
pub(crate) use open::{check_bytes, keep};
pub use payload::{Unpacked, unpack};
pub use recipe::{Piece, Recipe, Recipes};
pub use spill::{Spill, SpillPlace};
pub(crate) use take::Taking;
pub use take::{DeltasTaken, LeftOut, TakeDeltas};
pub use verify::verify;
