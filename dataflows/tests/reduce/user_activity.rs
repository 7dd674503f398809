//! `user_activity`: one `reduce` a user over the lives of their runs; what began today leaves at midnight.

use super::shared::within;
use super::stages::{Rows, Stages};
use super::told::{Course, Life, Told};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use weir_dataflows::Config;
use weir_dataflows::input::Text;
use weir_schemas::row::RowWriter;
use weir_schemas::view::USER_ACTIVITY;

const DAY: u64 = 86_400_000;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Part {
    /// A run, with its name.
    Run(Life, Text, Course),
    Today(Life),
}

pub(crate) fn rows<'s>(stages: &Stages<'s>, _: &Config) -> Rows<'s> {
    // Project and user, name and begin of each life that says whose it is.
    let lives = stages.said.clone().reduce(|_, told: &[(Told, isize)]| {
        let (first, names) = (&told[0].0, &told[0].0.event.names);
        let user = told.iter().find_map(|(told, _)| told.event.origin.user.as_ref());
        let of = |user: &Text| ((Arc::clone(&names.project), Arc::clone(user)), Arc::clone(&names.run), first.tick);
        user.map(of).into_iter().collect()
    });
    let today = within(
        lives.clone(),
        1_000,
        |(_, (.., began))| (began / DAY + 1) * DAY,
        |(life, (user, ..))| (user, Part::Today(life)),
    );
    let runs = lives
        .join(stages.outcomes.clone())
        .map(|(life, ((user, name, _), course))| (user, Part::Run(life, name, course)));
    let reduced = runs.concat(today).reduce(|(project, user), parts| {
        let runs: Vec<(&Life, &Text, &Course)> = parts
            .iter()
            .filter_map(|(part, _)| match part {
                Part::Run(life, name, course) => Some((life, name, course)),
                Part::Today(_) => None,
            })
            .collect();
        let Some(last) = runs.iter().max_by_key(|(life, _, course)| (course.last_event_at, **life)) else {
            return Vec::new();
        };
        let ended = runs.iter().filter_map(|(life, _, course)| Some((course.ended_at?, life.0, &course.state)));
        let running = runs.iter().filter(|(.., course)| course.ended_at.is_none()).count();
        let mut row = RowWriter::default();
        row.str(project).str(user).uint(running as u64).uint((parts.len() - runs.len()) as u64);
        row.str(last.1).opt_str(ended.max().map(|(.., state)| &**state)).uint(last.2.last_event_at);
        vec![row.finish(&USER_ACTIVITY)]
    });
    reduced.map(|(_, row)| row)
}
