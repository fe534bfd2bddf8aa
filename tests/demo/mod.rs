//! `beanpole demo`: three members that a newcomer can kill and watch.

mod demo_tests;
mod running;
