//! The reference implementation, under all suites.

mod memory_fixture;

use memory_fixture::Memory;

mod plain {
    use super::Memory;

    treeferry_conformance::object_store_suite!(objects, Memory::plain());
    treeferry_conformance::ref_store_suite!(refs, Memory::plain());
    treeferry_conformance::repo_state_suite!(state, Memory::plain());
}

mod archive {
    use super::Memory;

    treeferry_conformance::object_store_suite!(objects, Memory::archive());
}
