//! Random histories: what a fleet may send, with everything that goes wrong on the way.
//!
//! A history is a pure function of a seed and a length, so a failing one is named by two numbers. Streams send gapless
//! versions but skip some (and may send them later), resend what they sent, reuse versions, send events of long ago and of
//! the future, take results back before and after they came; runs begin, end, fall silent, are reopened; time jumps by
//! hours; the silent clock stands still now and then.

use super::Tick;
use std::sync::Arc;
use weir_dataflows::Config;
use weir_dataflows::input::{Event, Input, Interner, Position, Refusal, RejectKind};
use weir_schemas::event::{EventData, EventType, Metadata, TestErrorData, TestEvent};
use weir_schemas::limits::Limits;
use weir_schemas::outcome::Outcome;
use weir_schemas::text::Text;
use weir_schemas::timestamp::Timestamp;

/// When histories begin: a whole hour.
pub const START: u64 = 1_699_999_200_000;

/// A configuration whose memories and timeouts are short enough to be met.
pub fn config() -> Config {
    Config {
        run_quiet_ms: 3_000,
        run_timeout_ms: 40_000,
        run_grace_ms: 20_000,
        stream_memory_ms: 5_000_000,
        event_id_memory_ms: 3_600_000,
        late_memory_ms: 2_000_000,
        stream_gaps: 3,
        rejects: 12,
        failure_patterns: 3,
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
        for _ in 0..dice.roll(5) {
            let index = usize::try_from(dice.roll(5)).expect("small");
            let position =
                Position { partition: u32::try_from(index % 2).expect("small"), offset, ..Position::default() };
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
    ticks
}

/// In units of 10 ms: mostly short, sometimes past a timeout, rarely past a memory.
fn step_of(dice: &mut Dice) -> u64 {
    match dice.roll(40) {
        0 => 100_000 + dice.roll(400_000),
        1 | 2 => 2_000 + dice.roll(4_000),
        3..=8 => 100 + dice.roll(600),
        _ => dice.roll(60),
    }
}

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
    let suite = format!("suite{}", test % 2);
    let numbered = dice.one_in(2);
    let needs_test = !matches!(
        kind,
        EventType::RunStarted
            | EventType::RunCompleted
            | EventType::TestSuiteStarted
            | EventType::TestSuiteCompleted
            | EventType::SetupFailed
    );
    let by_event = kind == EventType::ResultWithdrawn && dice.one_in(2);
    let data = EventData {
        test_id: needs_test.then(|| Text::from(format!("t{test}"))),
        test_suite_id: Some(Text::from(suite)),
        result: (kind == EventType::TestCaseCompleted)
            .then(|| Outcome::ALL[usize::try_from(dice.roll(5)).expect("small")]),
        attempt: numbered.then(|| u32::try_from(1 + dice.roll(3)).expect("small")),
        duration: dice.one_in(2).then(|| f64::from(u32::try_from(dice.roll(9_000)).expect("small")) / 8.0),
        planned_tests: dice.one_in(2).then(|| u32::try_from(dice.roll(6)).expect("small")),
        planned_shards: dice.one_in(3).then(|| u32::try_from(1 + dice.roll(3)).expect("small")),
        error: dice.one_in(2).then(|| TestErrorData {
            message: Text::from(format!("expected {} rows", dice.roll(1_000))),
            kind: Some(Text::from(["TypeError", "IOError"][usize::try_from(dice.roll(2)).expect("small")])),
            ..TestErrorData::default()
        }),
        withdraws: by_event.then(|| Text::from(format!("{}-{}", stream.name, 1 + dice.roll(unique + 4)))),
        ..EventData::default()
    };
    let shift = match dice.roll(12) {
        0 => -200_000,
        1 => -61_000 + i64::try_from(dice.roll(3_000)).expect("small"),
        2 => 5_000,
        _ => -i64::try_from(dice.roll(4_000)).expect("small"),
    };
    TestEvent {
        event_id: Text::from(format!("{}-{unique}", stream.name)),
        event_type: kind,
        stream_id: Text::from(stream.name.clone()),
        version: 0,
        timestamp: Timestamp(at.saturating_add_signed(shift)),
        causation_id: None,
        correlation_id: Some(Text::from(stream.run.clone())),
        data,
        metadata: Metadata {
            project: Text::from(stream.project),
            branch: dice.one_in(3).then(|| Text::from("main")),
            worker: dice.one_in(2).then(|| Text::from("w1")),
            user_id: dice.one_in(3).then(|| Text::from("ann")),
            source: stream.report.then(|| Text::from("junit")),
            ..Metadata::default()
        },
    }
}

fn kind_of(dice: &mut Dice) -> EventType {
    match dice.roll(30) {
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
        26 => EventType::CoverageUpdated,
        _ => EventType::ResultWithdrawn,
    }
}
