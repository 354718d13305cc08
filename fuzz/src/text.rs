//! Formats that are text.

use treeferry_core::format::gvariant::Value;
use treeferry_core::format::keyfile::KeyFile;
use treeferry_core::repo::RemoteConfig;

/// GVariant in text form: what is printed is read as the same.
pub fn fuzz_gvariant_text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(value) = Value::parse_text(text, None) else {
        return;
    };
    let printed = value.print(true);
    match Value::parse_text(&printed, None) {
        Ok(again) => assert_eq!(again.print(true), printed),
        Err(error) => panic!("{printed}: {error}"),
    }
    // What needs no annotation is read with its type given.
    match Value::parse_text(&value.print(false), Some(&value.ty())) {
        Ok(again) => assert_eq!(again.print(true), printed),
        Err(error) => panic!("{}: {error}", value.print(false)),
    }
    match Value::decode(&value.ty(), &value.encode()) {
        Ok(again) => assert_eq!(again.print(true), printed),
        Err(error) => panic!("{printed} is not in normal form: {error}"),
    }
}

/// Key files: written back as they were, and still readable after a change.
pub fn fuzz_keyfile(data: &[u8]) {
    let Ok(mut file) = KeyFile::parse(data) else {
        return;
    };
    assert_eq!(file.to_string().as_bytes(), data);
    for group in file.groups() {
        assert!(file.has_group(group));
        for key in file.keys(group) {
            assert!(file.get_raw(group, key).is_some());
            let _ = (file.string(group, key), file.string_list(group, key));
            let _ = (file.boolean(group, key), file.uint64(group, key));
        }
    }
    let value = "a value; with = signs\nand lines ";
    if file.set_string("new group", "new-key", value).is_ok() {
        let again = KeyFile::parse(file.to_string());
        let read = again
            .as_ref()
            .map(|again| again.string("new group", "new-key"));
        assert_eq!(read, Ok(Ok(Some(value.to_owned()))));
    }
}

/// Remotes in repository configurations: each that is listed can be looked at.
pub fn fuzz_config(data: &[u8]) {
    let Ok(config) = KeyFile::parse(data) else {
        return;
    };
    for name in RemoteConfig::list(&config) {
        if let Ok(remote) = RemoteConfig::read(&config, &name) {
            assert!(remote.is_none_or(|remote| remote.name == name));
        }
    }
}
