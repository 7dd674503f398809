//! The simulated fleet keeps its promises: valid streams, the same for the same seed and times, bounded, as busy as asked,
//! and with everything in it that a demo of Weir has to show.

use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use weir::simulation::{Fleet, FleetConfig, HELD_MAX};
use weir_schemas::event::{EventType, TestEvent};
use weir_schemas::limits::Limits;
use weir_schemas::outcome::Outcome;

const START_MS: u64 = 1_790_000_000_000;

fn events(seed: u64, config: FleetConfig, minutes: u64, step_ms: u64) -> Vec<TestEvent<'static>> {
    let mut fleet = Fleet::new(seed, config);
    (0..=minutes * 60_000 / step_ms).flat_map(|step| fleet.advance(START_MS + step * step_ms)).collect()
}

fn quick() -> ProptestConfig {
    ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(quick())]

    #[test]
    fn streams_are_gapless_and_events_valid(seed: u64, rate in 20u32..500, steps in prop::collection::vec(1u64..6_000, 120)) {
        let mut fleet = Fleet::new(seed, FleetConfig { rate, ..FleetConfig::default() });
        let mut streams: HashMap<String, BTreeMap<u64, TestEvent<'static>>> = HashMap::new();
        let mut now_ms = START_MS;
        for step in steps {
            now_ms += step;
            for event in fleet.advance(now_ms) {
                prop_assert_eq!(event.check(&Limits::default()), Ok(()));
                prop_assert!(event.timestamp.0 <= now_ms, "an event from the future");
                let stream = streams.entry(event.stream_id.to_string()).or_default();
                if let Some(before) = stream.insert(event.version, event.clone()) {
                    prop_assert_eq!(before, event, "a version that says two things");
                }
            }
        }
        // What is held back comes within two minutes; what is held back meanwhile may miss.
        for second in 0..=120 {
            for event in fleet.advance(now_ms + second * 1_000) {
                if let Some(stream) = streams.get_mut(&*event.stream_id) {
                    stream.insert(event.version, event);
                }
            }
        }
        let mut late = 0;
        for (stream, events) in &streams {
            let last = *events.keys().next_back().expect("not empty");
            let missing = usize::try_from(last).expect("small") - events.len();
            late += missing;
            prop_assert!(missing <= 2, "{}: {} of {} versions are missing", stream, missing, last);
        }
        prop_assert!(late <= 2 + rate as usize / 50, "{late} missing versions in {} streams", streams.len());
    }

    #[test]
    fn the_same_seed_gives_the_same_events_however_it_is_asked(seed: u64, steps in prop::collection::vec(1u64..2_000, 60)) {
        let config = FleetConfig { batch_events_max: usize::MAX, ..FleetConfig::default() };
        let (mut one, mut other) = (Fleet::new(seed, config.clone()), Fleet::new(seed, config));
        let (mut by_steps, mut by_seconds) = (one.advance(START_MS), other.advance(START_MS));
        let mut now_ms = START_MS;
        for step in steps {
            now_ms += step;
            by_steps.extend(one.advance(now_ms));
        }
        for at in (START_MS..now_ms).step_by(1_000) {
            by_seconds.extend(other.advance(at));
        }
        by_seconds.extend(other.advance(now_ms));
        prop_assert_eq!(by_steps, by_seconds);
    }

    #[test]
    fn another_seed_or_another_moment_gives_other_runs(seed: u64) {
        let runs = |seed, start_ms| {
            let mut fleet = Fleet::new(seed, FleetConfig::default());
            let mut runs = BTreeSet::new();
            for second in 0..20 {
                runs.extend(fleet.advance(start_ms + second * 1_000).iter().map(|event| event.run().to_owned()));
            }
            runs
        };
        let first = runs(seed, START_MS);
        prop_assert!(!first.is_empty());
        prop_assert!(first.is_disjoint(&runs(seed ^ 1, START_MS)));
        prop_assert!(first.is_disjoint(&runs(seed, START_MS + 1)), "a restarted demo repeats its runs");
    }
}

#[test]
fn state_is_bounded_over_a_day() {
    let mut fleet = Fleet::new(7, FleetConfig { rate: 10, ..FleetConfig::default() });
    let (mut most, mut sent) = (0, 0);
    for second in 0..86_400 {
        sent += fleet.advance(START_MS + second * 1_000).len();
        most = most.max(fleet.state_items());
        assert!(fleet.runs_open() <= 40, "{} runs at second {second}", fleet.runs_open());
    }
    assert!(sent > 500_000, "{sent} events in a day at 10 a second");
    assert!(most < 400 + HELD_MAX, "{most} things in state");
}

#[test]
fn a_call_is_bounded_and_a_pause_is_not_made_up_for() {
    let config = FleetConfig { rate: 5_000, batch_events_max: 1_000, ..FleetConfig::default() };
    let mut fleet = Fleet::new(1, config);
    let mut now_ms = START_MS;
    for _ in 0..600 {
        now_ms += 100;
        assert!(fleet.advance(now_ms).len() < 1_010);
    }
    let after_an_hour: usize = (0..100).map(|ms| fleet.advance(now_ms + 3_600_000 + ms).len()).sum();
    assert!((2_000..30_000).contains(&after_an_hour), "{after_an_hour} events after a pause");
}

#[test]
fn the_fleet_is_as_busy_as_asked() {
    for (rate, seconds) in [(20, 900), (200, 600), (2_000, 120), (50_000, 20)] {
        let config = FleetConfig { rate, batch_events_max: usize::MAX, ..FleetConfig::default() };
        let mut fleet = Fleet::new(3, config);
        let mut sent = 0;
        for tick in 0..(60 + seconds) * 10 {
            let events = fleet.advance(START_MS + tick * 100).len();
            sent += if tick >= 600 { events } else { 0 };
        }
        let measured = sent as f64 / seconds as f64;
        println!("asked for {rate} events/s, got {measured:.1}");
        assert!((measured / f64::from(rate) - 1.0).abs() < 0.2, "asked for {rate} events/s, got {measured:.1}");
        assert!((20..=40).contains(&fleet.runs_open()), "{} runs at {rate} events/s", fleet.runs_open());
    }
}

/// What an hour of the fleet had in it.
#[derive(Default)]
struct Census {
    seen: BTreeSet<String>,
    kinds: BTreeMap<EventType, usize>,
    outcomes: BTreeMap<Outcome, usize>,
    /// Outcomes of each test of each run, in order.
    tests: HashMap<(String, String), Vec<Outcome>>,
    /// Results and errors of each stream.
    streams: HashMap<String, (usize, usize)>,
    open_suites: HashMap<String, BTreeSet<String>>,
    last_seen_ms: HashMap<String, u64>,
    messages: BTreeSet<String>,
    newest_ms: u64,
    again: usize,
    late: usize,
}

impl Census {
    fn take(&mut self, event: &TestEvent<'static>) {
        if !self.seen.insert(event.event_id.to_string()) {
            self.again += 1;
            return;
        }
        self.late += usize::from(event.timestamp.0 + 10_000 < self.newest_ms);
        self.newest_ms = self.newest_ms.max(event.timestamp.0);
        *self.kinds.entry(event.event_type).or_default() += 1;
        let stream = event.stream_id.to_string();
        self.last_seen_ms.insert(stream.clone(), event.timestamp.0);
        if let Some(suite) = event.suite() {
            let open = self.open_suites.entry(stream.clone()).or_default();
            match event.event_type {
                EventType::TestSuiteStarted => _ = open.insert(suite.to_owned()),
                EventType::TestSuiteCompleted => _ = open.remove(suite),
                _ => {}
            }
        }
        if let (Some(outcome), Some(test)) = (event.outcome(), &event.data.test_id) {
            *self.outcomes.entry(outcome).or_default() += 1;
            self.tests.entry((event.run().to_owned(), test.to_string())).or_default().push(outcome);
            let (results, errors) = self.streams.entry(stream).or_default();
            *results += 1;
            *errors += usize::from(outcome == Outcome::Error);
            self.messages.extend(event.data.error.as_ref().map(|error| error.message.to_string()));
        }
    }
}

#[test]
fn an_hour_has_everything_that_a_demo_shows() {
    let mut census = Census::default();
    for event in events(11, FleetConfig::default(), 60, 1_000) {
        census.take(&event);
    }
    let Census { kinds, outcomes, streams, again, late, .. } = &census;
    let flaky = census.tests.values().filter(|all| all.windows(2).any(|w| w[0].fails() && !w[1].fails())).count();
    let broken = streams.values().filter(|(all, errors)| *all > 20 && *errors * 10 > *all * 8).count();
    let silent = |stream: &String| census.last_seen_ms[stream] + 300_000 < census.newest_ms;
    let vanished = census.open_suites.iter().filter(|(stream, open)| !open.is_empty() && silent(stream)).count();
    println!(
        "{kinds:?}\n{outcomes:?}\nflaky {flaky}, broken {broken}, vanished {vanished}, again {again}, late {late}"
    );
    for outcome in Outcome::ALL {
        assert!(outcomes.get(&outcome).is_some_and(|count| *count > 100), "{outcome:?}: {outcomes:?}");
    }
    assert!(flaky > 50, "{flaky} flaky tests");
    assert!((1..streams.len() / 10).contains(&broken), "{broken} broken workers among {} shards", streams.len());
    assert!((1..streams.len() / 10).contains(&vanished), "{vanished} shards that stopped among {}", streams.len());
    assert!(*again > 100 && *late > 5, "{again} sent again, {late} late");
    assert!(census.messages.len() > 1_000, "{} different messages", census.messages.len());
    for kind in EventType::ALL {
        assert_eq!(kinds.contains_key(&kind), kind != EventType::AssertionEvaluated, "{kind:?}");
    }
    let share = outcomes[&Outcome::Passed] as f64 / outcomes.values().sum::<usize>() as f64;
    assert!((0.7..0.98).contains(&share), "{share:.3} of the attempts pass");
}
