//! How checks are listed, run, and made into tests.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};
use treeferry_core::Error;

/// No check takes nearly as long as this: who does hangs.
const CHECK_SECONDS_MAX: u64 = 300;

const CHECKS_AT_ONCE: usize = 8;

/// What became of a check.
pub type Outcome = Result<(), Failed>;

/// Why a check failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct Failed(String);

impl Failed {
    /// Creates a failure that says what was expected and what was found.
    pub fn new(problem: impl Into<String>) -> Self {
        Self(problem.into())
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self(format!("unexpected error: {error} ({})", error.code()))
    }
}

/// One check of the suite over places of the type `P`, such as `dyn Place<dyn ObjectStore>`.
pub struct Check<P: ?Sized> {
    /// Its name, a sentence.
    pub name: &'static str,
    /// Runs it on an empty place.
    pub run: for<'a> fn(&'a P) -> BoxFuture<'a, Outcome>,
}

impl<P: ?Sized> Debug for Check<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check").field("name", &self.name).finish()
    }
}

/// Runs the check called `name` of the list `checks` on `place`, which is empty.
///
/// A panic or a hang of the store is a failure like any other.
pub async fn run_check<P: ?Sized>(checks: &[Check<P>], name: &str, place: &P) -> Outcome {
    let check = checks.iter().find(|check| check.name == name);
    let check = check.ok_or_else(|| Failed::new(format!("there is no check '{name}'")))?;
    let run = AssertUnwindSafe((check.run)(place)).catch_unwind();
    let limit = Duration::from_secs(CHECK_SECONDS_MAX);
    match tokio::time::timeout(limit, run).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(Failed::new("it panicked")),
        Err(_) => Err(Failed::new(format!("it hangs: no end after {limit:?}"))),
    }
}

/// Runs all of `checks`, each on a place that `make` makes, and returns those that failed.
pub async fn run_all<P: ?Sized>(
    checks: &[Check<P>],
    make: impl Fn() -> Box<P>,
) -> BTreeMap<&'static str, Failed> {
    let make = &make;
    let run = |check: &Check<P>| {
        let name = check.name;
        async move { (name, run_check(checks, name, &*make()).await) }
    };
    // Many checks wait for a lock: a few at once wait together.
    let outcomes = stream::iter(checks)
        .map(run)
        .buffer_unordered(CHECKS_AT_ONCE);
    let failed = outcomes.filter_map(async |(name, outcome)| Some((name, outcome.err()?)));
    failed.collect().await
}

/// Runs a part of a check as a task of its own, at the same time as others.
pub(crate) async fn spawned<T: Send + 'static>(
    part: impl Future<Output = Result<T, Failed>> + Send + 'static,
) -> Result<T, Failed> {
    let ended = tokio::spawn(part).await;
    ended.map_err(|e| Failed::new(e.to_string()))?
}

/// Panics with the failure of a check: what a test does.
#[allow(clippy::panic, reason = "this is how a test fails")]
pub fn expect(outcome: Outcome) {
    if let Err(failed) = outcome {
        panic!("{failed}");
    }
}

/// Fails the check unless a condition holds.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err($crate::Failed::new(format!($($message)+)));
        }
    };
}

/// Fails the check unless two values are the same.
macro_rules! ensure_eq {
    ($found:expr, $expected:expr, $($message:tt)+) => {
        match (&$found, &$expected) {
            (found, expected) => ensure!(
                found == expected,
                "{}: expected {expected:?}, found {found:?}",
                format!($($message)+)
            ),
        }
    };
}

/// Fails the check unless a result is an error of one of these kinds.
macro_rules! ensure_refused {
    ($result:expr, $kinds:pat, $($message:tt)+) => {
        match $result {
            Err(error) if matches!(error.kind(), $kinds) => {}
            Err(error) => ensure!(
                false,
                "{}: refused with another kind of error: {error} ({})",
                format!($($message)+),
                error.code()
            ),
            Ok(_) => ensure!(false, "{}: it was not refused", format!($($message)+)),
        }
    };
}

/// Makes the list of a suite: the table that is run, and the macro that turns it into tests.
///
/// The first argument must be a dollar sign: it is handed through to the macro that is made.
macro_rules! suite {
    (
        ($d:tt)
        $(#[$doc:meta])*
        $suite:ident in $module:ident over $place:ty {
            $($group:ident: [$($check:ident),+ $(,)?]),+ $(,)?
        }
    ) => {
        $(mod $group;)+

        /// All checks of this suite.
        pub const CHECKS: &[$crate::Check<$place>] = &[
            $($($crate::Check {
                name: stringify!($check),
                run: |place| Box::pin($group::$check(place)),
            },)+)+
        ];

        $(#[$doc])*
        #[macro_export]
        macro_rules! $suite {
            ($d(#[$d attribute:meta])* $d name:ident, $d fixture:expr) => {
                mod $d name {
                    #[allow(unused_imports, reason = "the fixture's expression may need none of them")]
                    use super::*;

                    $($(
                        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                        $d(#[$d attribute])*
                        async fn $check() {
                            let checks = $d crate::$module::CHECKS;
                            let fixture = $d fixture;
                            let outcome = $d crate::run_check(checks, stringify!($check), &fixture);
                            $d crate::expect(outcome.await);
                        }
                    )+)+
                }
            };
        }
    };
}
