//! Connection ids that lead to their worker, and the secrets that all workers of a process share.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use aws_lc_rs::{hkdf, hmac};
use quinn::crypto::{HandshakeTokenKey, HmacKey};
use quinn::{ConnectionId, ConnectionIdGenerator};
use quinn_proto::InvalidCid;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Length of ids, in bytes: enough that ids of a worker neither meet nor can be guessed.
const ID_BYTES: usize = 8;

/// Which of the workers a socket belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its number, from 0.
    pub worker: u8,
    /// How many there are, at least one.
    pub workers: u8,
}

impl Place {
    /// That of a worker, unless it is one of those that have none ([`super::WORKERS_MAX`]).
    pub fn new(worker: usize, workers: usize) -> Option<Place> {
        let workers = workers.min(super::WORKERS_MAX);
        let (worker, workers) = (u8::try_from(worker).ok()?, u8::try_from(workers).ok()?);
        (worker < workers).then_some(Place { worker, workers })
    }

    fn owns(self, byte: u8) -> bool {
        byte % self.workers == self.worker
    }
}

/// Makes ids of which the first byte, modulo the number of workers, is the worker's number; the rest is random, so that
/// nobody can tell which ids belong to one connection.
pub struct Ids(pub Place);

impl ConnectionIdGenerator for Ids {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut bytes = [0; ID_BYTES];
        let random = SystemRandom::new();
        loop {
            random.fill(&mut bytes).expect("the system's source of randomness never runs dry");
            // Rounded down to a multiple, so that all bytes that are left are equally likely; the last ones may have none.
            let first = bytes[0] - bytes[0] % self.0.workers;
            if let Some(first) = first.checked_add(self.0.worker) {
                bytes[0] = first;
                return ConnectionId::new(&bytes);
            }
        }
    }

    /// An id of another worker, which reaches this one when the kernel joined datagrams of two connections or before all
    /// sockets were bound, must not be answered with a stateless reset: the key is the same, so its connection would end.
    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        if id.first().is_some_and(|&first| self.0.owns(first)) { Ok(()) } else { Err(InvalidCid) }
    }

    fn cid_len(&self) -> usize {
        ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// Keys of a process: of stateless resets, and of the tokens that prove a client's address.
#[derive(Clone)]
pub struct Secrets {
    pub(super) reset: Arc<dyn HmacKey>,
    pub(super) token: Arc<dyn HandshakeTokenKey>,
}

impl Secrets {
    /// New ones.
    pub fn random() -> Secrets {
        let mut seeds = [[0; 32]; 2];
        for seed in &mut seeds {
            SystemRandom::new().fill(seed).expect("the system's source of randomness never runs dry");
        }
        Secrets {
            reset: Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &seeds[0])),
            token: Arc::new(hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&seeds[1])),
        }
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_lead_to_their_worker_and_are_otherwise_all_possible() {
        for workers in [1, 2, 3, 7, 200, 255] {
            for worker in [0, workers / 2, workers - 1] {
                let mut ids = Ids(Place { worker, workers });
                let mut seen = [false; 256];
                for _ in 0..8000 {
                    let id = ids.generate_cid();
                    assert_eq!((id.len(), id[0] % workers), (ID_BYTES, worker));
                    assert!(ids.validate(&id).is_ok());
                    seen[usize::from(id[0])] = true;
                }
                let possible = (0..=255u8).filter(|byte| byte % workers == worker).count();
                assert_eq!(seen.iter().filter(|seen| **seen).count(), possible, "{worker} of {workers}");
            }
        }
        let other = Ids(Place { worker: 1, workers: 2 }).generate_cid();
        assert!(Ids(Place { worker: 0, workers: 2 }).validate(&other).is_err());
    }

    #[test]
    fn a_place_is_one_of_those_there_are() {
        assert_eq!(Place::new(1, 2), Some(Place { worker: 1, workers: 2 }));
        assert_eq!((Place::new(2, 2), Place::new(255, 300), Place::new(0, 0)), (None, None, None));
    }
}
