//! Sticky cookies: what opens, and which places in cookies are named.

use controller::snapshot::{CookieKey, StickySnapshot};
use controller::sticky::seal::{NONCE_BYTES, SEALED_BYTES, Session};
use controller::sticky::{COOKIE, Sticky};

const NOW_SECS: u64 = 1_800_000_000;
const TIMEOUT_SECS: u32 = 1000;

fn keys(ids: &[u8]) -> Vec<CookieKey> {
    ids.iter().map(|&id| CookieKey { id, key: [id; 32] }).collect()
}

/// The input is a Cookie header's value: what a client sends. `\x01` in it stands for a cookie that we sealed, `\x02` for
/// one that we sealed for another group, `\x03` for one of a key that is gone, `\x04` for one that expired; what follows in
/// the input may damage them only by cutting, since a byte of theirs cannot be guessed. Panics unless exactly those open
/// that may, and every place named is within the value.
pub fn check(input: &[u8]) {
    for mode in [
        StickySnapshot::Insert { timeout_secs: TIMEOUT_SECS },
        StickySnapshot::Server { cookie: "app".to_owned() },
    ] {
        check_mode(input, &mode);
    }
}

fn check_mode(input: &[u8], mode: &StickySnapshot) {
    let sticky = Sticky::new(mode, "group", &keys(&[1, 2]));
    let session = Session { server: 7, first_secs: NOW_SECS - 5, last_secs: NOW_SECS - 5 };
    let expired = Session { last_secs: NOW_SECS - 1 - u64::from(TIMEOUT_SECS), ..session };
    let sealed = |by: &Sticky, session: &Session, nonce: u8| {
        let mut mark = Vec::new();
        by.push_mark(&mut mark, session, [nonce; NONCE_BYTES]);
        // In mode Insert the separator does not belong to it.
        mark.truncate(if by.is_carried() { SEALED_BYTES + 1 } else { SEALED_BYTES });
        mark
    };
    let texts = [
        sealed(&sticky, &session, 1),
        sealed(&Sticky::new(mode, "other", &keys(&[1])), &session, 2),
        sealed(&Sticky::new(mode, "group", &keys(&[3])), &session, 3),
        sealed(&sticky, &expired, 4),
    ];
    let mut value = Vec::new();
    for &byte in input {
        match byte {
            1..=4 => value.extend_from_slice(&texts[usize::from(byte) - 1]),
            _ => value.push(byte),
        }
    }

    let names: &[&[u8]] = if sticky.is_carried() { &[b"app"] } else { &[b"SERVERID", b"SERVERCORSID"] };
    let mut expected = Vec::new();
    for name in names {
        for part in value.split(|&byte| byte == b';') {
            let Some(equals) = part.iter().position(|&byte| byte == b'=') else { continue };
            let (found, text) = (trim(&part[..equals]), trim(&part[equals + 1..]));
            let quoted = text.strip_prefix(b"\"").unwrap_or(text);
            if found != *name {
            } else if sticky.is_carried() && quoted.starts_with(&texts[0]) || text == texts[0] {
                expected.push(session);
            } else if sticky.is_carried() && quoted.starts_with(&texts[3]) {
                // How long it lasts is the application's to say.
                expected.push(expired);
            }
        }
    }
    let found: Vec<Session> = sticky.sessions([value.as_slice()].into_iter(), NOW_SECS).collect();
    // Not more than so many are opened, good or not.
    if value.iter().filter(|&&byte| byte == b'=').count() <= 8 {
        assert_eq!(found, expected, "{}", value.escape_ascii());
    } else {
        assert!(found.iter().all(|found| expected.contains(found)), "{}", value.escape_ascii());
    }

    let mut last = 0;
    for place in sticky.hidden(&value) {
        assert!(place.start >= last && place.end <= value.len() && place.len() == SEALED_BYTES + 1);
        last = place.end;
    }
    if let Some(place) = sticky.place(&value) {
        assert!(place <= value.len() && sticky.is_carried());
    }

    // Whatever stands around it, a whole cookie of ours opens, and a cut or altered one does not.
    let name = if sticky.is_carried() { "app" } else { COOKIE };
    let own = [name.as_bytes(), b"=", &texts[0]].concat();
    let clean = !input.contains(&b'"') && !has_name(&value, name.as_bytes());
    if clean && !has_name(&value, b"SERVERCORSID") {
        for around in [[&own[..], b"; ", &value].concat(), [&value[..], b"; ", &own].concat()] {
            let opened = sticky.sessions([around.as_slice()].into_iter(), NOW_SECS).next();
            assert_eq!(opened, Some(session), "{}", around.escape_ascii());
        }
    }
    let at = input.len() % SEALED_BYTES + name.len() + 1;
    let mut altered = own;
    altered[at] ^= 1 + input.first().map_or(0, |byte| byte % 0x3f);
    let opened = sticky.sessions([altered.as_slice()].into_iter(), NOW_SECS).next();
    assert_eq!(opened, None, "an altered cookie opened: {}", altered.escape_ascii());
}

/// Whether `value` may have a cookie of that name, which would come first.
fn has_name(value: &[u8], name: &[u8]) -> bool {
    value.windows(name.len()).any(|window| window == name)
}

fn trim(bytes: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| *byte == b' ' || *byte == b'\t';
    let start = bytes.iter().position(|byte| !is_space(byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    &bytes[start..end]
}
