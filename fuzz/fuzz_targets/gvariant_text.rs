//! GVariant in text form.
#![cfg_attr(fuzzing, no_main)]
treeferry_fuzz::target!(fuzz_gvariant_text);
