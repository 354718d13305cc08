//! Several transports for the same files.

use std::fmt::{self, Debug};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

use super::{FetchOptions, Fetched, RemotePath, Transport};
use crate::error::{Error, ErrorKind, Result};

/// Mirrors of one remote, in order of preference.
///
/// Each file is asked of one after another until one has it. A mirror that cannot be reached is asked
/// after the others from then on, and no more for what another says not to be there.
pub struct Mirrors {
    mirrors: Vec<Mirror>,
    origin: Box<str>,
}

struct Mirror {
    transport: Arc<dyn Transport>,
    /// Whether it could not be reached when it was last asked.
    down: AtomicBool,
}

impl Mirrors {
    /// Takes mirrors, of which the first is asked first. `origin` is the address that they were
    /// found under, without secrets.
    ///
    /// [`Invalid`](ErrorKind::Invalid) when there is none.
    pub fn new(mirrors: Vec<Arc<dyn Transport>>, origin: &str) -> Result<Self> {
        if mirrors.is_empty() {
            let problem = "names no mirror";
            return Err(Error::invalid(problem).about(crate::Subject::Url(origin.into())));
        }
        let mirror = |transport| Mirror {
            transport,
            down: AtomicBool::new(false),
        };
        Ok(Self {
            mirrors: mirrors.into_iter().map(mirror).collect(),
            origin: origin.into(),
        })
    }

    /// Drops the mirrors before the first one that has the file `path`.
    ///
    /// A place that was moved away is not asked for each file then. The error is that of the last
    /// mirror when none has it.
    pub async fn starting_where(mut self, path: &RemotePath) -> Result<Self> {
        let mut last = None;
        for at in 0..self.mirrors.len() {
            let mirror = &self.mirrors[at].transport;
            match mirror.fetch(path, FetchOptions::default()).await {
                Ok(Some(_)) => {
                    self.mirrors.drain(..at);
                    return Ok(self);
                }
                Ok(None) => {}
                Err(error) => last = Some(error),
            }
        }
        let nowhere = || {
            let problem = format!("no mirror has {path}");
            Error::missing(problem).about(crate::Subject::Url(self.origin.to_string()))
        };
        Err(last.unwrap_or_else(nowhere))
    }

    /// Returns the mirrors in the order in which they are asked.
    fn in_order(&self) -> Vec<&Mirror> {
        let mut mirrors: Vec<_> = self.mirrors.iter().collect();
        // Those that are alike stay as they are.
        mirrors.sort_by_key(|mirror| mirror.is_down());
        mirrors
    }
}

impl Mirror {
    fn is_down(&self) -> bool {
        self.down.load(Ordering::Relaxed)
    }
}

impl Debug for Mirrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mirrors = self.mirrors.iter().map(|mirror| &mirror.transport);
        f.debug_list().entries(mirrors).finish()
    }
}

#[async_trait]
impl Transport for Mirrors {
    fn describe(&self, path: &RemotePath) -> String {
        let mirrors = self.in_order();
        mirrors
            .first()
            .map_or_else(String::new, |mirror| mirror.transport.describe(path))
    }

    fn origin(&self) -> &str {
        &self.origin
    }

    async fn fetch(&self, path: &RemotePath, options: FetchOptions) -> Result<Option<Fetched>> {
        let (mut failure, mut is_missing) = (None, false);
        for mirror in self.in_order() {
            let was_down = mirror.is_down();
            if was_down && is_missing {
                break;
            }
            match mirror.transport.fetch(path, options.clone()).await {
                Ok(answer) => {
                    mirror.down.store(false, Ordering::Relaxed);
                    if answer.is_some() {
                        return Ok(answer);
                    }
                    is_missing = true;
                }
                Err(error) => {
                    let is_down = matches!(error.kind(), ErrorKind::Unavailable { .. });
                    mirror.down.store(is_down, Ordering::Relaxed);
                    failure = Some(error);
                }
            }
        }
        // That one does not have a file says nothing while another was not known to be down: whoever
        // tries again is told by those that are up.
        failure.map_or(Ok(None), Err)
    }
}
