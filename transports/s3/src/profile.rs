//! Keys of a profile, from the files that `aws` keeps. Read again now and then: who renews keys
//! writes them there, and a long push must go on with the new ones.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use tokio::time::Instant;
use treeferry_core::{Error, Result};

/// How long keys are used before the files are looked at again.
const READ_AGAIN_AFTER: Duration = Duration::from_secs(30);

/// The keys of a profile.
#[derive(Debug)]
pub(crate) struct ProfileKeys {
    files: Vec<PathBuf>,
    name: String,
    kept: Mutex<Option<(Instant, Arc<AwsCredential>)>>,
}

impl ProfileKeys {
    pub(crate) fn new(files: Vec<PathBuf>, name: String) -> Self {
        Self {
            files,
            name,
            kept: Mutex::default(),
        }
    }

    /// Reads the files. **Blocking.**
    fn read(files: &[PathBuf], name: &str) -> Result<AwsCredential> {
        let text = files
            .iter()
            .filter_map(|file| std::fs::read_to_string(file).ok());
        let found = text.into_iter().find_map(|text| parse(&text, name));
        found.ok_or_else(|| {
            let shown: Vec<_> = files.iter().map(|f| f.display().to_string()).collect();
            let problem = format!(
                "the profile '{name}' has no aws_access_key_id and aws_secret_access_key in {}",
                shown.join(" or ")
            );
            Error::missing(problem)
        })
    }
}

#[async_trait]
impl CredentialProvider for ProfileKeys {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let kept = self
            .kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some((read, keys)) = kept
            && read.elapsed() < READ_AGAIN_AFTER
        {
            return Ok(keys);
        }
        let (files, name) = (self.files.clone(), self.name.clone());
        let read = tokio::task::spawn_blocking(move || Self::read(&files, &name)).await?;
        let keys = Arc::new(read.map_err(|e| object_store::Error::Generic {
            store: "S3",
            source: Box::new(e),
        })?);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Some((Instant::now(), Arc::clone(&keys)));
        Ok(keys)
    }
}

/// Returns the keys under `[name]`, or `[profile name]` as one of the files has it.
fn parse(text: &str, name: &str) -> Option<AwsCredential> {
    let (mut inside, mut id, mut secret, mut token) = (false, None, None, None);
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            let section = section.trim();
            let plain = section.strip_prefix("profile ").map_or(section, str::trim);
            inside = plain == name;
        } else if let Some((key, value)) = line.split_once('=')
            && inside
        {
            let value = Some(value.trim().to_owned());
            match key.trim() {
                "aws_access_key_id" => id = value,
                "aws_secret_access_key" => secret = value,
                "aws_session_token" => token = value,
                _ => {}
            }
        }
    }
    Some(AwsCredential {
        key_id: id?,
        secret_key: secret?,
        token,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "[default]\naws_access_key_id = A\naws_secret_access_key=s=1\n\n# other\n\
        [profile work]\nregion = eu\naws_access_key_id=B\naws_secret_access_key=t\n\
        aws_session_token=u\n[broken]\naws_access_key_id=C\n";

    #[test]
    fn each_profile_has_its_keys() {
        let default = parse(FILE, "default").unwrap();
        assert_eq!((&*default.key_id, &*default.secret_key), ("A", "s=1"));
        assert_eq!(default.token, None);
        let work = parse(FILE, "work").unwrap();
        assert_eq!((&*work.key_id, work.token.as_deref()), ("B", Some("u")));
        assert!(parse(FILE, "broken").is_none());
        assert!(parse(FILE, "nobody").is_none());
    }
}
