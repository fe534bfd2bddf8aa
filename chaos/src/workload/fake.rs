//! A server for tests that does what its script says, one connection after the other.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;

/// One step of a script.
pub(super) enum Act {
    /// Reads these bytes and no others.
    Read(Vec<u8>),
    /// Sends these bytes, in one packet.
    Send(Vec<u8>),
    /// Lets time pass, so that the bytes before and after are not one packet.
    Pause,
    /// Resets the connection.
    Reset,
    /// Does nothing until the test ends, with the connection open.
    Freeze,
}

/// Reads this text.
pub(super) fn read(text: &str) -> Act {
    Act::Read(text.as_bytes().to_vec())
}

/// Sends this text.
pub(super) fn send(text: &str) -> Act {
    Act::Send(text.as_bytes().to_vec())
}

/// A server under way. Its script must have been played when it is dropped.
pub(super) struct FakeServer {
    pub(super) address: SocketAddr,
    thread: Option<JoinHandle<()>>,
    end: Option<Sender<()>>,
}

impl FakeServer {
    /// Takes one connection for each script; closes it when the script is played.
    pub(super) fn start(scripts: Vec<Vec<Act>>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let (end, ended) = channel();
        let thread = thread::spawn(move || {
            for script in scripts {
                play(listener.accept().unwrap().0, script, &ended);
            }
        });
        Self { address, thread: Some(thread), end: Some(end) }
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        drop(self.end.take());
        let result = self.thread.take().map(JoinHandle::join);
        if !thread::panicking() {
            assert!(matches!(result, Some(Ok(()))), "the script was not played");
        }
    }
}

fn play(mut stream: TcpStream, script: Vec<Act>, ended: &Receiver<()>) {
    for act in script {
        match act {
            Act::Read(expected) => {
                let mut found = vec![0; expected.len()];
                stream.read_exact(&mut found).unwrap();
                assert_eq!(String::from_utf8_lossy(&found), String::from_utf8_lossy(&expected));
            }
            Act::Send(bytes) => stream.write_all(&bytes).unwrap(),
            Act::Pause => thread::sleep(Duration::from_millis(30)),
            Act::Reset => set_socket_linger(&stream, Some(Duration::ZERO)).unwrap(),
            Act::Freeze => drop(ended.recv()),
        }
    }
}
