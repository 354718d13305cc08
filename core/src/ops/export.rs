//! Writes the tree of a commit as a tar archive: the verb `export`.

use std::io::Read;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use tar::{Builder, EntryType, Header};

use super::list::{ListDetails, ListEntry, ListNode, ListOptions, fetch, list, read_ahead};
use crate::error::{Error, Result, from_read};
use crate::format::{Checksum, DirMeta, FileHeader, Xattrs};
use crate::repo::{Repo, load_dirmeta};

/// The bytes that everything in a tar archive is a multiple of.
const BLOCK_BYTES: u64 = 512;

/// The longest name, and target of a link, that has room in a header, bytes.
const NAME_BYTES_MAX: usize = 100;

/// The largest owner that has room in a header.
const OWNER_MAX: u32 = 0o777_7777;

/// The longest file that has room in a header, bytes.
const SIZE_MAX: u64 = 0o777_7777_7777;

/// Files up to this length are read in one go.
const WHOLE_BYTES_MAX: u64 = 256 * 1024;

/// Files that are opened ahead.
const FILES_AHEAD: usize = 8;

/// What to write, and how.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ExportOptions {
    /// What of the tree becomes the root of the archive.
    pub subpath: String,
    /// What each name begins with, put before it as it is.
    pub prefix: String,
    /// Whether extended attributes are written.
    pub xattrs: ExportXattrs,
}

/// Whether extended attributes are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ExportXattrs {
    /// They are, in extended headers that GNU tar and libarchive read.
    #[default]
    Write,
    /// They are not.
    Omit,
}

impl Default for ExportOptions {
    /// The whole tree, as it is.
    fn default() -> Self {
        Self {
            subpath: "/".to_owned(),
            prefix: String::new(),
            xattrs: ExportXattrs::default(),
        }
    }
}

/// Writes the tree of `commit` as a tar archive. Everything in it was modified when the commit was
/// recorded.
///
/// # Errors
///
/// The stream ends in an error if the content of a file does not hash to its name: an archive is
/// right only once it has ended.
pub async fn export(
    repo: &Repo,
    commit: &Checksum,
    options: ExportOptions,
) -> Result<BoxStream<'static, Result<Bytes>>> {
    let timestamp = repo.load_commit(commit).await?.timestamp;
    let root = repo.tree_of(commit).await?;
    let names = ListOptions {
        details: ListDetails::Names,
        depth: super::list::ListDepth::All,
        ..ListOptions::default()
    };
    let entries = list(repo, root, &options.subpath, names).await?;
    let base = super::list::full_path(&options.subpath)?;
    let exporter = Arc::new(Exporter {
        repo: repo.clone(),
        options,
        timestamp,
        base,
    });
    let archived = entries.map(move |entry| {
        let exporter = Arc::clone(&exporter);
        async move { exporter.entry(entry?).await }
    });
    let end = Bytes::from_static(&[0; 2 * BLOCK_BYTES as usize]);
    let end = stream::once(futures::future::ready(Ok(end)));
    let members = archived.buffered(FILES_AHEAD).try_flatten();
    Ok(members.chain(end).boxed())
}

struct Exporter {
    repo: Repo,
    options: ExportOptions,
    timestamp: u64,
    /// The path in the tree of what is the root of the archive.
    base: String,
}

impl Exporter {
    async fn entry(&self, entry: ListEntry) -> Result<BoxStream<'static, Result<Bytes>>> {
        let below = entry.path.strip_prefix(self.base.trim_end_matches('/'));
        let below = below.unwrap_or(&entry.path).trim_start_matches('/');
        let name = format!("{}{below}", self.options.prefix);
        match entry.node {
            ListNode::Dir { root, .. } => {
                let meta = load_dirmeta(&**self.repo.objects(), &root.meta).await?;
                let name = match name.as_str() {
                    "" => "./".to_owned(),
                    _ if name.ends_with('/') => name,
                    _ => name + "/",
                };
                let head = self.dir(&name, &meta)?;
                Ok(stream::iter([Ok(head)]).boxed())
            }
            // A file that is the root of the archive is named as it is in its directory.
            ListNode::File { checksum, .. } if below.is_empty() => {
                let own = entry.path.rsplit('/').next().unwrap_or_default();
                self.file(name + own, checksum).await
            }
            ListNode::File { checksum, .. } => self.file(name, checksum).await,
        }
    }

    fn dir(&self, name: &str, meta: &DirMeta) -> Result<Bytes> {
        let header = FileHeader {
            uid: meta.uid,
            gid: meta.gid,
            mode: meta.mode,
            symlink_target: "".into(),
            xattrs: meta.xattrs.clone(),
        };
        self.head(name, &header, EntryType::Directory, 0)
    }

    async fn file(
        &self,
        name: String,
        checksum: Checksum,
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        let incoming = fetch(&self.repo, checksum).await?;
        let codec = Arc::clone(self.repo.codec());
        let open = move || {
            let mut content = incoming.into_content(&*codec)?;
            let whole = match content.content_bytes() {
                bytes if bytes > WHOLE_BYTES_MAX => None,
                bytes => {
                    let mut whole = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
                    content
                        .read_to_end(&mut whole)
                        .map_err(|e| from_read("cannot be read", e))?;
                    Some(whole)
                }
            };
            Ok((content, whole))
        };
        let (content, whole) = self.repo.pool().run(open).await?;
        let (header, bytes) = (content.header().clone(), content.content_bytes());
        let kind = match header.is_symlink() {
            true => EntryType::Symlink,
            false => EntryType::Regular,
        };
        let head = self.head(&name, &header, kind, bytes)?;
        let padding = Bytes::from(vec![0; padding_bytes(bytes)]);
        Ok(match whole {
            Some(whole) => {
                let mut member = BytesMut::from(head);
                member.put_slice(&whole);
                member.put_slice(&padding);
                stream::iter([Ok(member.freeze())]).boxed()
            }
            None => {
                let content = read_ahead(self.repo.pool(), content);
                let padding = stream::iter([Ok(padding)]);
                stream::iter([Ok(head)])
                    .chain(content)
                    .chain(padding)
                    .boxed()
            }
        })
    }

    /// Returns the header of one member, with an extended one before it where that has no room.
    fn head(
        &self,
        name: &str,
        file: &FileHeader,
        kind: EntryType,
        content_bytes: u64,
    ) -> Result<Bytes> {
        let mut extended: Vec<(String, Vec<u8>)> = Vec::new();
        let mut extend = |key: &str, value: &str| extended.push((key.into(), value.into()));
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(file.mode & 0o7777);
        header.set_mtime(self.timestamp);
        header.set_uid(u64::from(file.uid.min(OWNER_MAX)));
        header.set_gid(u64::from(file.gid.min(OWNER_MAX)));
        header.set_size(content_bytes.min(SIZE_MAX));
        for (key, owner) in [("uid", file.uid), ("gid", file.gid)] {
            if owner > OWNER_MAX {
                extend(key, &owner.to_string());
            }
        }
        if content_bytes > SIZE_MAX {
            extend("size", &content_bytes.to_string());
        }
        if !put_text(&mut header.as_old_mut().name, name) {
            extend("path", name);
        }
        if !put_text(&mut header.as_old_mut().linkname, &file.symlink_target) {
            extend("linkpath", &file.symlink_target);
        }
        if self.options.xattrs == ExportXattrs::Write {
            extended.extend(xattr_records(&file.xattrs));
        }
        header.set_cksum();
        let mut builder = Builder::new(Vec::new());
        let records = extended
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_slice()));
        builder
            .append_pax_extensions(records)
            .map_err(|e| Error::io("its extended header cannot be written", e))?;
        let mut head = std::mem::take(builder.get_mut());
        head.extend_from_slice(header.as_bytes());
        Ok(head.into())
    }
}

/// Writes as much of a text as has room; whether that is all of it.
fn put_text(field: &mut [u8; NAME_BYTES_MAX], text: &str) -> bool {
    let mut bytes = text.len().min(NAME_BYTES_MAX);
    while !text.is_char_boundary(bytes) {
        bytes -= 1;
    }
    field[..bytes].copy_from_slice(&text.as_bytes()[..bytes]);
    bytes == text.len()
}

fn padding_bytes(content_bytes: u64) -> usize {
    usize::try_from(content_bytes.wrapping_neg() % BLOCK_BYTES).unwrap_or(0)
}

/// Returns the records of an extended header that say extended attributes.
fn xattr_records(xattrs: &Xattrs) -> Vec<(String, Vec<u8>)> {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD_NO_PAD;

    let record = |(name, value): (&[u8], &[u8])| match std::str::from_utf8(name) {
        Ok(text) if !text.contains('=') => (format!("SCHILY.xattr.{text}"), value.to_vec()),
        // As libarchive writes what an extended header cannot say plainly.
        _ => {
            let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
            let encode = |byte: &u8| match is_plain(byte) {
                true => char::from(*byte).to_string(),
                false => format!("%{byte:02X}"),
            };
            let name: String = name.iter().map(encode).collect();
            let value = STANDARD_NO_PAD.encode(value);
            (format!("LIBARCHIVE.xattr.{name}"), value.into_bytes())
        }
    };
    // The last one first: so their order comes back when the archive is recorded.
    let mut records: Vec<_> = xattrs.iter().map(record).collect();
    records.reverse();
    records
}
