//! The way in: how a process that belongs to no cluster yet becomes a member.

use std::time::Duration;

use super::messages::{self, WelcomeMessage, kind};
use crate::link::{Link, LinkError, MemberPort, Secret};
use crate::storage::Owner;

/// How long whoever dialled may take to say why.
const WELCOME_LIMIT: Duration = Duration::from_secs(5);

/// Waits for a member of a cluster to take this process in. Returns which cluster and under which
/// number; nothing has been written yet.
pub async fn invited(port: &MemberPort, secret: &Secret) -> Owner {
    loop {
        let (link, cluster) = port.next_join(secret).await;
        match welcomed(link).await {
            Ok(Some(member)) => return Owner { cluster, member },
            // The operator who asked for it was told why; this process waits on.
            Ok(None) => tracing::info!("a member dialled to let this process in, and did not"),
            Err(error) => tracing::info!(%error, "a member that let this process in broke off"),
        }
    }
}

async fn welcomed(link: Link) -> Result<Option<u64>, LinkError> {
    let (mut reader, mut writer) = link.split();
    let Some(frame) = reader.next_within(WELCOME_LIMIT).await? else { return Ok(None) };
    let Ok(message) = messages::read::<WelcomeMessage>(&frame.body) else { return Ok(None) };
    if frame.kind != kind::WELCOME {
        return Ok(None);
    }
    writer.feed(kind::WELCOME, frame.id, &[]);
    writer.flush().await?;
    Ok(Some(message.member))
}
