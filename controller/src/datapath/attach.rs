//! Programs onto interfaces.
//!
//! On kernels with tcx (6.6, commit e420bed02507) and for XDP, an attachment is a pinned link: it outlives the process
//! and is replaced by link update. Before 6.6 a TC program is a clsact filter under a fixed priority and handle, which
//! outlives the process by itself and is replaced in place.

use super::error::reason;
use super::pins::{PinDirectory, remove_link};
use super::{Datapath, DatapathError};
use crate::model::{ListenerProtocol, Node, Resources};
use aya::Ebpf;
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle};
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType, Xdp, XdpMode};
use aya::util::KernelVersion;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString};
use std::fs;
use std::path::PathBuf;

/// Where a program hooks in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    /// `xdp_ingress`, in the driver.
    Xdp,
    /// `xdp_ingress`, after the driver: for drivers without native XDP.
    XdpGeneric,
    /// `xdp_ingress` in the driver or, where that has no native XDP, `tc_ingress`: enough to unwrap. Only ever wanted;
    /// in force is one of the two.
    XdpElseTc,
    /// `tc_ingress`.
    TcIngress,
    /// `tc_egress`.
    TcEgress,
}

impl Hook {
    /// The program's name.
    pub const fn program(self) -> &'static str {
        match self {
            Hook::Xdp | Hook::XdpGeneric | Hook::XdpElseTc => "xdp_ingress",
            Hook::TcIngress => "tc_ingress",
            Hook::TcEgress => "tc_egress",
        }
    }

    /// Whether `self` in force is what was wanted with `wanted`.
    fn stands_for(self, wanted: Hook) -> bool {
        self == wanted
            || match wanted {
                Hook::Xdp => self == Hook::XdpGeneric,
                Hook::XdpElseTc => matches!(self, Hook::Xdp | Hook::TcIngress),
                _ => false,
            }
    }

    /// How its links are named among the pins: native and generic ones apart, so that a new process knows which it takes
    /// over.
    const fn link_name(self) -> &'static str {
        match self {
            Hook::XdpGeneric => "xdp_ingress_generic",
            hook => hook.program(),
        }
    }

    const fn direction(self) -> TcAttachType {
        match self {
            Hook::TcEgress => TcAttachType::Egress,
            _ => TcAttachType::Ingress,
        }
    }
}

/// One program on one interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attachment {
    /// The interface.
    pub interface: String,
    /// The hook.
    pub hook: Hook,
}

/// What an attachment is held by.
pub(super) enum Handle {
    Link(PathBuf),
    Filter,
}

/// Priority and handle of our clsact filters, so that they can be found again.
const FILTER_PRIORITY: u16 = 97;
const FILTER_HANDLE: TcHandle = TcHandle::new(0, 97);

/// The attachments a configuration needs. Pure; `driver` gives the driver of an interface, where it has one.
///
/// - `tc_egress` where a zone's tunnels leave.
/// - With an L4 listener, `xdp_ingress` on every interface of the node: only it balances.
/// - Without one, unwrapping is all there is to do, on the zones' interfaces: by XDP, except on veth, where an XDP
///   program costs the peer its TSO and so most of the throughput, and where the driver has no native XDP.
pub fn wanted_attachments(
    node: &Node,
    resources: &Resources,
    driver: impl Fn(&str) -> Option<String>,
) -> BTreeSet<Attachment> {
    let has_l4 = resources.listeners.values().any(|listener| listener.protocol == ListenerProtocol::Tcp);
    let attachment = |interface: &str, hook| Attachment { interface: interface.to_owned(), hook };
    let mut wanted = BTreeSet::new();
    for zone in &node.zones {
        let unwraps_by_tc = !has_l4 && driver(&zone.interface).as_deref() == Some("veth");
        let ingress = match () {
            () if has_l4 => Hook::Xdp,
            () if unwraps_by_tc => Hook::TcIngress,
            () => Hook::XdpElseTc,
        };
        wanted.insert(attachment(&zone.interface, ingress));
        wanted.insert(attachment(&zone.interface, Hook::TcEgress));
    }
    if has_l4 {
        wanted.extend(node.client_interfaces.iter().map(|interface| attachment(interface, Hook::Xdp)));
    }
    wanted
}

/// Loads the programs into the kernel, which verifies them.
pub(super) fn load_programs(ebpf: &mut Ebpf) -> Result<(), DatapathError> {
    xdp(ebpf)?.load().map_err(DatapathError::load)?;
    for hook in [Hook::TcIngress, Hook::TcEgress] {
        classifier(ebpf, hook)?.load().map_err(DatapathError::load)?;
    }
    Ok(())
}

impl Datapath {
    /// Attaches what is wanted and is not attached, then detaches what is attached and is not wanted. Links that an
    /// earlier process pinned are taken over with no packet lost. Returns what is in force, which differs from what was
    /// wanted where a driver has no native XDP: there generic XDP, or TC where that suffices, takes its place.
    pub fn attach(&mut self, wanted: &BTreeSet<Attachment>) -> Result<BTreeSet<Attachment>, DatapathError> {
        let mut attached = BTreeMap::new();
        for attachment in wanted {
            let (attachment, handle) = match self.take_attached(attachment) {
                Some(found) => found,
                None => self.attach_one(attachment)?,
            };
            attached.insert(attachment, handle);
        }
        let old = std::mem::replace(&mut self.attached, attached);
        for attachment in old.keys().filter(|attachment| !self.attached.contains_key(attachment)) {
            if matches!(old[attachment], Handle::Filter) {
                detach_filter(&attachment.interface, attachment.hook)?;
            }
        }
        let kept: BTreeSet<&PathBuf> = self
            .attached
            .values()
            .filter_map(|handle| match handle {
                Handle::Link(path) => Some(path),
                Handle::Filter => None,
            })
            .collect();
        for path in self.pins.links()? {
            if !kept.contains(&path) {
                remove_link(&path)?;
            }
        }
        Ok(self.attached.keys().cloned().collect())
    }

    /// An attachment this process has made already, also where another hook took the wanted one's place.
    fn take_attached(&mut self, wanted: &Attachment) -> Option<(Attachment, Handle)> {
        let found = self
            .attached
            .keys()
            .find(|attachment| {
                attachment.interface == wanted.interface && attachment.hook.stands_for(wanted.hook)
            })?
            .clone();
        let handle = self.attached.remove(&found)?;
        // A device that was replaced under its name took our program with it.
        if let Handle::Link(path) = &handle
            && index_of(&wanted.interface)
                .is_none_or(|index| *path != self.pins.link(found.hook.link_name(), index))
        {
            return None;
        }
        Some((found, handle))
    }

    fn attach_one(&mut self, wanted: &Attachment) -> Result<(Attachment, Handle), DatapathError> {
        let interface = wanted.interface.as_str();
        let error = |reason: String| DatapathError::Attach {
            program: wanted.hook.program(),
            interface: interface.to_owned(),
            reason,
        };
        let index = index_of(interface)
            .ok_or_else(|| error("there is no such interface; correct it in the node file".into()))?;
        let (ebpf, pins) = (&mut self.ebpf, &self.pins);
        let done = |hook: Hook| {
            let attachment = Attachment { interface: interface.to_owned(), hook };
            (attachment, Handle::Link(pins.link(hook.link_name(), index)))
        };
        let native = |ebpf: &mut Ebpf| attach_xdp(ebpf, pins, interface, index, Hook::Xdp);
        match wanted.hook {
            Hook::XdpElseTc => match native(ebpf) {
                Ok(()) => Ok(done(Hook::Xdp)),
                Err(reason) => {
                    log::info!("{interface}: no native XDP ({reason}); unwrapping in TC");
                    self.attach_one(&Attachment { interface: interface.to_owned(), hook: Hook::TcIngress })
                }
            },
            Hook::Xdp | Hook::XdpGeneric => match native(ebpf) {
                Ok(()) => Ok(done(Hook::Xdp)),
                Err(reason) => {
                    attach_xdp(ebpf, pins, interface, index, Hook::XdpGeneric)
                        .map_err(|generic| error(format!("native: {reason}; generic: {generic}")))?;
                    log::warn!(
                        "{interface}: no native XDP ({reason}); using generic XDP, which costs several times as much per packet"
                    );
                    Ok(done(Hook::XdpGeneric))
                }
            },
            hook if has_tcx() => {
                attach_tcx(ebpf, pins, interface, index, hook).map_err(error)?;
                Ok(done(hook))
            }
            hook => {
                attach_filter(ebpf, interface, hook).map_err(error)?;
                Ok((wanted.clone(), Handle::Filter))
            }
        }
    }
}

/// Whether TC programs attach by link.
fn has_tcx() -> bool {
    KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(6, 6, 0))
}

fn attach_xdp(
    ebpf: &mut Ebpf,
    pins: &PinDirectory,
    interface: &str,
    index: u32,
    hook: Hook,
) -> Result<(), String> {
    let program = xdp(ebpf).map_err(|error| error.to_string())?;
    let mode = if hook == Hook::XdpGeneric { XdpMode::Skb } else { XdpMode::Driver };
    let pin = pins.link(hook.link_name(), index);
    if let Some(link) = pinned(&pin)
        && let Ok(link) = link.try_into()
        && program.attach_to_link(link).is_ok()
    {
        return Ok(());
    }
    let _ = fs::remove_file(&pin);
    let id = program.attach(interface, mode).map_err(|error| reason(&error))?;
    let link = program.take_link(id).map_err(|error| reason(&error))?;
    pin_link(link.try_into(), &pin)
}

fn attach_tcx(
    ebpf: &mut Ebpf,
    pins: &PinDirectory,
    interface: &str,
    index: u32,
    hook: Hook,
) -> Result<(), String> {
    let program = classifier(ebpf, hook).map_err(|error| error.to_string())?;
    let pin = pins.link(hook.link_name(), index);
    if let Some(link) = pinned(&pin)
        && let Ok(link) = link.try_into()
        && program.attach_to_link(link).is_ok()
    {
        return Ok(());
    }
    let _ = fs::remove_file(&pin);
    let id = program
        .attach_with_options(interface, hook.direction(), TcAttachOptions::TcxOrder(LinkOrder::default()))
        .map_err(|error| reason(&error))?;
    let link = program.take_link(id).map_err(|error| reason(&error))?;
    pin_link(link.try_into(), &pin)
}

fn attach_filter(ebpf: &mut Ebpf, interface: &str, hook: Hook) -> Result<(), String> {
    match tc::qdisc_add_clsact(interface) {
        Ok(()) | Err(tc::TcError::AlreadyAttached) => {}
        // The netlink error of an existing qdisc; where it is another one, attaching says so below.
        Err(error) => log::debug!("{interface}: add clsact: {}", reason(&error)),
    }
    let program = classifier(ebpf, hook).map_err(|error| error.to_string())?;
    let replaced =
        SchedClassifierLink::attached(interface, hook.direction(), FILTER_PRIORITY, FILTER_HANDLE, None)
            .map_err(|error| reason(&error))
            .and_then(|link| program.attach_to_link(link).map_err(|error| reason(&error)));
    let id = match replaced {
        Ok(id) => id,
        Err(_) => program
            .attach_with_options(
                interface,
                hook.direction(),
                TcAttachOptions::Netlink(NlOptions {
                    priority: FILTER_PRIORITY,
                    handle: FILTER_HANDLE,
                    classid: None,
                }),
            )
            .map_err(|error| reason(&error))?,
    };
    // Dropping the link would detach it; the filter is to outlive us.
    std::mem::forget(program.take_link(id).map_err(|error| reason(&error))?);
    Ok(())
}

fn detach_filter(interface: &str, hook: Hook) -> Result<(), DatapathError> {
    let link =
        SchedClassifierLink::attached(interface, hook.direction(), FILTER_PRIORITY, FILTER_HANDLE, None);
    // Dropping detaches; a filter that is gone already needs nothing.
    drop(link);
    Ok(())
}

/// Detaches the clsact filters of every interface: what `unload` must do on kernels before 6.6, where no pin says
/// which interfaces there were.
pub(super) fn detach_filters() -> Result<(), DatapathError> {
    if has_tcx() {
        return Ok(());
    }
    for interface in interfaces() {
        for hook in [Hook::TcIngress, Hook::TcEgress] {
            detach_filter(&interface, hook)?;
        }
    }
    Ok(())
}

fn pinned(path: &PathBuf) -> Option<FdLink> {
    PinnedLink::from_pin(path).ok().map(FdLink::from)
}

fn pin_link<E: std::error::Error>(link: Result<FdLink, E>, path: &PathBuf) -> Result<(), String> {
    let pinned = link.map_err(|error| reason(&error))?.pin(path).map_err(|error| reason(&error))?;
    drop(pinned);
    Ok(())
}

fn xdp(ebpf: &mut Ebpf) -> Result<&mut Xdp, DatapathError> {
    program(ebpf, Hook::Xdp)
}

fn classifier(ebpf: &mut Ebpf, hook: Hook) -> Result<&mut SchedClassifier, DatapathError> {
    program(ebpf, hook)
}

fn program<'a, P>(ebpf: &'a mut Ebpf, hook: Hook) -> Result<&'a mut P, DatapathError>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    ebpf.program_mut(hook.program())
        .ok_or_else(|| DatapathError::Load(format!("the eBPF object has no program {}", hook.program())))?
        .try_into()
        .map_err(DatapathError::load)
}

/// The index of an interface of this network namespace.
fn index_of(interface: &str) -> Option<u32> {
    let name = CString::new(interface).ok()?;
    // SAFETY: a string that ends with NUL.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index != 0).then_some(index)
}

/// The interfaces of this network namespace.
fn interfaces() -> Vec<String> {
    // SAFETY: no arguments; the list is freed below.
    let list = unsafe { libc::if_nameindex() };
    if list.is_null() {
        return Vec::new();
    }
    let mut names = Vec::new();
    let mut entry = list;
    // SAFETY: the list ends with an entry whose name is null; names are strings that end with NUL.
    unsafe {
        while !(*entry).if_name.is_null() {
            names.push(CStr::from_ptr((*entry).if_name).to_string_lossy().into_owned());
            entry = entry.add(1);
        }
        libc::if_freenameindex(list);
    }
    names
}
