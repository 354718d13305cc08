//! What waits for the machine to go down: `/run/ostree/staged-deployment`, a GVariant `a{sv}`. Pure.

use treeferry_core::error::{Error, Result};
use treeferry_core::format::gvariant::{Dict, Type, Value};
use treeferry_core::format::{Checksum, FormatError};

use crate::kargs::KernelArgs;
use crate::names::{DeploymentId, Stateroot};

/// A deployment that waits for the machine to go down, and what is to be done then.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StagedFile {
    /// The deployment.
    pub target: DeploymentId,
    /// What it boots from.
    pub bootcsum: Checksum,
    /// Where its `/etc` comes from.
    pub merge: Option<(DeploymentId, Option<Checksum>)>,
    /// Its kernel arguments, if not those of `merge`.
    pub kargs: Option<KernelArgs>,
    /// What is laid over its initramfs.
    pub overlay_initrds: Vec<Checksum>,
    /// Other programs' keys of its menu entry.
    pub extensions: Vec<(String, String)>,
    /// Whether it is held back.
    pub locked: Locked,
}

/// Whether a staged deployment is held back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Locked {
    /// It is.
    Yes,
    /// It is not.
    #[default]
    No,
}

impl StagedFile {
    /// Returns that `target` is staged, and nothing more.
    pub fn new(target: DeploymentId, bootcsum: Checksum) -> Self {
        Self {
            target,
            bootcsum,
            merge: None,
            kargs: None,
            overlay_initrds: Vec::new(),
            extensions: Vec::new(),
            locked: Locked::No,
        }
    }

    /// Reads the file; `None` when it names no deployment.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>> {
        let bad = |e: FormatError| Error::corrupt("the record of the staged deployment").because(e);
        let dict = Dict::decode(bytes).map_err(bad)?;
        let Some(target) = dict.get("target") else {
            return Ok(None);
        };
        let (target, bootcsum) = read_id(target).map_err(bad)?;
        let bootcsum = bootcsum.ok_or_else(|| bad(missing("bootcsum")))?;
        let mut staged = Self::new(target, bootcsum);
        staged.merge = dict
            .get("merge-deployment")
            .map(read_id)
            .transpose()
            .map_err(bad)?;
        if let Some(words) = dict.get("kargs").and_then(Value::as_slice) {
            let words: Vec<_> = words.iter().filter_map(Value::as_str).collect();
            staged.kargs = Some(KernelArgs::parse(&words.join(" ")));
        }
        if let Some(list) = dict.get("overlay-initrds").and_then(Value::as_slice) {
            let list = list.iter().filter_map(Value::as_str).map(str::parse);
            staged.overlay_initrds = list.collect::<std::result::Result<_, _>>().map_err(bad)?;
        }
        if let Some(Value::Array { values, .. }) = dict.get("bootconfig-extra") {
            let pair = |value: &Value| match value {
                Value::DictEntry(pair) => Some((pair.0.as_str()?.into(), pair.1.as_str()?.into())),
                _ => None,
            };
            staged.extensions = values.iter().filter_map(pair).collect();
        }
        if dict.get("locked").and_then(Value::as_bool) == Some(true) {
            staged.locked = Locked::Yes;
        }
        Ok(Some(staged))
    }

    /// Writes the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut dict = Dict::new();
        dict.insert("target", write_id(&self.target, Some(&self.bootcsum)));
        if self.locked == Locked::Yes {
            dict.insert("locked", true);
        }
        if let Some((merge, bootcsum)) = &self.merge {
            dict.insert("merge-deployment", write_id(merge, bootcsum.as_ref()));
        }
        if let Some(kargs) = &self.kargs {
            dict.insert("kargs", Value::strings(kargs.to_words()));
        }
        if !self.overlay_initrds.is_empty() {
            let list = self.overlay_initrds.iter().map(ToString::to_string);
            dict.insert("overlay-initrds", Value::strings(list));
        }
        if !self.extensions.is_empty() {
            let pair = |(key, value): &(String, String)| {
                let pair = (Value::from(key.as_str()), Value::from(value.as_str()));
                Value::DictEntry(Box::new(pair))
            };
            let element = Type::dict_entry(Type::Str, Type::Str);
            let values = self.extensions.iter().map(pair).collect();
            dict.insert("bootconfig-extra", Value::Array { element, values });
        }
        dict.encode()
    }
}

fn missing(key: &str) -> FormatError {
    FormatError::new("staged deployment", format!("lacks {key:?}"))
}

fn read_id(value: &Value) -> std::result::Result<(DeploymentId, Option<Checksum>), FormatError> {
    let Value::Array { values, .. } = value else {
        return Err(FormatError::new("staged deployment", "is not a dictionary"));
    };
    let get = |wanted: &str| {
        values.iter().find_map(|entry| match entry {
            Value::DictEntry(pair) if pair.0.as_str() == Some(wanted) => match &pair.1 {
                Value::Variant(value) => value.as_str(),
                value => value.as_str(),
            },
            _ => None,
        })
    };
    let stateroot = Stateroot::new(get("osname").ok_or_else(|| missing("osname"))?)?;
    let name = get("name").ok_or_else(|| missing("name"))?;
    let id = DeploymentId::parse(stateroot, name)?;
    let bootcsum = get("bootcsum").map(str::parse).transpose()?;
    Ok((id, bootcsum))
}

fn write_id(id: &DeploymentId, bootcsum: Option<&Checksum>) -> Value {
    let entry = |key: &str, value: &str| {
        let pair = (Value::from(key), Value::variant(Value::from(value)));
        Value::DictEntry(Box::new(pair))
    };
    let mut values = vec![
        entry("name", &id.dir_name()),
        entry("osname", id.stateroot.as_str()),
    ];
    values.extend(bootcsum.map(|csum| entry("bootcsum", &csum.to_string())));
    let element = Type::dict_entry(Type::Str, Type::Variant);
    Value::Array { element, values }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_it_survives() {
        let id = |serial| DeploymentId {
            stateroot: Stateroot::new("os").unwrap(),
            checksum: Checksum::of(b"c"),
            serial,
        };
        let mut staged = StagedFile::new(id(1), Checksum::of(b"k"));
        assert_eq!(
            StagedFile::parse(&staged.to_bytes()).unwrap(),
            Some(staged.clone())
        );
        staged.merge = Some((id(0), Some(Checksum::of(b"k0"))));
        staged.kargs = Some(KernelArgs::parse("a=1 quiet"));
        staged.overlay_initrds = vec![Checksum::of(b"o")];
        staged.extensions = vec![("x-a".into(), "b c".into())];
        staged.locked = Locked::Yes;
        assert_eq!(StagedFile::parse(&staged.to_bytes()).unwrap(), Some(staged));
        assert_eq!(StagedFile::parse(&Dict::new().encode()).unwrap(), None);
        assert!(StagedFile::parse(b"rubbish").is_err());
    }
}
