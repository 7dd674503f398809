//! `user_activity`: who is at work in a project, and how it went.
//!
//! Contract: takes how the runs of users stand, told at whole seconds, each replacing what was said before; a run that leaves
//! is told once more. A run counts for its user from the second at which it is first told; that it leaves is no
//! withdrawal: what it was the last of stays. Rows move at whole seconds, and at midnight UTC, when nobody has begun a run.
//! A user none of whose runs is in state rests, and is forgotten `user_memory` after the last event, at a whole second.
//!
//! A project has at most `users` users in state ([`crate::room`]); one who rests makes room for one who comes. Who comes when
//! nobody rests is not seen: the run counts in the project's row of the user without a name, as long as it is in state,
//! which otherwise is a user like any other. A run cannot name a user without a name, so the two never meet.
//!
//! # Invariants
//! Within a second: what is known of known runs, then who is forgotten, then new runs in the order in which they began, then
//! those of them that leave. All users of a project are on one worker: a run says one thing a second.
//!
//! # Cost
//! O(runs in state) a touched user and second; some 200 bytes a user, 60 a run in state.

use crate::config::Config;
use crate::context::Context;
use crate::facts::{RowChange, Rows};
use crate::input::Text;
use crate::keyed::{Collection, Home, Machine, Step, keyed};
use crate::map::Map;
use crate::room::{Entry, Room};
use crate::top_k::Group;
use crate::window::Agenda;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use timely::dataflow::channels::pact::Exchange;
use weir_schemas::id::Id;
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::update::Cause;
use weir_schemas::view::USER_ACTIVITY;

const DAY_MS: u64 = 86_400_000;

/// How a run of a user stands, replacing what was said of it before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunOfUser {
    /// The run.
    pub run: Id,
    /// Its project.
    pub project: Text,
    /// Its user; never empty.
    pub user: Text,
    /// The run's name.
    pub name: Text,
    /// The tick at which it began.
    pub began_at: u64,
    /// Its latest event time.
    pub last_event_at: u64,
    /// How it ended, if it did.
    pub ended: Option<Ended>,
    /// Whether it leaves: this is the last word on it.
    pub left: bool,
    /// Whether anything was withdrawn since the last word.
    pub withdrawn: bool,
}

/// The end of a run; the later ones are larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ended {
    /// The tick.
    pub at: u64,
    /// The run.
    pub run: Id,
    /// How.
    pub ending: Ending,
}

/// How a run ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Ending {
    /// No test failed.
    Passed,
    /// A test failed, or the run itself.
    Failed,
    /// It fell silent.
    Abandoned,
}

impl Ending {
    /// The word in rows.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Ending::Passed => "passed",
            Ending::Failed => "failed",
            Ending::Abandoned => "abandoned",
        }
    }
}

/// A user's identity; that of the one without a name is of those who found no room.
#[must_use]
pub fn user_id(project: &str, user: &str) -> Id {
    Id::of(&["user", project, user])
}

/// The view's rows.
#[must_use]
pub fn render<'s>(cx: &Context<'s>, runs: Collection<'s, Arc<RunOfUser>>) -> Rows<'s> {
    let by_project = Exchange::new(|(run, _, _): &(Arc<RunOfUser>, u64, i64)| group(&run.project).0.route());
    keyed("UserActivity", runs, by_project, &cx.states, Users::new(Arc::clone(&cx.config)))
}

fn group(project: &str) -> Group {
    (Id::of(&["project", project]), 0)
}

/// One user, or those of a project who found no room.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct User {
    project: Text,
    name: Text,
    /// The runs in state, and how those ended that did.
    runs: BTreeMap<Id, Option<Ended>>,
    /// The last end among the runs that left.
    left: Option<Ended>,
    /// The latest event: its time, its run, that one's name.
    last: (u64, Id, Text),
    /// The day on which `today` counts runs.
    day: u64,
    today: u64,
    shown: Option<Row>,
}

impl User {
    fn new(run: &RunOfUser, name: &Text) -> User {
        User {
            project: Arc::clone(&run.project),
            name: Arc::clone(name),
            runs: BTreeMap::new(),
            left: None,
            last: (run.last_event_at, run.run, Arc::clone(&run.name)),
            day: 0,
            today: 0,
            shown: None,
        }
    }

    fn rests(&self) -> bool {
        self.runs.is_empty()
    }

    fn update(&mut self, run: &RunOfUser) {
        if (run.last_event_at, run.run) > (self.last.0, self.last.1) {
            self.last = (run.last_event_at, run.run, Arc::clone(&run.name));
        }
        self.runs.insert(run.run, run.ended);
    }

    fn leave(&mut self, run: Id) {
        let ended = self.runs.remove(&run).flatten();
        self.left = self.left.max(ended);
    }

    fn forget_at(&self, memory_ms: u64) -> u64 {
        self.last.0.saturating_add(memory_ms).next_multiple_of(USER_ACTIVITY.cadence_ms)
    }

    fn row(&self, writer: &mut RowWriter) -> Row {
        let running = self.runs.values().filter(|ended| ended.is_none()).count() as u64;
        let result = self.runs.values().copied().flatten().chain(self.left).max();
        writer.str(&self.project).str(&self.name).uint(running).uint(self.today).str(&self.last.2);
        writer.opt_str(result.map(|ended| ended.ending.as_str())).uint(self.last.0);
        writer.finish(&USER_ACTIVITY)
    }
}

/// Why a user is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Look {
    Midnight,
    Memory,
}

/// All users of the projects of one worker.
struct Users {
    config: Arc<Config>,
    users: Map<Id, User>,
    /// For which user each run in state counts.
    runs: Map<Id, Id>,
    room: Room,
    /// Who is looked at when: at midnight, or when they may be forgotten.
    agenda: Agenda<(Id, Look)>,
    writer: RowWriter,
}

impl Users {
    fn new(config: Arc<Config>) -> Users {
        let room = Room::new(config.users);
        let (users, runs, agenda) = Default::default();
        Users { config, users, runs, room, agenda, writer: RowWriter::default() }
    }

    /// The user for whom a new run counts.
    fn place(&mut self, run: &RunOfUser, step: &mut Step<'_, RowChange>) -> Id {
        let (id, group) = (user_id(&run.project, &run.user), group(&run.project));
        if let Some(user) = self.users.get(&id) {
            self.room.wake(group, user.last.0, id);
            if user.rests() {
                self.agenda.remove(user.forget_at(self.config.user_memory_ms), &(id, Look::Memory));
            }
            return id;
        }
        match self.room.enter(group) {
            Entry::Free => {}
            Entry::InPlaceOf(left) => {
                if let Some(user) = self.users.remove(&left) {
                    self.agenda.remove(user.forget_at(self.config.user_memory_ms), &(left, Look::Memory));
                    user.shown.into_iter().for_each(|row| step.emit(RowChange { row, cause: Cause::Evicted }, -1));
                }
            }
            Entry::Full => {
                let nobody = Text::from("");
                let other = user_id(&run.project, &nobody);
                let user = self.users.get_or_insert_with(other, || User::new(run, &nobody));
                if user.rests() {
                    self.agenda.remove(user.forget_at(self.config.user_memory_ms), &(other, Look::Memory));
                }
                return other;
            }
        }
        self.users.insert(id, User::new(run, &run.user));
        id
    }

    /// Counts a new run.
    fn begin(&mut self, run: &RunOfUser, step: &mut Step<'_, RowChange>) -> Id {
        let id = self.place(run, step);
        self.runs.insert(run.run, id);
        let user = self.users.get_mut(&id).expect("placed");
        user.update(run);
        let day = step.now() / DAY_MS;
        if run.began_at / DAY_MS == day {
            user.today = if user.day == day { user.today + 1 } else { 1 };
            user.day = day;
            if user.today == 1 && self.agenda.add((day + 1) * DAY_MS, (id, Look::Midnight)) {
                step.wake_at((day + 1) * DAY_MS);
            }
        }
        id
    }

    /// A run leaves: its user may rest.
    fn leave(&mut self, run: &RunOfUser, step: &mut Step<'_, RowChange>) {
        let Some(id) = self.runs.remove(&run.run) else { return };
        let user = self.users.get_mut(&id).expect("of a run in state");
        user.leave(run.run);
        if !user.rests() {
            return;
        }
        if !user.name.is_empty() {
            self.room.rest(group(&user.project), user.last.0, id);
        }
        let forget_at = user.forget_at(self.config.user_memory_ms);
        if self.agenda.add(forget_at, (id, Look::Memory)) && forget_at > step.now() {
            step.wake_at(forget_at);
        }
    }

    /// Looks at whoever is due: forgets those that have rested for too long, and begins a day.
    fn look(&mut self, touched: &mut BTreeSet<Id>, step: &mut Step<'_, RowChange>) {
        let now = step.now();
        for (id, _) in self.agenda.due(now) {
            let Some(user) = self.users.get_mut(&id) else { continue };
            if user.day != now / DAY_MS {
                user.today = 0;
            }
            touched.insert(id);
            if !user.rests() || user.forget_at(self.config.user_memory_ms) > now {
                continue;
            }
            user.shown.take().into_iter().for_each(|row| step.emit(RowChange { row, cause: Cause::Evicted }, -1));
            if !user.name.is_empty() {
                self.room.leave(group(&user.project), user.last.0, id);
            }
            self.users.remove(&id);
        }
    }

    fn show(&mut self, id: Id, cause: Cause, step: &mut Step<'_, RowChange>) {
        let Some(user) = self.users.get_mut(&id) else { return };
        let row = user.row(&mut self.writer);
        if user.shown.as_ref() != Some(&row) {
            user.shown.replace(row.clone()).into_iter().for_each(|row| step.emit(RowChange { row, cause }, -1));
            step.emit(RowChange { row, cause: Cause::Changed }, 1);
        }
    }
}

impl Machine for Users {
    type Input = Arc<RunOfUser>;
    type Output = RowChange;
    type Entry = (Id, UserEntry);

    #[cfg(test)]
    fn fresh(&self) -> Option<Self> {
        Some(Users::new(Arc::clone(&self.config)))
    }

    fn step(&mut self, data: &mut Vec<(Arc<RunOfUser>, i64)>, step: &mut Step<'_, RowChange>) {
        let (mut touched, mut withdrawn) = (BTreeSet::new(), BTreeSet::new());
        data.sort_unstable_by_key(|(run, _)| (run.began_at, run.run));
        let (known, new): (Vec<_>, Vec<_>) =
            data.drain(..).map(|(run, _)| run).partition(|run| self.runs.contains(&run.run));
        for run in &known {
            let id = *self.runs.get(&run.run).expect("known");
            self.users.get_mut(&id).expect("of a run in state").update(run);
            withdrawn.extend(run.withdrawn.then_some(id));
            touched.insert(id);
        }
        known.iter().filter(|run| run.left).for_each(|run| self.leave(run, step));
        self.look(&mut touched, step);
        for run in &new {
            touched.insert(self.begin(run, step));
        }
        new.iter().filter(|run| run.left).for_each(|run| self.leave(run, step));
        self.look(&mut touched, step);
        for id in touched {
            let cause = if withdrawn.contains(&id) { Cause::Withdrawn } else { Cause::Changed };
            self.show(id, cause, step);
        }
    }

    fn entries(&self) -> Vec<Self::Entry> {
        self.users.sorted().into_iter().map(|(id, user)| (*id, UserEntry(user.clone()))).collect()
    }

    fn home((_, UserEntry(user)): &Self::Entry) -> Home {
        Home::Routed(group(&user.project).0.route())
    }

    fn restore(&mut self, entries: Vec<Self::Entry>) -> Vec<u64> {
        for (id, UserEntry(user)) in entries {
            let group = group(&user.project);
            if !user.name.is_empty() {
                self.room.restore(group);
            }
            if user.today > 0 {
                self.agenda.add((user.day + 1) * DAY_MS, (id, Look::Midnight));
            }
            if user.rests() {
                self.agenda.add(user.forget_at(self.config.user_memory_ms), (id, Look::Memory));
                if !user.name.is_empty() {
                    self.room.rest(group, user.last.0, id);
                }
            }
            for run in user.runs.keys() {
                self.runs.insert(*run, id);
            }
            self.users.insert(id, user);
        }
        self.agenda.times().collect()
    }
}

/// A user in a snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UserEntry(User);
