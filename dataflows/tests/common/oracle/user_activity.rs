//! The view `user_activity`: from the lives of runs, going from second to second.

use super::run_progress::{first_origin, last_event_at, state};
use super::runs::{Lives, Moment, Run};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use weir_dataflows::Config;
use weir_dataflows::views::user_activity::user_id;
use weir_schemas::id::Id;
use weir_schemas::row::{Row, RowWriter};
use weir_schemas::view::USER_ACTIVITY;

const DAY: u64 = 86_400_000;

/// A run of a user, from when it began until it left.
struct Life<'a> {
    id: Id,
    project: Arc<str>,
    user: Arc<str>,
    began: u64,
    /// The second at which it counts.
    came: u64,
    left: Option<u64>,
    moments: Vec<&'a Moment>,
}

impl Life<'_> {
    /// As of a time; of one that left, as it was last.
    fn at(&self, time: u64) -> &Run {
        let last = self.moments.iter().rev().find(|moment| moment.at <= time);
        last.and_then(|moment| moment.run.as_ref()).expect("it has begun")
    }
}

/// By project and name; without a name are those who found no room.
type Users<'a> = BTreeMap<(Arc<str>, Arc<str>), Vec<&'a Life<'a>>>;

fn of_users(all: &Lives) -> Vec<Life<'_>> {
    let mut lives = Vec::new();
    for (id, moments) in all {
        for life in moments.split_inclusive(|moment| moment.run.is_none()) {
            let there: Vec<&Moment> = life.iter().filter(|moment| moment.run.is_some()).collect();
            let user = |moment: &&&Moment| first_origin(moment.run.as_ref()?, |event| event.origin.user.clone());
            let Some(named) = there.iter().find(|moment| user(moment).is_some()) else { continue };
            let left = life.last().filter(|moment| moment.run.is_none()).map(|moment| moment.at);
            lives.push(Life {
                id: *id,
                project: super::runs::names(there[0].run.as_ref().expect("filtered")).0,
                user: user(&named).expect("found"),
                began: there[0].at,
                came: named.at.next_multiple_of(1_000),
                left,
                moments: there,
            });
        }
    }
    lives.sort_by_key(|life| (life.came, life.began, life.id));
    lives
}

/// The latest event of a user, with its run.
fn last<'a>(lives: &[&'a Life<'_>], time: u64) -> (u64, &'a Life<'a>) {
    let (at, _, life) = lives
        .iter()
        .map(|life| (last_event_at(life.at(time)), life.id, *life))
        .max_by_key(|(at, id, _)| (*at, *id))
        .expect("one at least");
    (at, life)
}

/// Forgets who has rested for too long: nothing of theirs is in state, and the last event is long ago.
fn forget(users: &mut Users<'_>, now: u64, config: &Config) {
    users.retain(|_, lives| {
        let rests = lives.iter().all(|life| life.left.is_some_and(|left| left <= now));
        !rests || (last(lives, now).0 + config.user_memory_ms).next_multiple_of(1_000) > now
    });
}

fn users<'a>(lives: &'a [Life<'a>], now: u64, config: &Config) -> Users<'a> {
    let mut users = Users::new();
    let seconds: BTreeSet<u64> = lives.iter().flat_map(|life| [Some(life.came), life.left]).flatten().collect();
    for second in seconds.into_iter().filter(|second| *second <= now) {
        forget(&mut users, second, config);
        for life in lives.iter().filter(|life| life.came == second) {
            let mut key = (Arc::clone(&life.project), Arc::clone(&life.user));
            let of_project = |key: &(Arc<str>, Arc<str>)| key.0 == life.project && !key.1.is_empty();
            if !users.contains_key(&key) && users.keys().filter(|key| of_project(key)).count() >= config.users {
                let rests = |life: &&Life<'_>| life.came < second && life.left.is_some_and(|left| left <= second);
                let resting = users.iter().filter(|(key, lives)| of_project(key) && lives.iter().all(rests));
                let oldest = resting.min_by_key(|(key, lives)| (last(lives, second).0, user_id(&key.0, &key.1)));
                match oldest.map(|(key, _)| key.clone()) {
                    Some(oldest) => drop(users.remove(&oldest)),
                    None => key.1 = "".into(),
                }
            }
            users.entry(key).or_default().push(life);
        }
        forget(&mut users, second, config);
    }
    forget(&mut users, now, config);
    users
}

/// The rows at a whole second.
pub fn rows(all: &Lives, now: u64, config: &Config) -> Vec<Row> {
    let lives = of_users(all);
    let row = |((project, user), lives): ((Arc<str>, Arc<str>), Vec<&Life<'_>>)| {
        let (last_active_at, last) = last(&lives, now);
        let running = lives.iter().filter(|life| life.at(now).ended_at.is_none()).count();
        let today = lives.iter().filter(|life| life.began / DAY == now / DAY).count();
        let ended = lives.iter().filter_map(|life| Some((life.at(now).ended_at?, life.id, state(life.at(now)))));
        let mut writer = RowWriter::default();
        writer.str(&project).str(&user).uint(running as u64).uint(today as u64);
        writer.str(&super::runs::names(last.at(now)).1).opt_str(ended.max().map(|(.., state)| state));
        writer.uint(last_active_at).finish(&USER_ACTIVITY)
    };
    users(&lives, now, config).into_iter().map(row).collect()
}
