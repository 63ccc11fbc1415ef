//! Which hosts are there: each is asked who it is, again and again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{Deadlines, HostAddress, Roster};

/// Between two questions to a host that answers.
const PERIOD: Duration = Duration::from_secs(2);

/// Of every host, whether it answered last.
#[derive(Clone, Debug)]
pub(crate) struct Presence(watch::Receiver<Vec<bool>>);

impl Presence {
    /// All of them, for ever: nobody asks.
    pub(crate) fn assumed(hosts: usize) -> Self {
        Self(watch::channel(vec![true; hosts]).1)
    }

    /// Of every host.
    pub(crate) fn hosts(&self) -> Vec<bool> {
        self.0.borrow().clone()
    }

    /// The first host that is away, from 0.
    pub(crate) fn away(&self) -> Option<usize> {
        self.0.borrow().iter().position(|there| !there)
    }

    /// Waits until all hosts are there.
    pub(crate) async fn complete(&self) {
        let mut hosts = self.0.clone();
        let complete = hosts.wait_for(|hosts| hosts.iter().all(|there| *there));
        // Nobody asks any more: whoever waits finds out by trying.
        let _ = complete.await;
    }

    /// Waits until a host is away; its index.
    pub(crate) async fn lost(&self) -> usize {
        let mut hosts = self.0.clone();
        let lost = hosts.wait_for(|hosts| hosts.iter().any(|there| !there));
        if lost.await.is_err() {
            std::future::pending::<()>().await;
        }
        self.away().unwrap_or_default()
    }
}

/// Asks all hosts until it is dropped.
pub(crate) struct Watch {
    _tasks: JoinSet<()>,
}

impl Watch {
    /// Begins with all hosts there: they just were.
    pub(crate) fn start(
        hosts: &Arc<[HostAddress]>,
        roster: &Arc<Roster>,
        deadlines: Deadlines,
    ) -> (Self, Presence) {
        let (told, presence) = watch::channel(vec![true; hosts.len()]);
        let told = Arc::new(told);
        let mut tasks = JoinSet::new();
        for host in hosts.iter() {
            let (host, roster, told) = (host.clone(), roster.clone(), told.clone());
            tasks.spawn(ask(host, roster, deadlines, told));
        }
        (Self { _tasks: tasks }, Presence(presence))
    }
}

async fn ask(
    host: HostAddress,
    roster: Arc<Roster>,
    deadlines: Deadlines,
    told: Arc<watch::Sender<Vec<bool>>>,
) {
    let tell = |there: bool| {
        told.send_if_modified(|hosts| {
            let changed = hosts.get(host.index).is_some_and(|before| *before != there);
            if changed {
                hosts[host.index] = there;
            }
            changed
        })
    };
    loop {
        let connection = match host.connect(&roster, deadlines).await {
            Ok(connection) => connection,
            Err(error) => {
                if tell(false) {
                    tracing::warn!(%error, "a GPU host is away");
                }
                sleep(PERIOD).await;
                continue;
            }
        };
        if tell(true) {
            tracing::info!(host = host.index + 1, "a GPU host is back");
        }
        loop {
            sleep(PERIOD).await;
            let met = connection.meet(&host, &roster, deadlines).await;
            if let Err(error) = met {
                tell(false);
                tracing::warn!(%error, "a GPU host is away");
                break;
            }
        }
    }
}
