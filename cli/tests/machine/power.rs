//! The power is cut in the middle of an upgrade: afterwards the old system boots or the new one, and the next
//! upgrade completes.
//!
//! The disk has a write cache that a cut empties: see [`write_log`](crate::write_log).
//!
//! `TREEFERRY_POWER_CUTS` says how often (25 times unless told), `TREEFERRY_CUTS_A_KILL` how many of the cuts use one
//! killed machine: the first is the kill, the others are earlier moments of its upgrade, from the record of its writes.
//! Of those, only the ones that leave a disk which no cut before has left. After a kill what was upgraded is booted as
//! well, after other cuts it is looked at. `TREEFERRY_FIRST_KILL` goes on with other numbers, where a long run is made in several.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use treeferry_core::format::Checksum;

use crate::support::chance::Chance;
use crate::support::commit;
use crate::support::run::treeferry;
use crate::vm::{Disk, copy_image};
use crate::write_log::{Unflushed, WriteLog};
use crate::{World, machine_test, write_files};

/// The phases of an upgrade, and what the machine says when one begins.
const PHASES: [(&str, &str); 5] = [
    ("the pull", "PHASE pull"),
    ("the deployment", "PHASE deploy"),
    ("the merge of /etc", "step: merging /etc"),
    ("the change of the menu", "step: changing the boot menu"),
    ("the cleanup", "step: cleaning up"),
];
const END: &str = "PHASE end";
/// How many cuts each phase gets at least.
const EACH_MIN: usize = 5;
/// How long an undisturbed upgrade goes on at most after the cut was due.
const LATE: Duration = Duration::from_secs(20);

/// Returns a number from the environment, or `usual`.
fn number_of(name: &str, usual: usize) -> usize {
    std::env::var(name).map_or(usual, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number, not {text:?}"))
    })
}

/// How much is tried.
struct Effort {
    /// How often the power is cut, at least.
    cuts: usize,
    /// How many of the cuts use one killed machine, at most.
    cuts_each: usize,
    /// The number of the first kill. Other numbers make other moments and other losses.
    first: usize,
}

impl Effort {
    fn from_env() -> Self {
        Self {
            cuts: number_of("TREEFERRY_POWER_CUTS", EACH_MIN * PHASES.len()),
            cuts_each: number_of("TREEFERRY_CUTS_A_KILL", 1),
            first: number_of("TREEFERRY_FIRST_KILL", 0),
        }
    }

    fn is_enough(&self, done: &[Cut]) -> bool {
        done.len() >= self.cuts && (0..PHASES.len()).all(|phase| hits(done, phase) >= EACH_MIN)
    }
}

fn hits(done: &[Cut], phase: usize) -> usize {
    done.iter().filter(|cut| cut.phase == phase).count()
}

/// Returns the phase that was hit least. The last ones are short, and easily missed.
fn rarest(done: &[Cut]) -> usize {
    let phases = 0..PHASES.len();
    phases.min_by_key(|phase| hits(done, *phase)).unwrap_or(0)
}

/// Returns the phase that a machine was in; `None` when it had not begun, or was done.
fn phase_of(said: &str) -> Option<usize> {
    match said.contains(END) {
        true => None,
        false => PHASES.iter().rposition(|(_, words)| said.contains(words)),
    }
}

/// Measures how long each phase takes, undisturbed.
fn measure(disk: &Disk) -> Vec<Duration> {
    let mut machine = disk.boot("do=steps");
    let mut times = Vec::new();
    for words in PHASES.iter().map(|(_, words)| *words).chain([END]) {
        assert!(machine.wait_for(words, None), "{words}: {}", machine.said());
        times.push(Instant::now());
    }
    assert!(machine.wait().contains("ENDED 0"));
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

/// What a cut came to.
struct Cut {
    phase: usize,
    came_up: &'static str,
    uncertain: usize,
    lost: usize,
}

/// A machine that was killed in an upgrade: what it had written until then.
struct Killed {
    number: usize,
    writes: WriteLog,
    before: PathBuf,
    /// How many records there were when each phase began that did.
    begins: Vec<usize>,
}

impl Killed {
    /// The phase it was in.
    fn phase(&self) -> usize {
        self.begins.len() - 1
    }

    /// Returns a moment in the life of the machine: its phase, and how many records there were.
    ///
    /// What a kill leaves is what was written until then, so that each moment before is that of another kill.
    fn moment(&self, chance: &mut Chance) -> (usize, usize) {
        let phase = chance.among(0..self.begins.len() as u64) as usize;
        let end = self.begins.get(phase + 1);
        let end = end.copied().unwrap_or(self.writes.len());
        let within = self.begins[phase] as u64..end as u64 + 1;
        (phase, chance.among(within) as usize)
    }
}

/// One that cuts, with a disk of its own.
struct Cutter<'a> {
    dir: PathBuf,
    fresh: &'a Path,
    lengths: &'a [Duration],
    /// What cuts have left of what was written to the fresh disk.
    seen: &'a Mutex<HashSet<Checksum>>,
}

impl Cutter<'_> {
    /// Kills a machine in the phase `aim` or about there; `None` when it was too late.
    fn kill(&self, number: usize, aim: usize, chance: &mut Chance) -> Option<Killed> {
        let disk = Disk::at(&self.dir, "disk.img");
        copy_image(self.fresh, &disk.image);
        let (log, before) = (self.dir.join("writes.log"), self.dir.join("before.img"));
        let mut machine = disk.boot_logged("do=steps", &log, &before);
        let part = chance.among(0..1000) as f64 / 1000.0;
        let (mut sizes, mut due) = (Vec::new(), None);
        loop {
            let words = PHASES.get(sizes.len()).map_or(END, |(_, words)| words);
            if !machine.wait_for(words, due) {
                assert!(due.is_some(), "{words}: {}", machine.said());
                break;
            }
            if words == END {
                return None;
            }
            sizes.push(fs::metadata(&log).unwrap().len());
            if sizes.len() == aim + 1 {
                due = Some(Instant::now() + self.lengths[aim].mul_f64(part).min(LATE));
            }
        }
        let said = machine.cut();
        let phase = phase_of(&said)?;
        let writes = WriteLog::read(&log);
        // What it said last was not seen here before the kill, or its records are still to come.
        sizes.resize(phase + 1, u64::MAX);
        let begins = sizes.iter().map(|bytes| writes.count_at(*bytes)).collect();
        Some(Killed {
            number,
            writes,
            before,
            begins,
        })
    }

    /// Cuts the power in the phase `aim`, and at other moments of the same upgrade.
    fn round(&self, number: usize, aim: usize, cuts: usize) -> Vec<Cut> {
        let mut chance = Chance::new(number as u64);
        let Some(killed) = self.kill(number, aim, &mut chance) else {
            return Vec::new();
        };
        let mut done = Vec::new();
        let last = (killed.phase(), killed.writes.len());
        done.extend(self.cut(&killed, 0, last, &mut chance));
        // Many moments leave the same disk, and those of a short life few others.
        for index in 1..cuts * 3 {
            if done.len() >= cuts {
                break;
            }
            let moment = killed.moment(&mut chance);
            done.extend(self.cut(&killed, index, moment, &mut chance));
        }
        done
    }

    /// Makes the disk that a cut leaves, and sees what comes of it; `None` where a cut that was not a kill has left
    /// nothing new.
    fn cut(
        &self,
        killed: &Killed,
        index: usize,
        (phase, records): (usize, usize),
        chance: &mut Chance,
    ) -> Option<Cut> {
        let number = killed.number;
        let unflushed = [Unflushed::None, Unflushed::Some, Unflushed::Torn][(number + index) % 3];
        let left = killed.writes.cut(records, unflushed, chance);
        let (is_kill, is_new) = (
            index == 0,
            self.seen.lock().unwrap().insert(left.checksum()),
        );
        if !is_kill && !is_new {
            return None;
        }
        let disk = Disk::at(&self.dir, "disk.img");
        copy_image(&killed.before, &disk.image);
        left.write_to(&disk.image);
        let told = Self::after(&disk, is_kill);
        println!(
            "cut {number}.{index}: in {}, after {} records that were certain and {} writes that were not, of which \
             {} are lost ({unflushed:?}): {}",
            PHASES[phase].0,
            left.certain,
            left.uncertain,
            left.lost,
            told.replace('\n', "; ")
        );
        let came_up = if told.starts_with("v1") { "v1" } else { "v2" };
        // What was written down before the merge began is continued or told, never dropped.
        if came_up == "v1" && phase >= 2 {
            let known = ["is staged again", "is the default again"];
            assert!(known.iter().any(|words| told.contains(words)), "{told}");
        }
        Some(Cut {
            phase,
            came_up,
            uncertain: left.uncertain,
            lost: left.lost,
        })
    }

    /// Boots what the cut has left, upgrades it, looks at the result, and boots it if told to. Returns what came up, and
    /// what it told.
    fn after(disk: &Disk, boots_next: bool) -> String {
        let said = disk.boot("do=after").wait();
        let came_up = ["v1", "v2"].map(|version| said.contains(&format!("BOOTED {version}")));
        let version = match came_up {
            [true, false] => "v1",
            [false, true] => "v2",
            _ => panic!("neither the old system nor the new one: {said}"),
        };
        assert!(said.contains("ENDED 0"), "{said}");
        let told = said
            .split("TELLS ")
            .nth(1)
            .and_then(|rest| rest.split("TOLD").next());
        let told = told.unwrap_or_else(|| panic!("{said}")).trim();
        // The next upgrade was to v2, or from there to v3.
        let next = match version {
            "v1" => "v2",
            _ => "v3",
        };
        check_next(disk, next);
        if boots_next {
            let said = disk.boot("do=look").wait();
            for words in [
                &format!("BOOTED {next}"),
                "etc is kept",
                "etc of v2",
                "ENDED 0",
            ] {
                assert!(said.contains(words), "{words}: {said}");
            }
        }
        format!("{version} came up\n{told}")
    }
}

/// Checks that the repository is whole, and that `version` is what the boot loader starts next, whole, with what was
/// changed in `/etc` and `/var`.
fn check_next(disk: &Disk, version: &str) {
    let entry = disk.first_entry();
    disk.look(|root| {
        treeferry(&root.join("ostree/repo"), ["fsck", "--quiet"]).success();
        let system = root.join(entry.system().trim_start_matches('/'));
        let read = |path: &str| {
            let path = system.join(path);
            fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        };
        assert_eq!(read("usr/lib/os-version"), version);
        assert_eq!(read("etc/mine"), "etc is kept\n");
        assert_eq!(read("etc/new"), "etc of v2\n");
        assert_eq!(read("../../var/mine"), "var is kept\n");
        for (loaded, name) in [("kernel", "vmlinuz"), ("initramfs", "initramfs.img")] {
            let mut modules = fs::read_dir(system.join("usr/lib/modules")).unwrap();
            let own = modules.next().unwrap().unwrap().path().join(name);
            let is_whole = fs::read(own).unwrap() == fs::read(disk.loaded(loaded)).unwrap();
            assert!(is_whole, "the {loaded} of {version} is not whole");
        }
    });
}

machine_test! {
    fn the_power_is_cut_in_every_phase_of_an_upgrade() {
        let world = World::new();
        assert!(world.disk.boot("do=write").wait().contains("ENDED 0"));
        world.publish("v2", |tree| {
            write_files(tree);
            fs::write(tree.join("usr/etc/new"), "etc of v2\n").unwrap();
        });
        // Where the new system comes up, the next upgrade is to this one.
        let next = world.place.join("v3");
        fs::rename(world.place.join("v2"), &next).unwrap();
        fs::write(next.join("usr/lib/os-version"), "v3").unwrap();
        commit(&world.repo, "test/next", &next);
        let fresh = world.place.join("fresh.img");
        copy_image(&world.disk.image, &fresh);
        let lengths = measure(&world.disk);
        println!("undisturbed, the phases take {lengths:?}");
        let effort = Effort::from_env();
        let (next, last) = (AtomicUsize::new(effort.first), effort.first + 3 * effort.cuts);
        let (seen, done) = (Mutex::default(), Mutex::new(Vec::new()));
        let workers = available_parallelism().map_or(1, usize::from);
        let started = Instant::now();
        std::thread::scope(|scope| {
            for worker in 0..workers {
                let (world, fresh, lengths, effort) = (&world, &fresh, &lengths, &effort);
                let (next, seen, done) = (&next, &seen, &done);
                scope.spawn(move || {
                    let dir = world.place.join(&format!("worker-{worker}"));
                    fs::create_dir(&dir).unwrap();
                    let cutter = Cutter { dir, fresh, lengths, seen };
                    while !effort.is_enough(&done.lock().unwrap()) {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= last {
                            break;
                        }
                        let aim = rarest(&done.lock().unwrap());
                        let cuts = cutter.round(number, aim, effort.cuts_each);
                        done.lock().unwrap().extend(cuts);
                    }
                });
            }
        });
        let done: Vec<Cut> = done.into_inner().unwrap();
        let up = |version| done.iter().filter(|cut| cut.came_up == version).count();
        for (phase, (name, _)) in PHASES.iter().enumerate() {
            println!("{} cuts in {name}", hits(&done, phase));
        }
        println!(
            "{} power cuts by kills from number {} to {}, which left {} different disks, in {} s: {} times the old system \
             came up, {} times the new one; {} writes were uncertain, of which {} were lost",
            done.len(), effort.first, next.into_inner(), seen.into_inner().unwrap().len(), started.elapsed().as_secs(),
            up("v1"), up("v2"),
            done.iter().map(|cut| cut.uncertain).sum::<usize>(),
            done.iter().map(|cut| cut.lost).sum::<usize>(),
        );
        assert!(effort.is_enough(&done), "the kills came too late, or too early");
        assert!(up("v1") > 0 && up("v2") > 0);
        assert!(done.iter().any(|cut| cut.lost > 0), "no write was ever lost");
    }
}
