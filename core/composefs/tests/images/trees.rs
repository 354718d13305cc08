//! Trees that have in them what an image can hold.

use crate::tree::{File, Kind};

/// A generator of numbers that always gives the same.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }

    fn bytes(&mut self, length: u64) -> Vec<u8> {
        (0..length).map(|_| self.below(256) as u8).collect()
    }

    /// A name with any bytes that names can have.
    fn name(&mut self) -> Vec<u8> {
        let length = 1 + self.below(12) * self.of(&[1, 1, 1, 21]);
        let byte = |byte: u8| if matches!(byte, 0 | b'/') { b'n' } else { byte };
        self.bytes(length).into_iter().map(byte).collect()
    }
}

/// Every tree that has a name, with it.
pub(crate) fn named() -> Vec<(&'static str, Vec<File>)> {
    vec![
        ("an empty root", vec![File::directory("")]),
        ("each kind", each_kind()),
        ("large directories", large_directories()),
        ("long links", long_links()),
        ("a deep tree", deep()),
        ("sizes", sizes()),
        ("labels", labels()),
        ("owners", owners()),
        ("attributes", attributes()),
        ("many attributes", many_attributes()),
    ]
}

fn each_kind() -> Vec<File> {
    vec![
        File::directory(""),
        File::directory("usr"),
        File::regular("usr/file", 4).with_digest(1),
        File::regular("usr/unsealed", 4),
        File::regular("usr/empty", 0),
        File::symlink("usr/link", "file"),
        // Sorted before `.` and `..`, and among the whiteouts.
        File::regular("!", 1),
        File::directory("7f"),
        File::regular("ff", 70_000),
    ]
}

fn large_directories() -> Vec<File> {
    let mut tree = vec![File::directory("")];
    for count in [100, 150, 300, 5000] {
        tree.push(File::directory(format!("{count}")));
        for number in 0..count {
            tree.push(File::regular(
                format!("{count}/a file, number {number}"),
                number,
            ));
        }
    }
    // Ends of every length, so that some are moved and some get a block.
    for count in 0..400 {
        tree.push(File::directory(format!("n{count:03}")));
        let name = "x".repeat(1 + count % 255);
        for number in 0..count / 3 {
            tree.push(File::symlink(format!("n{count:03}/{number}"), "x"));
        }
        tree.push(File::directory(format!("n{count:03}/{name}")));
    }
    tree
}

fn long_links() -> Vec<File> {
    let mut tree = vec![File::directory("")];
    for length in (1..4050).step_by(31).chain(4050..4096) {
        tree.push(File::symlink(format!("to {length}"), "t".repeat(length)));
    }
    tree.push(File::symlink("labelled", "t".repeat(3000)).with_xattr("user.a", "v".repeat(2000)));
    tree.push(File::symlink("far", "t".repeat(20)).with_xattr("user.a", "v".repeat(20_000)));
    tree
}

fn deep() -> Vec<File> {
    let mut tree = vec![File::directory("")];
    let mut path = String::new();
    for depth in 0..200 {
        path += &format!("{}{depth}", if depth == 0 { "" } else { "/" });
        tree.push(File::directory(path.as_str()));
    }
    tree.push(File::regular(format!("{path}/end"), 1));
    tree
}

fn sizes() -> Vec<File> {
    let mut tree = vec![File::directory("")];
    for bits in 0..54 {
        for bytes in [(1_u64 << bits) - 1, 1 << bits, (1 << bits) + 1] {
            if bytes <= 1 << 53 {
                tree.push(File::regular(format!("{bytes}"), bytes).with_digest(bits));
            }
        }
    }
    // More than a block of pieces, behind attributes of many lengths.
    for length in 0..60 {
        let file = File::regular(format!("behind {length}"), (1 << 53) - 1);
        tree.push(file.with_xattr("user.a", "v".repeat(length * 70)));
    }
    let mut files = tree.split_off(1);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.dedup_by(|a, b| a.path == b.path);
    tree.extend(files);
    tree
}

fn labels() -> Vec<File> {
    const LABEL: &str = "security.selinux";
    let mut tree = vec![
        File::directory("").with_xattr(LABEL, "system_u:object_r:root_t:s0\0"),
        File::directory("usr").with_xattr(LABEL, "system_u:object_r:usr_t:s0\0"),
    ];
    for number in 0..100 {
        let file = File::regular(format!("usr/{number}"), number);
        let label = format!("system_u:object_r:t{}_t:s0\0", number % 7);
        tree.push(file.with_xattr(LABEL, label));
    }
    tree
}

fn owners() -> Vec<File> {
    let mut tree = vec![File::directory("").owned_by(70_000, 0)];
    for (number, (uid, gid)) in [(0, 65_535), (65_536, 0), (1000, 1000), (u32::MAX, u32::MAX)]
        .into_iter()
        .enumerate()
    {
        tree.push(File::regular(format!("file {number}"), 9).owned_by(uid, gid));
        tree.push(File::directory(format!("dir {number}")).owned_by(uid, gid));
        tree.push(File::symlink(format!("link {number}"), "to").owned_by(uid, gid));
    }
    let mut special = File::regular("set-user-id", 12);
    special.mode = 0o6755;
    tree.push(special);
    let mut sticky = File::directory("tmp");
    sticky.mode = 0o1777;
    tree.push(sticky);
    tree
}

fn attributes() -> Vec<File> {
    const ACL: [u8; 28] = [
        2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 4, 0, 4, 0, 255, 255, 255, 255, 32, 0, 4, 0,
        255, 255, 255, 255,
    ];
    vec![
        File::directory("").with_xattr("trusted.overlay.opaque", "x"),
        File::directory("dir")
            .with_xattr("system.posix_acl_default", ACL)
            .with_xattr("trusted.overlay.overlay.opaque", "y"),
        File::regular("dir/acl", 1).with_xattr("system.posix_acl_access", ACL),
        File::regular("dir/more", 1)
            .with_xattr("trusted.overlay.redirect", "/elsewhere")
            .with_xattr("trusted.overlay.metacopy", "")
            .with_xattr("user.overlay.redirect", "/elsewhere")
            .with_xattr("system.posix_acl_access_more", "1")
            .with_xattr("unknown", "1")
            .with_xattr("user.", "no name")
            .with_xattr("lustre.lov", "1"),
        File::regular("dir/long name", 1)
            .with_xattr(&format!("user.{}", "n".repeat(250)), "1")
            .with_xattr(&format!("trusted.overlay.{}", "n".repeat(239)), "1"),
        File::regular("dir/long value", 1).with_xattr("user.a", "v".repeat(30_000)),
        File::symlink("dir/link", "acl").with_xattr("security.capability", [0, 255, 10]),
    ]
}

/// More attributes than an inode can have elsewhere, all of them had by two.
fn many_attributes() -> Vec<File> {
    let file = |path: &str| {
        (0..200).fold(File::regular(path, 1), |file, number| {
            file.with_xattr(&format!("user.{number}"), "v".repeat(number % 5))
        })
    };
    vec![File::directory(""), file("one"), file("two")]
}

/// A tree that nobody thought of.
pub(crate) fn by_chance(seed: u64) -> Vec<File> {
    let mut chance = Chance::new(seed);
    let mut tree = vec![File::directory("")];
    let mut dirs = vec![Vec::new()];
    let mut names = std::collections::HashSet::new();
    let entries = chance.of(&[5, 50, 500, 3000]);
    for _ in 0..entries {
        let parent: Vec<u8> = dirs[chance.below(dirs.len() as u64) as usize].clone();
        let mut path = parent;
        if !path.is_empty() {
            path.push(b'/');
        }
        let name = chance.name();
        if matches!(name.as_slice(), b"." | b"..") {
            continue;
        }
        path.extend(name);
        if path.len() > 2000 || !names.insert(path.clone()) {
            continue;
        }
        let mut file = match chance.below(10) {
            0 | 1 => {
                dirs.push(path.clone());
                File::directory(path)
            }
            2 | 3 => {
                let length = 1 + chance.of(&[4, 40, 400, 4000]);
                let length = 1 + chance.below(length);
                let byte = |byte: u8| if byte == 0 { b'0' } else { byte };
                File::symlink(
                    path,
                    chance
                        .bytes(length)
                        .into_iter()
                        .map(byte)
                        .collect::<Vec<_>>(),
                )
            }
            _ => {
                let bits = chance.of(&[1, 7, 12, 13, 16, 20, 33, 44, 53]);
                let bytes = chance.below(1 << bits);
                let file = File::regular(path, bytes);
                match chance.below(2) {
                    0 => file,
                    _ => file.with_digest(chance.below(256) as u8),
                }
            }
        };
        if chance.below(4) == 0 {
            let names = [
                "user.a",
                "security.selinux",
                "trusted.overlay.x",
                "user.long.name",
            ];
            for name in names {
                let length = chance.of(&[0, 0, 1, 2, 30, 400, 1500]);
                match chance.below(3) {
                    0 => file = file.with_xattr(name, chance.bytes(length)),
                    1 => file = file.with_xattr(name, "often"),
                    _ => {}
                }
            }
        }
        if chance.below(8) == 0 {
            file = file.owned_by(chance.below(1 << 18) as u32, chance.below(1 << 10) as u32);
        }
        if !matches!(file.kind, Kind::Symlink(_)) {
            file.mode = chance.below(0o10_000) as u32;
        }
        tree.push(file);
    }
    tree
}
