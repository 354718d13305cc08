//! Copying no work: files that become objects by rename, by hard link, or by sharing blocks.

use std::fs::File;
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;

use rustix::fs::{AtFlags, Stat};
use treeferry_core::error::{Error, Result};
use treeferry_core::format::{Checksum, METADATA_BYTES_MAX, ObjectName};
use treeferry_core::store::{
    Body, ContentReader, FilezReader, Incoming, LinkView, LocalFile, Payload, Put, Takeover,
};

use crate::mode::FsMode;
use crate::shelf::{Node, read_xattrs};
use crate::staging::Pending;
use crate::store_file::{self, check_storable, io};
use crate::write::{Writer, checksum_of};

/// Content shorter than this is not worth asking the filesystem to share its blocks.
const SHARE_BYTES_MIN: u64 = 64 * 1024;

impl<'a> Writer<'a> {
    /// Shares the blocks of `file`, where the filesystem can: `None` where it cannot.
    ///
    /// Shared first and verified then, on the clone: what is verified can change no more.
    pub(crate) fn share_blocks(
        &mut self,
        object: &Incoming,
        file: &LocalFile,
    ) -> Result<Option<Put>> {
        let Body::File {
            header,
            content_bytes,
            ..
        } = object.body()
        else {
            return Ok(None);
        };
        let sharing = &self.context.sharing;
        if *content_bytes < SHARE_BYTES_MIN || !sharing.load(Ordering::Relaxed) {
            return Ok(None);
        }
        check_storable(self.mode, header)?;
        if let Some(name) = object.name()
            && let Some(present) = self.present(&name, Some(*content_bytes), *content_bytes)?
        {
            return Ok(Some(present));
        }
        let source = file.open()?;
        let pending = self.context.staging.new_pending()?;
        if rustix::fs::ioctl_ficlone(pending.file()?, &source).is_err() {
            sharing.store(false, Ordering::Relaxed);
            return Ok(None);
        }
        let clone = pending.file()?.try_clone();
        let clone = clone.map_err(|e| Error::io("cannot be read", e))?;
        let reader = self.read_through(object, clone)?;
        let put = self.finish_content(pending, &reader)?;
        Ok(Some(put))
    }

    /// Reads a file object from `file` instead of where it says, to its verified end.
    fn read_through(&mut self, object: &Incoming, file: File) -> Result<ContentReader> {
        let codec = &self.context.repo.inner.options.codec;
        let mut reader = from_start(object, file)?.into_content(&**codec)?;
        while !self.fill(&mut reader)? {}
        Ok(reader)
    }

    /// Takes a file as it is, by rename or by hard link: `None` where that cannot be.
    pub(crate) fn adopt(&mut self, object: &Incoming, file: &LocalFile) -> Result<Option<Put>> {
        match file.takeover() {
            Takeover::Rename => self.take_over(object, file),
            Takeover::Link(view) if self.links_look_right(object, view) => {
                self.link_in(object, file)
            }
            Takeover::Link(_) | Takeover::Reflink => Ok(None),
        }
    }

    /// A link looks right where the other repository keeps its files as this one does.
    fn links_look_right(&self, object: &Incoming, view: LinkView) -> bool {
        let filez = matches!(object.body(), Body::Filez { .. });
        if let (FsMode::BareUserOnly, LinkView::User, Body::File { header, .. }) =
            (self.mode, view, object.body())
        {
            // What is kept beside the content says nothing more than what is assumed here.
            return !header.is_symlink()
                && (header.uid, header.gid) == (0, 0)
                && header.xattrs.is_empty()
                && check_storable(self.mode, header).is_ok();
        }
        view == self.mode.link_view() && filez == (self.mode == FsMode::Archive)
    }

    /// Returns whether a file has the mode that its object says, where nothing else will say it.
    fn shows_its_mode(&self, object: &Incoming, stat: &Stat) -> bool {
        match (self.mode, object.body()) {
            (FsMode::BareUserOnly, Body::File { header, .. }) => {
                stat.st_mode & 0o7777 == header.mode & 0o7777
            }
            _ => true,
        }
    }

    /// Makes an object of another repository one of this, without copying it: linked, and read once,
    /// since nothing is believed unless the caller vouches for it.
    fn link_in(&mut self, object: &Incoming, file: &LocalFile) -> Result<Option<Put>> {
        let known = object.name().zip(content_bytes_known(object));
        if let Some((name, unpacked_bytes)) = known
            && let Some(present) = self.present(&name, None, unpacked_bytes)?
        {
            return Ok(Some(present));
        }
        let opened = file.open()?;
        let stat = rustix::fs::fstat(&opened).map_err(|e| io("cannot be looked at", e))?;
        if !self.is_ours(file, &stat)? || !self.shows_its_mode(object, &stat) {
            return Ok(None);
        }
        let clone = opened
            .try_clone()
            .map_err(|e| Error::io("cannot be read", e))?;
        // Linked first: on another filesystem, or with too many links, nothing is read in vain.
        let Some(pending) = self.link_pending(file, opened, &stat)? else {
            return Ok(None);
        };
        let (name, unpacked, length) = match object.name() {
            Some(name) if object.is_vouched() => {
                let unpacked = self.announced_bytes(object, clone)?;
                (name, unpacked, u64::try_from(stat.st_size).unwrap_or(0))
            }
            _ => {
                let (checksum, length, unpacked) = self.read_verified(object, clone)?.result()?;
                (ObjectName::file(checksum), unpacked, length)
            }
        };
        if let Some(present) = self.present(&name, None, unpacked)? {
            return Ok(Some(present));
        }
        self.finish(pending, name, unpacked, length).map(Some)
    }

    /// Reads of a file object no more than its header, which the caller's rules apply to, and returns
    /// how long it says that the content is.
    fn announced_bytes(&self, object: &Incoming, file: File) -> Result<u64> {
        let codec = &*self.context.repo.inner.options.codec;
        let object = from_start(object, file)?;
        Ok(match self.mode {
            FsMode::Archive => object.into_filez(codec, self.level())?.content_bytes(),
            _ => object.into_content(codec)?.content_bytes(),
        })
    }

    /// Makes a metadata object of another repository one of this, as [`link_in`](Self::link_in).
    pub(crate) fn link_metadata(
        &mut self,
        object: &Incoming,
        file: &LocalFile,
    ) -> Result<Option<Put>> {
        // Metadata lies in repositories of all modes alike.
        if !matches!(file.takeover(), Takeover::Link(_)) {
            return Ok(None);
        }
        let opened = file.open()?;
        let stat = rustix::fs::fstat(&opened).map_err(|e| io("cannot be looked at", e))?;
        // Nobody but its owner may be able to change what was verified.
        let others_write = stat.st_mode & 0o022 != 0;
        if others_write || stat.st_uid != self.owner()? {
            return Ok(None);
        }
        let Some(pending) = self.link_pending(file, opened, &stat)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        pending
            .file()?
            .take(METADATA_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| Error::io("cannot be read", e))?;
        let (name, bytes) = match object.name() {
            Some(name) if object.is_vouched() && bytes.len() as u64 <= METADATA_BYTES_MAX => {
                (name, bytes.into())
            }
            _ => object.verify_metadata(bytes)?,
        };
        if let Some(present) = self.present_metadata(&name, &bytes)? {
            return Ok(Some(present));
        }
        let length = bytes.len() as u64;
        self.finish(pending, name, length, length).map(Some)
    }

    /// Returns whose this repository is.
    fn owner(&self) -> Result<u32> {
        owner_of(self.context.repo.inner.shelf.fd())
    }

    /// Returns whether a file of another repository belongs to the owner of this one.
    ///
    /// Whoever owns an inode can change it after it was verified, and with it our object.
    fn is_ours(&self, file: &LocalFile, stat: &Stat) -> Result<bool> {
        let theirs = match self.mode {
            // Files have the owners that were recorded, which only root can give them.
            FsMode::Bare | FsMode::BareSplitXattrs => owner_of(file.dir())?,
            FsMode::BareUser | FsMode::BareUserOnly | FsMode::Archive => stat.st_uid,
        };
        Ok(theirs == self.owner()?)
    }

    fn read_verified(&mut self, object: &Incoming, file: File) -> Result<Verified> {
        Ok(match self.mode {
            FsMode::Archive => Verified::Filez(self.read_filez_through(object, file)?),
            _ => Verified::Content(self.read_through(object, file)?),
        })
    }

    /// Makes the caller's file, which it gave up, the object itself: `None` where that cannot be,
    /// and it is copied.
    ///
    /// A file that is being recorded is the only one there is until the batch has ended well. It
    /// keeps its name, and all of it but its time: the object is another link to it, and the
    /// caller removes the first one.
    fn take_over(&mut self, object: &Incoming, file: &LocalFile) -> Result<Option<Put>> {
        let opened = file.open()?;
        let stat = rustix::fs::fstat(&opened).map_err(|e| io("cannot be looked at", e))?;
        let recorded = object.name().is_none();
        // With another link, changing owner and mode would change somebody else's file. What looks
        // as committed stays linked, as with the C implementation: the caller gave it up.
        let fits =
            (!recorded && stat.st_nlink == 1) || self.looks_as_committed(object, &stat, &opened)?;
        if !fits || !object_is_regular(object) {
            return Ok(None);
        }
        let clone = opened
            .try_clone()
            .map_err(|e| Error::io("cannot be read", e))?;
        let verified = self.read_verified(object, clone)?;
        let (checksum, length, unpacked) = verified.result()?;
        let name = ObjectName::file(checksum);
        let known = (self.mode != FsMode::Archive).then_some(length);
        if let Some(present) = self.present(&name, known, unpacked)? {
            return Ok(Some(present));
        }
        let moved = match recorded {
            true => self.link_pending(file, opened, &stat)?,
            false => {
                // Downloaded since the room was looked at, most likely.
                self.context.allowance.take(length)?;
                self.rename_pending(file, opened, &stat)?
            }
        };
        let Some(pending) = moved else {
            if !recorded {
                self.context.allowance.give_back(length);
            }
            return Ok(None);
        };
        if recorded {
            store_file::zero_time(pending.file()?)?;
            return self.finish(pending, name, unpacked, length).map(Some);
        }
        store_file::strip(pending.file()?)?;
        match verified {
            Verified::Content(reader) => self.finish_content(pending, &reader).map(Some),
            Verified::Filez(_) => {
                store_file::set_mode(pending.file()?, 0o644)?;
                self.finish(pending, name, unpacked, length).map(Some)
            }
        }
    }

    /// Renames a file into the staging directory, if it is still the one that was opened.
    pub(crate) fn rename_pending(
        &self,
        file: &LocalFile,
        opened: File,
        stat: &Stat,
    ) -> Result<Option<Pending<'a>>> {
        let staging = &self.context.staging;
        let (pending, dir) = (staging.pending_name(), staging.shelf.fd());
        if rustix::fs::renameat(file.dir(), file.name(), dir, &pending).is_err() {
            return Ok(None);
        }
        let there = crate::sys::stat(dir, &pending)?;
        if there.is_none_or(|there| there.st_ino != stat.st_ino) {
            // Somebody put another file there in the meantime: it is not ours to take.
            rustix::fs::renameat(dir, &pending, file.dir(), file.name())
                .map_err(|e| io("a file was replaced while it was being taken over", e))?;
            return Ok(None);
        }
        Ok(Some(staging.adopt_pending(Some(pending), Some(opened))))
    }

    /// Links a file into the staging directory, if it is still the one that was opened.
    fn link_pending(
        &self,
        file: &LocalFile,
        opened: File,
        stat: &Stat,
    ) -> Result<Option<Pending<'a>>> {
        let staging = &self.context.staging;
        let (pending, dir) = (staging.pending_name(), staging.shelf.fd());
        if rustix::fs::linkat(file.dir(), file.name(), dir, &pending, AtFlags::empty()).is_err() {
            return Ok(None);
        }
        let there = crate::sys::stat(dir, &pending)?;
        let pending = staging.adopt_pending(Some(pending), Some(opened));
        let same = there.is_some_and(|there| there.st_ino == stat.st_ino);
        Ok(same.then_some(pending))
    }

    /// Returns whether a file looks just as its object does in this repository, but for its time.
    fn looks_as_committed(&self, object: &Incoming, stat: &Stat, file: &File) -> Result<bool> {
        let Body::File { header, .. } = object.body() else {
            return Ok(false);
        };
        let bits = stat.st_mode & 0o7777;
        Ok(match self.mode {
            FsMode::Bare => {
                (stat.st_uid, stat.st_gid, bits) == (header.uid, header.gid, header.mode & 0o7777)
                    && read_xattrs(&Node::File(file))? == header.xattrs
            }
            FsMode::BareUserOnly => {
                bits == header.mode & 0o7777 && Node::File(file).list()?.is_empty()
            }
            FsMode::BareUser | FsMode::Archive | FsMode::BareSplitXattrs => false,
        })
    }

    fn read_filez_through(&mut self, object: &Incoming, file: File) -> Result<FilezReader> {
        let (codec, level) = (&self.context.repo.inner.options.codec, self.level());
        let mut reader = from_start(object, file)?.into_filez(&**codec, level)?;
        while !self.fill(&mut reader)? {}
        Ok(reader)
    }
}

fn owner_of(dir: BorrowedFd<'_>) -> Result<u32> {
    let stat = rustix::fs::fstat(dir);
    stat.map(|stat| stat.st_uid)
        .map_err(|e| io("the owner of a repository cannot be told", e))
}

/// A reader that has been read to its verified end.
enum Verified {
    Content(ContentReader),
    Filez(FilezReader),
}

impl Verified {
    /// Returns the checksum, the length on disk, and the length of the content.
    fn result(&self) -> Result<(Checksum, u64, u64)> {
        let (checksum, stored, unpacked) = match self {
            Self::Content(r) => (r.checksum(), r.content_bytes(), r.content_bytes()),
            Self::Filez(r) => (r.checksum(), r.stored_bytes(), r.content_bytes()),
        };
        Ok((checksum_of(checksum)?, stored, unpacked))
    }
}

fn object_is_regular(object: &Incoming) -> bool {
    match object.body() {
        Body::File { header, .. } => !header.is_symlink(),
        Body::Filez { .. } => true,
        Body::Metadata(_) => false,
    }
}

fn content_bytes_known(object: &Incoming) -> Option<u64> {
    match object.body() {
        Body::File { content_bytes, .. } => Some(*content_bytes),
        _ => None,
    }
}

/// Returns the same announcement, read from `file` whatever others do with its path.
fn from_start(object: &Incoming, file: File) -> Result<Incoming> {
    let payload = Payload::Reader(Box::new(FromStart { file, pos: 0 }));
    let misuse = || Error::invalid("only a file has a file to be taken over");
    object.reading(payload).ok_or_else(misuse)
}

/// Reads a file from its start, whatever others do with the position of the descriptor.
struct FromStart {
    file: File,
    pos: u64,
}

impl Read for FromStart {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let n = self.file.read_at(out, self.pos)?;
        self.pos += n as u64;
        Ok(n)
    }
}
