//! Many tubes: whether their mere number slows a client down that uses one, or all of them.
//!
//! Two servers stand side by side, one with few tubes and one with many, and take turns, so that a
//! ratio compares neighbours in time.

use std::{error::Error, io::Write, time::Duration};

use super::common::{
    client::Client,
    clock,
    section::{Section, mebibytes},
    server::{Server, ServerKind},
    wire::Reply,
};

/// Tubes of the server that has few: one batch.
const FEW: u32 = 64;
/// Jobs that the client handles together.
const BATCH: u32 = 64;
/// Walks the tubes in an order without locality: a prime that divides no count in use.
const STRIDE: u64 = 7919;
const ROUNDS: usize = 5;
const WINDOW: Duration = Duration::from_millis(1500);
/// The machine's own noise is of this size.
const RATIO_MIN: f64 = 0.95;

/// Compares the speed of one client on a server with few tubes and one with `tubes`.
///
/// # Errors
/// When a server fails or a reply is wrong.
pub(crate) fn run(kind: ServerKind, tubes: u32) -> Result<Section, Box<dyn Error>> {
    let (few, many) = (Server::start(kind)?, Server::start(kind)?);
    make_tubes(&few, FEW)?;
    let resident_before = many.resident_bytes()?;
    let (started, cpu_before) = (clock::now(), many.cpu()?);
    make_tubes(&many, tubes)?;
    let (making, making_cpu) = (clock::now() - started, many.cpu()? - cpu_before);

    let mut section = Section::new(format!("{tubes} tubes, {}", kind.label()));
    let per_second = f64::from(tubes) / making.as_secs_f64();
    section.figure("tubes made, with one job each, per second", format!("{per_second:.0}"));
    let each = making_cpu.as_secs_f64() * 1e6 / f64::from(tubes);
    section.figure("server's processor time for each", format!("{each:.1} us"));
    let resident = many.resident_bytes()?;
    section.figure("resident with them", mebibytes(resident));
    let each = resident.saturating_sub(resident_before) as f64 / f64::from(tubes);
    section.figure("resident per tube and its job", format!("{each:.0} B"));
    let mut compare = |name: &str, with_few: Walk, with_many: Walk| -> Result<(), Box<dyn Error>> {
        let mut ratios = Vec::new();
        let mut last = (0.0, 0.0);
        for _ in 0..ROUNDS {
            last = (with_few.rate(&few)?, with_many.rate(&many)?);
            ratios.push(last.1 / last.0);
        }
        ratios.sort_by(f64::total_cmp);
        let ratio = ratios[ROUNDS / 2];
        section.figure(
            &format!("{name}: jobs/s, few / many tubes, last round"),
            format!("{:.0} / {:.0}", last.0, last.1),
        );
        let spread = format!("{ratio:.2} [{:.2}-{:.2}]", ratios[0], ratios[ROUNDS - 1]);
        let aim = format!("at least {RATIO_MIN}");
        section.judged(&format!("{name}: many / few"), spread, &aim, ratio >= RATIO_MIN);
        Ok(())
    };
    compare("put, reserve, delete in one tube", Walk::Stay, Walk::Stay)?;
    compare("the same, each job in another tube", Walk::Roam(FEW), Walk::Roam(tubes))?;
    Ok(section)
}

/// Makes tubes that stay: each holds a job that nobody wants.
fn make_tubes(server: &Server, tubes: u32) -> Result<(), Box<dyn Error>> {
    let mut client = Client::connect(server.address())?;
    let mut commands = Vec::new();
    for first in (0..tubes).step_by(BATCH as usize) {
        let batch = first..tubes.min(first + BATCH);
        commands.clear();
        for tube in batch.clone() {
            write!(commands, "use tube-{tube}\r\nput 4000000000 0 600 5\r\nhello\r\n")?;
        }
        client.send(&commands)?;
        for _ in batch {
            expect_line(&mut client, b"USING")?;
            expect_id(&mut client)?;
        }
    }
    Ok(())
}

/// Which tubes a client works in.
#[derive(Clone, Copy)]
enum Walk {
    /// In the default tube.
    Stay,
    /// In that many tubes, each job in another one.
    Roam(u32),
}

impl Walk {
    /// Jobs per second that one client puts, reserves and deletes, a batch at a time.
    fn rate(self, server: &Server) -> Result<f64, Box<dyn Error>> {
        let mut client = Client::connect(server.address())?;
        let (mut jobs, mut step) = (0_u32, 0_u64);
        let started = clock::now();
        loop {
            let elapsed = clock::now() - started;
            if elapsed >= WINDOW {
                break Ok(f64::from(jobs) / elapsed.as_secs_f64());
            }
            match self {
                Self::Stay => stay(&mut client)?,
                Self::Roam(tubes) => roam(&mut client, u64::from(tubes), &mut step)?,
            }
            jobs += BATCH;
        }
    }
}

fn stay(client: &mut Client) -> Result<(), Box<dyn Error>> {
    client.send(&b"put 0 0 600 5\r\nhello\r\n".repeat(BATCH as usize))?;
    for _ in 0..BATCH {
        expect_id(client)?;
    }
    client.send(&b"reserve\r\n".repeat(BATCH as usize))?;
    let ids = (0..BATCH).map(|_| expect_id(client)).collect::<Result<Vec<_>, _>>()?;
    delete(client, &ids)
}

fn roam(client: &mut Client, tubes: u64, step: &mut u64) -> Result<(), Box<dyn Error>> {
    let chosen: Vec<u64> =
        (0..u64::from(BATCH)).map(|offset| (*step + offset) * STRIDE % tubes).collect();
    *step += u64::from(BATCH);
    let mut commands = Vec::new();
    for tube in &chosen {
        write!(commands, "use tube-{tube}\r\nput 0 0 600 5\r\nhello\r\n")?;
    }
    client.send(&commands)?;
    for _ in &chosen {
        expect_line(client, b"USING")?;
        expect_id(client)?;
    }
    commands.clear();
    for tube in &chosen {
        write!(commands, "watch tube-{tube}\r\nreserve\r\nignore tube-{tube}\r\n")?;
    }
    client.send(&commands)?;
    let mut ids = Vec::new();
    for _ in &chosen {
        expect_line(client, b"WATCHING")?;
        ids.push(expect_id(client)?);
        expect_line(client, b"WATCHING")?;
    }
    delete(client, &ids)
}

fn delete(client: &mut Client, ids: &[u64]) -> Result<(), Box<dyn Error>> {
    let mut commands = Vec::new();
    for id in ids {
        write!(commands, "delete {id}\r\n")?;
    }
    client.send(&commands)?;
    for _ in ids {
        let reply = client.receive()?;
        if reply != Reply::Deleted {
            return Err(format!("delete was answered with {reply:?}").into());
        }
    }
    Ok(())
}

fn expect_id(client: &mut Client) -> Result<u64, Box<dyn Error>> {
    match client.receive()? {
        Reply::Inserted(id) | Reply::Reserved { id, .. } => Ok(id),
        other => Err(format!("a job was wanted, not {other:?}").into()),
    }
}

fn expect_line(client: &mut Client, word: &[u8]) -> Result<(), Box<dyn Error>> {
    match client.receive()? {
        Reply::Line(line) if line.starts_with(word) => Ok(()),
        other => Err(format!("{} was wanted, not {other:?}", String::from_utf8_lossy(word)).into()),
    }
}
