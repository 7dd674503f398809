//! Questions to the engine, what a rule would change, on their way from whoever asks and back.
//!
//! Contract: ingest calls [`Questions::ask`] and waits; the sequencer takes what was asked when it closes a tick, so a question is
//! fed at a tick that is still open; the output says what was answered, when the frame is released that the answer's time is in.
//! A question is bound to nothing and changes nothing: one that is lost, with the engine, is never answered.
//!
//! # Invariants
//! At most [`QUESTIONS_MAX`] are open at a time. One whose asker has gone is open no longer; whatever is answered to it is dropped.
//! The engine never waits for an asker.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::oneshot;
use weir_dataflows::dry_run::{Answer, Question};
use weir_schemas::control::ControlRecord;

/// Questions that may be open at a time: each costs the dataflow what putting the rule costs.
pub const QUESTIONS_MAX: usize = 4;

/// An answer, and the time that it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// The time.
    pub time: u64,
    /// What would change.
    pub answer: Answer,
}

/// A question whose asker waits.
struct Open {
    asker: oneshot::Sender<Answered>,
    /// What is asked, until it is taken.
    record: Option<Arc<ControlRecord>>,
}

#[derive(Default)]
struct Board {
    last: u64,
    open: BTreeMap<u64, Open>,
}

impl Board {
    fn tidy(&mut self) {
        self.open.retain(|_, open| !open.asker.is_closed());
    }
}

/// The board on which askers and answers meet.
#[derive(Default)]
pub struct Questions(Mutex<Board>);

impl Questions {
    /// Asks what a rule would change; `None` when too many questions are open.
    pub fn ask(&self, record: ControlRecord) -> Option<oneshot::Receiver<Answered>> {
        let mut board = self.lock();
        board.tidy();
        if board.open.len() >= QUESTIONS_MAX {
            return None;
        }
        let (asker, receiver) = oneshot::channel();
        board.last += 1;
        let id = board.last;
        board.open.insert(id, Open { asker, record: Some(Arc::new(record)) });
        Some(receiver)
    }

    /// The questions that nobody has taken yet.
    pub fn take(&self) -> Vec<Question> {
        let mut board = self.lock();
        board.tidy();
        let taken = board.open.iter_mut().filter_map(|(id, open)| Some((*id, open.record.take()?)));
        taken.map(|(id, record)| Question { id, record, peer: 0 }).collect()
    }

    /// Tells an asker, if it is still there.
    pub fn answered(&self, time: u64, answer: Answer) {
        if let Some(open) = self.lock().open.remove(&answer.id) {
            let _gone = open.asker.send(Answered { time, answer });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Board> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_schemas::control::{ControlChange, FlakyRule};

    fn record(id: &str) -> ControlRecord {
        let change = ControlChange::Flaky(FlakyRule::default());
        ControlRecord { project: String::new(), id: id.to_owned(), change, said_at: 0, said_by: String::new() }
    }

    #[test]
    fn so_many_are_open_at_a_time_and_an_asker_that_goes_makes_room() {
        let questions = Questions::default();
        let mut open: Vec<_> = (0..QUESTIONS_MAX).map(|_| questions.ask(record("a")).expect("there is room")).collect();
        assert!(questions.ask(record("b")).is_none(), "one too many");
        let taken = questions.take();
        assert_eq!(taken.iter().map(|question| question.id).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert!(questions.take().is_empty(), "each is taken once");
        drop(open.pop());
        let mut last = questions.ask(record("b")).expect("there is room again");
        assert_eq!(questions.take().iter().map(|question| &*question.record.id).collect::<Vec<_>>(), ["b"]);
        questions.answered(70, Answer { id: 5, over: 3, ..Answer::default() });
        assert_eq!(last.try_recv().map(|answered| (answered.time, answered.answer.over)), Ok((70, 3)));
        questions.answered(80, Answer { id: 4, ..Answer::default() });
        assert!(open[0].try_recv().is_err(), "its own is still to come");
    }
}
