//! What has arrived and is to be stored in one go.

use super::Run;
use crate::error::{Error, Result};
use crate::format::{Checksum, FileHeader};
use crate::ops::replicate::fetch::Transfer;
use crate::ops::replicate::options::{FilePolicy, LocalTrust, RemoteTrust};
use crate::store::Incoming;

impl Run<'_> {
    /// Adds what came over a transport.
    pub(super) fn add_fetched(&mut self, incoming: Incoming, bytes: u64) {
        self.unstored += 1;
        self.group_fetched += 1;
        self.add_to_group(incoming, bytes);
    }

    pub(super) fn add_to_group(&mut self, incoming: Incoming, bytes: u64) {
        self.group_bytes += bytes;
        self.group.push(self.policed(incoming));
    }

    /// Adds an object of another repository on this machine.
    pub(super) fn add_local(&mut self, incoming: Incoming) {
        // Read when it is stored, which may be no more than another link: costs no memory now.
        self.add_to_group(
            match self.engine.options.local_trust {
                LocalTrust::Verify => incoming,
                LocalTrust::Vouched => incoming.vouched(),
            },
            0,
        );
    }

    /// Vouches for a file that came over a transport, if that was asked for and nothing speaks against
    /// it: one that did not become an object before is read.
    pub(super) fn trusted(
        &self,
        checksum: &Checksum,
        incoming: Incoming,
        transfer: Transfer,
    ) -> Incoming {
        let again = self.fetched_again.contains(checksum);
        match (self.engine.options.remote_trust, transfer) {
            (RemoteTrust::VouchedMirror, Transfer::Whole) if !again => incoming.vouched_mirror(),
            _ => incoming,
        }
    }

    pub(super) fn policed(&self, incoming: Incoming) -> Incoming {
        let incoming = incoming.limit_metadata(self.engine.options.limits.metadata_bytes_max);
        match self.engine.options.files {
            FilePolicy::Any => incoming,
            FilePolicy::BareUserOnly => incoming.check_header(refuse_unusual_modes),
        }
    }
}

fn refuse_unusual_modes(header: &FileHeader) -> Result<()> {
    let unusual = header.mode & 0o7777 & !0o775;
    if header.is_symlink() || unusual == 0 {
        return Ok(());
    }
    let problem = format!(
        "has mode {:04o}, outside of 0775: set-user-id, set-group-id, sticky and world-writable \
         files are refused here",
        header.mode & 0o7777
    );
    Err(Error::invalid(problem))
}
