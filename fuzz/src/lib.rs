//! What the targets and the maker of their seeds share.

pub mod log_image;
