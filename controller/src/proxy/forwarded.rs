//! What servers are told of the client and the listener, beside X-Forwarded-For (LR-41 to LR-43).

use super::client::Origin;
use super::http1::head::RequestHead;
use super::http1::rewrite::push_number;
use crate::model::ForwardedHeaders;

/// Names of the lines that are ours to write: those of the client end here (LR-43). In lower case.
pub fn names(headers: &ForwardedHeaders) -> Vec<Box<[u8]>> {
    let switched = [
        (headers.proto, "x-forwarded-proto"),
        (headers.slb_id, "slb-id"),
        (headers.port, "x-forwarded-port"),
        (headers.host, "x-forwarded-host"),
        (headers.client_port, "x-forwarded-client-srcport"),
    ];
    let named = [
        &headers.certificate_subject,
        &headers.certificate_issuer,
        &headers.certificate_fingerprint,
        &headers.certificate_verify,
    ];
    let switched = switched.into_iter().filter(|(on, _)| *on).map(|(_, name)| name.to_owned());
    let named = named.into_iter().flatten().map(|name| name.to_ascii_lowercase());
    switched.chain(named).map(|name| name.into_bytes().into_boxed_slice()).collect()
}

/// Appends the lines that are switched on. `head` is what `request` was parsed from.
pub fn push_lines(
    out: &mut Vec<u8>,
    headers: &ForwardedHeaders,
    load_balancer: &str,
    origin: &Origin,
    request: &RequestHead,
    head: &[u8],
) {
    if headers.proto {
        out.extend_from_slice(b"X-Forwarded-Proto: ");
        out.extend_from_slice(origin.scheme().as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    if headers.slb_id {
        push_line(out, b"SLB-ID", load_balancer.as_bytes());
    }
    if headers.port {
        push_port(out, b"X-Forwarded-Port: ", origin.vip.port());
    }
    if headers.host {
        let asked = request.authority.unwrap_or(request.host).of(head);
        if !asked.is_empty() {
            push_line(out, b"X-Forwarded-Host", asked);
        }
    }
    if headers.client_port {
        push_port(out, b"X-Forwarded-Client-srcport: ", origin.peer.port());
    }
    let certificate = origin.tls.as_ref().and_then(|tls| tls.client_certificate.as_ref());
    if let Some(certificate) = certificate {
        let told = [
            (&headers.certificate_subject, certificate.subject.as_bytes()),
            (&headers.certificate_issuer, certificate.issuer.as_bytes()),
            (&headers.certificate_fingerprint, certificate.fingerprint.as_bytes()),
        ];
        for (name, value) in told {
            if let Some(name) = name {
                push_line(out, name.as_bytes(), value);
            }
        }
    }
    if let Some(name) = &headers.certificate_verify {
        push_line(out, name.as_bytes(), if certificate.is_some() { b"SUCCESS" } else { b"NONE" });
    }
}

fn push_port(out: &mut Vec<u8>, name: &[u8], port: u16) {
    out.extend_from_slice(name);
    push_number(out, u64::from(port));
    out.extend_from_slice(b"\r\n");
}

/// Appends a header line; bytes that a value cannot hold become `?`, since a name in a certificate can hold anything.
pub fn push_line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend(value.iter().map(|&byte| if byte < 0x20 || byte == 0x7f { b'?' } else { byte }));
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::client::HttpVersion;
    use crate::proxy::tls::{ClientCertificate, TlsSession};
    use std::sync::Arc;

    fn origin() -> Origin {
        let (peer, vip) = ("192.0.2.1:40001".parse().unwrap(), "198.51.100.1:8443".parse().unwrap());
        Origin::new(peer, vip, Arc::default(), HttpVersion::Http1)
    }

    fn over_tls(client_certificate: Option<ClientCertificate>) -> Origin {
        origin().over_tls(TlsSession {
            is_http2: false,
            version: "TLSv1.3",
            cipher: "TLS_AES_128_GCM_SHA256",
            server_name: None,
            is_resumed: false,
            client_certificate: client_certificate.map(Box::new),
        })
    }

    fn certificate() -> ClientCertificate {
        ClientCertificate { subject: "CN=alice".into(), issuer: "CN=ca".into(), fingerprint: "0123".into() }
    }

    fn of_certificates() -> ForwardedHeaders {
        ForwardedHeaders {
            certificate_subject: Some("X-Subject".into()),
            certificate_issuer: Some("X-Issuer".into()),
            certificate_fingerprint: Some("X-Fingerprint".into()),
            certificate_verify: Some("X-Verify".into()),
            ..ForwardedHeaders::default()
        }
    }

    fn lines(headers: &ForwardedHeaders, origin: &Origin, request: &str) -> String {
        let mut head = RequestHead::default();
        head.parse(request.as_bytes()).unwrap().expect("complete");
        let mut out = Vec::new();
        push_lines(&mut out, headers, "lb-1", origin, &head, request.as_bytes());
        String::from_utf8(out).unwrap()
    }

    const REQUEST: &str = "GET / HTTP/1.1\r\nHost: www.example.com:81\r\n\r\n";

    // Holds LR-41
    #[test]
    fn every_line_is_written_where_it_alone_is_switched_on() {
        let off = ForwardedHeaders::default;
        let switched = [
            (ForwardedHeaders { proto: true, ..off() }, "X-Forwarded-Proto: http"),
            (ForwardedHeaders { slb_id: true, ..off() }, "SLB-ID: lb-1"),
            (ForwardedHeaders { port: true, ..off() }, "X-Forwarded-Port: 8443"),
            (ForwardedHeaders { host: true, ..off() }, "X-Forwarded-Host: www.example.com:81"),
            (ForwardedHeaders { client_port: true, ..off() }, "X-Forwarded-Client-srcport: 40001"),
        ];
        for (headers, line) in &switched {
            assert_eq!(lines(headers, &origin(), REQUEST), format!("{line}\r\n"));
            // The client's own ends here, and nothing else of it (LR-43).
            let name = line.split(':').next().unwrap().to_ascii_lowercase();
            assert_eq!(names(headers), [name.into_bytes().into_boxed_slice()]);
        }
        assert_eq!(lines(&off(), &origin(), REQUEST), "");
        assert!(names(&off()).is_empty());
        assert_eq!(lines(&switched[0].0, &over_tls(None), REQUEST), "X-Forwarded-Proto: https\r\n");
        let host = &switched[3].0;
        assert_eq!(lines(host, &origin(), "GET http://a:82/ HTTP/1.0\r\n\r\n"), "X-Forwarded-Host: a:82\r\n");
        assert_eq!(lines(host, &origin(), "GET / HTTP/1.0\r\n\r\n"), "");
    }

    // Holds LR-42
    #[test]
    fn a_client_certificate_is_told_under_the_names_given() {
        assert_eq!(
            lines(&of_certificates(), &over_tls(Some(certificate())), REQUEST),
            "X-Subject: CN=alice\r\nX-Issuer: CN=ca\r\nX-Fingerprint: 0123\r\nX-Verify: SUCCESS\r\n"
        );
        for origin in [over_tls(None), origin()] {
            assert_eq!(lines(&of_certificates(), &origin, REQUEST), "X-Verify: NONE\r\n");
        }
        let expected = ["x-subject", "x-issuer", "x-fingerprint", "x-verify"];
        assert_eq!(names(&of_certificates()), expected.map(|name| Box::from(name.as_bytes())));
    }

    #[test]
    fn what_a_value_cannot_hold_is_replaced() {
        for byte in 0..=255 {
            let mut out = Vec::new();
            push_line(&mut out, b"A", &[b'x', byte]);
            let written = if byte < b' ' || byte == 0x7f { b'?' } else { byte };
            assert_eq!(out, [b'A', b':', b' ', b'x', written, b'\r', b'\n']);
        }
    }
}
