//! `--version`.

use crate::session::Name;

/// The version of OSTree whose commands, options and output are followed.
pub(crate) const OSTREE_VERSION: &str = "2022.7";

/// Returns the version: by OSTree's name in the form that its scripts look features up in.
pub(crate) fn text(name: Name) -> String {
    let version = env!("CARGO_PKG_VERSION");
    match name {
        Name::Treeferry => format!("treeferry {version}"),
        Name::Ostree => {
            format!("libostree:\n Version: '2022.7'\n treeferry: '{version}'\n Features:")
        }
    }
}
