//! The seed corpus, whole and damaged, without a fuzzer.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::path::{Path, PathBuf};

use treeferry_fuzz::{TARGETS, Target, WHOLE_TARGETS};

/// Seeds longer than this are damaged at some bytes only.
const EVERY_BYTE_MAX: usize = 1024;

fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name)
}

fn seeds(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(corpus(name)).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let bytes = std::fs::read(&path).unwrap();
        (path, bytes)
    };
    paths.into_iter().map(read).collect()
}

/// Runs a target, and says which bytes it fails on if it does.
fn run(target: Target, data: &[u8], what: &dyn Fn() -> String) {
    let result = std::panic::catch_unwind(|| target(data));
    assert!(
        result.is_ok(),
        "{}: {:?}",
        what(),
        String::from_utf8_lossy(data)
    );
}

#[test]
fn every_target_has_seeds_and_a_binary() {
    for (name, _) in TARGETS {
        assert!(!seeds(name).is_empty(), "no seeds for {name}");
        let binary = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fuzz_targets/{name}.rs"));
        assert!(binary.exists(), "no {}", binary.display());
    }
    let binaries = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz_targets");
    let count = TARGETS.len() + WHOLE_TARGETS.len();
    assert_eq!(std::fs::read_dir(binaries).unwrap().count(), count);
}

#[test]
fn seeds_pass() {
    for (name, target) in TARGETS {
        for (path, seed) in seeds(name) {
            run(target, &seed, &|| path.display().to_string());
        }
    }
}

#[test]
fn seeds_cut_short_pass() {
    for (name, target) in TARGETS {
        for (path, seed) in seeds(name) {
            let step = seed.len().div_ceil(EVERY_BYTE_MAX).max(1);
            for end in (0..seed.len()).step_by(step) {
                run(target, &seed[..end], &|| {
                    format!("{} cut at {end}", path.display())
                });
            }
        }
    }
}

#[test]
fn seeds_with_a_changed_byte_pass() {
    for (name, target) in TARGETS {
        for (path, seed) in seeds(name) {
            let step = seed.len().div_ceil(EVERY_BYTE_MAX).max(1);
            for at in (0..seed.len()).step_by(step) {
                for flip in [0x01, 0x20, 0x80, 0xff] {
                    let mut changed = seed.clone();
                    changed[at] ^= flip;
                    let what = || format!("{} with byte {at} ^ {flip}", path.display());
                    run(target, &changed, &what);
                }
            }
        }
    }
}
