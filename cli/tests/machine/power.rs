//! The power is cut in the middle of an upgrade: afterwards the old system boots or the new one, and the next
//! upgrade completes.
//!
//! The disk has a write cache that a cut empties: see [`write_log`](crate::write_log).

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread::{available_parallelism, sleep};
use std::time::{Duration, Instant};

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

/// How often the power is cut; more in a long run.
fn rounds() -> usize {
    match std::env::var("TREEFERRY_POWER_CUTS") {
        Ok(text) => text.parse().expect("TREEFERRY_POWER_CUTS is a number"),
        Err(_) => EACH_MIN * PHASES.len(),
    }
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
        assert!(machine.wait_for(words), "{words}: {}", machine.said());
        times.push(Instant::now());
    }
    assert!(machine.wait().contains("ENDED 0"));
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

/// What a round came to.
struct Round {
    phase: usize,
    came_up: &'static str,
    uncertain: usize,
    lost: usize,
}

/// One that cuts, with a disk of its own.
struct Cutter<'a> {
    dir: PathBuf,
    fresh: &'a Path,
    lengths: &'a [Duration],
}

impl Cutter<'_> {
    /// Cuts the power in the phase `aim` or about there; `None` when it was too late or too early.
    fn round(&self, number: usize, aim: usize) -> Option<Round> {
        let mut chance = Chance::new(number as u64);
        let disk = Disk::at(&self.dir, "disk.img");
        copy_image(self.fresh, &disk.image);
        let (log, before) = (self.dir.join("writes.log"), self.dir.join("before.img"));
        let mut machine = disk.boot_logged("do=steps", &log, &before);
        assert!(machine.wait_for(PHASES[aim].1), "{}", machine.said());
        let part = chance.among(0..1000) as f64 / 1000.0;
        sleep(self.lengths[aim].mul_f64(part).min(LATE));
        let said = machine.cut();
        let phase = phase_of(&said)?;
        let unflushed = [Unflushed::None, Unflushed::Some, Unflushed::Torn][number % 3];
        fs::rename(&before, &disk.image).unwrap();
        let (certain, uncertain, lost) =
            WriteLog::read(&log).replay(&disk.image, unflushed, &mut chance);
        let told = self.after(&disk, phase);
        println!(
            "cut {number}: in {}, after {certain} writes that were certain and {uncertain} that were not, \
             of which {lost} are lost ({unflushed:?}): {}",
            PHASES[phase].0,
            told.replace('\n', "; ")
        );
        let came_up = if told.starts_with("v1") { "v1" } else { "v2" };
        Some(Round {
            phase,
            came_up,
            uncertain,
            lost,
        })
    }

    /// Boots what the cut has left, upgrades it, and boots the result. Returns what came up, and what it told.
    fn after(&self, disk: &Disk, phase: usize) -> String {
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
        // What was written down before the merge began is continued or told, never dropped.
        if version == "v1" && phase >= 2 {
            let known = ["is staged again", "is the default again"];
            assert!(known.iter().any(|words| told.contains(words)), "{said}");
        }
        disk.look(|root| {
            treeferry(&root.join("ostree/repo"), ["fsck", "--quiet"]).success();
        });
        // The next upgrade was to v2, or from there to v3.
        let upgraded = match version {
            "v1" => "BOOTED v2",
            _ => "BOOTED v3",
        };
        let said = disk.boot("do=look").wait();
        for words in [upgraded, "etc is kept", "etc of v2", "ENDED 0"] {
            assert!(said.contains(words), "{words}: {said}");
        }
        format!("{version} came up\n{told}")
    }
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
        let todo: VecDeque<_> = (0..rounds()).map(|number| (number, number % PHASES.len())).collect();
        let (todo, done) = (Mutex::new(todo), Mutex::new(Vec::new()));
        let most = rounds() * 2;
        let workers = available_parallelism().map_or(1, usize::from);
        let started = Instant::now();
        std::thread::scope(|scope| {
            for worker in 0..workers {
                let (world, fresh, lengths, todo, done) = (&world, &fresh, &lengths, &todo, &done);
                scope.spawn(move || {
                    let dir = world.place.join(&format!("worker-{worker}"));
                    fs::create_dir(&dir).unwrap();
                    let cutter = Cutter { dir, fresh, lengths };
                    let next = || todo.lock().unwrap().pop_front();
                    while let Some((number, aim)) = next() {
                        let round = cutter.round(number, aim);
                        // A phase that was missed is tried again, with other numbers.
                        if round.as_ref().is_none_or(|round| round.phase != aim) && number < most {
                            todo.lock().unwrap().push_back((number + rounds(), aim));
                        }
                        done.lock().unwrap().extend(round);
                    }
                });
            }
        });
        let done: Vec<Round> = done.into_inner().unwrap();
        let hits = |phase| done.iter().filter(|round| round.phase == phase).count();
        let up = |version| done.iter().filter(|round| round.came_up == version).count();
        for (phase, (name, _)) in PHASES.iter().enumerate() {
            println!("{} cuts in {name}", hits(phase));
        }
        println!(
            "{} power cuts in {} s: {} times the old system came up, {} times the new one; {} writes were uncertain, \
             of which {} were lost",
            done.len(), started.elapsed().as_secs(), up("v1"), up("v2"),
            done.iter().map(|round| round.uncertain).sum::<usize>(),
            done.iter().map(|round| round.lost).sum::<usize>(),
        );
        assert!(done.len() >= rounds() && (0..PHASES.len()).all(|phase| hits(phase) >= EACH_MIN));
        assert!(up("v1") > 0 && up("v2") > 0);
        assert!(done.iter().any(|round| round.lost > 0), "no write was ever lost");
    }
}
