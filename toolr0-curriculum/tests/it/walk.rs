//! From raw candidates to a curriculum, every drop counted.

use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use serde_json::{Map, json};
use toolr0_curriculum::pool::AGREEMENT;
use toolr0_curriculum::{
    Agree, Attempts, Bands, Candidate, Difficulty, Drops, Funnel, Pool, SelectConfig, SpecLaw, dedup,
    draw_specs, select, verify,
};
use toolr0_tools::{Task, ToolCall, ToolSpec};

/// 400 specs; the task of each is one of 250 questions but for a number of three digits, solved `i % 9` times of 8, every 40th never measured.
fn raw() -> Vec<Candidate> {
    let specs = draw_specs(&SpecLaw::paper(), 400, &mut ChaCha8Rng::seed_from_u64(1));
    let candidate = |(i, spec): (usize, _)| {
        let letters: String =
            format!("{:03}", i % 250).bytes().map(|b| char::from(b - b'0' + b'a')).collect();
        let question = format!("Send parcel {letters} to room {}", 100 + i);
        let props: Map<_, _> = [("room".to_owned(), json!({"type": "integer"}))].into_iter().collect();
        let arguments = [("room".to_owned(), json!(100 + i))].into_iter().collect();
        let tools = vec![ToolSpec::new("send_parcel", "Sends a parcel.", props, &["room"])];
        let task = Task { question, tools, gold: vec![ToolCall::new("send_parcel", arguments)] };
        let attempts =
            if i % 40 == 0 { Attempts::default() } else { Attempts::new(i as u32 % 9, 8).unwrap() };
        Candidate { attempts, ..Candidate::new(task, spec) }
    };
    specs.into_iter().enumerate().map(candidate).collect()
}

fn curriculum(seed: u64) -> (Pool, Vec<Candidate>) {
    let mut structure = Drops::default();
    structure.add_many("no <question>", 100);
    let mut funnel = Funnel::default();
    funnel.record("structure", 500, structure);
    let mut pool = Pool::new(raw(), funnel);
    pool.step("dedup", dedup);
    pool.step("cross-verify", |all| verify(all, AGREEMENT, Agree::Answer));
    let config = SelectConfig { n_tasks: 100, ..Default::default() };
    pool.step("select", |all| {
        let selection = select(all, &config, &mut ChaCha8Rng::seed_from_u64(seed)).unwrap();
        (selection.tasks, selection.drops)
    });
    let tasks = pool.candidates.clone();
    (pool, tasks)
}

#[test]
fn every_drop_is_counted_and_the_order_is_easy_to_hard() {
    let (pool, tasks) = curriculum(3);
    assert_eq!(tasks.len(), 100);
    let stages = pool.funnel.stages();
    assert_eq!(
        stages.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(),
        ["structure", "dedup", "cross-verify", "select"]
    );
    for pair in stages.windows(2) {
        assert_eq!(pair[0].kept(), pair[1].entered, "between {} and {}", pair[0].name, pair[1].name);
    }
    assert_eq!(stages[1].drops.of("duplicate"), 150, "questions that differ only in the room number");
    assert!(stages[2].drops.of("unmeasured") > 0 && stages[2].drops.of("solver disagrees") > 0);
    assert!(stages.iter().all(|s| s.drops.of("no reason given") == 0));

    assert!(tasks.is_sorted_by(|a, b| a.attempts.rate() >= b.attempts.rate()));
    let n_of = |d| tasks.iter().filter(|c| c.difficulty(&Bands::default()) == Some(d)).count();
    assert_eq!(Difficulty::ALL.map(n_of), [20, 50, 30]);

    let table = pool.funnel.to_string();
    assert!(table.contains("dedup         400   250      150  150 duplicate\n"), "{table}");
}

#[test]
fn the_same_seed_gives_the_same_curriculum() {
    let ids = |seed| curriculum(seed).1.iter().map(|c| c.task.id()).collect::<Vec<_>>();
    assert_eq!(ids(5), ids(5));
    assert_ne!(ids(5), ids(6));
}
