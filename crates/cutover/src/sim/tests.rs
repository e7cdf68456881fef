//! 256 seeds, each twice.

use super::simulate;

#[test]
fn no_seed_breaks_an_invariant_and_every_seed_replays_exactly() {
    let (mut completed, mut aborted, mut crashes) = (0, 0, 0);
    for seed in 0..256 {
        let report = simulate(seed);
        assert_eq!(report.violations, Vec::<String>::new(), "seed {seed}");
        assert_eq!(report, simulate(seed), "seed {seed} must replay");
        completed += report.completed;
        aborted += report.aborted;
        crashes += report.crashes;
    }
    // a simulation in which nothing happens proves nothing
    assert!(completed > 1000, "{completed} transfers completed");
    assert!(aborted > 500, "{aborted} transfers were aborted");
    assert!(crashes > 2000, "{crashes} crashes");
}

#[test]
fn different_seeds_take_different_paths() {
    assert_ne!(simulate(1).log_hash, simulate(2).log_hash);
}
