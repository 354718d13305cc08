//! A machine with firmware: UEFI, systemd-boot on a FAT partition, and a root partition. Nobody does the boot
//! loader's work for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::guest::printed;
use crate::support::run::Ran;
use crate::vm::{Machine, copy_image, qemu};

const MIB: u64 = 1 << 20;
/// Where the partitions begin and how long they are, MiB: `/boot`, and the physical root.
const BOOT: (u64, u64) = (1, 200);
const ROOT: (u64, u64) = (201, 1400);

/// A machine that is off, or runs.
pub(crate) struct Pc {
    dir: PathBuf,
    parts: PathBuf,
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Makes a FAT filesystem in `image`, with what is in `from`.
pub(crate) fn make_fat(image: &Path, label: &str, mib: u64, from: &Path) {
    fs::File::create(image).unwrap().set_len(mib * MIB).unwrap();
    printed("mkfs.vfat", &["-n", label, text(image)]);
    let copy = "cd \"$1\" && mcopy -s -Q -i \"$2\" ./.[!.]* ./* :: 2>&1";
    // Without names that begin with a dot the shell leaves the pattern as it is.
    let copy = format!("shopt -s nullglob; {copy}");
    printed("bash", &["-c", &copy, "bash", text(from), text(image)]);
}

impl Pc {
    /// Makes a machine of a sysroot whose `/boot` has no symbolic links. `parts` has firmware and boot loader.
    pub(crate) fn new(dir: PathBuf, parts: &Path, root: &Path) -> Self {
        fs::create_dir_all(&dir).unwrap();
        let (boot, boot_image, root_image) = (
            root.join("boot"),
            dir.join("boot.img"),
            dir.join("root.img"),
        );
        fs::create_dir_all(boot.join("EFI/BOOT")).unwrap();
        let loader = parts.join("usr/lib/systemd/boot/efi/systemd-bootx64.efi");
        fs::copy(loader, boot.join("EFI/BOOT/BOOTX64.EFI")).unwrap();
        fs::write(boot.join("loader/loader.conf"), "timeout 0\n").unwrap();
        make_fat(&boot_image, "BOOT", BOOT.1, &boot);
        fs::remove_dir_all(&boot).unwrap();
        fs::create_dir(&boot).unwrap();
        let size = format!("{}M", ROOT.1);
        let args = [
            "-q",
            "-L",
            "sysroot",
            "-O",
            "verity",
            "-b",
            "4096",
            "-d",
            text(root),
        ];
        let more = [text(&root_image), &size];
        printed("mkfs.ext4", &[&args[..], &more[..]].concat());
        let disk = dir.join("disk.img");
        let end = ROOT.0 + ROOT.1 + 1;
        fs::File::create(&disk).unwrap().set_len(end * MIB).unwrap();
        let table = format!(
            "label: gpt\nstart={}MiB, size={}MiB, type=uefi\nstart={}MiB, size={}MiB, type=linux\n",
            BOOT.0, BOOT.1, ROOT.0, ROOT.1
        );
        printed(
            "sh",
            &[
                "-c",
                "printf %s \"$1\" | sfdisk --quiet \"$2\"",
                "sh",
                &table,
                text(&disk),
            ],
        );
        for (image, at) in [(&boot_image, BOOT.0), (&root_image, ROOT.0)] {
            let (input, output) = (format!("if={}", text(image)), format!("of={}", text(&disk)));
            let seek = format!("seek={at}");
            printed(
                "dd",
                &[
                    "bs=1M",
                    "conv=sparse,notrunc",
                    "status=none",
                    &input,
                    &output,
                    &seek,
                ],
            );
            fs::remove_file(image).unwrap();
        }
        let variables = parts.join("usr/share/OVMF/OVMF_VARS_4M.fd");
        fs::copy(variables, dir.join("variables.fd")).unwrap();
        Self {
            dir,
            parts: parts.to_owned(),
        }
    }

    /// Turns it on, with a script for it to run once it is up, and a stick if there is one. It may start anew by
    /// itself; once the script is done it turns itself off.
    pub(crate) fn start(&self, script: &str, stick: Option<&Path>) -> Machine {
        let (log, todo) = (self.dir.join("serial.log"), self.dir.join("todo.img"));
        fs::write(&log, "").unwrap();
        fs::write(&todo, format!("{script}\n")).unwrap();
        fs::File::options()
            .write(true)
            .open(&todo)
            .unwrap()
            .set_len(MIB)
            .unwrap();
        let code = self.parts.join("usr/share/OVMF/OVMF_CODE_4M.fd");
        let mut command = qemu(1024, &log);
        command
            .args([
                "-drive",
                &format!(
                    "if=pflash,format=raw,unit=0,readonly=on,file={}",
                    text(&code)
                ),
            ])
            .args([
                "-drive",
                &format!(
                    "if=pflash,format=raw,unit=1,file={}",
                    text(&self.dir.join("variables.fd"))
                ),
            ]);
        let disks = [
            ("disk", Some(&*self.dir.join("disk.img"))),
            ("todo", Some(&*todo)),
            ("stick", stick),
        ];
        for (name, image) in disks {
            let Some(image) = image else { continue };
            command
                .args([
                    "-blockdev",
                    &format!("driver=file,node-name={name},filename={}", text(image)),
                ])
                .args([
                    "-device",
                    &format!("nvme,drive={name},serial={name},write-cache=on"),
                ]);
        }
        Machine::run(&mut command, log)
    }

    /// Turns it on and waits until it is off; returns what it said.
    pub(crate) fn run(&self, script: &str, stick: Option<&Path>) -> String {
        let said = self.start(script, stick).wait();
        self.keep();
        assert!(said.contains("ENDED 0"), "{said}");
        // Though systemd cannot unmount /usr, from which it runs, nothing was left to be recovered.
        let root = format!(
            "{}?offset={}",
            text(&self.dir.join("disk.img")),
            ROOT.0 * MIB
        );
        let state = printed("dumpe2fs", &["-h", &root]);
        assert!(!state.contains("needs_recovery"), "{said}{state}");
        said
    }

    /// Returns what its boot menu has, by the names of the entries: what is left of their tries stands there too.
    pub(crate) fn menu(&self) -> Vec<String> {
        let boot = format!("{}@@{}M", text(&self.dir.join("disk.img")), BOOT.0);
        let listed = printed("mdir", &["-b", "-i", &boot, "::/loader/entries"]);
        let names = listed.lines().filter_map(|line| line.rsplit('/').next());
        let mut names: Vec<_> = names.map(str::to_owned).collect();
        names.sort();
        names
    }

    /// Keeps what the machine said and its disk, as they are after each time that it ran, where the environment
    /// says: from there a step can be tried again by hand.
    fn keep(&self) {
        let Some(to) = std::env::var_os("TREEFERRY_KEEP_MACHINES") else {
            return;
        };
        let number = (1..).find(|n| !Path::new(&to).join(format!("{n}.img")).exists());
        let to = Path::new(&to).join(number.unwrap().to_string());
        fs::copy(self.dir.join("serial.log"), to.with_extension("log")).unwrap();
        copy_image(&self.dir.join("disk.img"), &to.with_extension("img"));
    }
}

/// Puts treeferry into a tree, has the initramfs made in it, and turns it into one that can be deployed.
pub(crate) fn make_deployable(tree: &Path, prepare_root: &Path, initramfs: &str) {
    let system = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sysroot/system");
    let script = |name: &str| {
        let mut command = Command::new(system.join(name));
        command.arg("--root").arg(tree);
        command
    };
    let mut install = script("install");
    install.args([
        "--treeferry",
        env!("CARGO_BIN_EXE_treeferry"),
        "--initramfs",
        initramfs,
    ]);
    Ran::of(install.arg("--prepare-root").arg(prepare_root)).success();
    let kernel = fs::read_dir(tree.join("usr/lib/modules"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let version = kernel.file_name().into_string().unwrap();
    let make = match initramfs {
        "dracut" => format!(
            "dracut --quiet --force --no-hostonly --no-kernel --add treeferry --kver {version} /boot/initrd.img-{version}"
        ),
        _ => format!("update-initramfs -c -k {version}"),
    };
    // What makes an initramfs looks at the machine that it runs on.
    let inside = "for dir in dev proc sys; do mount --rbind /$dir \"$1/$dir\"; done; chroot \"$1\" sh -c \"$2\"";
    let args = ["-m", "sh", "-e", "-c", inside, "sh", text(tree), &make];
    Ran::of(Command::new("unshare").args(args)).success();
    Ran::of(&mut script("convert-debian")).success();
}
