//! Kernel arguments.
#![cfg_attr(fuzzing, no_main)]
treeferry_fuzz::target!(fuzz_kernel_args);
