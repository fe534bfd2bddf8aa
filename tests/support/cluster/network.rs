//! Where members listen, and cables that can be cut.
//!
//! Without cables, each cluster has a part of 127.0.0.0/8 to itself: the ports are the same
//! everywhere, so that a restarted member keeps its address and nobody else can get it meanwhile.
//!
//! With cables, each member has a network namespace of its own. Between them is one more, which
//! forwards; a cut is a rule there that drops what goes from one address to another, without a
//! word to either. The test itself has a cable to all of them, which is never cut.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use super::super::{Random, run};

/// Clusters that begin at once may choose the same addresses; then one chooses again.
const ATTEMPTS_MAX: usize = 20;

/// Between the members of one cluster, and to the test.
#[derive(Debug)]
pub(super) enum Network {
    /// The second and third byte of the addresses in 127.0.0.0/8.
    Loopback([u8; 2]),
    Cables(Cables),
}

/// Namespaces, removed when dropped.
#[derive(Debug)]
pub(super) struct Cables {
    /// What the names of all its namespaces and devices begin with.
    name: String,
    /// The first three bytes of all its addresses, in the range that is kept for such trials.
    net: [u8; 3],
    members: u8,
    cuts: Vec<(u8, u8)>,
}

impl Network {
    /// Addresses on this machine that nobody else uses.
    pub(super) fn loopback() -> Self {
        let bits = Random::new(Random::fresh_seed()).bits().to_le_bytes();
        Self::Loopback([bits[0].max(1), bits[1]])
    }

    /// Namespaces for so many members.
    ///
    /// # Errors
    ///
    /// What this machine or this user lacks.
    pub(super) fn cables(members: u8) -> Result<Self, String> {
        let mut random = Random::new(Random::fresh_seed());
        let mut attempt = 1;
        loop {
            match Cables::lay(members, &mut random) {
                Ok(cables) => return Ok(Self::Cables(cables)),
                Err(why) if attempt == ATTEMPTS_MAX || !why.contains("exists") => return Err(why),
                Err(_) => attempt += 1,
            }
        }
    }

    /// The address of a member.
    pub(super) fn address(&self, member: u8) -> Ipv4Addr {
        match self {
            Self::Loopback([b, c]) => Ipv4Addr::new(127, *b, *c, member + 1),
            Self::Cables(cables) => cables.address(member),
        }
    }

    /// A command that runs `program` where the member is.
    pub(super) fn command(&self, member: u8, program: &Path) -> Command {
        match self {
            Self::Loopback(_) => Command::new(program),
            Self::Cables(cables) => {
                let mut command = Command::new("ip");
                // It becomes the program: the id of the process is the same.
                command.args(["netns", "exec", &cables.namespace(member)]).arg(program);
                command
            }
        }
    }

    /// Drops all that goes from one member to another.
    ///
    /// # Panics
    ///
    /// Without cables, or when the rule is refused.
    pub(super) fn cut(&mut self, from: u8, to: u8) {
        let Self::Cables(cables) = self else { panic!("a cluster without cables") };
        cables.rule("add", from, to).expect("a rule can be added");
        cables.cuts.push((from, to));
    }

    /// Takes back all cuts.
    ///
    /// # Panics
    ///
    /// When a rule cannot be taken back.
    pub(super) fn heal(&mut self) {
        let Self::Cables(cables) = self else { return };
        for (from, to) in std::mem::take(&mut cables.cuts) {
            cables.rule("del", from, to).expect("a rule that was added can be taken back");
        }
    }
}

impl Cables {
    fn lay(members: u8, random: &mut Random) -> Result<Self, String> {
        let bits = random.bits().to_le_bytes();
        let name = format!("bp{:02x}{:02x}{:02x}", bits[0], bits[1], bits[2]);
        let cables =
            Self { name, net: [198, 18 + bits[3] % 2, bits[4]], members, cuts: Vec::new() };
        let middle = cables.middle();
        ip(&["netns", "add", &middle])?;
        ip(&["netns", "exec", &middle, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])?;
        let here = format!("{}t", cables.name);
        let there = format!("{}c", cables.name);
        ip(&["link", "add", &here, "type", "veth", "peer", "name", &there, "netns", &middle])?;
        ip(&["addr", "add", &format!("{}/30", cables.end(1)), "dev", &here])?;
        ip(&["link", "set", &here, "up"])?;
        in_namespace(&middle, &["addr", "add", &format!("{}/30", cables.end(2)), "dev", &there])?;
        in_namespace(&middle, &["link", "set", &there, "up"])?;
        for member in 0..members {
            cables.connect(member)?;
            let net = format!("{}/30", cables.end(4 * (member + 1)));
            ip(&["route", "add", &net, "via", &cables.end(2).to_string()])?;
        }
        // A trial, so that a kernel without such rules is found out here.
        cables.rule("add", 0, members - 1)?;
        cables.rule("del", 0, members - 1)?;
        Ok(cables)
    }

    fn connect(&self, member: u8) -> Result<(), String> {
        let (middle, namespace) = (self.middle(), self.namespace(member));
        let plug = format!("{}p{member}", self.name);
        let end = |of: u8| self.end(4 * (member + 1) + of);
        ip(&["netns", "add", &namespace])?;
        in_namespace(&namespace, &["link", "set", "lo", "up"])?;
        let peer = ["link", "add", &plug, "type", "veth", "peer", "name", "eth0"];
        in_namespace(&middle, &[&peer[..], &["netns", &namespace]].concat())?;
        in_namespace(&middle, &["addr", "add", &format!("{}/30", end(1)), "dev", &plug])?;
        in_namespace(&middle, &["link", "set", &plug, "up"])?;
        in_namespace(&namespace, &["addr", "add", &format!("{}/30", end(2)), "dev", "eth0"])?;
        in_namespace(&namespace, &["link", "set", "eth0", "up"])?;
        in_namespace(&namespace, &["route", "add", "default", "via", &end(1).to_string()])
    }

    fn rule(&self, verb: &str, from: u8, to: u8) -> Result<(), String> {
        let [from, to] = [from, to].map(|member| self.address(member).to_string());
        let rule = ["rule", verb, "from", &from, "to", &to, "blackhole"];
        in_namespace(&self.middle(), &rule)
    }

    fn address(&self, member: u8) -> Ipv4Addr {
        self.end(4 * (member + 1) + 2)
    }

    fn end(&self, last: u8) -> Ipv4Addr {
        let [a, b, c] = self.net;
        Ipv4Addr::new(a, b, c, last)
    }

    fn middle(&self) -> String {
        format!("{}m", self.name)
    }

    fn namespace(&self, member: u8) -> String {
        format!("{}m{member}", self.name)
    }
}

impl Drop for Cables {
    fn drop(&mut self) {
        let members = (0..self.members).map(|member| self.namespace(member));
        for namespace in members.chain([self.middle()]) {
            // What was not made cannot be removed; devices go with their namespace.
            drop(ip(&["netns", "del", &namespace]));
        }
    }
}

fn in_namespace(namespace: &str, arguments: &[&str]) -> Result<(), String> {
    ip(&[&["-n", namespace], arguments].concat())
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    run(Command::new("ip").args(arguments))
        .map_err(|what| format!("ip {}: {what}", arguments.join(" ")))
}
