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
