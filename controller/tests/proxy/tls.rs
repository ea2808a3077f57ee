//! HTTPS to servers, whose side is rustls in threads of the test.

use crate::harness::{Balancer, PATIENCE, Server, header};
use controller::proxy::PublishError;
use controller::snapshot::{FunctionSnapshot, UpstreamProtocol, VerificationSnapshot};
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A connection at a server.
struct Connection {
    stream: StreamOwned<ServerConnection, TcpStream>,
    /// How many came before.
    number: usize,
}

impl Connection {
    /// The next request's head; `None` when the balancer closed properly or not.
    fn head(&mut self) -> Option<String> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        Some(String::from_utf8(head).unwrap())
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // The balancer may be gone, which is for the client's side of the test to judge.
        let _ = self.stream.write_all(bytes.as_ref());
        let _ = self.stream.flush();
    }

    fn answer(&mut self, body: &str) {
        self.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    }

    /// Number of the connection, whether its session is an old one, and the name asked for.
    fn describe(&self) -> String {
        let connection = &self.stream.conn;
        format!("{} {:?} {:?}", self.number, connection.handshake_kind().unwrap(), connection.server_name())
    }
}

/// An authority that makes certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn certificate(&self, name: &str) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        (certificate.der().clone(), PrivateKeyDer::Pkcs8(key.serialize_der().into()))
    }

    /// Verification against this authority.
    fn demand(&self, name: Option<&str>) -> UpstreamProtocol {
        UpstreamProtocol::Https {
            verification: Some(VerificationSnapshot {
                ca_certificates: self.0.pem(),
                server_name: name.map(str::to_owned),
            }),
        }
    }
}

const ANY: UpstreamProtocol = UpstreamProtocol::Https { verification: None };

struct TlsServer {
    address: SocketAddr,
    notes: Arc<Mutex<Vec<String>>>,
}

impl TlsServer {
    /// Runs `handle` for each connection in a thread of its own, with a certificate for `name` of an authority of
    /// its own.
    fn new(
        name: &str,
        handle: impl Fn(&mut Connection, &Mutex<Vec<String>>) + Send + Sync + 'static,
    ) -> TlsServer {
        TlsServer::with(Authority::new().certificate(name), rustls::ALL_VERSIONS, handle)
    }

    fn with(
        (certificate, key): (CertificateDer<'static>, PrivateKeyDer<'static>),
        versions: &[&'static SupportedProtocolVersion],
        handle: impl Fn(&mut Connection, &Mutex<Vec<String>>) + Send + Sync + 'static,
    ) -> TlsServer {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let (config, handle) = (Arc::new(config), Arc::new(handle));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let notes = Arc::new(Mutex::new(Vec::new()));
        let shared = notes.clone();
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let (mut stream, handle, notes) = (stream.unwrap(), handle.clone(), shared.clone());
                let mut connection = ServerConnection::new(config.clone()).unwrap();
                std::thread::spawn(move || {
                    stream.set_nodelay(true).unwrap();
                    while connection.is_handshaking() {
                        if connection.complete_io(&mut stream).is_err() {
                            return;
                        }
                    }
                    let stream = StreamOwned::new(connection, stream);
                    handle(&mut Connection { stream, number }, &notes);
                });
            }
        });
        TlsServer { address, notes }
    }

    fn noted(&self) -> Vec<String> {
        self.notes.lock().unwrap().clone()
    }
}

fn balancer(server: &TlsServer, protocol: UpstreamProtocol) -> Balancer {
    Balancer::with(&[server.address], 1, |snapshot| snapshot.groups[0].protocol = protocol)
}

fn describe_and_answer(connection: &mut Connection, notes: &Mutex<Vec<String>>) {
    while connection.head().is_some() {
        notes.lock().unwrap().push(connection.describe());
        connection.answer("secret");
    }
}

// Holds SG-20, SG-27, SG-101
#[test]
fn any_certificate_will_do_and_connections_are_kept() {
    let server = TlsServer::new("elsewhere.example", describe_and_answer);
    let balancer = balancer(&server, ANY);
    for _ in 0..4 {
        assert_eq!(balancer.get("/").text(), "secret");
    }
    // One connection, and no name is sent for an address.
    assert_eq!(server.noted(), ["0 Full None"; 4]);
    assert_eq!(balancer.stats.servers()[&1].connections, 1);
}

// Holds SG-20
#[test]
fn new_connections_resume_sessions_in_either_version() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let certificate = Authority::new().certificate("a.example");
        let server = TlsServer::with(certificate, &[version], describe_and_answer);
        let balancer = Balancer::with(&[server.address], 1, |snapshot| {
            snapshot.groups[0].protocol = ANY;
            snapshot.groups[0].keepalive = false;
        });
        for _ in 0..3 {
            assert_eq!(balancer.get("/").text(), "secret");
        }
        assert_eq!(server.noted(), ["0 Full None", "1 Resumed None", "2 Resumed None"], "{version:?}");
    }
}

// Holds SG-27
#[test]
fn a_demanded_certificate_is_verified_by_authority_and_name() {
    let authority = Authority::new();
    for (certified, demanded, expected) in [
        ("a.example", authority.demand(Some("a.example")), None),
        ("127.0.0.1", authority.demand(None), None),
        ("b.example", authority.demand(Some("a.example")), Some("certificate not valid")),
        ("a.example", authority.demand(None), Some("certificate not valid")),
        ("a.example", Authority::new().demand(Some("a.example")), Some("certificate not valid")),
    ] {
        let certificate = authority.certificate(certified);
        let server = TlsServer::with(certificate, rustls::ALL_VERSIONS, describe_and_answer);
        let balancer = balancer(&server, demanded.clone());
        let status = balancer.get("/").status;
        let case = format!("{certified} {demanded:?}");
        match expected {
            None => assert_eq!(status, 200, "{case}"),
            Some(cause) => {
                assert_eq!(status, 502, "{case}");
                assert_eq!(balancer.stats.servers()[&1].connect_failures, 1);
                let line = balancer.into_log().remove(0);
                assert_eq!(line["error_source"], "server");
                assert!(line["error"].as_str().unwrap().starts_with(cause), "{line}");
                assert_eq!(server.noted(), [""; 0]);
            }
        }
    }
}

// Holds SG-27
#[test]
fn the_name_demanded_is_asked_for() {
    let authority = Authority::new();
    let server =
        TlsServer::with(authority.certificate("a.example"), rustls::ALL_VERSIONS, describe_and_answer);
    let balancer = balancer(&server, authority.demand(Some("a.example")));
    assert_eq!(balancer.get("/").status, 200);
    assert_eq!(server.noted(), ["0 Full Some(\"a.example\")"]);
}

// Holds SG-74
#[test]
fn a_function_is_asked_for_by_its_own_name() {
    let server = TlsServer::new("fc.example.net", |connection, notes| {
        let head = connection.head().unwrap();
        notes.lock().unwrap().extend([connection.describe(), head]);
        connection.answer("called");
    });
    let balancer = Balancer::with(&[server.address], 1, |snapshot| {
        snapshot.groups[0].protocol = ANY;
        let function =
            FunctionSnapshot { authority: "fc.example.net:8443".into(), path_prefix: String::new() };
        snapshot.groups[0].function = Some(function);
    });
    assert_eq!(balancer.get("/").text(), "called");
    let noted = server.noted();
    assert_eq!(noted[0], "0 Full Some(\"fc.example.net\")");
    assert_eq!(header(&noted[1], "host"), Some("fc.example.net:8443"));
}

#[test]
fn a_server_without_tls_is_a_bad_gateway_and_another_is_tried() {
    let plain = Server::new(|connection, _| connection.send("HTTP/1.1 400 Bad Request\r\n\r\n"));
    let closing = Server::new(|_, _| {});
    let good = TlsServer::new("a.example", describe_and_answer);
    for (bad, servers, status) in [
        (&plain, vec![plain.address], 502),
        (&closing, vec![closing.address], 502),
        (&plain, vec![plain.address, good.address], 200),
    ] {
        let balancer = Balancer::with(&servers, 1, |snapshot| snapshot.groups[0].protocol = ANY);
        assert_eq!(balancer.get("/").status, status);
        let line = balancer.into_log().remove(0);
        if status == 502 {
            assert_eq!(line["error"], "TLS handshake failed");
            assert_eq!(line["upstream_addr"], bad.address.to_string());
        } else {
            assert_eq!(line["retries"], 1);
        }
    }
}

// Holds SG-101
#[test]
fn what_is_no_data_leaves_an_idle_connection_usable_and_data_nobody_asked_for_does_not() {
    for unasked in [false, true] {
        let (go_on, told) = channel();
        let (done, sent) = channel();
        let (told, done) = (Mutex::new(told), Mutex::new(done));
        let server = TlsServer::new("a.example", move |connection, notes| {
            while connection.head().is_some() {
                notes.lock().unwrap().push(connection.describe());
                connection.answer("right");
                told.lock().unwrap().recv_timeout(PATIENCE).unwrap();
                if unasked {
                    connection.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong");
                } else {
                    connection.stream.conn.refresh_traffic_keys().unwrap();
                    connection.stream.flush().unwrap();
                }
                done.lock().unwrap().send(()).unwrap();
            }
        });
        let balancer = balancer(&server, ANY);
        for _ in 0..3 {
            assert_eq!(balancer.get("/").text(), "right");
            go_on.send(()).unwrap();
            sent.recv_timeout(PATIENCE).unwrap();
        }
        assert_eq!(balancer.stats.servers()[&1].connections, if unasked { 3 } else { 1 });
    }
}

#[test]
fn a_response_until_close_is_whole_only_with_the_end_of_tls() {
    for proper in [true, false] {
        let server = TlsServer::new("a.example", move |connection, _| {
            connection.head();
            connection.stream.conn.writer().write_all(b"HTTP/1.1 200 OK\r\n\r\nall of it").unwrap();
            if proper {
                // In one write with the data, and without an end of TCP.
                connection.stream.conn.send_close_notify();
                connection.stream.flush().unwrap();
            } else {
                connection.stream.flush().unwrap();
                connection.stream.sock.shutdown(Shutdown::Write).unwrap();
            }
            // Closed only once the balancer did, so that nothing but the end of the data is in question.
            connection.head();
        });
        let balancer = balancer(&server, ANY);
        let mut client = balancer.client();
        client.send(GET);
        assert!(client.head().starts_with("HTTP/1.1 200"));
        let (body, ended_properly) = client.rest();
        assert_eq!(ended_properly, proper);
        if proper {
            assert_eq!(body, b"all of it");
        }
        let line = balancer.into_log().remove(0);
        let expected = if proper { (200, "-") } else { (500, "connection lost within the response") };
        assert_eq!((&line["status"], &line["error"]), (&expected.0.into(), &expected.1.into()));
    }
}

#[test]
fn large_bodies_pass_unchanged_both_ways_at_once() {
    const BYTES: usize = 3_000_000;
    let server = TlsServer::new("a.example", |connection, _| {
        while connection.head().is_some() {
            // Echoes, so that both directions are full at once.
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n"));
            let mut buffer = vec![0; 30_000];
            let mut left = BYTES;
            while left > 0 {
                let read = connection.stream.read(&mut buffer).unwrap();
                connection.send(&buffer[..read]);
                left -= read;
            }
        }
    });
    let balancer = balancer(&server, ANY);
    for round in 0..2u32 {
        // A response that begins before its request's end closes the client's connection.
        let mut client = balancer.client();
        // A period that no buffer size is a multiple of.
        let body: Vec<u8> = (0..BYTES as u32).map(|at| ((at + round) % 251) as u8).collect();
        let mut stream = client.stream.try_clone().unwrap();
        let expected = body.clone();
        let sender = std::thread::spawn(move || {
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {BYTES}\r\n\r\n");
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&body).unwrap();
        });
        let response = client.response(false);
        sender.join().unwrap();
        assert!(response.body == expected, "round {round}");
    }
}

// Holds SG-20
#[test]
fn turning_https_on_leaves_kept_plain_connections_behind() {
    let server = TlsServer::new("a.example", describe_and_answer);
    let plain = Server::named("plain");
    let mut balancer = Balancer::new(&[plain.address]);
    assert_eq!(balancer.get("/").text(), "plain");
    // The same server, as far as its id and address say, on which plain connections are kept.
    balancer.snapshot.groups[0].protocol = ANY;
    balancer.publish();
    assert_eq!(balancer.get("/").status, 502);
    balancer.snapshot.groups[0].servers[0].address = server.address;
    balancer.publish();
    assert_eq!(balancer.get("/").text(), "secret");
}

#[test]
fn a_verification_that_cannot_work_is_refused_and_changes_nothing() {
    let server = Server::named("x");
    let mut balancer = Balancer::new(&[server.address]);
    let authority = Authority::new();
    for (protocol, cause) in [
        (authority.demand(Some("no name")), "\"no name\" is neither a host name nor an address"),
        (
            UpstreamProtocol::Https {
                verification: Some(VerificationSnapshot {
                    ca_certificates: "junk".into(),
                    server_name: None,
                }),
            },
            "no certificate in the PEM text",
        ),
    ] {
        balancer.snapshot.groups[0].protocol = protocol;
        let error = balancer.publish_with(vec![]).unwrap_err();
        assert!(matches!(error, PublishError::Verification { .. }), "{error:?}");
        assert!(error.to_string().contains(cause), "{error}");
        assert_eq!(balancer.get("/").status, 200);
    }
}
