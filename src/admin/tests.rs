//! Both sides of the socket, with somebody behind it who does nothing.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::cli::Invocation;

/// Answers each request with its own name, and `Transfer` never.
struct Echo;

impl Administrator for Echo {
    fn execute(&self, request: Request) -> Pin<Box<dyn Future<Output = Reply> + Send + '_>> {
        Box::pin(async move {
            match request {
                Request::Transfer { .. } => std::future::pending().await,
                Request::Check => Reply::Check { can_stop: false, reason: "alone".to_owned() },
                Request::Status => Reply::Status(ClusterStatus {
                    phase: PHASE_SERVING.to_owned(),
                    ..Default::default()
                }),
                Request::Remove { .. } => Reply::Refused { reason: "it leads".to_owned() },
                other => Reply::Done { text: format!("{other:?}") },
            }
        })
    }
}

/// A member in a directory of its own, for as long as this lives.
struct Member {
    dir: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

impl Member {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime = runtime();
        let socket = runtime.block_on(async { AdminSocket::bind(dir.path()).unwrap() });
        runtime.spawn(socket.run(Arc::new(Echo)));
        Self { dir, runtime }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// What `beanpole cluster LINE` prints and answers at this member.
    fn command(&self, line: &str) -> (bool, String) {
        command(self.path(), line)
    }
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().unwrap()
}

/// What `beanpole cluster LINE` prints and answers at the member with the data directory `dir`.
fn command(dir: &Path, line: &str) -> (bool, String) {
    let line = format!("beanpole cluster {line}");
    let words = line.split(' ').map(Into::into);
    let Ok(Invocation::Cluster(arguments)) = Invocation::read(words) else { panic!("{line}") };
    let mut out = Vec::new();
    let is_done = run(&arguments, Some(dir.into()), &mut out).unwrap();
    (is_done, String::from_utf8(out).unwrap())
}

#[test]
fn messages_look_as_documented() {
    let requests = [
        (Request::Init, r#"{"do":"init"}"#),
        (Request::Add { address: "a:1".into() }, r#"{"do":"add","address":"a:1"}"#),
        (
            Request::Replace { member: 3, address: "a:1".into() },
            r#"{"do":"replace","member":3,"address":"a:1"}"#,
        ),
        (Request::Transfer { to: None }, r#"{"do":"transfer","to":null}"#),
        (Request::Check, r#"{"do":"check"}"#),
        (Request::Memory, r#"{"do":"memory"}"#),
        (
            Request::Limits(LimitsRequest { held: Some(7), ..LimitsRequest::default() }),
            r#"{"do":"limits","tubes":null,"watches":null,"held":7,"sessions":null}"#,
        ),
    ];
    for (request, json) in requests {
        assert_eq!(serde_json::to_string(&request).unwrap(), json);
        assert_eq!(serde_json::from_str::<Request>(json).unwrap(), request);
    }
    let status = Reply::Status(ClusterStatus::default());
    let json = serde_json::to_string(&status).unwrap();
    assert!(json.starts_with(r#"{"reply":"status","cluster":"","this_member":0,"#), "{json}");
    assert_eq!(serde_json::from_str::<Reply>(&json).unwrap(), status);
}

#[test]
fn a_member_answers_and_its_socket_is_its_users_alone() {
    let member = Member::start();
    let reply = ask(member.path(), &Request::Init).unwrap();
    assert_eq!(reply, Reply::Done { text: "Init".to_owned() });
    let mode = fs::metadata(member.path().join(SOCKET_NAME)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn commands_print_the_answer_and_tell_whether_it_is_good() {
    let member = Member::start();
    assert_eq!(member.command("remove 1"), (false, "refused: it leads\n".to_owned()));
    assert_eq!(member.command("check"), (false, "cannot be stopped: alone\n".to_owned()));
    let (is_done, printed) = member.command("check --json");
    let json = "{\"reply\":\"check\",\"can_stop\":false,\"reason\":\"alone\"}\n";
    assert_eq!((is_done, printed.as_str()), (false, json));
    let (is_done, printed) = member.command("init a:1 b:2");
    let added = |address: &str| format!("Add {{ address: \"{address}\" }}\n");
    assert!(is_done);
    assert_eq!(printed, format!("Init\n{}{}", added("a:1"), added("b:2")));
}

#[test]
fn a_new_cluster_is_waited_for_while_its_socket_changes_hands() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let waiting = runtime.block_on(async { AdminSocket::bind(dir.path()).unwrap() });
    let path = dir.path().to_owned();
    let (begun, begins) = tokio::sync::oneshot::channel();
    runtime.spawn(async move {
        let asked = Arc::new(Begins(parking_lot::Mutex::new(Some(begun))));
        waiting.run_until(asked, async { drop(begins.await) }).await;
        drop(waiting);
        // Longer than a member takes for the question that comes in between.
        tokio::time::sleep(Duration::from_millis(200)).await;
        AdminSocket::bind(&path).unwrap().run(Arc::new(Echo)).await;
    });
    let printed = "begun\nAdd { address: \"a:1\" }\n".to_owned();
    assert_eq!(command(dir.path(), "init a:1"), (true, printed));
}

/// Ends when it is first asked.
struct Begins(parking_lot::Mutex<Option<tokio::sync::oneshot::Sender<()>>>);

impl Administrator for Begins {
    fn execute(&self, _: Request) -> Pin<Box<dyn Future<Output = Reply> + Send + '_>> {
        drop(self.0.lock().take());
        Box::pin(std::future::ready(Reply::Done { text: "begun".to_owned() }))
    }
}

#[test]
fn one_connection_may_ask_several_times_and_is_told_what_is_not_understood() {
    let member = Member::start();
    let mut stream = UnixStream::connect(member.path().join(SOCKET_NAME)).unwrap();
    stream.write_all(b"{\"do\":\"init\"}\n{\"do\":\"sing\"}\n{\"do\":\"check\"}\n{").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines[0].contains("done"), "{text}");
    assert!(lines[1].contains("refused") && lines[1].contains("sing"), "{text}");
    assert!(lines[2].contains("check"), "{text}");
    assert!(lines[3].contains("without its end"), "{text}");
}

#[test]
fn a_request_that_is_too_long_is_refused() {
    let member = Member::start();
    let address = "x".repeat(usize::try_from(MESSAGE_BYTES_MAX).unwrap());
    let mut stream = UnixStream::connect(member.path().join(SOCKET_NAME)).unwrap();
    writeln!(stream, "{{\"do\":\"add\",\"address\":\"{address}\"}}").unwrap();
    let mut first = [0; 18];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, br#"{"reply":"refused""#);
}

#[test]
fn a_request_that_takes_for_ever_does_not_stop_others() {
    let member = Member::start();
    let limit = Duration::from_millis(50);
    let transfer = Request::Transfer { to: None };
    let error = member.runtime.block_on(ask_within(member.path(), &transfer, limit)).unwrap_err();
    assert!(matches!(error, AskError::TimedOut { .. }), "{error}");
    assert!(ask(member.path(), &Request::Check).is_ok());
}

#[test]
fn a_stale_socket_is_replaced_and_a_file_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(SOCKET_NAME);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    drop(AdminSocket::bind(dir.path()).unwrap());
    assert!(!path.exists(), "its end removes it");
    fs::write(&path, "precious").unwrap();
    let error = AdminSocket::bind(dir.path()).unwrap_err();
    assert!(error.to_string().ends_with("exists and is not a socket"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn a_path_too_long_for_a_socket_is_told_on_both_sides() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("x".repeat(100));
    fs::create_dir(&deep).unwrap();
    let error = AdminSocket::bind(&deep).unwrap_err();
    assert!(error.to_string().contains("choose a shorter data directory"), "{error}");
    let error = ask(&deep, &Request::Status).unwrap_err();
    assert!(error.to_string().contains("choose a shorter data directory"), "{error}");
}

#[test]
fn nobody_there_is_an_error_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let error = ask(dir.path(), &Request::Status).unwrap_err();
    assert!(matches!(error, AskError::Nobody { .. }), "{error}");
}
