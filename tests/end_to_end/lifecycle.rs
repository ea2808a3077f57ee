//! The controller dies, returns, is told to take everything out: what stays in force, and what stays behind.

use crate::client::{Connection, assert_alternate, at, servers_of};
use crate::datapath::attached;
use crate::{SERVERS, TCP_WEB, fast_resources, lab, lab_with};
use causeway_lab::{CLIENT, ECS02, LB, Lab, LabOptions, VIP_A, Variant};
use controller::api::{Request, Response};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use tests::balancer::{Balancer, PATIENCE, causeway, edited};

#[test]
fn flows_lose_nothing_when_the_controller_is_killed_and_are_adopted_by_the_next() {
    let test = "flows_lose_nothing_when_the_controller_is_killed_and_are_adopted_by_the_next";
    let options = LabOptions { id: "e2ekill".into(), ..LabOptions::default() };
    let Some(lab) = lab_with(test, options) else { return };
    let balancer = Balancer::start_resources(&lab, &fast_resources(Variant::Vswitch));
    balancer.wait_until_healthy();
    let big = fs::read(lab.layout().big_file()).expect("the lab wrote it");

    let open = || -> io::Result<(Connection, Vec<(&'static str, Connection)>)> {
        let mut download = Connection::open(at(VIP_A, 9000))?;
        while download.get("/")?.server() != ECS02 {
            download = Connection::open(at(VIP_A, 9000))?;
        }
        let chats = (0..20).map(|_| {
            let mut chat = Connection::open(at(VIP_A, 9000))?;
            Ok((chat.get("/")?.server(), chat))
        });
        Ok((download, chats.collect::<io::Result<_>>()?))
    };
    let (mut download, mut chats) = lab.within(CLIENT, open).expect("enter the client").expect("flows");
    let mut received = vec![0; download.begin("/big").expect("the download begins")];
    let (first, rest) = received.split_at_mut(10_000_000);
    download.body(first).expect("the first part");
    let revision = balancer.status().revision;
    let counted = SERVERS.map(|server| balancer.server(TCP_WEB, server).counters);

    balancer.kill();
    let (middle, rest) = rest.split_at_mut(50_000_000);
    download.body(middle).expect("the download goes on without the controller");
    for (server, chat) in &mut chats {
        assert_eq!(chat.get("/").expect("so does every other flow").server(), *server);
    }
    // New flows, too: the table is in the kernel.
    let both = servers_of(&lab, at(VIP_A, 9000), 40);
    assert!(both.iter().any(|server| *server != both[0]), "{both:?}");

    let balancer = Balancer::start_with(&lab, &[]);
    assert!(balancer.output().contains("adopted the pinned maps"), "{}", balancer.output());
    assert_eq!(balancer.status().revision, revision);
    download.body(rest).expect("the rest of the download");
    assert!(received == big, "not a byte lost");
    for (server, chat) in &mut chats {
        assert_eq!(chat.get("/").expect("the flow lives").server(), *server);
    }
    let flows: u64 = SERVERS.iter().map(|server| balancer.server(TCP_WEB, *server).counters.flows).sum();
    let before: u64 = counted.iter().map(|counters| counters.flows).sum();
    assert_eq!(flows, before + 40, "counters go on as well");
    balancer.wait_until_healthy();
    assert_alternate(&servers_of(&lab, at(VIP_A, 80), 20));
    balancer.stop();
}

#[test]
fn what_was_answered_as_applied_survives_a_kill_right_after_the_answer() {
    let test = "what_was_answered_as_applied_survives_a_kill_right_after_the_answer";
    let Some(lab) = lab(test, "e2ekeeps") else { return };
    let mut text = fast_resources(Variant::Vswitch);
    let mut balancer = Balancer::start_resources(&lab, &text);
    for weight in [90, 80, 70] {
        text = edited(
            &fast_resources(Variant::Vswitch),
            &[(
                "address: 172.16.1.20, port: 80, weight: 100",
                &format!("address: 172.16.1.20, port: 80, weight: {weight}"),
            )],
        );
        let answer = balancer.ask(&Request::Apply {
            file_name: "resources.yaml".into(),
            text: text.clone(),
            follow: false,
        });
        balancer.kill();
        let Response::Applied { revision, .. } = answer else { panic!("{answer:?}") };
        balancer = Balancer::start_with(&lab, &[]);
        assert_eq!(balancer.status().revision, Some(revision));
        match balancer.ask(&Request::Diff {
            file_name: "resources.yaml".into(),
            text: text.clone(),
            follow: false,
        }) {
            Response::Difference { changes, .. } => assert_eq!(changes, []),
            other => panic!("{other:?}"),
        }
    }
    balancer.stop();
}

/// Everything of the network that `unload` could take or leave: text of each listing, by command.
fn network(lab: &Lab) -> Vec<(String, String)> {
    let listings: [&[&str]; 6] = [
        &["ip", "-details", "address", "show"],
        &["ip", "rule", "show"],
        &["ip", "route", "show", "table", "all"],
        &["ip", "neigh", "show", "nud", "permanent"],
        &["tc", "qdisc", "show"],
        &["sysctl", "-ar", r"ipv4\.conf\..*\.(rp_filter|arp_|accept_local|src_valid)"],
    ];
    let list = |words: &&[&str]| (words.join(" "), lab.run(LB, words).expect("a listing"));
    let mut listed: Vec<_> = listings.iter().map(list).collect();
    listed.push(("attached programs".into(), attached(lab).join("\n")));
    listed
}

// Holds XR-100, XR-102
#[test]
fn unload_takes_out_everything_of_ours_and_nothing_else() {
    let Some(lab) = lab("unload_takes_out_everything_of_ours_and_nothing_else", "e2eunload") else { return };
    let bpffs = lab.layout().bpffs();
    let foreign = bpffs.join("foreign").display().to_string();
    // Of the kinds that ours are of, and as like ours as others may be.
    for words in [
        &["ip", "address", "add", "172.16.1.99/32", "dev", "eth1"][..],
        &["ip", "rule", "add", "from", "172.16.1.99", "lookup", "1234", "priority", "97"],
        &["ip", "route", "add", "10.99.0.0/16", "via", "172.16.1.254", "table", "1234"],
        &["ip", "route", "add", "10.98.0.0/16", "via", "172.16.1.254", "proto", "98"],
        &[
            "ip",
            "neigh",
            "add",
            "172.16.1.77",
            "lladdr",
            "02:00:00:00:00:77",
            "dev",
            "eth1",
            "nud",
            "permanent",
        ],
        &[
            "bpftool", "map", "create", &foreign, "type", "array", "key", "4", "value", "4", "entries", "1",
            "name", "f",
        ],
    ] {
        lab.run(LB, words).expect("the foreign thing is made");
    }
    let pins = || {
        let entries = fs::read_dir(&bpffs).expect("the bpffs").flatten();
        entries.map(|entry| entry.file_name().into_string().expect("UTF-8")).collect::<BTreeSet<_>>()
    };
    let (before, pins_before) = (network(&lab), pins());
    let balancer = Balancer::start_resources(&lab, &fast_resources(Variant::Vswitch));
    balancer.wait_until_healthy();
    assert_alternate(&servers_of(&lab, at(VIP_A, 80), 10));
    assert_ne!(network(&lab), before);
    let node = lab.layout().node_file().display().to_string();

    let refused = causeway(&lab, &["unload", "--node", &node]);
    assert_eq!(refused.status.code(), Some(1));
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(error.contains("causeway is running") && error.contains("stop it first, then unload"), "{error}");
    assert_alternate(&servers_of(&lab, at(VIP_A, 80), 10));

    balancer.stop();
    let unloaded = causeway(&lab, &["unload", "--node", &node]);
    assert!(unloaded.status.success(), "{}", String::from_utf8_lossy(&unloaded.stderr));
    for ((command, now), (_, then)) in network(&lab).into_iter().zip(before) {
        assert_eq!(now, then, "{command}");
    }
    assert!(!lab.layout().bpf_dir().exists(), "the folder of pins is gone");
    assert_eq!(pins(), pins_before);
    let again = causeway(&lab, &["unload", "--node", &node]);
    assert!(again.status.success(), "once more does no harm: {}", String::from_utf8_lossy(&again.stderr));

    // And what was unloaded can be put back.
    let balancer = Balancer::start_with(&lab, &[]);
    balancer.wait_until_healthy();
    balancer.wait_until("it serves again", PATIENCE, || {
        let both = servers_of(&lab, at(VIP_A, 80), 2);
        if both[0] == both[1] { Err(both) } else { Ok(()) }
    });
}
