//! Writing objects into a staging directory, each verified before it gets its name.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use treeferry_core::error::{Error, Result, from_read};
use treeferry_core::format::{Checksum, FileHeader, Hasher, ObjectName, ObjectType};
use treeferry_core::store::{Body, ContentReader, Incoming, Payload, Put, Stored, Trust};

use crate::free_space::Allowance;
use crate::layout::{object_path, xattrs_link_path};
use crate::leftovers::Leftovers;
use crate::mode::FsMode;
use crate::repo::FsRepo;
use crate::staging::{Pending, Staged, Staging, SyncState};
use crate::store_file::{self, check_storable, dress, io, keeps_symlinks};
use crate::sys::failed;

/// What is at most this long is verified in memory, and written in one go only if it is new.
const WHOLE_BYTES_MAX: usize = 256 * 1024;

/// What all writers of a batch share.
#[derive(Debug)]
pub(crate) struct WriteContext {
    pub(crate) repo: FsRepo,
    pub(crate) staging: Arc<Staging>,
    pub(crate) leftovers: Leftovers,
    pub(crate) allowance: Allowance,
    pub(crate) sync_each: SyncEach,
    /// Cleared when the filesystem turns out not to share blocks.
    pub(crate) sharing: AtomicBool,
}

/// Whether each object is synced when it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SyncEach {
    Yes,
    No,
}

/// Writes objects, one after the other. Blocking.
#[derive(Debug)]
pub(crate) struct Writer<'a> {
    pub(crate) context: &'a WriteContext,
    pub(crate) mode: FsMode,
    /// Allocated once for all objects; `filled` bytes of it are of the current one.
    pub(crate) buffer: Vec<u8>,
    pub(crate) filled: usize,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(context: &'a WriteContext) -> Self {
        Self {
            context,
            mode: context.repo.mode(),
            buffer: Vec::new(),
            filled: 0,
        }
    }

    /// Verifies and stages one object.
    pub(crate) fn put(&mut self, object: Incoming) -> Result<Put> {
        let name = object.name();
        let put = match object.object_type() {
            ObjectType::File if self.mode == FsMode::Archive => self.put_filez(object),
            ObjectType::File => self.put_content(object),
            _ => self.put_metadata(object),
        };
        put.map_err(|e| match name {
            Some(name) => e.about(name),
            None => e,
        })
    }

    fn put_metadata(&mut self, object: Incoming) -> Result<Put> {
        if let Some(file) = object.local_metadata()
            && let Some(put) = self.link_metadata(&object, file)?
        {
            return Ok(put);
        }
        let (name, bytes) = object.into_metadata()?;
        let length = bytes.len() as u64;
        if let Some(present) = self.present_metadata(&name, &bytes)? {
            return Ok(present);
        }
        let pending = self.write_whole(&bytes)?;
        store_file::set_mode(pending.file()?, 0o644)?;
        self.finish(pending, name, length, length)
    }

    /// Returns the answer for a metadata object that is there already, and undamaged.
    pub(crate) fn present_metadata(&self, name: &ObjectName, bytes: &[u8]) -> Result<Option<Put>> {
        let length = bytes.len() as u64;
        match self.is_damaged(name, bytes) {
            true => Ok(None),
            false => self.present(name, Some(length), length),
        }
    }

    /// Returns whether the repository holds other bytes than these by the name of `name`.
    ///
    /// Metadata is small: to look is cheap, and what is damaged heals when it is put again.
    fn is_damaged(&self, name: &ObjectName, bytes: &[u8]) -> bool {
        if matches!(self.context.staging.get(name), Ok(Some(_))) {
            return false;
        }
        match self.context.repo.inner.shelf.read_metadata(name) {
            Ok(there) => there.is_some_and(|there| there != bytes),
            // Nor does what cannot be read hold them.
            Err(_) => true,
        }
    }

    fn put_filez(&mut self, object: Incoming) -> Result<Put> {
        let object = object.believed();
        let name = object.name();
        if let Some(vouched) = object.vouched_filez()?
            && let Some(put) = self.put_vouched(vouched)?
        {
            return Ok(put);
        }
        if let Some(file) = object.local_filez() {
            let file = file.clone();
            if let Some(put) = self.adopt(&object, &file)? {
                return Ok(put);
            }
        }
        if let Some(checksum) = self.hash_of_recorded(&object)? {
            let unpacked_bytes = content_bytes_of(&object);
            if let Some(present) =
                self.present(&ObjectName::file(checksum), None, unpacked_bytes)?
            {
                return Ok(present);
            }
        }
        let (codec, level) = (&self.context.repo.inner.options.codec, self.level());
        let mut reader = object.into_filez(&**codec, level)?;
        let content_bytes = reader.content_bytes();
        if let Some(name) = name
            && let Some(present) = self.present(&name, None, content_bytes)?
        {
            return Ok(present);
        }
        let ended = self.fill(&mut reader)?;
        if ended {
            let name = ObjectName::file(checksum_of(reader.checksum())?);
            if let Some(present) = self.present(&name, None, content_bytes)? {
                return Ok(present);
            }
            let pending = self.write_filled()?;
            store_file::set_mode(pending.file()?, 0o644)?;
            let stored = reader.stored_bytes();
            return self.finish(pending, name, content_bytes, stored);
        }
        // How far it shrinks is not known before: as long as its content is a fair upper bound.
        let pending = self.write_rest(&mut reader, content_bytes)?;
        let name = ObjectName::file(checksum_of(reader.checksum())?);
        store_file::set_mode(pending.file()?, 0o644)?;
        self.finish(pending, name, content_bytes, reader.stored_bytes())
    }

    /// Hashes a file that is being recorded, before it is compressed: of a tree that was recorded
    /// before most files are here already, and hashing is some twenty times cheaper.
    fn hash_of_recorded(&mut self, object: &Incoming) -> Result<Option<Checksum>> {
        let Body::File {
            header,
            content: Payload::Local(file),
            ..
        } = object.body()
        else {
            return Ok(None);
        };
        if object.name().is_some() {
            return Ok(None);
        }
        let mut hasher = Hasher::new();
        hasher.update(&header.to_canonical());
        let mut file = file.open()?;
        self.buffer.resize(WHOLE_BYTES_MAX, 0);
        loop {
            match file
                .read(&mut self.buffer)
                .map_err(|e| from_read("cannot be read", e))?
            {
                0 => return Ok(Some(hasher.finish())),
                n => hasher.update(&self.buffer[..n]),
            }
        }
    }

    fn put_content(&mut self, object: Incoming) -> Result<Put> {
        let object = object.believed();
        let name = object.name();
        if let Some(file) = object.local_content() {
            let file = file.clone();
            if let Some(put) = self.adopt(&object, &file)? {
                return Ok(put);
            }
            if let Some(put) = self.share_blocks(&object, &file)? {
                return Ok(put);
            }
        }
        let codec = &self.context.repo.inner.options.codec;
        let mut reader = object.into_content(&**codec)?;
        check_storable(self.mode, reader.header())?;
        let content_bytes = reader.content_bytes();
        let length = stored_length(self.mode, reader.header(), content_bytes);
        if let Some(name) = name
            && let Some(present) = self.present(&name, Some(length), content_bytes)?
        {
            return Ok(present);
        }
        let ended = self.fill(&mut reader)?;
        if !ended {
            let pending = self.write_rest(&mut reader, content_bytes)?;
            let found = ObjectName::file(checksum_of(reader.checksum())?);
            if name.is_none()
                && let Some(present) = self.present(&found, Some(length), content_bytes)?
            {
                self.context.allowance.give_back(content_bytes);
                return Ok(present);
            }
            return self.finish_content(pending, &reader);
        }
        let name = ObjectName::file(checksum_of(reader.checksum())?);
        if let Some(present) = self.present(&name, Some(length), content_bytes)? {
            return Ok(present);
        }
        let header = reader.header();
        let pending = if header.is_symlink() && keeps_symlinks(self.mode) {
            store_file::make_symlink(&self.context.staging, self.mode, header)?
        } else if header.is_symlink() {
            let mut target = header.symlink_target.as_bytes().to_vec();
            target.push(0);
            self.write_whole(&target)?
        } else {
            self.write_filled()?
        };
        self.finish_content(pending, &reader)
    }

    /// Dresses and stages content that has been verified to its end.
    pub(crate) fn finish_content(
        &mut self,
        pending: Pending<'_>,
        reader: &ContentReader,
    ) -> Result<Put> {
        let name = ObjectName::file(checksum_of(reader.checksum())?);
        let header = reader.header();
        if !header.is_symlink() || !keeps_symlinks(self.mode) {
            dress(self.mode, pending.file()?, header)?;
        }
        if self.mode == FsMode::BareSplitXattrs {
            self.stage_xattrs(&name.checksum, header)?;
        }
        let content_bytes = reader.content_bytes();
        let stored = stored_length(self.mode, header, content_bytes);
        self.finish(pending, name, content_bytes, stored)
    }

    pub(crate) fn finish(
        &mut self,
        pending: Pending<'_>,
        name: ObjectName,
        unpacked_bytes: u64,
        stored_bytes: u64,
    ) -> Result<Put> {
        let sync = match (pending.file(), self.context.sync_each) {
            (Err(_), _) => SyncState::Done,
            (Ok(_), SyncEach::No) => SyncState::Due,
            (Ok(file), SyncEach::Yes) => {
                rustix::fs::fsync(file).map_err(|e| io("cannot be made durable", e))?;
                SyncState::Done
            }
        };
        let staged = Staged { stored_bytes, sync };
        let stored = self
            .context
            .staging
            .add(name, staged, || pending.place(&name))?;
        Ok(Put {
            name,
            stored,
            unpacked_bytes,
            stored_bytes,
        })
    }

    /// Returns the answer for an object that is there already and may be taken for whole.
    ///
    /// `length` is how long it must be on disk, where that is known.
    pub(crate) fn present(
        &self,
        name: &ObjectName,
        length: Option<u64>,
        unpacked_bytes: u64,
    ) -> Result<Option<Put>> {
        let context = self.context;
        let answer = |stored_bytes| Put {
            name: *name,
            stored: Stored::Present,
            unpacked_bytes,
            stored_bytes,
        };
        if let Some(staged) = context.staging.get(name)? {
            return Ok(Some(answer(staged.stored_bytes)));
        }
        if let Some(stat) = context.repo.inner.shelf.stat(name)? {
            let whole = stat.trust == Trust::Whole;
            if whole && length.is_none_or(|length| length == stat.stored_bytes) {
                context.staging.relied.insert(name.checksum.as_bytes()[0]);
                return Ok(Some(answer(stat.stored_bytes)));
            }
            // What is there is torn: it is written anew and replaced.
            return Ok(None);
        }
        let claimed = context.leftovers.claim(context, name)?;
        Ok(claimed.map(|staged| Put {
            stored: Stored::New,
            ..answer(staged.stored_bytes)
        }))
    }

    /// Reads into the buffer until it is full or the source, verified, has ended.
    pub(crate) fn fill(&mut self, reader: &mut dyn Read) -> Result<bool> {
        self.buffer.resize(WHOLE_BYTES_MAX, 0);
        self.filled = 0;
        while self.filled < self.buffer.len() {
            let n = reader
                .read(&mut self.buffer[self.filled..])
                .map_err(|e| from_read("cannot be read", e))?;
            if n == 0 {
                return Ok(true);
            }
            self.filled += n;
        }
        Ok(false)
    }

    fn write_filled(&self) -> Result<Pending<'a>> {
        self.write_whole(&self.buffer[..self.filled])
    }

    pub(crate) fn write_whole(&self, bytes: &[u8]) -> Result<Pending<'a>> {
        self.context.allowance.take(bytes.len() as u64)?;
        let pending = self.context.staging.new_pending()?;
        pending
            .file()?
            .write_all(bytes)
            .map_err(|e| Error::io("cannot be written", e))?;
        Ok(pending)
    }

    /// Writes what the buffer holds, and all that follows.
    fn write_rest(&mut self, reader: &mut dyn Read, expected_bytes: u64) -> Result<Pending<'a>> {
        self.context.allowance.take(expected_bytes)?;
        let pending = self.context.staging.new_pending()?;
        let written = self.copy_rest(reader, &pending);
        if written.is_err() {
            self.context.allowance.give_back(expected_bytes);
        }
        written.map(|()| pending)
    }

    fn copy_rest(&mut self, reader: &mut dyn Read, pending: &Pending<'_>) -> Result<()> {
        let mut file = pending.file()?;
        let mut filled = self.filled;
        while filled > 0 {
            file.write_all(&self.buffer[..filled])
                .map_err(|e| Error::io("cannot be written", e))?;
            filled = reader
                .read(&mut self.buffer)
                .map_err(|e| from_read("cannot be read", e))?;
        }
        Ok(())
    }

    /// Keeps extended attributes as an object, and names them by the file that has them.
    pub(crate) fn stage_xattrs(&mut self, file: &Checksum, header: &FileHeader) -> Result<()> {
        let bytes = header.xattrs.to_bytes();
        let object = Incoming::recorded_metadata(ObjectType::FileXattrs, bytes.clone());
        let xattrs = self.put_metadata(object)?.name;
        let (staging, shelf) = (&self.context.staging, &self.context.repo.inner.shelf);
        let source = match staging.get(&xattrs)? {
            Some(_) => staging.shelf.fd(),
            None => shelf.fd(),
        };
        let path = object_path(&xattrs, self.mode);
        let name = staging.pending_name();
        let flags = rustix::fs::AtFlags::empty();
        let linked = rustix::fs::linkat(source, &path, staging.shelf.fd(), &name, flags);
        let pending = match linked {
            Ok(()) => staging.adopt_pending(Some(name), None),
            // As many links as an inode can have: a copy says the same.
            Err(rustix::io::Errno::MLINK) => {
                let pending = self.write_whole(&bytes)?;
                store_file::set_mode(pending.file()?, 0o644)?;
                pending
            }
            Err(e) => return Err(failed(&path, "cannot be linked")(e)),
        };
        pending.place_at(file, &xattrs_link_path(file)).map(drop)
    }

    pub(crate) fn level(&self) -> u8 {
        self.context.repo.inner.config.zlib_level
    }
}

fn stored_length(mode: FsMode, header: &FileHeader, content_bytes: u64) -> u64 {
    match (header.is_symlink(), mode) {
        (false, _) => content_bytes,
        (true, FsMode::BareUser) => header.symlink_target.len() as u64 + 1,
        (true, _) => header.symlink_target.len() as u64,
    }
}

pub(crate) fn checksum_of(checksum: Option<Checksum>) -> Result<Checksum> {
    // A reader that came to its end without an error has one.
    checksum.ok_or_else(|| Error::corrupt("ended without having been verified"))
}

fn content_bytes_of(object: &Incoming) -> u64 {
    match object.body() {
        Body::File { content_bytes, .. } => *content_bytes,
        _ => 0,
    }
}
