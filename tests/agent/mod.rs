//! The agent: what libraries see that know one address, while members come and go behind it.

mod leaving_tests;
mod moving_tests;
mod serving_tests;
