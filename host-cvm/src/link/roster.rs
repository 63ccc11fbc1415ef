//! Which hosts answer: that those of `shares` are two.
//!
//! Every GPU host's process draws an identity when it begins. Two addresses that lead to one process, by whatever
//! name or relay, are told apart from two hosts that way, and the connection is not used. A host that lies about its
//! identity, or runs as two processes, is for the operators to exclude (docs/threat-model.md, 4.1).

use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};

use talaria_wire::channel::KEY_BYTES;

use super::HostAddress;
use super::error::{LinkError, LinkFailure};

/// Bytes of an identity.
pub(crate) const IDENTITY_BYTES: usize = 32;

/// What answered at a host's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Met {
    /// Of the process.
    pub identity: [u8; IDENTITY_BYTES],
    /// Where it was, unless it was a Unix socket.
    pub peer: Option<SocketAddr>,
    /// The host's, if the link is encrypted.
    pub key: Option<[u8; KEY_BYTES]>,
}

impl Met {
    /// What two hosts must not have in common, if they have it.
    fn same(&self, other: &Self) -> Option<&'static str> {
        if self.identity == other.identity {
            Some("one process")
        } else if self.peer.is_some() && self.peer == other.peer {
            Some("one address")
        } else if self.key.is_some() && self.key == other.key {
            Some("one link key")
        } else {
            None
        }
    }
}

/// Who was met last at each host's place, by all instances.
#[derive(Debug)]
pub(crate) struct Roster(Mutex<Vec<Option<Met>>>);

impl Roster {
    pub(crate) fn new(hosts: usize) -> Self {
        Self(Mutex::new(vec![None; hosts]))
    }

    /// Notes who answers for `host`: a host may come back as another process, but never as another host of the roster.
    ///
    /// # Errors
    /// [`LinkFailure::SameHost`].
    pub(crate) fn meet(&self, host: &HostAddress, met: Met) -> Result<(), LinkError> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let others = seen.iter().enumerate();
        let mut others = others.filter(|(index, _)| *index != host.index);
        let twin = others.find_map(|(index, other)| Some((index, met.same(other.as_ref()?)?)));
        if let Some((other, what)) = twin {
            return Err(host.error(
                LinkFailure::SameHost,
                format!(
                    "{} is {what} with GPU host {}: with both shares of a row it would see the row; give two \
                     servers of different operators",
                    host.url,
                    other + 1
                ),
            ));
        }
        if let Some(place) = seen.get_mut(host.index) {
            *place = Some(met);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(identity: u8, peer: &str, key: Option<u8>) -> Met {
        Met {
            identity: [identity; IDENTITY_BYTES],
            peer: peer.parse().ok(),
            key: key.map(|key| [key; KEY_BYTES]),
        }
    }

    #[test]
    fn one_process_address_or_link_key_at_two_places_is_refused() {
        let host = |index| HostAddress::parse(index, "http://gpu:1").unwrap();
        for (second, what) in [
            (met(1, "10.0.0.2:1", Some(2)), "one process"),
            (met(2, "10.0.0.1:1", Some(2)), "one address"),
            (met(2, "10.0.0.2:1", Some(1)), "one link key"),
        ] {
            let roster = Roster::new(2);
            roster
                .meet(&host(0), met(1, "10.0.0.1:1", Some(1)))
                .unwrap();
            let refused = roster.meet(&host(1), second).unwrap_err();
            assert_eq!(refused.failure, LinkFailure::SameHost);
            assert!(refused.message.contains(what), "{}", refused.message);
            // Neither order nor a later meeting makes a difference.
            roster
                .meet(&host(1), met(3, "10.0.0.3:1", Some(3)))
                .unwrap();
            assert!(
                roster
                    .meet(&host(0), met(3, "10.0.0.1:1", Some(1)))
                    .is_err()
            );
        }
    }

    #[test]
    fn two_hosts_may_share_a_machine_and_come_back_as_other_processes() {
        let host = |index| HostAddress::parse(index, "unix:/run/gpu").unwrap();
        let roster = Roster::new(2);
        for identity in [1, 3, 5] {
            roster
                .meet(&host(0), met(identity, "10.0.0.1:1", None))
                .unwrap();
            roster
                .meet(&host(0), met(identity, "10.0.0.1:1", None))
                .unwrap();
            roster
                .meet(&host(1), met(identity + 1, "10.0.0.1:2", None))
                .unwrap();
            roster.meet(&host(1), met(identity + 1, "", None)).unwrap();
        }
    }
}
