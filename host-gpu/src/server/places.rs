//! Places of which nobody gets more than a share, so that one caller cannot keep the others out.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Who counts as one caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Origin {
    /// An address.
    V4(Ipv4Addr),
    /// A network of 64 bits: whoever has an address of IPv6 has as many as that.
    V6([u8; 8]),
    /// A Unix socket: whoever may open its file.
    Unix,
}

impl From<IpAddr> for Origin {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// So many places in all, and so many for one origin.
pub(super) struct Places {
    most: u64,
    most_of_one: u64,
    taken: Mutex<Taken>,
    freed: Notify,
}

#[derive(Default)]
struct Taken {
    all: u64,
    of: HashMap<Origin, u64>,
}

/// Some places, free again once dropped.
pub(super) struct Place {
    places: Arc<Places>,
    origin: Origin,
    amount: u64,
}

impl Places {
    pub(super) fn new(most: u64, most_of_one: u64) -> Arc<Self> {
        Arc::new(Self {
            most,
            most_of_one,
            taken: Mutex::default(),
            freed: Notify::new(),
        })
    }

    /// Takes so many places at once, if they are free.
    pub(super) fn take(self: &Arc<Self>, origin: Origin, amount: u64) -> Option<Place> {
        let mut taken = self.taken();
        let of_one = taken.of.get(&origin).copied().unwrap_or(0);
        let fits = |taken: u64, most: u64| taken.checked_add(amount).is_some_and(|sum| sum <= most);
        if !fits(taken.all, self.most) || !fits(of_one, self.most_of_one) {
            return None;
        }
        taken.all += amount;
        taken.of.insert(origin, of_one + amount);
        Some(Place {
            places: Arc::clone(self),
            origin,
            amount,
        })
    }

    /// Waits until so many are free. More than one origin may have is never free.
    pub(super) async fn wait(self: Arc<Self>, origin: Origin, amount: u64) -> Place {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            // From here on: nothing that is freed between the look and the wait is missed.
            freed.as_mut().enable();
            if let Some(place) = self.take(origin, amount) {
                return place;
            }
            freed.await;
        }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all -= self.amount;
        if let Some(of_one) = taken.of.get_mut(&self.origin) {
            *of_one -= self.amount;
            if *of_one == 0 {
                taken.of.remove(&self.origin);
            }
        }
        drop(taken);
        self.places.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str) -> Origin {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn one_origin_gets_its_share_and_no_more() {
        let places = Places::new(5, 3);
        let (one, other) = (origin("192.0.2.1"), origin("192.0.2.2"));
        let held = places.take(one, 2).unwrap();
        let last = places.take(one, 1).unwrap();
        assert!(places.take(one, 1).is_none());
        let others = places.take(other, 2).unwrap();
        assert!(places.take(other, 1).is_none() && places.take(Origin::Unix, 1).is_none());
        drop(held);
        assert!(places.take(one, 3).is_none() && places.take(one, u64::MAX).is_none());
        drop((last, others));
        assert!(places.taken().of.is_empty() && places.taken().all == 0);
    }

    #[test]
    fn addresses_of_one_caller_are_one_origin() {
        assert_eq!(origin("::ffff:192.0.2.1"), origin("192.0.2.1"));
        assert_eq!(origin("2001:db8::1"), origin("2001:db8::ffff:1"));
        assert_ne!(origin("2001:db8:0:1::1"), origin("2001:db8::1"));
    }

    #[tokio::test]
    async fn who_waits_gets_what_is_freed() {
        let places = Places::new(2, 2);
        let held = places.take(Origin::Unix, 2).unwrap();
        let waiting = tokio::spawn(Arc::clone(&places).wait(Origin::Unix, 1));
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(held);
        drop(waiting.await.unwrap());
        assert!(places.take(Origin::Unix, 2).is_some());
    }
}
