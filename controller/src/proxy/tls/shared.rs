//! What is made of the same content is made once in the process: workers, listeners and zones share it.
//!
//! Nothing is kept for its own sake: what nobody holds is gone.

use aws_lc_rs::digest::{Context, SHA256};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Names content.
pub(super) type Fingerprint = [u8; 32];

/// Takes content in, part after part.
pub(super) struct Fingerprinter(Context);

impl Fingerprinter {
    pub(super) fn new() -> Fingerprinter {
        Fingerprinter(Context::new(&SHA256))
    }

    /// Parts have lengths, so that moving a byte from one to the next makes a difference.
    pub(super) fn part(&mut self, bytes: &[u8]) {
        self.0.update(&bytes.len().to_le_bytes());
        self.0.update(bytes);
    }

    pub(super) fn finish(self) -> Fingerprint {
        self.0.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
    }
}

/// Values in use, by what they were made of.
pub(super) struct Shared<T>(Mutex<Option<HashMap<Fingerprint, Weak<T>>>>);

impl<T> Shared<T> {
    pub(super) const fn new() -> Shared<T> {
        Shared(Mutex::new(None))
    }

    /// The value made of this content; `make` is asked if nobody has it. Others who want one wait meanwhile, since most
    /// want the same.
    pub(super) fn get<E>(
        &self,
        content: Fingerprint,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<Arc<T>, E> {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let values = values.get_or_insert_default();
        if let Some(value) = values.get(&content).and_then(Weak::upgrade) {
            return Ok(value);
        }
        let value = Arc::new(make()?);
        if values.len() == values.capacity() {
            values.retain(|_, value| value.strong_count() > 0);
        }
        values.insert(content, Arc::downgrade(&value));
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn makes_each_content_once_while_it_is_held_and_again_after() {
        let values: Shared<u32> = Shared::new();
        let made = Cell::new(0);
        let get = |content: u8, value| {
            let make = || {
                made.set(made.get() + 1);
                Ok::<_, ()>(value)
            };
            values.get([content; 32], make).unwrap()
        };
        let first = get(1, 10);
        assert_eq!((*get(1, 11), *get(2, 20), made.get()), (10, 20, 2));
        assert_eq!(*get(2, 21), 21, "nobody held it");
        drop(first);
        assert_eq!(*get(1, 12), 12);
        assert_eq!(values.get([3; 32], || Err("no")), Err("no"));
    }

    #[test]
    fn forgets_what_nobody_holds() {
        let values: Shared<u32> = Shared::new();
        let held = values.get([255; 32], || Ok::<_, ()>(0)).unwrap();
        for content in 0..=254 {
            values.get([content; 32], || Ok::<_, ()>(0)).unwrap();
        }
        assert!(values.0.lock().unwrap().as_ref().unwrap().len() < 32);
        assert!(Arc::ptr_eq(&held, &values.get([255; 32], || Ok::<_, ()>(1)).unwrap()));
    }

    #[test]
    fn content_is_told_apart_by_where_its_parts_end() {
        let of = |parts: &[&str]| {
            let mut fingerprint = Fingerprinter::new();
            parts.iter().for_each(|part| fingerprint.part(part.as_bytes()));
            fingerprint.finish()
        };
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
        assert_ne!(of(&["a", ""]), of(&["a"]));
        assert_eq!(of(&["a", "b"]), of(&["a", "b"]));
    }
}
