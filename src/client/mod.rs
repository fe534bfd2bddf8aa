//! A client of several members, whose sessions move when a member is gone.
//!
//! [`Client::connect`] keeps a connection to each member. [`Client::session`] begins a session on
//! the one that has least to do; the session is what a connection is to beanstalkd: it has a tube
//! that it uses, tubes that it watches, and jobs that it has reserved. When its member is killed,
//! frozen or cut off, the session goes on at another with all of that, and with the commands that
//! are under way: each is carried out once, and replies come in the order of their commands. It
//! ends when it is dropped, or when no member has heard of it for as long as its lease
//! ([`Options::lease`]).
//!
//! ```no_run
//! use beanpole::client::{Client, ClientError, Options, TubeName};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let members = ["10.0.0.1:11300", "10.0.0.2:11300", "10.0.0.3:11300"];
//! let client = Client::connect(members, Options::default())?;
//!
//! let producer = client.session().await?;
//! producer.use_tube(&TubeName::new(b"mail")?).await?;
//! let id = producer.put(1024, 0, 60, "hello").await?;
//!
//! let worker = client.session().await?;
//! worker.watch(&TubeName::new(b"mail")?).await?;
//! let job = worker.reserve().await?;
//! assert_eq!((job.id, &job.body[..]), (id, &b"hello"[..]));
//! match worker.delete(job.id).await {
//!     Ok(()) => {}
//!     Err(ClientError::NotFound) => println!("its time to run was over"),
//!     Err(error) => return Err(error.into()),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! The rooms, from below: `core` is one session, pure; `trunk` a connection that carries many;
//! `carried` is a session as its user and its connection share it; `members` knows who is alive and
//! who carries what. Nothing here knows of the server: what is said to it is in
//! `beanpole_protocol::trunk`.

mod carried;
mod connect;
mod core;
mod error;
mod members;
mod options;
mod pace;
mod session;
#[cfg(test)]
mod tests;
mod trunk;

pub use beanpole_protocol::{Command, PutKey, Request, TubeName};

pub use self::connect::Client;
pub use self::core::Breach;
pub use self::error::{ClientError, End};
pub use self::options::{MEMBERS_MAX, Options, OptionsError};
pub use self::session::{Job, NewJob, Pending, Session};
