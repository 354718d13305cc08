//! Which policy a tree has.

use crate::error::{Error, Result};

/// Where a tree may keep its policies; the first with a configuration counts.
pub(super) const PLACES: [&str; 2] = ["usr/etc/selinux", "etc/selinux"];

/// Returns the policy that a configuration names; `None` when SELinux is disabled.
pub(super) fn policy_name(text: &[u8]) -> Result<Option<String>> {
    let text = String::from_utf8_lossy(text);
    let value = |key: &str| {
        let values = text.lines().map(str::trim);
        values.filter_map(|line| line.strip_prefix(key)).next_back()
    };
    if !matches!(
        value("SELINUX=").map(str::trim),
        Some("enforcing" | "permissive")
    ) {
        return Ok(None);
    }
    let name = value("SELINUXTYPE=").map(str::trim).unwrap_or_default();
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        let problem = "the SELinux configuration of the tree does not name a policy: \
                       give it a line SELINUXTYPE=NAME, or disable it";
        return Err(Error::invalid(problem));
    }
    Ok(Some(name.to_owned()))
}

/// Returns where a file of the policy `name` is.
pub(super) fn file_path(place: &str, name: &str, file: &str) -> String {
    format!("{place}/{name}/contexts/files/{file}")
}
