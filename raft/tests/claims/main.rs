//! One test for each claim of the Raft paper's figure 2 and of chapters 3, 4 and 6 of Ongaro's thesis
//! (and for the few of chapters 9 and 10 that the core builds on), named after the claim. Where Reeve
//! differs on purpose, the test says so.

#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]

mod chapter_3;
mod chapter_4;
mod chapter_6;
mod extensions;
mod figure_2_append;
mod figure_2_rules;
mod figure_2_vote;
mod lab;
#[path = "../support/mod.rs"]
mod support;
