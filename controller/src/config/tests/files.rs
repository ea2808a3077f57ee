//! What holds for every file: positions, all errors at once, unknown settings, types.

use super::*;
use crate::config::is_node;

#[test]
fn accepts_the_tutorial_without_a_warning() {
    let (node, resources) = parse_both((NODE, "node.yaml"), (RESOURCES, "resources.yaml"))
        .unwrap_or_else(|errors| panic!("{errors}"));
    assert!(node.warnings.findings().is_empty());
    assert_eq!(resources.warnings.findings(), []);
    assert_eq!(resources.value.server_groups.len(), 2);
}

#[test]
fn says_where_what_which_rule_and_what_to_write() {
    let text = edit(RESOURCES, &[("port: 80, weight: 100}", "port: 80, weight: 101}")]);
    let errors = parse_resources(&text, "resources.yaml").unwrap_err();
    assert_eq!(
        errors.to_string(),
        "resources.yaml:52:50: [IllegalParam.Weight] server group \"web\", server 172.16.1.20:80: weight 101: outside 0 to 100; \
         write a number from 0 to 100"
    );
    assert_eq!(
        errors.render(),
        "error[IllegalParam.Weight]: server group \"web\", server 172.16.1.20:80: weight 101: outside 0 to 100\n\
         \x20 --> resources.yaml:52:50\n\
         \x20  |\n\
         52 |       - {address: 172.16.1.20, port: 80, weight: 101}\n\
         \x20  |                                                  ^^^\n\
         \x20  = write a number from 0 to 100\n\
         \n\
         1 error\n"
    );
    let json = serde_json::to_value(&errors).unwrap();
    assert_eq!(json[0]["code"], "IllegalParam.Weight");
    assert_eq!(json[0]["place"]["line"], 52);
    assert_eq!(json[0]["remedy"], "write a number from 0 to 100");
}

#[test]
fn reports_every_error_of_both_files_in_one_go() {
    let node = edit(NODE, &[("172.16.100.0/24", "172.16.1.0/24"), ("workers: 1", "worker: 1")]);
    let resources = edit(
        RESOURCES,
        &[
            ("region: chengdu\n    cidr: 172.16.0.0/12", "region: chengdu\n    cidr: 172.16.0.1/12"),
            ("port: 80, weight: 100}", "port: 0, weight: many}"),
            ("port: 80, weight: 100, remote_ip: true", "port: 80, weight: 100"),
            ("server_group: web", "server_group: wep"),
            ("protocol: TCP, port: 9000", "protocol: TPC, port: 9000"),
            ("dns_name: alb1.causeway.test\n", "dns_nam: x\n"),
        ],
    );
    let errors = parse_both((&node, "node.yaml"), (&resources, "resources.yaml")).unwrap_err();
    let lines: Vec<String> = errors.findings().iter().map(|finding| finding.place.to_string()).collect();
    assert_eq!(
        lines,
        [
            "node.yaml:7:13",       // the NAT prefix contains the tunnel endpoint
            "node.yaml:7:13",       // and the tunnel address
            "node.yaml:7:13",       // and a server
            "node.yaml:8:1",        // unknown key `worker`
            "resources.yaml:5:11",  // host bits
            "resources.yaml:32:5",  // `dns_name` is missing
            "resources.yaml:36:5",  // unknown key `dns_nam`
            "resources.yaml:52:38", // port 0
            "resources.yaml:52:49", // weight many
            "resources.yaml:53:19", // remote without remote_ip
            "resources.yaml:65:79", // unknown group
            "resources.yaml:66:48", // unknown protocol
        ],
        "{errors}"
    );
}

#[test]
fn stops_at_a_syntax_error() {
    let errors = parse_resources("vpcs:\n  - name: [\nlisteners: }", "r.yaml").unwrap_err();
    assert_eq!(errors.findings().len(), 1);
    assert_eq!(
        errors.to_string(),
        "r.yaml:2:11: [IllegalParam.Syntax] mismatched bracket '[' closed by '}'; correct the YAML; other errors show once it can be read"
    );
}

#[test]
fn shows_the_line_of_a_syntax_error() {
    let errors = parse_resources("# é\nvpcs:\n  - name: [\nlisteners: }", "r.yaml").unwrap_err();
    assert!(errors.render().contains("\n3 |   - name: [\n  |           ^\n"), "{}", errors.render());
    assert!(errors.is_syntax());
}

/// A generator of repeatable noise (Marsaglia's xorshift).
fn noise(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    usize::try_from(*state >> 33).expect("31 bits")
}

#[test]
fn survives_files_that_noise_has_changed() {
    for seed in 1..150u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mutate = |text: &str, state: &mut u64| {
            let mut chars: Vec<char> = text.chars().collect();
            for _ in 0..1 + noise(state) % 8 {
                let (from, to) = (noise(state) % chars.len(), noise(state) % chars.len());
                match noise(state) % 4 {
                    0 => drop(chars.remove(from)),
                    1 => chars.swap(from, to),
                    2 => {
                        chars.insert(from, ['0', '-', ':', '\n', '{', '[', '"', 'é', '\t'][noise(state) % 9])
                    }
                    _ => chars[from] = chars[to],
                }
            }
            chars.into_iter().collect::<String>()
        };
        let (node, resources) = (mutate(NODE, &mut state), mutate(RESOURCES, &mut state));
        if let Err(errors) = parse_both((&node, "node.yaml"), (&resources, "resources.yaml")) {
            assert!(!errors.render().is_empty(), "seed {seed}");
        }
    }
}

#[test]
fn refuses_bottomless_and_self_multiplying_files() {
    let bomb: String = (1..30).map(|n| format!("a{n}: &a{n} [*a{m}, *a{m}]\n", m = n - 1)).collect();
    for text in ["[".repeat(100_000), "- ".repeat(100_000), format!("a0: &a0 [x]\n{bomb}")] {
        assert!(parse_resources(&text, "r.yaml").unwrap_err().is_syntax());
    }
}

#[test]
fn refuses_a_setting_written_twice() {
    let errors = parse_node("name: lb1\nname: lb2\n", "n.yaml").unwrap_err();
    assert_eq!(errors.findings()[0].place.to_string(), "n.yaml:2:1", "{errors}");
}

#[test]
fn suggests_the_setting_meant() {
    assert_eq!(
        errors(&[("scheduler: Wrr", "schduler: Wrr")]),
        [
            "[IllegalParam.Schduler] server group \"web\": key `schduler`: there is no such setting here; did you mean `scheduler`?"
        ]
    );
    assert_eq!(
        errors(&[("port: 9001}", "port: 9001, colour: red}")]),
        [
            "[IllegalParam.Colour] server group \"tcp-web\", server 172.16.1.20:9001: key `colour`: there is no such setting here; \
          the settings are `address`, `ecs`, `eni`, `eci`, `fc`, `function`, `qualifier`, `port`, `weight`, \
          `remote_ip`, `description`"
        ]
    );
}

#[test]
fn names_the_type_it_expected() {
    assert_eq!(
        errors(&[("vip: 203.0.113.10,", "vip: 203.0.113.300,"), ("interval: 2", "interval: 2s")]),
        [
            "[IllegalParam.Address] load balancer \"alb1\", zone chengdu-a: vip 203.0.113.300: expected an IPv4 address; write four \
             numbers from 0 to 255 joined by dots, such as 172.16.1.10",
            "[IllegalParam.HealthCheckInterval] server group \"web\", health check: interval 2s: expected a whole number; write a whole number \
             without quotes or unit",
        ]
    );
    assert_eq!(
        errors(&[("[vsw3, vsw4]", "vsw3")]),
        [
            "[IllegalParam.VSwitchIds] transit router \"tr-hangzhou\", attachment vpc2: vswitches vsw3: expected a list, found text; \
          write `[vsw3]`, or one entry per line, each begun with `- `"
        ]
    );
    assert_eq!(
        errors(&[("health_check: {enabled: true, protocol: TCP}", "health_check: on")]),
        [
            "[IllegalParam.HealthCheckConfig] server group \"tcp-web\": health_check on: expected a mapping of `enabled`, `protocol`, `path`, \
          `method`, `codes`, `connect_port`, `interval`, `timeout`, `healthy_threshold`, `unhealthy_threshold`, \
          `host`, `http_version`, found text; write `{enabled: ...}`"
        ]
    );
    assert_eq!(
        errors(&[("vswitches: [vsw3, vsw4]", "vswitches: {name: vsw3}")]),
        [
            "[IllegalParam.VSwitchIds] transit router \"tr-hangzhou\", attachment vpc2: vswitches: expected a list, found a mapping; \
          put it between `[` and `]`, or begin each entry with `- ` on a line of its own"
        ]
    );
}

#[test]
fn lists_what_is_missing() {
    assert_eq!(
        sentences(parse_node("{}", "n.yaml").unwrap_err().findings()),
        [
            "[MissingParam.Name] `name` is missing; give it a name: `name: ...`",
            "[MissingParam.Zones] `zones` is missing; list the zones this node serves, at least one",
        ]
    );
    let minimal =
        "server_groups: [{}]\nlisteners: [{}]\nvpcs: [{}]\ntransit_routers: [{}]\nload_balancers: [{}]";
    let errors = parse_resources(minimal, "r.yaml").unwrap_err();
    let of_listener: Vec<String> =
        sentences(errors.findings()).into_iter().filter(|line| line.contains("listener #1")).collect();
    assert_eq!(
        of_listener,
        [
            "[MissingParam.ListenerName] listener #1: `name` is missing; give it a name: `name: ...`",
            "[MissingParam.LoadBalancerId] listener #1: `load_balancer` is missing; name the load balancer it belongs to",
            "[MissingParam.ServerGroupId] listener #1: `server_group` is missing; name the server group it forwards to",
            "[MissingParam.ListenerProtocol] listener #1: `protocol` is missing; write HTTP, HTTPS, QUIC or TCP",
            "[MissingParam.ListenerPort] listener #1: `port` is missing; write a port from 1 to 65535",
        ]
    );
}

#[test]
fn keeps_messages_short_in_a_file_of_one_endless_line() {
    let servers: String = (0..500).map(|n| format!("{{address: 8.8.8.8, port: {n}}}, ")).collect();
    let text = format!("server_groups: [{{name: web, type: Ip, vpc: vpc1, servers: [{servers}]}}]");
    let errors = parse_resources(&text, "r.yaml").unwrap_err();
    assert!(errors.findings().len() > 500);
    assert!(errors.findings().iter().all(|finding| finding.render_length() < 1000));
}

#[test]
fn a_file_that_was_cut_off_at_its_start_does_not_remove_everything() {
    for text in ["", "# nothing yet\n", "---\n"] {
        assert_eq!(
            sentences(parse_resources(text, "r.yaml").unwrap_err().findings()),
            [
                "[MissingParam.Listeners] the file is empty; write the whole file; to have no resources at all, write `listeners: []`"
            ]
        );
    }
    let parsed = parse_resources("listeners: []\n", "r.yaml").unwrap();
    assert_eq!(sentences(parsed.warnings.findings()), ["no listeners: nothing is served; add `listeners`"]);
}

#[test]
fn tells_the_two_files_apart_by_their_settings() {
    assert_eq!(is_node(NODE), Some(true));
    assert_eq!(is_node(RESOURCES), Some(false));
    assert_eq!(is_node("colour: red"), None);
    assert_eq!(is_node("]"), None);
}

/// README's examples, the node's first.
fn readme_examples() -> Vec<&'static str> {
    let blocks = include_str!("../../../../README.md").split("```yaml\n").skip(1);
    blocks.map(|block| block.split("```").next().expect("a split has a first part")).collect()
}

#[test]
fn readme_begins_with_files_that_are_accepted() {
    let [node, resources] = readme_examples()[..] else { panic!("README has an example of each file") };
    let parsed = parse_both((node, "node.yaml"), (resources, "resources.yaml"));
    let (node, resources) = parsed.unwrap_or_else(|errors| panic!("{errors}"));
    let warnings = sentences(node.warnings.and(resources.warnings).findings());
    assert_eq!(
        warnings,
        [
            "load balancer \"front\": one zone: with a single zone, its loss is the loss of the service; add a second zone"
        ]
    );
}

#[test]
fn the_reference_of_resources_is_whole_and_right() {
    let text = include_str!("every_setting.yaml");
    let parsed = parse_resources(text, "every_setting.yaml").unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(sentences(parsed.warnings.findings()), [""; 0]);
    assert_eq!(keys_missing(text, every_key()), [""; 0]);
}

#[test]
fn the_reference_of_node_settings_is_whole_and_right() {
    use crate::config::decode::Entry;
    use crate::config::file::{NodeFile, NodeZoneEntry, QuotasEntry, TunnelEntry};
    let text = include_str!("every_node_setting.yaml");
    let parsed = parse_node(text, "every_node_setting.yaml").unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(sentences(parsed.warnings.findings()), [""; 0]);
    let keys = [NodeFile::KEYS, NodeZoneEntry::KEYS, TunnelEntry::KEYS, QuotasEntry::KEYS].concat();
    assert_eq!(keys_missing(text, keys), [""; 0]);

    // What it calls a default is one.
    let has_default = |line: &&str| ["# default", "# or "].iter().any(|mark| line.contains(mark));
    let without = text.lines().filter(|line| !has_default(line));
    let without: Vec<&str> = without.filter(|line| !matches!(*line, "tunnel:" | "quotas:")).collect();
    let defaults = parse_node(&without.join("\n"), "n.yaml").unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(defaults.value, parsed.value);
}

/// Those of `keys` that `text` nowhere sets.
fn keys_missing(text: &str, mut keys: Vec<&'static str>) -> Vec<&'static str> {
    let before = |c: char| c.is_whitespace() || matches!(c, '{' | ',');
    keys.retain(|key| !text.match_indices(&format!("{key}:")).any(|(at, _)| text[..at].ends_with(before)));
    keys
}

/// The keys of every kind of entry of a resources file.
fn every_key() -> Vec<&'static str> {
    use crate::config::decode::Entry;
    use crate::config::file::*;
    macro_rules! keys {
        ($($entry:ident),*) => { [$($entry::KEYS),*].concat() };
    }
    keys!(
        ResourcesFile,
        VpcEntry,
        VswitchEntry,
        RouteEntry,
        TransitRouterEntry,
        AttachmentEntry,
        NextHopEntry,
        VxlanEntry,
        LoadBalancerEntry,
        ZoneMappingEntry,
        ServerGroupEntry,
        UchEntry,
        StickySessionEntry,
        TlsVerificationEntry,
        HealthCheckEntry,
        SlowStartEntry,
        ConnectionDrainEntry,
        HealthCheckTemplateEntry,
        ServerEntry,
        ListenerEntry,
        ListenerAclEntry,
        ForwardedHeadersEntry,
        TracingEntry,
        RuleEntry,
        ConditionEntry,
        FieldEntry,
        PairEntry,
        ActionEntry,
        ForwardEntry,
        GroupShareEntry,
        GroupStickyEntry,
        RedirectEntry,
        RewriteEntry,
        FixedResponseEntry,
        InsertHeaderEntry,
        TrafficLimitEntry,
        CorsEntry,
        AclEntry,
        AclSourceEntry,
        SecurityPolicyEntry,
        InstanceEntry,
        InterfaceEntry,
        FunctionEntry,
        QualifierEntry
    )
}

impl Finding {
    fn render_length(&self) -> usize {
        serde_json::to_string(self).unwrap().len()
    }
}
