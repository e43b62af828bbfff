//! The numbers of a record of `metrics.jsonl`, by name. `docs/src/metrics.md` says what each of them means.

use serde_json::Value;

/// The numbers of a record with their keys, nested ones joined by dots. What is unknown has no number; lists have none.
pub(crate) fn numbers(record: &Value) -> Vec<(String, f64)> {
    let mut all = Vec::new();
    walk(record, String::new(), &mut all);
    all
}

fn walk(value: &Value, name: String, all: &mut Vec<(String, f64)>) {
    match value {
        Value::Number(number) => all.extend(number.as_f64().map(|number| (name, number))),
        Value::Object(inner) => {
            for (key, value) in inner {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                walk(value, name, all);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::json;
    use toolr0_curriculum::{
        Attempts, Calibration, Candidate, CoverageReport, Drops, Funnel, SteeringReport, guard,
    };
    use toolr0_reward::calibration::Trust;
    use toolr0_rl::alarm::{Action, Alarm, AlarmReport};
    use toolr0_rl::exam::ExamReport;
    use toolr0_rl::insight::ErrorReport;
    use toolr0_rl::loss::{ClipStats, LossStats, Mismatch};
    use toolr0_rl::memory::NoveltyReport;
    use toolr0_rl::selfplay::{Answer, DatasetReport, ProbingReport, Record, Sample, StepReport};
    use toolr0_rl::state::Turn;
    use toolr0_rl::trust::{Examined, TrustReport};
    use toolr0_rl::update::UpdateStats;

    use super::*;

    /// Records in which everything is set that can be.
    fn full() -> Vec<Record> {
        let mut drops = Drops::default();
        drops.add("NAME");
        let mut funnel = Funnel::default();
        funnel.record("stage", 1, drops.clone());
        let clip = ClipStats { low: 0.0, high: 0.0, region: 0.0, low_min: 0.0, high_max: 0.0 };
        let some = Some(0.0);
        let stats = LossStats {
            entropy: some,
            kl: some,
            clip: Some(clip),
            delta_share: some,
            cispo_clip: some,
            vespo_phi: some,
            mismatch: Some(Mismatch::default()),
            ..LossStats::default()
        };
        let shares = || BTreeMap::from([("NAME", 0.0)]);
        let novelty = NoveltyReport {
            grounded: some,
            repetition: some,
            coverage: CoverageReport {
                kinds: BTreeMap::from([("NAME".to_owned(), 0.0)]),
                ..CoverageReport::default()
            },
            ..NoveltyReport::default()
        };
        let errors = ErrorReport {
            reached: some,
            causes: shares(),
            domains: BTreeMap::from([("NAME".to_owned(), shares())]),
            kinds: BTreeMap::from([("NAME".to_owned(), shares())]),
            ..ErrorReport::default()
        };
        let steering = SteeringReport {
            progress: some,
            domains: BTreeMap::from([("NAME".to_owned(), 0.0)]),
            ..SteeringReport::default()
        };
        let examined = Some(Examined {
            trust: Trust {
                agreement: some,
                canary: some,
                position_bias: some,
                length_bias: some,
                ..Trust::default()
            },
            trusted: true,
        });
        let step = StepReport {
            novelty: Some(novelty.clone()),
            errors: Some(errors.clone()),
            steering: Some(steering),
            reward_terms: BTreeMap::from([("NAME".to_owned(), 0.0)]),
            success_rate: some,
            p_hat: vec![1],
            probing: Some(ProbingReport {
                forecast: Some(Calibration { auc: some, ..Calibration::default() }),
                ..ProbingReport::default()
            }),
            reused: 1,
            faults: drops.clone(),
            unknown: drops.clone(),
            update: UpdateStats { stats, ..UpdateStats::default() },
            ..StepReport::default()
        };
        let task = json!({"task": {"question": "", "tools": [], "gold": []},
            "spec": {"domain": "", "context": "single_turn", "n_tools": 1, "n_calls": 1}});
        let mut candidate: Candidate = serde_json::from_value(task).unwrap();
        candidate.attempts = Attempts::new(1, 2).unwrap();
        let hit = guard::Hit {
            task: candidate.task.id(),
            question: String::new(),
            item: String::new(),
            rule: guard::Rule::Question,
        };
        let dataset = DatasetReport {
            iteration: 1,
            funnel,
            contaminated: vec![hit],
            unknown: drops,
            tasks: 1,
            success_rate: 0.0,
            p_hat: vec![1],
            domains: BTreeMap::from([("NAME".to_owned(), 1)]),
            abstentions: 0,
            novelty: Some(novelty),
            errors: Some(errors),
            seconds: 0.0,
        };
        let answers = vec![Answer { text: String::new(), solved: true }];
        let exam = ExamReport {
            items: 1,
            solved: 1,
            accuracy: 1.0,
            interval: (0.0, 1.0),
            parse_rate: 1.0,
            errors: Default::default(),
            correct: vec![true],
        };
        let alarm = AlarmReport {
            iteration: 1,
            turn: Turn::Solver,
            step: 1,
            alarm: Alarm::NotFinite,
            value: 0.0,
            threshold: 0.0,
            action: Action::Warn,
            back_to: None,
            rate: 1.0,
        };
        vec![
            Record::Step(Box::new(step)),
            Record::Dataset(Box::new(dataset)),
            Record::Samples { iteration: 1, tasks: vec![Sample { place: 1, candidate, answers }] },
            Record::Exam { iteration: 1, report: exam },
            Record::Alarm(alarm),
            Record::Trust {
                iteration: 1,
                report: TrustReport { judge: examined.clone(), teacher: examined },
            },
        ]
    }

    /// Every key, with the record's name in front; what is inside lists of a record is described where the list is.
    fn keys(record: &Value, name: &str, all: &mut BTreeSet<String>) {
        for (key, value) in record.as_object().into_iter().flatten().filter(|(key, _)| *key != "record") {
            let here = format!("{name}.{key}");
            match value {
                Value::Object(_) => keys(value, &here, all),
                _ => _ = all.insert(here),
            }
        }
    }

    /// The names in the first column of the tables of the documentation.
    fn documented() -> BTreeSet<String> {
        let text = include_str!("../../docs/src/metrics.md");
        let name = |line: &str| line.strip_prefix("| `")?.split('`').next().map(str::to_owned);
        text.lines().filter_map(name).collect()
    }

    #[test]
    fn every_name_of_the_log_is_documented_and_no_other() {
        let mut real = BTreeSet::new();
        for record in full() {
            let line = serde_json::to_value(&record).unwrap();
            keys(&line, line["record"].as_str().unwrap(), &mut real);
        }
        let documented = documented();
        let missing: Vec<_> = real.difference(&documented).collect();
        let stale: Vec<_> = documented.difference(&real).collect();
        assert!(missing.is_empty() && stale.is_empty(), "missing: {missing:#?}\nstale: {stale:#?}");
    }

    #[test]
    fn numbers_have_dotted_names() {
        let record =
            json!({"record": "step", "a": 1, "b": {"c": 0.5, "d": null, "e": {"f": -2}}, "g": [1, 2]});
        let want = [("a", 1.0), ("b.c", 0.5), ("b.e.f", -2.0)].map(|(k, v)| (k.to_owned(), v));
        assert_eq!(numbers(&record), want);
    }
}
