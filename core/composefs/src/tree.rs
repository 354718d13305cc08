//! The tree of an image, as it is told of.

use std::io::Write;

use crate::verity::Digest;
use crate::xattr::{XattrId, XattrTable};
use crate::{ImageError, layout, overlay, write};

/// The longest name of a file.
const NAME_MAX: usize = 255;
/// The longest target of a symbolic link, and path of content.
const PATH_MAX: usize = 4095;
/// How many pieces the largest file has, each of the largest size (8 TiB).
const PIECES_MAX: u64 = 1024;

/// Owner, permissions and extended attributes of a file or directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes<'a> {
    /// Permissions; bits of a file type are ignored.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Pairs of name and value, in any order.
    pub xattrs: Vec<(&'a [u8], &'a [u8])>,
}

/// Where the content of a regular file is that is not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backing<'a> {
    /// The path of a file with it, relative to the layer of data.
    pub path: &'a str,
    /// The fs-verity digest that the file must have; without one it is believed.
    pub digest: Option<Digest>,
}

/// A directory of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct DirId(pub(crate) usize);

#[derive(Debug)]
pub(crate) enum Kind {
    /// With its entries, which are sorted before they are written.
    Directory {
        parent: usize,
        children: Vec<usize>,
    },
    Symlink {
        target: Box<[u8]>,
    },
    Regular {
        bytes: u64,
    },
    /// The character device 0:0, which hides what is below it.
    Whiteout,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) name: Box<[u8]>,
    pub(crate) kind: Kind,
    pub(crate) permissions: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) xattrs: Vec<XattrId>,
}

/// A tree that becomes an image.
///
/// ```
/// use treeferry_core_composefs::{Attributes, Backing, Image};
///
/// # fn main() -> Result<(), treeferry_core_composefs::ImageError> {
/// let mut image = Image::new(&Attributes { mode: 0o755, ..Attributes::default() })?;
/// let file = Attributes { mode: 0o644, ..Attributes::default() };
/// let backing = Backing { path: "f6/a517….file", digest: None };
/// image.add_file(Image::ROOT, b"cow", &file, 4, backing)?;
/// let mut bytes = Vec::new();
/// let digest = image.write(&mut bytes)?;
/// # assert_eq!(bytes.len() % 4096, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Image {
    pub(crate) nodes: Vec<Node>,
    pub(crate) xattrs: XattrTable,
    pub(crate) has_acl: bool,
}

impl Image {
    /// The root directory.
    pub const ROOT: DirId = DirId(0);

    /// Begins with a root that is empty.
    ///
    /// # Errors
    ///
    /// Those of extended attributes.
    pub fn new(root: &Attributes<'_>) -> Result<Self, ImageError> {
        let mut image = Self {
            nodes: Vec::new(),
            xattrs: XattrTable::default(),
            has_acl: false,
        };
        let kind = Kind::Directory {
            parent: 0,
            children: Vec::new(),
        };
        let root = image.node(b"", root, kind)?;
        image.nodes.push(root);
        Ok(image)
    }

    /// Adds an empty directory to a directory.
    ///
    /// # Errors
    ///
    /// Those of names and extended attributes.
    pub fn add_directory(
        &mut self,
        parent: DirId,
        name: &[u8],
        attributes: &Attributes<'_>,
    ) -> Result<DirId, ImageError> {
        let kind = Kind::Directory {
            parent: parent.0,
            children: Vec::new(),
        };
        self.add(parent, name, attributes, kind).map(DirId)
    }

    /// Adds a symbolic link to a directory.
    ///
    /// # Errors
    ///
    /// Those of names, targets and extended attributes.
    pub fn add_symlink(
        &mut self,
        parent: DirId,
        name: &[u8],
        attributes: &Attributes<'_>,
        target: &[u8],
    ) -> Result<(), ImageError> {
        check_path(target)?;
        let target = target.into();
        self.add(parent, name, attributes, Kind::Symlink { target })?;
        Ok(())
    }

    /// Adds a regular file of `bytes` bytes to a directory. An empty one needs no content: its
    /// `backing` is ignored.
    ///
    /// # Errors
    ///
    /// Those of names, sizes, paths of content and extended attributes.
    pub fn add_file(
        &mut self,
        parent: DirId,
        name: &[u8],
        attributes: &Attributes<'_>,
        bytes: u64,
        backing: Backing<'_>,
    ) -> Result<(), ImageError> {
        if bytes > PIECES_MAX << layout::PIECE_BITS_MAX {
            return Err(ImageError::FileTooLarge(bytes));
        }
        let node = self.add(parent, name, attributes, Kind::Regular { bytes })?;
        if bytes > 0 {
            check_path(backing.path.as_bytes())?;
            overlay::mark_file(self, node, backing)?;
        }
        Ok(())
    }

    /// Writes the image, and returns its fs-verity digest.
    ///
    /// # Errors
    ///
    /// [`Duplicate`](ImageError::Duplicate) and [`TreeTooLarge`](ImageError::TreeTooLarge) before
    /// anything is written; then those of `to`.
    pub fn write(mut self, to: &mut dyn Write) -> Result<Digest, ImageError> {
        overlay::mark_root(&mut self)?;
        self.sort()?;
        let layout = layout::lay_out(&self)?;
        write::write(&self, &layout, to)
    }

    fn add(
        &mut self,
        parent: DirId,
        name: &[u8],
        attributes: &Attributes<'_>,
        kind: Kind,
    ) -> Result<usize, ImageError> {
        let is_name = !matches!(name, b"" | b"." | b"..")
            && name.len() <= NAME_MAX
            && !name.iter().any(|byte| matches!(byte, 0 | b'/'));
        if !is_name {
            return Err(ImageError::Name(String::from_utf8_lossy(name).into_owned()));
        }
        let node = self.node(name, attributes, kind)?;
        Ok(self.push(parent.0, node))
    }

    fn node(
        &mut self,
        name: &[u8],
        attributes: &Attributes<'_>,
        kind: Kind,
    ) -> Result<Node, ImageError> {
        let acls: [&[u8]; 2] = [b"system.posix_acl_access", b"system.posix_acl_default"];
        self.has_acl |= attributes
            .xattrs
            .iter()
            .any(|(name, _)| acls.contains(name));
        Ok(Node {
            name: name.into(),
            kind,
            permissions: (attributes.mode & 0o7777) as u16,
            uid: attributes.uid,
            gid: attributes.gid,
            xattrs: self.xattrs.take_all(attributes.xattrs.iter().copied())?,
        })
    }

    /// Puts a node into a directory.
    pub(crate) fn push(&mut self, parent: usize, node: Node) -> usize {
        let number = self.nodes.len();
        self.nodes.push(node);
        if let Kind::Directory { children, .. } = &mut self.nodes[parent].kind {
            children.push(number);
        }
        number
    }

    /// Returns what is in a directory; nothing is in what is none.
    pub(crate) fn children(&self, node: usize) -> &[usize] {
        match &self.nodes[node].kind {
            Kind::Directory { children, .. } => children,
            _ => &[],
        }
    }

    /// Sorts entries by name, and attributes.
    fn sort(&mut self) -> Result<(), ImageError> {
        for number in 0..self.nodes.len() {
            let mut ids = std::mem::take(&mut self.nodes[number].xattrs);
            self.xattrs.sort(&mut ids);
            self.nodes[number].xattrs = ids;
            let Kind::Directory { children, .. } = &mut self.nodes[number].kind else {
                continue;
            };
            let mut children = std::mem::take(children);
            let name = |number: &usize| &self.nodes[*number].name;
            children.sort_unstable_by(|a, b| name(a).cmp(name(b)));
            let mut pairs = children.windows(2);
            if let Some(twice) = pairs.find(|pair| name(&pair[0]) == name(&pair[1])) {
                let name = String::from_utf8_lossy(name(&twice[0]));
                return Err(ImageError::Duplicate(name.into_owned()));
            }
            if let Kind::Directory { children: kept, .. } = &mut self.nodes[number].kind {
                *kept = children;
            }
        }
        Ok(())
    }
}

fn check_path(path: &[u8]) -> Result<(), ImageError> {
    let is_path = !path.is_empty() && path.len() <= PATH_MAX && !path.contains(&0);
    is_path.then_some(()).ok_or(ImageError::Path(path.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Image {
        Image::new(&Attributes::default()).unwrap()
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let plain = Attributes::default();
        let long = vec![b'a'; 256];
        for name in [&b""[..], b".", b"..", b"a/b", b"a\0", &long] {
            let refused = image().add_directory(Image::ROOT, name, &plain);
            assert!(matches!(refused, Err(ImageError::Name(_))), "{name:?}");
        }
    }

    #[test]
    fn a_name_stands_once_in_a_directory() {
        let mut image = image();
        let plain = Attributes::default();
        let below = image.add_directory(Image::ROOT, b"a", &plain).unwrap();
        image.add_symlink(below, b"a", &plain, b"a").unwrap();
        image.add_symlink(Image::ROOT, b"a", &plain, b"a").unwrap();
        let refused = image.write(&mut std::io::sink());
        assert!(matches!(refused, Err(ImageError::Duplicate(name)) if name == "a"));
    }

    #[test]
    fn what_no_image_can_tell_is_refused() {
        let plain = Attributes::default();
        let long = "a".repeat(4096);
        for target in ["", "a\0b", &long] {
            let refused = image().add_symlink(Image::ROOT, b"a", &plain, target.as_bytes());
            assert!(matches!(refused, Err(ImageError::Path(_))), "{target:?}");
            let backing = Backing {
                path: target,
                digest: None,
            };
            let refused = image().add_file(Image::ROOT, b"a", &plain, 1, backing);
            assert!(matches!(refused, Err(ImageError::Path(_))), "{target:?}");
        }
        let backing = Backing {
            path: "a",
            digest: None,
        };
        let add = |bytes| image().add_file(Image::ROOT, b"a", &plain, bytes, backing);
        assert!(add(1 << 53).is_ok());
        assert!(matches!(
            add((1 << 53) + 1),
            Err(ImageError::FileTooLarge(_))
        ));
        assert!(add(u64::MAX).is_err());
    }
}
