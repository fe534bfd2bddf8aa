//! Trunks, as they are on the wire: sessions that go on at another connection, and what is refused.
//! Frames are written by hand, so that a mistake of the library that writes them elsewhere cannot hide
//! one of the server.

mod attack_tests;
mod bounds_tests;
mod figures;
mod frames;
mod key_tests;
mod refusal_tests;
mod resumption_tests;
mod session_tests;

use frames::Trunk;
