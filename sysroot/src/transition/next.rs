//! What is decided about a change that is under way, when a machine has booted.

use super::Phase;

/// What is known when a boot is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Facts {
    /// Whether the record is of this boot.
    pub boot: WhichBoot,
    /// Whether the deployment still has its directory.
    pub target: Presence,
    /// Whether the system runs from it.
    pub booted: Running,
    /// Whether it is in the menu.
    pub in_menu: Presence,
}

/// Of which boot a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhichBoot {
    /// Of this one.
    This,
    /// Of one before.
    Earlier,
}

/// Whether something is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is.
    There,
    /// It is not.
    Gone,
}

/// Which system runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Running {
    /// The one that was to be booted.
    Target,
    /// Another.
    Other,
}

/// What is to be done about a change that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing: it goes its way.
    Wait,
    /// It succeeded: the deployment is good, and the record goes.
    MarkGood,
    /// It was cut off before it began, or on the way: it is staged again.
    StageAgain,
    /// It was the default and did not come up: what runs becomes the default again.
    FallBack,
    /// It cannot be continued: the reason is told, and the record goes.
    Report,
}

/// How often finalization is begun before it is given up.
pub const ATTEMPTS_MAX: u32 = 3;

/// Decides what is to be done about a change that is under way. Pure.
pub fn next(phase: Phase, attempts: u32, facts: Facts) -> Next {
    if facts.boot == WhichBoot::This {
        return Next::Wait;
    }
    if facts.booted == Running::Target {
        return Next::MarkGood;
    }
    match (phase, facts.target, facts.in_menu) {
        // The menu was changed, whatever the record got to say of it.
        (Phase::Finalized | Phase::Finalizing, _, Presence::There) => Next::FallBack,
        (Phase::Finalized | Phase::Failed, ..) | (_, Presence::Gone, _) => Next::Report,
        (Phase::Staged | Phase::Finalizing, Presence::There, _) => match attempts < ATTEMPTS_MAX {
            true => Next::StageAgain,
            false => Next::Report,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_continued_reported_or_confirmed() {
        use Phase::{Failed, Finalized, Finalizing, Staged};
        use Presence::{Gone, There};
        let facts = |boot, target, booted, in_menu| Facts {
            boot,
            target,
            booted,
            in_menu,
        };
        let (earlier, this) = (WhichBoot::Earlier, WhichBoot::This);
        let (target, other) = (Running::Target, Running::Other);
        for (phase, attempts, facts, expected) in [
            (Staged, 0, facts(this, There, other, Gone), Next::Wait),
            (Finalized, 1, facts(this, There, other, There), Next::Wait),
            (
                Finalized,
                1,
                facts(earlier, There, target, There),
                Next::MarkGood,
            ),
            (
                Finalizing,
                1,
                facts(earlier, There, target, There),
                Next::MarkGood,
            ),
            (
                Staged,
                0,
                facts(earlier, There, other, Gone),
                Next::StageAgain,
            ),
            (
                Finalizing,
                1,
                facts(earlier, There, other, Gone),
                Next::StageAgain,
            ),
            (
                Finalizing,
                3,
                facts(earlier, There, other, Gone),
                Next::Report,
            ),
            (Staged, 0, facts(earlier, Gone, other, Gone), Next::Report),
            (Failed, 1, facts(earlier, There, other, Gone), Next::Report),
            (
                Finalized,
                1,
                facts(earlier, There, other, There),
                Next::FallBack,
            ),
            (
                Finalizing,
                1,
                facts(earlier, There, other, There),
                Next::FallBack,
            ),
            (
                Finalized,
                1,
                facts(earlier, Gone, other, Gone),
                Next::Report,
            ),
        ] {
            assert_eq!(
                next(phase, attempts, facts),
                expected,
                "{phase:?} {attempts} {facts:?}"
            );
        }
    }
}
