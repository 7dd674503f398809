//! Delivery of what waits in the spool.
//!
//! Contract: oldest first, while there is time, and only what was meant for this server; with `--flush` also what was
//! meant for none, since no address was given. A parcel leaves the spool when the server has it or no server would take
//! it. One that is put off makes way for those behind it and is tried again after them.

use super::delivery::{Patience, attempt};
use super::report::Report;
use super::spool::{Spool, Waiting};
use crate::client::{self, Client, Refused};
use crate::error::chain;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// When so many are put off one after the other, it is the server and not the parcels.
const PUT_OFF_MAX: usize = 3;

/// Who is asked, for how long.
pub(super) struct Calling<'a> {
    pub(super) client: &'a Client,
    pub(super) flush: bool,
    pub(super) deadline: Instant,
}

/// What to do after one parcel.
enum Next {
    On,
    Elsewhere,
    PutOff { reason: String, retry_after: Option<Duration> },
    Stop,
}

/// Delivers what waits.
pub(super) async fn deliver_all(spool: &Spool, calling: &Calling<'_>, report: &mut Report) {
    let claim = spool.claim();
    let (claim, waiting) = match claim.and_then(|claim| Ok((claim, spool.waiting()?))) {
        Ok(found) => found,
        Err(error) => return report.problem(&chain(&error)),
    };
    let Some(_claim) = claim else { return };
    let mut queue = VecDeque::from(waiting);
    let (mut elsewhere, mut put_off, mut patience) = (0, 0, Patience::default());
    while let Some(one) = queue.pop_front() {
        match deliver_one(spool, calling, report, &one, queue.is_empty()).await {
            Next::On => (put_off, patience) = (0, Patience::default()),
            Next::Elsewhere => elsewhere += 1,
            Next::Stop => {
                queue.push_front(one);
                break;
            }
            Next::PutOff { reason, retry_after } => {
                queue.push_back(one);
                put_off += 1;
                if put_off >= PUT_OFF_MAX.min(queue.len()) {
                    put_off = 0;
                    if !patience.wait(retry_after, calling.deadline).await {
                        report.warn(&reason);
                        break;
                    }
                }
            }
        }
    }
    if !queue.is_empty() {
        report.still_waiting(queue.len());
    }
    report.waiting_elsewhere(elsewhere, calling.client.base());
}

async fn deliver_one(spool: &Spool, calling: &Calling<'_>, report: &mut Report, waiting: &Waiting, last: bool) -> Next {
    let (to, parcel) = match spool.open(waiting) {
        Ok(Some(opened)) => opened,
        Ok(None) => {
            report.problem(&format!("{} was damaged and is dropped", waiting.path.display()));
            return Next::On;
        }
        Err(error) => {
            report.problem(&chain(&error));
            return Next::Stop;
        }
    };
    let ours = to == calling.client.base() || calling.flush && client::base(&to).is_err();
    if !ours {
        return Next::Elsewhere;
    }
    // One that the server never answers leaves time for the others.
    let left = calling.deadline.saturating_duration_since(Instant::now());
    let by = if last { calling.deadline } else { Instant::now() + left / 2 };
    match attempt(calling.client, &parcel, by).await {
        Ok(receipt) => report.taken_late(&parcel.title, &receipt),
        Err(Refused::Permanent { reason }) => report.problem(&format!("{}: {reason}", parcel.title)),
        Err(Refused::Passing { reason, retry_after }) => return Next::PutOff { reason, retry_after },
        Err(Refused::Misdirected { reason }) => {
            report.problem(&format!("{}: {reason}", parcel.title));
            return Next::Stop;
        }
    }
    if let Err(error) = spool.remove(waiting) {
        report.problem(&chain(&error));
    }
    Next::On
}
