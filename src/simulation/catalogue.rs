//! The projects of the simulated fleet: their suites, tests, people and branches, and what is broken in them just now.
//!
//! Contract: a project is made from the seed and keeps its suites and tests for the life of the fleet, so that a test has a
//! history: usual duration, flakiness and a favourite cause of failure are functions of its name. What changes is the
//! head commit of a branch and the list of regressions.
//!
//! # Cost
//! State O(projects × suites); names of tests are made when needed, never kept. At most [`REGRESSIONS_MAX`] a project.

use super::dice::Dice;
use super::failures::{CAUSES, Cause};
use weir_schemas::id::Id;

/// At most so many regressions a project at a time.
pub(super) const REGRESSIONS_MAX: usize = 3;

/// The language of a project: it gives files, stacks and exception types their looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    Python,
    TypeScript,
    Java,
    Go,
    Rust,
}

struct Template {
    name: &'static str,
    framework: &'static str,
    language: Language,
    suites: usize,
    tests_max: usize,
    shards_max: usize,
    attempts_max: u32,
    /// Whether its reporter says `test_passed` and the like, instead of `test_case_completed` with a result.
    verbs: bool,
    variants: &'static [&'static str],
}

const TEMPLATES: [Template; 8] = [
    template("web", "playwright", Language::TypeScript, (18, 14, 4, 3), true, &["chromium", "firefox", "webkit"]),
    template("api", "pytest", Language::Python, (22, 26, 3, 1), false, &[]),
    template("billing", "junit5", Language::Java, (26, 20, 3, 2), true, &[]),
    template("ingest", "go test", Language::Go, (14, 24, 2, 1), false, &[]),
    template("engine", "nextest", Language::Rust, (16, 40, 4, 3), false, &["linux", "macos"]),
    template("mobile", "jest", Language::TypeScript, (20, 18, 2, 2), true, &[]),
    template("search", "pytest", Language::Python, (12, 30, 2, 2), true, &[]),
    template("payments", "surefire", Language::Java, (18, 16, 3, 1), false, &[]),
];

const fn template(
    name: &'static str,
    framework: &'static str,
    language: Language,
    (suites, tests_max, shards_max, attempts_max): (usize, usize, usize, u32),
    verbs: bool,
    variants: &'static [&'static str],
) -> Template {
    Template { name, framework, language, suites, tests_max, shards_max, attempts_max, verbs, variants }
}

const WORDS: [&str; 26] = [
    "orders",
    "checkout",
    "invoices",
    "login",
    "search",
    "profile",
    "catalogue",
    "basket",
    "refunds",
    "webhooks",
    "sessions",
    "exports",
    "imports",
    "ledger",
    "quota",
    "tokens",
    "uploads",
    "mailer",
    "feeds",
    "audit",
    "coupons",
    "shipping",
    "taxes",
    "reports",
    "scheduler",
    "cache",
];

const DEEDS: [&str; 16] = [
    "creates",
    "rejects",
    "updates",
    "lists",
    "deletes",
    "retries",
    "merges",
    "rounds",
    "expires",
    "locks",
    "renames",
    "paginates",
    "restores",
    "validates",
    "streams",
    "notifies",
];

const OBJECTS: [&str; 14] = [
    "an empty one",
    "two at once",
    "the oldest",
    "a foreign one",
    "unicode names",
    "a huge one",
    "a closed account",
    "on a leap day",
    "after a restart",
    "without rights",
    "with a stale token",
    "in bulk",
    "a duplicate",
    "offline",
];

const PEOPLE: [&str; 12] =
    ["ann", "bo", "carla", "dmitri", "elif", "femi", "gitte", "hugo", "ines", "jun", "kofi", "lena"];

const TOPICS: [&str; 10] = [
    "faster-startup",
    "fix-rounding",
    "new-header",
    "bump-deps",
    "retry-queue",
    "dark-mode",
    "split-module",
    "drop-legacy",
    "better-errors",
    "rate-limits",
];

/// A suite of a project.
pub(super) struct Suite {
    pub(super) name: String,
    pub(super) word: &'static str,
    pub(super) file: String,
    pub(super) tests: usize,
}

/// Where a test stands in its project's sources.
pub(super) struct Place<'a> {
    pub(super) language: Language,
    pub(super) suite: &'a str,
    pub(super) suite_word: &'static str,
    pub(super) function: String,
    pub(super) file: String,
    pub(super) line: u32,
}

/// A stretch of one suite that fails until somebody mends it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Regression {
    pub(super) suite: usize,
    pub(super) first_test: usize,
    pub(super) last_test: usize,
    pub(super) cause: Cause,
    /// Whether the main branch has it, or only one of the others.
    pub(super) main: bool,
}

/// A branch and the commit at its head.
pub(super) struct Branch {
    pub(super) name: String,
    pub(super) commit: String,
    pub(super) user: &'static str,
}

/// The lasting character of a test.
pub(super) struct Character {
    /// Its usual duration in units of the fleet's mean.
    pub(super) duration: f64,
    pub(super) cause: Cause,
    /// How likely an attempt fails for no reason, parts in a million.
    pub(super) flakiness: u32,
    pub(super) skipped: bool,
    pub(super) tag: Option<&'static str>,
}

/// A project.
pub(super) struct Project {
    pub(super) name: String,
    pub(super) framework: &'static str,
    pub(super) language: Language,
    pub(super) suites: Vec<Suite>,
    pub(super) shards_max: usize,
    pub(super) attempts_max: u32,
    pub(super) verbs: bool,
    pub(super) variants: &'static [&'static str],
    pub(super) branches: Vec<Branch>,
    pub(super) regressions: Vec<Regression>,
}

impl Project {
    /// The project of a number, its suites `growth` times as large as a small fleet's.
    pub(super) fn new(number: usize, growth: f64, dice: &mut Dice) -> Project {
        let template = &TEMPLATES[number % TEMPLATES.len()];
        let round = number / TEMPLATES.len();
        let name = if round == 0 { template.name.to_owned() } else { format!("{}-{}", template.name, round + 1) };
        let suites = (0..template.suites).map(|index| suite(template, index, growth, dice)).collect();
        let mut branches = vec![branch("main".to_owned(), dice)];
        for _ in 0..5 {
            let topic = dice.pick(&TOPICS);
            let name = format!("{}/{topic}-{}", dice.pick(&["feature", "fix", "renovate"]), dice.between(100, 999));
            branches.push(branch(name, dice));
        }
        Project {
            name,
            framework: template.framework,
            language: template.language,
            suites,
            shards_max: template.shards_max,
            attempts_max: template.attempts_max,
            verbs: template.verbs,
            variants: template.variants,
            branches,
            regressions: Vec::new(),
        }
    }

    /// Time goes on: commits are pushed, things break and are mended. Called as each run begins.
    pub(super) fn live(&mut self, dice: &mut Dice) {
        let pushed = dice.below(self.branches.len());
        if dice.chance(600_000) {
            self.branches[pushed].commit = dice.hex(40);
        }
        if self.regressions.len() < REGRESSIONS_MAX && dice.chance(200_000) {
            let suite = dice.below(self.suites.len());
            let first_test = dice.below(self.suites[suite].tests);
            let last_test = first_test + dice.below(6);
            let (cause, main) = (dice.pick(&CAUSES), dice.chance(250_000));
            self.regressions.push(Regression { suite, first_test, last_test, cause, main });
        } else if dice.chance(120_000) && !self.regressions.is_empty() {
            let mended = dice.below(self.regressions.len());
            self.regressions.swap_remove(mended);
        }
    }

    /// The function of a test, as its source names it.
    pub(super) fn function(&self, suite: usize, test: usize) -> String {
        let hash = self.hash(suite, test);
        let (deed, object) = (DEEDS[below(hash >> 8, DEEDS.len())], OBJECTS[below(hash >> 16, OBJECTS.len())]);
        let word = self.suites[suite].word;
        match self.language {
            Language::Python | Language::Rust => format!("test_{deed}_{}_{test}", object.replace(' ', "_")),
            Language::TypeScript => format!("{word} {deed} {object} #{test}"),
            Language::Java => format!("{deed}{}{test}", camel(object)),
            Language::Go => format!("Test{}{}{test}", camel(deed), camel(object)),
        }
    }

    /// Where a test stands.
    pub(super) fn place(&self, suite: usize, test: usize) -> Place<'_> {
        let Suite { name, word, file, .. } = &self.suites[suite];
        let line = u32::try_from(12 + test * 17).unwrap_or(u32::MAX);
        let function = self.function(suite, test);
        Place { language: self.language, suite: name, suite_word: word, function, file: file.clone(), line }
    }

    /// The character of a test.
    pub(super) fn character(&self, suite: usize, test: usize) -> Character {
        let hash = self.hash(suite, test);
        // Four tests in five are quick, a few are long; the mean over all is about 1.
        let duration = match hash % 100 {
            0..=59 => 0.35,
            60..=84 => 0.9,
            85..=95 => 2.4,
            _ => 7.0,
        };
        Character {
            duration,
            cause: CAUSES[below(hash >> 24, CAUSES.len())],
            flakiness: if (hash >> 32).is_multiple_of(60) { 280_000 } else { 1_500 },
            skipped: (hash >> 40).is_multiple_of(45),
            tag: match (hash >> 48) % 12 {
                0 => Some("db"),
                1 => Some("slow"),
                2 => Some("smoke"),
                _ => None,
            },
        }
    }

    fn hash(&self, suite: usize, test: usize) -> u64 {
        Id::of(&[&self.name, &self.suites[suite].name]).with(&test.to_string()).route()
    }
}

fn below(hash: u64, end: usize) -> usize {
    usize::try_from(hash % end as u64).unwrap_or(0)
}

fn branch(name: String, dice: &mut Dice) -> Branch {
    Branch { name, commit: dice.hex(40), user: dice.pick(&PEOPLE) }
}

fn camel(words: &str) -> String {
    let mut out = String::new();
    for word in words.split(' ') {
        let mut letters = word.chars();
        out.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        out.push_str(letters.as_str());
    }
    out
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "small and ≥ 0"
)]
fn suite(template: &Template, index: usize, growth: f64, dice: &mut Dice) -> Suite {
    let word = WORDS[index % WORDS.len()];
    let (name, file) = match template.language {
        Language::Python => (format!("tests.unit.test_{word}"), format!("tests/unit/test_{word}.py")),
        Language::TypeScript => (format!("{word}.spec.ts"), format!("src/{word}/{word}.spec.ts")),
        Language::Java => {
            let class = format!("{}ServiceTest", camel(word));
            (format!("com.acme.{word}.{class}"), format!("src/test/java/com/acme/{word}/{class}.java"))
        }
        Language::Go => (format!("acme.dev/{}/{word}", template.name), format!("{word}/{word}_test.go")),
        Language::Rust => (format!("{}::{word}", template.name), format!("crates/{word}/tests/{word}.rs")),
    };
    let tests = (dice.between(4, template.tests_max) as f64 * growth).ceil() as usize;
    Suite { name, word, file, tests }
}
