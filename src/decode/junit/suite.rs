//! Suites while they are read: their identity, what they declare, and what repeated cases in them mean.

use super::super::identity::shorten;
use super::super::report::{Case, Repeats, Suite};
use super::{Element, IssueKind, Parser, values};
use quick_xml::events::BytesStart;
use weir_schemas::limits::{Limits, cut};
use weir_schemas::text::Text;

/// A `testsuite` while it is read.
pub(super) struct OpenSuite {
    /// Its place in the report.
    pub(super) index: usize,
    declared: Option<u64>,
    /// Cases directly in it.
    own: u64,
    /// Cases in it and in the suites in it.
    all: u64,
    suites: u64,
    dated: bool,
    web_test_runner: bool,
}

impl OpenSuite {
    /// Notes a property of the suite.
    pub(super) fn property(&mut self, name: &str) {
        self.web_test_runner |= name == "browser.launcher";
    }

    /// What a case means that comes again in this suite. The web test runner tells itself by its properties; Gradle (its
    /// retry plugin without `mergeReruns`) by its shape: a suite is a class, with host and time, and two methods of a class
    /// cannot have the same name. In pytest no two tests have the same name either, and its rerun plugin writes the tries
    /// before the last as passed; but a subtest that failed is a case of its test's name too, so a failure is not a try.
    pub(super) fn repeats(&self, suite: &Suite, case: &Case) -> Repeats {
        let gradle = self.dated && suite.hostname.is_some() && case.class == suite.name;
        if self.web_test_runner || gradle {
            Repeats::AttemptsAfterFailure
        } else if suite.name == "pytest" {
            Repeats::AttemptsAfterPass
        } else {
            Repeats::Tests
        }
    }
}

/// Joins what a case's teardown says into the case: its last attempt ends with the worse of the two.
pub(super) fn join(case: &mut Case, teardown: Case, limits: &Limits) {
    let (Some(last), Some(after)) = (case.attempts.last_mut(), teardown.attempts.into_iter().next_back()) else {
        return;
    };
    last.outcome = last.outcome.max(after.outcome);
    match (&mut last.error, after.error) {
        (Some(error), Some(more)) => {
            let stack = error.stack.as_deref().unwrap_or_default();
            let more_stack = more.stack.as_deref().unwrap_or_default();
            let joined = format!("{stack}\n--- also: {}\n{more_stack}", more.message);
            error.stack = Some(Text::from(cut(&joined, limits.error_stack).into_owned()));
        }
        (error @ None, more) => *error = more,
        (Some(_), None) => {}
    }
}

/// What a suite is called that has no name of its own and nothing to borrow one from.
const UNNAMED: &str = "unnamed suite";

#[derive(Default)]
struct SuiteNames {
    name: String,
    package: String,
    file: String,
}

impl Parser<'_> {
    pub(super) fn open_root(&mut self, start: &BytesStart<'_>) -> Element {
        self.known = true;
        let (mut name, mut declared) = (None, None);
        self.attributes(start, |_, key, value| match key {
            "name" => name = Some(value).filter(|name| !name.is_empty()),
            "tests" => declared = number(&value),
            _ => {}
        });
        Element::Root { name, declared, counted: 0 }
    }

    pub(super) fn open_suite(&mut self, start: &BytesStart<'_>) -> Element {
        self.known = true;
        let mut suite = Suite::default();
        let mut names = SuiteNames::default();
        let (mut declared, mut dated) = (None, false);
        self.attributes(start, |parser, key, value| match key {
            "name" => names.name = value,
            "package" => names.package = value,
            "file" | "filepath" => names.file = value,
            "hostname" => {
                suite.hostname = Some(shorten(&value, parser.limits.name)).filter(|hostname| !hostname.is_empty());
            }
            "timestamp" => {
                suite.started_at = values::timestamp_ms(&value);
                dated = true;
            }
            "time" | "duration" => suite.duration_ms = parser.duration(&value),
            "tests" => declared = number(&value),
            _ => {}
        });
        self.name_suite(&mut suite, names);
        Element::Suite(OpenSuite {
            index: self.add_suite(suite),
            declared,
            own: 0,
            all: 0,
            suites: 0,
            dated,
            web_test_runner: false,
        })
    }

    /// The readable name is the innermost one, the identity has what stands around it too.
    fn name_suite(&mut self, suite: &mut Suite, names: SuiteNames) {
        let given = [names.name, names.package.clone(), names.file].into_iter().find(|name| !name.trim().is_empty());
        suite.name = match given {
            Some(name) => stripped_of_time(&name).to_owned(),
            None => self.root_name().unwrap_or(UNNAMED).to_owned(),
        };
        let mut id = suite.name.clone();
        if !names.package.is_empty() && !id.starts_with(&names.package) {
            id = format!("{}.{id}", names.package);
        }
        let (report, limits) = (&self.report, self.limits);
        let outer = self.frames.iter().rev().find_map(|frame| match &frame.element {
            Element::Suite(outer) => Some(&report.suites[outer.index].id),
            _ => None,
        });
        suite.id = match outer {
            Some(outer) => shorten(&format!("{outer} > {id}"), limits.name),
            None => shorten(&id, limits.name),
        };
    }

    fn root_name(&self) -> Option<&str> {
        self.frames.iter().find_map(|frame| match &frame.element {
            Element::Root { name, .. } => name.as_deref(),
            _ => None,
        })
    }

    fn add_suite(&mut self, suite: Suite) -> usize {
        // Two events: its start and its end. Without room for them nothing more is taken, so the suite that stands in for
        // it gets none of its cases.
        if self.room < 2 && !self.report.suites.is_empty() {
            self.room = 0;
            self.left_out += 1;
        } else {
            self.room = self.room.saturating_sub(2);
            self.report.suites.push(suite);
        }
        self.report.suites.len() - 1
    }

    /// The suite of a case that opens now.
    pub(super) fn suite_of(&mut self, class: &str) -> usize {
        let open = self.frames.iter().rev().find_map(|frame| match &frame.element {
            Element::Suite(suite) => Some(suite.index),
            _ => None,
        });
        if let Some(index) = open {
            return index;
        }
        let own = Some(class).filter(|class| !class.trim().is_empty());
        let name = self.root_name().or(own).unwrap_or(UNNAMED).to_owned();
        if let Some(index) = self.implicit.get(&name) {
            return *index;
        }
        let id = shorten(&name, self.limits.name);
        let index = self.add_suite(Suite { id, name: name.clone(), ..Suite::default() });
        self.implicit.insert(name, index);
        index
    }

    /// Counts a case in everything that it stands in.
    pub(super) fn count(&mut self) {
        let mut innermost = true;
        for frame in self.frames.iter_mut().rev() {
            match &mut frame.element {
                Element::Suite(suite) => {
                    suite.own += u64::from(innermost);
                    suite.all += 1;
                    innermost = false;
                }
                Element::Root { counted, .. } => *counted += 1,
                _ => {}
            }
        }
    }

    pub(super) fn close_suite(&mut self, open: OpenSuite) {
        let outer = self.frames.iter_mut().rev().find_map(|frame| match &mut frame.element {
            Element::Suite(outer) => Some(outer),
            _ => None,
        });
        if let Some(outer) = outer {
            outer.suites += 1;
        }
        let suite = &mut self.report.suites[open.index];
        suite.container = open.suites > 0 && open.own == 0;
        let name = format!("the suite `{}`", cut(&suite.name, 80));
        self.declared(open.declared, open.all, open.own, &name);
    }

    /// Compares what was declared with what was counted.
    pub(super) fn declared(&mut self, declared: Option<u64>, all: u64, own: u64, what: &str) {
        if let Some(declared) = declared
            && declared != all
            && declared != own
        {
            self.issue(IssueKind::Count, || format!("{what} declares {declared} tests and has {all}: {all} count"));
        }
    }
}

fn number(text: &str) -> Option<u64> {
    text.trim().replace(',', "").parse().ok()
}

/// A name without the time of day that unittest-xml-reporting puts behind it: `TestAcme-20251114214921`.
fn stripped_of_time(name: &str) -> &str {
    match name.rsplit_once('-') {
        Some((stem, time))
            if !stem.is_empty()
                && time.len() == 14
                && time.starts_with("20")
                && time.bytes().all(|b| b.is_ascii_digit()) =>
        {
            stem
        }
        _ => name,
    }
}
