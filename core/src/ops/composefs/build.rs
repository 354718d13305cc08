//! The image of a tree: its directories first, one after the other, then all its files, many at once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};
use treeferry_core_composefs::{Attributes, Backing, DirId, Image, ImageError};

use super::FileDigests;
use super::files::{FileFacts, look, look_local, missing};
use crate::codec::Codec;
use crate::error::{Error, Result};
use crate::format::{
    Checksum, ContentLayout, DirMeta, DirTree, ObjectName, TREE_DEPTH_MAX, Xattrs,
};
use crate::pool::Pool;
use crate::repo::{TreeRoot, load_dirmeta, load_dirtree};
use crate::store::ObjectSource;

/// What a system needs to mount others on, in any image.
const MOUNT_POINTS: [&str; 5] = ["usr", "etc", "boot", "var", "sysroot"];

/// Files and directories that an image has at most: it is made in memory, some 200 bytes each, and a few
/// objects can spell out any number.
pub(super) const ENTRIES_MAX: u64 = 1 << 24;

/// Files that one job looks at, and those of which it reads the content.
const LOOK_FILES: usize = 256;
const READ_FILES: usize = 16;

/// Files asked for at once where they are not files of this machine.
const FETCHES: usize = 16;

/// Where a tree's objects are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    /// They themselves, those included that are on their way into a repository.
    pub(crate) objects: &'a dyn ObjectSource,
    /// Inflates what is compressed.
    pub(crate) codec: &'a Arc<dyn Codec>,
    /// Where content is read.
    pub(crate) pool: &'a Pool,
}

/// A file of the tree that is to be looked at.
#[derive(Debug, Clone)]
struct Wanted {
    parent: DirId,
    name: Box<str>,
    file: Checksum,
}

/// Makes the image of a tree, of which some dirtrees may be known.
pub(crate) async fn image_of(
    source: Source<'_>,
    root: TreeRoot,
    known: HashMap<Checksum, Arc<DirTree>>,
    digests: FileDigests,
) -> Result<Image> {
    let (mut image, files) = directories(source.objects, root, known).await?;
    let chunk = match digests {
        FileDigests::All => READ_FILES,
        FileDigests::Sealed | FileDigests::None => LOOK_FILES,
    };
    let width = match source.objects.local() {
        Some(_) => source.pool.width(),
        None => 1,
    };
    let jobs = files
        .chunks(chunk)
        .map(|chunk| facts(source, chunk, digests));
    let mut answers = stream::iter(jobs.collect::<Vec<_>>()).buffered(width);
    let mut rest = files.as_slice();
    while let Some(facts) = answers.try_next().await? {
        for (wanted, facts) in rest.iter().zip(&facts) {
            add_file(&mut image, wanted, facts)?;
        }
        rest = &rest[facts.len().min(rest.len())..];
    }
    Ok(image)
}

/// Tells an image of all directories; returns what files there are.
async fn directories(
    objects: &dyn ObjectSource,
    root: TreeRoot,
    known: HashMap<Checksum, Arc<DirTree>>,
) -> Result<(Image, Vec<Wanted>)> {
    let mut metas = Metas {
        objects,
        known: HashMap::new(),
    };
    let meta = metas.get(&root.meta).await?;
    let failed = |e| failed(e).about(ObjectName::dirmeta(root.meta));
    let mut image = Image::new(&of_directory(&meta)).map_err(failed)?;
    let mut files = Vec::new();
    let mut entries = 0;
    let mut todo = vec![(Image::ROOT, root.tree, 1)];
    while let Some((dir, tree, depth)) = todo.pop() {
        let about = |e: Error| e.about(ObjectName::dirtree(tree));
        if depth > TREE_DEPTH_MAX {
            let problem = format!("directories are nested deeper than {TREE_DEPTH_MAX} here");
            return Err(about(Error::corrupt(problem)));
        }
        let content = match known.get(&tree) {
            Some(content) => Arc::clone(content),
            None => Arc::new(load_dirtree(objects, &tree).await?),
        };
        entries += (content.files().len() + content.dirs().len()) as u64;
        if entries > ENTRIES_MAX {
            let problem = format!("an image has {ENTRIES_MAX} files and directories at most");
            return Err(about(Error::unsupported(problem)));
        }
        if dir == Image::ROOT {
            add_mount_points(&mut image, &content).map_err(|e| about(self::failed(e)))?;
        }
        files.extend(content.files().iter().map(|entry| Wanted {
            parent: dir,
            name: entry.name.as_ref().into(),
            file: entry.file,
        }));
        for entry in content.dirs() {
            let meta = metas.get(&entry.meta).await?;
            let below = image
                .add_directory(dir, entry.name.as_bytes(), &of_directory(&meta))
                .map_err(|e| about(self::failed(e)))?;
            todo.push((below, entry.tree, depth + 1));
        }
    }
    Ok((image, files))
}

fn add_mount_points(image: &mut Image, root: &DirTree) -> std::result::Result<(), ImageError> {
    let plain = Attributes {
        mode: 0o755,
        ..Attributes::default()
    };
    for name in MOUNT_POINTS {
        if root.dir(name).is_none() && root.file(name).is_none() {
            image.add_directory(Image::ROOT, name.as_bytes(), &plain)?;
        }
    }
    Ok(())
}

/// Dirmetas, each read once: trees have few.
struct Metas<'a> {
    objects: &'a dyn ObjectSource,
    known: HashMap<Checksum, Arc<DirMeta>>,
}

impl Metas<'_> {
    async fn get(&mut self, checksum: &Checksum) -> Result<Arc<DirMeta>> {
        Ok(match self.known.entry(*checksum) {
            Entry::Occupied(known) => Arc::clone(known.get()),
            Entry::Vacant(free) => {
                let meta = load_dirmeta(self.objects, checksum).await?;
                Arc::clone(free.insert(Arc::new(meta)))
            }
        })
    }
}

/// Looks at files, in their order.
async fn facts(
    source: Source<'_>,
    files: &[Wanted],
    digests: FileDigests,
) -> Result<Vec<FileFacts>> {
    let checksums: Vec<_> = files.iter().map(|wanted| wanted.file).collect();
    if let Some(local) = source.objects.local() {
        let codec = Arc::clone(source.codec);
        let look = move || {
            let look = |checksum| look_local(&*local, checksum, digests, &*codec);
            checksums.iter().map(look).collect()
        };
        return source.pool.run(look).await;
    }
    let fetches = checksums.into_iter().map(|checksum| async move {
        let name = ObjectName::file(checksum);
        let body = source.objects.fetch(&name).await;
        let body = body.map_err(|e| e.about(name))?;
        let body = body.ok_or_else(|| missing(checksum))?;
        let codec = Arc::clone(source.codec);
        let look = move || look(checksum, body, digests, &*codec);
        source.pool.run(look).await
    });
    stream::iter(fetches).buffered(FETCHES).try_collect().await
}

fn add_file(image: &mut Image, wanted: &Wanted, facts: &FileFacts) -> Result<()> {
    let FileFacts {
        header,
        content_bytes,
        digest,
    } = facts;
    let attributes = Attributes {
        mode: header.mode,
        uid: header.uid,
        gid: header.gid,
        xattrs: pairs(&header.xattrs),
    };
    let name = wanted.name.as_bytes();
    let added = if header.is_symlink() {
        let target = header.symlink_target.as_bytes();
        image.add_symlink(wanted.parent, name, &attributes, target)
    } else {
        // Where a repository has it whose files are plain, also if this one is an archive.
        let backing = Backing {
            path: &ObjectName::file(wanted.file).loose_path(ContentLayout::Bare),
            digest: *digest,
        };
        image.add_file(wanted.parent, name, &attributes, *content_bytes, backing)
    };
    added.map_err(|e| failed(e).about(ObjectName::file(wanted.file)))
}

fn of_directory(meta: &DirMeta) -> Attributes<'_> {
    Attributes {
        mode: meta.mode,
        uid: meta.uid,
        gid: meta.gid,
        xattrs: pairs(&meta.xattrs),
    }
}

fn pairs(xattrs: &Xattrs) -> Vec<(&[u8], &[u8])> {
    xattrs.iter().collect()
}

/// Says of what cannot be in an image why.
pub(crate) fn failed(error: ImageError) -> Error {
    match error {
        ImageError::Io(error) => Error::io("the image cannot be written", error),
        other => Error::unsupported("cannot be in a composefs image").because(other),
    }
}
