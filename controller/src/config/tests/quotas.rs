//! Quotas: settings of the node, and their keeping.

use super::*;
use crate::config::{parse_node, parse_resources_for};
use crate::model::Quotas;

const NODE_START: &str = "name: lb\nzones: [{zone: chengdu-a, interface: eth1, tunnel_address: 172.16.1.10}]\n\
                          nat_prefix: 172.16.100.0/24\n";

fn quotas(section: &str) -> Result<Quotas, Vec<String>> {
    parse_node(&format!("{NODE_START}quotas: {section}\n"), "n.yaml")
        .map(|node| node.value.quotas)
        .map_err(|errors| told(&errors))
}

// Holds SG-240, LR-13, LR-67
#[test]
fn may_be_raised_up_to_their_ceilings() {
    assert_eq!(parse_node(NODE_START, "n.yaml").unwrap().value.quotas, Quotas::default());
    assert_eq!(quotas("{}"), Ok(Quotas::default()));
    let defaults = Quotas::default();
    let read = |key: &str, quotas: Quotas| match key {
        "servers_per_basic_load_balancer" => quotas.servers_per_basic_load_balancer,
        "servers_per_standard_load_balancer" => quotas.servers_per_standard_load_balancer,
        "groups_per_server" => quotas.groups_per_server,
        "attachments_per_server_group" => quotas.attachments_per_server_group,
        "server_group_weight" => quotas.server_group_weight,
        "listeners_per_basic_load_balancer" => quotas.listeners_per_basic_load_balancer,
        "listeners_per_standard_load_balancer" => quotas.listeners_per_standard_load_balancer,
        "rules_per_basic_load_balancer" => quotas.rules_per_basic_load_balancer,
        "rules_per_standard_load_balancer" => quotas.rules_per_standard_load_balancer,
        "additional_certificates_per_basic_load_balancer" => {
            quotas.additional_certificates_per_basic_load_balancer
        }
        "additional_certificates_per_standard_load_balancer" => {
            quotas.additional_certificates_per_standard_load_balancer
        }
        "idle_timeout" => quotas.idle_timeout,
        _ => quotas.request_timeout,
    };
    for (key, field, default, ceiling) in [
        ("servers_per_basic_load_balancer", "ServersPerBasicLoadBalancer", 200, 400),
        ("servers_per_standard_load_balancer", "ServersPerStandardLoadBalancer", 1000, 1500),
        ("groups_per_server", "GroupsPerServer", 200, 300),
        ("attachments_per_server_group", "AttachmentsPerServerGroup", 50, 100),
        ("server_group_weight", "ServerGroupWeight", 100, 10_000),
        ("listeners_per_basic_load_balancer", "ListenersPerBasicLoadBalancer", 50, 80),
        ("listeners_per_standard_load_balancer", "ListenersPerStandardLoadBalancer", 50, 100),
        ("rules_per_basic_load_balancer", "RulesPerBasicLoadBalancer", 40, 100),
        ("rules_per_standard_load_balancer", "RulesPerStandardLoadBalancer", 100, 10_000),
        (
            "additional_certificates_per_basic_load_balancer",
            "AdditionalCertificatesPerBasicLoadBalancer",
            10,
            150,
        ),
        (
            "additional_certificates_per_standard_load_balancer",
            "AdditionalCertificatesPerStandardLoadBalancer",
            25,
            300,
        ),
        ("idle_timeout", "IdleTimeout", 600, 3600),
        ("request_timeout", "RequestTimeout", 600, 3600),
    ] {
        assert_eq!(read(key, defaults), default, "{key}");
        for right in [1, ceiling] {
            assert_eq!(read(key, quotas(&format!("{{{key}: {right}}}")).unwrap()), right, "{key}");
        }
        for wrong in [0, ceiling + 1] {
            assert_eq!(
                quotas(&format!("{{{key}: {wrong}}}")),
                Err(vec![format!("IllegalParam.{field} | quotas | {key} {wrong}")])
            );
        }
    }
}

/// Errors of resources on a node with these quotas.
fn kept(quotas: &str, groups: &[&str], listeners: &[&str]) -> Vec<String> {
    let node = parse_node(&format!("{NODE_START}quotas: {quotas}\n"), "n.yaml").unwrap();
    let text = network_text(groups, listeners).replace("name: alb4\n", "name: alb4\n    edition: Basic\n");
    parse_resources_for(&node, &text, "r.yaml").map_or_else(|errors| told(&errors), |_| vec![])
}

fn group_of(name: &str, servers: usize) -> String {
    let servers: Vec<String> = (0..servers)
        .map(|n| format!("{{address: 10.1.{}.{}, port: 80, remote_ip: true}}", n / 250, n % 250))
        .collect();
    format!(
        "{{name: {name}, type: Ip, vpc: vpc1, health_check: {{enabled: true}}, servers: [{}]}}",
        servers.join(", ")
    )
}

fn listener(balancer: &str, port: usize, group: &str) -> String {
    format!(
        "{{name: l{port}, load_balancer: {balancer}, protocol: HTTP, port: {port}, server_group: {group}}}"
    )
}

// Holds SG-240, SG-241
#[test]
fn counts_servers_of_a_balancer_once_for_each_listener() {
    for (balancer, key, default) in [
        ("alb4", "servers_per_basic_load_balancer", 200),
        ("alb1", "servers_per_standard_load_balancer", 1000),
    ] {
        let half = group_of("half", default / 2);
        let one = group_of("one", 1);
        let (first, second) = (listener(balancer, 80, "half"), listener(balancer, 81, "half"));
        let third = listener(balancer, 82, "one");
        let groups = [half.as_str(), &one];
        assert_eq!(kept("{}", &groups, &[&first, &second]), [""; 0]);
        let error = format!(
            "QuotaExceeded.ServersNum | load balancer \"{balancer}\" | {} servers, each counted for every listener \
             and rule that leads to it",
            default + 1
        );
        assert_eq!(kept("{}", &groups, &[&first, &second, &third]), [error]);
        let raised = format!("{{{key}: {}}}", default + 1);
        assert_eq!(kept(&raised, &groups, &[&first, &second, &third]), [""; 0]);
        assert_eq!(kept("{}", &groups, &[&first, &third]), [""; 0], "only what is attached counts");
    }
}

// Holds SG-240
#[test]
fn bounds_the_attachments_of_a_group() {
    let group = group_of("g1", 1);
    // A rule counts once, however often it names the group; so does each mirror that a rule has alone.
    let rules = |mirrors: usize| -> String {
        let forwards = (1..=40).map(|n| {
            format!(
                "{{name: r{n}, priority: {n}, {PATH}, actions: [{{traffic_mirror: g1}}, {{forward: g1}}]}}"
            )
        });
        let mirrors = (41..41 + mirrors).map(|n| {
            format!("{{name: r{n}, priority: {n}, {PATH}, actions: [{{traffic_mirror: g1}}, {{redirect: {{port: 81}}}}]}}")
        });
        let listener = listener("alb1", 80, "g1");
        format!(
            "{}, rules: [{}]}}",
            listener.trim_end_matches('}'),
            forwards.chain(mirrors).collect::<Vec<_>>().join(", ")
        )
    };
    assert_eq!(kept("{}", &[&group], &[&rules(9)]), [""; 0]);
    assert_eq!(
        kept("{}", &[&group], &[&rules(10)]),
        ["QuotaExceeded.ServerGroupAttachedNum | server group \"g1\" | attached 51 times"]
    );
    assert_eq!(kept("{attachments_per_server_group: 51}", &[&group], &[&rules(10)]), [""; 0]);
}

const PATH: &str = "conditions: [{path: [/a]}]";

// Holds LR-67
#[test]
fn bounds_listeners_rules_and_certificates_of_a_balancer() {
    let group = group_of("g1", 1);
    let others = [group_of("g2", 0), group_of("g3", 0)];
    let groups = [group.as_str(), &others[0], &others[1]];
    for (balancer, edition, rules, certificates) in [("alb1", "standard", 100, 25), ("alb4", "basic", 40, 10)]
    {
        let listeners: Vec<String> =
            (1..=51).map(|port| listener(balancer, port, ["g2", "g3"][port % 2])).collect();
        let listeners: Vec<&str> = listeners.iter().map(String::as_str).collect();
        assert_eq!(kept("{}", &groups, &listeners[..50]), [""; 0]);
        let expected = |what: &str, value: String| {
            vec![format!("QuotaExceeded.{what} | load balancer \"{balancer}\" | {value}")]
        };
        assert_eq!(kept("{}", &groups, &listeners), expected("ListenersNum", "51 listeners".into()));
        let quota = format!("{{listeners_per_{edition}_load_balancer: 51}}");
        assert_eq!(kept(&quota, &groups, &listeners), [""; 0]);

        let with_rules = |count: usize| {
            let rule =
                |n| format!("{{name: r{n}, priority: {n}, {PATH}, actions: [{{redirect: {{port: 81}}}}]}}");
            let rules = (1..=count).map(rule).collect::<Vec<_>>().join(", ");
            format!("{}, rules: [{rules}]}}", listener(balancer, 80, "g1").trim_end_matches('}'))
        };
        assert_eq!(kept("{}", &groups, &[&with_rules(rules)]), [""; 0]);
        let text = with_rules(rules + 1);
        assert_eq!(kept("{}", &groups, &[&text]), expected("RulesNum", format!("{} rules", rules + 1)));
        let quota = format!("{{rules_per_{edition}_load_balancer: {}}}", rules + 1);
        assert_eq!(kept(&quota, &groups, &[&text]), [""; 0]);

        let with_certificates = |count: usize| {
            let names = (0..=count).map(|n| format!("cert{n}")).collect::<Vec<_>>().join(", ");
            listener(balancer, 443, "g1")
                .replace("protocol: HTTP", &format!("protocol: HTTPS, certificates: [{names}]"))
        };
        assert_eq!(kept("{}", &groups, &[&with_certificates(certificates)]), [""; 0]);
        let text = with_certificates(certificates + 1);
        let value = format!("{} certificates beside the default ones", certificates + 1);
        assert_eq!(kept("{}", &groups, &[&text]), expected("AdditionalCertificatesNum", value));
        let quota = format!("{{additional_certificates_per_{edition}_load_balancer: {}}}", certificates + 1);
        assert_eq!(kept(&quota, &groups, &[&text]), [""; 0]);
    }
}

// Holds LR-13
#[test]
fn bounds_the_timeouts_of_listeners() {
    let group = group_of("g1", 1);
    let with = |settings: &str| format!("{}, {settings}}}", listener("alb1", 80, "g1").trim_end_matches('}'));
    for (key, field) in [("idle_timeout", "IdleTimeout"), ("request_timeout", "RequestTimeout")] {
        assert_eq!(kept("{}", &[&group], &[&with(&format!("{key}: 600"))]), [""; 0]);
        let long = with(&format!("{key}: 3600"));
        assert_eq!(
            kept("{}", &[&group], &[&long]),
            [format!("IllegalParam.{field} | listener \"l80\" | {key} 3600")]
        );
        assert_eq!(kept(&format!("{{{key}: 3600}}"), &[&group], &[&long]), [""; 0]);
        assert_eq!(
            kept(&format!("{{{key}: 3600}}"), &[&group], &[&with(&format!("{key}: 3601"))]),
            [format!("IllegalParam.{field} | listener \"l80\" | {key} 3601")]
        );
    }
}

// Holds SG-240, LR-94
#[test]
fn bounds_the_weights_of_groups_in_rules() {
    let group = group_of("g1", 1);
    let with = |weight: u32| {
        let groups = format!("[{{group: g1, weight: {weight}}}]");
        let rule = format!("{{name: r1, priority: 1, {PATH}, actions: [{{forward: {{groups: {groups}}}}}]}}");
        format!("{}, rules: [{rule}]}}", listener("alb1", 80, "g1").trim_end_matches('}'))
    };
    assert_eq!(kept("{}", &[&group], &[&with(100)]), [""; 0]);
    assert_eq!(
        kept("{}", &[&group], &[&with(101)]),
        [
            "QuotaExceeded.ServerGroupWeight | listener \"l80\", rule \"r1\" | server group \"g1\" with weight 101"
        ]
    );
    assert_eq!(kept("{server_group_weight: 101}", &[&group], &[&with(101)]), [""; 0]);
}

// Holds SG-240
#[test]
fn bounds_the_groups_of_a_server() {
    let groups: Vec<String> = (0..201).map(|n| group_of(&format!("g{n:03}"), 1)).collect();
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    assert_eq!(kept("{}", &groups[..200], &[]), [""; 0]);
    assert_eq!(
        kept("{}", &groups, &[]),
        ["QuotaExceeded.ServerAddedNum | server group \"g200\" | server 10.1.0.0 is in 201 groups"]
    );
    assert_eq!(kept("{groups_per_server: 201}", &groups, &[]), [""; 0]);
    let two_ports = group_of("g200", 2).replace("10.1.0.1, port: 80", "10.1.0.0, port: 81");
    let within: Vec<&str> = groups[..199].iter().copied().chain([two_ports.as_str()]).collect();
    assert_eq!(kept("{}", &within, &[]), [""; 0], "two ports in one group are one group");
}

// Holds SG-240
#[test]
fn bounds_the_servers_of_a_group() {
    assert_eq!(kept("{}", &[&group_of("g1", 1000)], &[]), [""; 0]);
    assert_eq!(
        kept("{}", &[&group_of("g1", 1001)], &[]),
        ["QuotaExceeded.ServerGroupServersNum | server group \"g1\" | 1001 servers"]
    );
}

#[test]
fn says_how_far_a_quota_can_be_raised() {
    let node = |quotas: &str| parse_node(&format!("{NODE_START}quotas: {quotas}\n"), "n.yaml").unwrap();
    let (group, two) = (group_of("g1", 1), [listener("alb1", 80, "g1"), listener("alb1", 81, "g1")]);
    let text = network_text(&[&group], &[&two[0], &two[1]]);
    let remedy = |quotas: &str| {
        parse_resources_for(&node(quotas), &text, "r.yaml").unwrap_err().findings()[0].remedy.clone()
    };
    assert_eq!(
        remedy("{attachments_per_server_group: 1}"),
        "use further groups, or raise the node's `quotas: {attachments_per_server_group: ...}` to at most 100"
    );
}
