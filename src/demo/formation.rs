//! Makes a cluster of the members that wait to be in one.

use std::time::Duration;

use tokio::net::TcpStream;

use super::DemoError;
use super::layout::Place;
use crate::admin::{
    AskError, ClusterStatus, PHASE_SERVING, PHASE_WAITING, REQUEST_LIMIT, Reply, Request,
    ask_within,
};

/// How often a member is asked until it is as it must be, and the pause between: 60 s.
const ASKED_MAX: u32 = 1200;
const PAUSE: Duration = Duration::from_millis(50);

/// How long a member may take to say how it is.
const STATUS_LIMIT: Duration = Duration::from_secs(1);

/// Begins a cluster if all members wait, takes those in that wait, and returns the ids of all, in
/// order of their places. `check` is asked all along whether the members still run.
pub(super) async fn form(
    places: &[Place],
    mut check: impl FnMut() -> Result<(), DemoError>,
) -> Result<Vec<u64>, DemoError> {
    let mut waiting = Vec::new();
    let mut contact = None;
    for place in places {
        let status = until(place, "answering", &mut check, |_| true).await?;
        if status.phase == PHASE_WAITING {
            waiting.push(place);
        } else {
            contact = contact.or(Some(place));
        }
    }
    let contact = match contact {
        Some(contact) => contact,
        None => {
            let first = waiting.remove(0);
            request(first, &Request::Init, "begin a cluster").await?;
            first
        }
    };
    for place in waiting {
        until(contact, "serving", &mut check, |status| status.phase == PHASE_SERVING).await?;
        let add = Request::Add { address: place.member_address() };
        request(contact, &add, &format!("take in member {}", place.number)).await?;
    }
    let mut ids = Vec::new();
    for place in places {
        let is_member = |status: &ClusterStatus| status.this_member != 0;
        ids.push(until(place, "a member", &mut check, is_member).await?.this_member);
    }
    Ok(ids)
}

/// Waits until clients can connect to every member: it opens its port when it serves, a moment after
/// it has become a member. `check` is as in [`form`].
pub(super) async fn serving(
    places: &[Place],
    mut check: impl FnMut() -> Result<(), DemoError>,
) -> Result<(), DemoError> {
    for place in places {
        let mut asked = 0;
        while TcpStream::connect(place.client_address()).await.is_err() {
            check()?;
            asked += 1;
            if asked == ASKED_MAX {
                let (number, log) = (place.number, place.log.clone());
                return Err(DemoError::Slow { number, what: "serving", log });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(())
}

/// Waits until a member says that it is as it must be.
async fn until(
    place: &Place,
    what: &'static str,
    check: &mut impl FnMut() -> Result<(), DemoError>,
    is_so: impl Fn(&ClusterStatus) -> bool,
) -> Result<ClusterStatus, DemoError> {
    for _ in 0..ASKED_MAX {
        check()?;
        match ask_within(&place.data, &Request::Status, STATUS_LIMIT).await {
            Ok(Reply::Status(status)) if is_so(&status) => return Ok(status),
            Err(error @ AskError::NotUnderstood { .. }) => return Err(error.into()),
            _ => tokio::time::sleep(PAUSE).await,
        }
    }
    Err(DemoError::Slow { number: place.number, what, log: place.log.clone() })
}

async fn request(place: &Place, request: &Request, what: &str) -> Result<(), DemoError> {
    match ask_within(&place.data, request, REQUEST_LIMIT).await? {
        Reply::Refused { reason } => Err(DemoError::Refused { what: what.to_owned(), reason }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::pin::Pin;
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;
    use crate::admin::{AdminSocket, Administrator};

    /// A cluster that exists in a list: who is in it, by address.
    type Cluster = Arc<Mutex<Vec<String>>>;

    /// A member of it, or one that waits.
    struct Fake {
        address: String,
        cluster: Cluster,
    }

    impl Administrator for Fake {
        fn execute(&self, request: Request) -> Pin<Box<dyn Future<Output = Reply> + Send + '_>> {
            let mut cluster = self.cluster.lock();
            let place = cluster.iter().position(|address| *address == self.address);
            let done = || Reply::Done { text: String::new() };
            let reply = match (request, place) {
                (Request::Status, Some(place)) => Reply::Status(ClusterStatus {
                    this_member: place as u64 + 1,
                    phase: PHASE_SERVING.to_owned(),
                    ..Default::default()
                }),
                (Request::Status, None) => Reply::Status(ClusterStatus {
                    phase: PHASE_WAITING.to_owned(),
                    ..Default::default()
                }),
                (Request::Init, None) if cluster.is_empty() => {
                    cluster.push(self.address.clone());
                    done()
                }
                (Request::Add { address }, Some(_)) => {
                    cluster.push(address);
                    done()
                }
                (other, _) => Reply::Refused { reason: format!("{other:?} makes no sense here") },
            };
            Box::pin(std::future::ready(reply))
        }
    }

    /// Three places, and who waits behind each.
    fn fakes(dir: &Path, cluster: &Cluster) -> Vec<Place> {
        let place = |number: u16| {
            let data = dir.join(number.to_string());
            std::fs::create_dir(&data).unwrap();
            let place = Place {
                number: number.into(),
                config: data.join("config"),
                log: data.join("log"),
                data,
                client_port: number,
                member_port: 100 + number,
            };
            let fake = Fake { address: place.member_address(), cluster: Arc::clone(cluster) };
            tokio::spawn(AdminSocket::bind(&place.data).unwrap().run(Arc::new(fake)));
            place
        };
        (1..=3).map(place).collect()
    }

    #[tokio::test]
    async fn three_that_wait_become_a_cluster_of_three() {
        let dir = tempfile::tempdir().unwrap();
        let cluster = Cluster::default();
        let ids = form(&fakes(dir.path(), &cluster), || Ok(())).await.unwrap();
        assert_eq!(ids, [1, 2, 3]);
        assert_eq!(*cluster.lock(), ["127.0.0.1:101", "127.0.0.1:102", "127.0.0.1:103"]);
    }

    #[tokio::test]
    async fn those_that_are_in_stay_and_the_rest_is_taken_in() {
        let dir = tempfile::tempdir().unwrap();
        let cluster = Cluster::default();
        cluster.lock().extend(["127.0.0.1:102", "127.0.0.1:101"].map(str::to_owned));
        let ids = form(&fakes(dir.path(), &cluster), || Ok(())).await.unwrap();
        assert_eq!(ids, [2, 1, 3]);
    }

    #[tokio::test]
    async fn a_refusal_and_an_early_end_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let cluster = Cluster::default();
        let places = fakes(dir.path(), &cluster);
        // Known to the list, and behind no place: the first is refused to begin anew.
        cluster.lock().push("elsewhere".to_owned());
        let error = form(&places, || Ok(())).await.unwrap_err().to_string();
        assert_eq!(error, "cannot begin a cluster: Init makes no sense here");
        let ended = || Err(DemoError::InUse(dir.path().to_owned()));
        assert!(matches!(form(&places, ended).await, Err(DemoError::InUse(_))));
    }
}
