//! The socket that libraries connect to.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};

use super::connection;
use crate::cli::AgentArguments;
use crate::client::{Client, Options, OptionsError};
use crate::open_files;

/// The most connections at once.
const CONNECTIONS_MAX: usize = 20_000;

/// After a connection could not be accepted: trying again at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a clean end waits for what is under way.
const STOP_MAX: Duration = Duration::from_secs(5);

/// Why an agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The members, or the lease.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The address cannot be had.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The operating system refused something basic.
    #[error("cannot {what}: {source}")]
    System {
        /// What was asked of it.
        what: &'static str,
        /// What it said.
        source: io::Error,
    },
}

/// Serves libraries until SIGTERM or SIGINT. Sessions that are open then are closed: what they held is
/// ready again at once.
///
/// # Errors
///
/// [`AgentError`].
pub fn run(arguments: &AgentArguments) -> Result<(), AgentError> {
    open_files::raise_limit();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| AgentError::System { what: "start the runtime", source })?;
    runtime.block_on(serve(arguments))
}

async fn serve(arguments: &AgentArguments) -> Result<(), AgentError> {
    let options = Options { lease: arguments.lease(), ..Options::default() };
    let catch =
        |kind| signal(kind).map_err(|source| AgentError::System { what: "catch signals", source });
    let (mut terminate, mut interrupt) =
        (catch(SignalKind::terminate())?, catch(SignalKind::interrupt())?);
    let listen = |source| AgentError::Listen { address: arguments.listen.clone(), source };
    let listener = TcpListener::bind(&arguments.listen).await.map_err(listen)?;
    let address = listener.local_addr().map_err(listen)?;
    let client = Client::connect(arguments.members.clone(), options)?;
    tracing::info!(
        target: "beanpole",
        members = arguments.members.join(","),
        "ready, listening on {address}"
    );
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (stop, stops) = watch::channel(false);
    tokio::select! {
        () = accept(&listener, &client, &slots, &stops) => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!(target: "beanpole", "ending");
    stop.send_replace(true);
    // What is left of them ends with the process: their sessions last as long as their leases then.
    let all = u32::try_from(CONNECTIONS_MAX).expect("a bound fits");
    drop(tokio::time::timeout(STOP_MAX, slots.acquire_many(all)).await);
    Ok(())
}

async fn accept(
    listener: &TcpListener,
    client: &Client,
    slots: &Arc<Semaphore>,
    stops: &watch::Receiver<bool>,
) {
    loop {
        let slot = Arc::clone(slots).acquire_owned().await.expect("nobody closes it");
        match listener.accept().await {
            Ok((stream, peer)) => {
                tracing::debug!(%peer, "connected");
                let (client, stops) = (client.clone(), stops.clone());
                tokio::spawn(async move {
                    let end = serve_one(stream, client, stops).await;
                    tracing::debug!(%peer, %end, "gone");
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_one(
    stream: TcpStream,
    client: Client,
    stops: watch::Receiver<bool>,
) -> connection::End {
    // Replies are small, and somebody waits for each.
    if let Err(error) = stream.set_nodelay(true) {
        return error.into();
    }
    connection::serve(stream, client, stops).await
}
