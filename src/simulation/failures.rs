//! What failing tests of the simulated fleet say.
//!
//! Contract: one cause and one place give texts of one pattern whose volatile parts (identifiers, numbers, paths,
//! addresses, durations, colours) differ from one time to the next, as real failures do; the exception's type and the
//! first frame of the project's own code stay.

use super::catalogue::{Language, Place};
use super::dice::Dice;
use weir_schemas::event::TestErrorData;
use weir_schemas::outcome::Outcome;

/// Why a test of the fleet fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Assertion,
    Count,
    Selector,
    Refused,
    Absent,
    Deadlock,
    Unavailable,
    Snapshot,
    Json,
    Slow,
    Memory,
    Disk,
    Setup,
}

/// The causes that befall a single test.
pub(super) const CAUSES: [Cause; 11] = [
    Cause::Assertion,
    Cause::Count,
    Cause::Selector,
    Cause::Refused,
    Cause::Absent,
    Cause::Deadlock,
    Cause::Unavailable,
    Cause::Snapshot,
    Cause::Json,
    Cause::Slow,
    Cause::Memory,
];

impl Cause {
    /// How a test that meets it ends.
    pub(super) fn outcome(self) -> Outcome {
        match self {
            Cause::Assertion | Cause::Count | Cause::Selector | Cause::Snapshot => Outcome::Failed,
            Cause::Slow => Outcome::Timeout,
            _ => Outcome::Error,
        }
    }

    fn kind(self, language: Language) -> &'static str {
        match (self, language) {
            (Cause::Assertion | Cause::Count | Cause::Snapshot, Language::Python) => "AssertionError",
            (Cause::Assertion | Cause::Count | Cause::Snapshot, Language::TypeScript) => "AssertionError",
            (Cause::Assertion | Cause::Count | Cause::Snapshot, Language::Java) => {
                "org.opentest4j.AssertionFailedError"
            }
            (Cause::Selector, _) => "TimeoutError",
            (Cause::Refused, Language::Java) => "java.net.ConnectException",
            (Cause::Refused, Language::Python) => "ConnectionRefusedError",
            (Cause::Absent, Language::Java) => "java.lang.NullPointerException",
            (Cause::Absent, Language::Python) => "AttributeError",
            (Cause::Absent | Cause::Json, Language::TypeScript) => "TypeError",
            (Cause::Deadlock, Language::Python) => "sqlalchemy.exc.OperationalError",
            (Cause::Deadlock, Language::Java) => "org.postgresql.util.PSQLException",
            (Cause::Unavailable, _) => "HTTPError",
            (Cause::Json, Language::Python) => "json.decoder.JSONDecodeError",
            (Cause::Memory, Language::Java) => "java.lang.OutOfMemoryError",
            (Cause::Slow, _) => "Timeout",
            (Cause::Disk, _) => "OSError",
            (Cause::Setup, _) => "SetupError",
            (_, Language::Rust) => "panic",
            _ => "Error",
        }
    }

    fn message(self, place: &Place<'_>, dice: &mut Dice) -> String {
        match self {
            Cause::Assertion => format!(
                "expected order {} to be paid, was {} after {} ms",
                dice.uuid(),
                dice.pick(&["pending", "pending", "pending", "void"]),
                dice.between(20, 4_000)
            ),
            Cause::Count => missing_rows(place, dice),
            Cause::Selector => format!(
                "Timed out {}ms waiting for locator('[data-test=\"{}-submit\"]') to be visible",
                dice.pick(&[5_000, 10_000, 30_000]),
                place.suite_word
            ),
            Cause::Refused => {
                format!("connect ECONNREFUSED 10.{}.{}.{}:5432", dice.below(16), dice.below(255), dice.between(1, 254))
            }
            Cause::Absent => format!(
                "cannot read '{}' of nothing (session {}, object 0x{})",
                place.suite_word,
                dice.hex(16),
                dice.hex(12)
            ),
            Cause::Deadlock => format!(
                "deadlock detected: process {} waits for ShareLock on transaction {}; blocked by process {}",
                dice.between(1_000, 65_000),
                dice.between(700_000, 990_000),
                dice.between(1_000, 65_000)
            ),
            Cause::Unavailable => format!(
                "503 Service Unavailable for url: https://{}.internal/v2/{}?trace={} (took {:.1}s)",
                place.suite_word,
                dice.between(100, 99_999),
                dice.hex(32),
                0.1 * dice.noise() * 100.0
            ),
            Cause::Snapshot => other_pixels(place, dice),
            Cause::Json => format!(
                "Unexpected token '<' at line {} column {} (char {}) in response of /api/{}",
                dice.between(1, 30),
                dice.between(1, 120),
                dice.between(1, 5_000),
                place.suite_word
            ),
            Cause::Slow => format!("test exceeded its timeout of {} ms", dice.pick(&[10_000, 30_000, 60_000])),
            Cause::Memory => format!(
                "allocation of {} bytes failed, {} MiB in use",
                dice.between(1 << 20, 1 << 30),
                dice.between(1_500, 4_096)
            ),
            Cause::Disk => format!(
                "[Errno 28] No space left on device: '/var/lib/runner/work/{}/{}.tmp'",
                dice.hex(8),
                dice.uuid()
            ),
            Cause::Setup => format!(
                "fixture database of {} did not come up in {} s: container {} exited with 137",
                place.suite_word,
                dice.pick(&[30, 60]),
                dice.hex(12)
            ),
        }
    }

    /// The error of a test that meets this cause at `place`.
    pub(super) fn error(self, place: &Place<'_>, dice: &mut Dice) -> TestErrorData<'static> {
        let kind = self.kind(place.language);
        let message = self.message(place, dice);
        let stack = stack(kind, &message, place, dice);
        TestErrorData {
            message: message.into(),
            kind: Some(kind.into()),
            stack: Some(stack.into()),
            file: Some(place.file.clone().into()),
            line: Some(place.line),
        }
    }
}

fn missing_rows(place: &Place<'_>, dice: &mut Dice) -> String {
    let expected = dice.between(3, 40);
    let found = expected - dice.between(1, 3);
    format!("\u{1b}[31mexpected {expected} rows, found {found}\u{1b}[0m in table {}_events", place.suite_word)
}

fn other_pixels(place: &Place<'_>, dice: &mut Dice) -> String {
    format!(
        "snapshot {}.png differs in {} pixels (ratio 0.0{}), see /tmp/shots-{}/{}.diff.png",
        place.suite_word,
        dice.between(40, 90_000),
        dice.between(1, 9),
        dice.hex(6),
        place.suite_word
    )
}

fn stack(kind: &str, message: &str, place: &Place<'_>, dice: &mut Dice) -> String {
    let Place { file, line, function, .. } = place;
    let home = format!("/home/runner/work/{}", dice.between(100_000, 999_999));
    match place.language {
        Language::Python => format!(
            "Traceback (most recent call last):\n  File \"{home}/{file}\", line {line}, in {function}\n    check(subject)\n  \
             File \"{home}/.venv/lib/python3.12/site-packages/_pytest/python.py\", line 159, in pytest_pyfunc_call\n{kind}: {message}"
        ),
        Language::TypeScript => format!(
            "{kind}: {message}\n    at {function} ({home}/{file}:{line}:{})\n    at async Runner.run \
             ({home}/node_modules/runner/lib/index.js:412:9)",
            4 + line % 40
        ),
        Language::Java => format!(
            "{kind}: {message}\n\tat {}.{function}({}.java:{line})\n\tat \
             java.base/jdk.internal.reflect.DirectMethodHandleAccessor.invoke(DirectMethodHandleAccessor.java:103)",
            place.suite, place.suite_word
        ),
        Language::Go => format!("    {file}:{line}: {message}\n--- FAIL: {function} ({:.2}s)", dice.noise()),
        Language::Rust => format!(
            "thread '{function}' ({}) panicked at {file}:{line}:{}:\n{message}\nstack backtrace:\n   0: \
             __rustc::rust_begin_unwind\n   1: core::panicking::panic_fmt\n   2: {function}",
            dice.between(1_000, 90_000),
            4 + line % 40
        ),
    }
}
