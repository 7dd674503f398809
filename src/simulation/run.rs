//! One run of the simulated fleet and its shards, each a stream of events.
//!
//! Contract: [`Run::step`] lets one shard do the next thing (begin or end a suite or a test) and appends what it reports;
//! it returns how long the shard then works until its next step, or that it has ended. Versions of a stream are 1, 2, 3 …
//! in the order of the steps.
//!
//! # Invariants
//! A suite that was begun is completed, an attempt that was begun has an outcome, unless the shard is one that just stops.
//! A failing test is tried again at most until the announced `maxAttempts`.
//!
//! # Cost
//! State O(shards) a run.

use super::catalogue::{Place, Project, Regression};
use super::coverage::coverage;
use super::dice::Dice;
use super::failures::{CAUSES, Cause};
use weir_schemas::event::{EventData, EventType, Metadata, PerformanceData, Severity, TestErrorData, TestEvent};
use weir_schemas::id::Id;
use weir_schemas::outcome::Outcome;
use weir_schemas::text::Text;
use weir_schemas::timestamp::Timestamp;

/// What a shard does after a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Next {
    /// Works so long, in units of the fleet's mean duration of a test.
    After(f64),
    /// Has ended well: all its suites are complete.
    Ended,
    /// Has stopped without a word.
    Vanished,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    NextSuite,
    NextTest,
    Testing,
    EndingSuite,
}

/// One shard: one stream.
pub(super) struct Shard {
    stream: String,
    event_prefix: String,
    label: String,
    worker: String,
    version: u64,
    /// Indices into the project's suites.
    suites: Vec<usize>,
    at_suite: usize,
    at_test: usize,
    attempt: u32,
    doing: Doing,
    /// When the attempt began, on the fleet's clock, and on the wall's.
    began_us: u64,
    broken: bool,
    /// Steps until it vanishes.
    vanishes_in: Option<usize>,
    withdraws: Option<EventData<'static>>,
}

/// One run.
pub(super) struct Run {
    pub(super) project: usize,
    name: String,
    branch: String,
    commit: String,
    user: &'static str,
    variant: Option<&'static str>,
    regressions: Vec<Regression>,
    announces: bool,
    /// Whether it says `run_completed` at its end.
    pub(super) says_end: bool,
    pub(super) shards: Vec<Shard>,
    pub(super) open_shards: usize,
}

/// The moment of a step.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    /// On the fleet's clock.
    pub(super) fleet_us: u64,
    /// On the wall clock.
    pub(super) wall_ms: u64,
}

impl Run {
    /// A new run of a project. `name` is unique for ever.
    pub(super) fn new(number: usize, project: &Project, name: String, shards_growth: f64, dice: &mut Dice) -> Run {
        let branch = &project.branches[if dice.chance(450_000) { 0 } else { dice.below(project.branches.len()) }];
        let main = branch.name == "main";
        let regressions = project.regressions.iter().filter(|r| r.main || !main && dice.chance(400_000)).copied();
        let regressions = regressions.collect();
        // A change to one corner runs only the suites that it touches.
        let part = if main || dice.chance(500_000) { 100 } else { dice.between(30, 90) };
        let suites: Vec<usize> = (0..project.suites.len()).filter(|_| dice.below(100) < part).collect();
        let suites = if suites.is_empty() { vec![0] } else { suites };
        let count = shard_count(project.shards_max, shards_growth, suites.len(), dice);
        let broken = dice.chance(15_000).then(|| dice.below(count));
        let vanishing = dice.chance(15_000).then(|| (dice.below(count), dice.between(5, 60)));
        let shards: Vec<Shard> = (0..count)
            .map(|index| {
                let mine = suites.iter().copied().skip(index).step_by(count).collect();
                let mut shard = Shard::new(&name, index, count, mine, dice);
                shard.broken = broken == Some(index);
                shard.vanishes_in = vanishing.filter(|(who, _)| *who == index).map(|(_, steps)| steps);
                shard
            })
            .collect();
        Run {
            project: number,
            name,
            branch: branch.name.clone(),
            commit: branch.commit.clone(),
            user: branch.user,
            variant: (!project.variants.is_empty()).then(|| dice.pick(project.variants)),
            regressions,
            announces: dice.chance(850_000),
            says_end: dice.chance(600_000) && vanishing.is_none(),
            open_shards: shards.len(),
            shards,
        }
    }

    /// Lets a shard do the next thing.
    pub(super) fn step(
        &mut self,
        shard: usize,
        now: Moment,
        project: &Project,
        dice: &mut Dice,
        out: &mut Vec<TestEvent<'static>>,
    ) -> Next {
        let Some(me) = self.shards.get_mut(shard) else { return Next::Ended };
        if let Some(steps) = &mut me.vanishes_in {
            if *steps == 0 {
                return Next::Vanished;
            }
            *steps -= 1;
        }
        if me.version == 0 && shard == 0 {
            self.begin(now, project, out);
        }
        if let Some(data) = self.shards[shard].withdraws.take() {
            self.say(shard, now, project, EventType::ResultWithdrawn, data, out);
        }
        match self.shards[shard].doing {
            Doing::NextSuite => self.begin_suite(shard, now, project, dice, out),
            Doing::NextTest => self.begin_test(shard, now, project, dice, out),
            Doing::Testing => self.end_attempt(shard, now, project, dice, out),
            Doing::EndingSuite => self.end_suite(shard, now, project, dice, out),
        }
    }

    /// Says that the run is over.
    pub(super) fn end(&mut self, now: Moment, project: &Project, out: &mut Vec<TestEvent<'static>>) {
        self.say(0, now, project, EventType::RunCompleted, EventData::default(), out);
    }

    fn begin(&mut self, now: Moment, project: &Project, out: &mut Vec<TestEvent<'static>>) {
        let mut data = EventData { max_attempts: Some(project.attempts_max), ..EventData::default() };
        if self.announces {
            let planned = self.shards.iter().flat_map(|shard| &shard.suites).map(|suite| project.suites[*suite].tests);
            data.planned_tests = u32::try_from(planned.sum::<usize>()).ok();
            data.planned_shards = u32::try_from(self.shards.len()).ok();
        }
        self.say(0, now, project, EventType::RunStarted, data, out);
    }

    fn begin_suite(
        &mut self,
        shard: usize,
        now: Moment,
        project: &Project,
        dice: &mut Dice,
        out: &mut Vec<TestEvent<'static>>,
    ) -> Next {
        let me = &mut self.shards[shard];
        let Some(suite) = me.suite() else { return Next::Ended };
        (me.at_test, me.attempt, me.doing) = (0, 1, Doing::NextTest);
        let tests = project.suites[suite].tests;
        let data = EventData { planned_tests: u32::try_from(tests).ok(), ..suite_data(project, suite) };
        self.say(shard, now, project, EventType::TestSuiteStarted, data, out);
        if dice.chance(2_500) {
            let place = project.place(suite, 0);
            let data = EventData { error: Some(Cause::Setup.error(&place, dice)), ..suite_data(project, suite) };
            self.say(shard, now, project, EventType::SetupFailed, data, out);
            self.shards[shard].doing = Doing::EndingSuite;
        }
        Next::After(0.1 * dice.noise())
    }

    fn begin_test(
        &mut self,
        shard: usize,
        now: Moment,
        project: &Project,
        dice: &mut Dice,
        out: &mut Vec<TestEvent<'static>>,
    ) -> Next {
        let me = &self.shards[shard];
        let Some(suite) = me.suite() else { return Next::Ended };
        let character = project.character(suite, me.at_test);
        if character.skipped {
            let data = EventData { duration: Some(0.0), ..self.test_data(shard, project, suite) };
            self.say_outcome(shard, now, project, Outcome::Skipped, data, character.tag, out);
            self.shards[shard].next_test(project);
            return Next::After(0.02);
        }
        let data = self.test_data(shard, project, suite);
        self.say(shard, now, project, EventType::TestCaseStarted, data, out);
        let me = &mut self.shards[shard];
        (me.doing, me.began_us) = (Doing::Testing, now.fleet_us);
        Next::After(character.duration * dice.noise())
    }

    fn end_attempt(
        &mut self,
        shard: usize,
        now: Moment,
        project: &Project,
        dice: &mut Dice,
        out: &mut Vec<TestEvent<'static>>,
    ) -> Next {
        let me = &self.shards[shard];
        let Some(suite) = me.suite() else { return Next::Ended };
        let (test, attempt) = (me.at_test, me.attempt);
        let character = project.character(suite, test);
        let cause = self.cause(shard, suite, test, character.cause, character.flakiness, dice);
        #[expect(clippy::cast_precision_loss, reason = "a test takes less than 2⁵³ µs")]
        let duration_ms = now.fleet_us.saturating_sub(self.shards[shard].began_us) as f64 / 1_000.0;
        let mut data = EventData { duration: Some(duration_ms), ..self.test_data(shard, project, suite) };
        let outcome = match cause {
            None => Outcome::Passed,
            Some(cause) => {
                data.error = Some(self.error(shard, cause, &project.place(suite, test), dice));
                cause.outcome()
            }
        };
        if dice.chance(20_000) {
            let measured = EventData { performance: Some(performance(dice)), ..self.test_data(shard, project, suite) };
            let measured = EventData { duration: Some(duration_ms), ..measured };
            self.say(shard, now, project, EventType::PerformanceMeasured, measured, out);
        }
        self.say_outcome(shard, now, project, outcome, data, character.tag, out);
        let me = &mut self.shards[shard];
        if outcome.fails() && attempt < project.attempts_max {
            (me.attempt, me.doing) = (attempt + 1, Doing::NextTest);
            return Next::After(0.05 * dice.noise());
        }
        if outcome.fails() && dice.chance(8_000) {
            me.withdraws = Some(withdrawal(project, suite, test, attempt, out.last(), dice));
        }
        me.next_test(project);
        Next::After(0.02)
    }

    fn end_suite(
        &mut self,
        shard: usize,
        now: Moment,
        project: &Project,
        dice: &mut Dice,
        out: &mut Vec<TestEvent<'static>>,
    ) -> Next {
        let me = &self.shards[shard];
        let Some(suite) = me.suite() else { return Next::Ended };
        if dice.chance(250_000) {
            let data = EventData { performance: Some(performance(dice)), ..suite_data(project, suite) };
            self.say(shard, now, project, EventType::PerformanceMeasured, data, out);
        }
        let data = EventData { coverage: Some(coverage(project, suite, dice)), ..EventData::default() };
        self.say(shard, now, project, EventType::CoverageUpdated, data, out);
        self.say(shard, now, project, EventType::TestSuiteCompleted, suite_data(project, suite), out);
        let me = &mut self.shards[shard];
        me.at_suite += 1;
        me.doing = Doing::NextSuite;
        if me.suite().is_none() { Next::Ended } else { Next::After(0.1 * dice.noise()) }
    }

    /// Why the attempt fails, if it does.
    fn cause(
        &self,
        shard: usize,
        suite: usize,
        test: usize,
        usual: Cause,
        flakiness: u32,
        dice: &mut Dice,
    ) -> Option<Cause> {
        if self.shards[shard].broken {
            return Some(Cause::Disk);
        }
        let hit = |r: &&Regression| r.suite == suite && (r.first_test..=r.last_test).contains(&test);
        if let Some(regression) = self.regressions.iter().find(hit) {
            return Some(regression.cause);
        }
        if !dice.chance(flakiness) {
            return None;
        }
        Some(if dice.chance(150_000) { dice.pick(&CAUSES) } else { usual })
    }

    /// Every test of a broken worker fails alike, whatever it tests.
    fn error(&self, shard: usize, cause: Cause, place: &Place<'_>, dice: &mut Dice) -> TestErrorData<'static> {
        let mut error = cause.error(place, dice);
        if self.shards[shard].broken {
            error.stack = None;
            (error.file, error.line) = (None, None);
        }
        error
    }

    fn test_data(&self, shard: usize, project: &Project, suite: usize) -> EventData<'static> {
        let me = &self.shards[shard];
        let name = project.function(suite, me.at_test);
        EventData {
            test_id: Some(format!("{}::{name}", project.suites[suite].name).into()),
            test_name: Some(name.into()),
            attempt: Some(me.attempt),
            ..suite_data(project, suite)
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one event, told apart by their types")]
    fn say_outcome(
        &mut self,
        shard: usize,
        now: Moment,
        project: &Project,
        outcome: Outcome,
        mut data: EventData<'static>,
        tag: Option<&'static str>,
        out: &mut Vec<TestEvent<'static>>,
    ) {
        let kind = match outcome {
            _ if !project.verbs => EventType::TestCaseCompleted,
            Outcome::Passed => EventType::TestPassed,
            Outcome::Failed => EventType::TestFailed,
            Outcome::Skipped => EventType::TestSkipped,
            Outcome::Error => EventType::TestError,
            Outcome::Timeout => EventType::TimeoutOccurred,
        };
        if kind == EventType::TestCaseCompleted {
            data.result = Some(outcome);
        }
        self.say(shard, now, project, kind, data, out);
        if let Some(event) = out.last_mut() {
            event.metadata.tags = tag.map(Text::from).into_iter().collect();
            event.metadata.severity = outcome.fails().then_some(Severity::Error);
        }
    }

    fn say(
        &mut self,
        shard: usize,
        now: Moment,
        project: &Project,
        event_type: EventType,
        data: EventData<'static>,
        out: &mut Vec<TestEvent<'static>>,
    ) {
        let me = &mut self.shards[shard];
        me.version += 1;
        let metadata = Metadata {
            project: project.name.clone().into(),
            framework: Some(project.framework.into()),
            user_id: Some(self.user.into()),
            branch: Some(self.branch.clone().into()),
            commit: Some(self.commit.clone().into()),
            worker: Some(me.worker.clone().into()),
            shard: Some(me.label.clone().into()),
            variant: self.variant.map(Text::from),
            ..Metadata::default()
        };
        out.push(TestEvent {
            event_id: format!("{}-{}", me.event_prefix, me.version).into(),
            event_type,
            stream_id: me.stream.clone().into(),
            version: me.version,
            timestamp: Timestamp(now.wall_ms),
            causation_id: None,
            correlation_id: Some(self.name.clone().into()),
            data,
            metadata,
        });
    }
}

impl Shard {
    fn new(run: &str, index: usize, count: usize, suites: Vec<usize>, dice: &mut Dice) -> Shard {
        let stream = format!("{run}/{}", index + 1);
        Shard {
            event_prefix: format!("{:016x}", Id::of(&["simulated stream", &stream]).route()),
            stream,
            label: format!("{}/{count}", index + 1),
            worker: format!("runner-{:02}", dice.between(1, 64)),
            version: 0,
            suites,
            at_suite: 0,
            at_test: 0,
            attempt: 1,
            doing: Doing::NextSuite,
            began_us: 0,
            broken: false,
            vanishes_in: None,
            withdraws: None,
        }
    }

    fn suite(&self) -> Option<usize> {
        self.suites.get(self.at_suite).copied()
    }

    fn next_test(&mut self, project: &Project) {
        (self.at_test, self.attempt) = (self.at_test + 1, 1);
        let left = self.suite().is_some_and(|suite| self.at_test < project.suites[suite].tests);
        self.doing = if left { Doing::NextTest } else { Doing::EndingSuite };
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "small and ≥ 0"
)]
fn shard_count(most: usize, growth: f64, suites: usize, dice: &mut Dice) -> usize {
    let drawn = dice.between(1, most) as f64 * growth;
    (drawn.round() as usize).clamp(1, suites)
}

fn suite_data(project: &Project, suite: usize) -> EventData<'static> {
    let name = Text::from(project.suites[suite].name.clone());
    EventData { test_suite_id: Some(name.clone()), test_suite_name: Some(name), ..EventData::default() }
}

fn performance(dice: &mut Dice) -> PerformanceData<'static> {
    let memory = Some(dice.noise() * f64::from(200 << 20));
    let (cpu, queries) = (Some(dice.noise() * 0.8), (dice.noise() * 25.0).round());
    PerformanceData { memory, cpu, metrics: [(Text::from("queries"), queries)].into() }
}

/// Takes a result back: by the event that said it, or by test and attempt.
fn withdrawal(
    project: &Project,
    suite: usize,
    test: usize,
    attempt: u32,
    said: Option<&TestEvent<'static>>,
    dice: &mut Dice,
) -> EventData<'static> {
    let mut data = suite_data(project, suite);
    if dice.chance(500_000) {
        data.withdraws = said.map(|event| event.event_id.clone());
    }
    let name = project.function(suite, test);
    data.test_id = Some(format!("{}::{name}", project.suites[suite].name).into());
    data.attempt = Some(attempt);
    data
}
