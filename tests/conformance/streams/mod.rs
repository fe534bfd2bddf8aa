//! Random streams of commands: the same to two servers, which must answer the same.
//!
//! A stream is made while it runs, from its seed and from what the first server answers. One
//! command is under way at a time, except for reserves that wait. Times are so long that no timer
//! fires: timers are for the transcripts. What may differ between the servers is taken out of the
//! replies first (`canonical`); all else is a defect of one of them.
//!
//! - `BEANPOLE_SEED`: the seed of the first stream; a random one if unset.
//! - `BEANPOLE_STREAMS`: how many streams, the seeds counting up.

mod canonical;
mod generator;
mod line;
mod side;
mod stream_tests;
