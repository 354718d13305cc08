//! Options from the variables that other tools for buckets go by.

use std::path::PathBuf;

use crate::{Addressing, BucketOptions, Credentials, Keys, emulator};

/// Variables of `object_store` that are taken as they are, by prefix.
const PREFIXES: [&str; 2] = ["AZURE_", "GOOGLE_"];

/// Variables that lead to keys which are renewed.
const AMBIENT: [&str; 5] = [
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_METADATA_ENDPOINT",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
];

/// Variables that go with them.
const BESIDE_AMBIENT: [&str; 5] = [
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_ENDPOINT_URL_STS",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_IMDSV1_FALLBACK",
];

impl BucketOptions {
    /// Takes what the usual variables say; `variables` are a process's environment, or any other.
    ///
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`,
    /// `AWS_DEFAULT_REGION`, `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, `AWS_PROFILE`,
    /// `AWS_SHARED_CREDENTIALS_FILE`, `AWS_CONFIG_FILE`, those of web identities, containers and
    /// instances, all that begin with `AZURE_` and `GOOGLE_`, and `AZURITE_BLOB_STORAGE_URL`, which
    /// says where the emulator is that `AZURE_STORAGE_USE_EMULATOR` asks for. Keys come before a
    /// profile, as elsewhere.
    #[must_use]
    pub fn apply_variables(
        mut self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let all: Vec<_> = variables
            .into_iter()
            .filter(|(_, v)| !v.is_empty())
            .collect();
        let get = |name: &str| {
            let found = all.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.clone())
        };
        let endpoint = get("AWS_ENDPOINT_URL_S3").or_else(|| get("AWS_ENDPOINT_URL"));
        self.endpoint = endpoint.or(self.endpoint);
        let region = get("AWS_REGION").or_else(|| get("AWS_DEFAULT_REGION"));
        self.region = region.or(self.region);
        if get("AWS_VIRTUAL_HOSTED_STYLE_REQUEST").is_some_and(|v| v == "true") {
            self.addressing = Addressing::VirtualHosted;
        }
        let taken = |name: &&(String, String)| {
            PREFIXES.iter().any(|prefix| name.0.starts_with(prefix))
                || AMBIENT.contains(&&*name.0)
                || BESIDE_AMBIENT.contains(&&*name.0)
        };
        for (name, value) in all.iter().filter(taken) {
            self = self.set(name.to_ascii_lowercase(), value);
        }
        if let Some(address) = get("AZURITE_BLOB_STORAGE_URL") {
            self = self.set(emulator::ADDRESS, address);
        }
        let keys = get("AWS_ACCESS_KEY_ID").zip(get("AWS_SECRET_ACCESS_KEY"));
        let ambient = AMBIENT.iter().any(|name| get(name).is_some());
        let others = all
            .iter()
            .any(|(name, _)| PREFIXES.iter().any(|p| name.starts_with(p)));
        let files = profile_files(&get);
        self.credentials = match (keys, get("AWS_PROFILE")) {
            (Some((id, secret)), _) => Credentials::Keys(Keys {
                id,
                secret,
                token: get("AWS_SESSION_TOKEN"),
            }),
            (None, Some(name)) => Credentials::Profile { files, name },
            (None, None) if ambient || others => Credentials::Ambient,
            (None, None) if get("AWS_SHARED_CREDENTIALS_FILE").is_some() => Credentials::Profile {
                files,
                name: "default".into(),
            },
            (None, None) => self.credentials,
        };
        self
    }
}

fn profile_files(get: &impl Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let in_home = |file: &str| get("HOME").map(|home| PathBuf::from(home).join(file));
    let named = |variable: &str, file: &str| {
        let named = get(variable).map(PathBuf::from);
        named.or_else(|| in_home(file))
    };
    [
        named("AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials"),
        named("AWS_CONFIG_FILE", ".aws/config"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> BucketOptions {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        BucketOptions::default().apply_variables(variables.iter().map(owned))
    }

    #[test]
    fn keys_come_before_a_profile_and_a_profile_before_nobody() {
        assert!(matches!(of(&[]).credentials, Credentials::Anonymous));
        let profile = ("AWS_PROFILE", "work");
        let home = ("HOME", "/home/me");
        let Credentials::Profile { files, name } = of(&[profile, home]).credentials else {
            panic!("expected a profile");
        };
        assert_eq!(name, "work");
        assert_eq!(files[0], PathBuf::from("/home/me/.aws/credentials"));
        let keys = [("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")];
        let options = of(&[profile, keys[0], keys[1]]);
        assert!(matches!(&options.credentials, Credentials::Keys(keys) if keys.secret == "b"));
        assert!(
            !format!("{options:?}").contains("\"b\""),
            "a secret is shown"
        );
    }

    #[test]
    fn the_server_and_its_region_are_taken() {
        let options = of(&[
            ("AWS_ENDPOINT_URL", "http://localhost:1"),
            ("AWS_DEFAULT_REGION", "eu-north-1"),
            ("AWS_REGION", ""),
        ]);
        assert_eq!(options.endpoint.as_deref(), Some("http://localhost:1"));
        assert_eq!(options.region.as_deref(), Some("eu-north-1"));
    }
}
