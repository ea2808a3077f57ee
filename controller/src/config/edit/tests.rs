//! Each operation and each of its refusals, on the tutorial's resources.

use super::*;
use crate::config::tests::{NETWORK, NODE, RESOURCES};
use crate::config::{changes, parse_node, stale_inventory_addresses};
use crate::model::{HealthCheckProtocol, ServerGroupName};

fn node() -> Parsed<Node> {
    parse_node(NODE, "node.yaml").unwrap_or_else(|errors| panic!("{errors}"))
}

#[track_caller]
fn done_on(text: &str, operation: &Operation) -> Edited {
    edit(&node(), text, operation).unwrap_or_else(|denials| panic!("{denials:#?}"))
}

/// What `operation` changes in the tutorial's resources, as `apply` would print it.
#[track_caller]
fn changes_of(operation: &Operation) -> Vec<String> {
    let before = parse_resources_for(&node(), RESOURCES, "r.yaml").unwrap();
    let after = done_on(RESOURCES, operation).parsed;
    changes(&before.value, &after.value).iter().map(ToString::to_string).collect()
}

#[track_caller]
fn denials_on(text: &str, operation: &Operation) -> Vec<String> {
    let denials = edit(&node(), text, operation).expect_err("the operation should be refused");
    denials.iter().map(Remark::to_string).collect()
}

#[track_caller]
fn denials(operation: &Operation) -> Vec<String> {
    denials_on(RESOURCES, operation)
}

fn new(server: &str) -> NewServer {
    NewServer { server: server.into(), ..NewServer::default() }
}

fn add(servers: Vec<NewServer>) -> Operation {
    Operation::AddServers { group: "web".into(), servers }
}

fn names(servers: &[&str]) -> Vec<String> {
    servers.iter().map(|server| (*server).to_owned()).collect()
}

fn remove(servers: &[&str]) -> Operation {
    Operation::RemoveServers { group: "web".into(), servers: names(servers) }
}

fn replace(added: Vec<NewServer>, removed: &[&str]) -> Operation {
    Operation::ReplaceServers { group: "web".into(), added, removed: names(removed) }
}

fn set(servers: Vec<ServerSettings>) -> Operation {
    Operation::SetServers { group: "web".into(), servers }
}

fn weight(server: &str, weight: u32) -> ServerSettings {
    ServerSettings { server: server.into(), weight: Some(weight), description: None }
}

/// `count` names of servers of one vSwitch, none of them a member.
fn many(count: u32) -> Vec<String> {
    (0..count).map(|number| format!("172.16.3.{}:{}", 1 + number % 200, 8000 + number)).collect()
}

fn many_new(count: u32) -> Vec<NewServer> {
    many(count).iter().map(|name| new(name)).collect()
}

#[test]
fn adds_servers_with_what_is_said_of_them() {
    let servers = vec![
        NewServer { port: Some(81), ..new("172.16.1.21") },
        NewServer {
            port: Some(82),
            weight: Some(50),
            description: Some("the old one".into()),
            ..new("172.16.1.22:80")
        },
        NewServer { remote_ip: true, weight: Some(0), ..new("192.168.1.21:80") },
    ];
    assert_eq!(
        changes_of(&add(servers.clone())),
        [
            "+ server group \"web\", server 172.16.1.21:81",
            "+ server group \"web\", server 172.16.1.22:80",
            "+ server group \"web\", server 192.168.1.21:80"
        ]
    );
    let text = done_on(RESOURCES, &add(servers)).text;
    assert!(
        text.contains(
            "  - {address: 192.168.1.20, port: 80, weight: 100, remote_ip: true}
  - {address: 172.16.1.21, port: 81}
  - {address: 172.16.1.22, port: 80, weight: 50, description: the old one}
  - {address: 192.168.1.21, port: 80, weight: 0, remote_ip: true}
- name: tcp-web
"
        ),
        "{text}"
    );
}

#[test]
fn changes_nothing_else_and_keeps_the_order_of_keys() {
    let once = done_on(RESOURCES, &add(vec![new("172.16.1.21:80")])).text;
    let back = done_on(&once, &remove(&["172.16.1.21:80"])).text;
    let (Yaml::Map(original), Yaml::Map(written)) =
        (Yaml::from(&tree::parse(RESOURCES).ok().unwrap()), Yaml::from(&tree::parse(&back).ok().unwrap()))
    else {
        panic!("both are mappings")
    };
    assert_eq!(written, original, "keys, their order and values, as before both edits");
    assert!(!once.contains('#'), "comments are lost, as the documentation says: {once}");
}

// Holds SG-220
#[test]
fn adds_and_removes_up_to_two_hundred_servers_at_a_time() {
    let full = done_on(RESOURCES, &add(many_new(200))).text;
    done_on(&full, &Operation::RemoveServers { group: "web".into(), servers: many(200) });

    let rule = "1 to 200 servers are added at a time; name the others in another call";
    assert_eq!(
        denials(&add(many_new(201))),
        [format!("[IllegalParam.Servers] server group \"web\": 201 servers: {rule}")]
    );
    assert_eq!(
        denials(&Operation::RemoveServers { group: "web".into(), servers: many(201) }),
        [format!(
            "[IllegalParam.Servers] server group \"web\": 201 servers: {}",
            rule.replace("added", "removed")
        )]
    );
    for operation in [add(vec![]), remove(&[]), set(vec![])] {
        let denials = denials(&operation);
        assert!(
            denials[0].starts_with("[MissingParam.Servers] server group \"web\": 0 servers"),
            "{denials:?}"
        );
    }
}

// Holds SG-38
#[test]
fn refuses_a_member_and_a_server_named_twice() {
    assert_eq!(
        denials(&add(vec![
            new("172.16.1.20:80"),
            new("172.16.1.21:80"),
            NewServer { port: Some(80), ..new("172.16.1.21") }
        ])),
        [
            "[ResourceAlreadyExist.Server] server group \"web\", server 172.16.1.20:80: the group has it already; \
             change its weight with `causeway server set`",
            "[DuplicatedParam.Server] server group \"web\", server 172.16.1.21:80: it is named twice; name it once",
        ]
    );
    assert_eq!(
        denials(&remove(&["172.16.1.20:80", "172.16.1.20"])),
        [
            "[DuplicatedParam.Server] server group \"web\", server 172.16.1.20: it is named twice; name it once"
        ]
    );
    assert_eq!(
        denials(&set(vec![weight("172.16.1.20:80", 1), weight("172.16.1.20:80", 2)]))[0],
        "[DuplicatedParam.Server] server group \"web\", server 172.16.1.20:80: it is named twice; name it once"
    );
    changes_of(&add(vec![new("172.16.1.20:81")]));
}

// Holds SG-222
#[test]
fn refuses_a_batch_with_one_bad_entry_and_tells_all_that_is_wrong() {
    let servers = vec![
        new("172.16.1.21:80"),
        new("172.16.1.20:80"),
        NewServer { weight: Some(101), ..new("172.16.1.22:80") },
        new("172.16.1.23"),
        new("8.8.8.8:80"),
        new("web1"),
        NewServer { description: Some("x".into()), ..new("172.16.1.24:0") },
    ];
    let denials = denials(&add(servers));
    let starts = [
        "[ResourceAlreadyExist.Server] server group \"web\", server 172.16.1.20:80: ",
        "[IllegalParam.ServerId] server group \"web\", server web1: that names no server; write ADDRESS:PORT",
        "[IllegalParam.Weight] server group \"web\", server 172.16.1.22:80: weight 101: ",
        "[MissingParam.Port] server group \"web\", server 172.16.1.23: ",
        "[IllegalParam.ServerIp] server group \"web\", server 8.8.8.8:80: ",
        "[IllegalParam.Port] server group \"web\", server 172.16.1.24:0: port 0: ",
        "[IllegalParam.Description] server group \"web\", server 172.16.1.24:0: ",
    ];
    for start in starts {
        assert!(denials.iter().any(|line| line.starts_with(start)), "{start} is not in {denials:#?}");
    }
    assert_eq!(denials.len(), starts.len(), "{denials:#?}");
}

#[test]
fn holds_new_servers_to_the_rules_of_the_file() {
    assert_eq!(
        denials(&add(vec![new("192.168.1.21:80")])),
        [
            "[IllegalParam.ServerIp] server group \"web\", server 192.168.1.21:80: address 192.168.1.21: lies outside VPC \
          \"vpc1\" (172.16.0.0/12); write `remote_ip: true` for a server in another network"
        ]
    );
    let loops = denials(&add(vec![new("172.16.1.11:80")]));
    assert!(loops[0].contains("requests would run in a circle"), "{loops:?}");
}

// Holds SG-32
#[test]
fn refuses_servers_of_another_type_than_the_group() {
    assert_eq!(
        denials(&add(vec![new("ecs:i-web1:80"), new("eni:eni-1:80"), new("eci:eci-1:80"), new("fc:acs:fc:x")])),
        [("ecs:i-web1:80", "Ecs"), ("eni:eni-1:80", "Eni"), ("eci:eci-1:80", "Eci"), ("fc:acs:fc:x", "Fc")].map(
            |(name, word)| format!(
                "[Mismatch.ServerType] server group \"web\", server {name}: type {word}: the group is of type Ip; \
                 write ADDRESS:PORT"
            )
        )
    );
}

#[test]
fn removes_servers_named_with_or_without_their_port() {
    assert_eq!(
        changes_of(&remove(&["172.16.1.20:80", "192.168.1.20"])),
        ["- server group \"web\", server 172.16.1.20:80", "- server group \"web\", server 192.168.1.20:80"]
    );
    let two_ports = done_on(RESOURCES, &add(vec![new("172.16.1.20:81")])).text;
    assert_eq!(
        denials_on(&two_ports, &remove(&["172.16.1.20"])),
        [
            "[IllegalParam.ServerId] server group \"web\", server 172.16.1.20: 2 servers of the group fit; name one: \
          172.16.1.20:80, 172.16.1.20:81"
        ]
    );
    assert_eq!(
        denials(&remove(&["172.16.1.20:80", "172.16.1.20:9001", "ecs:i-web1"])),
        ["172.16.1.20:9001", "ecs:i-web1"].map(|name| format!(
            "[ResourceNotFound.Server] server group \"web\", server {name}: the group has no such server; `causeway get \
             servers web` shows which it has"
        ))
    );
}

// Holds SG-223
#[test]
fn replaces_servers_in_one_step() {
    assert_eq!(
        changes_of(&replace(vec![new("172.16.1.21:80"), new("172.16.1.22:80")], &["172.16.1.20:80"])),
        [
            "- server group \"web\", server 172.16.1.20:80",
            "+ server group \"web\", server 172.16.1.21:80",
            "+ server group \"web\", server 172.16.1.22:80"
        ]
    );
    let added = denials(&replace(vec![], &["172.16.1.20:80"]));
    assert!(added[0].starts_with("[MissingParam.AddedServers] server group \"web\": 0 servers"), "{added:?}");
    let removed = denials(&replace(vec![new("172.16.1.21:80")], &[]));
    assert!(
        removed[0].starts_with("[MissingParam.RemovedServers] server group \"web\": 0 servers"),
        "{removed:?}"
    );
    let long = denials(&replace(many_new(201), &["172.16.1.20:80"]));
    assert!(long[0].starts_with("[IllegalParam.AddedServers] server group \"web\": 201 servers"), "{long:?}");
    let stranger = denials(&replace(vec![new("172.16.1.21:80")], &["172.16.1.29:80"]));
    assert!(stranger[0].starts_with("[ResourceNotFound.Server] server group \"web\", server 172.16.1.29:80"));
    // It joins before it leaves, and so is a member.
    let both = denials(&replace(vec![new("172.16.1.20:80")], &["172.16.1.20:80"]));
    assert!(both[0].starts_with("[ResourceAlreadyExist.Server] server group \"web\", server 172.16.1.20:80"));
}

// Holds SG-224
#[test]
fn does_not_replace_by_a_remote_server() {
    let remote = NewServer { remote_ip: true, ..new("192.168.1.21:80") };
    let refused = denials(&replace(vec![remote], &["172.16.1.20:80"]));
    assert_eq!(
        refused,
        [
            "[IllegalParam.RemoteIpEnabled] server group \"web\", server 192.168.1.21:80: remote_ip true: a remote server does \
          not join by replacing; add it, then remove the others"
        ]
    );
    let undeclared = denials(&replace(vec![new("192.168.1.21:80")], &["172.16.1.20:80"]));
    assert!(undeclared[0].starts_with("[IllegalParam.ServerIp] "), "{undeclared:?}");
}

// Holds SG-221
#[test]
fn sets_weight_and_description_of_up_to_forty_servers() {
    let settings = vec![
        weight("172.16.1.20:80", 0),
        ServerSettings { description: Some("far away".into()), ..weight("192.168.1.20", 30) },
    ];
    assert_eq!(
        changes_of(&set(settings.clone())),
        [
            "~ server group \"web\", server 172.16.1.20:80: weight 100 -> 0",
            "~ server group \"web\", server 192.168.1.20:80: weight 100 -> 30, description",
        ]
    );
    let described = done_on(RESOURCES, &set(settings)).text;
    let plain =
        ServerSettings { weight: None, description: Some(String::new()), server: "192.168.1.20:80".into() };
    let text = done_on(&described, &set(vec![plain])).text;
    assert!(text.contains("  - {address: 192.168.1.20, port: 80, weight: 30, remote_ip: true}\n"), "{text}");

    let full = done_on(RESOURCES, &add(many_new(41))).text;
    let settings = |count| set(many(count).iter().map(|name| weight(name, 7)).collect());
    assert_eq!(done_on(&full, &settings(40)).text.matches("weight: 7}").count(), 40);
    assert_eq!(
        denials_on(&full, &settings(41)),
        [
            "[IllegalParam.Servers] server group \"web\": 41 servers: 1 to 40 servers are changed at a time; name the others \
          in another call"
        ]
    );
    assert_eq!(
        denials(&set(vec![weight("172.16.1.29:80", 1), weight("172.16.1.20:80", 101)])),
        [
            "[ResourceNotFound.Server] server group \"web\", server 172.16.1.29:80: the group has no such server; `causeway \
             get servers web` shows which it has",
            "[IllegalParam.Weight] server group \"web\", server 172.16.1.20:80: weight 101: outside 0 to 100; write a number \
             from 0 to 100",
        ]
    );
    let nothing = ServerSettings { server: "172.16.1.20:80".into(), ..ServerSettings::default() };
    assert!(denials(&set(vec![nothing]))[0].starts_with("[MissingParam.Weight] "));
}

// Holds SG-230..SG-232
#[test]
fn deletes_a_group_as_soon_as_nothing_uses_it_and_leaves_its_servers_alone() {
    let delete = |name: &str| Operation::DeleteServerGroup { name: name.into() };
    for (name, listener) in [("web", "http"), ("tcp-web", "tcp")] {
        assert_eq!(
            denials(&delete(name)),
            [format!(
                "[ResourceInUse.ServerGroup] server group \"{name}\": it is used by listener \"{listener}\"; remove these, \
                 or let them use another group, then delete it"
            )]
        );
    }
    // The next revision, without the listener, is all that it takes.
    let listener = "  - {name: tcp, load_balancer: alb1, protocol: TCP, port: 9000, server_group: tcp-web}\n";
    let text = RESOURCES.replace(listener, "");
    let before = parse_resources_for(&node(), &text, "r.yaml").unwrap().value;
    let mut expected = before.clone();
    expected.server_groups.remove(&ServerGroupName::new("tcp-web"));
    assert_ne!(expected, before);
    let after = done_on(&text, &delete("tcp-web")).parsed.value;
    assert_eq!(after, expected, "everything else stays, other groups with the same servers too");
    let shared = |group: &str| before.server_groups[&ServerGroupName::new(group)].servers[0].address.ip;
    assert_eq!(shared("web"), shared("tcp-web"));

    let text = with_inventory();
    let inventory = |text: &str| parse_resources_for(&node(), text, "r.yaml").unwrap().value.inventory;
    assert_eq!(done_on(&text, &delete("shop")).parsed.value.inventory, inventory(&text));
}

// Holds SG-233
#[test]
fn says_which_groups_there_are_when_one_is_unknown() {
    let unknown = |name: &str| Operation::DeleteServerGroup { name: name.into() };
    assert_eq!(
        denials(&unknown("api")),
        [
            "[ResourceNotFound.ServerGroup] server group \"api\": it does not exist; there are \"tcp-web\", \"web\""
        ]
    );
    assert_eq!(
        denials(&unknown("wep")),
        ["[ResourceNotFound.ServerGroup] server group \"wep\": it does not exist; did you mean \"web\"?"]
    );
    for operation in [
        Operation::AddServers { group: "api".into(), servers: vec![new("172.16.1.21:80")] },
        Operation::RemoveServers { group: "api".into(), servers: names(&["172.16.1.20:80"]) },
        Operation::ReplaceServers { group: "api".into(), added: many_new(1), removed: many(1) },
        Operation::SetServers { group: "api".into(), servers: vec![weight("172.16.1.20:80", 1)] },
    ] {
        let denials = denials(&operation);
        assert!(denials[0].starts_with("[ResourceNotFound.ServerGroup] server group \"api\""), "{denials:?}");
    }
    assert_eq!(
        denials_on("listeners: []", &unknown("web")),
        [
            "[ResourceNotFound.ServerGroup] server group \"web\": it does not exist; there is no server group at all"
        ]
    );
}

#[test]
fn warns_only_of_what_the_edit_brings() {
    assert_eq!(done_on(RESOURCES, &set(vec![weight("172.16.1.20:80", 1)])).new_warnings, []);
}

/// Groups of every type on networks with an inventory.
fn with_inventory() -> String {
    let groups = "server_groups:
  - name: shop
    type: Instance
    vpc: vpc1
    health_check: {enabled: false}
    servers: [{ecs: i-web1, port: 80}, {eni: eni-web1, address: 172.16.1.21, port: 80}]
  - name: hello
    type: Fc
    servers: [{function: resize, qualifier: prod}]
  - {name: spare, type: Fc, servers: []}
health_check_templates:
  - {name: strict, protocol: HTTP, path: /health, codes: [http_2xx], interval: 1, unhealthy_threshold: 2}
  - {name: plain, protocol: TCP}
listeners: []
";
    NETWORK.to_owned() + groups
}

fn addresses(edited: &Edited, group: &str) -> Vec<String> {
    let group = &edited.parsed.value.server_groups[&ServerGroupName::new(group)];
    group.servers.iter().map(|server| format!("{} {}", server.id, server.address)).collect()
}

#[test]
fn adds_and_removes_machines_of_the_inventory() {
    let text = with_inventory();
    let add = |servers: &[&str]| Operation::AddServers {
        group: "shop".into(),
        servers: servers.iter().map(|name| new(name)).collect(),
    };
    let edited = done_on(&text, &add(&["ecs:i-web1:81", "ecs:i-web1@172.16.2.20:80", "eci:i-box1:80"]));
    assert_eq!(
        addresses(&edited, "shop")[2..],
        ["ecs i-web1 172.16.1.20:81", "ecs i-web1 172.16.2.20:80", "eci i-box1 172.16.2.30:80"]
    );
    let already = denials_on(&text, &add(&["ecs:i-web1:80", "eni:eni-web1@172.16.1.21:80"]));
    assert_eq!(already.len(), 2, "{already:?}");
    assert!(already.iter().all(|line| line.starts_with("[ResourceAlreadyExist.Server] ")), "{already:?}");
    let unknown = denials_on(&text, &add(&["ecs:i-nothing:80"]));
    assert!(unknown[0].starts_with("[ResourceNotFound.Ecs] "), "{unknown:?}");
    let by_address = denials_on(&text, &add(&["172.16.1.22:80"]));
    assert!(by_address[0].starts_with("[Mismatch.ServerType] "), "{by_address:?}");

    let remove =
        |servers: &[&str]| Operation::RemoveServers { group: "shop".into(), servers: names(servers) };
    let left = done_on(&text, &remove(&["ecs:i-web1:80"]));
    assert_eq!(addresses(&left, "shop"), ["eni eni-web1 172.16.1.21:80"]);
    let left = done_on(&text, &remove(&["172.16.1.21:80"]));
    assert_eq!(addresses(&left, "shop"), ["ecs i-web1 172.16.1.20:80"]);
    let all = done_on(&text, &remove(&["ecs:i-web1@172.16.1.20:80", "eni:eni-web1"]));
    assert_eq!(addresses(&all, "shop"), [""; 0]);
}

// Holds SG-70, SG-71, SG-73
#[test]
fn adds_and_removes_functions_but_does_not_replace_them() {
    let text = with_inventory();
    let resize = "acs:fc:chengdu:1234:functions/resize";
    for (name, arn) in [
        (format!("fc:{resize}"), format!("fc {resize}/LATEST 172.16.1.50:9000")),
        (format!("fc:{resize}/prod"), format!("fc {resize}/prod 172.16.1.52:9002")),
        ("fc:resize".to_owned(), format!("fc {resize}/LATEST 172.16.1.50:9000")),
        ("fc:resize/prod".to_owned(), format!("fc {resize}/prod 172.16.1.52:9002")),
    ] {
        let add = Operation::AddServers { group: "spare".into(), servers: vec![new(&name)] };
        assert_eq!(addresses(&done_on(&text, &add), "spare"), [arn], "{name}");
    }
    let second = Operation::AddServers { group: "hello".into(), servers: vec![new("fc:hook/1")] };
    assert!(!denials_on(&text, &second).is_empty(), "a group has one function");
    for name in ["fc:resize", "fc:resize/prod"] {
        let remove = Operation::RemoveServers { group: "hello".into(), servers: names(&[name]) };
        assert_eq!(addresses(&done_on(&text, &remove), "hello"), [""; 0], "{name}");
    }
    let replace = Operation::ReplaceServers {
        group: "hello".into(),
        added: vec![new("fc:hook/1")],
        removed: names(&["fc:resize"]),
    };
    assert_eq!(
        denials_on(&text, &replace),
        [
            "[OperationDenied.ServerGroupTypeFc] server group \"hello\": type Fc: servers of a group of this type are not \
          replaced; remove its function, then add another"
        ]
    );
}

// Holds SG-194
#[test]
fn applies_a_copy_of_a_health_check_template() {
    let text = with_inventory();
    let apply = |template: &str, group: &str| Operation::ApplyHealthCheckTemplate {
        template: template.into(),
        group: group.into(),
    };
    let check = |edited: &Edited, group: &str| {
        edited.parsed.value.server_groups[&ServerGroupName::new(group)].health_check.clone()
    };
    for group in ["shop", "hello"] {
        let edited = done_on(&text, &apply("strict", group));
        let applied = check(&edited, group).expect("checks are on");
        assert_eq!((applied.interval.as_secs(), applied.unhealthy_threshold), (1, 2));
        assert!(matches!(&applied.protocol, HealthCheckProtocol::Http { path, .. } if path == "/health"));

        // Nothing is left of what was there before, nor does a change of the template reach the group.
        let replaced = done_on(&edited.text, &apply("plain", group));
        let plain = check(&replaced, group).expect("checks are on");
        assert_eq!((plain.protocol, plain.interval.as_secs()), (HealthCheckProtocol::Tcp, 2));
        let changed = edited.text.replacen("interval: 1", "interval: 9", 1);
        assert_ne!(changed, edited.text);
        let delete = Operation::DeleteHealthCheckTemplates { names: names(&["strict"]) };
        assert_eq!(check(&done_on(&edited.text, &delete), group), Some(applied));
    }
    assert_eq!(
        denials_on(&text, &apply("strikt", "shop")),
        [
            "[ResourceNotFound.HealthCheckTemplate] health check template \"strikt\": it does not exist; did you mean \
          \"strict\"?"
        ]
    );
    let both = denials_on(&text, &apply("strikt", "shoq"));
    assert!(both[1].starts_with("[ResourceNotFound.ServerGroup] server group \"shoq\""), "{both:?}");
}

// Holds SG-194
#[test]
fn deletes_up_to_ten_templates() {
    let text = with_inventory();
    let delete = |names: &[&str]| Operation::DeleteHealthCheckTemplates { names: self::names(names) };
    let edited = done_on(&text, &delete(&["strict", "plain"]));
    assert!(edited.parsed.value.health_check_templates.is_empty());
    assert_eq!(
        denials_on(&text, &delete(&["plain", "other", "plain"])),
        [
            "[ResourceNotFound.HealthCheckTemplate] health check template \"other\": it does not exist; there are \
             \"plain\", \"strict\"",
            "[DuplicatedParam.HealthCheckTemplateIds] health check template \"plain\": it is named twice; name it once",
        ]
    );
    let eleven: Vec<String> = (0..11).map(|number| format!("t{number}")).collect();
    let ten = Operation::DeleteHealthCheckTemplates { names: eleven[..10].to_vec() };
    assert!(
        denials_on(&text, &ten).iter().all(|line| line.starts_with("[ResourceNotFound.HealthCheckTemplate]"))
    );
    assert_eq!(
        denials_on(&text, &Operation::DeleteHealthCheckTemplates { names: eleven }),
        [
            "[IllegalParam.HealthCheckTemplateIds] 11 health check templates: 1 to 10 are deleted at a time; delete them in \
          several calls"
        ]
    );
    assert!(denials_on(&text, &delete(&[]))[0].starts_with("[MissingParam.HealthCheckTemplateIds] "));
}

// Holds SG-40
#[test]
fn pins_servers_to_the_addresses_they_have() {
    let parse =
        |text: &str| parse_resources_for(&node(), text, "r.yaml").unwrap_or_else(|errors| panic!("{errors}"));
    let old = with_inventory();
    let new = old.replace(
        "        address: 172.16.1.20\n        secondary_addresses: [172.16.1.21]",
        "        address: 172.16.1.60\n        secondary_addresses: [172.16.1.21]",
    );
    assert_ne!(new, old);
    let in_force = parse(&old).value;
    let stale = stale_inventory_addresses(&in_force, &parse(&new));
    assert_eq!(stale.len(), 1, "{stale:?}");
    let pinned = pin_addresses(&new, &stale);
    let after = parse(&pinned);
    let of = |resources: &Resources| {
        let shop = &resources.server_groups[&ServerGroupName::new("shop")];
        shop.servers.iter().map(|server| server.address.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(of(&after.value), of(&in_force), "as before");
    assert_eq!(of(&parse(&new).value)[0], "172.16.1.60:80", "where it would have gone");
    assert_eq!(after.value.inventory, parse(&new).value.inventory, "the inventory is the new one");
    assert_eq!(stale_inventory_addresses(&in_force, &after), []);
}

fn enable(name: &str, enabled: bool) -> Operation {
    Operation::EnableListener { name: name.into(), enabled }
}

// Holds LR-5
#[test]
fn stops_and_starts_a_listener_and_leaves_everything_else_alone() {
    assert_eq!(changes_of(&enable("http", false)), ["~ listener \"http\": stopped"]);
    assert_eq!(changes_of(&enable("http", true)), [""; 0], "it runs already");
    let node = parse_node(include_str!("../tests/every_node_setting.yaml"), "node.yaml").unwrap();
    let text = include_str!("../tests/every_setting.yaml");
    let before = parse_resources_for(&node, text, "r.yaml").unwrap_or_else(|errors| panic!("{errors}"));
    let stopped = edit(&node, text, &enable("http", false)).unwrap_or_else(|denials| panic!("{denials:#?}"));
    let told = |before: &Resources, after: &Resources| -> Vec<String> {
        changes(before, after).iter().map(ToString::to_string).collect()
    };
    assert_eq!(told(&before.value, &stopped.parsed.value), ["~ listener \"http\": stopped"]);
    let started = edit(&node, &stopped.text, &enable("http", true)).unwrap();
    assert_eq!(started.parsed.value, before.value);
    assert_eq!(
        denials(&enable("htp", false)),
        ["[ResourceNotFound.Listener] listener \"htp\": it does not exist; did you mean \"http\"?"]
    );
}

// Holds SG-233
#[test]
fn a_group_that_a_rule_uses_is_not_deleted() {
    let rule = "rules: [{name: r1, priority: 1, conditions: [{path: [/a]}], actions: [{traffic_mirror: spare}, {forward: web}]}]";
    let text = RESOURCES
        .replace("port: 80, server_group: web}", &format!("port: 80, server_group: web, {rule}}}"))
        .replace(
            "server_groups:\n",
            "server_groups:\n  - {name: spare, type: Ip, vpc: vpc1, health_check: {enabled: true}}\n",
        );
    assert_eq!(
        denials_on(&text, &Operation::DeleteServerGroup { name: "spare".into() }),
        [
            "[ResourceInUse.ServerGroup] server group \"spare\": it is used by rule \"r1\" of listener \"http\"; remove these, or \
          let them use another group, then delete it"
        ]
    );
}
