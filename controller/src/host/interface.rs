//! Facts about network interfaces.

use super::apply::Host;
use super::{HostError, kernel};
use futures_util::TryStreamExt;
use ipnet::Ipv4Net;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsRawFd;

/// An Ethernet address.
pub type Mac = [u8; 6];

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its index.
    pub index: u32,
    /// Its Ethernet address; `None` on interfaces without (tun).
    pub mac: Option<Mac>,
    /// Largest IP packet, bytes.
    pub mtu: u32,
    /// Whether it is administratively up.
    pub is_up: bool,
    /// Driver, e.g. `virtio_net`, `veth`; `None` if it has none (lo).
    pub driver: Option<String>,
    /// Its IPv4 addresses with their prefixes, ours included.
    pub addresses: Vec<Ipv4Net>,
}

impl Host {
    /// The interface called `name`.
    pub async fn interface(&self, name: &str) -> Result<Interface, HostError> {
        let index = self.interfaces().await?.index(name)?;
        let mut links = self.handle.link().get().match_index(index).execute();
        let link = links.try_next().await.map_err(kernel(format!("read interface \"{name}\"")))?;
        let link = link.ok_or_else(|| HostError::NoInterface(name.into()))?;
        let mut interface = Interface {
            name: name.into(),
            index,
            mac: None,
            mtu: 0,
            is_up: link.header.flags.contains(LinkFlags::Up),
            driver: driver(name).map_err(|source| HostError::Driver { interface: name.into(), source })?,
            addresses: Vec::new(),
        };
        for attribute in link.attributes {
            match attribute {
                LinkAttribute::Address(bytes) => interface.mac = Mac::try_from(bytes).ok(),
                LinkAttribute::Mtu(mtu) => interface.mtu = mtu,
                _ => {}
            }
        }
        let mut addresses = self.handle.address().get().set_link_index_filter(index).execute();
        while let Some(message) = addresses.try_next().await.map_err(kernel("list addresses"))? {
            for attribute in &message.attributes {
                if let AddressAttribute::Local(IpAddr::V4(address)) = attribute {
                    interface.addresses.extend(Ipv4Net::new(*address, message.header.prefix_len).ok());
                }
            }
        }
        Ok(interface)
    }
}

/// What `struct ethtool_drvinfo` of linux/ethtool.h holds; the names are the kernel's.
#[repr(C)]
struct DriverInfo {
    cmd: u32,
    driver: [u8; 32],
    version: [u8; 32],
    fw_version: [u8; 32],
    bus_info: [u8; 32],
    erom_version: [u8; 32],
    reserved2: [u8; 12],
    counts: [u32; 5],
}

const _: () = assert!(size_of::<DriverInfo>() == 196);

const ETHTOOL_GDRVINFO: u32 = 3;

/// The driver of interface `name`, asked by ioctl: sysfs shows the network namespace it was mounted in, not ours.
fn driver(name: &str) -> io::Result<Option<String>> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    let mut info = DriverInfo {
        cmd: ETHTOOL_GDRVINFO,
        driver: [0; 32],
        version: [0; 32],
        fw_version: [0; 32],
        bus_info: [0; 32],
        erom_version: [0; 32],
        reserved2: [0; 12],
        counts: [0; 5],
    };
    let mut ifr_name = [0; libc::IFNAMSIZ];
    if name.len() >= ifr_name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    let ifr_ifru = libc::__c_anonymous_ifr_ifru { ifru_data: (&raw mut info).cast() };
    let mut request = libc::ifreq { ifr_name, ifr_ifru };
    // SAFETY: SIOCETHTOOL reads an ifreq whose data points to a struct that begins with the command; for
    // ETHTOOL_GDRVINFO the kernel fills an ethtool_drvinfo there, whose layout and size `DriverInfo` has. Both live
    // until the call returns.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) };
    if result < 0 {
        let error = io::Error::last_os_error();
        return if error.raw_os_error() == Some(libc::EOPNOTSUPP) { Ok(None) } else { Err(error) };
    }
    let length = info.driver.iter().position(|byte| *byte == 0).unwrap_or(info.driver.len());
    Ok(Some(String::from_utf8_lossy(&info.driver[..length]).into_owned()).filter(|driver| !driver.is_empty()))
}
