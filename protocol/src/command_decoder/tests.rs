//! The facts of beanstalkd 1.13 about input, as tables, and what must hold for every input.
//!
//! In the tables a command is shown as a client writes it, with `|` for the CR LF before a body.

use bytes::BytesMut;
use proptest::prelude::*;
use tokio_util::codec::Decoder;

use super::*;
use crate::samples::{any_command, any_pieces, feed};
use crate::{CommandName, TUBE_NAME_LENGTH_MAX};

const MAX_JOB_SIZE: u32 = 65535;
const BAD: &str = "BAD_FORMAT";
const UNKNOWN: &str = "UNKNOWN_COMMAND";
const BAD_BUT_COUNTED_AS_PUT: &str = "BAD_FORMAT, counts put";
const BAD_BUT_COUNTED_AS_PAUSE: &str = "BAD_FORMAT, counts pause-tube";

#[test]
fn only_cr_lf_ends_a_line() {
    assert_requests("use foo\n", &[]);
    assert_requests("use foo\nuse bar\r\n", &[BAD]);
    assert_requests("stats\r", &[]);
    assert_requests("stats\r\rstats\r\n", &[BAD]);
    assert_requests("\nstats\r\n", &[UNKNOWN]);
    assert_requests("\n\r\nstats\r\n", &[UNKNOWN, "stats"]);
}

#[test]
fn a_lone_cr_hides_no_line_end() {
    assert_requests("use a\rb\r\nuse c\r\n", &[BAD, "use c"]);
    assert_requests("\r\r\nuse c\r\n", &[UNKNOWN, "use c"]);
}

#[test]
fn a_line_of_224_bytes_is_read_and_a_longer_one_gets_one_bad_format() {
    let name = "n".repeat(TUBE_NAME_LENGTH_MAX);
    let longest = format!("pause-tube {name} 4294967295\r\n");
    assert_eq!(longest.len(), LINE_BYTES_MAX);
    assert_requests(&longest, &[longest.trim_end()]);
    for length in [LINE_BYTES_MAX - 1, LINE_BYTES_MAX, 2 * LINE_BYTES_MAX - 1, 1000] {
        let line = "z".repeat(length);
        assert_requests(&format!("{line}\r\nuse c\r\n"), &[BAD, "use c"]);
        assert_requests(&format!("{line}\r\r\nuse c\r\n"), &[BAD, "use c"]);
        assert_requests(&format!("{line}\n\r\nuse c\r\n"), &[BAD, "use c"]);
        assert_requests(&format!("{line}\rx\nuse b\r\nuse c\r\n"), &[BAD, "use c"]);
    }
    assert_requests(&format!("{}\r\nstats\r\n", "z".repeat(222)), &[UNKNOWN, "stats"]);
    assert_requests(&"z".repeat(1000), &[]);
}

#[test]
fn nul_in_a_line_is_bad_format_whatever_the_command() {
    for line in ["a\0b", "\0", "stats\0", "quit\0", "kick 1\0", "reserve-with-timeout 0\0"] {
        assert_requests(&format!("{line}\r\nstats\r\n"), &[BAD, "stats"]);
    }
    assert_requests("put 1 2 3 1\0\r\n", &[BAD]);
    assert_requests("put 1 2 3 2\r\n\0\0\r\n", &["put 1 2 3 2|\0\0"]);
}

#[test]
fn a_line_that_starts_like_no_command_is_unknown() {
    for line in [
        "",
        " ",
        " stats",
        "STATS",
        "Put 1 1 1 1",
        "foo",
        "put",
        "delete",
        "touch",
        "kick",
        "use",
        "watch",
        "ignore",
        "peek",
        "bury",
        "release",
        "kick-job",
        "list-tube",
        "peek-foo",
        "qui",
        "reserv",
        "stat",
        "delete\t1",
        "pause-tub",
        "put1 1 1 1",
    ] {
        assert_requests(&format!("{line}\r\nstats\r\n"), &[UNKNOWN, "stats"]);
    }
}

#[test]
fn trunk_takes_one_plain_number_and_is_unknown_otherwise() {
    assert_requests("trunk 1\r\ntrunk 4294967295\r\n", &["trunk 1", "trunk 4294967295"]);
    for line in [
        "trunk",
        "trunk ",
        "trunk1",
        "trunk  1",
        "trunk 1 ",
        "trunk 01",
        "trunk +1",
        "trunk x",
        "trunk 1 1",
        "trunk 4294967296",
    ] {
        assert_requests(&format!("{line}\r\nstats\r\n"), &[UNKNOWN, "stats"]);
    }
}

#[test]
fn a_line_that_starts_like_a_command_is_that_command() {
    for line in [
        "reservexyz",
        "reserve ",
        "reserve-job",
        "reserve-with-timeout",
        "reserve-with-timeoutx",
        "stats ",
        "stats-job",
        "stats-tube",
        "statsx",
        "peek-ready ",
        "peek-readyx",
        "peek-delayed 1",
        "peek-buried\t",
        "list-tubesX",
        "list-tubes ",
        "list-tube-used x",
        "list-tubes-watched ",
        "list-tubes-watchedx",
        "pause-tube",
    ] {
        assert_requests(&format!("{line}\r\nstats\r\n"), &[BAD, "stats"]);
    }
    for line in ["quit", "quitxyz", "quit foo", "quit "] {
        assert_requests(&format!("{line}\r\n"), &["quit"]);
    }
}

#[test]
fn numbers_take_leading_spaces_and_zeros_but_no_sign_tab_or_other_base() {
    for (digits, read) in [
        ("1", Some("1")),
        ("   1", Some("1")),
        ("0000000000000000000000000000001", Some("1")),
        ("18446744073709551615", Some("18446744073709551615")),
        ("18446744073709551616", None),
        ("99999999999999999999999", None),
        ("", None),
        (" ", None),
        ("-1", None),
        ("+1", None),
        ("0x1", None),
        ("\t1", None),
        ("1 ", None),
        ("1\t", None),
        ("1 1", None),
        ("foo111", None),
        ("111foo", None),
    ] {
        for command in ["delete", "touch", "peek", "kick-job", "reserve-job", "stats-job"] {
            let expected = read.map_or(BAD.to_owned(), |read| format!("{command} {read}"));
            assert_requests(&format!("{command} {digits}\r\n"), &[&expected]);
        }
    }
}

#[test]
fn release_and_bury_need_all_their_numbers_and_nothing_else() {
    for (line, expected) in [
        ("release 1 2 3", "release 1 2 3"),
        ("release   1   2   3", "release 1 2 3"),
        ("release 18446744073709551615 4294967295 4294967295", ""),
        ("release 1 4294967296 3", BAD),
        ("release 1 2 4294967296", BAD),
        ("release 1 2", BAD),
        ("release 1", BAD),
        ("release 1 2 3 ", BAD),
        ("release 1 2 3 4", BAD),
        ("release 1 -2 3", BAD),
        ("bury 1 2", "bury 1 2"),
        ("bury 1  4294967295", "bury 1 4294967295"),
        ("bury 1 4294967296", BAD),
        ("bury 1", BAD),
        ("bury foo 1", BAD),
        ("bury 1 foo", BAD),
        ("bury 1 2 ", BAD),
    ] {
        let expected = if expected.is_empty() { line } else { expected };
        assert_requests(&format!("{line}\r\n"), &[expected]);
    }
}

#[test]
fn the_name_of_a_tube_is_everything_to_the_end_of_the_line() {
    let longest = "n".repeat(TUBE_NAME_LENGTH_MAX);
    for command in ["use", "watch", "ignore", "stats-tube"] {
        for name in ["a", "A-Za-z0-9-+/;.$_()", "5", longest.as_str()] {
            let line = format!("{command} {name}");
            assert_requests(&format!("{line}\r\n"), &[&line]);
        }
        for name in [
            "",
            " a",
            "a ",
            "a b",
            "-a",
            "a:b",
            "a@b",
            "a*",
            "a,b",
            "a\tb",
            "\u{e9}",
            &format!("{longest}n"),
        ] {
            assert_requests(&format!("{command} {name}\r\nstats\r\n"), &[BAD, "stats"]);
        }
    }
}

#[test]
fn pause_tube_needs_no_space_and_counts_a_name_it_refuses() {
    let too_long = "n".repeat(TUBE_NAME_LENGTH_MAX + 1);
    for (line, expected) in [
        ("pause-tube default 0", "pause-tube default 0"),
        ("pause-tubedefault 0", "pause-tube default 0"),
        ("pause-tube   default   4294967295", "pause-tube default 4294967295"),
        ("pause-tube default 4294967296", BAD),
        ("pause-tube default 0 ", BAD),
        ("pause-tube default 0x", BAD),
        ("pause-tube default", BAD),
        ("pause-tube default ", BAD),
        ("pause-tube default -1", BAD),
        ("pause-tube a:b 1", BAD),
        ("pause-tube 5", BAD),
        ("pause-tube  ", BAD),
        ("pause-tube -a 1", BAD_BUT_COUNTED_AS_PAUSE),
        ("pause-tube-a 1", BAD_BUT_COUNTED_AS_PAUSE),
        (&format!("pause-tube {too_long} 1"), BAD_BUT_COUNTED_AS_PAUSE),
        (&format!("pause-tube {too_long} x"), BAD),
    ] {
        assert_requests(&format!("{line}\r\nstats\r\n"), &[expected, "stats"]);
    }
}

#[test]
fn reserve_with_timeout_is_that_of_1_13() {
    for (argument, read) in [
        ("0", Some("0")),
        ("  5", Some("5")),
        ("2147483647", Some("2147483647")),
        ("2147483648", None),
        ("4294967296", None),
        ("18446744073709551616", None),
        ("0abc", Some("0")),
        ("0 5", Some("0")),
        ("7 ", Some("7")),
        ("abc", None),
        ("", None),
        ("-1", None),
    ] {
        let expected = read.map_or(BAD.to_owned(), |read| format!("reserve-with-timeout {read}"));
        assert_requests(&format!("reserve-with-timeout {argument}\r\n"), &[&expected]);
    }
}

#[test]
fn the_bound_of_kick_is_read_as_strtoul_does() {
    for (argument, read) in [
        ("1", Some("1")),
        ("  \t 1", Some("1")),
        ("\r1", Some("1")),
        ("+1", Some("1")),
        ("-1", Some("4294967295")),
        ("-18446744073709551615", Some("1")),
        ("4294967295", Some("4294967295")),
        ("4294967296", Some("0")),
        ("18446744073709551615", Some("4294967295")),
        ("18446744073709551616", None),
        ("-18446744073709551616", None),
        ("1abc", Some("1")),
        ("1 ", Some("1")),
        ("0x10", Some("0")),
        ("", None),
        (" ", None),
        ("abc", None),
        ("- 1", None),
        ("--1", None),
        ("+", None),
    ] {
        let expected = read.map_or(BAD.to_owned(), |read| format!("kick {read}"));
        assert_requests(&format!("kick {argument}\r\n"), &[&expected]);
    }
}

#[test]
fn put_takes_any_body_and_several_spaces() {
    assert_requests("put   1   10   10    1\r\nx\r\n", &["put 1 10 10 1|x"]);
    assert_requests("put 0 0 0 0\r\n\r\nstats\r\n", &["put 0 0 0 0|", "stats"]);
    assert_requests("put 1 2 3 4\r\n\r\n\r\n\r\n", &["put 1 2 3 4|\r\n\r\n"]);
    let most = "put 4294967295 4294967295 4294967295 1";
    assert_requests(&format!("{most}\r\nx\r\n"), &[&format!("{most}|x")]);
    let two = "put 1 2 3 1\r\na\r\nput 1 2 3 1\r\nb\r\n";
    assert_requests(two, &["put 1 2 3 1|a", "put 1 2 3 1|b"]);
}

#[test]
fn the_body_of_a_malformed_put_is_read_as_commands() {
    for arguments in [
        "0 0 10 -5",
        "-1 0 10 5",
        "0 -1 10 5",
        "0 0 10",
        "0 0 10 ",
        "",
        "4294967296 0 10 5",
        "0 4294967296 10 5",
        "0 0 4294967296 5",
        "0 0 10 4294967296",
        "a 0 10 5",
        "0 0 10 b5",
    ] {
        assert_requests(&format!("put {arguments}\r\nhello\r\n"), &[BAD, UNKNOWN]);
    }
}

#[test]
fn what_trails_the_size_of_a_put_is_refused_but_counted() {
    for trailer in [" ", "b", " x", "\t", " 1"] {
        let input = format!("put 0 0 10 5{trailer}\r\nhello\r\n");
        assert_requests(&input, &[BAD_BUT_COUNTED_AS_PUT, UNKNOWN]);
    }
}

#[test]
fn the_largest_body_is_accepted_and_one_byte_more_is_skipped() {
    for size in [MAX_JOB_SIZE as usize, MAX_JOB_SIZE as usize + 1] {
        let body = "b".repeat(size);
        let whole = format!("put 1 2 3 {size}|{body}");
        let expected = if size > MAX_JOB_SIZE as usize { "JOB_TOO_BIG" } else { &whole };
        let input = format!("put 1 2 3 {size}\r\n{body}\r\nstats\r\n");
        assert_requests(&input, &[expected, "stats"]);
    }
}

#[test]
fn a_body_too_big_is_skipped_whatever_it_holds_and_whatever_trails_its_size() {
    for line in ["put 1 2 3 11", "put 1 2 3 11 ", "put 1 2 3 11garbage", "put 1 2 3 11 1"] {
        for rest in ["delete 1234\r\n", "delete 123456", "\r\n\r\n\r\n\r\n\r\n\r\n\r"] {
            let input = format!("{line}\r\n{rest}stats\r\n");
            assert_eq!(requests(input.as_bytes(), 10), ["JOB_TOO_BIG", "stats"], "{input:?}");
        }
    }
}

#[test]
fn a_body_without_cr_lf_is_refused_and_reading_goes_on_behind_it() {
    assert_requests("put 1 10 10 3\r\nabcdef\r\n", &["EXPECTED_CRLF", UNKNOWN]);
    assert_requests("put 1 10 10 3\r\nabc\n\r\nstats\r\n", &["EXPECTED_CRLF", UNKNOWN]);
    assert_requests("put 1 10 10 3\r\nabcxxstats\r\n", &["EXPECTED_CRLF", "stats"]);
    let too_short = "put 1 10 10 9\r\nabc\r\nuse b\r\nstats\r\n";
    assert_requests(too_short, &["EXPECTED_CRLF", UNKNOWN]);
    let size = BODY_BUFFERED_BYTES_MAX + 1;
    let body = "b".repeat(size);
    assert_requests(&format!("put 1 2 3 {size}\r\n{body}xxstats\r\n"), &["EXPECTED_CRLF", "stats"]);
}

#[test]
fn refusals_say_what_is_answered_and_counted() {
    use crate::Reply;
    let put = Some(CommandName::Put);
    for (refusal, reply, counts) in [
        (Refusal::BadFormat { counts: None }, Reply::BadFormat, None),
        (Refusal::BadFormat { counts: put }, Reply::BadFormat, put),
        (Refusal::UnknownCommand, Reply::UnknownCommand, None),
        (Refusal::ExpectedCrlf, Reply::ExpectedCrlf, put),
        (Refusal::JobTooBig, Reply::JobTooBig, put),
        (Refusal::OutOfMemory, Reply::OutOfMemory, put),
    ] {
        assert_eq!((refusal.reply(), refusal.counts()), (reply, counts));
    }
}

#[test]
fn every_command_name_is_looked_up_as_it_is_written() {
    for (at, name) in CommandName::ALL.into_iter().enumerate() {
        assert_eq!(name as usize, at, "{name} is in its place");
        // What is malformed behind a word that beanstalkd does not know makes the line unknown, as
        // it is to beanstalkd.
        let is_ours = matches!(name, CommandName::Trunk | CommandName::Key);
        let arguments = if is_ours { "1" } else { "1 1 1 1" };
        let line = format!("{name} {arguments}\r\n1\r\n");
        assert_ne!(requests(line.as_bytes(), MAX_JOB_SIZE)[0], UNKNOWN, "{name} is known");
    }
}

#[test]
fn four_gibibytes_are_skipped_in_constant_memory() {
    let mut decoder = CommandDecoder::new(MAX_JOB_SIZE);
    let mut input = BytesMut::from(&b"put 0 0 1 4294967295\r\n"[..]);
    assert_eq!(decoder.next_request(&mut input), None);
    let chunk_bytes = 1 << 26;
    let mut rest_bytes = (1_u64 << 32) + 1;
    while rest_bytes > chunk_bytes {
        let mut chunk = BytesMut::zeroed(chunk_bytes as usize);
        assert_eq!(decoder.next_request(&mut chunk), None);
        assert_eq!((chunk.len(), decoder.held_bytes()), (0, 0));
        rest_bytes -= chunk_bytes;
    }
    let mut last = BytesMut::zeroed(rest_bytes as usize);
    last.extend_from_slice(b"stats\r\n");
    let refused = Some(Request::Refused(Refusal::JobTooBig));
    assert_eq!(decoder.next_request(&mut last), refused);
    assert_eq!(decoder.next_request(&mut last), Some(Request::Command(Command::Stats)));
}

#[test]
fn a_body_on_its_way_can_be_refused_and_frees_its_memory() {
    let full = Some(Request::Refused(Refusal::OutOfMemory));
    for size in
        [1, BODY_BUFFERED_BYTES_MAX, BODY_BUFFERED_BYTES_MAX + 1, 3 * MAX_JOB_SIZE as usize / 4]
    {
        for arrived in [0, 1, size / 2, size, size + 1] {
            let mut decoder = CommandDecoder::new(MAX_JOB_SIZE);
            let mut input = BytesMut::from(format!("put 0 0 1 {size}\r\n").as_bytes());
            let whole = format!("{}\r\nstats\r\n", "b".repeat(size));
            input.extend_from_slice(&whole.as_bytes()[..arrived]);
            assert_eq!(decoder.next_request(&mut input), None, "{size} {arrived}");
            assert!(decoder.refuse_body());
            assert_eq!(decoder.next_request(&mut input), None, "{size} {arrived}");
            assert_eq!((input.len(), decoder.held_bytes()), (0, 0), "{size} {arrived}");
            input.extend_from_slice(&whole.as_bytes()[arrived..]);
            assert_eq!(decoder.next_request(&mut input), full, "{size} {arrived}");
            let next = decoder.next_request(&mut input);
            assert_eq!(next, Some(Request::Command(Command::Stats)), "{size} {arrived}");
            assert!(!decoder.refuse_body(), "none is on its way");
        }
    }
}

#[test]
fn an_announced_body_takes_no_memory_before_it_arrives() {
    let mut decoder = CommandDecoder::new(u32::MAX);
    let mut input = BytesMut::from(&b"put 0 0 1 4294967295\r\n"[..]);
    assert_eq!(decoder.next_request(&mut input), None);
    assert_eq!(decoder.held_bytes(), 0);
    input.extend_from_slice(&[b'x'; 100_000]);
    assert_eq!(decoder.next_request(&mut input), None);
    assert_eq!((input.len(), decoder.held_bytes()), (0, 100_000));
}

#[test]
fn a_decoder_is_idle_only_between_requests() {
    let mut decoder = CommandDecoder::new(10);
    let mut input = BytesMut::new();
    let too_long = "z".repeat(LINE_BYTES_MAX);
    for (piece, is_idle) in [
        ("st", false),
        ("ats\r\n", true),
        ("put 1 1 1 1\r\n", false),
        ("x\r", false),
        ("\n", true),
        ("put 1 1 1 11\r\n", false),
        ("0123456789a\r\n", true),
        (too_long.as_str(), false),
        ("\r\n", true),
    ] {
        input.extend_from_slice(piece.as_bytes());
        while decoder.next_request(&mut input).is_some() {}
        assert_eq!(decoder.is_idle(), is_idle, "after {piece:?}");
    }
}

#[test]
fn what_is_unfinished_at_the_end_of_input_is_dropped() {
    for unfinished in ["st", "put 1 1 1 5\r\nhel", "put 1 1 1 99999\r\nhel", &"z".repeat(300)] {
        let mut decoder = CommandDecoder::new(MAX_JOB_SIZE);
        let mut input = BytesMut::from(format!("stats\r\n{unfinished}").as_str());
        let mut next = || decoder.decode_eof(&mut input).expect("decoding never fails");
        assert_eq!(next(), Some(Request::Command(Command::Stats)));
        assert_eq!(next(), None);
        assert!(decoder.is_idle() && input.is_empty());
    }
}

proptest! {
    #[test]
    fn commands_survive_the_wire_in_any_pieces(
        commands in prop::collection::vec(any_command(), 1..8),
        pieces in any_pieces(),
    ) {
        let mut stream = BytesMut::new();
        commands.iter().for_each(|command| command.encode(&mut stream));
        let expected: Vec<_> = commands.into_iter().map(Request::Command).collect();
        prop_assert_eq!(decode(&stream, &pieces, MAX_JOB_SIZE), expected);
    }

    #[test]
    fn any_input_gives_the_same_requests_in_any_pieces(
        stream in any_stream(),
        pieces in any_pieces(),
        max_job_size in prop_oneof![0..40_u32, Just(MAX_JOB_SIZE), Just(u32::MAX)],
    ) {
        let whole = decode(&stream, &[stream.len().max(1)], max_job_size);
        prop_assert_eq!(decode(&stream, &pieces, max_job_size), whole);
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(
        stream in prop::collection::vec(any::<u8>(), 0..2000),
        pieces in any_pieces(),
    ) {
        decode(&stream, &pieces, MAX_JOB_SIZE);
    }
}

/// Commands, near commands, and noise out of the bytes that mean something.
fn any_stream() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => any_command().prop_map(|command| {
            let mut bytes = BytesMut::new();
            command.encode(&mut bytes);
            bytes.to_vec()
        }),
        2 => prop::sample::select(CommandName::ALL.to_vec())
            .prop_map(|name| name.as_str().as_bytes().to_vec()),
        4 => "[ \r\n\t0-9a-]{0,12}".prop_map(String::into_bytes),
        2 => Just(b"\r\n".to_vec()),
        2 => (0..20_000_u32).prop_map(|size| format!("put 1 2 3 {size}\r\n").into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..500),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// Decodes `stream`, and checks on the way that memory stays within its bounds.
fn decode(stream: &[u8], pieces: &[usize], max_job_size: u32) -> Vec<Request> {
    let mut decoder = CommandDecoder::new(max_job_size);
    let mut requests = Vec::new();
    feed(stream, pieces, |input| {
        while let Some(request) = decoder.next_request(input) {
            requests.push(request);
        }
        assert!(input.len() <= CommandDecoder::UNREAD_BYTES_MAX, "{} unread", input.len());
        let held_bytes = decoder.held_bytes();
        let held_bytes_max = BODY_BUFFERED_BYTES_MAX.max(2 * stream.len());
        assert!(held_bytes <= held_bytes_max, "{held_bytes} of {held_bytes_max} held");
    });
    requests
}

fn assert_requests(input: &str, expected: &[&str]) {
    let shown = requests(input.as_bytes(), MAX_JOB_SIZE);
    assert_eq!(shown, expected, "for {:?}", input.chars().take(300).collect::<String>());
}

fn requests(input: &[u8], max_job_size: u32) -> Vec<String> {
    decode(input, &[input.len().max(1)], max_job_size).iter().map(show).collect()
}

fn show(request: &Request) -> String {
    match request {
        Request::Command(command) => {
            let mut bytes = BytesMut::new();
            command.encode(&mut bytes);
            let text = String::from_utf8(bytes.to_vec()).expect("tables hold only text");
            let text = text.strip_suffix("\r\n").expect("every command ends with CR LF");
            text.replacen("\r\n", "|", 1)
        }
        Request::Refused(Refusal::BadFormat { counts: Some(name) }) => {
            format!("BAD_FORMAT, counts {name}")
        }
        Request::Refused(refusal) => {
            let mut bytes = BytesMut::new();
            refusal.reply().encode(&mut bytes);
            String::from_utf8_lossy(&bytes).trim_end().to_owned()
        }
    }
}
