//! Verifiers made of verifiers.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Checked, Outcome, Refusal, Signed, Verdict, Verifier};

/// Why nothing is accepted where nobody is asked.
const NOBODY: Refusal = Refusal::TooFew {
    needed: 1,
    found: 0,
};

/// Accepts what any of them accepts.
#[derive(Debug, Clone)]
pub struct AnyOf(pub Vec<Arc<dyn Verifier>>);

/// Accepts what all of them accept; of none, nothing.
#[derive(Debug, Clone)]
pub struct AllOf(pub Vec<Arc<dyn Verifier>>);

/// Accepts what `needed` of them accept, each by another key than the rest.
///
/// Give each holder of keys a verifier of their own: k of n people then have to agree. A key that
/// two verifiers trust counts once.
#[derive(Debug, Clone)]
pub struct Threshold {
    needed: usize,
    of: Vec<Arc<dyn Verifier>>,
}

impl Threshold {
    /// Requires `needed` of the verifiers, at least one.
    pub fn new(needed: usize, of: Vec<Arc<dyn Verifier>>) -> Self {
        let needed = needed.max(1);
        Self { needed, of }
    }
}

impl Verifier for AnyOf {
    fn verify(&self, signed: &Signed<'_>) -> Verdict {
        let mut all = Vec::new();
        let mut refusal = None;
        for verifier in &self.0 {
            let verdict = verifier.verify(signed);
            all.extend(verdict.checked);
            match verdict.outcome {
                Outcome::Accepted => {
                    return Verdict {
                        outcome: Outcome::Accepted,
                        checked: all,
                    };
                }
                // Of a signature that does not verify there is more to say than of none.
                Outcome::Refused(Refusal::Unsigned(_)) if refusal.is_some() => {}
                Outcome::Refused(why) => refusal = Some(why),
            }
        }
        Verdict {
            outcome: Outcome::Refused(refusal.unwrap_or(NOBODY)),
            checked: all,
        }
    }
}

impl Verifier for AllOf {
    fn verify(&self, signed: &Signed<'_>) -> Verdict {
        let mut all = Vec::new();
        let mut outcome = match self.0.is_empty() {
            true => Outcome::Refused(NOBODY),
            false => Outcome::Accepted,
        };
        for verifier in &self.0 {
            let verdict = verifier.verify(signed);
            all.extend(verdict.checked);
            if outcome == Outcome::Accepted {
                outcome = verdict.outcome;
            }
        }
        Verdict {
            outcome,
            checked: all,
        }
    }
}

impl Verifier for Threshold {
    fn verify(&self, signed: &Signed<'_>) -> Verdict {
        let mut all: Vec<Checked> = Vec::new();
        let mut counted = BTreeSet::new();
        for verifier in &self.of {
            let verdict = verifier.verify(signed);
            if verdict.is_accepted() {
                let good = verdict.checked.iter().filter(|checked| checked.is_good());
                let keys = good.filter_map(|checked| Some((checked.scheme, checked.key.clone()?)));
                // One for each verifier, and no key twice.
                let mut keys = keys.filter(|key| !counted.contains(key));
                if let Some(key) = keys.next() {
                    counted.insert(key);
                }
            }
            all.extend(verdict.checked);
        }
        let (needed, found) = (self.needed, counted.len());
        let outcome = match found >= needed {
            true => Outcome::Accepted,
            false => Outcome::Refused(Refusal::TooFew { needed, found }),
        };
        Verdict {
            outcome,
            checked: all,
        }
    }
}
