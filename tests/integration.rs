//! One binary for all tests that run beanpole as its users do.
