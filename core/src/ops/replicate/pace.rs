//! How many requests are under way at once: more while it goes well, half after a failure.

use std::sync::Mutex;

/// Additive increase, multiplicative decrease, between 2 and a maximum.
#[derive(Debug)]
pub(super) struct Pace {
    max: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    width: usize,
    /// Successes since the width last changed; a full round of them widens it.
    successes: usize,
}

const WIDTH_FIRST: usize = 8;
const WIDTH_MIN: usize = 2;

impl Pace {
    pub(super) fn new(max: usize) -> Self {
        let max = max.max(1);
        Self {
            max,
            state: Mutex::new(State {
                width: WIDTH_FIRST.min(max),
                successes: 0,
            }),
        }
    }

    pub(super) fn width(&self) -> usize {
        self.lock().width
    }

    pub(super) fn succeeded(&self) {
        let mut state = self.lock();
        state.successes += 1;
        if state.successes >= state.width {
            state.successes = 0;
            // Quick while small: a link's capacity is found in a few rounds.
            state.width = (state.width + (state.width / 4).max(1)).min(self.max);
        }
    }

    pub(super) fn failed(&self) {
        let mut state = self.lock();
        state.successes = 0;
        state.width = (state.width / 2).max(WIDTH_MIN.min(self.max));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Two counters: a panic elsewhere cannot leave them half-changed.
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
