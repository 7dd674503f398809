//! What the simulated fleet tests: projects with suites of tests, of which a hundredth is renamed every hour.
//!
//! Contract: a test's name is a function of its project, its place and the hour, so all workers give the same. In any three days
//! as many names are new as are never seen again; how many there are stays the same.

use std::sync::Arc;
use weir_dataflows::input::{Names, Text};
use weir_schemas::id::{Id, test_id};

pub(crate) const PROJECTS: u64 = 12;
/// Places of a project; each is one test at a time.
pub(crate) const PLACES: u64 = 2_000;
/// Places of a suite, of which the first one's renaming renames the suite.
pub(crate) const PLACES_A_SUITE: u64 = 20;
/// A place has one name for so long.
const ERA_HOURS: u64 = 100;

/// A test as it is called now.
struct Known {
    era: u64,
    suite_era: u64,
    /// Of no run yet.
    names: Names,
}

/// All tests, made when they are first run.
pub(crate) struct Catalogue {
    projects: Vec<Text>,
    tests: Vec<Option<Known>>,
}

impl Catalogue {
    pub(crate) fn new() -> Catalogue {
        let projects = (0..PROJECTS).map(|project| Text::from(format!("project-{project}"))).collect();
        let tests = (0..PROJECTS * PLACES).map(|_| None).collect();
        Catalogue { projects, tests }
    }

    pub(crate) fn project(&self, project: u64) -> &Text {
        &self.projects[project as usize]
    }

    /// The test at a place as of an hour, in a run.
    pub(crate) fn test(&mut self, (project, place): (u64, u64), hour: u64, (run_id, run): (Id, &Text)) -> Arc<Names> {
        let name = &self.projects[project as usize];
        let known = &mut self.tests[(project * PLACES + place) as usize];
        let suite = place / PLACES_A_SUITE;
        let (era, suite_era) = (era(hour, place), era(hour, suite));
        if known.as_ref().is_none_or(|known| (known.era, known.suite_era) != (era, suite_era)) {
            *known = Some(Known { era, suite_era, names: named(name, (place, era), (suite, suite_era)) });
        }
        let names = known.as_ref().map(|known| known.names.clone()).unwrap_or_default();
        Arc::new(Names { run_id, run: Arc::clone(run), ..names })
    }
}

fn era(hour: u64, number: u64) -> u64 {
    (hour + number % ERA_HOURS) / ERA_HOURS
}

fn named(project: &Text, (place, era): (u64, u64), (suite, suite_era): (u64, u64)) -> Names {
    let suite = Text::from(format!("tests/area_{suite}/v{suite_era}"));
    let test = Text::from(format!("tests/area_{suite}/test_{place}_of_{era}"));
    Names {
        suite_id: Id::of(&["suite", project, &suite]),
        test_id: Some(test_id(project, &test)),
        project: Arc::clone(project),
        suite_name: Arc::clone(&suite),
        suite,
        test_name: Text::from(format!("test_{place}_of_{era}")),
        test,
        ..Names::default()
    }
}
