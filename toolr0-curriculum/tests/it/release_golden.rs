//! `golden/curriculum.jsonl`: what the public release computes, by `kind`. `golden/fingerprints.jsonl`: 30 of the
//! accepted lines of `generator.jsonl` under 3,000 characters, drawn with seed 13, the fields that matter here.
//! Both were made by running the release; nothing is edited to fit the code.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use toolr0_curriculum::release::{self, Fingerprints, repetition::Repetition};
use toolr0_curriculum::{
    Attempts, Difficulty, Domain, Frontier, Shape, difficulty_targets, domain_quotas, quality,
};
use toolr0_tools::{Task, ToolCall, ToolSpec};

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Case {
    Bandpass {
        successes: u32,
        k: u32,
        p_low: f64,
        p_high: f64,
        sigma: f64,
        reward: f64,
    },
    Repetition {
        questions: Vec<Option<String>>,
        lambda_rep: f64,
        tau: f64,
        ngram: usize,
        penalties: Vec<f64>,
    },
    Consistency {
        calls: Vec<Option<ToolCall>>,
        gold: ToolCall,
        consistency: f64,
        p_success: f64,
    },
    JudgeScore {
        text: String,
        score: Option<u8>,
    },
    DifficultyToken {
        text: String,
        level: Difficulty,
        fallback: bool,
    },
    DifficultyTargets {
        n: usize,
        mix: BTreeMap<String, f64>,
        targets: BTreeMap<String, usize>,
    },
    DomainQuotas {
        available: Map<String, Value>,
        n_final: usize,
        weights: Map<String, Value>,
        quotas: BTreeMap<String, usize>,
    },
    VerifyParse {
        text: String,
        block: Option<String>,
        calls: Option<Value>,
        exact: Option<String>,
        names: Option<String>,
    },
}

fn lines<T: DeserializeOwned>(text: &str) -> Vec<T> {
    let read = |(i, line)| serde_json::from_str(line).unwrap_or_else(|err| panic!("line {i}: {err}"));
    (1..).zip(text.lines()).map(read).collect()
}

#[track_caller]
fn assert_close(got: f64, want: f64, what: &str) {
    assert!((got - want).abs() <= 1e-9, "{what}: got {got}, expected {want}");
}

#[track_caller]
fn check(line: usize, case: Case) -> &'static str {
    match case {
        Case::Bandpass { successes, k, p_low, p_high, sigma, reward } => {
            let frontier = Frontier::new(p_low, p_high, sigma, Shape::Gaussian).unwrap();
            let got = frontier.score(Attempts::new(successes, k).unwrap()).unwrap();
            assert_close(got, reward, &format!("line {line}"));
            "bandpass"
        }
        Case::Repetition { questions, lambda_rep, tau, ngram, penalties } => {
            let settings = Repetition { weight: lambda_rep, distance: tau, n: ngram };
            let questions: Vec<_> = questions.iter().map(Option::as_deref).collect();
            let got = release::repetition_penalties(&questions, &settings);
            assert_eq!(got.len(), penalties.len(), "line {line}");
            got.iter()
                .zip(&penalties)
                .for_each(|(got, want)| assert_close(*got, *want, &format!("line {line}")));
            "repetition"
        }
        Case::Consistency { calls, gold, consistency, p_success } => {
            assert_close(release::consistency(&calls), consistency, &format!("line {line}"));
            assert_close(release::success_rate(&calls, &gold), p_success, &format!("line {line}"));
            "consistency"
        }
        Case::JudgeScore { text, score } => {
            assert_eq!(release::judge_score(&text), score, "line {line}: {text:?}");
            "judge_score"
        }
        Case::DifficultyToken { text, level, fallback } => {
            let word = release::difficulty_word(&text);
            assert_eq!(word.is_none(), fallback, "line {line}: {text:?}");
            assert_eq!(word.unwrap_or(Difficulty::Medium), level, "line {line}: {text:?}");
            "difficulty_token"
        }
        Case::DifficultyTargets { n, mix, targets } => {
            let mix = release::mix(mix["easy"], mix["medium"], mix["hard"]);
            assert_eq!(
                difficulty_targets(n, &mix),
                ["easy", "medium", "hard"].map(|d| targets[d]),
                "line {line}"
            );
            "difficulty_targets"
        }
        Case::DomainQuotas { available, n_final, weights, quotas } => {
            // The order of the weights breaks ties; domains without a weight follow.
            let domain = |(name, weight): (&String, f64)| Domain {
                name: name.clone(),
                weight,
                available: available.get(name).map_or(0, |n| n.as_u64().unwrap() as usize),
            };
            let weighted = weights.iter().map(|(name, weight)| (name, weight.as_f64().unwrap()));
            let others = available.keys().filter(|name| !weights.contains_key(*name)).map(|name| (name, 0.0));
            let domains: Vec<Domain> = weighted.chain(others).map(domain).collect();
            let got = domains.iter().zip(domain_quotas(n_final, &domains)).filter(|(_, quota)| *quota > 0);
            let got: BTreeMap<_, _> = got.map(|(domain, quota)| (domain.name.clone(), quota)).collect();
            assert_eq!(got, quotas, "line {line}");
            "domain_quotas"
        }
        Case::VerifyParse { text, block, calls, exact, names } => {
            let answer = release::parse_answer(&text);
            assert_eq!(answer.as_ref().map(|a| &a.block), block.as_ref(), "line {line}");
            let json = answer.and_then(|a| a.json);
            assert_eq!(json, calls, "line {line}");
            assert_eq!(json.as_ref().and_then(release::calls_key), exact, "line {line}");
            assert_eq!(json.as_ref().and_then(release::names_key), names, "line {line}");
            "verify_parse"
        }
    }
}

#[test]
fn every_line_of_the_release_is_reproduced() {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for (line, case) in (1..).zip(lines::<Case>(include_str!("golden/curriculum.jsonl"))) {
        *seen.entry(check(line, case)).or_default() += 1;
    }
    let want = [
        ("bandpass", 62),
        ("consistency", 40),
        ("difficulty_targets", 44),
        ("difficulty_token", 9),
        ("domain_quotas", 40),
        ("judge_score", 16),
        ("repetition", 30),
        ("verify_parse", 8),
    ];
    assert_eq!(seen, BTreeMap::from(want));
}

#[derive(Deserialize)]
struct Accepted {
    completion: String,
    normalized_tools: Vec<ToolSpec>,
    calls: Vec<ToolCall>,
    fingerprints: Fingerprints,
    quality_score: f64,
}

#[track_caller]
fn check_fingerprints(line: usize, case: Accepted) {
    let question =
        case.completion.split("<question>").nth(1).and_then(|rest| rest.split("</question>").next());
    let question = question.unwrap_or_else(|| panic!("line {line} has no question")).trim().to_owned();
    let task = Task { question, tools: case.normalized_tools, gold: case.calls };
    assert_eq!(release::fingerprints(&task), case.fingerprints, "line {line}");
    assert_close(quality(&task), case.quality_score, &format!("line {line}"));
}

#[test]
fn fingerprints_and_quality_are_the_releases() {
    let cases = lines::<Accepted>(include_str!("golden/fingerprints.jsonl"));
    assert_eq!(cases.len(), 30);
    (1..).zip(cases).for_each(|(line, case)| check_fingerprints(line, case));
}

#[test]
fn the_full_golden_set_agrees_where_it_is_present() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/golden");
    let (Ok(generator), Ok(curriculum)) = (
        std::fs::read_to_string(golden.join("generator.jsonl")),
        std::fs::read_to_string(golden.join("curriculum.jsonl")),
    ) else {
        eprintln!("skipped: {} is not here", golden.display());
        return;
    };
    let mut n_accepted = 0;
    for (line, case) in (1..).zip(lines::<Value>(&generator)) {
        if case["verify"] == "ok" {
            check_fingerprints(line, serde_json::from_value(case).unwrap());
            n_accepted += 1;
        }
    }
    assert!(n_accepted > 100, "only {n_accepted} accepted lines");
    for (line, case) in (1..).zip(lines::<Case>(&curriculum)) {
        check(line, case);
    }
}
