//! A machine: QEMU in software, a disk, and what a boot loader does.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::guest::printed;

/// How long a boot may take, here where everything is emulated and others use the processors too.
const BOOT_SECONDS_MAX: u64 = 600;

/// How long a machine may say nothing, and how often one that does is started.
const SILENT_MAX: Duration = Duration::from_secs(90);
const STARTS_MAX: u32 = 3;

/// How long a disk may stay mounted in a mount namespace of another test: as long as making an initramfs takes there.
const RELEASED_MAX: Duration = Duration::from_secs(300);

/// How often a machine is looked at.
const POLL: Duration = Duration::from_millis(3);

/// Copies a disk image, but not its holes.
pub(crate) fn copy_image(from: &Path, to: &Path) {
    let (from, to) = (from.to_str().unwrap(), to.to_str().unwrap());
    printed("cp", &["--sparse=always", "--reflink=auto", from, to]);
}

/// A disk image with one ext4 filesystem, the physical root.
pub(crate) struct Disk {
    pub(crate) image: PathBuf,
    dir: PathBuf,
}

impl Disk {
    /// Makes a disk of `mib` MiB out of a directory.
    pub(crate) fn of_directory(dir: &Path, root: &Path, mib: u32) -> Self {
        let image = dir.join("disk.img");
        let (from, to) = (root.to_str().unwrap(), image.to_str().unwrap());
        printed(
            "mkfs.ext4",
            &[
                "-q",
                "-O",
                "verity",
                "-b",
                "4096",
                "-d",
                from,
                to,
                &format!("{mib}M"),
            ],
        );
        Self {
            image,
            dir: dir.to_owned(),
        }
    }

    /// Names a disk that is there, or will be.
    pub(crate) fn at(dir: &Path, name: &str) -> Self {
        Self {
            image: dir.join(name),
            dir: dir.to_owned(),
        }
    }

    /// Mounts the disk on this machine while `look` runs: the journal is replayed as it would be there.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Path) -> T) -> T {
        let at = self.dir.join("mnt");
        fs::create_dir_all(&at).unwrap();
        let (image, at_text) = (self.image.to_str().unwrap(), at.to_str().unwrap());
        printed("mount", &["-o", "loop", image, at_text]);
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| look(&at)));
        printed("umount", &[at_text]);
        self.wait_until_released();
        found.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Waits until nobody has the disk mounted any more. Who made a mount namespace of its own while it was mounted here has
    /// it mounted there until that ends, and who mounts the disk meanwhile sees what was on it then, whatever is written
    /// to the image.
    fn wait_until_released(&self) {
        let late = Instant::now() + RELEASED_MAX;
        let image = self.image.to_str().unwrap();
        loop {
            let devices = printed("losetup", &["--associated", image]);
            if devices.is_empty() {
                return;
            }
            assert!(Instant::now() < late, "{devices} stays");
            sleep(Duration::from_millis(50));
        }
    }

    /// Does what a boot loader does: takes the first entry of the menu, and loads what it names.
    pub(crate) fn first_entry(&self) -> Entry {
        self.look(|root| {
            let mut entries = menu(root);
            assert!(!entries.is_empty(), "the boot menu is empty");
            entries.sort_by_key(|entry| std::cmp::Reverse(entry.version));
            let entry = entries.swap_remove(0);
            for (from, to) in [(&entry.linux, "kernel"), (&entry.initrd, "initramfs")] {
                let from = root.join("boot").join(from);
                fs::copy(&from, self.loaded(to))
                    .unwrap_or_else(|e| panic!("{}: {e}", from.display()));
            }
            entry
        })
    }

    /// Where [`first_entry`](Self::first_entry) puts the `kernel` and the `initramfs`.
    pub(crate) fn loaded(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Starts the machine as the first entry says, with `more` after its kernel arguments.
    pub(crate) fn boot(&self, more: &str) -> Machine {
        let drive = format!(
            "driver=file,node-name=disk,filename={}",
            self.image.display()
        );
        self.start(&self.first_entry(), more, &drive)
    }

    /// Does the same, and has each write and flush kept in `log`, which is emptied. What the disk was like before goes
    /// to `before`.
    pub(crate) fn boot_logged(&self, more: &str, log: &Path, before: &Path) -> Machine {
        let entry = self.first_entry();
        copy_image(&self.image, before);
        fs::write(log, "").unwrap();
        let drive = format!(
            "driver=blklogwrites,node-name=disk,file.driver=file,file.filename={},log.driver=file,log.filename={}",
            self.image.display(),
            log.display()
        );
        self.start(&entry, more, &drive)
    }

    fn start(&self, entry: &Entry, more: &str, drive: &str) -> Machine {
        let log = self.dir.join("serial.log");
        fs::write(&log, "").unwrap();
        let mut command = qemu(512, &log);
        command
            .arg("-no-reboot")
            .arg("-kernel")
            .arg(self.loaded("kernel"))
            .arg("-initrd")
            .arg(self.loaded("initramfs"))
            .args(["-append", &format!("{} {more}", entry.options)])
            // A disk with a write cache, which it empties when it is told to flush.
            .args([
                "-blockdev",
                drive,
                "-device",
                "nvme,drive=disk,serial=1,write-cache=on",
            ]);
        Machine::run(&mut command, log)
    }
}

/// An entry of the boot menu (Boot Loader Specification, type 1).
#[derive(Debug)]
pub(crate) struct Entry {
    version: u64,
    linux: String,
    initrd: String,
    options: String,
}

impl Entry {
    /// The link to the deployment that it boots, below the root of the disk.
    pub(crate) fn system(&self) -> &str {
        let mut words = self.options.split_whitespace();
        words
            .find_map(|word| word.strip_prefix("ostree="))
            .unwrap_or_else(|| panic!("no ostree= in {}", self.options))
    }
}

fn menu(root: &Path) -> Vec<Entry> {
    let entries = fs::read_dir(root.join("boot/loader/entries")).unwrap();
    entries
        .map(|entry| parse(&fs::read_to_string(entry.unwrap().path()).unwrap()))
        .collect()
}

fn parse(text: &str) -> Entry {
    let get = |key: &str| {
        let value = |line: &str| Some(line.strip_prefix(key)?.strip_prefix(' ')?.trim().to_owned());
        text.lines()
            .find_map(value)
            .unwrap_or_else(|| panic!("no {key} in: {text}"))
    };
    // Paths are below /boot; on a disk with one filesystem they may say so.
    let path = |key| {
        let path: String = get(key);
        path.trim_start_matches("/boot")
            .trim_start_matches('/')
            .to_owned()
    };
    Entry {
        version: get("version").parse().unwrap(),
        linux: path("linux"),
        initrd: path("initrd"),
        options: get("options"),
    }
}

/// A machine that runs.
pub(crate) struct Machine {
    child: Child,
    log: PathBuf,
    started: Instant,
}

impl Machine {
    /// Starts QEMU; what the machine says goes to `log`. One that says nothing for long has got stuck in the emulator,
    /// which happens where others use the processors: it is started again.
    pub(crate) fn run(command: &mut Command, log: PathBuf) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        for _ in 0..STARTS_MAX {
            let mut machine = Self {
                child: command.spawn().unwrap(),
                log: log.clone(),
                started: Instant::now(),
            };
            while machine.started.elapsed() < SILENT_MAX {
                if !machine.said().is_empty() || machine.child.try_wait().unwrap().is_some() {
                    return machine;
                }
                sleep(POLL);
            }
            println!("a machine said nothing for {SILENT_MAX:?}, and is started again");
        }
        panic!("a machine said nothing, {STARTS_MAX} times");
    }

    /// Returns what it has said so far.
    pub(crate) fn said(&self) -> String {
        // The log may end within a character.
        let file = fs::File::open(&self.log).unwrap();
        let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
        let read = file.read_at(&mut bytes, 0).unwrap();
        String::from_utf8_lossy(&bytes[..read]).replace('\r', "")
    }

    /// Waits until it says `words`; returns whether it did before it ended, and before `due` if there is such a time.
    pub(crate) fn wait_for(&mut self, words: &str, due: Option<Instant>) -> bool {
        while due.is_none_or(|due| Instant::now() < due) {
            let has_ended = self.child.try_wait().unwrap().is_some();
            if self.said().contains(words) {
                return true;
            }
            if has_ended {
                return false;
            }
            self.check_time();
            sleep(POLL);
        }
        false
    }

    /// Waits until it powers off; returns what it said.
    pub(crate) fn wait(mut self) -> String {
        while self.child.try_wait().unwrap().is_none() {
            self.check_time();
            sleep(POLL);
        }
        self.said()
    }

    /// Cuts the power.
    pub(crate) fn cut(mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.said()
    }

    fn check_time(&mut self) {
        let seconds = self.started.elapsed().as_secs();
        if seconds > BOOT_SECONDS_MAX {
            let _ = self.child.kill();
            panic!("did not end within {seconds} s: {}", self.said());
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// QEMU with so much memory, a network of its own, and a serial line that is written to `log`.
pub(crate) fn qemu(memory_mib: u32, log: &Path) -> Command {
    let mut command = Command::new("qemu-system-x86_64");
    command
        .args(["-accel", "tcg,thread=multi", "-M", "q35"])
        .args(["-m", &memory_mib.to_string(), "-display", "none"])
        .args(["-nodefaults", "-serial", &format!("file:{}", log.display())])
        .args(["-netdev", "user,id=net"])
        .args(["-device", "virtio-net-pci,netdev=net,romfile="]);
    command
}
