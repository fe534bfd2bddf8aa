//! A server that runs out of something: room on the disk, file descriptors. And one that must not:
//! the memory of a server without a disk.

mod cold_disk_tests;
mod descriptor_tests;
mod disk;
mod disk_tests;
mod memory_group_tests;
mod memory_tests;
mod process;
