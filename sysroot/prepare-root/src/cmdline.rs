//! The kernel's command line.

use std::path::PathBuf;

/// The arguments that the kernel was started with, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelCmdline(Vec<String>);

impl KernelCmdline {
    /// Splits what `/proc/cmdline` holds: at white space outside double quotes, which the kernel
    /// passes on as they are.
    pub fn parse(text: &str) -> Self {
        let mut arguments = Vec::new();
        let mut here = String::new();
        let mut quoted = false;
        for c in text.chars() {
            match c {
                '"' => quoted = !quoted,
                c if c.is_ascii_whitespace() && !quoted => {
                    if !here.is_empty() {
                        arguments.push(std::mem::take(&mut here));
                    }
                }
                c => here.push(c),
            }
        }
        if !here.is_empty() {
            arguments.push(here);
        }
        Self(arguments)
    }

    /// Returns the value of `key=`; of several the last, as the kernel itself does.
    pub fn get(&self, key: &str) -> Option<&str> {
        let value = |argument: &'_ String| {
            let (name, value) = argument.split_once('=')?;
            (name == key).then_some(value.len())
        };
        let argument = self.0.iter().rev().find(|a| value(a).is_some())?;
        argument.split_once('=').map(|(_, value)| value)
    }

    /// Returns what `ostree=` names, relative to the physical root: a symbolic link such as
    /// `ostree/boot.1/debian/CHECKSUM/0`.
    ///
    /// An Android boot loader names a slot instead (`androidboot.slot_suffix=_a`): then it is what the
    /// link `ostree/root.a` leads to.
    pub fn deployment(&self) -> Option<PathBuf> {
        if let Some(target) = self.get("ostree") {
            return Some(PathBuf::from(target.trim_start_matches('/')));
        }
        let slot = self
            .get("androidboot.slot_suffix")
            .or_else(|| self.get("androidboot.slot"))?;
        match slot.trim_start_matches('_') {
            "a" => Some(PathBuf::from("ostree/root.a")),
            "b" => Some(PathBuf::from("ostree/root.b")),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deployment(text: &str) -> Option<String> {
        let found = KernelCmdline::parse(text).deployment()?;
        Some(found.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_deployment_is_what_ostree_says() {
        for (line, wanted) in [
            (
                "quiet ostree=/ostree/boot.1/os/abc/0\n",
                Some("ostree/boot.1/os/abc/0"),
            ),
            ("ostree=/a ro ostree=/b", Some("b")),
            ("xostree=/a nostree", None),
            ("", None),
            ("ostree", None),
            (r#"dyndbg="file a +p; ostree=/no" ostree=/yes"#, Some("yes")),
            (r#""ostree=/with blank""#, Some("with blank")),
            ("androidboot.slot_suffix=_b", Some("ostree/root.b")),
            ("androidboot.slot=a", Some("ostree/root.a")),
            ("androidboot.slot=../../etc", None),
            ("androidboot.slot_suffix=_a ostree=/o", Some("o")),
        ] {
            assert_eq!(deployment(line).as_deref(), wanted, "{line:?}");
        }
    }

    #[test]
    fn an_open_quote_is_no_reason_to_fail() {
        assert_eq!(deployment("a=\"b ostree=/c"), None);
        assert_eq!(deployment("ostree=\"/c"), Some("c".into()));
    }
}
