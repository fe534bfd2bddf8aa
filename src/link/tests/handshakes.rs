//! Who is let in, and what strangers get.

use std::time::Duration;

use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};

use super::{Accepting, CLUSTER, LONG, SECRET, member, secret};
use crate::link::handshake::{Admitted, Door, Rejection, admit, introduce};
use crate::link::{
    DialError, HANDSHAKES_MAX, MemberPort, Purpose, RejectReason, Secret, SecretError, Us, dial,
};

/// How long the messages of a handshake are, from the dialler the first.
const MESSAGES: [usize; 4] = [40, 40, 65, 58];

fn door(id: u64) -> Door {
    Door { secret: secret(), member: Some((CLUSTER, id)) }
}

#[tokio::test]
async fn members_that_share_the_secret_speak_both_ways() {
    let mut accepting = Accepting::start(member(2)).await;
    let us = member(1);
    let link = dial(&us, 2, &accepting.address(), Purpose::Ops, LONG).await.expect("it is 2");
    let (peer, their_link) = accepting.next().await;
    assert_eq!((peer.member, peer.purpose), (1, Purpose::Ops));

    let (mut reader, mut writer) = link.split();
    let (mut their_reader, mut their_writer) = their_link.split();
    writer.feed(1, 10, b"there");
    writer.flush().await.expect("it is read");
    their_writer.feed(2, 20, b"and back");
    their_writer.flush().await.expect("it is read");
    let there = their_reader.next().await.expect("whole").expect("a frame");
    let back = reader.next().await.expect("whole").expect("a frame");
    assert_eq!((there.kind, there.id, &there.body[..]), (1, 10, &b"there"[..]));
    assert_eq!((back.kind, back.id, &back.body[..]), (2, 20, &b"and back"[..]));
}

#[tokio::test]
async fn each_wrong_dialler_learns_what_is_wrong() {
    let mut accepting = Accepting::start(member(2)).await;
    let address = accepting.address();
    let to = async |us: &Us, target| {
        dial(us, target, &address, Purpose::Append, LONG).await.expect_err("it is wrong")
    };
    let other_secret = Secret::new(b"incorrect horse battery staple").expect("long enough");
    let stranger = to(&Us { secret: other_secret, ..member(1) }, 2).await;
    assert!(matches!(stranger, DialError::Rejected(RejectReason::BadProof)), "{stranger:?}");
    let foreign = to(&Us { cluster: 7, ..member(1) }, 2).await;
    assert!(matches!(foreign, DialError::WrongCluster { ours: 7, theirs: CLUSTER }), "{foreign:?}");
    let lost = to(&member(1), 3).await;
    assert!(matches!(lost, DialError::WrongMember { asked: 3, found: 2 }), "{lost:?}");
    assert!(accepting.links.try_recv().is_err(), "none of them was let in");
}

#[tokio::test]
async fn process_without_a_cluster_lets_in_only_who_invites_it_and_goes_on_as_a_member() {
    let port = MemberPort::bind("127.0.0.1:0").await.expect("the system has a port");
    let address = port.local_addr().to_string();
    let us = member(1);
    let (newcomers_secret, inviting) = (secret(), async {
        for (target, purpose) in [(0, Purpose::Append), (2, Purpose::Join), (2, Purpose::Append)] {
            let error = dial(&us, target, &address, purpose, LONG).await.expect_err("not yet");
            let is_too_early = matches!(error, DialError::Rejected(RejectReason::NotAMemberYet));
            assert!(is_too_early, "{target} {purpose:?}: {error:?}");
        }
        dial(&us, 0, &address, Purpose::Join, LONG).await.expect("it may join")
    });
    let (_link, (_their_link, cluster)) = tokio::join!(inviting, port.next_join(&newcomers_secret));
    assert_eq!(cluster, CLUSTER);

    let mut accepting = Accepting::on(port, member(2));
    let again = dial(&us, 0, &address, Purpose::Join, LONG).await.expect_err("it has joined");
    assert!(matches!(again, DialError::WrongMember { asked: 0, found: 2 }), "{again:?}");
    dial(&us, 2, &address, Purpose::Append, LONG).await.expect("it is a member");
    assert_eq!(accepting.next().await.0.member, 1);
}

#[tokio::test]
async fn dialler_written_from_the_description_is_let_in() {
    let mut accepting = Accepting::start(member(2)).await;
    let mut stream = TcpStream::connect(accepting.address).await.expect("it listens");
    let hello = [b"bnpl\x01\x00\x00\x00".as_slice(), &[9; 32]].concat();
    stream.write_all(&hello).await.expect("it reads");
    let challenge = read(&mut stream, MESSAGES[1]).await;
    assert_eq!(challenge[..8], *b"bnpl\x01\x00\x00\x00");
    let mut claim = vec![4];
    claim.extend(CLUSTER.to_le_bytes());
    claim.extend(7_u64.to_le_bytes());
    claim.extend(2_u64.to_le_bytes());
    let proof = |label: &[u8], parts: &[&[u8]]| {
        let key = Sha256::digest(SECRET);
        let mut proof = <Hmac<Sha256> as Mac>::new_from_slice(&key).expect("any key will do");
        proof.update(label);
        parts.iter().for_each(|part| proof.update(part));
        proof.finalize().into_bytes()
    };
    let ours = proof(b"beanpole link, dialler", &[&hello, &challenge, &claim]);
    stream.write_all(&[&claim[..], &ours].concat()).await.expect("it reads");
    let answer = read(&mut stream, MESSAGES[3]).await;
    let (answer, their_proof) = answer.split_at(26);
    let mut welcome = vec![0, 0];
    welcome.extend(CLUSTER.to_le_bytes());
    welcome.extend(2_u64.to_le_bytes());
    assert_eq!(answer, welcome);
    let theirs = proof(b"beanpole link, acceptor", &[&hello, &challenge, &claim, answer]);
    assert_eq!(their_proof, &theirs[..]);
    let (peer, _link) = accepting.next().await;
    assert_eq!((peer.member, peer.purpose), (7, Purpose::Ops));
}

#[tokio::test]
async fn stranger_learns_nothing_but_the_version() {
    let accepting = Accepting::start(member(2)).await;
    let mut stream = TcpStream::connect(accepting.address).await.expect("it listens");
    stream.write_all(&[b"bnpl\x01\x00\x00\x00".as_slice(), &[0; 32]].concat()).await.expect("sent");
    let challenge = read(&mut stream, MESSAGES[1]).await;
    assert_eq!(challenge[..8], *b"bnpl\x01\x00\x00\x00");
    stream.write_all(&[1; MESSAGES[2]]).await.expect("sent");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.expect("it ends");
    assert_eq!(rest, [&[1][..], &[0; 57]].concat());
}

#[tokio::test]
async fn other_version_is_told_ours_and_sent_away() {
    let accepting = Accepting::start(member(2)).await;
    let mut stream = TcpStream::connect(accepting.address).await.expect("it listens");
    stream.write_all(&[b"bnpl\x02\x00\x00\x00".as_slice(), &[0; 32]].concat()).await.expect("sent");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.expect("it ends");
    assert_eq!((rest.len(), &rest[..8]), (MESSAGES[1], &b"bnpl\x01\x00\x00\x00"[..]));
}

#[tokio::test]
async fn other_side_that_cannot_be_a_member_is_noticed() {
    let of_version_two = answering(async |stream| {
        read(stream, MESSAGES[0]).await;
        stream.write_all(&[b"bnpl\x02\x00\x00\x00".as_slice(), &[0; 32]].concat()).await.ok();
    });
    let error = of_version_two.await;
    assert!(matches!(error, DialError::Version { ours: 1, theirs: 2 }), "{error:?}");

    let of_something_else = answering(async |stream| {
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await.ok();
    });
    let error = of_something_else.await;
    assert!(matches!(error, DialError::NotAMember), "{error:?}");

    let of_one_that_leaves = answering(async |stream| {
        read(stream, MESSAGES[0]).await;
    });
    let error = of_one_that_leaves.await;
    assert!(matches!(error, DialError::Closed), "{error:?}");

    let of_one_without_the_secret = answering(async |stream| {
        let hello = read(stream, MESSAGES[0]).await;
        stream.write_all(&hello).await.ok();
        let claim = read(stream, MESSAGES[2]).await;
        // Our own proof, sent back to us.
        let welcome = [&[0; 2], &claim[1..17], &claim[25..33], &claim[33..]].concat();
        stream.write_all(&welcome).await.ok();
    });
    let error = of_one_without_the_secret.await;
    assert!(matches!(error, DialError::BadProof), "{error:?}");
}

#[tokio::test]
async fn garbage_silence_and_half_a_handshake_are_ended() {
    let limit = Duration::from_millis(50);
    let mut accepting = Accepting::start_with(member(2), limit).await;
    let half = [b"bnpl\x01\x00\x00\x00".as_slice(), &[0; 12]].concat();
    let whole = [half.as_slice(), &[0; 20]].concat();
    let and_half_a_claim = [whole.as_slice(), &[0; 30]].concat();
    let garbage = vec![b'x'; 100_000];
    for sent in [&garbage, &Vec::new(), &half, &whole, &and_half_a_claim] {
        let mut stream = TcpStream::connect(accepting.address).await.expect("it listens");
        // It may end before it has read all of the garbage.
        stream.write_all(sent).await.ok();
        let mut told = Vec::new();
        let ended = tokio::time::timeout(LONG, stream.read_to_end(&mut told)).await;
        assert!(ended.is_ok(), "{} bytes keep a connection", sent.len());
        assert!(told.len() <= MESSAGES[1], "{} bytes for {}", told.len(), sent.len());
    }
    let address = accepting.address();
    dial(&member(1), 2, &address, Purpose::Ops, LONG).await.expect("the port is open to members");
    assert_eq!(accepting.next().await.0.member, 1);
}

#[tokio::test]
async fn silent_strangers_do_not_keep_an_honest_member_out() {
    let mut accepting = Accepting::start(member(2)).await;
    let mut strangers = Vec::new();
    for _ in 0..3 * HANDSHAKES_MAX {
        strangers.push(TcpStream::connect(accepting.address).await.expect("it listens"));
    }
    let limit = Duration::from_secs(5);
    let dialled = dial(&member(1), 2, &accepting.address(), Purpose::Ops, limit).await;
    dialled.expect("there is room for the honest");
    assert_eq!(accepting.next().await.0.member, 1);
}

#[tokio::test]
async fn recorded_handshake_is_worth_nothing() {
    let (outcome, recorded) = through_a_relay(None).await;
    outcome.0.expect("the dialler is content");
    outcome.1.expect("the acceptor is content");

    let (mut stranger, mut accepted) = duplex(1024);
    let door = door(2);
    let replaying = async {
        stranger.write_all(&recorded[0]).await.expect("it reads");
        let challenge = read(&mut stranger, MESSAGES[1]).await;
        assert_ne!(challenge, recorded[1]);
        stranger.write_all(&recorded[2]).await.expect("it reads");
    };
    let (admitted, ()) = tokio::join!(admit(&mut accepted, &door), replaying);
    assert!(matches!(admitted, Err(Rejection::BadProof)), "{admitted:?}");

    // And the acceptor's side of it, to a new dialler.
    let (mut dialled, mut stranger) = duplex(1024);
    let us = member(1);
    let replaying = async {
        read(&mut stranger, MESSAGES[0]).await;
        stranger.write_all(&recorded[1]).await.expect("it reads");
        read(&mut stranger, MESSAGES[2]).await;
        stranger.write_all(&recorded[3]).await.expect("it reads");
    };
    let (dialled, ()) = tokio::join!(introduce(&mut dialled, &us, 2, Purpose::Ops), replaying);
    assert!(matches!(dialled, Err(DialError::BadProof)), "{dialled:?}");
}

#[tokio::test]
async fn any_bit_changed_on_the_way_is_noticed() {
    for (message, length) in MESSAGES.into_iter().enumerate() {
        for byte in 0..length {
            let ((dialled, admitted), _) = through_a_relay(Some((message, byte))).await;
            assert!(dialled.is_err(), "message {message}, byte {byte}: {dialled:?}");
            let is_before_the_verdict = message < 3;
            assert_eq!(admitted.is_err(), is_before_the_verdict, "message {message}, byte {byte}");
        }
    }
}

#[tokio::test]
async fn port_that_nobody_has_refuses_and_one_that_keeps_silent_times_out() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("the system has a port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let limit = Duration::from_millis(50);
    let silent = dial(&member(1), 2, &address, Purpose::Ops, limit).await.expect_err("silent");
    assert!(matches!(silent, DialError::TimedOut), "{silent:?}");
    drop(listener);
    let gone = dial(&member(1), 2, &address, Purpose::Ops, LONG).await.expect_err("gone");
    assert!(matches!(gone, DialError::Refused), "{gone:?}");
}

#[tokio::test]
async fn dropped_port_refuses() {
    let mut accepting = Accepting::start(member(2)).await;
    let address = accepting.address();
    accepting.task.abort();
    assert!((&mut accepting.task).await.is_err_and(|error| error.is_cancelled()));
    let gone = dial(&member(1), 2, &address, Purpose::Ops, LONG).await.expect_err("gone");
    assert!(matches!(gone, DialError::Refused), "{gone:?}");
}

#[tokio::test]
async fn names_are_looked_up() {
    let mut accepting = Accepting::start(member(2)).await;
    let address = format!("localhost:{}", accepting.address.port());
    dial(&member(1), 2, &address, Purpose::Ops, LONG).await.expect("localhost is this machine");
    assert_eq!(accepting.next().await.0.member, 1);
    let nowhere = dial(&member(1), 2, "no port here", Purpose::Ops, LONG).await;
    assert!(matches!(nowhere, Err(DialError::Io(_))), "{nowhere:?}");
}

#[test]
fn secret_ignores_white_space_at_its_ends_has_a_least_length_and_is_never_shown() {
    let short = Secret::new(b"  fifteen bytes..\n").expect_err("it is short");
    assert_eq!(short, SecretError { found: 15, min: 16 });
    let (one, other) = (Secret::new(b" sixteen bytes...\n"), Secret::new(b"sixteen bytes..."));
    let proof = |secret: Result<Secret, _>| {
        secret.expect("it is long enough").proof_over(&[b"x"]).finalize().into_bytes()
    };
    assert_eq!(proof(one), proof(other));
    assert_eq!(format!("{:?}", secret()), "Secret");
}

type Outcomes = (Result<(), DialError>, Result<Admitted, Rejection>);

/// A handshake between members 1 and 2 through somebody who records it, and changes one bit.
async fn through_a_relay(changed: Option<(usize, usize)>) -> (Outcomes, [Vec<u8>; 4]) {
    let (mut dialling, dialled) = duplex(1024);
    let (accepting, mut accepted) = duplex(1024);
    let (us, door) = (member(1), door(2));
    // Each side hangs up when it is done, so that the others are not left waiting.
    let dialler = async {
        let outcome = introduce(&mut dialling, &us, 2, Purpose::Ops).await;
        drop(dialling);
        outcome
    };
    let acceptor = async {
        let outcome = admit(&mut accepted, &door).await;
        drop(accepted);
        outcome
    };
    let (dialled, admitted, recorded) =
        tokio::join!(dialler, acceptor, relay([dialled, accepting], changed));
    ((dialled, admitted), recorded)
}

/// Passes the messages on, from the first to the second and back, for as long as both go on.
async fn relay(mut ends: [DuplexStream; 2], changed: Option<(usize, usize)>) -> [Vec<u8>; 4] {
    let mut recorded = MESSAGES.map(|length| vec![0; length]);
    for (number, message) in recorded.iter_mut().enumerate() {
        if ends[number % 2].read_exact(message).await.is_err() {
            break;
        }
        if let Some((_, byte)) = changed.filter(|(at, _)| *at == number) {
            message[byte] ^= 1;
        }
        if ends[(number + 1) % 2].write_all(message).await.is_err() {
            break;
        }
    }
    recorded
}

/// What a member says that dials somebody who behaves like this, and then leaves.
async fn answering(behaviour: impl AsyncFnOnce(&mut TcpStream)) -> DialError {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("the system has a port");
    let address = listener.local_addr().expect("it is bound").to_string();
    let us = member(1);
    let other = async {
        let (mut stream, _) = listener.accept().await.expect("a member dials");
        behaviour(&mut stream).await;
        stream.shutdown().await.ok();
        // Reads what is left, for otherwise the end is a reset.
        stream.read_to_end(&mut Vec::new()).await.ok();
    };
    let (dialled, ()) = tokio::join!(dial(&us, 2, &address, Purpose::Ops, LONG), other);
    dialled.expect_err("it is no member")
}

async fn read(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await.expect("so much comes");
    bytes
}
