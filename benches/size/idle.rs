//! Many connections that do nothing: what they cost, and whether a working one notices.

use std::{
    error::Error,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

use hdrhistogram::Histogram;

use super::{
    common::{
        client::Client,
        clock,
        section::{Section, mebibytes},
        server::{Server, ServerKind},
        wire::Reply,
    },
    limits,
};

const CYCLES: u32 = 5000;
const QUIET: Duration = Duration::from_secs(2);
const ASK: &[u8] = b"list-tube-used\r\n";
const ANSWER: &[u8] = b"USING default\r\n";

/// Opens `connections`, lets them rest, and compares a lone client's speed before and with them.
///
/// # Errors
/// When a connection is refused or a reply is wrong.
pub(crate) fn run(kind: ServerKind, connections: u32) -> Result<Section, Box<dyn Error>> {
    let server = limits::start_for_many(kind, connections)?;
    let alone = lone_client(&server)?;
    let resident_before = server.resident_bytes()?;
    let started = clock::now();
    let idle = (0..connections)
        .map(|_| open(server.address()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("a connection was not served: {error}; {}", server.log_tail()))?;
    let opening = clock::now() - started;
    let resident = server.resident_bytes()?;
    let accompanied = lone_client(&server)?;
    let cpu_before = server.cpu()?;
    thread::sleep(QUIET);
    let quiet_cpu = (server.cpu()? - cpu_before).div_duration_f64(QUIET);

    let mut section = Section::new(format!("{} idle connections, {}", idle.len(), kind.label()));
    let served = idle.len() as f64;
    section.judged("connections served", idle.len(), "all", idle.len() == connections as usize);
    section.figure(
        "opened and answered once, per second",
        format!("{:.0}", served / opening.as_secs_f64()),
    );
    section.figure("resident before", mebibytes(resident_before));
    section.figure("resident with them", mebibytes(resident));
    let each = resident.saturating_sub(resident_before) as f64 / served;
    section.figure("resident per connection", format!("{each:.0} B"));
    section.figure("server's processor share while all rest", format!("{:.1}%", quiet_cpu * 100.0));
    section.figure("lone client's command p50 / p99 before", latency(&alone));
    section.figure("lone client's command p50 / p99 with them", latency(&accompanied));
    let slower = accompanied.mean() / alone.mean();
    section.judged(
        "time per command, with them / before",
        format!("{slower:.2}"),
        "below 1.25",
        slower < 1.25,
    );
    Ok(section)
}

/// Nanoseconds of each command of one client that puts, reserves and deletes.
fn lone_client(server: &Server) -> Result<Histogram<u64>, Box<dyn Error>> {
    let mut client = Client::connect(server.address())?;
    let mut latency = Histogram::new(2)?;
    let mut timed = |client: &mut Client, command: &[u8]| -> Result<u64, Box<dyn Error>> {
        let started = clock::now();
        client.send(command)?;
        let reply = client.receive()?;
        latency.record(u64::try_from((clock::now() - started).as_nanos())?)?;
        match reply {
            Reply::Inserted(id) | Reply::Reserved { id, .. } => Ok(id),
            Reply::Deleted => Ok(0),
            other => Err(format!("a wrong reply: {other:?}").into()),
        }
    };
    for _ in 0..CYCLES {
        timed(&mut client, b"put 0 0 600 5\r\nhello\r\n")?;
        let id = timed(&mut client, b"reserve\r\n")?;
        timed(&mut client, format!("delete {id}\r\n").as_bytes())?;
    }
    let left = client.default_tube_stat("current-jobs-ready")?;
    if left == 0 { Ok(latency) } else { Err(format!("{left} jobs left of none").into()) }
}

/// A connection that the server has certainly accepted.
fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(ASK)?;
    let mut answer = [0; ANSWER.len()];
    stream.read_exact(&mut answer)?;
    if answer == *ANSWER { Ok(stream) } else { Err(io::ErrorKind::InvalidData.into()) }
}

fn latency(histogram: &Histogram<u64>) -> String {
    let microseconds = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
    format!("{:.0} / {:.0} us", microseconds(0.5), microseconds(0.99))
}
