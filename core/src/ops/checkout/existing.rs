//! Compares what exists in the destination with what was to be put there. **Blocking.**

use rustix::fs::{FileType, Stat};

use super::at;
use super::options::CheckoutMode;
use super::place::{Placer, Spot, user_mode};
use crate::error::Result;
use crate::format::{Checksum, DirMeta, FileHeader, Xattrs};
use crate::ops::local_file::{self, ReadXattrs};
use crate::store::LinkView;

/// Where stores without owners of their own keep the committed ones.
const META_XATTR: &[u8] = b"user.ostreemeta";

impl Placer {
    /// Returns whether the file at `spot`, of which `stat` was taken, is the object `checksum`.
    pub(super) fn is_identical(
        &self,
        spot: &Spot<'_>,
        stat: &Stat,
        checksum: &Checksum,
    ) -> Result<bool> {
        if !matches!(at::kind(stat), FileType::RegularFile | FileType::Symlink) {
            return Ok(false);
        }
        let view = self.local().map_or(LinkView::Full, |l| l.link_view());
        let which = match view {
            LinkView::UserOnly => ReadXattrs::None,
            _ => ReadXattrs::All,
        };
        let (mut header, file) = local_file::read_file(spot.dir, spot.name.as_ref(), stat, which)?;
        match view {
            LinkView::UserOnly => (header.uid, header.gid) = (0, 0),
            LinkView::User => {
                let committed = header.xattrs.get(META_XATTR).map(DirMeta::parse_any_mode);
                if let Some(Ok(committed)) = committed {
                    header.uid = committed.uid;
                    header.gid = committed.gid;
                    header.mode = committed.mode;
                    header.xattrs = committed.xattrs;
                }
            }
            LinkView::Full | LinkView::None => {}
        }
        Ok(local_file::checksum(&header, file)? == *checksum)
    }

    /// Returns whether the file at `spot` is what a copy in user mode of the object `checksum`
    /// with that header would be: such a copy does not show owners.
    pub(super) fn is_user_copy(
        &self,
        spot: &Spot<'_>,
        stat: &Stat,
        checksum: &Checksum,
        header: &FileHeader,
    ) -> Result<bool> {
        let kind = FileType::from_raw_mode(header.mode);
        if self.mode != CheckoutMode::User || at::kind(stat) != kind {
            return Ok(false);
        }
        let (theirs, file) =
            local_file::read_file(spot.dir, spot.name.as_ref(), stat, ReadXattrs::None)?;
        match kind {
            FileType::Symlink => Ok(theirs.symlink_target == header.symlink_target),
            _ if theirs.mode & 0o7777 != user_mode(header.mode) => Ok(false),
            _ => Ok(local_file::checksum(header, file)? == *checksum),
        }
    }

    /// Returns whether the extended attributes of the special file at `spot` are `expected`.
    pub(super) fn has_xattrs(&self, spot: &Spot<'_>, expected: &Xattrs) -> Result<bool> {
        Ok(local_file::unopened_xattrs(spot.dir, spot.name.as_ref())? == *expected)
    }
}
