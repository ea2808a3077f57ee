//! HTTPS from clients, which are rustls and h2; servers are those of plain HTTP.

use crate::harness::{Balancer, PATIENCE, Server, ServerConnection, header, held};
use controller::model::TlsVersion::{Tls12, Tls13};
use controller::proxy::{PublishError, check};
use controller::snapshot::{CertificateSnapshot, DownstreamProtocol, TlsSnapshot};
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

/// An authority, with a certificate for `a.example` and a client that trusts it.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn certificate(&self) -> CertificateSnapshot {
        let key = KeyPair::generate().unwrap();
        let chain =
            CertificateParams::new(["a.example".to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        CertificateSnapshot { name: "a".into(), chain: chain.pem(), key: key.serialize_pem() }
    }

    pub fn client(&self, alpn: &[&str]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }

    /// A balancer that speaks HTTPS with a certificate of this authority.
    pub fn balancer(&self, server: SocketAddr, workers: usize) -> Balancer {
        Balancer::with(&[server], workers, |snapshot| {
            snapshot.certificates = vec![self.certificate()];
            snapshot.listeners[0].protocol = DownstreamProtocol::Https(TlsSnapshot {
                certificates: vec![0],
                versions: vec![Tls12, Tls13],
                suites: vec![
                    "TLS13_AES_128_GCM_SHA256".into(),
                    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256".into(),
                ],
                client_authorities: None,
                http2: true,
            });
        })
    }
}

struct Client(BufReader<StreamOwned<ClientConnection, TcpStream>>);

impl Client {
    fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> Client {
        let tcp = TcpStream::connect(address).unwrap();
        tcp.set_read_timeout(Some(PATIENCE)).unwrap();
        tcp.set_nodelay(true).unwrap();
        let name = ServerName::try_from("a.example").unwrap();
        let mut stream = StreamOwned::new(ClientConnection::new(config.clone(), name).unwrap(), tcp);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).unwrap();
        }
        Client(BufReader::new(stream))
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(bytes.as_ref()).unwrap();
        self.0.get_mut().flush().unwrap();
    }

    fn head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(self.0.read_line(&mut head).unwrap() > 0, "closed within the head: {head:?}");
        }
        head
    }

    /// A response with Content-Length: its status and body.
    fn response(&mut self) -> (u16, Vec<u8>) {
        let head = self.head();
        let mut body = vec![0; header(&head, "content-length").unwrap().parse().unwrap()];
        self.0.read_exact(&mut body).unwrap();
        (head[9..12].parse().unwrap(), body)
    }

    fn get(&mut self) -> (u16, String) {
        self.send(GET);
        let (status, body) = self.response();
        (status, String::from_utf8(body).unwrap())
    }

    /// What comes until the end, and how that was.
    fn rest(&mut self) -> (Vec<u8>, Result<(), io::ErrorKind>) {
        let mut rest = Vec::new();
        let end = self.0.read_to_end(&mut rest);
        (rest, end.map(drop).map_err(|error| error.kind()))
    }
}

#[test]
fn a_connection_is_kept_over_requests_and_snapshots() {
    let authority = Authority::new();
    let server = Server::named("secret");
    let mut balancer = authority.balancer(server.address, 1);
    let config = authority.client(&[]);
    let mut client = Client::connect(balancer.address, &config);
    for _ in 0..3 {
        assert_eq!(client.get(), (200, "secret".into()));
        // A renewal is for new connections.
        balancer.snapshot.certificates = vec![authority.certificate()];
        balancer.publish();
    }
    // Pipelined.
    client.send(GET.repeat(3));
    for _ in 0..3 {
        assert_eq!(client.response(), (200, b"secret".to_vec()));
    }
    client.send("GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n");
    assert_eq!(client.response(), (200, b"secret".to_vec()));
    assert_eq!(client.rest(), (vec![], Ok(())));
    assert!(balancer.into_log().iter().all(|line| line["server_protocol"] == "HTTP/1.1"));
}

#[test]
fn sessions_go_on_at_any_worker() {
    let authority = Authority::new();
    let server = Server::named("secret");
    let balancer = authority.balancer(server.address, 2);
    let config = authority.client(&[]);
    // Open all along, so that both workers have some.
    let clients: Vec<_> = (0..20)
        .map(|_| {
            let mut client = Client::connect(balancer.address, &config);
            assert_eq!(client.get().0, 200);
            client
        })
        .collect();
    let kinds: Vec<_> = clients.iter().map(|client| client.0.get_ref().conn.handshake_kind()).collect();
    assert_eq!(kinds[0], Some(HandshakeKind::Full));
    assert_eq!(kinds[1..], [Some(HandshakeKind::Resumed); 19]);
}

// Holds LR-27
#[test]
fn plain_http_on_the_tls_port_is_a_bad_request() {
    let authority = Authority::new();
    let server = Server::named("secret");
    let balancer = authority.balancer(server.address, 1);
    for request in [GET, "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 100000\r\n\r\n"] {
        let mut client = balancer.client();
        let response = client.request(request);
        assert_eq!(response.status, 400);
        assert_eq!(response.header("connection"), Some("close"));
        client.expect_closed();
    }
    assert_eq!(server.noted(), [""; 0]);
    let counted = balancer.stats.listeners()[&(1, balancer.address)];
    assert_eq!(counted.handshake_failures, 0, "it was answered");
    let log = balancer.into_log();
    assert_eq!(log.len(), 2);
    for line in log {
        assert_eq!((&line["status"], &line["error"]), (&400.into(), &"plain HTTP on the TLS port".into()));
    }
}

#[test]
fn a_response_until_close_ends_properly_only_when_it_is_whole() {
    for is_whole in [true, false] {
        let server = Server::new(move |connection: &mut ServerConnection, _| {
            connection.head();
            connection.send("HTTP/1.1 200 OK\r\n\r\nall of it");
            // All there is to read is read: closing with bytes unread would be a reset.
            connection.reader().read_exact(&mut [0]).unwrap();
            if !is_whole {
                let socket = socket2::SockRef::from(&connection.stream);
                socket.set_linger(Some(Duration::ZERO)).unwrap();
            }
        });
        let authority = Authority::new();
        let balancer = authority.balancer(server.address, 1);
        let mut client = Client::connect(balancer.address, &authority.client(&[]));
        client.send("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1\r\n\r\n");
        if is_whole {
            client.send("x");
        }
        assert!(client.head().starts_with("HTTP/1.1 200"));
        let mut body = [0; 9];
        client.0.read_exact(&mut body).unwrap();
        if !is_whole {
            client.send("x");
        }
        let (rest, end) = client.rest();
        assert_eq!((&body, rest), (b"all of it", vec![]));
        assert_eq!(end.is_ok(), is_whole, "{end:?}");
    }
}

#[test]
fn large_bodies_pass_unchanged_both_ways_at_once() {
    const BYTES: usize = 5_000_000;
    let server = Server::new(|connection, _| {
        while connection.head().is_some() {
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n"));
            let mut buffer = vec![0; 30_000];
            let mut left = BYTES;
            while left > 0 {
                let read = connection.reader().read(&mut buffer).unwrap();
                connection.send(&buffer[..read]);
                left -= read;
            }
        }
    });
    let authority = Authority::new();
    let balancer = authority.balancer(server.address, 1);
    let mut client = Client::connect(balancer.address, &authority.client(&[]));
    // A period that no buffer size is a multiple of.
    let body: Vec<u8> = (0..BYTES as u32).map(|at| (at % 251) as u8).collect();
    client.send(format!("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: {BYTES}\r\n\r\n"));
    // By one thread, since a session is in one place: less at a time than the sockets hold.
    client.send(&body[..100_000]);
    assert!(client.head().starts_with("HTTP/1.1 200"));
    let mut got = vec![0; BYTES];
    let mut received = 0;
    for sent in body[100_000..].chunks(100_000) {
        client.send(sent);
        client.0.read_exact(&mut got[received..received + 100_000]).unwrap();
        received += 100_000;
    }
    client.0.read_exact(&mut got[received..]).unwrap();
    assert!(got == body);
}

#[test]
fn a_client_that_ends_tls_has_given_up() {
    for ends in ["close_notify", "TCP"] {
        let (server, arrived, release) = held();
        let authority = Authority::new();
        let balancer = authority.balancer(server.address, 1);
        let mut client = Client::connect(balancer.address, &authority.client(&[]));
        client.send(GET);
        arrived.recv_timeout(PATIENCE).unwrap();
        if ends == "TCP" {
            client.0.get_ref().sock.shutdown(std::net::Shutdown::Write).unwrap();
        } else {
            client.0.get_mut().conn.send_close_notify();
            client.0.get_mut().flush().unwrap();
        }
        // Without an answer.
        assert_eq!(client.rest().0, b"", "{ends}");
        let line = balancer.into_log().remove(0);
        assert_eq!(line["status"], 499, "{ends}");
        release.send(()).unwrap();
    }
}

#[test]
fn a_handshake_that_does_not_end_is_cut() {
    let authority = Authority::new();
    let server = Server::named("secret");
    let mut balancer = authority.balancer(server.address, 1);
    balancer.snapshot.listeners[0].request_timeout_ms = 200;
    balancer.publish();
    let mut client = balancer.client();
    client.stream.write_all(b"\x16\x03\x01\x01\x00").unwrap();
    client.expect_closed();
    let mut silent = balancer.client();
    silent.expect_closed();
    let stats = balancer.stats.clone();
    assert_eq!(balancer.into_log(), [""; 0]);
    let counted = stats.listeners().into_values().next().unwrap();
    assert_eq!((counted.active_connections, counted.handshake_failures), (0, 2));
}

// Holds LR-52
#[test]
fn an_http_2_connection_ends_after_as_many_requests_as_the_listener_says() {
    let authority = Authority::new();
    let server = Server::named("secret");
    let mut balancer = authority.balancer(server.address, 1);
    balancer.snapshot.listeners[0].requests_per_connection = std::num::NonZeroU32::new(2);
    balancer.publish();
    let config = authority.client(&["h2"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let tcp = tokio::net::TcpStream::connect(balancer.address).await.unwrap();
        let name = ServerName::try_from("a.example").unwrap();
        let stream = tokio_rustls::TlsConnector::from(config).connect(name, tcp).await.unwrap();
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut client = client.ready().await.unwrap();
        for _ in 0..2 {
            let request = http::Request::get("https://a.example/").body(()).unwrap();
            let (response, _) = client.send_request(request, true).unwrap();
            assert_eq!(response.await.unwrap().status(), 200);
        }
        // It is told to go, and goes.
        connection.await.unwrap().unwrap();
        assert!(client.ready().await.is_err());
    });
    assert_eq!(balancer.into_log().len(), 2);
}

// Holds LR-15
#[test]
fn http_2_is_spoken_with_clients_that_choose_it() {
    let authority = Authority::new();
    let server = Server::named("secret");
    let balancer = authority.balancer(server.address, 1);
    let config = authority.client(&["h2", "http/1.1"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let tcp = tokio::net::TcpStream::connect(balancer.address).await.unwrap();
        let name = ServerName::try_from("a.example").unwrap();
        let stream = tokio_rustls::TlsConnector::from(config).connect(name, tcp).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (client, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let mut client = client.ready().await.unwrap();
        for _ in 0..3 {
            let request = http::Request::get("https://a.example/").body(()).unwrap();
            let (response, _) = client.send_request(request, true).unwrap();
            let response = response.await.unwrap();
            assert_eq!(response.status(), 200);
            let body = response.into_body().data().await.unwrap().unwrap();
            assert_eq!(body, &b"secret"[..]);
        }
    });
    let log = balancer.into_log();
    assert_eq!(log.len(), 3);
    assert!(log.iter().all(|line| line["server_protocol"] == "HTTP/2.0"), "{log:?}");
}

#[test]
fn a_certificate_that_cannot_be_shown_is_refused_and_changes_nothing() {
    let authority = Authority::new();
    let server = Server::named("secret");
    let mut balancer = authority.balancer(server.address, 1);
    let good = balancer.snapshot.certificates[0].clone();
    balancer.snapshot.certificates[0].key = KeyPair::generate().unwrap().serialize_pem();
    let error = check(&balancer.snapshot).unwrap_err();
    assert!(matches!(error, PublishError::Tls { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.starts_with("listener \"web\": certificate \"a\": key: "), "{text}");
    assert_eq!(balancer.publish_with(vec![]).unwrap_err().to_string(), text);
    let config = authority.client(&[]);
    assert_eq!(Client::connect(balancer.address, &config).get(), (200, "secret".into()));
    balancer.snapshot.certificates[0] = good;
    check(&balancer.snapshot).unwrap();
    balancer.publish();
}
