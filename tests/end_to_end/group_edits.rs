//! What an operator changes on a running balancer, and what is refused before anything changes: batches of servers,
//! templates, deletion, quotas (SG sections 11, 14 to 16).

use crate::client::{Connection, at};
use crate::groups::{FAST_CHECK, Group, ecs1, listener, resources};
use crate::lab_with;
use causeway_lab::{Behaviour, CLIENT, Lab, LabOptions, VIP_A, web_servers};
use controller::api::HealthStatus;
use std::fs;
use std::net::Ipv4Addr;
use std::time::Instant;
use tests::balancer::{Balancer, PATIENCE, edited};
use tests::load::Load;

fn lab(test: &str, id: &str) -> Option<Lab> {
    let extra_servers = web_servers(2, 0);
    lab_with(test, LabOptions { id: id.into(), extra_servers, big_file_bytes: 0, ..LabOptions::default() })
}

/// An address of the VPC that no host has.
fn nobody(number: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(172, 20, 0, 1)) + number as u32)
}

/// `nobody(0):80` and on, as the command line names them.
fn names(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("{}:80", nobody(number))).collect()
}

/// `causeway server VERB many NAMES... MORE...`.
fn words<'a>(verb: &'a str, names: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    ["server", verb, "many"]
        .into_iter()
        .chain(names.iter().map(String::as_str))
        .chain(more.iter().copied())
        .collect()
}

/// The group in file form; nobody probes its servers.
fn group(name: &str, servers: std::ops::Range<usize>) -> String {
    let servers: Vec<String> =
        servers.map(|number| format!("{{address: {}, port: 80}}", nobody(number))).collect();
    format!(
        "  - {{name: {name}, type: Ip, vpc: vpc1, health_check: {{enabled: false}}, servers: [{}]}}\n",
        servers.join(", ")
    )
}

/// Asserts that `causeway ARGUMENTS` is refused with `code`, and that nothing has changed.
#[track_caller]
fn assert_refused(balancer: &Balancer<'_>, arguments: &[&str], code: &str) -> String {
    let state = || (balancer.status().revision, balancer.command(&["get", "resources"]));
    let before = state();
    let output = balancer.cli(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let start: Vec<&str> = arguments.iter().copied().take(4).collect();
    assert_eq!(output.status.code(), Some(2), "{start:?}...: {said}");
    assert!(said.contains(&format!("error[{code}]: ")), "{start:?}...: not {code}: {said}");
    assert_eq!(before, state(), "{start:?}...: nothing changes");
    said
}

fn count(balancer: &Balancer<'_>, group: &str) -> usize {
    balancer.servers().iter().filter(|server| server.group == group).count()
}

// Holds SG-38, SG-220..SG-224, SG-230, SG-233
#[test]
fn batches_are_whole_and_bounded_and_groups_in_use_stay() {
    let test = "batches_are_whole_and_bounded_and_groups_in_use_stay";
    let Some(lab) = lab(test, "ebbatch") else { return };
    let web = Group::web(&[FAST_CHECK], &[(ecs1(1), 100), (ecs1(2), 100)]);
    let text = resources(&[web]);
    let text = edited(&text, &[("listeners:\n", &format!("{}listeners:\n", group("many", 0..0)))]);
    let balancer = Balancer::start_resources(&lab, &text);
    balancer.wait_until_healthy();

    // What is done to one group under the eyes of clients of another, and of its own.
    let load = Load::new((VIP_A, 80), 200.0).kept();
    let (records, ()) = load.run_while(&lab, |load| {
        load.wait_for(50);
        assert_refused(&balancer, &words("add", &names(0..201), &[]), "IllegalParam.Servers");
        balancer.command(&words("add", &names(0..200), &["--weight", "70"]));
        assert_eq!(count(&balancer, "many"), 200);

        // One bad entry among good ones.
        let one_public = [names(300..302), vec!["8.8.8.8:80".to_owned()]].concat();
        let said = assert_refused(&balancer, &words("add", &one_public, &[]), "IllegalParam.ServerIp");
        assert!(said.contains("8.8.8.8"), "{said}");
        assert_refused(&balancer, &words("add", &names(199..201), &[]), "ResourceAlreadyExist.Server");
        let twice = [names(300..301), names(300..301)].concat();
        assert_refused(&balancer, &words("add", &twice, &[]), "DuplicatedParam.Server");
        assert_refused(&balancer, &words("remove", &names(199..201), &[]), "ResourceNotFound.Server");

        assert_refused(&balancer, &words("set", &names(0..41), &["--weight", "7"]), "IllegalParam.Servers");
        assert_refused(&balancer, &words("set", &names(0..2), &["--weight", "101"]), "IllegalParam.Weight");
        balancer.command(&words("set", &names(0..40), &["--weight", "7"]));
        let weights: Vec<u32> = balancer
            .servers()
            .iter()
            .filter(|server| server.group == "many")
            .map(|server| server.weight)
            .collect();
        assert_eq!(weights.iter().filter(|weight| **weight == 7).count(), 40);
        assert_eq!(weights.iter().filter(|weight| **weight == 70).count(), 160);

        let replace = |added: &[String], removed: &[String]| -> Vec<String> {
            let words = ["server", "replace", "many", "--add"].map(str::to_owned);
            [&words, added, &["--remove".to_owned()], removed].concat()
        };
        let unknown = replace(&names(300..301), &names(400..401));
        let unknown: Vec<&str> = unknown.iter().map(String::as_str).collect();
        assert_refused(&balancer, &unknown, "ResourceNotFound.Server");
        let remote = replace(&["192.168.1.20:80".to_owned()], &names(0..1));
        let remote: Vec<&str> = remote.iter().map(String::as_str).collect();
        assert_refused(&balancer, &remote, "IllegalParam.ServerIp");
        let all = replace(&names(200..400), &names(0..200));
        balancer.command(&all.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(count(&balancer, "many"), 200);
        assert_refused(&balancer, &words("remove", &names(200..401), &[]), "IllegalParam.Servers");
        balancer.command(&["server", "remove", "many", "--all"]);
        assert_eq!(count(&balancer, "many"), 0);

        let said = assert_refused(&balancer, &["server-group", "delete", "web"], "ResourceInUse.ServerGroup");
        assert!(said.contains("listener \"web\""), "{said}");
        assert_refused(&balancer, &["server-group", "delete", "none"], "ResourceNotFound.ServerGroup");
        balancer.command(&["server-group", "delete", "many"]);
        assert_refused(&balancer, &["server-group", "delete", "many"], "ResourceNotFound.ServerGroup");
        load.wait_for(50);
    });
    records.assert_none_failed();
    eprintln!("{test}: none of {} requests failed meanwhile", records.len());
    balancer.stop();
}

// Holds SG-182, SG-194
#[test]
fn a_template_applied_decides_from_then_on() {
    let Some(lab) = lab("a_template_applied_decides_from_then_on", "ebtemplate") else { return };
    let web = Group::web(&[FAST_CHECK], &[(ecs1(1), 100), (ecs1(2), 100)]);
    let template =
        "interval: 1, timeout: 1, healthy_threshold: 2, unhealthy_threshold: 2, protocol: HTTP, method: GET";
    let templates = format!(
        "health_check_templates:\n  - {{name: deep, path: /echo/deep, {template}}}\n  - {{name: deeper, path: /echo/deeper, \
         {template}}}\n"
    );
    let balancer = Balancer::start_resources(&lab, &(resources(&[web]) + &templates));
    lab.set_behaviour_at("ecs11", "/echo/deep", Behaviour::Status(404)).expect("it is a web server");
    lab.set_behaviour_at("ecs12", "/echo/deeper", Behaviour::Status(404)).expect("it is a web server");
    balancer.wait_until_healthy();
    let load = Load::new((VIP_A, 80), 200.0).kept();
    let (records, [failing, until]) = load.run_while(&lab, |load| {
        assert_refused(
            &balancer,
            &["health-check-template", "apply", "none", "web"],
            "ResourceNotFound.HealthCheckTemplate",
        );
        balancer.command(&["health-check-template", "apply", "deep", "web"]);
        let seen = balancer.wait_for_health("web", ecs1(1), HealthStatus::Unhealthy, PATIENCE);
        assert_eq!(seen.failure.expect("it has a reason").reason, "RESPONSE_MISMATCH");
        assert_eq!(balancer.server("web", ecs1(2)).health, HealthStatus::Normal);
        let failing = Instant::now();
        load.wait_for(100);
        let until = Instant::now();

        // A copy: what becomes of the template is not the group's affair.
        balancer.command(&["health-check-template", "delete", "deep"]);
        let probes = || {
            let log = lab.server_log("ecs12").expect("it has a log");
            log.iter().filter(|line| line.request.contains("/echo/deep ")).count()
        };
        let probed = probes();
        balancer.wait_until("it goes on being checked so", PATIENCE, || {
            let more = probes() - probed;
            if more >= 2 { Ok(()) } else { Err(more) }
        });
        balancer.command(&["health-check-template", "apply", "deeper", "web"]);
        balancer.wait_for_health("web", ecs1(1), HealthStatus::Normal, PATIENCE);
        balancer.wait_for_health("web", ecs1(2), HealthStatus::Unhealthy, PATIENCE);
        [failing, until]
    });
    records.assert_none_failed();
    let counts = records.between(failing, until).counts();
    assert_eq!(counts.keys().collect::<Vec<_>>(), ["ecs12"], "{counts:?}");
    let many: Vec<String> = (0..11).map(|number| format!("t{number}")).collect();
    let words: Vec<&str> =
        ["health-check-template", "delete"].into_iter().chain(many.iter().map(String::as_str)).collect();
    assert_refused(&balancer, &words, "IllegalParam.HealthCheckTemplateIds");
    balancer.stop();
}

// Holds SG-240, SG-241
#[test]
fn each_quota_is_kept_at_its_limit_and_one_over_is_refused() {
    let test = "each_quota_is_kept_at_its_limit_and_one_over_is_refused";
    let Some(lab) = lab(test, "ebquotas") else { return };
    let tutorial = resources(&[]);
    let (network, _) = tutorial.split_once("server_groups:\n").expect("there is a place for groups");
    let with = |groups: &str, listeners: &str| {
        let balancers = "  - name: basic
    edition: Basic
    vpc: vpc1
    dns_name: basic.causeway.test
    zone_mappings:
      - {zone: chengdu-a, vswitch: vsw1, vip: 203.0.113.20, local_addresses: [172.16.1.13, 172.16.1.14]}
      - {zone: chengdu-b, vswitch: vsw2, vip: 203.0.113.21, local_addresses: [172.16.2.13, 172.16.2.14]}
";
        format!("{network}{balancers}server_groups:\n{groups}listeners:\n{listeners}")
    };
    // Also seen: what is served goes on being served.
    let web = format!(
        "  - {{name: web, type: Ip, vpc: vpc1, health_check: {{enabled: false}}, servers: [{{address: {}, port: 80}}]}}\n",
        ecs1(1)
    );
    let http = listener("web", "HTTP", 80, "web");
    let of = |balancer: &str, port: usize, group: &str| {
        listener(&format!("l{port}"), "HTTP", port as u16, group).replace("alb1", balancer)
    };
    let balancer = Balancer::start_resources(&lab, &with(&web, &http));
    let file = lab.layout().run_dir().join("quota.yaml").display().to_string();
    let write = |groups: &str, listeners: &str| {
        let text = with(&format!("{web}{groups}"), &format!("{http}{listeners}"));
        fs::write(&file, text).expect("the lab's folder is writable");
    };
    let accepted = |groups: &str, listeners: &str| {
        write(groups, listeners);
        balancer.command(&["apply", "-f", &file]);
    };
    let refused = |groups: &str, listeners: &str, code: &str| {
        write(groups, listeners);
        let said = assert_refused(&balancer, &["apply", "-f", &file], &format!("QuotaExceeded.{code}"));
        let ask = || Connection::open(at(VIP_A, 80))?.get("/");
        let reply = lab.within(CLIENT, ask).expect("enter the client").expect("it is answered");
        assert_eq!(reply.status, 200, "{}", reply.head);
        said
    };

    // Servers of a load balancer, once for each listener that leads to them; "web" is one of those of alb1.
    let (half, one) = (group("half", 0..100), group("one", 500..501));
    let two = of("basic", 81, "half") + &of("basic", 82, "half");
    accepted(&(half.clone() + &one), &two);
    let said = refused(&(half + &one), &(two + &of("basic", 83, "one")), "ServersNum");
    assert!(said.contains("201 servers"), "{said}");
    let (half, one) = (group("half", 0..499), group("one", 500..501));
    let two = of("alb1", 81, "half") + &of("alb1", 82, "half") + &of("alb1", 83, "one");
    accepted(&(half.clone() + &one), &two);
    let said = refused(&(half + &one), &(two + &of("alb1", 84, "one")), "ServersNum");
    assert!(said.contains("1001 servers"), "{said}");

    // Servers of a group, by file and on the command line.
    accepted(&group("many", 0..1000), "");
    assert_refused(&balancer, &words("add", &names(1000..1001), &[]), "QuotaExceeded.ServerGroupServersNum");
    refused(&group("many", 0..1001), "", "ServerGroupServersNum");

    // Groups of a server.
    let groups =
        |count: usize| (0..count).map(|number| group(&format!("g{number:03}"), 0..1)).collect::<String>();
    accepted(&groups(200), "");
    let said = refused(&groups(201), "", "ServerAddedNum");
    assert!(said.contains("is in 201 groups"), "{said}");

    // Listeners of a group; of more than one load balancer, since each has a quota of its own.
    let balancer_of = |number: usize| if number.is_multiple_of(2) { "alb1" } else { "basic" };
    let listeners = |count: usize| {
        (0..count).map(|number| of(balancer_of(number), 1000 + number, "one")).collect::<String>()
    };
    let one = group("one", 0..1);
    accepted(&one, &listeners(50));
    let said = refused(&one, &listeners(51), "ServerGroupAttachedNum");
    assert!(said.contains("attached 51 times"), "{said}");
    balancer.stop();
}
