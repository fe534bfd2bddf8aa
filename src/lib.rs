//! beanpole: a durable work queue that beanstalkd clients use unchanged.

pub mod queue;
pub mod storage;
