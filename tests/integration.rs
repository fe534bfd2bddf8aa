//! One binary for all tests that run beanpole as its users do: over sockets, by signals, with a
//! real disk. Each test also runs against Debian's beanstalkd where that says something about the
//! test itself. What is missing on a machine is left out with one line on stderr; with
//! `BEANPOLE_CI=1` it is a failure.

mod agent;
mod chaos;
mod cli;
mod clients;
mod cluster;
mod conformance;
mod demo;
mod durability;
mod fence;
mod memory;
mod moving;
mod restart;
mod scarcity;
mod support;
mod trunk;
