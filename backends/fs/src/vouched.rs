//! Files of a mirror that its operator vouches for.

use treeferry_core::error::Result;
use treeferry_core::store::{Put, VouchedBytes, VouchedFilez};

use crate::store_file::{self, io};
use crate::write::Writer;

impl Writer<'_> {
    /// Makes a mirror's `.filez` an object as it came, on the caller's word: `None` where a file cannot be
    /// renamed, and is copied, and verified, after all.
    pub(crate) fn put_vouched(&mut self, vouched: VouchedFilez) -> Result<Option<Put>> {
        let (name, unpacked, stored) = (
            vouched.name(),
            vouched.content_bytes(),
            vouched.stored_bytes(),
        );
        if let Some(present) = self.present(&name, None, unpacked)? {
            return Ok(Some(present));
        }
        let pending = match vouched.into_bytes() {
            VouchedBytes::Memory(bytes) => self.write_whole(&bytes)?,
            VouchedBytes::File { file, opened } => {
                let stat = rustix::fs::fstat(&opened).map_err(|e| io("cannot be looked at", e))?;
                self.context.allowance.take(stored)?;
                let Some(pending) = self.rename_pending(&file, opened, &stat)? else {
                    self.context.allowance.give_back(stored);
                    return Ok(None);
                };
                store_file::strip(pending.file()?)?;
                pending
            }
        };
        store_file::set_mode(pending.file()?, 0o644)?;
        self.finish(pending, name, unpacked, stored).map(Some)
    }
}
