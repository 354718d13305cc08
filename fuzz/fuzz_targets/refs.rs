//! Refs, refspecs, revisions and collections.
#![cfg_attr(fuzzing, no_main)]
treeferry_fuzz::target!(fuzz_refs);
