//! The power is cut in the middle of an upgrade: afterwards the old system boots or the new one, and the next
//! upgrade completes.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::support::chance::Chance;
use crate::vm::Disk;
use crate::{World, machine_test};

/// The phases, as the machine says them.
const PHASES: [&str; 2] = ["PHASE pull", "PHASE deploy"];

/// How often the power is cut; more in a long run.
fn rounds() -> usize {
    match std::env::var("TREEFERRY_POWER_CUTS") {
        Ok(text) => text.parse().expect("TREEFERRY_POWER_CUTS is a number"),
        Err(_) => 20,
    }
}

/// Measures how long each phase takes, undisturbed, on a copy of the disk.
fn measure(disk: &Disk) -> Vec<Duration> {
    let mut machine = disk.boot("do=steps");
    let mut times = Vec::new();
    for phase in PHASES.iter().chain(&["PHASE after"]) {
        assert!(machine.wait_for(phase), "{phase}: {}", machine.said());
        times.push(Instant::now());
    }
    machine.cut();
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

machine_test! {
    fn the_power_is_cut_in_every_phase_of_an_upgrade() {
        let world = World::new();
        world.publish("v2", |_| {});
        let fresh = world.place.join("fresh.img");
        fs::copy(&world.disk.image, &fresh).unwrap();
        let lengths = measure(&world.disk);
        let mut chance = Chance::new(20);
        let mut hit = [0; PHASES.len() + 1];
        let (mut old, mut new) = (0, 0);
        for round in 0..rounds() {
            fs::copy(&fresh, &world.disk.image).unwrap();
            let aim = round % PHASES.len();
            let mut machine = world.disk.boot("do=steps");
            assert!(machine.wait_for(PHASES[aim]), "{}", machine.said());
            sleep(lengths[aim].mul_f64(chance.among(0..1000) as f64 / 1000.0));
            let said = machine.cut();
            hit[PHASES.iter().rposition(|phase| said.contains(phase)).unwrap()
                + usize::from(said.contains("PHASE after"))] += 1;
            let said = world.disk.boot("do=upgrade").wait();
            match (said.contains("BOOTED v1"), said.contains("BOOTED v2")) {
                (true, false) => old += 1,
                (false, true) => new += 1,
                _ => panic!("round {round}: neither the old system nor the new one: {said}"),
            }
            assert!(said.contains("ENDED 0"), "round {round}: {said}");
            let said = world.disk.boot("do=look").wait();
            assert!(said.contains("BOOTED v2"), "round {round}: {said}");
        }
        println!(
            "{} power cuts: {} in the pull, {} in the deployment, {} after it; {old} times the old \
             system came up, {new} times the new one",
            rounds(), hit[0], hit[1], hit[2]
        );
        let least = rounds() / 4;
        assert!(hit[0] >= least && hit[1] >= least, "{hit:?}");
    }
}
