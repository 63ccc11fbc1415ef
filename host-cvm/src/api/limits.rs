//! How much of a CVM one client can take, a client being an IP address.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

/// Limits on clients.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Connections of all clients.
    pub connections: usize,
    /// Connections of one client.
    pub connections_per_client: usize,
    /// Requests of one client for evidence or a connection in a minute: each costs a call of the hardware.
    pub evidence_per_minute: u32,
    /// Time for a client's handshake after its evidence, and again for its first frame.
    #[serde(with = "seconds", rename = "handshake_seconds")]
    pub handshake: Duration,
    /// A connection on which nothing is brought on for this long is closed.
    #[serde(with = "seconds", rename = "idle_seconds")]
    pub idle: Duration,
    /// Time for replies under way when the CVM stops.
    #[serde(with = "seconds", rename = "grace_seconds")]
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            connections_per_client: 16,
            evidence_per_minute: 120,
            handshake: Duration::from_secs(10),
            idle: Duration::from_secs(600),
            grace: Duration::from_secs(30),
        }
    }
}

mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(duration.as_secs())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        u32::deserialize(deserializer).map(|seconds| Duration::from_secs(seconds.into()))
    }
}

/// Who is connected.
pub(super) struct Clients {
    limits: Limits,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    clients: Mutex<HashMap<IpAddr, Client>>,
    /// Connections that may be evicted, oldest first.
    unproven: Mutex<BTreeMap<u64, Arc<Place>>>,
    admitted: AtomicU64,
    left: Notify,
}

struct Client {
    connected: usize,
    /// Requests allowed now, and since when that is so.
    allowance: f64,
    counted: Instant,
}

/// A client's place; given back when dropped, or when the client is evicted.
pub(super) struct Admission {
    number: u64,
    place: Arc<Place>,
    seen: Arc<Seen>,
}

struct Place {
    address: IpAddr,
    given_back: AtomicBool,
    evicted: Notify,
}

impl Admission {
    /// From now on its place may be given to another client, until it [proves](Self::prove) to be one.
    pub(super) fn evictable(self) -> Self {
        let mut unproven = lock(&self.seen.unproven);
        unproven.insert(self.number, self.place.clone());
        drop(unproven);
        self
    }

    /// It sent a frame that the payload took: its place is its own.
    pub(super) fn prove(&self) {
        lock(&self.seen.unproven).remove(&self.number);
    }

    /// Waits until its place was given to another.
    pub(super) async fn evicted(&self) {
        self.place.evicted.notified().await;
    }
}

impl Clients {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            seen: Arc::default(),
        }
    }

    /// None: it, or all together, have too many connections, or it asked too often.
    pub(super) fn admit(&self, address: IpAddr) -> Option<Admission> {
        let address = network(address);
        let most = f64::from(self.limits.evidence_per_minute);
        let now = Instant::now();
        if self.connected() >= self.limits.connections {
            self.seen.evict();
        }
        let mut clients = self.seen.lock();
        let connected: usize = clients.values().map(|client| client.connected).sum();
        // Clients that are gone and may ask as often as anybody need no entry.
        clients.retain(|_, client| client.connected > 0 || client.refill(now, most) < most);
        let client = clients.entry(address).or_insert(Client {
            connected: 0,
            allowance: most,
            counted: now,
        });
        let allowed = client.refill(now, most) >= 1.0;
        if !allowed
            || client.connected >= self.limits.connections_per_client
            || connected >= self.limits.connections
        {
            return None;
        }
        client.allowance -= 1.0;
        client.connected += 1;
        drop(clients);
        Some(Admission {
            number: self.seen.admitted.fetch_add(1, Ordering::Relaxed),
            place: Arc::new(Place {
                address,
                given_back: AtomicBool::new(false),
                evicted: Notify::new(),
            }),
            seen: self.seen.clone(),
        })
    }

    /// Connections now.
    pub(super) fn connected(&self) -> usize {
        let clients = self.seen.lock();
        clients.values().map(|client| client.connected).sum()
    }

    /// Waits until nobody is connected, at most for `limit`.
    pub(super) async fn wait_until_gone(&self, limit: Duration) {
        let gone = async {
            loop {
                let left = self.seen.left.notified();
                if self.connected() == 0 {
                    return;
                }
                left.await;
            }
        };
        let _ = tokio::time::timeout(limit, gone).await;
    }
}

impl Client {
    fn refill(&mut self, now: Instant, per_minute: f64) -> f64 {
        let minutes = now.duration_since(self.counted).as_secs_f64() / 60.0;
        self.allowance = (self.allowance + minutes * per_minute).min(per_minute);
        self.counted = now;
        self.allowance
    }
}

impl Seen {
    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Client>> {
        lock(&self.clients)
    }

    /// Takes the place of the connection that is unproven for longest.
    fn evict(&self) {
        let oldest = lock(&self.unproven).pop_first();
        if let Some((_, place)) = oldest {
            self.give_back(&place);
            place.evicted.notify_one();
        }
    }

    fn give_back(&self, place: &Place) {
        if place.given_back.swap(true, Ordering::SeqCst) {
            return;
        }
        if let Some(client) = self.lock().get_mut(&place.address) {
            client.connected -= 1;
        }
        self.left.notify_waiters();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Admission {
    fn drop(&mut self) {
        self.prove();
        self.seen.give_back(&self.place);
    }
}

/// Of IPv6 the first 64 bits: whoever has one address there has all of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let network = v6.to_bits() >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients(change: fn(&mut Limits)) -> Clients {
        let mut limits = Limits::default();
        change(&mut limits);
        Clients::new(limits)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_client_takes_no_more_than_its_part() {
        let clients = clients(|l| (l.connections, l.connections_per_client) = (3, 2));
        let first = clients.admit(address("10.0.0.1"));
        let second = clients.admit(address("::ffff:10.0.0.1"));
        assert!(first.is_some() && second.is_some());
        assert!(clients.admit(address("10.0.0.1")).is_none());
        let other = clients.admit(address("10.0.0.2"));
        assert!(other.is_some());
        assert!(clients.admit(address("10.0.0.3")).is_none(), "all together");
        drop(first);
        assert_eq!(clients.connected(), 2);
        assert!(clients.admit(address("10.0.0.1")).is_some());
    }

    /// Handshakes without a frame, from as many addresses, kept every new client out for ten minutes.
    #[tokio::test]
    async fn connections_without_a_frame_lock_nobody_out() {
        let clients = clients(|l| (l.connections, l.connections_per_client) = (3, 3));
        let proven = clients.admit(address("10.0.0.1")).unwrap().evictable();
        proven.prove();
        let oldest = clients.admit(address("10.0.0.2")).unwrap().evictable();
        let newer = clients.admit(address("10.0.0.2")).unwrap().evictable();
        let third = clients.admit(address("10.0.0.3")).unwrap().evictable();
        oldest.evicted().await;
        assert_eq!(clients.connected(), 3);
        drop(oldest);
        assert_eq!(clients.connected(), 3, "given back once");
        third.prove();
        let fourth = clients.admit(address("10.0.0.4")).unwrap();
        newer.evicted().await;
        assert!(
            clients.admit(address("10.0.0.5")).is_none(),
            "all others are proven"
        );
        drop((proven, newer, third, fourth));
        assert_eq!(clients.connected(), 0);
    }

    #[test]
    fn a_client_asks_so_often_in_a_minute() {
        let clients = clients(|l| l.evidence_per_minute = 2);
        let ask = |text| clients.admit(address(text)).is_some();
        assert_eq!(
            [ask("10.0.0.1"), ask("10.0.0.1"), ask("10.0.0.1")],
            [true, true, false]
        );
        assert!(ask("10.0.0.2"));
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let clients = clients(|l| l.connections_per_client = 1);
        let _first = clients.admit(address("2001:db8::1"));
        assert!(clients.admit(address("2001:db8::ffff:1")).is_none());
        assert!(clients.admit(address("2001:db8:0:1::1")).is_some());
    }

    #[tokio::test]
    async fn waiting_ends_when_all_have_left_or_at_its_limit() {
        let clients = clients(|_| ());
        let admission = clients.admit(address("10.0.0.1"));
        clients.wait_until_gone(Duration::from_millis(10)).await;
        assert_eq!(clients.connected(), 1);
        drop(admission);
        clients.wait_until_gone(Duration::from_secs(60)).await;
    }
}
