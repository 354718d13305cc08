//! Importing file objects from another repository by hard link.

use std::sync::Arc;

use futures::future::try_join_all;
use rustix::io::Errno;
use treeferry_core::error::{Error, Result};
use treeferry_core::format::{Checksum, ObjectName};
use treeferry_core::store::{Body, Incoming, Linked, Put};

use crate::batch::FsBatch;
use crate::mode::FsMode;
use crate::repo::FsRepo;
use crate::staging::{Pending, Staged, SyncState};
use crate::sys;
use crate::write::{WriteContext, Writer};

/// Objects linked in one job of the pool.
const LINKS_A_JOB: usize = 256;

/// Whether objects are hashed before they are linked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkCheck {
    /// Each is read and must hash to its name.
    Verify,
    /// The other repository is trusted: its objects are taken for what they are called.
    Trust,
}

impl FsBatch {
    /// Adds file objects of `from`, a repository of the same mode, without copying them where the
    /// filesystem allows: a hard link, or else a copy. Answers in the same order; `None` for one
    /// that `from` does not have.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`](treeferry_core::ErrorKind::Unsupported) when the modes differ:
    /// the files would not look as they must.
    pub async fn link_from(
        &self,
        from: &FsRepo,
        checksums: &[Checksum],
        check: LinkCheck,
    ) -> Result<Vec<Option<Put>>> {
        if from.mode() != self.repo().mode() || from.mode() == FsMode::BareSplitXattrs {
            let (ours, theirs) = (self.repo().mode(), from.mode());
            let problem = format!("files of mode {theirs} cannot be linked into mode {ours}");
            return Err(Error::unsupported(problem).about(from.path()));
        }
        let jobs = checksums.chunks(LINKS_A_JOB).map(|chunk| {
            let (context, from) = (Arc::clone(self.context()), from.clone());
            let (chunk, counted) = (chunk.to_vec(), self.counter());
            self.repo().pool().run(move || {
                let link = |checksum| {
                    let put = link_one(&context, &from, checksum, check)?;
                    put.iter().for_each(&counted);
                    Ok(put)
                };
                chunk.iter().map(link).collect::<Result<Vec<_>>>()
            })
        });
        let puts = try_join_all(jobs).await?;
        Ok(puts.into_iter().flatten().collect())
    }
}

fn link_one(
    context: &WriteContext,
    from: &FsRepo,
    checksum: &Checksum,
    check: LinkCheck,
) -> Result<Option<Put>> {
    let name = ObjectName::file(*checksum);
    let Some(object) = from.inner.shelf.open(checksum)? else {
        return copy_one(context, from, &name);
    };
    let unpacked_bytes = object.content_bytes;
    let Some(stat) = from.inner.shelf.stat(&name)? else {
        return Ok(None);
    };
    let writer = Writer::new(context);
    if let Some(present) = writer.present(&name, None, unpacked_bytes)? {
        return Ok(Some(present));
    }
    if check == LinkCheck::Verify {
        verify(context, name, object.into())?;
    }
    let Some(pending) = link_pending(context, from, checksum)? else {
        return copy_one(context, from, &name);
    };
    let stored_bytes = stat.stored_bytes;
    pending.place(&name)?;
    let staged = Staged {
        stored_bytes,
        // Whoever wrote the other repository may not have synced it.
        sync: match sys::stat(
            context.staging.shelf.fd(),
            &name.loose_path(context.repo.mode().layout()),
        )? {
            Some(stat) if rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file() => {
                SyncState::Due
            }
            _ => SyncState::Done,
        },
    };
    let stored = context.staging.add(name, staged)?;
    Ok(Some(Put {
        name,
        stored,
        unpacked_bytes,
        stored_bytes,
    }))
}

fn link_pending<'a>(
    context: &'a WriteContext,
    from: &FsRepo,
    checksum: &Checksum,
) -> Result<Option<Pending<'a>>> {
    let staging = &context.staging;
    let pending = staging.pending_name();
    let path = crate::layout::object_path(&ObjectName::file(*checksum), from.mode());
    let flags = rustix::fs::AtFlags::empty();
    let linked = rustix::fs::linkat(
        from.inner.shelf.fd(),
        &path,
        staging.shelf.fd(),
        &pending,
        flags,
    );
    match linked.map_or_else(outcome, |()| Ok(Linked::Done))? {
        Linked::Done => Ok(Some(staging.adopt_pending(Some(pending), None))),
        Linked::Exists | Linked::Refused => Ok(None),
    }
}

fn outcome(errno: Errno) -> Result<Linked> {
    match errno {
        Errno::MLINK | Errno::XDEV | Errno::PERM | Errno::NOTSUP | Errno::NOENT => {
            Ok(Linked::Refused)
        }
        Errno::EXIST => Ok(Linked::Exists),
        errno => Err(Error::io("cannot be linked", errno)),
    }
}

fn verify(context: &WriteContext, name: ObjectName, body: Body) -> Result<()> {
    let codec = &context.repo.inner.options.codec;
    let mut reader = Incoming::named(name, body).into_content(&**codec)?;
    let copied = std::io::copy(&mut reader, &mut std::io::sink());
    copied.map_err(|e| treeferry_core::error::from_read("cannot be read", e))?;
    Ok(())
}

fn copy_one(context: &WriteContext, from: &FsRepo, name: &ObjectName) -> Result<Option<Put>> {
    match from.fetch_blocking(name)? {
        Some(body) => Writer::new(context)
            .put(Incoming::named(*name, body))
            .map(Some),
        None => Ok(None),
    }
}
