//! Wrong configuration, missing privileges: everything said at once and nothing done (issue text, "Bad input").

use crate::client::{assert_alternate, at, servers_of};
use crate::{SERVERS, WEB, fast_resources, lab};
use causeway_lab::{LB, Lab, VIP_A, Variant, node_yaml};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Output;
use tests::balancer::{Balancer, causeway, edited, program};

/// Exit code and what was printed to standard error.
fn told(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn write(lab: &Lab, name: &str, text: &str) -> PathBuf {
    let file = lab.layout().run_dir().join(name);
    fs::write(&file, text).expect("the lab's folder is writable");
    file
}

/// Line and column, from 1, of `word` in `text`, where it stands once.
#[track_caller]
fn place(text: &str, word: &str) -> (usize, usize) {
    assert_eq!(text.matches(word).count(), 1, "{word:?} in\n{text}");
    let at = text.find(word).expect("counted just now");
    let line_start = text[..at].rfind('\n').map_or(0, |end| end + 1);
    (text[..at].matches('\n').count() + 1, at - line_start + 1)
}

// Holds SG-222, XR-73
#[test]
fn a_file_with_many_errors_is_refused_with_all_of_them_and_changes_nothing() {
    let test = "a_file_with_many_errors_is_refused_with_all_of_them_and_changes_nothing";
    let Some(lab) = lab(test, "e2ebad") else { return };
    let good = fast_resources(Variant::Vswitch);
    let balancer = Balancer::start_resources(&lab, &good);
    balancer.wait_until_healthy();
    let (status, servers) =
        (balancer.status(), balancer.cli(&["get", "load-balancers", "-o", "json"]).stdout);

    let wrong = edited(
        &good,
        &[
            ("    cidr: 192.168.0.0/16\n", "    cidr: 172.20.0.0/16\n"),
            (
                "{destination: 192.168.0.0/16, transit_router: tr-chengdu}",
                "{destination: 192.168.0.0/16, transit_router: tr-chongqing}",
            ),
            ("address: 172.16.1.20, port: 80, weight: 100", "address: 172.16.1.20, port: 80, weight: 101"),
            (
                "address: 192.168.1.20, port: 80, weight: 100, remote_ip: true",
                "address: 192.168.1.20, port: 80, weight: 100",
            ),
            ("address: 172.16.1.20, port: 8080", "address: 172.16.1.20, port: 0"),
            ("address: 192.168.1.20, port: 8080", "address: 198.51.100.7, port: 8080"),
            (
                "listeners:\n",
                "listeners:\n  - {name: http, load_balancer: alb1, protocol: HTTP, port: 81, server_group: nowhere}\n",
            ),
        ],
    );
    let file = write(&lab, "wrong.yaml", &wrong);
    let (code, error) = told(&balancer.cli(&["apply", "-f", &file.display().to_string()]));
    assert_eq!(code, Some(2), "{error}");
    for (code, context, word, value) in [
        ("Conflict.CidrBlock", "cidr: 172.20.0.0/16", "172", "overlaps VPC \"vpc1\""),
        ("ResourceNotFound.TransitRouter", "tr-chongqing", "tr", "no transit router of that name"),
        ("IllegalParam.Weight", "weight: 101", "101", "weight 101: outside 0 to 100"),
        ("IllegalParam.ServerIp", "192.168.1.20, port: 80,", "192", "write `remote_ip: true`"),
        ("IllegalParam.Port", "port: 0", "0", "port 0: outside 1 to 65535"),
        ("IllegalParam.ServerIp", "198.51.100.7", "198", "use the server's private address"),
        ("ResourceNotFound.ServerGroup", "nowhere", "nowhere", "no server group of that name"),
    ] {
        let (line, column) = place(&wrong, context);
        let column = column + context.find(word).expect("a part of its context");
        let shown = format!("{}:{line}:{column}\n", file.display());
        assert!(error.contains(&shown) && error.contains(value), "{shown}{value} is not in\n{error}");
        assert!(error.contains(&format!("error[{code}]: ")), "{code} is not in\n{error}");
    }
    // Those seven; the vSwitches that the new CIDR leaves outside, and the name given twice.
    assert!(error.contains("another listener on line") && error.ends_with("10 errors\n"), "{error}");

    assert_eq!(balancer.status().revision, status.revision, "nothing was applied");
    assert_eq!(balancer.cli(&["get", "load-balancers", "-o", "json"]).stdout, servers);
    assert_alternate(&servers_of(&lab, at(VIP_A, 80), 20));
    for server in SERVERS {
        assert_eq!(balancer.server(WEB, server).weight, 100);
    }

    let broken = write(&lab, "broken.yaml", "listeners: [\n");
    let (code, error) = told(&balancer.cli(&["apply", "-f", &broken.display().to_string()]));
    assert!(code == Some(2) && error.contains("broken.yaml:"), "{code:?} {error}");
    assert_eq!(balancer.status().revision, status.revision);
}

// Holds SG-2, SG-4, SG-21, SG-34, SG-80, SG-111, SG-113, SG-130, SG-131, SG-150, SG-180
#[test]
fn settings_of_groups_outside_their_rules_are_refused_with_their_codes_before_anything_changes() {
    let test = "settings_of_groups_outside_their_rules_are_refused_with_their_codes_before_anything_changes";
    let Some(lab) = lab(test, "e2ecode") else { return };
    let good = fast_resources(Variant::Vswitch);
    let balancer = Balancer::start_resources(&lab, &good);
    balancer.wait_until_healthy();
    let revision = balancer.status().revision;
    let group = |settings: &str| {
        format!("server_groups:\n  - {{vpc: vpc1, health_check: {{enabled: true}}, {settings}}}\n")
    };
    for (settings, code, value) in [
        ("name: x, type: Ip", "IllegalParam.ServerGroupName", "name \"x\""),
        ("name: more, type: Ipv4", "IllegalParam.ServerGroupType", "type Ipv4"),
        ("name: more, type: Ip, scheduler: Rr", "IllegalParam.Scheduler", "scheduler Rr"),
        ("name: more, type: Fc, scheduler: Wrr", "IllegalParam.Scheduler", "scheduler"),
        (
            "name: more, type: Ip, sticky_session: {cookie_timeout: 86401}",
            "IllegalParam.CookieTimeout",
            "cookie_timeout 86401",
        ),
        ("name: more, type: Ip, slow_start: {duration: 29}", "IllegalParam.SlowStartDuration", "duration 29"),
        (
            "name: more, type: Ip, connection_drain: {timeout: 901}",
            "IllegalParam.ConnectionDrainTimeout",
            "timeout 901",
        ),
        (
            "name: more, type: Ip, scheduler: Wlc, slow_start: {}",
            "OperationDenied.SlowStartRequiresWrr",
            "slow_start",
        ),
        (
            "name: more, type: Ip, cross_zone_enabled: false, sticky_session: {}",
            "OperationDenied.StickySessionWithCrossZoneDisabled",
            "cross_zone_enabled false",
        ),
        (
            "name: more, type: Ip, ipv6_enabled: true",
            "OperationDenied.VpcNotSupportIpv6",
            "ipv6_enabled true",
        ),
        ("name: more, servers: [{ecs: i-none, port: 80}]", "ResourceNotFound.Ecs", "id i-none"),
        (
            "name: more, type: Ip, servers: [{address: 172.16.1.20, port: 80, weight: 101}]",
            "IllegalParam.Weight",
            "weight 101",
        ),
    ] {
        let file = write(&lab, "wrong.yaml", &edited(&good, &[("server_groups:\n", &group(settings))]));
        let (exit, error) = told(&balancer.cli(&["apply", "-f", &file.display().to_string()]));
        assert_eq!(exit, Some(2), "{settings}: {error}");
        assert!(error.contains(&format!("error[{code}]: server group ")), "{settings}: {error}");
        assert!(error.contains(value), "{settings}: {error}");
    }
    assert_eq!(balancer.status().revision, revision, "nothing was applied");
}

// Holds SG-222
#[test]
fn an_apply_that_fails_while_it_takes_effect_leaves_servers_and_events_as_they_were() {
    let test = "an_apply_that_fails_while_it_takes_effect_leaves_servers_and_events_as_they_were";
    let Some(lab) = lab(test, "e2etaken") else { return };
    let good = fast_resources(Variant::Vswitch);
    let balancer = Balancer::start_resources(&lab, &good);
    balancer.wait_until_healthy();
    let events = || -> Vec<serde_json::Value> {
        let printed = balancer.command(&["get", "events", "-o", "json"]);
        let events: Vec<serde_json::Value> = serde_json::from_str(&printed).expect("a list of events");
        events.iter().map(|event| event["what"].clone()).collect()
    };
    let (before, revision) = (events(), balancer.status().revision);

    let taken = lab.within(LB, || TcpListener::bind("0.0.0.0:81").expect("nobody listens there yet"));
    let _taken = taken.expect("the lab has lb");
    let changed = edited(
        &good,
        &[
            ("address: 172.16.1.20, port: 80, weight: 100", "address: 172.16.1.20, port: 80, weight: 0"),
            ("      - {address: 172.16.1.20, port: 8080, weight: 100}\n", ""),
            (
                "listeners:\n",
                "listeners:\n  - {name: more, load_balancer: alb1, protocol: HTTP, port: 81, server_group: web}\n",
            ),
        ],
    );
    let file = write(&lab, "taken.yaml", &changed);
    let (code, error) = told(&balancer.cli(&["apply", "-f", &file.display().to_string()]));
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("203.0.113.10:81") && error.contains("nothing was applied"), "{error}");

    assert_eq!(events(), before, "what did not come into force did not happen");
    assert_eq!(balancer.status().revision, revision);
    assert_alternate(&servers_of(&lab, at(VIP_A, 80), 20));
    assert_eq!(balancer.servers().len(), 4);
}

#[test]
fn a_wrong_node_file_stops_the_start_with_all_its_errors() {
    let Some(lab) = lab("a_wrong_node_file_stops_the_start_with_all_its_errors", "e2enode") else { return };
    let text = edited(
        &node_yaml(lab.layout()),
        &[
            ("nat_prefix: 172.16.100.0/24", "nat_prefix: 172.16.100.0/33"),
            ("workers: 1", "workers: 0"),
            ("admission: exclusive", "admission: open"),
        ],
    );
    let file = write(&lab, "wrong-node.yaml", &text).display().to_string();
    let (code, error) = told(&causeway(&lab, &["run", "--node", &file]));
    assert_eq!(code, Some(2), "{error}");
    for value in ["172.16.100.0/33", "workers 0", "open"] {
        assert!(error.contains(value), "{value} is not in\n{error}");
    }
    assert!(error.contains("3 errors\n"), "{error}");

    // The NAT prefix is the node's, the local addresses are the resources': only together are they wrong.
    let overlap =
        edited(&node_yaml(lab.layout()), &[("nat_prefix: 172.16.100.0/24", "nat_prefix: 172.16.1.0/28")]);
    let file = write(&lab, "overlap.yaml", &overlap).display().to_string();
    let resources = lab.layout().resources_file().display().to_string();
    let (code, error) = told(&causeway(&lab, &["run", "--node", &file, "--resources", &resources]));
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("172.16.1.0/28") && error.contains("172.16.1.11"), "{error}");
}

// Holds XR-113
#[test]
fn missing_privileges_and_a_missing_bpffs_are_told_in_one_sentence_with_the_remedy() {
    let test = "missing_privileges_and_a_missing_bpffs_are_told_in_one_sentence_with_the_remedy";
    let Some(lab) = lab(test, "e2epriv") else { return };
    let resources = lab.layout().resources_file().display().to_string();

    // Where anybody may read and run them.
    let public = tempfile::tempdir_in("/tmp").expect("a folder");
    fs::set_permissions(public.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    let copy = public.path().join("causeway").display().to_string();
    fs::copy(program(), &copy).expect("the program can be read");
    let node = public.path().join("node.yaml").display().to_string();
    fs::write(&node, node_yaml(lab.layout())).expect("ours");
    for arguments in [&["run", "--node", &node][..], &["unload", "--node", &node]] {
        let mut command = lab.command(LB, "setpriv").expect("the lab has lb");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", &copy]).args(arguments);
        let (code, error) = told(&command.output().expect("setpriv runs"));
        assert_eq!(code, Some(1), "{error}");
        let lines: Vec<_> = error.lines().collect();
        assert!(lines.len() == 1 && error.contains("root"), "{arguments:?}: {error}");
    }

    let elsewhere = lab.layout().run_dir().join("no-bpffs");
    let text = node_yaml(lab.layout())
        .replace(&lab.layout().bpf_dir().display().to_string(), &elsewhere.display().to_string());
    let file = write(&lab, "no-bpffs.yaml", &text).display().to_string();
    let (code, error) = told(&causeway(&lab, &["run", "--node", &file, "--resources", &resources]));
    assert_eq!((code, error.lines().count()), (Some(1), 1), "{error}");
    assert!(error.contains("is not on a bpf filesystem: mount one with `mount -t bpf"), "{error}");
}
