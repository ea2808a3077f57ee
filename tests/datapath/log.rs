//! The programs' log.

use aya::programs::{SchedClassifier, TcAttachType};
use controller::datapath::{Attachment, Hook};
use std::process::Command;
use std::sync::Mutex;
use tests::forwarder::Forwarder;
use tests::packet::{tcp, vxlan};
use tests::scenario::{LOCAL_ADDRESS, VNI};

/// Keeps what is logged.
struct Lines(Mutex<Vec<String>>);

static LINES: Lines = Lines(Mutex::new(Vec::new()));

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata) -> bool {
        true
    }

    fn log(&self, record: &log::Record) {
        let line = format!("{} {}", record.level(), record.args());
        // Other tests load programs meanwhile, and aya tells about it.
        if line.contains("tunnel packet") {
            self.0.lock().expect("no test panics while it logs").push(line);
        }
    }

    fn flush(&self) {}
}

/// The instructions of the three programs as the verifier left them, in a forwarder with this log.
fn translated(log_level: u8) -> Option<[(Hook, String); 3]> {
    let mut forwarder = Forwarder::open_with_log(log_level)?;
    let hooks = [("clients", Hook::Xdp), ("zone", Hook::TcIngress), ("zone", Hook::TcEgress)];
    let wanted = hooks.map(|(interface, hook)| Attachment { interface: interface.into(), hook });
    forwarder.datapath.attach(&wanted.into()).expect("attach");
    Some(hooks.map(|(interface, hook)| {
        let id = match hook {
            Hook::TcIngress => tc_program(interface, TcAttachType::Ingress),
            Hook::TcEgress => tc_program(interface, TcAttachType::Egress),
            Hook::Xdp | Hook::XdpGeneric | Hook::XdpElseTc => xdp_program(interface),
        };
        let dump = run("bpftool", &["prog", "dump", "xlated", "id", &id]);
        assert!(dump.lines().count() > 100, "{dump}");
        (hook, dump)
    }))
}

fn tc_program(interface: &str, direction: TcAttachType) -> String {
    let (_, programs) = SchedClassifier::query_tcx(interface, direction).expect("query an interface");
    programs.first().expect("an attached program").id().to_string()
}

fn xdp_program(interface: &str) -> String {
    let shown = run("ip", &["link", "show", interface]);
    let (_, id) = shown.split_once("prog/xdp id ").expect("an attached program");
    id.split_whitespace().next().expect("a number").into()
}

fn run(command: &str, arguments: &[&str]) -> String {
    let output =
        Command::new(command).args(arguments).output().unwrap_or_else(|error| panic!("{command}: {error}"));
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn without_a_log_the_programs_hold_no_logging_code() {
    let Some(silent) = translated(0) else { return };
    for (hook, dump) in silent {
        assert!(!dump.contains("ringbuf"), "{hook:?} calls the log");
    }
    // That the word is the one to look for.
    let [xdp, tc_ingress, _] = translated(5).expect("root was checked");
    for (hook, dump) in [xdp, tc_ingress] {
        assert!(dump.contains("ringbuf"), "{hook:?} logs nothing");
    }
}

#[test]
fn a_refused_tunnel_packet_is_logged() {
    let _ = log::set_logger(&LINES);
    log::set_max_level(log::LevelFilter::Trace);
    let Some(mut forwarder) = Forwarder::open_with_log(3) else { return };
    forwarder.apply();
    let answer = tcp(&format!("192.168.1.20:80 -> {LOCAL_ADDRESS}:4000")).ack();
    let spoofed = vxlan("172.16.1.77 -> 172.16.1.10", VNI, &answer).bytes();
    for hook in [Hook::Xdp, Hook::TcIngress] {
        LINES.0.lock().expect("no test panics while it logs").clear();
        forwarder.datapath.run(hook, &spoofed, forwarder.zone).expect("run");
        forwarder.datapath.flush_log();
        let lines = LINES.0.lock().expect("no test panics while it logs");
        assert_eq!(*lines, ["WARN tunnel packet refused, reason 1: 172.16.1.77 -> 172.16.1.10"]);
    }
}
