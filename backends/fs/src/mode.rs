//! The five ways in which a repository keeps file objects.

use std::fmt;
use std::str::FromStr;

use treeferry_core::error::{Error, Result};
use treeferry_core::format::ContentLayout;
use treeferry_core::store::LinkView;

/// How a repository keeps file objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FsMode {
    /// As the files they are: owner, mode, extended attributes, symbolic links. Needs root.
    Bare,
    /// Content as plain files of the user; owner, mode and extended attributes in one attribute,
    /// `user.ostreemeta`; a symbolic link's target as content.
    BareUser,
    /// Content and mode only: for trees without owners, extended attributes and special bits.
    BareUserOnly,
    /// Compressed, as web servers serve it.
    Archive,
    /// As `Bare`, but with the extended attributes in objects of their own. Written only on demand.
    BareSplitXattrs,
}

impl FsMode {
    /// Returns what a hard link to a file object of such a repository shows.
    pub(crate) fn link_view(self) -> LinkView {
        match self {
            Self::Bare => LinkView::Full,
            Self::BareUser => LinkView::User,
            Self::BareUserOnly => LinkView::UserOnly,
            // Compressed, or without its extended attributes, a file is not what was committed.
            Self::Archive | Self::BareSplitXattrs => LinkView::None,
        }
    }

    /// All modes.
    pub const ALL: [FsMode; 5] = [
        Self::Bare,
        Self::BareUser,
        Self::BareUserOnly,
        Self::Archive,
        Self::BareSplitXattrs,
    ];

    /// Returns the value of `core.mode`, as OSTree writes it.
    pub const fn config_value(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::BareUser => "bare-user",
            Self::BareUserOnly => "bare-user-only",
            Self::Archive => "archive-z2",
            Self::BareSplitXattrs => "bare-split-xattrs",
        }
    }

    /// Returns what file objects are called in this mode.
    pub const fn layout(self) -> ContentLayout {
        match self {
            Self::Archive => ContentLayout::Archive,
            _ => ContentLayout::Bare,
        }
    }
}

impl fmt::Display for FsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Archive => "archive",
            mode => mode.config_value(),
        })
    }
}

impl FromStr for FsMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "bare" => Self::Bare,
            "bare-user" => Self::BareUser,
            "bare-user-only" => Self::BareUserOnly,
            "archive" | "archive-z2" => Self::Archive,
            "bare-split-xattrs" => Self::BareSplitXattrs,
            _ => {
                return Err(Error::unsupported(format!(
                    "unknown repository mode '{text}': expected bare, bare-user, \
                     bare-user-only, archive or bare-split-xattrs"
                )));
            }
        })
    }
}
