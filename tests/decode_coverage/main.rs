//! Coverage reports become coverage: of real files, of files that real tools made for us, of hostile ones.

mod golden;
mod hostile;
mod model;
mod real;
mod said;
