//! How long one command takes for a lone client: straight to the server, through a relay, through
//! an agent, in turns.

use std::net::SocketAddr;

use hdrhistogram::Histogram;

use super::{
    common::{
        Fallible,
        client::Client,
        clock,
        section::Section,
        server::{Server, ServerKind},
        support::{Agent, Target},
        wire::Reply,
    },
    relay,
};

/// Commands of each kind in one turn.
const COMMANDS: u32 = 1_000;
/// Turns that are not counted.
const WARM_UP_ROUNDS: u32 = 2;
const ADDED_AIM_US: f64 = 60.0;

const WAYS: [&str; 3] = ["straight", "through a relay", "through the agent"];

/// What is timed. Nothing of it is ever on a disk: the time there would hide what is looked for.
#[derive(Clone, Copy)]
enum Asked {
    /// A command that changes nothing.
    Touch,
    /// One that goes through the log of the session.
    Put,
}

impl Asked {
    fn name(self) -> &'static str {
        match self {
            Self::Touch => "touch",
            Self::Put => "put",
        }
    }
}

/// Measures all ways in turns.
///
/// # Errors
/// When something does not start, or a reply is wrong.
pub(crate) fn run(rounds: u32) -> Fallible<Section> {
    let server = Server::start(ServerKind::Beanpole)?;
    let program = Target::Beanpole.program().ok_or("no server has been built")?;
    let agent = Agent::before(&program, &[server.address()])?;
    let relay = relay::start(server.address())?;
    let mut clients = [server.address(), relay, agent.address()].map(connect);
    let mut section = Section::new(format!("Time of a command, {rounds} turns of {COMMANDS}"));
    for asked in [Asked::Touch, Asked::Put] {
        let medians = take_turns(&mut clients, asked, rounds)?;
        report(&mut section, asked, &medians);
    }
    Ok(section)
}

fn connect(address: SocketAddr) -> Fallible<Client> {
    Ok(Client::connect(address)?)
}

/// The p50 of each way, microseconds, turn by turn.
fn take_turns(
    clients: &mut [Fallible<Client>; 3],
    asked: Asked,
    rounds: u32,
) -> Fallible<Vec<[f64; 3]>> {
    let mut medians = Vec::new();
    for round in 0..rounds + WARM_UP_ROUNDS {
        let mut of_round = [0.0; 3];
        for step in 0..3 {
            // Nobody is always first.
            let way = (step + round as usize) % 3;
            let client = clients[way].as_mut().map_err(|error| error.to_string())?;
            of_round[way] = turn(client, asked)?;
        }
        if round >= WARM_UP_ROUNDS {
            medians.push(of_round);
        }
    }
    Ok(medians)
}

/// The p50 of one turn, microseconds.
fn turn(client: &mut Client, asked: Asked) -> Fallible<f64> {
    let mut times = Histogram::<u64>::new(3)?;
    for _ in 0..COMMANDS {
        let command: &[u8] = match asked {
            Asked::Touch => b"touch 4000000000\r\n",
            Asked::Put => b"put 0 0 60 5\r\nhello\r\n",
        };
        let began = clock::now();
        client.send(command)?;
        let id = match (asked, client.receive()?) {
            (Asked::Put, Reply::Inserted(id)) => Some(id),
            (Asked::Touch, Reply::Line(b"NOT_FOUND")) => None,
            (_, other) => return Err(format!("to {}: {other:?}", asked.name()).into()),
        };
        times.record(u64::try_from((clock::now() - began).as_nanos())?)?;
        if let Some(id) = id {
            client.send(format!("delete {id}\r\n").as_bytes())?;
            client.receive()?;
        }
    }
    Ok(times.value_at_quantile(0.5) as f64 / 1000.0)
}

fn report(section: &mut Section, asked: Asked, medians: &[[f64; 3]]) {
    let name = asked.name();
    let over = |of: fn(&[f64; 3]) -> f64| median(medians.iter().map(of).collect());
    for (way, label) in WAYS.iter().enumerate() {
        let p50 = median(medians.iter().map(|round| round[way]).collect());
        section.figure(&format!("`{name}` {label}, p50"), format!("{p50:.1} us"));
    }
    section.figure(
        &format!("`{name}`, added by the relay"),
        format!("{:.1} us", over(|round| round[1] - round[0])),
    );
    let added = over(|round| round[2] - round[0]);
    section.judged(
        &format!("`{name}`, added by the agent"),
        format!("{added:.1} us"),
        "below 60 us",
        added < ADDED_AIM_US,
    );
    section.figure(
        &format!("`{name}`, agent / relay, all that is added"),
        format!("{:.2}", added / over(|round| round[1] - round[0])),
    );
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
