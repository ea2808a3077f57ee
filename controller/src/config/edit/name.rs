//! How an operator names a server: `172.16.1.20:80`, `ecs:i-web1:80`, `fc:ARN`.

use crate::model::{Server, ServerAddress, ServerId, Weight};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

/// What names look like, for messages.
pub(super) const FORMS: &str =
    "ADDRESS:PORT, ecs:ID:PORT, eni:ID:PORT, eci:ID:PORT, fc:ARN or fc:NAME/VERSION";
/// What the ARNs of functions begin with.
pub(super) const ARN_PREFIX: &str = "acs:";

/// A server as an operator names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ServerName {
    /// By address.
    Address { ip: IpAddr, port: Option<u32> },
    /// By id in the inventory; `ip` tells one address of it from the others.
    Inventory { kind: InventoryKind, id: String, ip: Option<IpAddr>, port: Option<u32> },
    /// A function, by ARN or name, perhaps with its version or alias.
    Function { arn: String },
}

/// Kinds of inventory entries that have addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InventoryKind {
    Ecs,
    Eni,
    Eci,
}

impl InventoryKind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ecs => "ecs",
            Self::Eni => "eni",
            Self::Eci => "eci",
        }
    }
}

impl ServerName {
    /// `None` if `text` has none of the [`FORMS`].
    pub(super) fn parse(text: &str) -> Option<ServerName> {
        let kinds = [InventoryKind::Ecs, InventoryKind::Eni, InventoryKind::Eci];
        if let Some((prefix, rest)) = text.split_once(':') {
            if prefix == "fc" {
                return (!rest.is_empty()).then(|| ServerName::Function { arn: rest.to_owned() });
            }
            if let Some(kind) = kinds.into_iter().find(|kind| kind.as_str() == prefix) {
                let (id, ip, port) = inventory_parts(rest)?;
                return Some(ServerName::Inventory { kind, id: id.to_owned(), ip, port });
            }
        }
        let (ip, port) = address_and_port(text)?;
        Some(ServerName::Address { ip, port })
    }

    pub(super) fn port(&self) -> Option<u32> {
        match self {
            Self::Address { port, .. } | Self::Inventory { port, .. } => *port,
            Self::Function { .. } => None,
        }
    }

    /// The same with `port`, where it has none of its own.
    pub(super) fn with_port(mut self, given: Option<u32>) -> ServerName {
        if let Self::Address { port, .. } | Self::Inventory { port, .. } = &mut self {
            *port = port.or(given);
        }
        self
    }

    /// Whether it may mean `server`: what is left out of a name fits everything.
    pub(super) fn fits(&self, server: &Server) -> bool {
        let fits_port =
            |port: &Option<u32>| port.is_none_or(|port| port == u32::from(server.address.port.get()));
        match (self, &server.id) {
            // A function's address is none that an operator would know.
            (Self::Address { .. }, ServerId::Fc(_)) => false,
            (Self::Address { ip, port }, _) => *ip == server.address.ip && fits_port(port),
            (Self::Inventory { kind, id, ip, port }, of_server) => {
                inventory_id(of_server) == Some((*kind, id.as_str()))
                    && ip.is_none_or(|ip| ip == server.address.ip)
                    && fits_port(port)
            }
            (Self::Function { arn }, ServerId::Fc(of_server)) => fits_function(arn, of_server),
            (Self::Function { .. }, _) => false,
        }
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = match self.port() {
            Some(port) => format!(":{port}"),
            None => String::new(),
        };
        match self {
            Self::Address { ip, .. } => write!(f, "{}{port}", host(*ip, !port.is_empty())),
            Self::Inventory { kind, id, ip, .. } => {
                let at = ip.map_or(String::new(), |ip| format!("@{}", host(ip, !port.is_empty())));
                write!(f, "{}:{id}{at}{port}", kind.as_str())
            }
            Self::Function { arn } => write!(f, "fc:{arn}"),
        }
    }
}

/// Whether `text`, an ARN or `NAME[/QUALIFIER]`, may mean the function of `arn`, which has a version or alias.
fn fits_function(text: &str, arn: &str) -> bool {
    if text.starts_with(ARN_PREFIX) {
        return text == arn || text == unqualified_arn(arn);
    }
    let (name, qualifier) = match text.split_once('/') {
        Some((name, qualifier)) => (name, Some(qualifier)),
        None => (text, None),
    };
    let named = unqualified_arn(arn).rsplit('/').next().is_some_and(|last| last == name);
    named
        && qualifier.is_none_or(|qualifier| {
            arn.ends_with(&format!("/{name}/{qualifier}"))
                || arn.contains(&format!(".{qualifier}/functions/"))
        })
}

/// `arn` of a function without its version or alias: `.../functions/NAME/2` and `.../services/SERVICE.2/functions/NAME`
/// have one.
pub fn unqualified_arn(arn: &str) -> String {
    let Some((before, function)) = arn.split_once("functions/") else { return arn.to_owned() };
    let before = match before.rsplit_once('.') {
        Some((service, _)) if before.contains(":services/") => format!("{service}/"),
        _ => before.to_owned(),
    };
    let name = function.split('/').next().unwrap_or(function);
    format!("{before}functions/{name}")
}

/// Whether an operator may mean by `name` the server of that id (`ecs:i-web1`, or none) and address, as they are shown.
pub fn names_server(name: &str, id: Option<&str>, address: SocketAddr) -> bool {
    let id = match id.and_then(|id| id.split_once(':')) {
        Some(("ecs", id)) => ServerId::Ecs(id.to_owned()),
        Some(("eni", id)) => ServerId::Eni(id.to_owned()),
        Some(("eci", id)) => ServerId::Eci(id.to_owned()),
        Some(("fc", arn)) => ServerId::Fc(arn.to_owned()),
        _ => ServerId::Ip,
    };
    let (Some(name), Some(port)) = (ServerName::parse(name), NonZeroU16::new(address.port())) else {
        return false;
    };
    let address = ServerAddress { ip: address.ip(), port };
    name.fits(&Server { id, ..Server::new(address, Weight::MAX) })
}

/// A member of a group, named so that an operator could type it.
pub fn server_name(server: &Server) -> String {
    let port = server.address.port;
    match (&server.id, inventory_id(&server.id)) {
        (ServerId::Fc(arn), _) => format!("fc:{arn}"),
        (_, Some((kind, id))) => format!("{}:{id}@{}:{port}", kind.as_str(), host(server.address.ip, true)),
        _ => server.address.to_string(),
    }
}

fn inventory_id(id: &ServerId) -> Option<(InventoryKind, &str)> {
    match id {
        ServerId::Ecs(id) => Some((InventoryKind::Ecs, id)),
        ServerId::Eni(id) => Some((InventoryKind::Eni, id)),
        ServerId::Eci(id) => Some((InventoryKind::Eci, id)),
        ServerId::Ip | ServerId::Fc(_) => None,
    }
}

/// An IPv6 address needs brackets before a port.
fn host(ip: IpAddr, has_port: bool) -> String {
    match ip {
        IpAddr::V6(ip) if has_port => format!("[{ip}]"),
        ip => ip.to_string(),
    }
}

/// `ID[@ADDRESS][:PORT]`.
fn inventory_parts(text: &str) -> Option<(&str, Option<IpAddr>, Option<u32>)> {
    let (id, ip, port) = match text.split_once('@') {
        Some((id, address)) => {
            let (ip, port) = address_and_port(address)?;
            (id, Some(ip), port)
        }
        None => match text.split_once(':') {
            Some((id, port)) => (id, None, Some(port.parse().ok()?)),
            None => (text, None, None),
        },
    };
    (!id.is_empty()).then_some((id, ip, port))
}

/// `ADDRESS[:PORT]`, an IPv6 address in brackets where a port follows.
fn address_and_port(text: &str) -> Option<(IpAddr, Option<u32>)> {
    if let Ok(ip) = text.parse() {
        return Some((ip, None));
    }
    if let Some((ip, rest)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let ip: std::net::Ipv6Addr = ip.parse().ok()?;
        let port = match rest {
            "" => None,
            rest => Some(rest.strip_prefix(':')?.parse().ok()?),
        };
        return Some((ip.into(), port));
    }
    let (ip, port) = text.split_once(':')?;
    let ip: std::net::Ipv4Addr = ip.parse().ok()?;
    Some((ip.into(), Some(port.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form_of_a_server_s_name_and_writes_it_alike() {
        for text in [
            "172.16.1.20:80",
            "172.16.1.20",
            "[fd00:16:1::20]:80",
            "fd00:16:1::20",
            "ecs:i-web1:80",
            "ecs:i-web1",
            "eni:eni-1@172.16.1.20:80",
            "eni:eni-1@[fd00:16:1::20]:80",
            "eci:eci-1:8080",
            "fc:acs:fc:cn-chengdu:123:functions/hello",
            "172.16.1.20:70000",
        ] {
            let name = ServerName::parse(text).unwrap_or_else(|| panic!("{text} should be a name"));
            assert_eq!(name.to_string(), text);
        }
        assert_eq!(ServerName::parse("[fd00::1]").unwrap().to_string(), "fd00::1");
    }

    #[test]
    fn tells_which_server_is_meant_by_what_is_shown_of_it() {
        let address = "172.16.1.20:80".parse().unwrap();
        let means = |name, id| names_server(name, id, address);
        for name in ["172.16.1.20:80", "172.16.1.20"] {
            assert!(
                means(name, None) && means(name, Some("ecs:i-web1")) && !means(name, Some("fc:acs:fc:x")),
                "{name}"
            );
        }
        for name in ["ecs:i-web1", "ecs:i-web1:80", "ecs:i-web1@172.16.1.20:80", "ecs:i-web1@172.16.1.20"] {
            assert!(means(name, Some("ecs:i-web1")), "{name}");
            for other in [None, Some("ecs:i-web2"), Some("eci:i-web1"), Some("eni:i-web1")] {
                assert!(!means(name, other), "{name} is not {other:?}");
            }
        }
        for name in ["172.16.1.20:81", "172.16.1.21:80", "ecs:i-web1:81", "ecs:i-web1@172.16.1.21:80", "web"]
        {
            assert!(!means(name, Some("ecs:i-web1")), "{name}");
        }
    }

    #[test]
    fn finds_functions_by_arn_or_name_with_or_without_their_version() {
        let new = "fc:acs:fc:chengdu:1234:functions/resize/prod";
        let old = "fc:acs:fc:chengdu:1234:services/img.v1.1/functions/hook";
        let means = |name, id| names_server(name, Some(id), "172.16.1.50:9000".parse().unwrap());
        for name in [new, "fc:acs:fc:chengdu:1234:functions/resize", "fc:resize", "fc:resize/prod"] {
            assert!(means(name, new) && !means(name, old), "{name}");
        }
        for name in [old, "fc:acs:fc:chengdu:1234:services/img.v1/functions/hook", "fc:hook", "fc:hook/1"] {
            assert!(means(name, old) && !means(name, new), "{name}");
        }
        for name in [
            "fc:resize/2",
            "fc:size",
            "fc:acs:fc:chengdu:1234:functions/resize/2",
            "fc:hook/2",
            "172.16.1.50:9000",
        ] {
            assert!(!means(name, new) && !means(name, old), "{name}");
        }
    }

    #[test]
    fn refuses_what_names_no_server() {
        for text in [
            "",
            "web",
            "web:80",
            "172.16.1.20:",
            "172.16.1.20:x",
            "172.16.1:80",
            "[fd00::1]80",
            "[fd00::1",
            "ecs:",
            "ecs::80",
            "ecs:i:x",
            "eni:e@:80",
            "eni:@1.2.3.4:80",
            "fc:",
            "slb:x:80",
            "172.16.1.20:-1",
        ] {
            assert_eq!(ServerName::parse(text), None, "{text}");
        }
    }
}
