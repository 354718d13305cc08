//! GVariant of any type.
#![cfg_attr(fuzzing, no_main)]
treeferry_fuzz::target!(fuzz_gvariant);
