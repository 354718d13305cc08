//! Origins of deployments.
#![cfg_attr(fuzzing, no_main)]
treeferry_fuzz::target!(fuzz_origin);
