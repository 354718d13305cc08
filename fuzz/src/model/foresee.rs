//! What must be there after an operation.

use std::collections::BTreeSet;

use treeferry_conformance::samples::TreeSample;
use treeferry_core::store::{Partial, RefValue};

use super::operation::{Expected, Operation};
use super::{Contents, Run, branch, remote_branch};

impl Run {
    /// Returns what must be there after an operation.
    pub(super) fn foresee(&mut self, operation: &Operation) -> Contents {
        let mut model = self.model.clone();
        if let Operation::Put(tree) | Operation::Pull(tree) | Operation::Abandon(tree) = operation {
            // Of the first two a try that fails leaves some.
            self.leftovers.extend(self.trees[*tree].names());
        }
        match operation {
            Operation::Put(tree) => model.objects.extend(self.trees[*tree].names()),
            Operation::Pull(tree) => {
                model.objects.extend(self.trees[*tree].names());
                let value = RefValue::Commit(self.commit(*tree));
                model.refs.insert(remote_branch(*tree), value);
                model.partial.remove(&self.commit(*tree));
            }
            Operation::MoveRef {
                branch: number,
                expected,
                new,
            } => {
                let name = branch(*number);
                if expected.matches(model.refs.get(&name)) {
                    match new {
                        Some(tree) => drop(
                            model
                                .refs
                                .insert(name, RefValue::Commit(self.commit(*tree))),
                        ),
                        None => drop(model.refs.remove(&name)),
                    }
                }
            }
            Operation::Detach {
                tree,
                expected: Expected::Current,
                new,
            } => {
                let commit = self.commit(*tree);
                match new {
                    Some(new) => drop(model.detached.insert(commit, new.clone())),
                    None => drop(model.detached.remove(&commit)),
                }
            }
            Operation::Mark(tree, mark) => {
                let commit = self.commit(*tree);
                match mark {
                    Some(mark) => drop(model.partial.insert(commit, *mark == Partial::Damaged)),
                    None => drop(model.partial.remove(&commit)),
                }
            }
            Operation::Configure {
                stale: false,
                value,
            } => model.step = Some(*value),
            Operation::Prune => self.foresee_prune(&mut model),
            Operation::Abandon(_)
            | Operation::PutWrong(_)
            | Operation::Detach { .. }
            | Operation::Configure { .. }
            | Operation::Reopen
            | Operation::PullOut(_) => {}
        }
        model
    }

    fn foresee_prune(&mut self, model: &mut Contents) {
        let held = |tree: &&TreeSample| {
            let value = RefValue::Commit(tree.commit.name.checksum);
            model.refs.values().any(|held| *held == value)
        };
        let kept: BTreeSet<_> = self
            .trees
            .iter()
            .filter(held)
            .flat_map(TreeSample::names)
            .collect();
        for tree in &self.trees {
            let commit = tree.commit.name;
            let checksum = commit.checksum;
            if kept.contains(&commit) {
                continue;
            }
            // A mark of what is not there goes as well.
            model.partial.remove(&checksum);
            match model.objects.contains(&commit) {
                true => drop(model.detached.remove(&checksum)),
                false if self.leftovers.contains(&commit) => drop(self.doubtful.insert(checksum)),
                false => {}
            }
        }
        model.objects.retain(|name| kept.contains(name));
    }
}
