//! A producer and a worker that go on whatever becomes of one member.
//!
//! `cargo run --example worker -- 127.0.0.1:11300 127.0.0.1:11301 127.0.0.1:11302`, and then kill
//! one after the other.

#![expect(clippy::print_stdout, reason = "what it does is for those who watch")]

use std::error::Error;
use std::time::Duration;

use beanpole::client::{Client, ClientError, End, NewJob, Options, PutKey, Session, TubeName};
use tokio::time::sleep;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = Client::connect(std::env::args().skip(1), Options::default())?;
    let tube = TubeName::new(b"mail")?;

    let producer = client.session().await?;
    producer.use_tube(&tube).await?;
    let worker = client.session().await?;
    worker.watch(&tube).await?;

    tokio::select! {
        ended = produce(&producer) => ended?,
        ended = work(&client, worker, &tube) => ended?,
        () = sleep(Duration::from_secs(60)) => {}
    }
    Ok(())
}

/// Puts ten jobs a second.
async fn produce(session: &Session) -> Result<(), Box<dyn Error>> {
    for number in 0.. {
        let key = PutKey::new(format!("letter-{number}").as_bytes())?;
        let body = format!("letter {number}").into();
        let letter = NewJob { priority: 1024, delay: 0, ttr: 30, body };
        // The session puts it once. The key does too if this program is started again, and says so.
        match session.put_with_key(&key, letter).await {
            Ok(id) => println!("letter {number} is job {id}"),
            Err(ClientError::OutOfMemory | ClientError::Draining) => {
                println!("letter {number} has to wait");
            }
            Err(error) => return Err(error.into()),
        }
        sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Works jobs off, in a new session when the one it has is over.
async fn work(client: &Client, first: Session, tube: &TubeName) -> Result<(), Box<dyn Error>> {
    let mut session = first;
    loop {
        match work_off(&session).await {
            // What the session held is ready again, and somebody may have it already.
            Err(ClientError::Ended(End::Lapsed)) => {
                session = client.session().await?;
                session.watch(tube).await?;
            }
            ended => return Ok(ended?),
        }
    }
}

async fn work_off(session: &Session) -> Result<(), ClientError> {
    loop {
        let job = session.reserve().await?;
        println!("job {} says {:?}", job.id, job.body);
        match session.delete(job.id).await {
            Ok(()) => {}
            Err(ClientError::NotFound) => println!("job {} took too long", job.id),
            Err(error) => return Err(error),
        }
    }
}
