//! What can be done with a place, and how it is chosen.

use bytes::Bytes;
use treeferry_core::store::{ExpectedRef, Partial, RefValue};

use super::{BRANCHES, Run, TREES, branch};
use crate::input::Input;

/// What can be done.
#[derive(Debug, Clone)]
pub(super) enum Operation {
    /// Puts a tree, and commits the batch.
    Put(usize),
    /// Puts a tree, and drops the batch; all handles are closed and opened again.
    Abandon(usize),
    /// Puts a file under a name that it does not hash to.
    PutWrong(usize),
    /// Moves a ref, or deletes it.
    MoveRef {
        branch: usize,
        expected: ExpectedRef,
        new: Option<usize>,
    },
    /// Changes the detached metadata of a commit.
    Detach {
        tree: usize,
        expected: Expected,
        new: Option<Bytes>,
    },
    /// Marks a commit partial, or whole.
    Mark(usize, Option<Partial>),
    /// Changes a value of the configuration.
    Configure { stale: bool, value: u64 },
    /// Closes all handles and opens them again.
    Reopen,
    /// Deletes what no ref needs.
    Prune,
    /// Pulls a tree from another repository.
    Pull(usize),
    /// Pulls a branch out of the place into an empty repository.
    PullOut(usize),
}

/// What is expected of detached metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    Current,
    Other,
}

impl Run {
    pub(super) fn operation(&self, input: &mut Input<'_>, step: usize) -> Operation {
        let what = input.below(14);
        let tree = input.below(TREES);
        match what {
            0..=2 => Operation::Put(tree),
            3 => Operation::Abandon(tree),
            4 => Operation::PutWrong(tree),
            5 | 6 => self.move_ref(input, tree),
            7 => Operation::Detach {
                tree,
                expected: [Expected::Current, Expected::Other][input.below(2)],
                new: [
                    None,
                    Some(Bytes::new()),
                    Some(Bytes::from(format!("at {step}"))),
                ][input.below(3)]
                .clone(),
            },
            8 => {
                let marks = [None, Some(Partial::Fetching), Some(Partial::Damaged)];
                Operation::Mark(tree, marks[input.below(3)])
            }
            9 => Operation::Configure {
                stale: input.below(3) == 0,
                value: step as u64,
            },
            10 => Operation::Reopen,
            11 => Operation::Prune,
            12 => Operation::Pull(tree),
            _ => Operation::PullOut(input.below(BRANCHES.len())),
        }
    }

    fn move_ref(&self, input: &mut Input<'_>, tree: usize) -> Operation {
        let number = input.below(BRANCHES.len());
        let current = self.model.refs.get(&branch(number)).cloned();
        let expected = match (input.below(4), current) {
            (0, _) => ExpectedRef::Any,
            (1, _) | (2, None) => ExpectedRef::Absent,
            (2, Some(current)) => ExpectedRef::Value(current),
            _ => ExpectedRef::Value(RefValue::Commit(self.commit(input.below(TREES)))),
        };
        // A ref to what is not there is a mistake of the caller's.
        let new = Some(tree).filter(|tree| input.below(4) > 0 && self.has(*tree));
        Operation::MoveRef {
            branch: number,
            expected,
            new,
        }
    }
}
