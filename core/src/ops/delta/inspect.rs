//! Looks into the parts of a delta.

use super::execute::PartSource;
use super::payload::unpack;
use super::{ApplyBudget, OpenDelta};
use crate::error::Result;
use crate::format::delta::{Op, OpReader};
use crate::pool::Pool;

/// What is in a part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PartContents {
    /// Modes.
    pub modes: usize,
    /// Sets of extended attributes.
    pub xattrs: usize,
    /// Length of the heap, bytes.
    pub heap_bytes: u64,
    /// Length of the operations, bytes.
    pub ops_bytes: usize,
    /// Objects made of one piece.
    pub splices: u64,
    /// Files that are begun.
    pub opens: u64,
    /// Pieces of files.
    pub writes: u64,
    /// How often an old file is set.
    pub sets: u64,
    /// How often it is unset.
    pub unsets: u64,
    /// Files that are complete.
    pub closes: u64,
    /// Patches.
    pub patches: u64,
}

/// Unpacks a part, verified, and counts what is in it.
pub async fn inspect_part(
    delta: &OpenDelta,
    number: usize,
    budget: &ApplyBudget,
    pool: &Pool,
) -> Result<PartContents> {
    let Some(header) = delta.superblock.parts.get(number).cloned() else {
        return Ok(PartContents::default());
    };
    let context = |e: crate::Error| e.context(format!("part {number} of the delta"));
    let file = delta.open(number, &header).await.map_err(context)?;
    let budget = budget.clone();
    let count = move || {
        let unpacked = unpack(file.reader, &header, &budget)?;
        let payload = &unpacked.payload;
        let mut contents = PartContents {
            modes: payload.modes.len(),
            xattrs: payload.xattrs.len(),
            heap_bytes: payload.heap.bytes,
            ops_bytes: payload.ops.len(),
            ..PartContents::default()
        };
        let mut ops = OpReader::new(&payload.ops);
        let mut objects = header.objects.iter();
        let mut object = objects.next();
        while let Some(op) = ops.next(object.is_some_and(|o| o.object_type.is_metadata()))? {
            contents.count(&op);
            if matches!(
                op,
                Op::SpliceFile { .. } | Op::SpliceMetadata { .. } | Op::Close
            ) {
                object = objects.next();
            }
        }
        Ok(contents)
    };
    pool.run(count).await.map_err(context)
}

impl PartContents {
    fn count(&mut self, op: &Op) {
        let counter = match op {
            Op::SpliceFile { .. } | Op::SpliceMetadata { .. } => &mut self.splices,
            Op::Open { .. } => &mut self.opens,
            Op::Write { .. } => &mut self.writes,
            Op::SetReadSource { .. } => &mut self.sets,
            Op::UnsetReadSource => &mut self.unsets,
            Op::Close => &mut self.closes,
            Op::BsPatch { .. } => &mut self.patches,
        };
        *counter += 1;
    }
}
