//! What is under way on a machine.
#![cfg_attr(fuzzing, no_main)]
treeferry_fuzz::target!(fuzz_transition);
