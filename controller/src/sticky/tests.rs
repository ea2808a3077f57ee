use super::*;
use crate::balance::consistent_hash::server_identity;

const NONCE: [u8; NONCE_BYTES] = [9; NONCE_BYTES];
const SERVER: u64 = 0x1122_3344_5566_7788;

fn key(id: u8) -> CookieKey {
    CookieKey { id, key: [id; 32] }
}

fn insert(timeout_secs: u32, keys: &[CookieKey]) -> Sticky {
    Sticky::new(&StickySnapshot::Insert { timeout_secs }, "web", keys)
}

fn carried(keys: &[CookieKey]) -> Sticky {
    Sticky::new(&StickySnapshot::Server { cookie: "app".into() }, "web", keys)
}

fn session(last_secs: u64) -> Session {
    Session { server: SERVER, first_secs: 1_000, last_secs }
}

/// Value of the SERVERID that a response at `last_secs` sets.
fn cookie_of(sticky: &Sticky, last_secs: u64) -> String {
    let lines = lines_of(sticky, last_secs, false);
    let value = lines.strip_prefix("Set-Cookie: SERVERID=").and_then(|rest| rest.split_once(';'));
    value.unwrap().0.to_string()
}

fn lines_of(sticky: &Sticky, last_secs: u64, is_https: bool) -> String {
    let mut out = Vec::new();
    sticky.push_lines(&mut out, &session(last_secs), NONCE, is_https);
    String::from_utf8(out).unwrap()
}

fn mark_of(sticky: &Sticky) -> String {
    let mut out = Vec::new();
    sticky.push_mark(&mut out, &session(1_000), NONCE);
    String::from_utf8(out).unwrap()
}

fn sessions(sticky: &Sticky, headers: &[&str], now_secs: u64) -> Vec<Session> {
    sticky.sessions(headers.iter().map(|header| header.as_bytes()), now_secs).collect()
}

/// `header` as the application sees it.
fn restored(sticky: &Sticky, header: &str) -> String {
    let mut text = header.as_bytes().to_vec();
    let hidden: Vec<_> = sticky.hidden(header.as_bytes()).collect();
    hidden.into_iter().rev().for_each(|range| drop(text.drain(range)));
    String::from_utf8(text).unwrap()
}

/// `header` as the client sees it.
fn rewritten(sticky: &Sticky, header: &str) -> String {
    let mut text = header.to_string();
    if let Some(at) = sticky.place(header.as_bytes()) {
        text.insert_str(at, &mark_of(sticky));
    }
    text
}

// Holds SG-114, SG-116
#[test]
fn a_cookie_names_the_server_and_both_accesses() {
    let sticky = insert(1000, &[key(1)]);
    let cookie = cookie_of(&sticky, 1_500);
    assert_eq!(sessions(&sticky, &[&format!("SERVERID={cookie}")], 1_600), [session(1_500)]);
    assert_eq!(
        sessions(&sticky, &["a=b", &format!("c=\"d\"; SERVERID={cookie}; e=f")], 1_600),
        [session(1_500)]
    );
    assert_eq!(sessions(&sticky, &[&format!("serverid={cookie}")], 1_600), []);
}

// Holds SG-113, SG-116
#[test]
fn a_session_ends_after_the_timeout_without_requests() {
    for timeout in [1, 1_000, 86_400] {
        let sticky = insert(timeout, &[key(1)]);
        let header = format!("SERVERID={}", cookie_of(&sticky, 5_000));
        let timeout = u64::from(timeout);
        assert_eq!(sessions(&sticky, &[&header], 5_000 + timeout).len(), 1);
        assert_eq!(sessions(&sticky, &[&header], 5_000 + timeout + 1), []);
        // A node whose clock is behind.
        assert_eq!(sessions(&sticky, &[&header], 4_990).len(), 1);
    }
}

// Holds SG-115
#[test]
fn the_cross_site_cookie_is_set_over_https_only_and_counts_after_the_other() {
    let sticky = insert(1000, &[key(1)]);
    let cookie = cookie_of(&sticky, 1_500);
    assert_eq!(
        lines_of(&sticky, 1_500, false),
        format!("Set-Cookie: SERVERID={cookie}; Path=/; HttpOnly\r\n")
    );
    assert_eq!(
        lines_of(&sticky, 1_500, true),
        format!(
            "Set-Cookie: SERVERID={cookie}; Path=/; HttpOnly\r\n\
             Set-Cookie: SERVERCORSID={cookie}; Path=/; HttpOnly; SameSite=None; Secure\r\n"
        )
    );
    let older = cookie_of(&sticky, 1_400);
    assert_eq!(sessions(&sticky, &[&format!("SERVERCORSID={older}")], 1_500), [session(1_400)]);
    let both = format!("SERVERCORSID={older}; SERVERID={cookie}");
    assert_eq!(sessions(&sticky, &[&both], 1_500), [session(1_500), session(1_400)]);
}

// Holds SG-116
#[test]
fn a_cookie_shows_neither_address_nor_identity() {
    let address = "192.0.2.77:8080".parse().unwrap();
    let server = server_identity(address);
    let sticky = insert(1000, &[key(1)]);
    let mut out = Vec::new();
    sticky.push_lines(&mut out, &Session { server, ..session(1_500) }, NONCE, false);
    let text = String::from_utf8(out).unwrap();
    assert!(!text.contains("192.0.2.77") && !text.contains(&format!("{server:x}")), "{text}");
    // Under another nonce nothing of the sealed part is the same.
    let mut other = Vec::new();
    sticky.push_lines(&mut other, &Session { server, ..session(1_500) }, [10; NONCE_BYTES], false);
    let same = other.iter().zip(text.as_bytes()).skip(48).take(40).filter(|(a, b)| a == b).count();
    assert!(same < 12, "{same} of 40 characters are equal");
}

// Holds SG-119
#[test]
fn forged_foreign_and_mangled_cookies_name_nobody() {
    let sticky = insert(1000, &[key(1)]);
    let cookie = cookie_of(&sticky, 1_500);
    for at in 0..cookie.len() {
        let mut forged = cookie.clone().into_bytes();
        forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
        let header = format!("SERVERID={}", String::from_utf8(forged).unwrap());
        assert_eq!(sessions(&sticky, &[&header], 1_500), [], "character {at} changed");
    }
    let header = format!("SERVERID={cookie}");
    for other in [
        Sticky::new(&StickySnapshot::Insert { timeout_secs: 1000 }, "shop", &[key(1)]),
        Sticky::new(&StickySnapshot::Server { cookie: "SERVERID".into() }, "web", &[key(1)]),
        insert(1000, &[CookieKey { id: 1, key: [2; 32] }]),
        insert(1000, &[key(2)]),
        insert(1000, &[]),
    ] {
        assert_eq!(sessions(&other, &[&header], 1_500), []);
        assert_eq!(sessions(&other, &[&format!("{header}|value")], 1_500), []);
    }
    for mangled in
        [format!("{header}A"), format!("SERVERID=\"{cookie}\""), "SERVERID=".into(), "SERVERID".into()]
    {
        assert_eq!(sessions(&sticky, &[&mangled], 1_500), [], "{mangled}");
    }
}

#[test]
fn the_first_key_seals_and_every_key_opens() {
    let old = insert(1000, &[key(1)]);
    let both = insert(1000, &[key(2), key(1)]);
    let new = insert(1000, &[key(2)]);
    let before = format!("SERVERID={}", cookie_of(&old, 1_500));
    let after = format!("SERVERID={}", cookie_of(&both, 1_500));
    assert_eq!(sessions(&both, &[&before], 1_500), [session(1_500)]);
    assert_eq!(sessions(&new, &[&before], 1_500), []);
    assert_eq!(sessions(&old, &[&after], 1_500), []);
    assert_eq!(sessions(&new, &[&after], 1_500), [session(1_500)]);
}

#[test]
fn without_a_key_nothing_is_set_and_the_application_still_sees_its_own() {
    let mark = mark_of(&carried(&[key(1)]));
    assert_eq!(lines_of(&insert(1000, &[]), 1_500, true), "");
    let keyless = carried(&[]);
    assert_eq!(rewritten(&keyless, "app=v; Path=/"), "app=v; Path=/");
    assert_eq!(restored(&keyless, &format!("app={mark}v")), "app=v");
}

// Holds SG-118
#[test]
fn the_applications_cookie_carries_the_session_and_comes_back_as_it_was() {
    let sticky = carried(&[key(1)]);
    let mark = mark_of(&sticky);
    // As set by the application, as the client sees it.
    for (set, seen) in [
        ("app=v1; Path=/shop; HttpOnly", format!("app={mark}v1; Path=/shop; HttpOnly")),
        ("app=", format!("app={mark}")),
        ("app=\"v 1\";Max-Age=5", format!("app=\"{mark}v 1\";Max-Age=5")),
        (" app\t=  a=b|c ;Secure", format!(" app\t=  {mark}a=b|c ;Secure")),
        ("other=v1; Path=/", "other=v1; Path=/".into()),
        ("app", "app".into()),
        ("APP=v1", "APP=v1".into()),
    ] {
        assert_eq!(rewritten(&sticky, set), seen);
        let sent = seen.split(';').next().unwrap();
        assert_eq!(restored(&sticky, sent), set.split(';').next().unwrap());
        let expected = if seen == set { vec![] } else { vec![session(1_000)] };
        assert_eq!(sessions(&sticky, &[sent], 999_999_999), expected, "{seen}");
    }
    let many = format!("a=1; app={mark}x; app=plain; b=\"2\";app=\"{mark}y\"; other={mark}z");
    assert_eq!(restored(&sticky, &many), format!("a=1; app=x; app=plain; b=\"2\";app=\"y\"; other={mark}z"));
}

// Holds SG-118
#[test]
fn values_that_are_not_ours_pass_unchanged() {
    let sticky = carried(&[key(1)]);
    let mark = mark_of(&sticky);
    let short = &mark[..mark.len() - 2];
    for header in [
        "app=v1".to_string(),
        format!("app={short}|v"),
        format!("app={}v", &mark[..mark.len() - 1]),
        format!("app=x{mark}v"),
        format!("app={}v", mark.replacen("cw1", "cw2", 1)),
        format!("app={}v", mark.replacen('|', ":", 1)),
    ] {
        assert_eq!(restored(&sticky, &header), header);
        assert_eq!(sessions(&sticky, &[&header], 1_000), []);
    }
    // Of our form, but made up: it names nobody, and the application is spared it.
    let forged = format!("app=cw1{}|v", "A".repeat(SEALED_BYTES - 3));
    assert_eq!(restored(&sticky, &forged), "app=v");
    assert_eq!(sessions(&sticky, &[&forged], 1_000), []);
}

#[test]
fn opens_only_so_many_cookies_of_a_request() {
    let sticky = insert(1000, &[key(1)]);
    let good = format!("SERVERID={}", cookie_of(&sticky, 1_500));
    let forged = format!("SERVERID={}; ", "A".repeat(SEALED_BYTES));
    let after = |bad: usize| sessions(&sticky, &[&(forged.repeat(bad) + &good)], 1_500).len();
    assert_eq!((after(OPENED_MAX - 1), after(OPENED_MAX)), (1, 0));
}

/// Random bytes with a bias to what cookies are made of, from a seed.
struct Noise(u64);

impl Noise {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) as usize % limit
    }

    fn byte(&mut self) -> u8 {
        let likely = b"=;|\" \tcw1appSERVERID_-A";
        if self.below(3) == 0 { self.below(256) as u8 } else { likely[self.below(likely.len())] }
    }
}

// Holds SG-119
#[test]
fn random_and_mutated_cookies_never_panic_and_never_pass() {
    let modes = [insert(1000, &[key(1)]), carried(&[key(1)])];
    let seeds = [
        format!(
            "a=b; SERVERID={}; SERVERCORSID={}",
            cookie_of(&modes[0], 1_500),
            cookie_of(&modes[0], 1_500)
        ),
        format!("app={}value; app=\"{}v\"; x", mark_of(&modes[1]), mark_of(&modes[1])),
        String::new(),
    ];
    for seed in 0..20_000 {
        let mut noise = Noise(seed);
        let mut header = seeds[noise.below(3)].clone().into_bytes();
        for _ in 0..=noise.below(8) {
            let at = noise.below(header.len() + 1);
            match noise.below(4) {
                0 => header.insert(at, noise.byte()),
                1 if at < header.len() => drop(header.remove(at)),
                2 => header.truncate(at),
                _ if at < header.len() => header[at] = noise.byte(),
                _ => (0..noise.below(100)).for_each(|_| header.push(noise.byte())),
            }
        }
        for sticky in &modes {
            for found in sticky.sessions(std::iter::once(&header[..]), 1_500) {
                // A mutation outside a cookie's text leaves it whole; none can make another session.
                assert_eq!((found.server, found.first_secs), (SERVER, 1_000), "seed {seed}");
            }
            let mut end = 0;
            for range in sticky.hidden(&header) {
                assert!(end <= range.start && range.end <= header.len(), "seed {seed}");
                end = range.end;
            }
            assert!(sticky.place(&header).is_none_or(|at| at <= header.len()), "seed {seed}");
        }
    }
}
