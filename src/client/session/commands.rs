//! The commands of the protocol as methods.
//!
//! All of them fail with [`ClientError::Ended`] when the session has ended; times are whole seconds.

use beanpole_protocol::{Command, CommandName, PutKey, Reply, Request, TubeName};
use bytes::Bytes;

use super::{Ask, Job, NewJob, Session, failure};
use crate::client::ClientError;

type Result<T> = std::result::Result<T, ClientError>;

impl Session {
    /// Puts a job into the tube that is used: `delay` seconds before it is ready, `ttr` seconds for who
    /// reserves it, 0 being 1. The least `priority` is the most urgent. Returns the job's id.
    ///
    /// # Errors
    ///
    /// [`ClientError::JobTooBig`], [`ClientError::Draining`], [`ClientError::OutOfMemory`].
    pub async fn put(
        &self,
        priority: u32,
        delay: u32,
        ttr: u32,
        body: impl Into<Bytes>,
    ) -> Result<u64> {
        self.ask(Command::Put { priority, delay, ttr, body: body.into() }, inserted).await
    }

    /// As [`Self::put`], with a key by which the cluster knows the put when it comes again, from any
    /// session: then it makes no second job, and the id is that of the first.
    ///
    /// # Errors
    ///
    /// As [`Self::put`], and [`ClientError::KeyInUse`]: the key is that of a put with another body.
    pub async fn put_with_key(&self, key: &PutKey, job: NewJob) -> Result<u64> {
        let NewJob { priority, delay, ttr, body } = job;
        let put = Request::Command(Command::Put { priority, delay, ttr, body });
        let mut ask = Ask::of(put).expect("a put is for sessions");
        ask.set_key(key.clone());
        self.carry_out(CommandName::Put, ask, inserted).await
    }

    /// Uses a tube: puts go there from now on, and `peek-ready` and `kick` are about it.
    ///
    /// # Errors
    ///
    /// [`ClientError::OutOfMemory`]: there are as many tubes as there may be.
    pub async fn use_tube(&self, tube: &TubeName) -> Result<()> {
        self.ask(Command::Use(tube.clone()), |reply| match reply {
            Reply::Using(_) => Ok(()),
            other => Err(other),
        })
        .await
    }

    /// Watches one tube more. Returns how many are watched.
    ///
    /// # Errors
    ///
    /// [`ClientError::OutOfMemory`]: a limit is reached.
    pub async fn watch(&self, tube: &TubeName) -> Result<u64> {
        self.ask(Command::Watch(tube.clone()), watching).await
    }

    /// Watches one tube less. Returns how many are watched.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotIgnored`].
    pub async fn ignore(&self, tube: &TubeName) -> Result<u64> {
        self.ask(Command::Ignore(tube.clone()), watching).await
    }

    /// Waits for a job in the tubes that are watched, and reserves it.
    ///
    /// # Errors
    ///
    /// [`ClientError::DeadlineSoon`].
    pub async fn reserve(&self) -> Result<Job> {
        self.ask(Command::Reserve, reserved).await
    }

    /// As [`Self::reserve`], but for at most `timeout` seconds: 0 to 2147483647. `None` when there was
    /// no job.
    ///
    /// # Errors
    ///
    /// [`ClientError::DeadlineSoon`].
    pub async fn reserve_with_timeout(&self, timeout: u32) -> Result<Option<Job>> {
        self.ask(Command::ReserveWithTimeout(timeout), |reply| match reply {
            Reply::TimedOut => Ok(None),
            other => reserved(other).map(Some),
        })
        .await
    }

    /// Reserves this job, which may be ready, delayed or buried, in whatever tube.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotFound`], [`ClientError::OutOfMemory`].
    pub async fn reserve_job(&self, id: u64) -> Result<Job> {
        self.ask(Command::ReserveJob(id), reserved).await
    }

    /// Deletes a job.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotFound`]: there is none, or another session holds it.
    pub async fn delete(&self, id: u64) -> Result<()> {
        self.expect(Command::Delete(id), Reply::Deleted).await
    }

    /// Gives a job back that is held, ready after `delay` seconds.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotFound`].
    pub async fn release(&self, id: u64, priority: u32, delay: u32) -> Result<()> {
        self.expect(Command::Release { id, priority, delay }, Reply::Released).await
    }

    /// Buries a job that is held.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotFound`].
    pub async fn bury(&self, id: u64, priority: u32) -> Result<()> {
        self.expect(Command::Bury { id, priority }, Reply::Buried).await
    }

    /// Begins the time to run of a job anew that is held.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotFound`].
    pub async fn touch(&self, id: u64) -> Result<()> {
        self.expect(Command::Touch(id), Reply::Touched).await
    }

    /// Makes up to `bound` jobs ready that are buried, or delayed if none is, in the tube that is used.
    /// Returns how many.
    ///
    /// # Errors
    ///
    /// None but those of all commands.
    pub async fn kick(&self, bound: u32) -> Result<u64> {
        self.ask(Command::Kick(bound), |reply| match reply {
            Reply::Kicked(count) => Ok(count),
            other => Err(other),
        })
        .await
    }

    /// Makes this job ready, which is buried or delayed.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotFound`].
    pub async fn kick_job(&self, id: u64) -> Result<()> {
        self.expect(Command::KickJob(id), Reply::JobKicked).await
    }

    /// Looks at a job.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotFound`].
    pub async fn peek(&self, id: u64) -> Result<Job> {
        self.ask(Command::Peek(id), found).await
    }

    /// Looks at the next job that is ready in the tube that is used.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotFound`].
    pub async fn peek_ready(&self) -> Result<Job> {
        self.ask(Command::PeekReady, found).await
    }

    /// Looks at the delayed job in the tube that is used which is ready first.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotFound`].
    pub async fn peek_delayed(&self) -> Result<Job> {
        self.ask(Command::PeekDelayed, found).await
    }

    /// Looks at the job in the tube that is used which was buried first.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotFound`].
    pub async fn peek_buried(&self) -> Result<Job> {
        self.ask(Command::PeekBuried, found).await
    }

    /// Has a tube give out no jobs for `delay` seconds; 0 ends that.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotFound`].
    pub async fn pause_tube(&self, tube: &TubeName, delay: u32) -> Result<()> {
        self.expect(Command::PauseTube { tube: tube.clone(), delay }, Reply::Paused).await
    }

    /// The statistics of the member that carries the session, in YAML.
    ///
    /// # Errors
    ///
    /// None but those of all commands.
    pub async fn stats(&self) -> Result<Bytes> {
        self.ask(Command::Stats, text).await
    }

    /// The statistics of a job, in YAML.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotFound`].
    pub async fn stats_job(&self, id: u64) -> Result<Bytes> {
        self.ask(Command::StatsJob(id), text).await
    }

    /// The statistics of a tube, in YAML.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotFound`].
    pub async fn stats_tube(&self, tube: &TubeName) -> Result<Bytes> {
        self.ask(Command::StatsTube(tube.clone()), text).await
    }

    /// All tubes, as a list in YAML.
    ///
    /// # Errors
    ///
    /// None but those of all commands.
    pub async fn list_tubes(&self) -> Result<Bytes> {
        self.ask(Command::ListTubes, text).await
    }

    /// The tube that is used.
    ///
    /// # Errors
    ///
    /// None but those of all commands.
    pub async fn list_tube_used(&self) -> Result<TubeName> {
        self.ask(Command::ListTubeUsed, |reply| match reply {
            Reply::Using(tube) => Ok(tube),
            other => Err(other),
        })
        .await
    }

    /// The tubes that are watched, as a list in YAML.
    ///
    /// # Errors
    ///
    /// None but those of all commands.
    pub async fn list_tubes_watched(&self) -> Result<Bytes> {
        self.ask(Command::ListTubesWatched, text).await
    }

    async fn expect(&self, command: Command, expected: Reply) -> Result<()> {
        self.ask(command, |reply| if reply == expected { Ok(()) } else { Err(reply) }).await
    }

    /// Carries out a command. `read` gives back a reply that is no result.
    async fn ask<T>(
        &self,
        command: Command,
        read: impl FnOnce(Reply) -> std::result::Result<T, Reply>,
    ) -> Result<T> {
        let name = command.name();
        let ask = Ask::of(Request::Command(command)).expect("`quit` is no method");
        self.carry_out(name, ask, read).await
    }

    async fn carry_out<T>(
        &self,
        name: CommandName,
        ask: Ask,
        read: impl FnOnce(Reply) -> std::result::Result<T, Reply>,
    ) -> Result<T> {
        let reply = self.reply_to(ask).await?;
        read(reply).map_err(|reply| failure(name, &reply))
    }
}

fn inserted(reply: Reply) -> std::result::Result<u64, Reply> {
    match reply {
        Reply::Inserted(id) => Ok(id),
        other => Err(other),
    }
}

fn watching(reply: Reply) -> std::result::Result<u64, Reply> {
    match reply {
        Reply::Watching(count) => Ok(count),
        other => Err(other),
    }
}

fn reserved(reply: Reply) -> std::result::Result<Job, Reply> {
    match reply {
        Reply::Reserved { id, body } => Ok(Job { id, body }),
        other => Err(other),
    }
}

fn found(reply: Reply) -> std::result::Result<Job, Reply> {
    match reply {
        Reply::Found { id, body } => Ok(Job { id, body }),
        other => Err(other),
    }
}

fn text(reply: Reply) -> std::result::Result<Bytes, Reply> {
    match reply {
        Reply::Ok(text) => Ok(text),
        other => Err(other),
    }
}
