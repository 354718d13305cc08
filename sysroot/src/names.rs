//! What stateroots and deployments are called.

use std::fmt;
use std::str::FromStr;

use treeferry_core::format::{Checksum, FormatError, check_file_name};

/// The name of a stateroot: a directory below `ostree/deploy`, with a `/var` of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stateroot(Box<str>);

impl Stateroot {
    /// Checks and wraps a name.
    pub fn new(name: &str) -> Result<Self, FormatError> {
        check_file_name(name)?;
        if name.chars().any(char::is_whitespace) {
            let problem = "has blanks: the kernel's command line could not name it";
            return Err(FormatError::new("stateroot name", problem));
        }
        Ok(Self(name.into()))
    }

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Stateroot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Stateroot {
    type Err = FormatError;

    fn from_str(name: &str) -> Result<Self, FormatError> {
        Self::new(name)
    }
}

/// Which deployment: its stateroot, its commit, and the how-many-eth of that commit it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeploymentId {
    /// The stateroot that it belongs to.
    pub stateroot: Stateroot,
    /// The commit that is checked out.
    pub checksum: Checksum,
    /// Counts deployments of one commit in one stateroot, from 0.
    pub serial: u32,
}

impl DeploymentId {
    /// Reads the name of a deployment's directory, `CHECKSUM.SERIAL`.
    pub fn parse(stateroot: Stateroot, name: &str) -> Result<Self, FormatError> {
        let bad = || {
            FormatError::new(
                "deployment name",
                format!("expected CHECKSUM.SERIAL: {name:?}"),
            )
        };
        let (checksum, serial) = name.split_once('.').ok_or_else(bad)?;
        Ok(Self {
            stateroot,
            checksum: checksum.parse()?,
            serial: serial.parse().map_err(|_| bad())?,
        })
    }

    /// Returns the name of its directory, `CHECKSUM.SERIAL`.
    pub fn dir_name(&self) -> String {
        format!("{}.{}", self.checksum, self.serial)
    }
}

impl fmt::Display for DeploymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.stateroot, self.dir_name())
    }
}

/// One of the two places that take turns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Turn {
    /// `0`.
    #[default]
    Zero,
    /// `1`.
    One,
}

impl Turn {
    /// Returns the other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Zero => Self::One,
            Self::One => Self::Zero,
        }
    }

    /// Reads `0` or `1`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "0" => Some(Self::Zero),
            "1" => Some(Self::One),
            _ => None,
        }
    }
}

impl fmt::Display for Turn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Zero => "0",
            Self::One => "1",
        })
    }
}

/// Where an `ostree=` kernel argument leads: `/ostree/boot.TURN/STATEROOT/BOOTCSUM/SERIAL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootLink {
    /// The set of links.
    pub turn: Turn,
    /// The stateroot.
    pub stateroot: Stateroot,
    /// The checksum of kernel, initramfs and device trees.
    pub bootcsum: Checksum,
    /// Counts deployments with that checksum, from 0.
    pub serial: u32,
}

impl FromStr for BootLink {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        let bad = || FormatError::new("ostree= argument", format!("leads nowhere: {text:?}"));
        let rest = text.strip_prefix("/ostree/boot.").ok_or_else(bad)?;
        let mut parts = rest.split('/');
        let mut next = || parts.next().ok_or_else(bad);
        let turn = Turn::parse(next()?).ok_or_else(bad)?;
        let link = Self {
            turn,
            stateroot: Stateroot::new(next()?)?,
            bootcsum: next()?.parse()?,
            serial: next()?.parse().map_err(|_| bad())?,
        };
        match parts.next() {
            None => Ok(link),
            Some(_) => Err(bad()),
        }
    }
}

impl fmt::Display for BootLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            turn,
            stateroot,
            bootcsum,
            serial,
        } = self;
        write!(f, "/ostree/boot.{turn}/{stateroot}/{bootcsum}/{serial}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_link_is_read_and_written() {
        let csum = "a".repeat(64);
        let text = format!("/ostree/boot.1/debian/{csum}/2");
        let link: BootLink = text.parse().unwrap();
        assert_eq!((link.turn, link.serial), (Turn::One, 2));
        assert_eq!(link.to_string(), text);
        for bad in [
            "/ostree/boot.2/a/b/0".to_owned(),
            format!("/ostree/boot.1/../{csum}/0"),
            format!("/ostree/boot.1/os/{csum}/x"),
            format!("{text}/0"),
        ] {
            assert!(bad.parse::<BootLink>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_deployment_is_named_by_commit_and_serial() {
        let os = Stateroot::new("os").unwrap();
        let name = format!("{}.12", "b".repeat(64));
        let id = DeploymentId::parse(os.clone(), &name).unwrap();
        assert_eq!((id.serial, id.dir_name()), (12, name));
        assert!(DeploymentId::parse(os.clone(), "backing").is_err());
        assert!(Stateroot::new("a b").is_err() && Stateroot::new("..").is_err());
    }
}
