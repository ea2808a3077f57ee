//! What outlives the process, and what `unload` leaves.

use crate::connection::{Connection, client};
use aya::maps::{MapData, MapInfo};
use aya::programs::{SchedClassifier, TcAttachType};
use controller::datapath::{Attachment, DatapathError, Hook, unload};
use controller::model::ListenerProtocol::Tcp;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use tests::forwarder::{Forwarder, open_again};

fn forwarder() -> Option<Forwarder> {
    let mut forwarder = Forwarder::open()?;
    forwarder.scenario.group("tcp", &[("172.16.1.20:8080", 100), ("192.168.1.20:8080", 100)]);
    forwarder.scenario.listener(Tcp, 9000, "tcp");
    forwarder.apply();
    Some(forwarder)
}

/// Every file below a directory, without those that a bpf filesystem begins with.
fn files(directory: &Path) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(directory) else { return BTreeSet::new() };
    let paths = entries.map(|entry| entry.expect("list a directory").path());
    let found = paths.flat_map(|path| {
        if path.is_dir() { files(&path) } else { BTreeSet::from([path.display().to_string()]) }
    });
    found.filter(|path| !path.ends_with(".debug")).collect()
}

/// What the kernel says is attached to the interfaces of this network namespace.
fn attached() -> BTreeSet<Attachment> {
    let mut found = BTreeSet::new();
    for interface in ["clients", "zone"] {
        let mut attach = |hook| found.insert(Attachment { interface: interface.into(), hook });
        for (direction, hook) in
            [(TcAttachType::Ingress, Hook::TcIngress), (TcAttachType::Egress, Hook::TcEgress)]
        {
            let (_, programs) = SchedClassifier::query_tcx(interface, direction).expect("query an interface");
            for program in programs {
                assert_eq!(program.name_as_str(), Some(hook.program()));
                assert!(attach(hook), "{interface} has two programs");
            }
        }
        let link = Command::new("ip").args(["link", "show", interface]).output().expect("run ip");
        let link = String::from_utf8_lossy(&link.stdout).into_owned();
        if link.contains(" xdp ") {
            attach(Hook::Xdp);
        } else if link.contains(" xdpgeneric ") {
            attach(Hook::XdpGeneric);
        }
    }
    found
}

/// Waits for the kernel, which lets go of a link some moments after its last pin.
#[track_caller]
fn becomes_attached(wanted: &BTreeSet<Attachment>) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while attached() != *wanted {
        assert!(Instant::now() < deadline, "attached {:?}, wanted {wanted:?}", attached());
        std::thread::yield_now();
    }
}

#[test]
fn a_new_process_goes_on_where_the_old_one_ended() {
    let Some(mut forwarder) = forwarder() else { return };
    assert!(!forwarder.datapath.has_adopted());
    let connections: Vec<Connection> =
        (0..20).map(|number| Connection::open(&forwarder, client(number))).collect();
    // A second change, so that both copies and a table left behind take part.
    forwarder.scenario.listener(Tcp, 9001, "tcp").group("tcp", &[("192.168.1.20:8080", 100)]);
    forwarder.apply();
    let before = forwarder.datapath.state().clone();
    let links = files(&forwarder.directory().join("links"));
    assert_eq!(links.len(), 3, "{links:?}");

    let mut forwarder = forwarder.reopen();
    assert!(forwarder.datapath.has_adopted());
    let state = forwarder.datapath.state();
    assert_eq!((state.epoch, &state.copies, &state.keys), (before.epoch, &before.copies, &before.keys));
    for vip in state.live().vip.values() {
        assert_eq!(state.tables[&vip.table], before.tables[&vip.table]);
    }
    assert!(forwarder.change().is_none(), "nothing to change");

    forwarder.attach();
    assert_eq!(files(&forwarder.directory().join("links")), links, "taken over, not made anew");
    for connection in &connections {
        let outcome = forwarder.from_clients(&connection.request().ack());
        assert_eq!(Connection::of(connection.client, outcome.is_redirected()), *connection);
    }
    let counters = forwarder.datapath.counters().expect("read counters");
    assert_eq!(counters.vips[&forwarder.vip(9000)].packets, 40, "counters go on");
}

#[test]
fn attaches_what_is_wanted_and_nothing_else() {
    let Some(mut forwarder) = forwarder() else { return };
    let attachment = |interface: &str, hook| Attachment { interface: interface.into(), hook };
    let sets = [
        BTreeSet::from([attachment("zone", Hook::TcIngress), attachment("zone", Hook::TcEgress)]),
        BTreeSet::from([attachment("clients", Hook::Xdp)]),
        BTreeSet::from([attachment("clients", Hook::Xdp), attachment("zone", Hook::TcEgress)]),
        BTreeSet::new(),
    ];
    for wanted in sets {
        assert_eq!(forwarder.datapath.attach(&wanted).expect("attach"), wanted);
        assert_eq!(files(&forwarder.directory().join("links")).len(), wanted.len());
        // The same from a process that finds everything attached.
        forwarder = forwarder.reopen();
        assert_eq!(forwarder.datapath.attach(&wanted).expect("attach again"), wanted);
        assert_eq!(files(&forwarder.directory().join("links")).len(), wanted.len());
        becomes_attached(&wanted);
    }
}

#[test]
fn generic_xdp_takes_the_place_of_native_where_there_is_none() {
    let Some(mut forwarder) = forwarder() else { return };
    let on_loopback = |hook| BTreeSet::from([Attachment { interface: "lo".into(), hook }]);
    for _ in 0..2 {
        for _ in 0..2 {
            let in_force = forwarder.datapath.attach(&on_loopback(Hook::Xdp)).expect("attach");
            assert_eq!(in_force, on_loopback(Hook::XdpGeneric));
            assert_eq!(files(&forwarder.directory().join("links")).len(), 1);
        }
        forwarder = forwarder.reopen();
    }
}

#[test]
fn a_missing_interface_is_named() {
    let Some(mut forwarder) = forwarder() else { return };
    let wanted = BTreeSet::from([Attachment { interface: "eth77".into(), hook: Hook::Xdp }]);
    let error = forwarder.datapath.attach(&wanted).expect_err("no such interface").to_string();
    assert!(error.contains("eth77") && error.contains("no such interface"), "{error}");
}

#[test]
fn unload_removes_what_was_pinned_and_nothing_else() {
    let Some(forwarder) = forwarder() else { return };
    let directory = forwarder.directory();
    let foreign = |name: &str, directory: &Path| {
        let pin = directory.join(name);
        let map = MapData::create(foreign_map(), name, None).expect("create a map");
        map.pin(&pin).expect("pin it");
        pin.display().to_string()
    };
    // Beside our directory, and even inside it.
    fs::create_dir(directory.join("theirs")).expect("make a directory");
    let kept = BTreeSet::from([
        foreign("neighbour", forwarder.bpffs()),
        foreign("guest", &directory),
        foreign("lodger", &directory.join("theirs")),
    ]);
    let mount = forwarder.close();
    assert_eq!(attached().len(), 3, "the programs outlive the process");
    let removed = unload(&mount.directory()).expect("unload");
    assert_eq!((removed.links, removed.maps), (3, 17));
    let bpffs = directory.parent().expect("below the mount");
    assert_eq!(files(bpffs), kept);
    becomes_attached(&BTreeSet::new());
    assert_eq!(unload(&directory).expect("unload again"), Default::default());
}

#[test]
fn unload_leaves_no_directory_of_its_own() {
    let Some(forwarder) = forwarder() else { return };
    let mount = forwarder.close();
    unload(&mount.directory()).expect("unload");
    assert!(!mount.directory().exists());
    unload(&mount.directory()).expect("nothing to unload is no error");
}

#[test]
fn a_pinned_map_of_another_shape_is_refused() {
    let Some(forwarder) = forwarder() else { return };
    let directory = forwarder.directory();
    let mount = forwarder.close();
    let pin = directory.join("configuration_v1/VIPS");
    fs::remove_file(&pin).expect("remove a pin");
    MapData::create(foreign_map(), "VIPS", None).expect("create a map").pin(&pin).expect("pin it");
    let Err(error) = open_again(&directory) else { panic!("a foreign map was adopted") };
    assert!(matches!(&error, DatapathError::Shape { path, .. } if *path == pin), "{error}");
    let text = error.to_string();
    assert!(text.contains("causeway unload") && text.contains("16 entries"), "{text}");
    assert_eq!(MapInfo::from_pin(&pin).expect("still there").max_entries(), 16, "left as it was");
    drop(mount);
}

#[test]
fn refuses_a_directory_off_a_bpf_filesystem() {
    if !tests::requirement::root() {
        return;
    }
    let directory = std::env::temp_dir().join("cw-not-a-bpffs");
    let Err(error) = open_again(&directory) else { panic!("pinned outside a bpf filesystem") };
    assert!(matches!(error, DatapathError::NotBpffs { .. }), "{error}");
    assert!(!directory.exists(), "and nothing was made there");
}

/// A hash map of 16 entries that has nothing to do with us.
fn foreign_map() -> aya_obj::Map {
    const BPF_MAP_TYPE_HASH: u32 = 1;
    aya_obj::Map::Legacy(aya_obj::maps::LegacyMap {
        section_index: 0,
        section_kind: aya_obj::EbpfSectionKind::Maps,
        symbol_index: None,
        def: aya_obj::maps::bpf_map_def {
            map_type: BPF_MAP_TYPE_HASH,
            key_size: 4,
            value_size: 4,
            max_entries: 16,
            ..Default::default()
        },
        inner_def: None,
        data: Vec::new(),
    })
}
