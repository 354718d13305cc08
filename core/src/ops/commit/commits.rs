//! Lays the tree of a commit over another.

use super::mutable_tree::{MutableTree, Node};
use super::record::{Recorder, put_one};
use super::rules::{Owned, Rules};
use super::scan::join;
use crate::error::{Error, Result};
use crate::format::{Checksum, DirMeta, FileHeader, ObjectName, TREE_DEPTH_MAX};
use crate::repo::{Repo, TreeRoot, load_dirmeta, load_dirtree};
use crate::store::{ContentReader, Incoming, Payload};

/// A directory of the commit that is still to be laid over the tree.
struct Waiting {
    root: TreeRoot,
    at: Option<(Node, Box<str>)>,
    path: String,
    depth: usize,
}

impl Recorder<'_> {
    /// Lays the tree `root` over the tree, changed by `rules`.
    pub(super) async fn recorded(
        &mut self,
        root: TreeRoot,
        rules: &mut Rules,
        repo: &Repo,
    ) -> Result<()> {
        if rules.change_nothing() && self.tree.is_blank() {
            return self.tree.load(MutableTree::ROOT, root, self.batch).await;
        }
        let mut waiting = vec![Waiting {
            root,
            at: None,
            path: "/".to_owned(),
            depth: 0,
        }];
        while let Some(here) = waiting.pop() {
            let Some(meta) = self.recorded_meta(&here, rules).await? else {
                continue;
            };
            let node = match &here.at {
                None => MutableTree::ROOT,
                Some((parent, name)) => self.tree.enter(*parent, name, self.batch).await?,
            };
            self.tree.set_meta(node, meta);
            let tree = load_dirtree(self.batch, &here.root.tree).await?;
            for file in tree.files() {
                let path = join(&here.path, &file.name);
                self.tree.check_file(node, &file.name)?;
                if let Some(checksum) = self.recorded_file(file.file, &path, rules, repo).await? {
                    self.tree.set_file(node, file.name.clone(), checksum);
                }
            }
            for dir in tree.dirs() {
                let root = TreeRoot {
                    tree: dir.tree,
                    meta: dir.meta,
                };
                if rules.change_nothing() && self.tree.attach(node, &dir.name, root)? {
                    continue;
                }
                let path = join(&here.path, &dir.name);
                if here.depth == TREE_DEPTH_MAX {
                    let problem = format!("directories are nested more than {TREE_DEPTH_MAX} deep");
                    return Err(Error::invalid(problem).about(std::path::Path::new(&path)));
                }
                waiting.push(Waiting {
                    root,
                    at: Some((node, dir.name.clone())),
                    path,
                    depth: here.depth + 1,
                });
            }
        }
        Ok(())
    }

    /// Returns the dirmeta to record for a directory; `None` if it is left out.
    async fn recorded_meta(
        &mut self,
        dir: &Waiting,
        rules: &mut Rules,
    ) -> Result<Option<Checksum>> {
        if rules.change_nothing() {
            return Ok(Some(dir.root.meta));
        }
        let meta = load_dirmeta(self.batch, &dir.root.meta).await?;
        let owned = Owned {
            uid: meta.uid,
            gid: meta.gid,
            mode: meta.mode,
        };
        let Some(owned) = rules.apply(&dir.path, owned) else {
            return Ok(None);
        };
        let meta = DirMeta {
            uid: owned.uid,
            gid: owned.gid,
            mode: owned.mode,
            xattrs: rules.xattrs(&dir.path, owned.mode, meta.xattrs)?,
        };
        self.put_dirmeta(&meta).await.map(Some)
    }

    /// Returns the file object to record for a file; `None` if it is left out.
    ///
    /// One whose header changes becomes another object with the same content.
    async fn recorded_file(
        &mut self,
        file: Checksum,
        path: &str,
        rules: &mut Rules,
        repo: &Repo,
    ) -> Result<Option<Checksum>> {
        if rules.change_nothing() {
            return Ok(Some(file));
        }
        let name = ObjectName::file(file);
        let body = self.batch.fetch(&name).await?;
        let body = body.ok_or_else(|| Error::missing("is not in the repository").about(name))?;
        let codec = repo.codec().clone();
        let open = move || Incoming::named(name, body).into_content(&*codec);
        let content: ContentReader = repo.pool().run(open).await?;
        let found = content.header();
        let owned = Owned {
            uid: found.uid,
            gid: found.gid,
            mode: found.mode,
        };
        let Some(owned) = rules.apply(path, owned) else {
            return Ok(None);
        };
        let header = FileHeader {
            uid: owned.uid,
            gid: owned.gid,
            mode: owned.mode,
            symlink_target: found.symlink_target.clone(),
            xattrs: rules.xattrs(path, owned.mode, found.xattrs.clone())?,
        };
        if header == *found {
            self.stats.content_total += 1;
            return Ok(Some(file));
        }
        let bytes = content.content_bytes();
        let target_bytes = header.symlink_target.len() as u64;
        let payload = Payload::Reader(Box::new(content));
        let put = put_one(self.batch, Incoming::recorded_file(header, bytes, payload)).await?;
        self.count_file(&put, target_bytes);
        Ok(Some(put.name.checksum))
    }
}
