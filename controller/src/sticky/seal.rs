//! A session as opaque text, sealed so that nobody without the key can read or make one (D-15, SG-116).
//!
//! ```text
//! "cw1" | base64url( key id | nonce | sealed( server | first access | last access ) | tag )
//!                     1       12              8        8              8               16    bytes
//! ```
//!
//! AES-256-GCM-SIV (RFC 8452): every response is sealed under a random nonce, and with plain GCM a busy installation would
//! have to change its key daily to stay below the 2^32 messages that random nonces allow. Here a repeated nonce shows no
//! more than that two texts are equal. Absent here: randomness (the nonce is an argument) and the clock.

use crate::snapshot::CookieKey;
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 12;
/// Bytes of a sealed session as text.
pub const SEALED_BYTES: usize = FORM.len() + TEXT_BYTES;

/// Form and version; tells our text from an application's.
const FORM: &[u8] = b"cw1";
const PLAIN_BYTES: usize = 3 * 8;
const TAG_BYTES: usize = 16;
const RAW_BYTES: usize = 1 + NONCE_BYTES + PLAIN_BYTES + TAG_BYTES;
const TEXT_BYTES: usize = (RAW_BYTES * 8).div_ceil(6);

/// A client's session with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// [`crate::balance::consistent_hash::server_identity`].
    pub server: u64,
    /// First access, Unix time.
    pub first_secs: u64,
    /// Last access, Unix time.
    pub last_secs: u64,
}

/// Keys in force: the first seals, all open.
pub struct Keys(Vec<(u8, LessSafeKey)>);

impl Keys {
    /// Ready to use.
    pub fn new(keys: &[CookieKey]) -> Keys {
        let ready = |key: &CookieKey| {
            let unbound = UnboundKey::new(&AES_256_GCM_SIV, &key.key)
                .expect("AES-256-GCM-SIV takes any 32 bytes as its key");
            (key.id, LessSafeKey::new(unbound))
        };
        Keys(keys.iter().map(ready).collect())
    }

    /// Appends [`SEALED_BYTES`] of text for `session`, good in `scope` only; false and nothing without a key.
    pub fn seal(&self, out: &mut Vec<u8>, scope: &[u8], session: &Session, nonce: [u8; NONCE_BYTES]) -> bool {
        let Some((id, key)) = self.0.first() else { return false };
        let mut raw = [0; RAW_BYTES];
        raw[0] = *id;
        raw[1..1 + NONCE_BYTES].copy_from_slice(&nonce);
        let (plain, tag) = raw[1 + NONCE_BYTES..].split_at_mut(PLAIN_BYTES);
        let numbers = [session.server, session.first_secs, session.last_secs];
        for (place, number) in plain.chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_be_bytes());
        }
        let nonce = Nonce::assume_unique_for_key(nonce);
        let Ok(made) = key.seal_in_place_separate_tag(nonce, Aad::from(scope), plain) else { return false };
        tag.copy_from_slice(made.as_ref());
        out.extend_from_slice(FORM);
        let from = out.len();
        out.resize(from + TEXT_BYTES, 0);
        URL_SAFE_NO_PAD
            .encode_slice(raw, &mut out[from..])
            .expect("the text's length follows from the bytes'");
        true
    }

    /// The session that `text` holds, if one of these keys sealed it for `scope`.
    pub fn open(&self, scope: &[u8], text: &[u8]) -> Option<Session> {
        let text = text.strip_prefix(FORM).filter(|text| text.len() == TEXT_BYTES)?;
        let mut raw = [0; RAW_BYTES];
        let length = URL_SAFE_NO_PAD.decode_slice_unchecked(text, &mut raw).ok()?;
        if length != RAW_BYTES {
            return None;
        }
        let (_, key) = self.0.iter().find(|(id, _)| *id == raw[0])?;
        let (head, sealed) = raw.split_at_mut(1 + NONCE_BYTES);
        let nonce = Nonce::try_assume_unique_for_key(&head[1..]).ok()?;
        let plain = key.open_in_place(nonce, Aad::from(scope), sealed).ok()?;
        let number = |at: usize| plain.get(8 * at..8 * at + 8)?.try_into().ok().map(u64::from_be_bytes);
        Some(Session { server: number(0)?, first_secs: number(1)?, last_secs: number(2)? })
    }
}

/// Whether `text` looks like one of ours, which says nothing about whether it opens.
pub fn has_form(text: &[u8]) -> bool {
    let body = text.strip_prefix(FORM);
    body.is_some_and(|body| {
        body.len() == TEXT_BYTES
            && body.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte))
    })
}
