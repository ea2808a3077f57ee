//! Session persistence with real requests: mode Insert, mode Server, and what ends a session.

use crate::harness::{Balancer, Client, Response, Server, header, refusing};
use controller::snapshot::{CookieKey, SchedulerSnapshot, Snapshot, StickySnapshot};
use std::net::SocketAddr;

fn key(id: u8) -> CookieKey {
    CookieKey { id, key: [id; 32] }
}

fn insert(snapshot: &mut Snapshot) {
    snapshot.groups[0].sticky = Some(StickySnapshot::Insert { timeout_secs: 1000 });
    snapshot.cookie_keys = vec![key(1)];
}

fn carried(snapshot: &mut Snapshot) {
    snapshot.groups[0].sticky = Some(StickySnapshot::Server { cookie: "app".into() });
    snapshot.cookie_keys = vec![key(1)];
}

/// A request on a connection of its own, with this Cookie header.
fn get(balancer: &Balancer, cookie: &str) -> Response {
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nCookie: {cookie}\r\n\r\n");
    balancer.client().request(&request)
}

/// `SERVERID=...` that a response sets.
#[track_caller]
fn cookie_of(response: &Response) -> String {
    let line = response.header("set-cookie").unwrap_or_else(|| panic!("no cookie: {}", response.head));
    let value = line.strip_suffix("; Path=/; HttpOnly").unwrap_or_else(|| panic!("attributes: {line}"));
    assert!(value.starts_with("SERVERID="), "{line}");
    value.to_string()
}

fn two() -> [Server; 2] {
    [Server::named("one"), Server::named("two")]
}

fn addresses(servers: &[Server]) -> Vec<SocketAddr> {
    servers.iter().map(|server| server.address).collect()
}

// Holds SG-112, SG-114, SG-116, SG-120
#[test]
fn a_client_with_our_cookie_stays_and_others_take_turns() {
    for scheduler in [SchedulerSnapshot::Wrr, SchedulerSnapshot::Wlc, SchedulerSnapshot::SchSourceIp] {
        let servers = two();
        let balancer = Balancer::with(&addresses(&servers), 2, insert);
        let first = [balancer.get("/"), balancer.get("/"), balancer.get("/")];
        let (one, two) = (first.iter().find(|r| r.text() == "one"), first.iter().find(|r| r.text() == "two"));
        let (mut one, mut two) = (cookie_of(one.unwrap()), cookie_of(two.unwrap()));
        let mut balancer = balancer;
        balancer.snapshot.groups[0].scheduler = scheduler;
        balancer.publish();
        for _ in 0..6 {
            for (cookie, name) in [(&mut one, "one"), (&mut two, "two")] {
                let response = get(&balancer, &format!("a=b; {cookie}; c=d"));
                assert_eq!(response.text(), name);
                // Sealed anew with every response, though the session is the same.
                let next = cookie_of(&response);
                assert_ne!(next, *cookie);
                *cookie = next;
            }
        }
        let log = balancer.into_log();
        // In no order, as two workers wrote it.
        assert_eq!(log.iter().filter(|line| line["scheduler_reason"] == "sticky").count(), 12);
    }
}

// Holds SG-114
#[test]
fn the_cookie_reaches_the_server_unchanged_and_bodies_stay_whole() {
    let server = Server::new(|connection, notes| {
        while let Some(request) = connection.request() {
            notes.lock().unwrap().push(request.head);
            connection.send("HTTP/1.1 200 OK\r\nSet-Cookie: a=1; Secure\r\nContent-Length: 5\r\n\r\nwhole");
        }
    });
    let balancer = Balancer::with(&[server.address], 1, insert);
    let mut client = balancer.client();
    let response = client.request("GET / HTTP/1.1\r\nHost: a\r\nCookie: SERVERID=x; a=1\r\n\r\n");
    assert_eq!((response.text().as_str(), response.header("set-cookie")), ("whole", Some("a=1; Secure")));
    assert_eq!(response.head.matches("Set-Cookie: SERVERID=").count(), 1);
    assert_eq!(header(&server.noted()[0], "cookie"), Some("SERVERID=x; a=1"));
    // The connection goes on.
    assert_eq!(client.request("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").status, 200);
}

// Holds SG-90, SG-119
#[test]
fn a_session_survives_its_servers_absence() {
    let servers = two();
    let mut balancer = Balancer::with(&addresses(&servers), 2, insert);
    let first = balancer.get("/");
    let (home, cookie) = (first.text(), cookie_of(&first));
    let place = balancer.snapshot.groups[0].servers.iter().position(|server| {
        let home_address = servers[usize::from(home == "two")].address;
        server.address == home_address
    });
    // Unhealthy, draining, weight 0 and removed are all one here: it is not listed.
    let gone = balancer.snapshot.groups[0].servers.remove(place.unwrap());
    balancer.publish();
    let moved = get(&balancer, &cookie);
    assert_ne!(moved.text(), home);
    let new = cookie_of(&moved);
    balancer.snapshot.groups[0].servers.push(gone);
    balancer.publish();
    for _ in 0..3 {
        assert_eq!(get(&balancer, &new).text(), moved.text());
        assert_eq!(get(&balancer, &cookie).text(), home);
    }
}

// Holds SG-93, SG-119
#[test]
fn a_session_is_honoured_while_every_server_is_unhealthy() {
    let servers = two();
    let mut balancer = Balancer::with(&addresses(&servers), 1, insert);
    let first = balancer.get("/");
    balancer.snapshot.groups[0].fail_open = true;
    balancer.publish();
    for _ in 0..3 {
        assert_eq!(get(&balancer, &cookie_of(&first)).text(), first.text());
    }
    balancer.get("/");
    let log = balancer.into_log();
    let reasons: Vec<_> = log.iter().map(|line| line["scheduler_reason"].as_str().unwrap()).collect();
    let sticky = "sticky, fail open";
    assert_eq!(reasons, ["wrr", sticky, sticky, sticky, "wrr, fail open"]);
}

// Holds SG-119
#[test]
fn a_session_at_a_server_that_refuses_moves_and_stays_there() {
    let refused = refusing();
    let other = Server::named("other");
    let reborn = std::net::TcpListener::bind(refused).unwrap();
    let balancer = Balancer::with(&[refused, other.address], 1, insert);
    let serve = std::thread::spawn(move || {
        let (mut stream, _) = reborn.accept().unwrap();
        let mut head = [0; 4096];
        let _ = std::io::Read::read(&mut stream, &mut head).unwrap();
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nfirst";
        std::io::Write::write_all(&mut stream, answer.as_bytes()).unwrap();
    });
    let first = balancer.get("/");
    assert_eq!(first.text(), "first");
    serve.join().unwrap();
    let moved = get(&balancer, &cookie_of(&first));
    assert_eq!(moved.text(), "other");
    assert_eq!(get(&balancer, &cookie_of(&moved)).text(), "other");
    let log = balancer.into_log();
    let told: Vec<_> =
        log.iter().map(|line| (line["retries"].as_u64(), line["scheduler_reason"].as_str())).collect();
    assert_eq!(told, [(Some(0), Some("wrr")), (Some(1), Some("wrr")), (Some(0), Some("sticky"))]);
}

// Holds SG-114
#[test]
fn a_connection_that_died_does_not_end_the_session() {
    // The second request on a connection is met by its end.
    let handle = |name: &'static str| {
        Server::new(move |connection, _| {
            if connection.request().is_some() {
                connection.answer(name);
                connection.head();
            }
        })
    };
    let servers = [handle("one"), handle("two")];
    let balancer = Balancer::with(&addresses(&servers), 1, insert);
    let first = balancer.get("/");
    let again = get(&balancer, &cookie_of(&first));
    assert_eq!(again.text(), first.text());
    assert_eq!(balancer.into_log()[1]["retries"], 1);
}

// Holds SG-119
#[test]
fn cookies_of_others_are_ignored_and_replaced() {
    let servers = two();
    let mut balancer = Balancer::with(&addresses(&servers), 1, insert);
    let good = cookie_of(&balancer.get("/"));
    let forged = good.replace("SERVERID=cw1A", "SERVERID=cw1B");
    let before = balancer.get("/").text();
    for cookie in [forged.as_str(), "SERVERID=x", "SERVERID", ";;="] {
        cookie_of(&get(&balancer, cookie));
    }
    assert_eq!(balancer.get("/").text(), if before == "one" { "two" } else { "one" });
    balancer.snapshot.groups[0].name = "another".into();
    balancer.publish();
    get(&balancer, &good);
    let log = balancer.into_log();
    assert!(log.iter().all(|line| line["scheduler_reason"] == "wrr"), "{log:?}");
}

#[test]
fn keys_change_without_moving_clients() {
    let servers = two();
    let mut balancer = Balancer::with(&addresses(&servers), 1, insert);
    let first = balancer.get("/");
    balancer.snapshot.cookie_keys = vec![key(2), key(1)];
    balancer.publish();
    let renewed = get(&balancer, &cookie_of(&first));
    assert_eq!(renewed.text(), first.text());
    balancer.snapshot.cookie_keys = vec![key(2)];
    balancer.publish();
    for _ in 0..3 {
        assert_eq!(get(&balancer, &cookie_of(&renewed)).text(), first.text());
    }
    let old = get(&balancer, &cookie_of(&first));
    cookie_of(&old);
    balancer.snapshot.cookie_keys = vec![];
    balancer.publish();
    let keyless = get(&balancer, &cookie_of(&renewed));
    assert_eq!((keyless.status, keyless.header("set-cookie")), (200, None));
    let log = balancer.into_log();
    let reasons: Vec<_> = log.iter().map(|line| line["scheduler_reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["wrr", "sticky", "sticky", "sticky", "sticky", "wrr", "wrr"]);
}

// Holds SG-110
#[test]
fn without_stickiness_no_cookie_is_set_or_followed() {
    let servers = two();
    let mut balancer = Balancer::with(&addresses(&servers), 1, insert);
    let cookie = cookie_of(&balancer.get("/"));
    balancer.snapshot.groups[0].sticky = None;
    balancer.publish();
    let order: Vec<_> = (0..4).map(|_| get(&balancer, &cookie)).collect();
    assert!(order.iter().all(|response| response.header("set-cookie").is_none()));
    assert_ne!(order[0].text(), order[1].text());
}

/// Sets `app` to its name, notes the requests, and answers its name.
fn application(name: &'static str) -> Server {
    Server::new(move |connection, notes| {
        while let Some(request) = connection.request() {
            notes.lock().unwrap().push(request.head);
            connection.send(format!(
                "HTTP/1.1 200 OK\r\nset-cookie:app=of-{name}; Path=/shop; Max-Age=60\r\nX: y\r\n\
                 Set-Cookie: other=1\r\nContent-Length: {}\r\n\r\n{name}",
                name.len()
            ));
        }
    })
}

/// Cookies a response sets.
fn set_cookies(response: &Response) -> Vec<&str> {
    let lines = response.head.lines().filter_map(|line| line.split_once(':'));
    lines.filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie")).map(|(_, value)| value.trim()).collect()
}

// Holds SG-112, SG-118
#[test]
fn the_applications_cookie_carries_the_client_back() {
    let servers = [application("one"), application("two")];
    let balancer = Balancer::with(&addresses(&servers), 2, carried);
    for _ in 0..3 {
        let first = balancer.get("/");
        let name = first.text();
        let cookies = set_cookies(&first);
        assert_eq!(cookies[1..], ["other=1"]);
        let (value, attributes) = cookies[0].split_once(';').unwrap();
        assert_eq!(attributes, " Path=/shop; Max-Age=60");
        assert!(value.starts_with("app=") && value.ends_with(&format!("|of-{name}")), "{value}");
        for _ in 0..3 {
            let again = get(&balancer, &format!("a=1; {value}; b=2"));
            assert_eq!(again.text(), name);
        }
        let server = &servers[usize::from(name == "two")];
        let seen = server.noted().pop().unwrap();
        assert_eq!(header(&seen, "cookie"), Some(format!("a=1; app=of-{name}; b=2").as_str()));
    }
    let log = balancer.into_log();
    assert_eq!(log.iter().filter(|line| line["scheduler_reason"] == "sticky").count(), 9);
}

// Holds SG-118, SG-119
#[test]
fn the_application_sees_its_value_whatever_becomes_of_its_server() {
    let servers = [application("one"), application("two")];
    let mut balancer = Balancer::with(&addresses(&servers), 1, carried);
    let first = balancer.get("/");
    let cookie = set_cookies(&first)[0].split(';').next().unwrap().to_string();
    balancer.snapshot.groups[0].servers.remove(0);
    balancer.snapshot.cookie_keys = vec![key(2)];
    balancer.publish();
    let moved = get(&balancer, &cookie);
    assert_eq!((first.text().as_str(), moved.text().as_str()), ("one", "two"));
    assert_eq!(header(&servers[1].noted()[0], "cookie"), Some("app=of-one"));
    // Not of ours: as it is.
    get(&balancer, "app=plain|x");
    assert_eq!(header(&servers[1].noted()[1], "cookie"), Some("app=plain|x"));
}

// Holds SG-118
#[test]
fn a_long_head_of_many_cookies_is_rewritten_whole() {
    let cookies: String = (0..100).map(|number| format!("Set-Cookie: app={number}\r\n")).collect();
    let server = Server::new(move |connection, notes| {
        while let Some(request) = connection.request() {
            notes.lock().unwrap().push(request.head);
            connection.send(format!("HTTP/1.1 200 OK\r\n{cookies}Content-Length: 2\r\n\r\nok"));
        }
    });
    let balancer = Balancer::with(&[server.address], 1, carried);
    let mut client: Client = balancer.client();
    let response = client.request("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(response.text(), "ok");
    let set = set_cookies(&response);
    assert_eq!(set.len(), 100);
    assert!(set.iter().enumerate().all(|(number, value)| value.ends_with(&format!("|{number}"))));
    let sent = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {}\r\n\r\n", set.join("; "));
    assert_eq!(client.request(&sent).text(), "ok");
    let plain: Vec<_> = (0..100).map(|number| format!("app={number}")).collect();
    assert_eq!(header(&server.noted()[1], "cookie"), Some(plain.join("; ").as_str()));
}
