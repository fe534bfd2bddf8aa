//! The client libraries that people use: at a server, at an agent, and at several members.
//!
//! None of their packages has a test-suite in it today, so the scripts here are our own. Their names
//! begin with the library's, and `recipes/` has what a library needs to go on at another member by
//! itself.

mod account;
mod crew;
mod lasting_tests;
mod library;
mod proxy;
mod recipe_tests;
mod tour_tests;
