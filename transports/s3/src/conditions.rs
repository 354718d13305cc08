//! Whether a server enforces conditional writes, found out by trying.
//!
//! Several accept the headers of a condition and overwrite all the same. With them, two who move one
//! ref at a time would each be told that they did, and one would be wrong.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use treeferry_core::transport::{
    Precondition, PutAnswer, PutBody, RemotePath, Transport, WritableTransport,
};
use treeferry_core::{Error, ErrorKind, Result, Subject};

use crate::options::{BucketOptions, Writers};
use crate::transport::BucketTransport;

/// How often the probe is tried again.
const TRIES: u32 = 6;

/// What is known of a server's conditional writes.
#[derive(Debug)]
pub(crate) enum Conditions {
    /// Nothing: it was not opened for writing.
    Unknown,
    /// They are enforced.
    Enforced,
    /// They are not; there is one writer, and it looks before it writes.
    Looked(tokio::sync::Mutex<()>),
}

impl BucketTransport {
    /// Opens a bucket to read from and write to.
    ///
    /// Writes a file below `.treeferry/` to find out whether conditional writes are enforced.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](ErrorKind::Unsupported) if they are not, unless [`Writers::One`] was asked for.
    pub async fn open_for_writing(address: &str, options: BucketOptions) -> Result<Self> {
        let probed = Self::with(address, options, Conditions::Enforced).await?;
        let options: &BucketOptions = &probed.inner.options;
        let mut tries = 0;
        let enforced = loop {
            match probe(&probed).await {
                Ok(enforced) => break enforced,
                Err(error) => {
                    tries += 1;
                    let again = matches!(
                        error.kind(),
                        ErrorKind::Unavailable { .. } | ErrorKind::Indeterminate
                    );
                    if !again || tries >= TRIES {
                        let context = "the bucket cannot be written to";
                        return Err(error.context(context).about(url(&probed)));
                    }
                    tokio::time::sleep(Duration::from_millis(100) * (1 << tries)).await;
                }
            }
        };
        match (enforced, options.writers) {
            (true, _) => Ok(probed),
            (false, Writers::One) => {
                let conditions = Conditions::Looked(tokio::sync::Mutex::default());
                Self::with(address, options.clone(), conditions).await
            }
            (false, Writers::Several) => {
                let problem = "this server takes conditional writes and overwrites all the same: \
                               several writers would undo each other's work unseen; if nobody else \
                               writes to it, say so ('single-writer')";
                Err(Error::unsupported(problem).about(url(&probed)))
            }
        }
    }
}

fn url(transport: &BucketTransport) -> Subject {
    Subject::Url(transport.origin().to_owned())
}

/// Returns whether conditions are enforced; finds out how tags have to be sent for that.
async fn probe(transport: &BucketTransport) -> Result<bool> {
    // Nobody else's: two who probe one file would each take the other for a lack of conditions.
    let chance = RandomState::new().build_hasher().finish();
    let name = format!(".treeferry/probe-{chance:016x}");
    let path = RemotePath::new(&name)?;
    let enforced = try_conditions(transport, &path).await;
    // Also after an error. What cannot be deleted does no harm.
    let deleted = transport.delete(std::slice::from_ref(&path)).await;
    let enforced = enforced?;
    deleted?;
    Ok(enforced)
}

async fn try_conditions(transport: &BucketTransport, path: &RemotePath) -> Result<bool> {
    let put = |precondition, text: &'static str| {
        let body = PutBody::Bytes(Bytes::from_static(text.as_bytes()));
        transport.put(path, precondition, body)
    };
    put(Precondition::None, "one").await?;
    if put(Precondition::Absent, "two").await? != PutAnswer::Conflict {
        return Ok(false);
    }
    let tag = Some("\"00000000000000000000000000000000\"".to_owned());
    // Also where conditions go by a number: no file there has that of 1970.
    let Some(wrong) = transport.inner.validator(tag, Some("1".into())) else {
        return Ok(false);
    };
    let PutAnswer::Done { validator } = put(Precondition::None, "three").await? else {
        return Ok(false);
    };
    let Some(right) = validator else {
        return Ok(false);
    };
    if put(Precondition::Unchanged(wrong), "four").await? != PutAnswer::Conflict {
        return Ok(false);
    }
    for bare in [false, true] {
        transport.inner.bare_tags.store(bare, Ordering::Relaxed);
        let unchanged = Precondition::Unchanged(right.clone());
        if put(unchanged, "five").await? != PutAnswer::Conflict {
            return Ok(true);
        }
    }
    Ok(false)
}
