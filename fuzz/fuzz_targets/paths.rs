//! Paths of remotes and names of files.
#![cfg_attr(fuzzing, no_main)]
treeferry_fuzz::target!(fuzz_paths);
