//! Seals files by fs-verity, by the program `fsverity`: the kernel's call behind it cannot be made without
//! `unsafe`.

use std::fs::File;
use std::path::{Path, PathBuf};

use treeferry_core::error::{Error, Result};
use treeferry_core::ops::composefs;

use crate::files::failed;
use crate::host::{Call, Programs};

/// Files that one call is about: their names must fit into its arguments.
const FILES_A_CALL: usize = 500;

/// Seals each of its arguments, and ends at the first that cannot be.
const SCRIPT: &str = "for file; do fsverity enable \"$file\" || exit; done";

/// Returns whether a file is sealed. **Blocking.**
fn is_sealed(path: &Path) -> Result<bool> {
    let file = File::open(path).map_err(failed(path, "cannot be opened"))?;
    composefs::is_sealed(&file).map_err(failed(path, "cannot be looked at"))
}

/// Seals files that are not sealed yet, and returns how many those were. **Blocking.**
///
/// # Errors
///
/// Fails at the first that cannot be: then those before it are sealed.
pub(crate) fn seal(
    programs: &dyn Programs,
    files: impl IntoIterator<Item = PathBuf>,
) -> Result<usize> {
    let mut open = Vec::new();
    for file in files {
        if !is_sealed(&file)? {
            open.push(file);
        }
    }
    for group in open.chunks(FILES_A_CALL) {
        let mut args = vec!["-c".into(), SCRIPT.into(), "fsverity".into()];
        args.extend(group.iter().map(|file| file.clone().into_os_string()));
        let call = Call {
            program: "sh".into(),
            args,
            ..Call::default()
        };
        programs.run(&call).map_err(|e| {
            Error::unsupported(
                "files cannot be sealed by fs-verity: it takes the program fsverity, and a filesystem that has \
                 the feature",
            )
            .because(e)
        })?;
    }
    Ok(open.len())
}
