//! `composefs.enabled=signed`: the image that is mounted is the one whose digest stands in a commit that a key
//! of the initramfs signed.
//!
//! The image must be sealed by fs-verity. What is read from it then is what the kernel verifies, now and later:
//! so its digest is computed from what is read, and the kernel need not be asked for it. It is mounted by its
//! path afterwards: nobody else runs yet who could put another one there.

use std::fs::File;
use std::path::{Path, PathBuf};

use treeferry_core::error::{Error, ErrorKind, Result};
use treeferry_core::format::gvariant::Dict;
use treeferry_core::format::keyfile::KeyFile;
use treeferry_core::format::{Checksum, Commit, ObjectName, loose_path};
use treeferry_core::ops::composefs::{
    DIGEST_KEY, Digest, VerityHasher, is_sealed, recorded_digest,
};
use treeferry_core::sign::{
    Ed25519PublicKey, KeyFileText, Scheme, Signatures, parse_base64_lines, signatures_in,
};

/// Where the keys are unless `composefs.keypath` says otherwise.
const KEYS: &str = "/etc/ostree/initramfs-root-binding.key";

/// The longest commit, and file of signatures, that is read.
const FILE_BYTES_MAX: u64 = 128 << 20;

/// Returns where the keys are that commits must be signed with.
///
/// # Errors
///
/// Names the key of the configuration.
pub fn key_path(file: &KeyFile) -> Result<PathBuf> {
    let path = file.string("composefs", "keypath")?;
    Ok(path.map_or_else(|| KEYS.into(), PathBuf::from))
}

/// Verifies the image of the deployment at `tree`, of a commit in `repo`.
///
/// # Errors
///
/// [`Denied`](ErrorKind::Denied) when no key signed the commit, or the image is not sealed;
/// [`Corrupt`](ErrorKind::Corrupt) when it is not the commit's.
pub fn verify(repo: &Path, tree: &Path, keys: &Path) -> Result<()> {
    let expected = signed_digest(repo, &checksum_of(tree)?, &read_keys(keys)?)?;
    let path = tree.join(".ostree.cfs");
    let failed = |e| Error::io("cannot be read", e).about(path.clone());
    let mut file = File::open(&path).map_err(failed)?;
    if !is_sealed(&file).map_err(failed)? {
        let problem = "is not sealed by fs-verity, as composefs.enabled=signed demands";
        return Err(Error::new(ErrorKind::Denied, problem).about(path));
    }
    let mut hasher = VerityHasher::new();
    hasher.update_from(&mut file).map_err(failed)?;
    let found = hasher.finish();
    if found != expected {
        let problem = format!("has the digest {found}, and the signed commit says {expected}");
        return Err(Error::corrupt(problem).about(path));
    }
    Ok(())
}

/// Returns the digest of the image that a signed commit records.
fn signed_digest(repo: &Path, commit: &Checksum, keys: &[Ed25519PublicKey]) -> Result<Digest> {
    let name = ObjectName::commit(*commit);
    let about = |e: Error| e.about(name);
    let bytes = read(&object(repo, commit, "commit"))?;
    if Checksum::of(&bytes) != *commit {
        return Err(Error::wrong_checksum(name, Checksum::of(&bytes)));
    }
    let detached = read(&object(repo, commit, "commitmeta"))?;
    let detached = Dict::decode(&detached).map_err(|e| about(e.into()))?;
    let is_good = |signature: &&[u8]| keys.iter().any(|key| key.verifies(&bytes, signature));
    let is_signed = match signatures_in(&detached, Scheme::Ed25519) {
        Signatures::Some(signatures) => signatures.iter().any(is_good),
        Signatures::None | Signatures::Malformed => false,
    };
    if !is_signed {
        let problem = "no key of this initramfs signed it, as composefs.enabled=signed demands";
        return Err(about(Error::new(ErrorKind::Denied, problem)));
    }
    let commit = Commit::parse(&bytes).map_err(|e| about(e.into()))?;
    let digest = recorded_digest(&commit).map_err(about)?;
    digest.ok_or_else(|| {
        about(Error::missing(format!(
            "records no digest of its image ({DIGEST_KEY}): commit with --generate-composefs-metadata"
        )))
    })
}

/// Returns which commit a deployment is of, by the name of its directory.
fn checksum_of(tree: &Path) -> Result<Checksum> {
    let name = tree.file_name().and_then(|name| name.to_str());
    let hex = name.and_then(|name| name.split_once('.'));
    let checksum = hex.and_then(|(hex, _)| hex.parse().ok());
    checksum.ok_or_else(|| Error::invalid("is not named for a commit").about(tree))
}

fn object(repo: &Path, commit: &Checksum, kind: &str) -> PathBuf {
    repo.join("objects").join(loose_path(commit, kind))
}

fn read_keys(path: &Path) -> Result<Vec<Ed25519PublicKey>> {
    let text = KeyFileText::read(path)?;
    let keys = text.keys(|text| parse_base64_lines(text, Ed25519PublicKey::from_base64))?;
    if keys.is_empty() {
        return Err(Error::missing("there is no key in it").about(path));
    }
    Ok(keys)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    use std::io::Read;
    let failed = |e| Error::io("cannot be read", e).about(path);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    let mut file = file.take(FILE_BYTES_MAX);
    file.read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use treeferry_core::format::gvariant::Value;
    use treeferry_core::sign::{Ed25519SecretKey, add_signature};

    use super::*;

    const SEED: [u8; 32] = [7; 32];

    /// A repository with one commit, which records `digest` and is signed by a key made of `seed`.
    struct Signed {
        dir: tempfile::TempDir,
        commit: Checksum,
    }

    impl Signed {
        fn new(digest: Option<Vec<u8>>, seed: Option<[u8; 32]>) -> Self {
            let mut metadata = Dict::new();
            if let Some(digest) = digest {
                metadata.insert(DIGEST_KEY, Value::Bytes(digest));
            }
            let nothing = Checksum::of(b"");
            let commit = Commit {
                metadata,
                parent: None,
                related: Vec::new(),
                subject: String::new(),
                body: String::new(),
                timestamp: 1,
                tree: nothing,
                meta: nothing,
            };
            let bytes = commit.to_bytes();
            let this = Self {
                dir: tempfile::tempdir().unwrap(),
                commit: Checksum::of(&bytes),
            };
            let mut detached = Dict::new();
            if let Some(seed) = seed {
                let signature = Ed25519SecretKey::from_seed(&seed).sign(&bytes).to_vec();
                add_signature(&mut detached, Scheme::Ed25519, signature).unwrap();
            }
            this.put("commit", &bytes);
            this.put("commitmeta", &detached.encode());
            this
        }

        fn put(&self, kind: &str, bytes: &[u8]) {
            let path = object(self.dir.path(), &self.commit, kind);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }

        fn digest(&self, keys: &[Ed25519PublicKey]) -> Result<Digest> {
            signed_digest(self.dir.path(), &self.commit, keys)
        }
    }

    fn key(seed: [u8; 32]) -> Ed25519PublicKey {
        Ed25519SecretKey::from_seed(&seed).public()
    }

    #[test]
    fn a_digest_counts_if_one_of_the_keys_signed_its_commit() {
        let signed = Signed::new(Some(vec![1; 32]), Some(SEED));
        let keys = [key([8; 32]), key(SEED)];
        assert_eq!(signed.digest(&keys).unwrap(), Digest([1; 32]));
        for (signed, keys) in [
            (signed, &keys[..1]),
            (Signed::new(Some(vec![1; 32]), None), &keys),
            (Signed::new(Some(vec![1; 32]), Some([9; 32])), &keys),
        ] {
            let error = signed.digest(keys).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Denied);
            assert!(error.to_string().contains("no key of this"), "{error}");
        }
    }

    #[test]
    fn a_signed_commit_without_a_digest_is_of_no_use() {
        for digest in [None, Some(vec![1; 31])] {
            let signed = Signed::new(digest, Some(SEED));
            let error = signed.digest(&[key(SEED)]).unwrap_err().to_string();
            assert!(error.contains(DIGEST_KEY), "{error}");
        }
    }

    #[test]
    fn a_commit_under_the_name_of_another_is_refused() {
        let signed = Signed::new(Some(vec![1; 32]), Some(SEED));
        let other = Signed::new(Some(vec![2; 32]), Some(SEED));
        for kind in ["commit", "commitmeta"] {
            let bytes = fs::read(object(other.dir.path(), &other.commit, kind)).unwrap();
            signed.put(kind, &bytes);
        }
        let error = signed.digest(&[key(SEED)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn an_image_that_is_not_sealed_is_refused_whatever_it_is() {
        let image = b"an image";
        let mut hasher = VerityHasher::new();
        hasher.update(image);
        let signed = Signed::new(Some(hasher.finish().0.to_vec()), Some(SEED));
        let tree = signed.dir.path().join(format!("{}.0", signed.commit));
        fs::create_dir(&tree).unwrap();
        fs::write(tree.join(".ostree.cfs"), image).unwrap();
        let keys = signed.dir.path().join("keys");
        fs::write(&keys, "").unwrap();
        let refused = |why: &str| {
            let error = verify(signed.dir.path(), &tree, &keys).unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        };
        refused("there is no key in it");
        fs::write(&keys, format!("{}\n", key(SEED).to_base64())).unwrap();
        refused("is not sealed by fs-verity");
    }

    #[test]
    fn the_keys_are_where_the_configuration_says() {
        let path = |text: &str| key_path(&KeyFile::parse(text).unwrap()).unwrap();
        assert_eq!(path(""), Path::new(KEYS));
        assert_eq!(path("[composefs]\nkeypath=/a\n"), Path::new("/a"));
    }
}
