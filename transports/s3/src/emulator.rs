//! Azurite, Microsoft's emulator of its own storage.
//!
//! All accounts are on one host there, and their names stand in the path. `object_store` can do that by
//! itself, but takes the address from the environment of the process, which is not read here.

use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};

use crate::BucketOptions;

/// The setting under which the address of the emulator is kept.
pub(crate) const ADDRESS: &str = "azurite_blob_storage_url";

/// Where it is unless something else is said.
const DEFAULT_ADDRESS: &str = "http://127.0.0.1:10000";

/// The account that it brings, and its key, which everybody knows.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// Directs a client to the emulator if its settings ask for that.
pub(crate) fn direct(
    builder: MicrosoftAzureBuilder,
    options: &BucketOptions,
) -> MicrosoftAzureBuilder {
    let get = |key| builder.get_config_value(&key);
    let asked = get(AzureConfigKey::UseEmulator).is_some_and(|value| {
        let value = value.to_ascii_lowercase();
        matches!(&*value, "1" | "true" | "on" | "yes" | "y")
    });
    if !asked {
        return builder;
    }
    let told = options.settings.get(ADDRESS).map(|address| &address.0);
    let address = options.endpoint.as_ref().or(told);
    let address = address.map_or(DEFAULT_ADDRESS, |address| address.trim_end_matches('/'));
    let account = get(AzureConfigKey::AccountName).unwrap_or_else(|| ACCOUNT.to_owned());
    let credentials = [
        AzureConfigKey::AccessKey,
        AzureConfigKey::SasKey,
        AzureConfigKey::Token,
    ];
    let has_credentials = credentials.into_iter().any(|key| get(key).is_some());
    let directed = builder
        .with_use_emulator(false)
        .with_endpoint(format!("{address}/{account}"))
        .with_account(account);
    match has_credentials {
        true => directed,
        false => directed.with_access_key(KEY),
    }
}
