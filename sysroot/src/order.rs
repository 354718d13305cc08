//! Which deployments there are after a new one, and in which order. Pure.
//!
//! The first is the default. What was booted, and what the new one's `/etc` was merged from, stays;
//! so do pinned ones and those of other stateroots. The rest goes unless asked to stay.

use crate::names::Stateroot;
use crate::origin::Pinned;

/// What is known of a deployment when the order is decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Its stateroot.
    pub stateroot: Stateroot,
    /// Whether it stays in any case.
    pub pinned: Pinned,
    /// What it is to the running system and the new deployment.
    pub role: Role,
}

/// What a deployment is to the running system and the new deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Role {
    /// Whether the system runs from it.
    pub booted: bool,
    /// Whether the new one's `/etc` comes from it.
    pub merge: bool,
}

/// Where a new deployment goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Placement {
    /// First: the next boot is from it.
    #[default]
    Default,
    /// Right after the booted one, or the one that it is merged from.
    NotDefault,
}

/// What stays beyond what must.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retain {
    /// Everything.
    pub all: bool,
    /// What stands before the booted one.
    pub pending: bool,
    /// What stands after it.
    pub rollback: bool,
}

/// A place in the new order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// The new deployment.
    New,
    /// The deployment at that index of the old order.
    Old(usize),
}

/// Returns the new order. `stateroot` is the new deployment's.
pub fn order(
    old: &[Candidate],
    stateroot: &Stateroot,
    placement: Placement,
    retain: Retain,
) -> Vec<Slot> {
    let any = |of: fn(Role) -> bool| old.iter().any(|c| of(c.role));
    let (has_booted, has_merge) = (any(|r| r.booted), any(|r| r.merge));
    // Without a turning point nothing is pending and nothing to roll back to.
    let all = retain.all || !has_booted && !has_merge && (retain.pending || retain.rollback);
    let mut slots = Vec::new();
    let mut placed = placement == Placement::Default;
    if placed {
        slots.push(Slot::New);
    }
    let mut passed = false;
    for (index, candidate) in old.iter().enumerate() {
        let Role { booted, merge } = candidate.role;
        passed |= if has_booted { booted } else { merge };
        let stays = all
            || candidate.pinned == Pinned::Yes
            || candidate.stateroot != *stateroot
            || booted
            || merge
            || retain.pending && !passed
            || retain.rollback && passed;
        if stays {
            slots.push(Slot::Old(index));
        }
        if !placed && passed {
            slots.push(Slot::New);
            placed = true;
        }
    }
    if !placed {
        slots.push(Slot::New);
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `b` booted, `m` merged from, `p` pinned, `o` of another stateroot, `-` none of it.
    fn candidates(text: &str) -> Vec<Candidate> {
        let one = |flags: &str| Candidate {
            stateroot: Stateroot::new(if flags.contains('o') { "other" } else { "os" }).unwrap(),
            pinned: if flags.contains('p') {
                Pinned::Yes
            } else {
                Pinned::No
            },
            role: Role {
                booted: flags.contains('b'),
                merge: flags.contains('m'),
            },
        };
        text.split_whitespace().map(one).collect()
    }

    fn shown(old: &str, placement: Placement, retain: Retain) -> String {
        let os = Stateroot::new("os").unwrap();
        let slots = order(&candidates(old), &os, placement, retain);
        let one = |slot: &Slot| match slot {
            Slot::New => "N".to_owned(),
            Slot::Old(index) => index.to_string(),
        };
        slots.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_stays_and_where_the_new_one_goes() {
        use Placement::{Default as First, NotDefault};
        let none = Retain::default();
        let all = Retain { all: true, ..none };
        let pending = Retain {
            pending: true,
            ..none
        };
        let rollback = Retain {
            rollback: true,
            ..none
        };
        for (old, placement, retain, new) in [
            ("", First, none, "N"),
            ("", NotDefault, none, "N"),
            ("m", First, none, "N 0"),
            ("- m", First, none, "N 1"),
            ("bm -", First, none, "N 0"),
            ("bm p -", First, none, "N 0 1"),
            ("o bm - o", First, none, "N 0 1 3"),
            ("- bm -", First, all, "N 0 1 2"),
            ("- bm -", First, pending, "N 0 1"),
            ("- bm -", First, rollback, "N 1 2"),
            ("- bm -", NotDefault, none, "1 N"),
            ("- bm -", NotDefault, all, "0 1 N 2"),
            ("m -", NotDefault, none, "0 N"),
            // Merged from another than the booted one: the booted one is the turning point.
            ("m b", NotDefault, none, "0 1 N"),
            // Neither: what is to be retained cannot be told, so all is.
            ("- -", First, rollback, "N 0 1"),
            ("- -", First, none, "N"),
            ("- -", NotDefault, all, "0 1 N"),
        ] {
            assert_eq!(
                shown(old, placement, retain),
                new,
                "{old:?} {placement:?} {retain:?}"
            );
        }
    }
}
