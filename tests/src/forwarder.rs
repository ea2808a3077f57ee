//! The datapath, loaded in a network namespace of its own, and packets run through it.
//!
//! Everything made here belongs to namespaces of the calling thread and goes with it: interfaces, the bpf filesystem
//! with its pins, maps and programs.

use crate::difference::{assert_same_frame, hex};
use crate::packet::Packet;
use crate::requirement;
use crate::scenario::Scenario;
use aya::maps::{Array, HashMap, Map, MapData};
use bytemuck::Pod;
use controller::datapath::{
    Action, Arrival, Attachment, Counters, Datapath, DatapathError, Hook, Options, wanted_attachments,
};
use controller::plan::{Change, diff};
use forwarder_common::counters::{HopCounters, ServerCounters, VipCounters};
use forwarder_common::hash::Key;
use forwarder_common::verdict::DropReason;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::io::{Error, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Key of the flow hash, so that every run picks the same servers.
pub const FLOW_HASH_KEY: Key = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];

/// A map key or value whose bytes are its fields.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub struct Plain<T>(pub T);

// SAFETY: `bytemuck::Pod` promises what `aya::Pod` asks for: no padding, any bytes valid, no pointers.
unsafe impl<T: Pod> aya::Pod for Plain<T> {}

/// A loaded datapath, and the configuration it serves.
pub struct Forwarder {
    /// The datapath.
    pub datapath: Datapath,
    /// The configuration; [`Forwarder::apply`] puts it in force.
    pub scenario: Scenario,
    /// Interface on which clients arrive.
    pub clients: u32,
    /// Interface toward servers and routers.
    pub zone: u32,
    mount: Mount,
}

/// What became of a packet, and what was counted meanwhile.
#[derive(Debug)]
pub struct Outcome {
    /// What the program decided.
    pub action: Action,
    /// The frame that went in.
    pub sent: Vec<u8>,
    /// The frame that came out.
    pub frame: Vec<u8>,
    /// What was counted.
    pub moved: Moved,
}

/// Counters that moved; those that did not are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Drops by reason.
    pub drops: BTreeMap<DropReason, u64>,
    /// By VIP.
    pub vips: BTreeMap<u32, VipCounters>,
    /// By server.
    pub servers: BTreeMap<u32, ServerCounters>,
    /// By next hop.
    pub next_hops: BTreeMap<u32, HopCounters>,
}

/// What can be run through a program.
pub trait ToFrame {
    /// As bytes, from the Ethernet header on.
    fn to_frame(&self) -> Vec<u8>;
}

impl ToFrame for Packet {
    fn to_frame(&self) -> Vec<u8> {
        self.bytes()
    }
}

impl ToFrame for [u8] {
    fn to_frame(&self) -> Vec<u8> {
        self.to_vec()
    }
}

impl ToFrame for Vec<u8> {
    fn to_frame(&self) -> Vec<u8> {
        self.clone()
    }
}

impl Forwarder {
    /// Loads the datapath, with empty maps, attached to the interfaces `clients` and `zone`. `None`: the test is skipped.
    pub fn open() -> Option<Forwarder> {
        Forwarder::open_with_log(0)
    }

    /// As [`Forwarder::open`], with a log of this level.
    pub fn open_with_log(log_level: u8) -> Option<Forwarder> {
        if !requirement::root() {
            return None;
        }
        let mount = Mount::new();
        let (clients, zone) = make_interfaces();
        let scenario = Scenario::new(zone);
        let datapath = open(&mount.directory(), log_level)
            .unwrap_or_else(|error| panic!("open the datapath: {}", end_of(error)));
        let mut forwarder = Forwarder { datapath, scenario, clients, zone, mount };
        forwarder.attach();
        Some(forwarder)
    }

    /// Where the datapath pins.
    pub fn directory(&self) -> PathBuf {
        self.mount.directory()
    }

    /// The bpf filesystem that holds [`Forwarder::directory`].
    pub fn bpffs(&self) -> &Path {
        &self.mount.path
    }

    /// Attaches XDP to both interfaces.
    pub fn attach(&mut self) {
        let mut wanted = wanted_attachments(&self.scenario.node, &self.scenario.resources, |_| None);
        wanted.extend(
            ["clients", "zone"].map(|interface| Attachment { interface: interface.into(), hook: Hook::Xdp }),
        );
        self.datapath.attach(&wanted).expect("attach to veth interfaces");
    }

    /// Drops the datapath, as when its process ends, and opens it again.
    pub fn reopen(self) -> Forwarder {
        let Forwarder { datapath, scenario, clients, zone, mount } = self;
        drop(datapath);
        let datapath = open(&mount.directory(), 0).expect("open the datapath again");
        Forwarder { datapath, scenario, clients, zone, mount }
    }

    /// Drops the datapath; the namespaces stay until the value returned is dropped.
    pub fn close(self) -> Mount {
        self.mount
    }

    /// The change that puts the scenario in force.
    pub fn change(&self) -> Option<Change> {
        let in_use = self.datapath.flows(now_secs()).expect("count flows").by_server.into_keys().collect();
        self.change_with(&in_use)
    }

    /// As [`Forwarder::change`], with flows on these servers.
    pub fn change_with(&self, in_use: &BTreeSet<u32>) -> Option<Change> {
        let wanted = self.scenario.plan(self.datapath.state(), in_use).expect("fits the tables");
        diff(self.datapath.state(), &wanted)
    }

    /// Puts the scenario in force.
    pub fn apply(&mut self) {
        if let Some(change) = self.change() {
            self.datapath.apply(&change).expect("apply");
        }
    }

    /// A packet on the interface `clients`.
    #[track_caller]
    pub fn from_clients(&self, frame: &(impl ToFrame + ?Sized)) -> Outcome {
        self.arrives(Hook::Xdp, frame, &Arrival { ifindex: self.clients, ..Arrival::default() })
    }

    /// A packet on the interface `zone`.
    #[track_caller]
    pub fn from_zone(&self, frame: &(impl ToFrame + ?Sized)) -> Outcome {
        self.arrives(Hook::Xdp, frame, &Arrival { ifindex: self.zone, ..Arrival::default() })
    }

    /// A packet to the program `tc_ingress` of the interface `zone`.
    #[track_caller]
    pub fn tc_ingress(&self, frame: &(impl ToFrame + ?Sized)) -> Outcome {
        self.arrives(Hook::TcIngress, frame, &Arrival { ifindex: self.zone, ..Arrival::default() })
    }

    /// A packet to the program `tc_egress` of the interface `zone`.
    #[track_caller]
    pub fn tc_egress(&self, frame: &(impl ToFrame + ?Sized)) -> Outcome {
        self.arrives(Hook::TcEgress, frame, &Arrival { ifindex: self.zone, ..Arrival::default() })
    }

    /// A packet with more to say about it.
    #[track_caller]
    pub fn arrives(&self, hook: Hook, frame: &(impl ToFrame + ?Sized), arrival: &Arrival) -> Outcome {
        let sent = frame.to_frame();
        let before = self.datapath.counters().expect("read counters");
        let run = match self.datapath.run_arrival(hook, &sent, arrival) {
            Ok(run) => run,
            Err(error) => panic!("{error}\nframe {}", hex(&sent)),
        };
        let after = self.datapath.counters().expect("read counters");
        Outcome { action: run.action, sent, frame: run.frame, moved: moved(&before, &after) }
    }

    /// Index of a server of the configuration in force.
    #[track_caller]
    pub fn server(&self, address: &str) -> u32 {
        let servers = &self.datapath.state().live().server;
        let found = servers.iter().find(|(_, server)| {
            server.identity != 0 && format!("{}:{}", server.address.address(), server.port.get()) == address
        });
        *found.unwrap_or_else(|| panic!("no element for server {address}")).0
    }

    /// Index of the only VIP with this port.
    #[track_caller]
    pub fn vip(&self, port: u16) -> u32 {
        let keys = &self.datapath.state().keys.vips;
        *keys
            .iter()
            .find(|(key, _)| key.port.get() == port)
            .unwrap_or_else(|| panic!("no VIP with port {port}"))
            .1
    }

    /// The pinned map of this name, typed by its value, for tests that spoil it.
    pub fn array<V: Pod>(&self, name: &str) -> Array<MapData, Plain<V>> {
        Map::Array(self.map(name)).try_into().expect("an array of this type")
    }

    /// As [`Forwarder::array`] for hash maps.
    pub fn hash_map<K: Pod, V: Pod>(&self, name: &str) -> HashMap<MapData, Plain<K>, Plain<V>> {
        Map::HashMap(self.map(name)).try_into().expect("a hash map of these types")
    }

    fn map(&self, name: &str) -> MapData {
        let directories = std::fs::read_dir(self.directory()).expect("list pins");
        let pin = directories
            .filter_map(|entry| Some(entry.ok()?.path().join(name)))
            .find(|path| path.exists())
            .unwrap_or_else(|| panic!("no pinned map {name}"));
        MapData::from_pin(pin).expect("open a pinned map")
    }
}

impl Outcome {
    /// The host gets the very packet that came in, and nothing was dropped.
    #[track_caller]
    pub fn passes_untouched(&self) -> &Outcome {
        assert_eq!(self.action, Action::Pass, "moved {:?}, frame {}", self.moved, hex(&self.sent));
        assert_same_frame(&self.frame, &self.sent);
        assert_eq!(self.moved.drops, BTreeMap::new());
        self
    }

    /// The host gets this packet instead.
    #[track_caller]
    pub fn passes_as(&self, expected: &(impl ToFrame + ?Sized)) -> &Outcome {
        assert_eq!(self.action, Action::Pass, "moved {:?}, frame {}", self.moved, hex(&self.sent));
        assert_same_frame(&self.frame, &expected.to_frame());
        self
    }

    /// The packet is lost for this reason, which is counted once.
    #[track_caller]
    pub fn is_dropped(&self, reason: DropReason) -> &Outcome {
        assert_eq!(
            (self.action, &self.moved.drops),
            (Action::Drop, &BTreeMap::from([(reason, 1)])),
            "expected {}, frame {}",
            reason.name(),
            hex(&self.sent)
        );
        self
    }

    /// The packet leaves by another interface.
    #[track_caller]
    pub fn is_redirected(&self) -> &Outcome {
        self.leaves_by(Action::Redirect)
    }

    /// The packet leaves by the interface it came from.
    #[track_caller]
    pub fn is_sent_back(&self) -> &Outcome {
        self.leaves_by(Action::SendBack)
    }

    #[track_caller]
    fn leaves_by(&self, action: Action) -> &Outcome {
        assert_eq!(self.action, action, "moved {:?}, frame {}", self.moved, hex(&self.sent));
        assert_eq!(self.moved.drops, BTreeMap::new());
        self
    }

    /// The frame that came out is this one.
    #[track_caller]
    pub fn as_frame(&self, expected: &(impl ToFrame + ?Sized)) -> &Outcome {
        assert_same_frame(&self.frame, &expected.to_frame());
        self
    }
}

fn open(directory: &Path, log_level: u8) -> Result<Datapath, DatapathError> {
    Datapath::open(&Options { bpf_dir: directory, flow_hash_key: FLOW_HASH_KEY, log_level })
}

/// The end of an error's text: the verifier's verdict stands behind its whole log.
fn end_of(error: DatapathError) -> String {
    let text = error.to_string();
    let lines: Vec<&str> = text.split("\\n").collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

/// Opens another datapath on the same pins, as a test of what is refused.
pub fn open_again(directory: &Path) -> Result<Datapath, DatapathError> {
    open(directory, 0)
}

/// Seconds of the clock that the programs read.
pub fn now_secs() -> u32 {
    // SAFETY: plain data, filled by the call.
    let mut time: libc::timespec = unsafe { std::mem::zeroed() };
    // SAFETY: a valid pointer.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut time) };
    time.tv_sec as u32
}

fn moved(before: &Counters, after: &Counters) -> Moved {
    macro_rules! less {
        ($type:ident { $($field:ident),* }) => {
            |now: &$type, then: &$type| $type { $($field: now.$field - then.$field),* }
        };
    }
    Moved {
        drops: differences(&before.drops, &after.drops, |now, then| now - then),
        vips: differences(&before.vips, &after.vips, less!(VipCounters { packets, bytes, flows, drops })),
        servers: differences(
            &before.servers,
            &after.servers,
            less!(ServerCounters { flows, flows_ended, packets, bytes, reply_packets, reply_bytes }),
        ),
        next_hops: differences(
            &before.next_hops,
            &after.next_hops,
            less!(HopCounters { packets, bytes, reply_packets, reply_bytes }),
        ),
    }
}

fn differences<K: Ord + Copy, V: Default + PartialEq>(
    before: &BTreeMap<K, V>,
    after: &BTreeMap<K, V>,
    less: impl Fn(&V, &V) -> V,
) -> BTreeMap<K, V> {
    let changed = after.iter().map(|(key, now)| (*key, less(now, &before[key])));
    changed.filter(|(_, value)| *value != V::default()).collect()
}

/// Gives the calling thread a network namespace with two veth pairs; the indices of `clients` and `zone`.
fn make_interfaces() -> (u32, u32) {
    // SAFETY: no memory is involved; only this thread changes namespace.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) }, "unshare");
    let mut ip = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().expect("run ip");
    let mut input = ip.stdin.take().expect("piped");
    for name in ["clients", "zone"] {
        let lines = format!(
            "link add {name} type veth peer name {name}-peer\nlink set {name} up\nlink set {name}-peer up\n"
        );
        input.write_all(lines.as_bytes()).expect("write to ip");
    }
    drop(input);
    assert!(ip.wait().expect("wait for ip").success(), "ip could not make the interfaces");
    let index = |name: &str| {
        let name = CString::new(name).expect("no NUL");
        // SAFETY: a string that ends with NUL.
        unsafe { libc::if_nametoindex(name.as_ptr()) }
    };
    (index("clients"), index("zone"))
}

/// A bpf filesystem that only this thread sees.
pub struct Mount {
    path: PathBuf,
}

impl Mount {
    fn new() -> Mount {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("cw-datapath-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).expect("make a directory to mount on");
        // SAFETY: no memory is involved; only this thread changes namespace.
        check(unsafe { libc::unshare(libc::CLONE_NEWNS) }, "unshare");
        mount(None, Path::new("/"), libc::MS_REC | libc::MS_PRIVATE);
        mount(Some(c"bpf"), &path, 0);
        Mount { path }
    }

    /// Where a datapath of this mount pins.
    pub fn directory(&self) -> PathBuf {
        self.path.join("causeway")
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let path = CString::new(self.path.as_os_str().as_bytes()).expect("no NUL");
        // SAFETY: a string that ends with NUL.
        unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
        let _ = std::fs::remove_dir(&self.path);
    }
}

fn mount(kind: Option<&std::ffi::CStr>, path: &Path, flags: libc::c_ulong) {
    let path = CString::new(path.as_os_str().as_bytes()).expect("no NUL");
    let kind = kind.map_or(std::ptr::null(), |kind| kind.as_ptr());
    // SAFETY: strings that end with NUL, or null where the call takes null.
    check(unsafe { libc::mount(kind, path.as_ptr(), kind, flags, std::ptr::null()) }, "mount");
}

#[track_caller]
fn check(result: libc::c_int, call: &str) {
    assert!(result == 0, "{call}: {}", Error::last_os_error());
}
