//! Does the classifier in the kernel do what the host's copy of it says, frame by frame?
//!
//! Every frame is run three times: through the telling twin (all that was decoded and decided must be equal to the
//! host's), through the classifier itself (verdict, description and rewritten bytes), and through the host. The
//! frames are generated from a seed, or come from captures; a third party, tshark, says whether the decoder means by
//! a field what the rest of the world means by it.

mod captures;
mod frames;
mod judge;
mod seed;
mod services;
mod setups;
mod tshark;
mod wire;
mod wrapped;

use judge::Judge;
use seed::Seed;

/// Frames per set of rules: enough to meet each rule, few enough that many sets are met.
const FRAMES_PER_SETUP: usize = 2_000;

/// Frames of the run in CI, and of the one that `WEIR_TEST_LONG=1` asks for.
fn frames_wanted() -> usize {
    if std::env::var_os("WEIR_TEST_LONG").is_some() { 10_000_000 } else { 200_000 }
}

#[test]
fn kernel_and_host_agree_on_generated_frames() {
    let Some(mut judge) = Judge::new("kernel_and_host_agree_on_generated_frames") else { return };
    let mut seed = Seed::new(0x5745_4952);
    let mut met = 0;
    let mut round = 0;
    while met < frames_wanted() {
        let setup = setups::setup(&mut seed, round, judge.services());
        judge.install(setup);
        met += judge.repeat();
        for _ in 0..FRAMES_PER_SETUP {
            let frame = frames::frame(&mut seed);
            judge.judge(&frame);
            met += 1;
        }
        judge.check_counters();
        round += 1;
    }
    let balance = judge.summary();
    println!("{met} frames under {round} set-ups: {balance}");
    judge.assert_all_met();
}

#[test]
fn kernel_and_host_agree_on_captures() {
    const TEST: &str = "kernel_and_host_agree_on_captures";
    let Some(files) = captures::files(TEST) else { return };
    let Some(mut judge) = Judge::new(TEST) else { return };
    let mut seed = Seed::new(7);
    let mut met = 0;
    for round in 0..4 {
        judge.install(setups::setup(&mut seed, round, &[]));
        for file in &files {
            captures::for_each(file, |frame| {
                // A test-run takes no frame without an Ethernet header.
                if frame.bytes.len() >= 14 {
                    judge.judge(&frame.bytes);
                    met += 1;
                }
            });
        }
        judge.check_counters();
    }
    println!("{met} frames of {} captures: {}", files.len(), judge.summary());
}
