//! Groups of every kind at work: IPv6 servers, machines of the inventory, a function, servers that speak TLS.

use crate::client::{Connection, Reply, at};
use crate::groups::ecs1;
use crate::{assert_none_failed_but_by_stop, lab_with};
use causeway_lab::{
    Behaviour, CLIENT, CLIENT_ADDRESSES, ExtraServer, FUNCTION_PORT, FUNCTION_PREFIX, Lab, LabOptions,
    TLS_PORT, VIP_A, VIP_B, VPC1_V6, VSW1_V6, VSW2_V6, Variant, ipv6_of, resources_yaml, web_servers,
};
use controller::api::HealthStatus;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Instant;
use tests::balancer::{Balancer, PATIENCE, edited};
use tests::load::{Load, Record, Records};

const RATE: f64 = 200.0;
/// As [`crate::groups::FAST_CHECK`], of any protocol.
const FAST: &str = "path: /health, interval: 1, timeout: 1, healthy_threshold: 2, unhealthy_threshold: 2}";

/// The tutorial's network, then `rest`.
fn resources(rest: &str) -> String {
    let tutorial = resources_yaml(Variant::Vswitch);
    let (network, _) = tutorial.split_once("server_groups:\n").expect("the tutorial has groups");
    format!("{network}{rest}")
}

fn lab(test: &str, id: &str, extra_servers: Vec<ExtraServer>, ipv6: bool) -> Option<Lab> {
    let options =
        LabOptions { id: id.into(), extra_servers, ipv6, big_file_bytes: 0, ..LabOptions::default() };
    lab_with(test, options)
}

/// What a server or function says of a request, in JSON.
fn seen(record: &Record) -> Value {
    serde_json::from_slice(&record.answer().body).expect("the answer is JSON")
}

/// Asserts that these servers, and nobody else, answered as often as each other.
#[track_caller]
fn assert_even(records: &Records, servers: &[&str]) {
    let counts = records.counts();
    assert_eq!(counts.keys().map(String::as_str).collect::<Vec<_>>(), servers, "{counts:?}");
    let (least, most) = (counts.values().min(), counts.values().max());
    assert!(least.zip(most).is_some_and(|(least, most)| most - least <= 1), "{counts:?}");
}

/// The answer to a request of the client on a connection of its own.
fn ask(lab: &Lab, port: u16, request: &str) -> Reply {
    let ask = || {
        let mut connection = Connection::open(at(VIP_A, port))?;
        connection.send(request.as_bytes())?;
        connection.answer()
    };
    lab.within(CLIENT, ask).expect("enter the client").expect("the request is answered")
}

fn status(lab: &Lab, port: u16) -> u16 {
    ask(lab, port, "GET / HTTP/1.1\r\nHost: www.example.test\r\n\r\n").status
}

/// The tutorial's network with IPv6, for a load balancer that has both.
fn dual_stack(rest: &str) -> String {
    let zone = |locals: [Ipv4Addr; 2], vip: Ipv4Addr| {
        let [one, other] = locals.map(ipv6_of);
        format!(", ipv6_vip: \"{}\", ipv6_local_addresses: [\"{one}\", \"{other}\"]}}", ipv6_of(vip))
    };
    let (a, b) = (Variant::Vswitch.local_addresses_a(), Variant::Vswitch.local_addresses_b());
    let ends = [a, b].map(|[one, other]| format!("local_addresses: [{one}, {other}]"));
    edited(
        &resources(rest),
        &[
            ("    cidr: 172.16.0.0/12\n", &format!("    cidr: 172.16.0.0/12\n    ipv6_cidr: {VPC1_V6}\n")),
            ("cidr: 172.16.1.0/24}", &format!("cidr: 172.16.1.0/24, ipv6_cidr: \"{VSW1_V6}\"}}")),
            ("cidr: 172.16.2.0/24}", &format!("cidr: 172.16.2.0/24, ipv6_cidr: \"{VSW2_V6}\"}}")),
            (
                "    address_type: Internet\n",
                "    address_type: Internet\n    address_ip_version: DualStack\n",
            ),
            (&format!("{}}}", ends[0]), &format!("{}{}", ends[0], zone(a, VIP_A))),
            (&format!("{}}}", ends[1]), &format!("{}{}", ends[1], zone(b, VIP_B))),
        ],
    )
}

// Holds SG-63
#[test]
fn an_ipv6_group_serves_clients_of_both_families() {
    let Some(lab) = lab("an_ipv6_group_serves_clients_of_both_families", "ebsix", web_servers(2, 1), true)
    else {
        return;
    };
    let servers = [ecs1(1), ecs1(2), Ipv4Addr::new(172, 16, 2, 41)].map(ipv6_of);
    let lines: String =
        servers.iter().map(|server| format!("      - {{address: \"{server}\", port: 80}}\n")).collect();
    let balancer = Balancer::start_resources(
        &lab,
        &dual_stack(&format!(
            "server_groups:\n  - name: six\n    type: Ip\n    vpc: vpc1\n    ipv6_enabled: true\n    \
             health_check: {{enabled: true, protocol: HTTP, {FAST}\n    servers:\n{lines}listeners:\n  \
             - {{name: six, load_balancer: alb1, protocol: HTTP, port: 80, server_group: six}}\n"
        )),
    );
    balancer.wait_until_healthy();

    let sources = CLIENT_ADDRESSES.map(ipv6_of);
    let load = |vip: IpAddr, rate: f64| Load::new((vip, 80), rate).path("/echo");
    let over_ipv6 = load(ipv6_of(VIP_A).into(), RATE).from(&sources);
    let (of_6, (of_4, stop)) = over_ipv6.run_while(&lab, |six| {
        load(VIP_B.into(), RATE / 2.0).from(&CLIENT_ADDRESSES).run_while(&lab, |four| {
            six.wait_for(300);
            let stops = Instant::now();
            lab.stop_server("ecs11").expect("nginx stops");
            let stop = [stops, Instant::now()];
            let failing = balancer.wait_for_health("six", servers[0], HealthStatus::Unhealthy, PATIENCE);
            assert_eq!(failing.failure.expect("it has a reason").reason, "CONNECT_FAILED");
            lab.start_server("ecs11").expect("nginx starts");
            balancer.wait_for_health("six", servers[0], HealthStatus::Normal, PATIENCE);
            four.wait_for(100);
            stop
        })
    });
    let locals = [Variant::Vswitch.local_addresses_a(), Variant::Vswitch.local_addresses_b()];
    let locals: BTreeSet<String> =
        locals.into_iter().flatten().map(|address| ipv6_of(address).to_string()).collect();
    for records in [&of_6, &of_4] {
        assert_none_failed_but_by_stop(records, stop);
        assert_eq!(records.counts().len(), 3, "{:?}", records.counts());
        let mut peers = BTreeSet::new();
        for record in records.iter().filter(|record| record.is_good()) {
            let seen = seen(record);
            let client = record.source.expect("sources take turns").to_string();
            assert_eq!(seen["headers"]["x-forwarded-for"], client, "the client as it is");
            peers.insert(seen["peer"].as_str().expect("it says").to_owned());
        }
        assert_eq!(peers, locals, "servers are reached over IPv6");
    }
    let probes = lab.server_log("ecs12").expect("it has a log");
    let mut probes = probes.iter().filter(|line| line.request.contains("/health")).peekable();
    assert!(probes.peek().is_some(), "it is probed");
    assert!(probes.all(|probe| locals.contains(&probe.peer)), "from the local addresses");
    let other = load(ipv6_of(VIP_B).into(), RATE).run_while(&lab, |load| load.wait_for(60)).0;
    other.assert_none_failed();
    assert_even(&other, &["ecs11", "ecs12", "ecs21"]);
    let said = balancer.refused(&["server", "add", "six", &format!("{}:80", ecs1(1))]);
    assert!(said.contains("error[IllegalParam.ServerIp]"), "IPv4 in an IPv6 group: {said}");
    let said = balancer.refused(&["server", "add", "six", &format!("[{}]:81", servers[0]), "--remote-ip"]);
    assert!(said.contains("error[IllegalParam.RemoteIpEnabled]"), "{said}");
    eprintln!(
        "an IPv6 group: {} of {} requests over IPv6 and {} over IPv4 failed while a server left and returned",
        of_6.failed().len() + of_4.failed().len(),
        of_6.len(),
        of_4.len()
    );
    balancer.stop();
}

/// A group of machines, the first of which has its interface at `first`.
fn machines(first: Ipv4Addr) -> String {
    let [second, third] = [2, 3].map(ecs1);
    resources(&format!(
        "instances:
  - {{id: i-web1, vpc: vpc1, interfaces: [{{id: eni-web1, vswitch: vsw1, address: {first}}}]}}
  - {{id: i-web2, vpc: vpc1, interfaces: [{{id: eni-web2, vswitch: vsw1, address: {second}}}]}}
  - {{id: i-box1, type: Eci, vpc: vpc1, interfaces: [{{id: eni-box1, vswitch: vsw1, address: {third}}}]}}
server_groups:
  - name: machines
    type: Instance
    vpc: vpc1
    health_check: {{enabled: true, protocol: HTTP, {FAST}
    servers: [{{ecs: i-web1, port: 80}}, {{eni: eni-web2, port: 80}}, {{eci: i-box1, port: 80}}]
listeners:
  - {{name: machines, load_balancer: alb1, protocol: HTTP, port: 80, server_group: machines}}
"
    ))
}

// Holds SG-30..SG-32, SG-40
#[test]
fn machines_are_reached_by_their_ids_and_keep_their_address_until_told() {
    let test = "machines_are_reached_by_their_ids_and_keep_their_address_until_told";
    let Some(lab) = lab(test, "ebmachines", web_servers(4, 0), false) else { return };
    let (old, new) = (ecs1(1), ecs1(4));
    let balancer = Balancer::start_resources(&lab, &machines(old));
    balancer.wait_until_healthy();
    let ids: BTreeSet<String> = balancer.servers().into_iter().filter_map(|server| server.id).collect();
    assert_eq!(ids, ["ecs:i-web1", "eci:i-box1", "eni:eni-web2"].map(str::to_owned).into());

    let load = Load::new((VIP_A, 80), RATE).kept();
    let (records, [applied, stops, follows]) = load.run_while(&lab, |load| {
        load.wait_for(120);
        let file = lab.layout().resources_file();
        fs::write(&file, machines(new)).expect("the lab's folder is writable");
        let file = file.display().to_string();
        let output = balancer.cli(&["apply", "-f", &file]);
        let applied = Instant::now();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        let keeps = format!("\"machines\" keeps ecs i-web1 at {old}:80; the inventory has it at {new}");
        assert!(said.contains(&keeps), "{said}");
        load.wait_for(120);
        // Where it was is also what is probed (SG-40).
        let stops = Instant::now();
        lab.set_behaviour_at("ecs11", "/health", Behaviour::Status(404)).expect("it is a web server");
        balancer.wait_for_health("machines", old, HealthStatus::Unhealthy, PATIENCE);
        balancer.command(&["apply", "-f", &file, "--follow"]);
        balancer.wait_until_healthy();
        let follows = Instant::now();
        assert_eq!(balancer.server("machines", new).id.as_deref(), Some("ecs:i-web1"));
        load.wait_for(120);
        [applied, stops, follows]
    });
    records.assert_none_failed();
    assert_even(&records.only(|record| record.ended() < applied), &["ecs11", "ecs12", "ecs13"]);
    assert_even(&records.between(applied, stops), &["ecs11", "ecs12", "ecs13"]);
    assert_even(&records.only(|record| record.began > follows), &["ecs12", "ecs13", "ecs14"]);
    eprintln!("{test}: none of {} requests failed", records.len());
    let said = balancer.refused(&["server", "add", "machines", &format!("{old}:80")]);
    assert!(said.contains("error[Mismatch.ServerType]"), "an address is no machine: {said}");
    // By their ids they are told apart on the command line, too.
    balancer.command(&["server", "weight", "machines", "ecs:i-web1:80=0", "eni:eni-web2:80=50"]);
    let records = Load::new((VIP_A, 80), RATE).run_while(&lab, |load| load.wait_for(90)).0;
    let counts = records.counts();
    assert!(
        !counts.contains_key("ecs14") && counts["ecs12"].abs_diff(counts["ecs13"] / 2) <= 1,
        "{counts:?}"
    );
    balancer.stop();
}

/// A group of the lab's function, by this qualifier.
fn function(qualifier: &str) -> String {
    let function = ExtraServer::function().address;
    let trigger = format!("http://{function}:{FUNCTION_PORT}{FUNCTION_PREFIX}");
    resources(&format!(
        "functions:
  - arn: acs:fc:chengdu:1234:functions/checkout
    versions: [{{name: LATEST, trigger: \"{trigger}\"}}]
    aliases: [{{name: prod, trigger: \"{trigger}v2\"}}]
server_groups:
  - {{name: shop, type: Fc, servers: [{{function: checkout, qualifier: {qualifier}}}]}}
listeners:
  - {{name: shop, load_balancer: alb1, protocol: HTTP, port: 80, server_group: shop}}
"
    ))
}

// Holds SG-71, SG-72, SG-74
#[test]
fn a_function_is_called_by_its_trigger() {
    let test = "a_function_is_called_by_its_trigger";
    let Some(lab) = lab(test, "ebfunction", vec![ExtraServer::function()], false) else { return };
    let balancer = Balancer::start_resources(&lab, &function("LATEST"));
    let call = || -> Value {
        let request =
            "POST /pay?amount=3 HTTP/1.1\r\nHost: www.example.test\r\nContent-Length: 5\r\n\r\nhello";
        let reply = ask(&lab, 80, request);
        assert_eq!(reply.status, 200, "{}", reply.head);
        serde_json::from_slice(&reply.body).expect("the function answers in JSON")
    };
    let seen = call();
    assert_eq!(seen["function"], "fc");
    assert_eq!((&seen["method"], &seen["body_bytes"]), (&"POST".into(), &5.into()));
    assert_eq!(seen["path"], format!("{FUNCTION_PREFIX}pay"));
    assert_eq!(seen["query"], "amount=3");
    let address = ExtraServer::function().address;
    assert_eq!(seen["headers"]["host"], format!("{address}:{FUNCTION_PORT}"));
    assert_eq!(seen["headers"]["x-forwarded-for"], CLIENT_ADDRESSES[0].to_string());
    assert_eq!(seen["invocation"], 1, "no probe has called it");
    assert_eq!(ask(&lab, 80, "GET /?status=418 HTTP/1.1\r\nHost: w\r\n\r\n").status, 418);

    let load = Load::new((VIP_A, 80), RATE).kept().paths(|number| format!("/orders/{number}"));
    let (records, switched) = load.run_while(&lab, |load| {
        load.wait_for(200);
        balancer.apply(&function("prod"));
        let switched = Instant::now();
        load.wait_for(200);
        switched
    });
    records.assert_none_failed();
    let [mut of_latest, mut of_prod] = [0, 0];
    for record in records.iter() {
        let path = self::seen(record)["path"].clone();
        let latest = path == format!("{FUNCTION_PREFIX}{}", &record.path[1..]);
        let prod = path == format!("{FUNCTION_PREFIX}v2{}", record.path);
        assert!(latest || prod, "{path} for {}", record.path);
        assert!(prod || record.began < switched, "the version, once changed: {path}");
        of_latest += usize::from(latest);
        of_prod += usize::from(prod);
    }
    assert!(of_latest > 100 && of_prod > 100, "{of_latest} by LATEST, {of_prod} by prod");
    eprintln!("{test}: none of {} requests failed at {:.0}/s", records.len(), records.rate());
    lab.stop_server("fc").expect("it stops");
    assert_eq!(status(&lab, 80), 502);
    balancer.stop();
}

// Holds SG-20, SG-27, SG-196
#[test]
fn servers_that_speak_tls_are_verified_only_where_the_group_says_so() {
    let test = "servers_that_speak_tls_are_verified_only_where_the_group_says_so";
    let Some(lab) = lab(test, "ebtls", web_servers(2, 0), false) else { return };
    let [own, _] = lab.layout().certificate();
    let other = lab.layout().run_dir().join("other.pem");
    let command = format!(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=lab -keyout \
         /dev/null -out {}",
        other.display()
    );
    lab.run(CLIENT, &command.split_whitespace().collect::<Vec<_>>()).expect("openssl makes a certificate");
    let verification = |certificate: &Path, name: &str| {
        let pem = fs::read_to_string(certificate).expect("it was just made");
        let lines: String = pem.lines().map(|line| format!("        {line}\n")).collect();
        format!("    tls_verification:\n      server_name: {name}\n      ca_certificates: |\n{lines}")
    };
    let groups = [
        ("trusting", String::new()),
        ("verified", verification(&own, "www.example.test")),
        ("misnamed", verification(&own, "www.example.org")),
        ("unsigned", verification(&other, "www.example.test")),
    ];
    let servers = [1, 2].map(|number| format!("{{address: {}, port: {TLS_PORT}}}", ecs1(number))).join(", ");
    let (mut text, mut listeners) = ("server_groups:\n".to_owned(), "listeners:\n".to_owned());
    for (port, (name, verification)) in (80..).zip(&groups) {
        text.push_str(&format!(
            "  - name: {name}\n    type: Ip\n    vpc: vpc1\n    protocol: HTTPS\n    \
             health_check: {{enabled: true, protocol: HTTPS, {FAST}\n{verification}    servers: [{servers}]\n"
        ));
        listeners.push_str(&crate::groups::listener(name, "HTTP", port, name));
    }
    let balancer = Balancer::start_resources(&lab, &resources(&(text + &listeners)));
    // Checks verify nothing.
    balancer.wait_until_healthy();
    for (port, name) in [(80, "trusting"), (81, "verified")] {
        let load = Load::new((VIP_A, port), RATE).kept().path("/echo");
        let (records, ()) = load.run_while(&lab, |load| load.wait_for(200));
        records.assert_none_failed();
        assert_even(&records, &["ecs11", "ecs12"]);
        eprintln!("{name}: none of {} requests failed at {:.0}/s", records.len(), records.rate());
    }
    for port in [82, 83] {
        assert_eq!(status(&lab, port), 502);
    }
    balancer.stop();
}
