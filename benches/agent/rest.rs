//! Connections that do nothing: what the agent keeps for them.

use std::thread;
use std::time::Duration;

use super::{
    common::{
        Fallible,
        client::Client,
        section::{Section, mebibytes},
        server::{Server, ServerKind},
        support::{Agent, Target},
        watch::Memory,
        wire::Reply,
    },
    crowd,
};

const QUIET: Duration = Duration::from_secs(2);
const RESIDENT_AIM: u64 = 20 << 20;

/// Opens so many connections, lets each say one thing, and looks at the agent's memory.
///
/// # Errors
/// When a connection is not served, or the agent has gone.
pub(crate) fn run(connections: u32) -> Fallible<Section> {
    crowd::make_room_for(connections)?;
    let server = Server::start(ServerKind::Beanpole)?;
    let program = Target::Beanpole.program().ok_or("no server has been built")?;
    let agent = Agent::before(&program, &[server.address()])?;
    let resident = || Memory::of(agent.pid()).ok_or("the agent has gone");
    let before = resident()?;
    let mut idle = Vec::new();
    for _ in 0..connections {
        let mut client = Client::connect(agent.address())?;
        client.send(b"watch jobs\r\n")?;
        match client.receive()? {
            Reply::Line(b"WATCHING 2") => idle.push(client),
            other => return Err(format!("to watch: {other:?}").into()),
        }
    }
    thread::sleep(QUIET);
    let with_them = resident()?;
    let mut section = Section::new(format!("An agent with {connections} connections that rest"));
    section.figure("resident before", mebibytes(before.resident));
    let met = with_them.resident < RESIDENT_AIM;
    let aim = "below 20 MiB";
    section.judged("resident with them", mebibytes(with_them.resident), aim, met);
    section.figure("the most that ever was", mebibytes(with_them.high_water));
    let grown = with_them.resident.saturating_sub(before.resident);
    section.figure("each", format!("{} B", grown / u64::from(connections)));
    Ok(section)
}
