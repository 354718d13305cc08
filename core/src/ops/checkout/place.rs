//! Puts one file or symbolic link in its place. **Blocking.**

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::FileType;

use super::at::{self, Look, Temp};
use super::options::{CheckoutMode, CheckoutOptions, Overwrite, Sharing, TreeSync, UnpackedFiles};
use crate::codec::Codec;
use crate::error::{Error, ErrorKind, Result, from_read};
use crate::format::{Checksum, FileHeader, ObjectName};
use crate::store::{Body, ContentReader, Incoming, LinkView, Linked, LocalFile, LocalObjects};

const COPY_BYTES: u64 = 128 * 1024;

/// Puts files in their places.
#[derive(Debug)]
pub(super) struct Placer {
    local: Option<Arc<dyn LocalObjects>>,
    codec: Arc<dyn Codec>,
    pub(super) options: CheckoutOptions,
    /// The mode asked for, or the only one that makes sense for the store.
    pub(super) mode: CheckoutMode,
    linking: Linking,
    /// Where links lead that do not lead into the store.
    unpacked: Option<Arc<dyn UnpackedFiles>>,
    /// Whether the filesystem refused to share blocks: it is not asked for each file.
    reflink_refused: AtomicBool,
}

/// Which files are hard links.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Linking {
    /// None.
    Never,
    /// All but empty ones. Objects are what they look like, so none is opened: a link is made, and
    /// then looked at.
    Blind,
    /// Regular files that are not empty and that their owner can read, which the header tells.
    ByHeader,
}

/// Where a file goes.
#[derive(Clone, Copy)]
pub(super) struct Spot<'a> {
    /// The directory.
    pub(super) dir: BorrowedFd<'a>,
    /// The name in it.
    pub(super) name: &'a str,
    /// Its path below the root of the checkout.
    pub(super) path: &'a dyn Fn() -> String,
    /// Who made the directory.
    pub(super) made: Made,
}

/// Who made a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Made {
    /// We did: nothing is in it that we did not put there.
    ByUs,
    /// It was there.
    Before,
}

/// What became of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placed {
    /// It is a hard link into the repository.
    Linked,
    /// It was copied: so many bytes.
    Copied(u64),
    /// What was there stays.
    Kept,
    /// It was an instruction.
    Whiteout,
}

/// A file object, opened.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) content: ContentReader,
    local: Option<LocalFile>,
}

impl Opened {
    pub(super) fn header(&self) -> &FileHeader {
        self.content.header()
    }

    /// Compares the checksum of an object whose content is of no interest.
    pub(super) fn verify(&mut self) -> Result<()> {
        std::io::copy(&mut self.content, &mut std::io::sink())
            .map(drop)
            .map_err(|e| from_read("cannot be read", e))
    }
}

impl Placer {
    /// Decides how files are to be had.
    ///
    /// # Errors
    ///
    /// Fails when hard links are required that the store cannot give.
    pub(super) fn new(
        local: Option<Arc<dyn LocalObjects>>,
        codec: Arc<dyn Codec>,
        options: CheckoutOptions,
    ) -> Result<Self> {
        let view = local.as_ref().map_or(LinkView::None, |l| l.link_view());
        let mode = match view {
            LinkView::UserOnly => CheckoutMode::User,
            _ => options.mode,
        };
        let is_packed = (view, mode) == (LinkView::None, CheckoutMode::User);
        let unpacked = options
            .unpacked
            .clone()
            .filter(|_| is_packed && options.sharing == Sharing::Links);
        let linking = match (view, mode) {
            _ if options.copies() => Linking::Never,
            _ if unpacked.is_some() => Linking::ByHeader,
            (LinkView::Full, CheckoutMode::Full) => Linking::Blind,
            (LinkView::User | LinkView::UserOnly, CheckoutMode::User) => Linking::ByHeader,
            _ => Linking::Never,
        };
        if options.sharing == Sharing::LinksOnly && linking == Linking::Never {
            let problem = match (view, mode) {
                (LinkView::Full, CheckoutMode::User) => {
                    "hard links into a repository of mode bare show owners: \
                     they cannot be required for a checkout in user mode"
                }
                (LinkView::User, CheckoutMode::Full) => {
                    "hard links into a repository of mode bare-user do not show owners: \
                     they can be required only for a checkout in user mode"
                }
                _ => "this repository's files cannot be hard-linked: do not require it",
            };
            return Err(Error::unsupported(problem));
        }
        Ok(Self {
            local,
            codec,
            options,
            mode,
            linking,
            unpacked,
            reflink_refused: AtomicBool::new(false),
        })
    }

    /// Returns which files are hard links.
    pub(super) fn linking(&self) -> Linking {
        self.linking
    }

    /// Puts the file object `checksum` in its place. `body` is it, if it was fetched beforehand.
    pub(super) fn place(
        &self,
        spot: &Spot<'_>,
        checksum: &Checksum,
        body: Option<Body>,
    ) -> Result<Placed> {
        self.place_unnamed(spot, checksum, body).map_err(|e| {
            let path = (spot.path)();
            e.about(ObjectName::file(*checksum))
                .context("cannot be checked out")
                .about(std::path::PathBuf::from(path))
        })
    }

    fn place_unnamed(
        &self,
        spot: &Spot<'_>,
        checksum: &Checksum,
        body: Option<Body>,
    ) -> Result<Placed> {
        let mut opened = None;
        if let Some(whiteout) = self.whiteout(spot.name) {
            let object = self.open(checksum, body)?;
            if !object.header().is_symlink() {
                return self.process_whiteout(spot, &whiteout, object);
            }
            opened = Some(object);
        } else if spot.made == Made::Before
            && self.options.overwrite == Overwrite::AddFiles
            && at::look_at(spot.dir, spot.name)?.is_some()
        {
            return Ok(Placed::Kept);
        } else if body.is_some() || self.linking != Linking::Blind {
            opened = Some(self.open(checksum, body)?);
        }
        let links = match (self.linking, &opened) {
            (Linking::Never, _) => false,
            (Linking::Blind, _) => true,
            (Linking::ByHeader, None) => false,
            (Linking::ByHeader, Some(opened)) => {
                let header = opened.header();
                let readable = header.mode & 0o400 != 0;
                readable && !header.is_symlink() && opened.content.content_bytes() > 0
            }
        };
        if links && let Some(placed) = self.link(spot, checksum)? {
            return Ok(placed);
        }
        let opened = match opened {
            Some(opened) => opened,
            None => self.open(checksum, None)?,
        };
        let placed = self.copy(spot, checksum, opened)?;
        if let (true, Placed::Copied(_), Some(unpacked)) = (links, placed, &self.unpacked) {
            unpacked.keep(checksum, spot.dir, spot.name);
        }
        Ok(placed)
    }

    fn open(&self, checksum: &Checksum, body: Option<Body>) -> Result<Opened> {
        let body = match (body, &self.local) {
            (Some(body), _) => Some(body),
            (None, Some(local)) => local.open_file(checksum)?.map(Body::from),
            (None, None) => None,
        };
        let incoming = Incoming::named(ObjectName::file(*checksum), body.ok_or_else(missing)?);
        let local = incoming.local_content().cloned();
        let content = incoming.into_content(&*self.codec)?;
        Ok(Opened { content, local })
    }

    /// Makes a hard link; `None` when the file is to be copied.
    fn link(&self, spot: &Spot<'_>, checksum: &Checksum) -> Result<Option<Placed>> {
        match self.link_file(checksum, spot.dir, spot.name)? {
            Linked::Refused => self.may_copy().map(|()| None),
            Linked::Done if self.is_empty(spot.dir, spot.name)? => {
                at::unlink(spot.dir, spot.name)?;
                Ok(None)
            }
            Linked::Done => Ok(Some(Placed::Linked)),
            Linked::Exists => match self.options.overwrite {
                Overwrite::Refuse => Err(exists()),
                Overwrite::AddFiles => Ok(Some(Placed::Kept)),
                Overwrite::UnionFiles | Overwrite::UnionIdentical => self.link_over(spot, checksum),
            },
        }
    }

    fn link_file(&self, checksum: &Checksum, dir: BorrowedFd<'_>, name: &str) -> Result<Linked> {
        if let Some(unpacked) = &self.unpacked {
            let linked = unpacked.link(checksum, dir, name)?;
            return Ok(linked.unwrap_or(Linked::Refused));
        }
        let local = self.local.as_ref().ok_or_else(missing)?;
        local.link_file(checksum, dir, name)?.ok_or_else(missing)
    }

    fn may_copy(&self) -> Result<()> {
        if self.options.sharing != Sharing::LinksOnly {
            return Ok(());
        }
        let problem = "cannot be hard-linked here (another filesystem, or too many links), and \
                       copies are not allowed";
        Err(Error::unsupported(problem))
    }

    /// Returns whether the link that was just made shows an empty file.
    fn is_empty(&self, dir: BorrowedFd<'_>, name: &str) -> Result<bool> {
        if self.linking != Linking::Blind {
            return Ok(false);
        }
        let stat = at::look_at(dir, name)?.ok_or_else(vanished)?;
        Ok(at::kind(&stat) == FileType::RegularFile && stat.st_size == 0)
    }

    /// Links where something exists: beside it first, so that the two can be compared.
    fn link_over(&self, spot: &Spot<'_>, checksum: &Checksum) -> Result<Option<Placed>> {
        let (temp, linked) = Temp::make(spot.dir, |name| {
            let linked = self.link_file(checksum, spot.dir, name)?;
            Ok((linked != Linked::Exists).then_some(linked))
        })?;
        if linked == Linked::Refused {
            return self.may_copy().map(|()| None);
        }
        if self.is_empty(spot.dir, temp.name())? {
            return Ok(None);
        }
        let ours = at::look_at(spot.dir, temp.name())?.ok_or_else(vanished)?;
        if let Some(theirs) = at::look_at(spot.dir, spot.name)? {
            let same = (ours.st_dev, ours.st_ino) == (theirs.st_dev, theirs.st_ino);
            // The store's owners are not those committed where it keeps none.
            let alike = self.mode == CheckoutMode::Full
                || (ours.st_uid, ours.st_gid) == (theirs.st_uid, theirs.st_gid);
            if same || alike && self.is_identical(spot, &theirs, checksum)? {
                return Ok(Some(Placed::Kept));
            }
            if self.options.overwrite == Overwrite::UnionIdentical {
                return Err(differs());
            }
        }
        temp.replace(spot.name)?;
        Ok(Some(Placed::Linked))
    }

    fn copy(&self, spot: &Spot<'_>, checksum: &Checksum, opened: Opened) -> Result<Placed> {
        if spot.made == Made::Before
            && self.options.overwrite == Overwrite::UnionIdentical
            && let Some(theirs) = at::look_at(spot.dir, spot.name)?
        {
            let identical = self.is_identical(spot, &theirs, checksum)?
                || self.is_user_copy(spot, &theirs, checksum, opened.header())?;
            return identical.then_some(Placed::Kept).ok_or_else(differs);
        }
        if opened.header().is_symlink() {
            self.copy_symlink(spot, opened)
        } else {
            self.copy_regular(spot, opened)
        }
    }

    fn copy_symlink(&self, spot: &Spot<'_>, mut opened: Opened) -> Result<Placed> {
        opened.verify()?;
        let header = opened.header();
        let look = self.look(header, spot)?;
        let (temp, ()) = self.draft(spot, |name| {
            at::create_symlink(spot.dir, name, &header.symlink_target)
        })?;
        look.apply_at(spot.dir, temp.name())?;
        self.publish(temp, spot, 0)
    }

    fn copy_regular(&self, spot: &Spot<'_>, mut opened: Opened) -> Result<Placed> {
        let bytes = opened.content.content_bytes();
        let (temp, mut file) = self.draft(spot, |name| at::create_file(spot.dir, name))?;
        if !self.reflink(&opened, &file)? {
            copy_content(&mut opened.content, &mut file)?;
        }
        self.look(opened.header(), spot)?.apply(file.as_fd())?;
        if self.options.sync == TreeSync::PerFile {
            at::sync(&file)?;
        }
        self.publish(temp, spot, bytes)
    }

    /// Makes something under its name, where it is the first, or else beside what may be there.
    ///
    /// A directory that we made is of no use before it is complete, so no name is taken too early.
    fn draft<'a, T>(
        &self,
        spot: &Spot<'a>,
        make: impl Fn(&str) -> Result<Option<T>>,
    ) -> Result<(Temp<'a>, T)> {
        if spot.made == Made::Before {
            return Temp::make(spot.dir, make);
        }
        let made = make(spot.name)?.ok_or_else(exists)?;
        Ok((Temp::guard(spot.dir, spot.name.to_owned()), made))
    }

    fn publish(&self, temp: Temp<'_>, spot: &Spot<'_>, bytes: u64) -> Result<Placed> {
        match (spot.made, self.options.overwrite) {
            (Made::ByUs, _) => temp.keep(),
            (Made::Before, Overwrite::UnionFiles) => temp.replace(spot.name)?,
            (Made::Before, overwrite) => {
                if !temp.take_free(spot.name)? {
                    return match overwrite {
                        Overwrite::AddFiles => Ok(Placed::Kept),
                        _ => Err(exists()),
                    };
                }
            }
        }
        Ok(Placed::Copied(bytes))
    }

    /// Shares the blocks of a plain file, if the filesystem can; says whether it did.
    fn reflink(&self, opened: &Opened, file: &std::fs::File) -> Result<bool> {
        let Some(local) = &opened.local else {
            return Ok(false);
        };
        let bytes = opened.content.content_bytes();
        if bytes == 0 || self.reflink_refused.load(Ordering::Relaxed) {
            return Ok(false);
        }
        if rustix::fs::ioctl_ficlone(file, local.open()?).is_err() {
            self.reflink_refused.store(true, Ordering::Relaxed);
            return Ok(false);
        }
        let stat = rustix::fs::fstat(file).map_err(|e| Error::io("cannot be looked at", e))?;
        if u64::try_from(stat.st_size) != Ok(bytes) {
            return Err(Error::corrupt("changed while it was checked out"));
        }
        Ok(true)
    }

    /// Returns how a copy of a file with that header is to look.
    pub(super) fn look<'h>(&self, header: &'h FileHeader, spot: &Spot<'_>) -> Result<Look<'h>> {
        // In user mode OSTree labels directories and links, and no files.
        let labelled = self.mode == CheckoutMode::Full || header.is_symlink();
        let label = match &self.options.labels {
            Some(labels) if labelled => labels.label(&(spot.path)(), header.mode)?,
            _ => None,
        };
        Ok(match self.mode {
            CheckoutMode::Full => Look {
                owner: Some((header.uid, header.gid)),
                mode: header.mode & 0o7777,
                xattrs: Some(&header.xattrs),
                label,
            },
            CheckoutMode::User => Look {
                owner: None,
                mode: user_mode(header.mode),
                xattrs: None,
                label,
            },
        })
    }

    /// Returns the store's files, if they are files.
    pub(super) fn local(&self) -> Option<&Arc<dyn LocalObjects>> {
        self.local.as_ref()
    }
}

fn copy_content(content: &mut ContentReader, file: &mut std::fs::File) -> Result<()> {
    // One byte more than there is, so that small content ends with the second read.
    let bytes = (content.content_bytes() + 1).min(COPY_BYTES);
    let mut buffer = vec![0; usize::try_from(bytes).unwrap_or(COPY_BYTES as usize)];
    loop {
        let n = content
            .read(&mut buffer)
            .map_err(|e| from_read("cannot be read", e))?;
        if n == 0 {
            return Ok(());
        }
        file.write_all(&buffer[..n])
            .map_err(|e| Error::io("cannot be written", e))?;
    }
}

/// Returns the mode that a file has in user mode: readable to its owner, and nobody becomes another.
pub(super) fn user_mode(mode: u32) -> u32 {
    (mode | 0o400) & 0o1777
}

pub(super) fn missing() -> Error {
    Error::missing("is not in the repository: the commit is partial, or the repository damaged")
}

pub(super) fn exists() -> Error {
    Error::new(ErrorKind::Denied, "something of that name exists already")
}

fn vanished() -> Error {
    Error::missing("was removed by someone else while it was checked out")
}

fn differs() -> Error {
    let problem = "what exists there is not identical, and is not to be replaced";
    Error::new(ErrorKind::Denied, problem)
}
