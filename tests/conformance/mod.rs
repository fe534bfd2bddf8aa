//! Same as beanstalkd, shown: written transcripts and random streams of commands, against
//! Debian's beanstalkd and against beanpole.
//!
//! A transcript (`transcripts/README.md`) is the expectation, and both servers must meet it. A
//! random stream has no expectation: both servers get the same commands and must agree.

mod bytes;
mod flow_tests;
mod pattern;
mod runner;
mod streams;
mod transcript;
mod transcript_tests;
