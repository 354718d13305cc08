//! `--version`.

use crate::session::Name;

/// The version of OSTree whose commands, options and output are followed.
pub(crate) const OSTREE_VERSION: &str = "2022.7";

/// What scripts look up before they use it, each there in full.
const FEATURES: [&str; 6] = [
    "composefs",
    "gpgme",
    "libarchive",
    "p2p",
    "sign-ed25519",
    "sign-spki",
];

/// Returns the version: by OSTree's name in the form that its scripts look features up in.
pub(crate) fn text(name: Name) -> String {
    let version = env!("CARGO_PKG_VERSION");
    match name {
        Name::Treeferry => format!("treeferry {version}"),
        Name::Ostree => {
            let mut text = format!(
                "libostree:\n Version: '{OSTREE_VERSION}'\n treeferry: '{version}'\n Features:"
            );
            for feature in FEATURES {
                text += &format!("\n  - {feature}");
            }
            text
        }
    }
}
