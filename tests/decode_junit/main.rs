//! The JUnit decoder against real reports, reports of our own making, and hostile ones.

mod golden;
mod hostile;
mod real;
mod tally;
