//! Where a function is called.

use crate::config::ErrorFamily::IllegalParam;
use crate::config::decode::{At, Head, Report};
use crate::config::resolve::rules::{PRIVATE_RANGES_TEXT, is_private};
use crate::model::FunctionTrigger;
use std::net::Ipv4Addr;
use std::num::NonZeroU16;

/// Where connections to a trigger go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) ip: Ipv4Addr,
    pub(super) port: NonZeroU16,
}

/// `http://ADDRESS[:PORT][/PREFIX]` or `https://...`.
pub(super) fn parse_trigger(
    head: &Head,
    url: &At<String>,
    report: &mut Report<'_>,
) -> Option<(FunctionTrigger, Target)> {
    parse(&url.value)
        .map_err(|rule| {
            report.error(
                head.code(IllegalParam, "trigger"),
                url.at,
                &head.subject,
                format!("trigger {:?}", url.value),
                rule,
                "write http://ADDRESS:PORT/PATH or https://ADDRESS:PORT/PATH with a private IPv4 address",
            );
        })
        .ok()
}

fn parse(url: &str) -> Result<(FunctionTrigger, Target), String> {
    let (scheme, rest) = url.split_once("://").ok_or("not a URL")?;
    let tls = match scheme {
        "http" => false,
        "https" => true,
        _ => return Err("the scheme is neither http nor https".to_owned()),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let ip: Ipv4Addr = host.parse().map_err(|_| {
        "the host is no IPv4 address: names are not looked up, so that every probe and request goes to one place"
    })?;
    if !is_private(ip) {
        return Err(format!("{ip} is not a private address, of {PRIVATE_RANGES_TEXT}"));
    }
    let is_digits = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit());
    let port = match port {
        Some(port) => Some(port).filter(is_digits).and_then(|port| port.parse().ok()),
        None => NonZeroU16::new(if tls { 443 } else { 80 }),
    };
    let port = port.ok_or("the port is outside 1 to 65535")?;
    let is_fine = |c: char| c.is_ascii_graphic() && !"?#\"<>\\^`{|}".contains(c);
    if !path.chars().all(is_fine) {
        return Err("the path holds a query, a fragment, or what no path may hold".to_owned());
    }
    let trigger = FunctionTrigger {
        tls,
        authority: authority.to_owned(),
        path_prefix: path.trim_end_matches('/').to_owned(),
    };
    Ok((trigger, Target { ip, port }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<(bool, String, String, String), String> {
        let (trigger, Target { ip, port }) = parse(url)?;
        Ok((trigger.tls, format!("{ip}:{port}"), trigger.authority, trigger.path_prefix))
    }

    #[test]
    fn reads_address_port_and_prefix() {
        let expect = |tls, target: &str, authority: &str, prefix: &str| {
            Ok((tls, target.to_owned(), authority.to_owned(), prefix.to_owned()))
        };
        assert_eq!(read("http://10.0.0.1"), expect(false, "10.0.0.1:80", "10.0.0.1", ""));
        assert_eq!(read("https://10.0.0.1/"), expect(true, "10.0.0.1:443", "10.0.0.1", ""));
        assert_eq!(
            read("http://10.0.0.1:9000/a/b/"),
            expect(false, "10.0.0.1:9000", "10.0.0.1:9000", "/a/b")
        );
        assert_eq!(read("http://10.0.0.1:65535"), expect(false, "10.0.0.1:65535", "10.0.0.1:65535", ""));
    }

    #[test]
    fn refuses_what_is_not_one_private_place() {
        for (url, rule) in [
            ("10.0.0.1", "not a URL"),
            ("ftp://10.0.0.1", "scheme"),
            ("http://fn.example.com/", "names are not looked up"),
            ("http://user@10.0.0.1/", "no IPv4 address"),
            ("http://[fd00::1]/", "no IPv4 address"),
            ("http://8.8.8.8/", "not a private address"),
            ("http://10.0.0.1:0/", "port"),
            ("http://10.0.0.1:65536/", "port"),
            ("http://10.0.0.1:+80/", "port"),
            ("http://10.0.0.1:/", "port"),
            ("http://10.0.0.1/a?b", "query"),
            ("http://10.0.0.1/a b", "path"),
        ] {
            assert!(parse(url).unwrap_err().contains(rule), "{url}: {:?}", parse(url));
        }
    }
}
