//! Whole systems, driven by bytes that are made from seeds, without a fuzzer.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use treeferry_fuzz::{Target, fuzz_model, fuzz_remote};

/// Returns bytes that are the same for the same seed.
fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Runs `target` on the bytes of each seed, and names the seeds on which it fails.
fn run(target: Target, seeds: std::ops::Range<u64>, length: usize) {
    let failed: Vec<_> = seeds
        .filter(|seed| std::panic::catch_unwind(|| target(&bytes(*seed, length))).is_err())
        .collect();
    assert!(failed.is_empty(), "it fails with the seeds {failed:?}");
}

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.unwrap().trim().trim_end_matches(" kB");
    number.parse().unwrap()
}

#[test]
fn places_agree_after_every_step_and_every_failure() {
    run(fuzz_model, 0..16, 160);
}

#[test]
#[ignore = "takes long: the same with many more seeds"]
fn places_agree_for_many_seeds() {
    run(fuzz_model, 1000..1300, 240);
}

#[test]
fn a_remote_that_answers_anything_does_no_harm() {
    run(fuzz_remote, 0..400, 400);
    // What all answers together would bring, endless ones among them, is far more.
    assert!(peak_kib() < 400 * 1024, "{} KiB of memory", peak_kib());
}

#[test]
#[ignore = "takes long: the same with many more seeds"]
fn many_remotes_that_answer_anything_do_no_harm() {
    run(fuzz_remote, 10_000..40_000, 500);
}
