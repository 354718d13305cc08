//! What is found in a place, held against what must be there.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::TryStreamExt;
use treeferry_core::Result;
use treeferry_core::format::keyfile::KeyFile;
use treeferry_core::format::{Checksum, ObjectName, ObjectType};
use treeferry_core::repo::Repo;
use treeferry_core::store::{Partial, RefSpace, RefValue};

use super::{CONFIG_GROUP, CONFIG_KEY, Contents, Run};

impl Run {
    async fn look(&self, repo: &Repo) -> Result<Contents> {
        let mut found = Contents {
            refs: repo
                .refs()
                .list_refs(&RefSpace::All)
                .await?
                .into_iter()
                .collect(),
            ..Contents::default()
        };
        for tree in &self.trees {
            let commit = tree.commit.name.checksum;
            if let Some(detached) = repo.state().read_detached(&commit).await? {
                found.detached.insert(commit, detached);
            }
        }
        for commit in repo.state().list_partial().await? {
            let mark = repo.state().read_partial(&commit).await?;
            found.partial.insert(commit, mark == Some(Partial::Damaged));
        }
        let config = KeyFile::parse(&repo.state().read_config().await?)?;
        found.step = config
            .string(CONFIG_GROUP, CONFIG_KEY)
            .ok()
            .flatten()
            .and_then(|s| s.parse().ok());
        for object_type in ObjectType::ALL {
            let listed: Vec<_> = repo.objects().list(object_type).try_collect().await?;
            found
                .objects
                .extend(listed.into_iter().map(|listed| listed.name));
        }
        Ok(found)
    }

    async fn seen(&self, repo: &Repo, what: &str) -> Contents {
        let looked = self.look(repo).await;
        let found = looked.unwrap_or_else(|e| panic!("{what}: it cannot be looked at: {e:?}"));
        self.check_closure(&found, what);
        found
    }

    /// Checks that what is there of a commit is all of it.
    fn check_closure(&self, found: &Contents, what: &str) {
        for tree in &self.trees {
            let marked = found.partial.contains_key(&tree.commit.name.checksum);
            if found.objects.contains(&tree.commit.name) && !marked {
                for name in tree.names() {
                    assert!(
                        found.objects.contains(&name),
                        "{what}: {name} of a commit is gone"
                    );
                }
            }
        }
        for (name, value) in &found.refs {
            if let RefValue::Commit(commit) = value {
                let there = found.objects.contains(&ObjectName::commit(*commit));
                assert!(there, "{what}: {name} holds {commit}, which is not there");
            }
        }
    }

    pub(super) async fn compare(&self, repo: &Repo, expected: &Contents, what: &str) {
        let found = self.seen(repo, what).await;
        assert_eq!(found.refs, expected.refs, "{what}: refs");
        assert_eq!(found.step, expected.step, "{what}: the configuration");
        let unsure = |commit: &Checksum| self.doubtful.contains(commit);
        let sure = |commits: &BTreeMap<Checksum, Bytes>| -> BTreeMap<Checksum, Bytes> {
            let sure = commits.iter().filter(|(commit, _)| !unsure(commit));
            sure.map(|(commit, bytes)| (*commit, bytes.clone()))
                .collect()
        };
        assert_eq!(
            sure(&found.detached),
            sure(&expected.detached),
            "{what}: detached metadata"
        );
        let partial = |contents: &Contents| -> BTreeMap<Checksum, bool> {
            let sure = contents
                .partial
                .iter()
                .filter(|(commit, _)| !unsure(commit));
            sure.map(|(commit, mark)| (*commit, *mark)).collect()
        };
        assert_eq!(partial(&found), partial(expected), "{what}: partial marks");
        for name in &expected.objects {
            assert!(found.objects.contains(name), "{what}: {name} is gone");
        }
        for name in found.objects.difference(&expected.objects) {
            assert!(self.leftovers.contains(name), "{what}: {name} is there");
        }
    }

    /// Checks that each part is as it was, or as it was to be.
    pub(super) async fn compare_either(
        &self,
        repo: &Repo,
        before: &Contents,
        after: &Contents,
        what: &str,
    ) {
        let found = self.seen(repo, what).await;
        let names = before
            .refs
            .keys()
            .chain(after.refs.keys())
            .chain(found.refs.keys());
        for name in names {
            let value = found.refs.get(name);
            let either = value == before.refs.get(name) || value == after.refs.get(name);
            assert!(either, "{what}: {name} holds {value:?}");
        }
        for tree in &self.trees {
            let commit = &tree.commit.name.checksum;
            if self.doubtful.contains(commit) {
                continue;
            }
            let value = found.detached.get(commit);
            let either =
                value == before.detached.get(commit) || value == after.detached.get(commit);
            assert!(
                either,
                "{what}: the detached metadata of {commit} is {value:?}"
            );
        }
        let step = found.step == before.step || found.step == after.step;
        assert!(step, "{what}: the configuration has {:?}", found.step);
        for name in before.objects.intersection(&after.objects) {
            assert!(found.objects.contains(name), "{what}: {name} is gone");
        }
        for name in &found.objects {
            let known = before.objects.contains(name)
                || after.objects.contains(name)
                || self.leftovers.contains(name);
            assert!(known, "{what}: {name} is there");
        }
    }
}
