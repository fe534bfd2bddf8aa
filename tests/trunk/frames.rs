//! A trunk as bytes.

use std::time::Duration;

use crate::support::{Client, PATIENCE, Server};

/// A connection that has become a trunk.
pub(super) struct Trunk {
    pub(super) client: Client,
}

impl Trunk {
    /// Makes one of a new connection.
    pub(super) fn to(server: &mut Server) -> Self {
        Self::over(server.connect())
    }

    pub(super) fn over(client: Client) -> Self {
        let mut trunk = Self { client };
        trunk.send("trunk 1\r\n");
        let hello = trunk.frame();
        assert!(hello.starts_with("TRUNK 1 "), "{hello}");
        trunk
    }

    pub(super) fn send(&mut self, text: &str) {
        self.client.send(text.as_bytes()).expect("the server reads");
    }

    /// Begins a session.
    pub(super) fn open(&mut self, channel: u32, token_number: u32) {
        self.send(&format!("open {channel} {} 10000\r\n", token(token_number)));
        assert_eq!(self.frame(), format!("opened {channel}"));
    }

    /// Sends one command, all before which is answered.
    pub(super) fn ask(&mut self, channel: u32, number: u64, command: &str) {
        self.ask_behind((channel, number), number - 1, command);
    }

    /// Sends one command, not all before which is answered.
    pub(super) fn ask_behind(
        &mut self,
        (channel, number): (u32, u64),
        answered: u64,
        command: &str,
    ) {
        let payload = format!("{command}\r\n");
        self.send(&format!("do {channel} {number} {answered} {}\r\n{payload}", payload.len()));
    }

    /// Sends a put.
    pub(super) fn put(&mut self, channel: u32, number: u64, arguments: &str, body: &str) {
        self.ask(channel, number, &format!("put {arguments} {}\r\n{body}", body.len()));
    }

    /// The next frame as text: lines with `|` in the place of their ends, a reply with its head.
    pub(super) fn frame(&mut self) -> String {
        let line = self.line();
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["re", .., bytes] => {
                let payload = self.bytes(bytes.parse().expect("a length"));
                format!("{} {}", words[..3].join(" "), payload.replace("\r\n", "|"))
            }
            ["resumed", .., count] => {
                let kept: Vec<String> = (0..count.parse().expect("a count"))
                    .map(|_: u32| {
                        let was = self.line();
                        let bytes = was.rsplit(' ').next().expect("a word");
                        let reply = self.bytes(bytes.parse().expect("a length"));
                        let number = was.split(' ').nth(1).expect("a number").to_owned();
                        format!(", {number} {}", reply.trim_end())
                    })
                    .collect();
                format!("{line}{}", kept.concat())
            }
            _ => line,
        }
    }

    fn line(&mut self) -> String {
        let line = self.client.line(b"\r\n", PATIENCE * 3).expect("a frame comes");
        String::from_utf8_lossy(&line).trim_end().to_owned()
    }

    fn bytes(&mut self, count: usize) -> String {
        assert!(self.client.receive_at_least(count, PATIENCE), "a payload comes");
        String::from_utf8_lossy(&self.client.take(count)).into_owned()
    }

    /// Asks, and expects this reply.
    pub(super) fn expect(&mut self, (channel, number): (u32, u64), command: &str, reply: &str) {
        self.ask(channel, number, command);
        assert_eq!(self.frame(), format!("re {channel} {number} {reply}|"), "to {command}");
    }

    pub(super) fn is_closed(&mut self) -> bool {
        self.client.is_closed_within(Duration::from_secs(5))
    }

    /// The same, behind what was sent before.
    pub(super) fn is_closed_in_the_end(&mut self) -> bool {
        loop {
            let length = self.client.unread().len();
            self.client.take(length);
            if !self.client.receive(Duration::from_secs(5)) {
                return self.is_closed();
            }
        }
    }
}

/// A token that is as good as any.
pub(super) fn token(number: u32) -> String {
    format!("{number:032x}")
}
