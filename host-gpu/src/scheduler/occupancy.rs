//! Bound on what a host has accepted and not yet answered.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts requests and bytes under way.
pub struct Occupancy {
    max_requests: usize,
    max_bytes: u64,
    used: Mutex<Used>,
}

#[derive(Default)]
struct Used {
    requests: usize,
    bytes: u64,
}

/// A request's place; free again when dropped.
pub struct Slot {
    of: Arc<Occupancy>,
    bytes: u64,
}

impl Occupancy {
    /// Room for so many requests with so many bytes together.
    pub fn new(max_requests: usize, max_bytes: u64) -> Arc<Self> {
        Arc::new(Self {
            max_requests,
            max_bytes,
            used: Mutex::default(),
        })
    }

    /// Takes a place, if there is one. A request larger than all room is let in alone.
    pub fn admit(self: &Arc<Self>, bytes: u64) -> Option<Slot> {
        let mut used = self.lock();
        let full = used.requests >= self.max_requests
            || (used.requests > 0 && used.bytes.saturating_add(bytes) > self.max_bytes);
        if full {
            return None;
        }
        used.requests += 1;
        used.bytes = used.bytes.saturating_add(bytes);
        drop(used);
        Some(Slot {
            of: Arc::clone(self),
            bytes,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut used = self.of.lock();
        used.requests -= 1;
        used.bytes -= self.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_requests_and_bytes() {
        let occupancy = Occupancy::new(2, 100);
        let first = occupancy.admit(60).unwrap();
        assert!(occupancy.admit(41).is_none());
        let second = occupancy.admit(40).unwrap();
        assert!(occupancy.admit(0).is_none());
        drop(first);
        drop(second);
        let alone = occupancy.admit(1000).unwrap();
        assert!(occupancy.admit(0).is_none());
        drop(alone);
        assert!(occupancy.admit(100).is_some());
    }
}
