//! Clients stay with their servers: cookies of the balancer and of the application (SG section 7).

use crate::client::{Connection, Reply, at};
use crate::groups::{FAST_CHECK, Group, ecs1, resources};
use crate::{assert_none_failed_but_by_stop, lab_with};
use causeway_lab::{Behaviour, CLIENT, Lab, LabOptions, VIP_A, web_servers};
use controller::api::HealthStatus;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tests::balancer::{Balancer, PATIENCE};
use tests::load::{Load, Record, Records};

const RATE: f64 = 200.0;
/// So many that each asks again after 150 ms.
const USERS: usize = 30;
const HOSTS: [&str; 3] = ["ecs11", "ecs12", "ecs13"];

fn lab(test: &str, id: &str) -> Option<Lab> {
    let extra_servers = web_servers(3, 0);
    lab_with(test, LabOptions { id: id.into(), extra_servers, big_file_bytes: 0, ..LabOptions::default() })
}

fn group<'a>(name: &'a str, listens: u16, settings: &'a [&'a str]) -> Group<'a> {
    let servers = (1..=3).map(|number| (ecs1(number), 80, 100)).collect();
    Group { name, protocol: "HTTP", listens, settings, servers }
}

/// A request of a user, and what came of its cookie.
#[derive(Debug)]
struct Visit {
    began: Instant,
    user: usize,
    /// The cookie's value as the user sent it.
    sent: Option<String>,
    server: String,
    /// Its new value.
    given: Option<String>,
    /// What the server saw in Cookie.
    seen: Option<String>,
}

/// The requests of a load that were echoed, or logged in.
fn visits(records: &Records, cookie: &str) -> Vec<Visit> {
    let mut jars = BTreeMap::<usize, Vec<(Instant, String)>>::new();
    for record in records.iter() {
        if let Some(value) = set_cookie(record.answer().headers("set-cookie"), cookie) {
            let jar = jars.entry(record.user.expect("users take turns")).or_default();
            jar.push((record.ended(), cookie_value(value).to_owned()));
        }
    }
    records
        .iter()
        .map(|record| {
            let user = record.user.expect("users take turns");
            let answer = record.answer();
            let seen = serde_json::from_slice::<serde_json::Value>(&answer.body).ok();
            let seen = seen.and_then(|seen| Some(seen["headers"]["cookie"].as_str()?.to_owned()));
            // Unless answers overtake each other, the latest is what a user sends.
            let jar = jars.get(&user).into_iter().flatten();
            let sent = jar.filter(|(at, _)| *at < record.began).max_by_key(|(at, _)| *at);
            Visit {
                began: record.began,
                user,
                sent: sent.map(|(_, value)| value.clone()),
                server: record.server().expect("every answer names its server"),
                given: set_cookie(answer.headers("set-cookie"), cookie)
                    .map(|line| cookie_value(line).to_owned()),
                seen,
            }
        })
        .collect()
}

/// The Set-Cookie line of `cookie`.
fn set_cookie<'a>(mut lines: impl Iterator<Item = &'a str>, cookie: &str) -> Option<&'a str> {
    lines.find(|line| line.split_once('=').is_some_and(|(name, _)| name == cookie))
}

/// The value in a Set-Cookie line.
fn cookie_value(line: &str) -> &str {
    line.split_once('=').map_or("", |(_, rest)| rest.split(';').next().unwrap_or_default())
}

/// Which server gave each value.
fn givers(visits: &[Visit]) -> BTreeMap<&str, &str> {
    visits.iter().filter_map(|visit| Some((visit.given.as_deref()?, visit.server.as_str()))).collect()
}

/// Asserts that who came between `from` and `to` with a cookie was served by the server that gave it, or, if that is
/// `gone`, by another. Returns how many were of the server that is gone.
#[track_caller]
fn assert_stay(visits: &[Visit], [from, to]: [Instant; 2], gone: Option<&str>) -> usize {
    let givers = givers(visits);
    let mut moved = 0;
    let mut stayed = 0;
    for visit in visits.iter().filter(|visit| (from..to).contains(&visit.began)) {
        let Some(sent) = &visit.sent else { continue };
        let giver = givers[sent.as_str()];
        if Some(giver) == gone {
            assert_ne!(visit.server, giver, "{visit:?}");
            moved += 1;
        } else {
            assert_eq!(visit.server, giver, "{visit:?}");
            stayed += 1;
        }
    }
    assert!(stayed > 100, "{stayed} requests stayed with their servers");
    assert!(gone.is_none() || moved > 0, "nobody had to move");
    moved
}

/// The users that `server` answered between `from` and `to`.
fn users_of(visits: &[Visit], server: &str, [from, to]: [Instant; 2]) -> BTreeSet<usize> {
    let of = |visit: &&Visit| visit.server == server && (from..to).contains(&visit.began);
    visits.iter().filter(of).map(|visit| visit.user).collect()
}

/// GET `/echo` from the client, with these cookies.
fn ask(lab: &Lab, port: u16, cookies: &str) -> Reply {
    let ask = || {
        let mut connection = Connection::open(at(VIP_A, port))?;
        let cookies = if cookies.is_empty() { String::new() } else { format!("Cookie: {cookies}\r\n") };
        connection.send(format!("GET /echo HTTP/1.1\r\nHost: w\r\n{cookies}\r\n").as_bytes())?;
        connection.answer()
    };
    let reply = lab.within(CLIENT, ask).expect("enter the client").expect("every request is answered");
    assert_eq!(reply.status, 200, "{}", reply.head);
    reply
}

fn server_of(reply: &Reply) -> &str {
    let line = reply.head.lines().find_map(|line| line.strip_prefix("X-Server: "));
    line.unwrap_or_else(|| panic!("no server named in {}", reply.head))
}

/// The balancer's cookie in a reply.
fn server_id(reply: &Reply) -> &str {
    let lines = reply.head.lines().filter_map(|line| line.strip_prefix("Set-Cookie: "));
    cookie_value(set_cookie(lines, "SERVERID").unwrap_or_else(|| panic!("no cookie in {}", reply.head)))
}

/// The servers of six requests with this cookie, each of which is new to the balancer.
fn six(lab: &Lab, port: u16, cookie: &str) -> Vec<String> {
    (0..6).map(|_| server_of(&ask(lab, port, cookie)).to_owned()).collect()
}

/// Asserts that six requests went to the three servers in turn: nothing held them at one.
#[track_caller]
fn assert_in_turn(servers: &[String]) {
    let of = |host: &&str| servers.iter().filter(|server| server == host).count() == 2;
    assert!(HOSTS.iter().all(of), "{servers:?}");
}

/// A cookie of each server, as it is given to clients without one.
fn cookies(lab: &Lab, port: u16) -> BTreeMap<String, String> {
    let mut cookies = BTreeMap::new();
    while cookies.len() < HOSTS.len() {
        let reply = ask(lab, port, "");
        cookies.insert(server_of(&reply).to_owned(), format!("SERVERID={}", server_id(&reply)));
    }
    cookies
}

// Holds SG-90, SG-114..SG-116, SG-119, SG-120
#[test]
fn clients_stay_with_their_servers_over_loss_return_and_weight_zero() {
    let Some(lab) = lab("clients_stay_with_their_servers_over_loss_return_and_weight_zero", "ebinsert")
    else {
        return;
    };
    let settings = [FAST_CHECK, "sticky_session: {type: Insert, cookie_timeout: 1000}"];
    let balancer = Balancer::start_resources(&lab, &resources(&[group("web", 80, &settings)]));
    balancer.wait_until_healthy();
    let load = Load::new((VIP_A, 80), RATE).kept().users(USERS).path("/echo");
    let (records, moments) = load.run_while(&lab, |load| {
        let mut moments = vec![Instant::now()];
        let mut moment = || moments.push(Instant::now());
        load.wait_for(400);
        moment();
        lab.stop_server("ecs11").expect("nginx stops");
        moment();
        balancer.wait_for_health("web", ecs1(1), HealthStatus::Unhealthy, PATIENCE);
        moment();
        load.wait_for(300);
        moment();
        lab.start_server("ecs11").expect("nginx starts");
        balancer.wait_for_health("web", ecs1(1), HealthStatus::Normal, PATIENCE);
        moment();
        // Who is new reaches it again.
        let returned = cookies(&lab, 80);
        assert_eq!(six(&lab, 80, &returned["ecs11"]), ["ecs11"; 6]);
        load.wait_for(300);
        moment();
        balancer.command(&["server", "weight", "web", &format!("{}:80=0", ecs1(2))]);
        moment();
        load.wait_for(300);
        moment();
        balancer.command(&["cookie-key", "rotate"]);
        moment();
        load.wait_for(300);
        moment();
        moments
    });
    assert_none_failed_but_by_stop(&records, [moments[1], moments[2]]);
    let records = records.only(Record::is_good);
    for record in records.iter() {
        let lines: Vec<&str> = record.answer().headers("set-cookie").collect();
        let [line] = lines[..] else { panic!("one cookie over plain HTTP: {lines:?}") };
        let (value, attributes) = line.split_once("; ").expect("it has attributes");
        assert!(value.starts_with("SERVERID=") && attributes == "Path=/; HttpOnly", "{line}");
        assert!(!line.contains("172.16."), "the address is nobody's business: {line}");
    }
    let visits = visits(&records, "SERVERID");
    let [began, stops, _, unhealthy, starts, normal, lowers, zero, rotates, rotated, ended] = moments[..]
    else {
        panic!("eleven moments: {moments:?}")
    };
    assert_stay(&visits, [began, stops], None);
    let firsts: Vec<usize> = HOSTS.map(|host| users_of(&visits, host, [began, stops]).len()).into();
    assert!(firsts.iter().all(|users| *users >= USERS / 3), "new users go to all in turn: {firsts:?}");
    // Who was its client has another server by then, with a cookie that says so.
    let lost = users_of(&visits, "ecs11", [began, stops]);
    assert_stay(&visits, [unhealthy, starts], None);
    assert!(users_of(&visits, "ecs11", [unhealthy, starts]).is_empty());
    assert_stay(&visits, [normal, lowers], None);
    assert!(users_of(&visits, "ecs11", [normal, lowers]).is_disjoint(&lost), "their new servers keep them");
    let moved = assert_stay(&visits, [zero, rotates], Some("ecs12"));
    let had = users_of(&visits, "ecs12", [normal, lowers]).len();
    assert!((1..=had).contains(&moved), "each moves once and has a new cookie then: {moved} of {had}");
    assert_stay(&visits, [rotated, ended], None);
    eprintln!(
        "{} users, {} requests at {:.0}/s were answered; {} lost their server, {had} its weight",
        USERS,
        visits.len(),
        records.rate(),
        lost.len()
    );
    balancer.stop();
}

// Holds SG-113, SG-116, SG-119
#[test]
fn cookies_that_are_forged_expired_or_of_another_group_name_no_server() {
    let test = "cookies_that_are_forged_expired_or_of_another_group_name_no_server";
    let Some(lab) = lab(test, "ebforged") else { return };
    let lasting = [FAST_CHECK, "sticky_session: {type: Insert, cookie_timeout: 1000}"];
    let brief = [FAST_CHECK, "sticky_session: {type: Insert, cookie_timeout: 2}"];
    let text = resources(&[group("web", 80, &lasting), group("brief", 81, &brief)]);
    let balancer = Balancer::start_resources(&lab, &text);
    balancer.wait_until_healthy();

    let own = cookies(&lab, 80);
    for (server, cookie) in &own {
        assert!(six(&lab, 80, cookie).iter().all(|other| other == server), "{server} by {cookie}");
    }
    let cookie = &own["ecs11"];
    let (start, end) = cookie.split_at(cookie.len() / 2);
    let swapped = if end.starts_with('A') { "B" } else { "A" };
    let forged = format!("{start}{swapped}{}", &end[1..]);
    assert_in_turn(&six(&lab, 80, &forged));
    assert_ne!(format!("SERVERID={}", server_id(&ask(&lab, 80, &forged))), forged, "a new one is given");
    assert_in_turn(&six(&lab, 80, "SERVERID=172.16.1.41"));
    assert_in_turn(&six(&lab, 81, cookie));

    // Each use is good for two more seconds.
    let first = ask(&lab, 81, "");
    let server = server_of(&first).to_owned();
    let mut latest = format!("SERVERID={}", server_id(&first));
    for _ in 0..4 {
        std::thread::sleep(Duration::from_secs(1));
        let reply = ask(&lab, 81, &latest);
        assert_eq!(server_of(&reply), server);
        latest = format!("SERVERID={}", server_id(&reply));
    }
    let old = format!("SERVERID={}", server_id(&first));
    assert_in_turn(&six(&lab, 81, &old));
    // Whole seconds are counted.
    std::thread::sleep(Duration::from_secs(3));
    assert_in_turn(&six(&lab, 81, &latest));

    // A key is good for two more rotations; cookies that are used meanwhile are sealed anew.
    let mut used = own.clone();
    for rotation in 1..=3 {
        balancer.command(&["cookie-key", "rotate"]);
        for (server, cookie) in &mut used {
            let reply = ask(&lab, 80, cookie);
            assert_eq!(server_of(&reply), server, "rotation {rotation}");
            *cookie = format!("SERVERID={}", server_id(&reply));
        }
        let unused = six(&lab, 80, &own["ecs12"]);
        if rotation < 3 {
            assert_eq!(unused, ["ecs12"; 6], "rotation {rotation}");
        } else {
            assert_in_turn(&unused);
        }
    }

    // With nobody healthy, a session is as good with its own server as with any other.
    for host in HOSTS {
        lab.set_behaviour_at(host, "/health", Behaviour::Status(404)).expect("it is a web server");
    }
    for number in 1..=3 {
        balancer.wait_for_health("web", ecs1(number), HealthStatus::Unhealthy, PATIENCE);
    }
    for (server, cookie) in &used {
        assert!(six(&lab, 80, cookie).iter().all(|other| other == server), "{server} in fail-open");
    }
    balancer.stop();
}

// Holds SG-117..SG-120
#[test]
fn the_applications_own_cookie_leads_back_to_its_server_and_reaches_it_as_it_was() {
    let test = "the_applications_own_cookie_leads_back_to_its_server_and_reaches_it_as_it_was";
    let Some(lab) = lab(test, "ebserver") else { return };
    let settings = [FAST_CHECK, "sticky_session: {type: Server, cookie: APPSESSION}"];
    let balancer = Balancer::start_resources(&lab, &resources(&[group("web", 80, &settings)]));
    balancer.wait_until_healthy();
    let path = |number: u64| if number < USERS as u64 { "/login".to_owned() } else { "/echo".to_owned() };
    let load = Load::new((VIP_A, 80), RATE).kept().users(USERS).paths(path);
    let (records, moments) = load.run_while(&lab, |load| {
        let mut moments = vec![Instant::now()];
        let mut moment = || moments.push(Instant::now());
        load.wait_for(400);
        moment();
        lab.stop_server("ecs11").expect("nginx stops");
        moment();
        balancer.wait_for_health("web", ecs1(1), HealthStatus::Unhealthy, PATIENCE);
        moment();
        load.wait_for(300);
        moment();
        lab.start_server("ecs11").expect("nginx starts");
        balancer.wait_for_health("web", ecs1(1), HealthStatus::Normal, PATIENCE);
        moment();
        load.wait_for(300);
        moment();
        moments
    });
    assert_none_failed_but_by_stop(&records, [moments[1], moments[2]]);
    let records = records.only(Record::is_good);
    for record in records.iter() {
        let lines: Vec<&str> = record.answer().headers("set-cookie").collect();
        if record.path == "/echo" {
            assert!(lines.is_empty(), "only the application gives cookies: {lines:?}");
            continue;
        }
        let server = record.server().expect("it says");
        let own = set_cookie(lines.iter().copied(), "APPSESSION").expect("the application set it");
        let (_, value) = cookie_value(own).split_once('|').expect("sealed text before the application's");
        assert!(value.starts_with(&format!("{server}-")), "{own}");
        assert!(
            own.ends_with(&format!("|{value}; Path=/; HttpOnly")),
            "its attributes are as they were: {own}"
        );
        assert_eq!(set_cookie(lines.iter().copied(), "theme"), Some("theme=dark; Path=/"));
        assert_eq!(lines.len(), 2, "{lines:?}");
    }
    let visits = visits(&records, "APPSESSION");
    let mut restored = 0;
    for visit in visits.iter().filter(|visit| visit.seen.is_some()) {
        let sent = visit.sent.as_ref().expect("who sends cookies has logged in");
        let (_, own) = sent.split_once('|').expect("sealed text before the application's");
        let mut seen: Vec<&str> = visit.seen.iter().flat_map(|seen| seen.split("; ")).collect();
        seen.sort_unstable();
        assert_eq!(seen, [format!("APPSESSION={own}").as_str(), "theme=dark"], "{visit:?}");
        restored += 1;
    }
    let [began, stops, _, unhealthy, starts, normal, ended] = moments[..] else {
        panic!("seven moments: {moments:?}")
    };
    assert_stay(&visits, [began, stops], None);
    let away = assert_stay(&visits, [unhealthy, starts], Some("ecs11"));
    assert_stay(&visits, [normal, ended], None);
    assert!(!users_of(&visits, "ecs11", [normal, ended]).is_empty(), "its clients are back");
    eprintln!(
        "{USERS} users, {} requests at {:.0}/s were answered; {restored} with the application's own value, {away} elsewhere \
         while their server was away",
        visits.len(),
        records.rate()
    );
    balancer.stop();
}
