use super::*;

const PLAIN: RootConfig = RootConfig {
    sysroot: Access::ReadWrite,
    etc: Lifetime::Kept,
    root: RootOverlay::None,
    composefs: Composefs::No,
};

fn facts() -> Facts {
    Facts {
        sysroot: "/s".into(),
        deployment: "ostree/deploy/os/deploy/abc.0".into(),
        staging: "/t".into(),
        run: "/run".into(),
        usr: Usr::Locked,
        boot: Boot::Elsewhere,
        var: Var::Stateroot,
        image: Image::Missing,
    }
}

/// Says each step in a few words.
fn words(config: &RootConfig, facts: &Facts) -> Vec<String> {
    let steps = plan(config, facts).unwrap().steps;
    let word = |step: &Step| match step {
        Step::Private(at) => format!("private {}", at.display()),
        Step::MakeDir(path) => format!("dir {}", path.display()),
        Step::Discard(path) => format!("discard {}", path.display()),
        Step::Bind { from, to } => format!("bind {} {}", from.display(), to.display()),
        Step::ReadOnly(at) => format!("ro {}", at.display()),
        Step::Overlay {
            lower, at, upper, ..
        } => {
            format!(
                "overlay {} {} {}",
                lower.display(),
                upper.display(),
                at.display()
            )
        }
        Step::Composefs {
            image, at, verity, ..
        } => {
            format!("composefs {} {} {verity:?}", image.display(), at.display())
        }
        Step::Move { from, to } => format!("move {} {}", from.display(), to.display()),
    };
    steps.iter().map(word).collect()
}

#[test]
fn the_plain_case() {
    let tree = "/s/ostree/deploy/os/deploy/abc.0";
    assert_eq!(
        words(&PLAIN, &facts()),
        [
            "private /".to_owned(),
            "dir /t".into(),
            format!("bind {tree} /t"),
            format!("bind {tree}/etc /t/etc"),
            format!("bind {tree}/usr /t/usr"),
            "ro /t/usr".into(),
            "bind /s/ostree/deploy/os/var /t/var".into(),
            "move /s /t/sysroot".into(),
            "move /t /s".into(),
        ]
    );
}

#[test]
fn what_is_read_only_becomes_so_before_the_root_moves() {
    let config = RootConfig {
        sysroot: Access::ReadOnly,
        ..PLAIN
    };
    let words = words(&config, &facts());
    assert_eq!(
        words[words.len() - 3..],
        ["move /s /t/sysroot", "ro /t/sysroot", "move /t /s"]
    );
}

#[test]
fn an_unlocked_deployment_has_an_overlay_instead_of_a_read_only_usr() {
    let words = words(
        &PLAIN,
        &Facts {
            usr: Usr::Unlocked,
            ..facts()
        },
    );
    let tree = "/s/ostree/deploy/os/deploy/abc.0";
    assert!(
        words.contains(&format!("overlay /t/usr {tree}/.usr-ovl-upper /t/usr")),
        "{words:?}"
    );
    assert!(!words.contains(&"ro /t/usr".to_owned()));
}

#[test]
fn what_others_mount_is_left_to_them() {
    let facts = Facts {
        var: Var::Fstab,
        boot: Boot::InSysroot,
        ..facts()
    };
    let words = words(&PLAIN, &facts);
    assert!(!words.iter().any(|w| w.ends_with("/t/var")), "{words:?}");
    assert!(words.contains(&"bind /s/boot /t/boot".to_owned()));
}

#[test]
fn a_transient_etc_starts_from_the_image_at_each_boot() {
    let config = RootConfig {
        etc: Lifetime::Boot,
        ..PLAIN
    };
    let words = words(&config, &facts());
    let discard = words
        .iter()
        .position(|w| w == "discard /run/ostree/transient-etc");
    let overlay = "overlay /t/usr/etc /run/ostree/transient-etc/upper /t/etc";
    let overlay = words.iter().position(|w| w == overlay);
    assert!(discard.is_some() && discard < overlay, "{words:?}");
}

#[test]
fn a_transient_root_forgets_everything_but_var() {
    for (root, ends_read_only) in [
        (RootOverlay::Transient, false),
        (RootOverlay::TransientReadOnly, true),
    ] {
        let words = words(&RootConfig { root, ..PLAIN }, &facts());
        let keep = "/s/ostree/deploy/os/backing/abc.0/root-transient";
        assert!(words.contains(&format!("discard {keep}")), "{words:?}");
        assert!(words.contains(&format!("overlay /t {keep}/upper /t")));
        assert!(words.contains(&"bind /s/ostree/deploy/os/var /t/var".to_owned()));
        assert!(!words.iter().any(|w| w.ends_with("/t/etc")));
        assert_eq!(words.contains(&"ro /t".to_owned()), ends_read_only);
    }
}

#[test]
fn an_image_is_used_where_it_can_be_and_demanded_where_it_must() {
    let with = |composefs, image| {
        let facts = Facts { image, ..facts() };
        plan(&RootConfig { composefs, ..PLAIN }, &facts).map(|plan| plan.composefs)
    };
    assert_eq!(with(Composefs::No, Image::Usable).unwrap(), None);
    let usable = with(Composefs::Maybe, Image::Usable).unwrap();
    assert_eq!(usable, Some(Verity::Off));
    for image in [Image::KernelCannot, Image::Missing] {
        assert_eq!(with(Composefs::Maybe, image).unwrap(), None);
    }
    for (demanded, verity) in [
        (Composefs::Yes, Verity::Off),
        (Composefs::Verity, Verity::Required),
        (Composefs::Signed, Verity::Required),
    ] {
        assert_eq!(with(demanded, Image::Usable).unwrap(), Some(verity));
        let missing = with(demanded, Image::Missing).unwrap_err().to_string();
        assert!(missing.contains(".ostree.cfs"), "{missing}");
        assert!(with(demanded, Image::KernelCannot).is_err());
    }
}
