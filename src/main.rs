//! The `beanpole` command.

fn main() {}
