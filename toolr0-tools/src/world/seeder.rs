//! The state that a seed gives: tables of rows, filled from short lists of names.

use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::state::{Row, State};

pub(super) const CITIES: [&str; 16] = [
    "Oslo", "Rome", "Lisbon", "Berlin", "Madrid", "Vienna", "Dublin", "Athens", "Prague", "Zurich", "Boston",
    "Denver", "Tokyo", "Sydney", "Cairo", "Lima",
];
pub(super) const PEOPLE: [&str; 16] = [
    "Maria", "Lena", "Omar", "Ivan", "Sofia", "Kenji", "Aisha", "Pablo", "Nora", "Hugo", "Priya", "Tomas",
    "Elif", "Jonas", "Carla", "Wei",
];

/// Fills a state. Each world draws from a stream of its own, so that it looks the same whatever stands beside it.
pub(super) struct Seeder<'a> {
    state: &'a mut State,
    rng: ChaCha8Rng,
}

impl<'a> Seeder<'a> {
    pub(super) fn new(state: &'a mut State, world: &str, seed: u64) -> Self {
        let digest = Sha256::digest(format!("{world}/{seed}"));
        Self { state, rng: ChaCha8Rng::from_seed(digest.into()) }
    }

    /// `n` rows with keys of their own, such as `F107`.
    pub(super) fn table(
        &mut self,
        table: &'static str,
        prefix: &str,
        n: usize,
        row: impl Fn(&mut Self) -> Row,
    ) {
        for i in 0..n {
            let id = format!("{prefix}{}", 100 + 9 * i + self.rng.random_range(0..9));
            let row = row(self);
            self.put(table, &id, row);
        }
    }

    /// One row for each name, which is its key.
    pub(super) fn named(
        &mut self,
        table: &'static str,
        names: &[&str],
        row: impl Fn(&mut Self, &str) -> Row,
    ) {
        for name in names {
            let row = row(self, name);
            self.put(table, name, row);
        }
    }

    fn put(&mut self, table: &'static str, id: &str, mut row: Row) {
        row.shift_insert(0, "id".into(), id.into());
        self.state.put(table, id.into(), row);
    }

    pub(super) fn pick<'b>(&mut self, from: &[&'b str]) -> &'b str {
        from.choose(&mut self.rng).copied().unwrap_or_default()
    }

    pub(super) fn city(&mut self) -> &'static str {
        self.pick(&CITIES)
    }

    /// Two different cities.
    pub(super) fn route(&mut self) -> (&'static str, &'static str) {
        let n = CITIES.len() as i64;
        let (from, on) = (self.int(0..=n - 1), self.int(1..=n - 1));
        (CITIES[from as usize], CITIES[((from + on) % n) as usize])
    }

    pub(super) fn person(&mut self) -> &'static str {
        self.pick(&PEOPLE)
    }

    pub(super) fn int(&mut self, range: std::ops::RangeInclusive<i64>) -> i64 {
        self.rng.random_range(range)
    }

    /// A day of one of two weeks.
    pub(super) fn date(&mut self) -> String {
        format!("2026-03-{:02}", self.int(2..=15))
    }

    /// A half hour between 8:00 and 18:00.
    pub(super) fn time(&mut self) -> String {
        let half = self.int(16..=35);
        format!("{:02}:{:02}", half / 2, half % 2 * 30)
    }

    /// The key of some row of a table that was filled before.
    pub(super) fn id_of(&mut self, table: &'static str) -> Value {
        let ids: Vec<&str> =
            self.state.table(table).into_iter().flat_map(|t| t.keys().map(AsRef::as_ref)).collect();
        Value::from(ids.choose(&mut self.rng).copied().unwrap_or_default())
    }
}
