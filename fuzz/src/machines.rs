//! What a machine boots by: files that a boot loader, another implementation, or a power cut may have written.

use treeferry_core::format::keyfile::KeyFile;
use treeferry_prepare_root::cmdline::KernelCmdline;
use treeferry_prepare_root::config::RootConfig;
use treeferry_sysroot::transition::Transition;
use treeferry_sysroot::{BootEntry, EntryName, KernelArgs, Origin, StagedFile};

/// Entries of the boot menu: what is written is read as the same.
pub fn fuzz_boot_entry(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let entry = BootEntry::parse(text);
    let again = BootEntry::parse(&entry.to_string());
    assert_eq!(again.to_string(), entry.to_string());
    assert_eq!(again.link().ok(), entry.link().ok());
    assert_eq!(again.sort_key(), entry.sort_key());
}

/// File names of entries, with counters of tries.
pub fn fuzz_entry_name(data: &[u8]) {
    let name = std::str::from_utf8(data).ok().and_then(EntryName::parse);
    if let Some(name) = name {
        assert_eq!(EntryName::parse(&name.to_string()), Some(name));
    }
}

/// Origins of deployments.
pub fn fuzz_origin(data: &[u8]) {
    let Ok(origin) = Origin::parse(data) else {
        return;
    };
    assert_eq!(origin.to_string().as_bytes(), data);
    let _ = (origin.require_refspec(), origin.override_commit());
    let inherited = origin.inherited();
    assert_eq!(inherited.refspec(), origin.refspec());
}

/// Kernel arguments, as they are edited and as early boot reads them.
pub fn fuzz_kernel_args(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let args = KernelArgs::parse(text);
    assert_eq!(KernelArgs::parse(&args.to_string()), args);
    assert_eq!(args.without_ostree().last_value("ostree"), None);
    let _ = KernelArgs::parse_running(text);
    let _ = KernelCmdline::parse(text).deployment();
}

/// `prepare-root.conf`, and the kernel arguments that change what it says: file, NUL, arguments.
pub fn fuzz_prepare_root(data: &[u8]) {
    let mut parts = data.splitn(2, |&byte| byte == 0);
    let (file, args) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    let (Ok(file), Ok(args)) = (KeyFile::parse(file), std::str::from_utf8(args)) else {
        return;
    };
    let kernel = KernelCmdline::parse(args);
    let read = RootConfig::read(&file, &KeyFile::new(), &kernel);
    assert_eq!(read.ok(), RootConfig::read(&file, &file, &kernel).ok());
}

/// What is under way, and what is staged.
pub fn fuzz_transition(data: &[u8]) {
    if let Ok(transition) = Transition::parse(data) {
        let text = transition
            .to_text()
            .unwrap_or_else(|e| panic!("{transition:?}: {e}"));
        match Transition::parse(text.as_bytes()) {
            Ok(again) => assert_eq!(again, transition),
            Err(error) => panic!("{text}: {error}"),
        }
    }
    if let Ok(Some(staged)) = StagedFile::parse(data) {
        let again = StagedFile::parse(&staged.to_bytes());
        assert_eq!(again.ok(), Some(Some(staged)));
    }
}
