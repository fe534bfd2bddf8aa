//! Carries this member's ops to the leader while another member leads (DESIGN D2).

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver as _;

use super::Cluster;
use super::messages::{self, kind};
use crate::link::{self, LinkError, LinkReader, LinkWriter, Purpose};

/// How long to wait before trying again.
const RETRY: Duration = Duration::from_millis(10);

/// Runs for as long as it is polled.
pub(super) async fn run(cluster: Arc<Cluster>) {
    let mut metrics = cluster.raft.server_metrics();
    loop {
        let leader = cluster.other_leader();
        let Some((leader, address)) = leader else {
            if metrics.changed().await.is_err() {
                return;
            }
            continue;
        };
        tokio::select! {
            ended = forward(&cluster, leader, &address) => {
                if let Err(error) = ended {
                    tracing::debug!(leader, %error, "the way of ops to the leader is broken");
                }
                tokio::time::sleep(RETRY).await;
            }
            () = cluster.leader_changed(leader) => {}
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum ForwardError {
    #[error(transparent)]
    Dial(#[from] link::DialError),
    #[error(transparent)]
    Link(#[from] LinkError),
}

/// Sends ops to one leader until the link ends.
async fn forward(cluster: &Cluster, leader: u64, address: &str) -> Result<(), ForwardError> {
    let link = cluster.dial(leader, address, Purpose::Ops).await?;
    let (mut reader, mut writer) = link.split();
    let Some(mut round) = next_round(&mut reader).await? else { return Ok(()) };
    loop {
        cluster.outbox.restart();
        tokio::select! {
            ended = send(cluster, &mut writer, round) => return Ok(ended?),
            next = next_round(&mut reader) => match next? {
                Some(next) => round = next,
                None => return Ok(()),
            },
        }
        // A write may have been given up in the middle: what is left of it goes first.
        writer.flush().await?;
    }
}

/// Sends for as long as it is polled. Giving it up between two polls leaves whole frames behind.
async fn send(cluster: &Cluster, writer: &mut LinkWriter, round: u64) -> Result<(), LinkError> {
    loop {
        while let Some(part) = cluster.outbox.take() {
            writer.feed(kind::PART, round, &messages::bytes(&part));
            writer.flush().await?;
        }
        cluster.outbox.woken().await;
    }
}

async fn next_round(reader: &mut LinkReader) -> Result<Option<u64>, LinkError> {
    while let Some(frame) = reader.next().await? {
        if frame.kind == kind::START {
            return Ok(Some(frame.id));
        }
    }
    Ok(None)
}
