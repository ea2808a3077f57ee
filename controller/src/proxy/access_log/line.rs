//! A request's record as a line of JSON.

use super::{ErrorSource, HEADER_BYTES_MAX, HEADERS_BYTES_MAX, Record, Subject};
use crate::proxy::http1::rewrite::push_number;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::{SystemTime, UNIX_EPOCH};

/// Wall time from the monotonic one, with the second's text kept.
#[derive(Default)]
pub(super) struct WallClock {
    /// Monotonic nanoseconds at which the current second began, and its text.
    second_start: u64,
    text: [u8; 19],
    millisecond: u64,
}

impl WallClock {
    pub(super) fn advance(&mut self, now: u64) {
        if self.second_start == 0 || now.wrapping_sub(self.second_start) >= 1_000_000_000 {
            let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.second_start = now.saturating_sub(u64::from(wall.subsec_nanos())).max(1);
            self.text = date_text(wall.as_secs());
        }
        self.millisecond = (now - self.second_start) / 1_000_000;
    }
}

/// `2026-11-21T07:30:46` of seconds since 1970, UTC.
fn date_text(seconds: u64) -> [u8; 19] {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days to civil date by 400-year eras that begin in March, so that the leap day is last.
    let day = days + 719_468;
    let era_day = day % 146_097;
    let era_year = (era_day - era_day / 1_460 + era_day / 36_524 - era_day / 146_096) / 365;
    let year_day = era_day - (365 * era_year + era_year / 4 - era_year / 100);
    let march_month = (5 * year_day + 2) / 153;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = day / 146_097 * 400 + era_year + u64::from(month <= 2);
    let month_day = year_day - (153 * march_month + 2) / 5 + 1;
    let mut text = *b"0000-00-00T00:00:00";
    let mut put = |at: usize, digits: usize, mut number: u64| {
        for place in (at..at + digits).rev() {
            text[place] = b'0' + (number % 10) as u8;
            number /= 10;
        }
    };
    put(0, 4, year);
    put(5, 2, month);
    put(8, 2, month_day);
    put(11, 2, second / 3600);
    put(14, 2, second / 60 % 60);
    put(17, 2, second % 60);
    text
}

pub(super) fn write_line(
    out: &mut Vec<u8>,
    clock: &WallClock,
    subject: &Subject<'_>,
    record: &Record,
    now: u64,
) {
    out.extend_from_slice(b"{\"__topic__\":\"alb_layer7_access_log\",\"time\":\"");
    out.extend_from_slice(&clock.text);
    out.push(b'.');
    let ms = clock.millisecond;
    out.extend_from_slice(&[
        b'0' + (ms / 100 % 10) as u8,
        b'0' + (ms / 10 % 10) as u8,
        b'0' + (ms % 10) as u8,
    ]);
    for (name, value) in [
        (&b"Z\",\"app_lb_id\":\""[..], subject.load_balancer),
        (b"\",\"listener\":\"", subject.listener),
        (b"\",\"rule\":\"", subject.rule),
        (b"\",\"action\":\"", subject.action),
        (b"\",\"server_group\":\"", subject.group),
    ] {
        out.extend_from_slice(name);
        escape(out, if value.is_empty() { b"-" } else { value.as_bytes() });
    }
    out.extend_from_slice(b"\",\"client_ip\":\"");
    out.extend_from_slice(subject.client_text);
    out.extend_from_slice(b"\",\"client_port\":");
    push_number(out, u64::from(subject.client.port()));
    out.extend_from_slice(b",\"vip_addr\":\"");
    push_address(out, subject.vip.ip());
    out.extend_from_slice(b"\",\"slb_vport\":");
    push_number(out, u64::from(subject.vip.port()));
    for (name, value) in [
        (&b",\"scheme\":\""[..], subject.scheme),
        (b"\",\"ssl_protocol\":\"", subject.ssl_protocol),
        (b"\",\"ssl_cipher\":\"", subject.ssl_cipher),
        (b"\",\"server_protocol\":\"", subject.protocol),
    ] {
        out.extend_from_slice(name);
        out.extend_from_slice(if value.is_empty() { b"-" } else { value.as_bytes() });
    }
    for (name, value) in [
        (&b"\",\"request_method\":\""[..], subject.method),
        (b"\",\"request_uri\":\"", subject.target),
        (b"\",\"host\":\"", subject.host),
        (b"\",\"http_host\":\"", subject.host),
        (b"\",\"http_referer\":\"", subject.referer),
        (b"\",\"http_user_agent\":\"", subject.user_agent),
        (b"\",\"http_x_forwarded_for\":\"", subject.x_forwarded_for),
        (b"\",\"http_x_real_ip\":\"", subject.x_real_ip),
    ] {
        out.extend_from_slice(name);
        if value.is_empty() {
            out.push(b'-');
        } else {
            escape(out, value);
        }
    }
    out.extend_from_slice(b"\",\"status\":");
    push_number(out, u64::from(record.status));
    out.extend_from_slice(b",\"upstream_status\":\"");
    match record.upstream_status {
        0 => out.push(b'-'),
        status => push_number(out, u64::from(status)),
    }
    out.extend_from_slice(b"\",\"upstream_addr\":\"");
    match record.upstream {
        None => out.push(b'-'),
        Some(address) => push_socket_address(out, address),
    }
    out.extend_from_slice(b"\",\"local_addr\":\"");
    match record.local {
        None => out.push(b'-'),
        Some(address) => push_address(out, address),
    }
    out.extend_from_slice(b"\",\"upstream_reused\":");
    out.extend_from_slice(if record.reused { b"true" } else { b"false" });
    out.extend_from_slice(b",\"retries\":");
    push_number(out, u64::from(record.retries));
    out.extend_from_slice(b",\"scheduler_reason\":\"");
    out.extend_from_slice(if record.reason.is_empty() { b"-" } else { record.reason.as_bytes() });
    out.extend_from_slice(b"\",\"error_source\":\"");
    out.extend_from_slice(match record.error {
        ErrorSource::None => b"-",
        ErrorSource::Client => b"client",
        ErrorSource::Server => b"server",
        ErrorSource::Us => b"us",
    });
    out.extend_from_slice(b"\",\"error\":\"");
    escape(out, if record.cause.is_empty() { b"-" } else { record.cause.as_bytes() });
    out.extend_from_slice(b"\",\"request_length\":");
    push_number(out, record.request_bytes);
    out.extend_from_slice(b",\"body_bytes_sent\":");
    push_number(out, record.body_bytes_sent);
    out.extend_from_slice(b",\"read_request_time\":");
    push_number(out, record.head_read.max(record.start).saturating_sub(record.start) / 1_000_000);
    let since = |earlier: u64, later: u64| (later != 0).then(|| later.saturating_sub(earlier));
    let first = record.upstream_first_byte;
    for (name, time) in [
        (&b",\"upstream_connect_time\":"[..], since(record.upstream_start, record.upstream_connected)),
        (b",\"upstream_response_time\":", since(record.upstream_start, first)),
        (b",\"write_response_time\":", (first != 0).then(|| now.saturating_sub(first))),
    ] {
        out.extend_from_slice(name);
        match time {
            None => out.extend_from_slice(b"\"-\""),
            Some(ns) => push_seconds(out, ns),
        }
    }
    out.extend_from_slice(b",\"tcpinfo_rtt\":");
    match subject.tcpinfo_rtt {
        None => out.extend_from_slice(b"\"-\""),
        Some(rtt) => push_number(out, u64::from(rtt)),
    }
    out.extend_from_slice(b",\"request_time\":");
    push_seconds(out, now.saturating_sub(record.start));
    push_headers(out, subject.headers);
    out.extend_from_slice(b"}\n");
}

/// The headers that the listener records, as an object.
fn push_headers(out: &mut Vec<u8>, headers: &[(&str, &[u8])]) {
    if headers.is_empty() {
        return;
    }
    let mut left = HEADERS_BYTES_MAX;
    for (index, (name, value)) in headers.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b",\"headers\":{\"" } else { b",\"" });
        escape(out, name.as_bytes());
        out.extend_from_slice(b"\":\"");
        let shown = value.len().min(HEADER_BYTES_MAX).min(left);
        left -= shown;
        escape(out, &value[..shown]);
        out.push(b'"');
    }
    out.push(b'}');
}

/// Seconds with three decimals.
fn push_seconds(out: &mut Vec<u8>, ns: u64) {
    let ms = ns / 1_000_000;
    push_number(out, ms / 1000);
    out.push(b'.');
    out.extend_from_slice(&[
        b'0' + (ms / 100 % 10) as u8,
        b'0' + (ms / 10 % 10) as u8,
        b'0' + (ms % 10) as u8,
    ]);
}

/// An address and port, `[..]:port` for IPv6.
pub fn push_socket_address(out: &mut Vec<u8>, address: SocketAddr) {
    match address {
        SocketAddr::V4(_) => push_address(out, address.ip()),
        SocketAddr::V6(_) => {
            out.push(b'[');
            push_address(out, address.ip());
            out.push(b']');
        }
    }
    out.push(b':');
    push_number(out, u64::from(address.port()));
}

/// An address as RFC 5952 writes it.
pub fn push_address(out: &mut Vec<u8>, address: IpAddr) {
    let address = match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => {
            // Writing to a Vec cannot fail.
            let _ = write!(out, "{address}");
            return;
        }
    };
    for (index, octet) in address.octets().into_iter().enumerate() {
        if index > 0 {
            out.push(b'.');
        }
        push_number(out, u64::from(octet));
    }
}

/// Appends the inside of a JSON string. Bytes that are not UTF-8 become U+FFFD.
fn escape(out: &mut Vec<u8>, bytes: &[u8]) {
    let plain = |byte: &u8| matches!(byte, 0x20..=0x7e) && !matches!(byte, b'"' | b'\\');
    if bytes.iter().all(plain) {
        out.extend_from_slice(bytes);
        return;
    }
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                // Both sets of control characters: a log is read in terminals too.
                '\0'..='\x1f' | '\x7f'..='\u{9f}' => {
                    let digit = |nibble: u32| b"0123456789abcdef"[nibble as usize & 15];
                    let code = character as u32;
                    out.extend_from_slice(&[b'\\', b'u', b'0', b'0', digit(code >> 4), digit(code)]);
                }
                _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (1_709_251_199, "2024-02-29T23:59:59"),
            (1_795_246_246, "2026-11-21T07:30:46"),
            (4_107_542_400, "2100-03-01T00:00:00"),
        ] {
            assert_eq!(std::str::from_utf8(&date_text(seconds)).unwrap(), text);
        }
    }

    // Holds LR-54, LR-140, LR-142
    #[test]
    fn lines_are_json_whatever_the_client_sent() {
        let address: SocketAddr = "192.0.2.1:8080".parse().unwrap();
        let long = [b'x'; HEADER_BYTES_MAX + 1];
        let headers: Vec<(&str, &[u8])> =
            ["a", "b", "c", "d", "e"].iter().map(|name| (*name, &long[..])).collect();
        let subject = Subject {
            load_balancer: "lb",
            listener: "we\"b",
            rule: "r",
            action: "forward",
            group: "g",
            scheme: "https",
            ssl_protocol: "TLSv1.3",
            ssl_cipher: "",
            tcpinfo_rtt: Some(17),
            headers: &headers,
            client: address,
            client_text: b"192.0.2.1",
            vip: address,
            method: b"GET",
            target: b"/a\"\\\x01",
            protocol: "HTTP/1.1",
            host: b"h\xff\xc3\xa9",
            referer: b"",
            user_agent: b"a\tb\xc2\x9b\x7f",
            x_forwarded_for: b"",
            x_real_ip: b"",
        };
        let record = Record { status: 200, start: 5, upstream: Some(address), ..Record::default() };
        let mut line = Vec::new();
        let mut clock = WallClock::default();
        clock.advance(2_000_000_000);
        write_line(&mut line, &clock, &subject, &record, 2_345_678_905);
        assert_eq!(line.last(), Some(&b'\n'));
        let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(value["listener"], "we\"b");
        assert_eq!(value["request_uri"], "/a\"\\\u{1}");
        assert_eq!(value["http_host"], "h\u{fffd}é");
        assert_eq!(value["http_user_agent"], "a\tb\u{9b}\u{7f}");
        assert!(
            !line[..line.len() - 1].iter().any(|byte| matches!(byte, 0..0x20 | 0x7f | 0x9b)),
            "no control reaches a terminal"
        );
        assert_eq!(value["http_referer"], "-");
        assert_eq!(value["upstream_status"], "-");
        assert_eq!(value["upstream_addr"], "192.0.2.1:8080");
        assert_eq!(value["request_time"].to_string(), "2.345");
        assert_eq!((&value["scheme"], &value["ssl_cipher"]), (&"https".into(), &"-".into()));
        assert_eq!((&value["tcpinfo_rtt"], &value["upstream_connect_time"]), (&17.into(), &"-".into()));
        let recorded = |name: &str| value["headers"][name].as_str().unwrap().len();
        assert_eq!(["a", "b", "c", "d", "e"].map(recorded), [1024, 1024, 1024, 1024, 0]);
    }
}
