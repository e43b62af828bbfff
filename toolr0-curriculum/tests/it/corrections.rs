//! Where the release is wrong, and what we do instead: one test for each fault that this crate corrects. The numbers
//! in the names are those of the list of faults in the specification of the method.

use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng};
use serde_json::{Map, json};
use toolr0_curriculum::release::{calls_key, difficulty_word, names_key};
use toolr0_curriculum::{
    Agree, Attempts, Bands, Candidate, Difficulty, SelectConfig, SpecLaw, draw_specs, select, verify,
};
use toolr0_tools::{Context, Task, TaskSpec, ToolCall, ToolSpec};

fn candidate(domain: &str, i: u32, solved: u32) -> Candidate {
    let properties: Map<_, _> = [("room".to_owned(), json!({"type": "integer"}))].into_iter().collect();
    let task = Task {
        question: format!("Send parcel {i} to room {}", 100 + i),
        tools: vec![ToolSpec::new("send_parcel", "Sends a parcel.", properties, &["room"])],
        gold: vec![ToolCall::new("send_parcel", [("room".to_owned(), json!(100 + i))].into_iter().collect())],
    };
    let spec = TaskSpec { domain: domain.into(), context: Context::SingleTurn, n_tools: 1, n_calls: 1 };
    Candidate { attempts: Attempts::new(solved, 8).unwrap(), ..Candidate::new(task, spec) }
}

#[test]
fn fault_08_agreement_is_measured_on_whole_calls_of_several_samples() {
    // To the release, wrong arguments agree: it compares the names alone.
    let gold = json!([{"name": "send_parcel", "arguments": {"room": 101}}]);
    let wrong = json!([{"name": "send_parcel", "arguments": {"room": 999}}]);
    assert_eq!(names_key(&gold), names_key(&wrong));
    assert_ne!(calls_key(&gold), calls_key(&wrong));
    // Here a task that no sample solved with its whole calls goes, whatever names they wrote.
    let (kept, drops) =
        verify(vec![candidate("travel", 1, 0), candidate("travel", 2, 2)], 0.2, Agree::default());
    assert_eq!((kept.len(), drops.of("solver disagrees")), (1, 1));
}

#[test]
fn fault_09_difficulty_is_measured_and_not_asked_for() {
    // One word of a model, wherever it stands.
    assert_eq!(difficulty_word("This is not an easy one."), Some(Difficulty::Easy));
    let of = |solved| candidate("travel", 1, solved).difficulty(&Bands::default());
    assert_eq!([of(8), of(5), of(1)], [Difficulty::Easy, Difficulty::Medium, Difficulty::Hard].map(Some));
}

#[test]
fn fault_10_the_order_is_easy_to_hard_over_all_domains() {
    // The release writes domain after domain, and its trainer shuffles that.
    let domains = ["banking", "travel", "sports"];
    let all: Vec<Candidate> = (0..27).map(|i| candidate(domains[i as usize / 9], i, 8 - i % 9)).collect();
    let by_domain: Vec<f64> = all.iter().map(|c| c.attempts.rate().unwrap()).collect();
    assert!(!by_domain.is_sorted_by(|a, b| a >= b));
    let config = SelectConfig { n_tasks: 27, ..SelectConfig::default() };
    let chosen = select(all, &config, &mut ChaCha8Rng::seed_from_u64(1)).unwrap().tasks;
    assert!(chosen.is_sorted_by(|a, b| a.attempts.rate() >= b.attempts.rate()));
    let changes = chosen.windows(2).filter(|w| w[0].spec.domain != w[1].spec.domain).count();
    assert!(changes > 5, "the domains are mixed, not laid one after the other: {changes}");
}

#[test]
fn fault_18_specs_come_from_the_seed() {
    // The release draws them before it seeds anything, so that no two runs ask for the same.
    let draw = |seed| draw_specs(&SpecLaw::paper(), 50, &mut ChaCha8Rng::seed_from_u64(seed));
    assert_eq!(draw(13), draw(13));
    assert_ne!(draw(13), draw(14));
}
