//! Where members listen, and cables that can be cut.
//!
//! Without cables, each cluster has a part of 127.0.0.0/8 to itself: the ports are the same
//! everywhere, so that a restarted member keeps its address and nobody else can get it meanwhile.
//!
//! With cables, each member has a network namespace of its own. Between them is one more, which
//! forwards; a cut is a rule there that drops what goes from one address to another, without a
//! word to either. Slow ways lead through a device of that one, see `switch`. The test itself has a
//! cable to all of them, which is never cut.

use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::switch::{Switch, Way};
use crate::testbed::{Random, run};

/// Clusters that begin at once may choose the same addresses; then one chooses again.
const ATTEMPTS_MAX: usize = 20;

/// As many as have addresses.
const MEMBERS_MAX: u8 = 60;
/// The table that leads into the switch.
const SWITCH_TABLE: &str = "77";
/// What comes out of the switch goes on; looked at before what leads into it.
const OUT_PRIORITY: &str = "100";
const IN_PRIORITY: &str = "200";

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
    /// What slow ways lead through, and which those are.
    switch: Option<(Switch, Vec<(u8, u8)>)>,
}

/// Whether members of this machine can be cut off from each other.
///
/// # Errors
///
/// What this machine or this user lacks.
pub fn can_have_cables() -> Result<(), String> {
    Network::cables(2).map(drop)
}

/// Whether ways between members of this machine can be slow.
///
/// # Errors
///
/// What this machine or this user lacks.
pub fn can_worsen() -> Result<(), String> {
    let way = Way { delay: Duration::ZERO, jitter: Duration::ZERO, lost_percent: 0 };
    let mut network = Network::cables(2)?;
    network.worsen(&[(0, 1)], way)?;
    network.mend()
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
            // It becomes the program: the id of the process is the same.
            Self::Cables(cables) => inside(&cables.namespace(member), program),
        }
    }

    /// Lays the cable of one more member, if it has none.
    ///
    /// # Errors
    ///
    /// What this machine or this user lacks.
    pub(super) fn connect(&mut self, member: u8) -> Result<(), String> {
        match self {
            Self::Cables(cables) if member >= cables.members => cables.extend(member + 1),
            _ => Ok(()),
        }
    }

    /// Drops all that goes from one member to another. Says whether it was not dropped before.
    ///
    /// # Errors
    ///
    /// Without cables, or when the rule is refused.
    pub(super) fn cut(&mut self, from: u8, to: u8) -> Result<bool, String> {
        let cables = self.as_cables()?;
        if cables.cuts.contains(&(from, to)) {
            return Ok(false);
        }
        cables.rule("add", from, to)?;
        cables.cuts.push((from, to));
        Ok(true)
    }

    /// Takes back one cut, if it is there.
    ///
    /// # Errors
    ///
    /// Without cables, or when the rule cannot be taken back.
    pub(super) fn join(&mut self, from: u8, to: u8) -> Result<(), String> {
        let cables = self.as_cables()?;
        let Some(place) = cables.cuts.iter().position(|&cut| cut == (from, to)) else {
            return Ok(());
        };
        cables.rule("del", from, to)?;
        cables.cuts.swap_remove(place);
        Ok(())
    }

    /// Leads these ways through a switch that holds up or loses what comes.
    ///
    /// # Errors
    ///
    /// Without cables, or what this machine or this user lacks.
    pub(super) fn worsen(&mut self, ways: &[(u8, u8)], way: Way) -> Result<(), String> {
        self.as_cables()?.worsen(ways, way)
    }

    /// Takes back all cuts and all that was worsened.
    ///
    /// # Errors
    ///
    /// When a rule cannot be taken back.
    pub(super) fn mend(&mut self) -> Result<(), String> {
        let Self::Cables(cables) = self else { return Ok(()) };
        while let Some(&(from, to)) = cables.cuts.last() {
            cables.rule("del", from, to)?;
            cables.cuts.pop();
        }
        cables.better()
    }

    /// Whether [`worsen`](Self::worsen) was done and not taken back.
    pub(super) fn is_worsened(&self) -> bool {
        matches!(self, Self::Cables(Cables { switch: Some(_), .. }))
    }

    /// Takes back what [`worsen`](Self::worsen) did.
    ///
    /// # Errors
    ///
    /// When a rule cannot be taken back.
    pub(super) fn better(&mut self) -> Result<(), String> {
        let Self::Cables(cables) = self else { return Ok(()) };
        cables.better()
    }

    /// Resets all connections of a member.
    ///
    /// # Errors
    ///
    /// What this machine or this user lacks.
    pub(super) fn reset(&self, member: u8) -> Result<(), String> {
        match self {
            Self::Loopback(_) => {
                let address = self.address(member).to_string();
                run(Command::new("ss").args(["-K", "-t", "src", &address, "or", "dst", &address]))
            }
            Self::Cables(cables) => run(inside(&cables.namespace(member), "ss").args(["-K", "-t"])),
        }
    }

    fn as_cables(&mut self) -> Result<&mut Cables, String> {
        match self {
            Self::Cables(cables) => Ok(cables),
            Self::Loopback(_) => Err("members have no cables".to_owned()),
        }
    }
}

impl Cables {
    fn lay(members: u8, random: &mut Random) -> Result<Self, String> {
        let bits = random.bits().to_le_bytes();
        let name = format!("bp{:02x}{:02x}{:02x}", bits[0], bits[1], bits[2]);
        let net = [198, 18 + bits[3] % 2, bits[4]];
        let mut cables = Self { name, net, members: 0, cuts: Vec::new(), switch: None };
        let middle = cables.middle();
        ip(&["netns", "add", &middle])?;
        set(&middle, "ip_forward", "1")?;
        let here = format!("{}t", cables.name);
        let there = format!("{}c", cables.name);
        ip(&["link", "add", &here, "type", "veth", "peer", "name", &there, "netns", &middle])?;
        ip(&["addr", "add", &format!("{}/30", cables.end(1)), "dev", &here])?;
        ip(&["link", "set", &here, "up"])?;
        in_namespace(&middle, &["addr", "add", &format!("{}/30", cables.end(2)), "dev", &there])?;
        in_namespace(&middle, &["link", "set", &there, "up"])?;
        cables.extend(members)?;
        // A trial, so that a kernel without such rules is found out here.
        cables.rule("add", 0, members - 1)?;
        cables.rule("del", 0, members - 1)?;
        Ok(cables)
    }

    /// Lays cables, until so many members have one.
    fn extend(&mut self, members: u8) -> Result<(), String> {
        if members > MEMBERS_MAX {
            return Err(format!("{members} members, and {MEMBERS_MAX} have addresses"));
        }
        while self.members < members {
            let member = self.members;
            // From here on it is taken away again.
            self.members += 1;
            self.connect(member)?;
            let net = format!("{}/30", self.end(4 * (member + 1)));
            ip(&["route", "add", &net, "via", &self.end(2).to_string()])?;
        }
        Ok(())
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

    fn worsen(&mut self, ways: &[(u8, u8)], way: Way) -> Result<(), String> {
        if self.switch.is_some() {
            return Err("the ways are slow already".to_owned());
        }
        let (middle, device) = (self.middle(), format!("{}s", self.name));
        let seed = Random::fresh_seed();
        // Set from here on, so that what follows is taken back also when it is refused.
        self.switch = Some((Switch::start(&middle, &device, way, seed)?, Vec::new()));
        set(&middle, &format!("conf/{device}/rp_filter"), "0")?;
        let out = ["rule", "add", "priority", OUT_PRIORITY, "iif", &device, "lookup", "main"];
        in_namespace(&middle, &out)?;
        in_namespace(&middle, &["route", "add", "default", "dev", &device, "table", SWITCH_TABLE])?;
        for &(from, to) in ways {
            self.lead("add", from, to)?;
            if let Some((_, led)) = &mut self.switch {
                led.push((from, to));
            }
        }
        Ok(())
    }

    /// Leads a way into the switch, or past it.
    fn lead(&self, verb: &str, from: u8, to: u8) -> Result<(), String> {
        let [from, to] = [from, to].map(|member| self.address(member).to_string());
        let into = ["priority", IN_PRIORITY, "lookup", SWITCH_TABLE];
        let rule = [&["rule", verb, "from", &from, "to", &to], &into[..]].concat();
        in_namespace(&self.middle(), &rule)
    }

    fn better(&mut self) -> Result<(), String> {
        let Some((switch, led)) = self.switch.take() else { return Ok(()) };
        let refused: Vec<String> =
            led.into_iter().filter_map(|(from, to)| self.lead("del", from, to).err()).collect();
        // Missing when the switch could not be installed to the end; its routes go with it.
        drop(in_namespace(&self.middle(), &["rule", "del", "priority", OUT_PRIORITY]));
        drop(switch);
        if refused.is_empty() { Ok(()) } else { Err(refused.join("; ")) }
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

/// A command that runs a program in a namespace. Not `ip netns exec`: that would take along a view
/// of all that is mounted now, and a disk of another member could not be unmounted any more.
pub(super) fn inside(namespace: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{namespace}")).arg("--").arg(program);
    command
}

/// Sets a parameter of IPv4 in a namespace.
fn set(namespace: &str, name: &str, value: &str) -> Result<(), String> {
    let script = format!("echo {value} > /proc/sys/net/ipv4/{name}");
    run(inside(namespace, "sh").args(["-c", &script]))
}

fn in_namespace(namespace: &str, arguments: &[&str]) -> Result<(), String> {
    ip(&[&["-n", namespace], arguments].concat())
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    run(Command::new("ip").args(arguments))
        .map_err(|what| format!("ip {}: {what}", arguments.join(" ")))
}
