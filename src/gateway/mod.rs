//! The gateway: sockets, sessions, HTTP queries, authentication and limits.

pub mod auth;
pub mod http_error;
pub mod origin;
pub mod page;
