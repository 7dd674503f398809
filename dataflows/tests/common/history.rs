//! Random histories: what a fleet may send, with everything that goes wrong on the way.
//!
//! A history is a pure function of a seed and a length, so a failing one is named by two numbers. Streams send gapless
//! versions but skip some (and may send them later), resend what they sent, reuse versions, send events of long ago and of
//! the future, take results back before and after they came; runs begin, end, fall silent, are reopened; time jumps by
//! hours; the silent clock stands still now and then; incidents are marked and the marks removed; alert rules come, change and go. Some of it is hostile: names over the limit, names that look like
//! others with a variant, tests without an id, suites without a name, and numbers at their limits; errors are made to
//! meet in one bucket of `failure_patterns`, suites in one of `performance` and `live_metrics`.

use super::Tick;
use std::sync::{Arc, LazyLock};
use weir_dataflows::Config;
use weir_dataflows::control::ControlInput;
use weir_dataflows::dry_run::Question;
use weir_dataflows::fingerprint;
use weir_dataflows::input::{ErrorText, Event, Input, Interner, Position, Refusal, RejectKind};
use weir_schemas::control::{AlertRule, ControlChange, ControlKind, ControlRecord, FlakyRule, Incident, MaskRule};
use weir_schemas::event::{
    CoverageData, CoverageFile, CoverageMode, EventData, EventType, Metadata, PerformanceData, TestErrorData, TestEvent,
};
use weir_schemas::id::Id;
use weir_schemas::limits::Limits;
use weir_schemas::outcome::Outcome;
use weir_schemas::text::Text;
use weir_schemas::timestamp::{TIMESTAMP_MS_MAX, Timestamp};

/// When histories begin: a whole hour.
pub const START: u64 = 1_699_999_200_000;

/// A configuration whose memories and timeouts are short enough to be met.
pub fn config() -> Config {
    Config {
        run_quiet_ms: 3_000,
        run_timeout_ms: 40_000,
        shard_silent_ms: 7_000,
        run_grace_ms: 20_000,
        row_budget: 10,
        project_tests: 8,
        project_suites: 6,
        project_files: 7,
        stream_memory_ms: 5_000_000,
        event_id_memory_ms: 3_600_000,
        late_memory_ms: 2_000_000,
        stream_gaps: 3,
        withdrawn: 3,
        rejects: 12,
        failure_patterns: 3,
        patterns_held: 256,
        pattern_memory_ms: 90_000_000,
        errors: 3,
        error_memory_ms: 5_000_000,
        coverage_said: 3,
        coverage_memory_ms: 7_000_000,
        live_scopes: 256,
        performance_said: 2,
        performance_scopes: 256,
        performance_metrics: 2,
        users: 1,
        user_memory_ms: 50_000,
        slow_tests: 3,
        duration_memory_ms: 1_400_000,
        flaky_tests: 256,
        flaky_memory_ms: 90_000_000,
        guard_tests: 3,
        ..Config::default()
    }
}

/// A small generator of numbers: SplitMix64.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.roll(n) == 0
    }
}

struct Stream {
    name: String,
    run: String,
    project: &'static str,
    next: u64,
    sent: Vec<TestEvent<'static>>,
    held: Vec<TestEvent<'static>>,
    report: bool,
}

/// A history of `length` ticks.
pub fn history(seed: u64, length: usize) -> Vec<Tick> {
    let mut dice = Dice(seed);
    let mut streams: Vec<Stream> = (0..5)
        .map(|n| Stream {
            name: format!("s{n}"),
            run: format!("r{}", n / 2),
            project: if n < 4 { "web" } else { "app" },
            next: 1,
            sent: Vec::new(),
            held: Vec::new(),
            report: n == 2 || n == 3,
        })
        .collect();
    let (mut at, mut offset, mut paused) = (START, 0, false);
    let mut ticks = Vec::new();
    for _ in 0..length {
        at += 10 * (1 + step_of(&mut dice));
        let mut tick = Tick { at, ..Tick::default() };
        if dice.one_in(25) {
            paused = !paused;
            tick.paused = Some(paused);
        }
        if dice.one_in(15) {
            offset += 1;
            let position = Position { topic: 1, offset, ..Position::default() };
            tick.control.push(ControlInput { position, record: Arc::new(said(at, &mut dice)) });
        }
        if dice.one_in(15) {
            offset += 1;
            let position = Position { topic: 1, offset, ..Position::default() };
            tick.control.push(ControlInput { position, record: Arc::new(alert(at, &mut dice)) });
        }
        for _ in 0..dice.roll(5) {
            let index = usize::try_from(dice.roll(5)).expect("small");
            // Now and then a stream strays into the other partition.
            let partition = (index + usize::from(offset.is_multiple_of(11))) % 2;
            let position =
                Position { partition: u32::try_from(partition).expect("small"), offset, ..Position::default() };
            offset += 1;
            if dice.one_in(40) {
                tick.inputs.push(unreadable(position));
                continue;
            }
            let event = next_event(&mut streams[index], at, offset, &mut dice);
            let compact = Event::new(&event, position, &Limits::default(), &mut Interner::default());
            tick.inputs.push(Input::Event(Arc::new(compact)));
        }
        ticks.push(tick);
    }
    ask(&mut ticks, Dice(seed ^ 0x00a5_ced0));
    ticks
}

/// Lets somebody ask now and then what a rule would change: nothing that is shown depends on it.
fn ask(ticks: &mut [Tick], mut dice: Dice) {
    let mut id = 0;
    for tick in ticks {
        while dice.one_in(12) {
            id += 1;
            let record = said(tick.at, &mut dice);
            if matches!(record.change, ControlChange::Flaky(_) | ControlChange::Mask(_)) {
                tick.questions.push(Question { id, record: Arc::new(record), peer: 0 });
            }
        }
    }
}

/// In units of 10 ms: mostly short, sometimes past a timeout, rarely past a memory, hardly ever past a day.
fn step_of(dice: &mut Dice) -> u64 {
    if dice.one_in(150) {
        return 6_000_000 + dice.roll(6_000_000);
    }
    match dice.roll(40) {
        0 => 100_000 + dice.roll(400_000),
        1 | 2 => 2_000 + dice.roll(4_000),
        3..=8 => 100 + dice.roll(600),
        _ => dice.roll(60),
    }
}

/// What somebody says: mostly that an incident is over or not, so that results come and go.
fn said(at: u64, dice: &mut Dice) -> ControlRecord {
    let around = |dice: &mut Dice| dice.one_in(2).then(|| at.saturating_sub(30_000) + dice.roll(60_000));
    let change = match dice.roll(11) {
        0..=2 => ControlChange::Incident(Incident { worker: "w1".to_owned(), ..Incident::default() }),
        3 => {
            let (from, to) = (around(dice), around(dice));
            let worker = if dice.one_in(2) { "w1".to_owned() } else { String::new() };
            ControlChange::Incident(Incident { worker, from, to, note: "a note".to_owned() })
        }
        4..=6 => ControlChange::Removed(ControlKind::Incident),
        7 | 8 => {
            let mut below = |sides| 1 + u32::try_from(dice.roll(sides)).expect("small");
            let (window, flips, broken, passes) = (2 * below(5), below(3), below(3), below(4));
            ControlChange::Flaky(FlakyRule { window, flips, broken, passes, days: 1, ..FlakyRule::default() })
        }
        _ => match dice.roll(3) {
            0 | 1 => {
                let pattern = ["row", "expected [a-z%]+", "no [a-z]+"][usize::try_from(dice.roll(3)).expect("small")];
                ControlChange::Mask(MaskRule {
                    pattern: pattern.to_owned(),
                    order: u32::try_from(dice.roll(2)).expect("small"),
                })
            }
            _ => ControlChange::Removed([ControlKind::Flaky, ControlKind::Mask][usize::from(dice.one_in(2))]),
        },
    };
    // An incident is one project's; a rule can be everyone's.
    let everyone = dice.one_in(5) && change.kind() != ControlKind::Incident;
    let project = if everyone {
        ""
    } else if dice.one_in(5) {
        "app"
    } else {
        "web"
    };
    let id = format!("i{}", dice.roll(2));
    ControlRecord { project: project.to_owned(), id, change, said_at: at, said_by: String::new() }
}

/// Of an alert rule: it comes, becomes another one, or goes. Few ids, so that rules of a project hide those of all.
fn alert(at: u64, dice: &mut Dice) -> ControlRecord {
    let change = if dice.one_in(6) {
        ControlChange::Removed(ControlKind::Alert)
    } else {
        let mut rule = ALERTS[usize::try_from(dice.roll(ALERTS.len() as u64)).expect("small")].clone();
        rule.for_ms = [0, 0, 1_005, 9_000][usize::try_from(dice.roll(4)).expect("small")];
        rule.disabled = dice.one_in(12);
        ControlChange::Alert(rule)
    };
    let id = ["a0", "a1", "a2", "builtin:silent-run"][usize::try_from(dice.roll(4)).expect("small")];
    let project = ["web", "", "app"][usize::from(dice.one_in(2)) + usize::from(dice.one_in(6))];
    let record =
        ControlRecord { project: project.to_owned(), id: id.to_owned(), change, said_at: at, said_by: String::new() };
    record.check().expect("ingest would take it");
    record
}

/// Rules of all kinds of columns, on thresholds that histories cross.
static ALERTS: LazyLock<Vec<AlertRule>> = LazyLock::new(|| {
    let rules = [
        r#"{"view":"run_progress","when":[{"column":"failed","is":">=","threshold":1}],"message":"{run}: {value}"}"#,
        r#"{"view":"run_progress","filter":{"state":["running"]},"message":"{value} of {threshold} s since {last_event_at}",
            "when":[{"column":"last_event_at","is":">=","threshold":1.2},{"column":"finished","is":">","threshold":0}]}"#,
        r#"{"view":"run_progress","filter":{"can_still_pass":["true"]},"message":"{branch}",
            "when":[{"column":"last_event_at","is":"<","threshold":4},{"column":"planned","is":"<","threshold":9}]}"#,
        r#"{"view":"live_metrics","filter":{"window":["60s","10m"]},"message":"{scope} {name}: {value} < {threshold}","clear":70,
            "when":[{"column":"success_rate","is":"<","threshold":55}]}"#,
        r#"{"view":"live_metrics","when":[{"column":"average_duration","is":">","threshold":300.5}],"clear":200,"message":"{p95} {"}"#,
        r#"{"view":"failure_patterns","when":[{"column":"first_seen_at","is":"<=","threshold":20},
            {"column":"runs","is":">=","threshold":2}],"clear":40,"message":"{type} {common}"}"#,
        r#"{"view":"suite_progress","filter":{"suite":["suite0","suite1"]},"clear":0,"message":"{duration} {name}",
            "when":[{"column":"passed","is":">","threshold":0}]}"#,
        r#"{"view":"user_activity","when":[{"column":"last_active_at","is":"<=","threshold":8},
            {"column":"running_runs","is":">","threshold":0}],"clear":30,"message":"{user}"}"#,
        r#"{"view":"missing","when":[{"column":"since","is":">","threshold":3}],"message":"{kind} {count}"}"#,
        r#"{"view":"coverage_summary","filter":{"inexact":["false"]},"message":"{compared_with}",
            "when":[{"column":"percent","is":"<=","threshold":60}],"clear":80}"#,
        r#"{"view":"coverage_summary","when":[{"column":"trend","is":"<","threshold":0}],"message":"{value}"}"#,
        r#"{"view":"coverage_summary","filter":{"complete":["true"]},"message":"{run} {state}",
            "when":[{"column":"percent","is":"<=","threshold":90}]}"#,
        r#"{"view":"slow_tests","when":[{"column":"p95","is":">","threshold":400}],"clear":300,"message":"{name} {runs}"}"#,
        r#"{"view":"flaky_tests","filter":{"state":["flaky","broken","fixed"]},"message":"{test} {reason}",
            "when":[{"column":"last_flake_at","is":"<=","threshold":30}],"clear":50}"#,
        r#"{"view":"flaky_tests","when":[{"column":"flake_rate","is":">=","threshold":50}],"message":"{state} {evidence}"}"#,
    ];
    let read = |text: &str| serde_json::from_str(&text.replacen('{', r#"{"severity":"warning","#, 1)).expect("a rule");
    rules.into_iter().map(read).collect()
});

fn unreadable(position: Position) -> Input {
    Input::Refused(Arc::new(Refusal {
        position,
        kind: RejectKind::Malformed,
        project: "default".into(),
        stream: "".into(),
        message: "expected value".into(),
        expected: None,
    }))
}

fn next_event(stream: &mut Stream, at: u64, unique: u64, dice: &mut Dice) -> TestEvent<'static> {
    if !stream.sent.is_empty() && dice.one_in(10) {
        let again = usize::try_from(dice.roll(stream.sent.len() as u64)).expect("small");
        return stream.sent[again].clone();
    }
    if dice.one_in(4)
        && let Some(late) = stream.held.pop()
    {
        return late;
    }
    let mut event = fresh(stream, at, unique, dice);
    if dice.one_in(12) {
        event.version = 1 + dice.roll(stream.next); // Taken, or a gap's.
        stream.next = stream.next.max(event.version + 1);
    } else if dice.one_in(100) {
        event.version = u64::MAX - dice.roll(3);
    } else {
        event.version = stream.next;
        stream.next += 1;
        if dice.one_in(10) {
            stream.held.push(event);
            return next_event(stream, at, unique + 1_000_000, dice);
        }
    }
    stream.sent.push(event.clone());
    event
}

fn fresh(stream: &Stream, at: u64, unique: u64, dice: &mut Dice) -> TestEvent<'static> {
    let kind = kind_of(dice);
    let test = dice.roll(4);
    let needs_suite = matches!(kind, EventType::TestSuiteStarted | EventType::TestSuiteCompleted);
    let needs_test =
        !needs_suite && !matches!(kind, EventType::RunStarted | EventType::RunCompleted | EventType::SetupFailed);
    let by_event = kind == EventType::ResultWithdrawn && dice.one_in(2);
    let [test_id, test_name, variant] = if needs_test { test_words(test, dice) } else { Default::default() };
    let text = |words: Option<String>| words.map(Text::from);
    let data = EventData {
        test_id: text(test_id),
        test_name: text(test_name),
        test_suite_id: if needs_suite || !dice.one_in(8) { Some(Text::from(suite_word(test % 2, dice))) } else { None },
        result: (kind == EventType::TestCaseCompleted)
            .then(|| Outcome::ALL[usize::try_from(dice.roll(5)).expect("small")]),
        attempt: attempt(dice),
        duration: duration(dice),
        planned_tests: number(2, 6, dice),
        planned_shards: number(3, 4, dice).map(|shards| shards.max(1)),
        max_attempts: number(3, 4, dice),
        error: dice.one_in(2).then(|| error(dice)),
        coverage: (kind == EventType::CoverageUpdated).then(|| coverage(dice)),
        performance: (kind == EventType::PerformanceMeasured || dice.one_in(20)).then(|| performance(dice)),
        withdraws: by_event.then(|| Text::from(format!("{}-{}", stream.name, 1 + dice.roll(unique + 4)))),
        ..EventData::default()
    };
    let event = TestEvent {
        event_id: Text::from(format!("{}-{unique}", stream.name)),
        event_type: kind,
        stream_id: Text::from(stream.name.clone()),
        version: 1,
        timestamp: timestamp(at, dice),
        causation_id: None,
        // Hardly ever another run than the stream's own.
        correlation_id: Some(Text::from(if dice.one_in(25) {
            format!("r{}", dice.roll(6))
        } else {
            stream.run.clone()
        })),
        data,
        metadata: Metadata {
            project: Text::from(stream.project),
            branch: dice.one_in(3).then(|| {
                Text::from(["main", "trunk", "side"][usize::from(dice.one_in(3)) + usize::from(dice.one_in(3))])
            }),
            framework: dice.one_in(3).then(|| Text::from(["pytest", ""][usize::from(dice.one_in(6))])),
            commit: dice.one_in(3).then(|| Text::from(["c1", "c2"][usize::from(dice.one_in(2))])),
            worker: dice.one_in(2).then(|| Text::from(["w1", "w2"][usize::from(dice.one_in(4))])),
            user_id: dice
                .one_in(3)
                .then(|| Text::from(["ann", "bob", "cy"][usize::try_from(dice.roll(3)).expect("small")])),
            source: stream.report.then(|| Text::from("junit")),
            variant: text(variant),
            ..Metadata::default()
        },
    };
    event.check(&Limits::default()).expect("ingest would take it");
    event
}

/// `testId`, `testName` and `variant` of a test; the same test may be said in several ways.
fn test_words(test: u64, dice: &mut Dice) -> [Option<String>; 3] {
    let some = |text: &str| Some(text.to_owned());
    let (id, name, linux) = (format!("t{test}"), format!("a test {test}"), "linux");
    let long = "long ".repeat(300) + &id;
    match dice.roll(20) {
        0 => [Some(id), None, some(linux)],
        1 => [Some(format!("{id} [{linux}]")), None, None],
        2 => [Some(format!("{id} [{linux}]")), None, some(linux)],
        3 => [None, Some(name), None],
        4 => [None, Some(name), some(linux)],
        5 => [Some(long), None, None],
        6 => [Some(long), None, some(linux)],
        7 => [None, Some(long), None],
        8 => [some(""), Some(name), some("")],
        9 => [Some(id), some(""), None],
        _ => [Some(id), None, None],
    }
}

fn suite_word(suite: u64, dice: &mut Dice) -> String {
    match dice.roll(24) {
        0 | 1 => "suite ".repeat(300) + &suite.to_string(),
        2 | 3 => RIVAL_SUITE.clone(),
        _ => format!("suite{suite}"),
    }
}

/// A suite that is in one bucket of `performance` and `live_metrics` with another, in which there is room for one of them.
static RIVAL_SUITE: LazyLock<String> = LazyLock::new(|| {
    let bucket = |name: &str| Id::of(&["suite", "web", name]).0 % 256;
    (0..).map(|n| format!("rival{n}")).find(|name| bucket(name) == bucket("suite0")).expect("one in 256 is")
});

fn performance(dice: &mut Dice) -> PerformanceData<'static> {
    let number = |dice: &mut Dice| f64::from(u32::try_from(dice.roll(4_000_000)).expect("small")) / 8.0;
    let largest = |dice: &mut Dice| [f64::MAX, f64::MIN, -1.5][usize::try_from(dice.roll(3)).expect("small")];
    let value = |dice: &mut Dice| if dice.one_in(15) { largest(dice) } else { number(dice) };
    PerformanceData {
        memory: (!dice.one_in(3)).then(|| value(dice)),
        cpu: dice.one_in(2).then(|| value(dice) / 1e6),
        metrics: (0..dice.roll(3)).map(|_| (Text::from(format!("m{}", dice.roll(4))), value(dice))).collect(),
    }
}

fn coverage(dice: &mut Dice) -> CoverageData<'static> {
    let lines = |dice: &mut Dice| {
        let from = 1 + dice.roll(9);
        let text = format!("{from}-{},{}", from + dice.roll(4), 1 + dice.roll(12));
        if dice.one_in(9) { Text::default() } else { Text::from(text) }
    };
    let file = |dice: &mut Dice| {
        let (path, covered, instrumented) = (format!("src/f{}", dice.roll(3)), lines(dice), lines(dice));
        CoverageFile { path: Text::from(path), covered, instrumented }
    };
    let files = if dice.one_in(4) { 0 } else { 1 + dice.roll(2) };
    CoverageData {
        percentage: dice.one_in(3).then(|| f64::from(u32::try_from(dice.roll(1_000)).expect("small")) / 10.0),
        files: (0..files).map(|_| file(dice)).collect(),
        flag: dice.one_in(3).then(|| Text::from(["unit", "*", ""][usize::try_from(dice.roll(3)).expect("small")])),
        mode: dice.one_in(4).then_some(CoverageMode::Replace),
    }
}

fn attempt(dice: &mut Dice) -> Option<u32> {
    match dice.roll(24) {
        0..=11 => None,
        12 => Some(999 + u32::try_from(dice.roll(3)).expect("small")),
        13 => Some(u32::MAX),
        14..=16 => Some(1 + u32::try_from(dice.roll(8)).expect("small")),
        _ => Some(1 + u32::try_from(dice.roll(3)).expect("small")),
    }
}

fn duration(dice: &mut Dice) -> Option<f64> {
    match dice.roll(40) {
        0 => Some(1e15),
        1 => Some(f64::MAX),
        2 => Some(1e-9),
        3..=19 => Some(f64::from(u32::try_from(dice.roll(9_000)).expect("small")) / 8.0),
        _ => None,
    }
}

/// One time in `n` a number below `sides`, hardly ever the largest there is.
fn number(n: u64, sides: u64, dice: &mut Dice) -> Option<u32> {
    let largest = dice.one_in(60);
    dice.one_in(n).then(|| if largest { u32::MAX } else { u32::try_from(dice.roll(sides)).expect("small") })
}

fn timestamp(at: u64, dice: &mut Dice) -> Timestamp {
    let shift = match dice.roll(12) {
        0 if dice.one_in(4) => return Timestamp(dice.roll(2) * TIMESTAMP_MS_MAX),
        0 => -[200_000, 200_000, 700_000, 3_700_000][usize::try_from(dice.roll(4)).expect("small")],
        1 => {
            // About when it leaves a window.
            let length = [10_000, 60_000, 600_000, 3_600_000][usize::try_from(dice.roll(4)).expect("small")];
            i64::try_from(dice.roll(3_000)).expect("small") - length - 1_000
        }
        2 => 5_000,
        _ => -i64::try_from(dice.roll(4_000)).expect("small"),
    };
    Timestamp(at.saturating_add_signed(shift))
}

/// Messages whose patterns are in one bucket: all but one of them find no room.
static RIVALS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let bucket = |message: &str| {
        let error = ErrorText { message: message.into(), kind: Some("IOError".into()), ..ErrorText::default() };
        fingerprint::failure(&error, Outcome::Failed, &[]).fingerprint.0 % 256
    };
    let letter = |n: u32| char::from(b'a' + u8::try_from(n % 26).expect("small"));
    let words = (0..26 * 26 * 26).map(|n| format!("no {}{}{} here", letter(n), letter(n / 26), letter(n / 676)));
    words.filter(|words| bucket(words) == 7).take(3).collect()
});

fn error(dice: &mut Dice) -> TestErrorData<'static> {
    let (message, kind) = match dice.roll(8) {
        0 => (String::new(), "TypeError"),
        1..=3 => (RIVALS[usize::try_from(dice.roll(3)).expect("small")].clone(), "IOError"),
        _ => (format!("expected {} rows", dice.roll(1_000)), ["TypeError", "IOError"][usize::from(dice.one_in(2))]),
    };
    TestErrorData { message: Text::from(message), kind: Some(Text::from(kind)), ..TestErrorData::default() }
}

fn kind_of(dice: &mut Dice) -> EventType {
    match dice.roll(32) {
        0 => EventType::RunStarted,
        1 => EventType::RunCompleted,
        2..=4 => EventType::TestSuiteStarted,
        5..=7 => EventType::TestSuiteCompleted,
        8..=11 => EventType::TestCaseStarted,
        12..=16 => EventType::TestCaseCompleted,
        17..=19 => EventType::TestPassed,
        20..=22 => EventType::TestFailed,
        23 => EventType::TestSkipped,
        24 => EventType::TestError,
        25 => EventType::SetupFailed,
        26 | 27 => EventType::CoverageUpdated,
        28 | 29 => EventType::PerformanceMeasured,
        _ => EventType::ResultWithdrawn,
    }
}
