//! The embedded log: one topic on local disk.
