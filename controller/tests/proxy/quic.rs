//! HTTP/3 from clients, which are quinn and h3; servers are those of plain HTTP.

use crate::harness::{Balancer, Server, block_on, held};
use bytes::{Buf, Bytes};
use controller::model::TlsVersion::{Tls12, Tls13};
use controller::proxy::explain::Question;
use controller::proxy::quic::ReactorRuntime;
use controller::proxy::reactor::{self, UdpSocket};
use controller::proxy::{ListenerSocket, PublishError, bind_quic, check};
use controller::snapshot::{CertificateSnapshot, DownstreamProtocol, ListenerSnapshot, TlsSnapshot};
use http::Request;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Endpoint, EndpointConfig};
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Runs a test's task. A panic in it ends the task and not the reactor, so that it must come to its end counts.
fn run(test: impl Future<Output = ()> + 'static) {
    let ended = Rc::new(Cell::new(false));
    let end = ended.clone();
    reactor::run(async move {
        test.await;
        end.set(true);
    })
    .unwrap();
    assert!(ended.get(), "the test's task panicked");
}

/// A balancer with a QUIC listener besides its HTTP one.
struct Quic {
    balancer: Balancer,
    address: SocketAddr,
}

const QUIC: u32 = 2;

fn protocol() -> DownstreamProtocol {
    DownstreamProtocol::Quic(TlsSnapshot {
        certificates: vec![0],
        versions: vec![Tls13],
        suites: vec!["TLS13_AES_256_GCM_SHA384".into()],
        client_authorities: None,
        http2: false,
    })
}

fn certificate() -> (CertificateSnapshot, rustls::RootCertStore) {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["a.example".to_string()]).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let key = signing_key.serialize_pem();
    (CertificateSnapshot { name: "a".into(), chain: cert.pem(), key }, roots)
}

impl Quic {
    fn new(server: SocketAddr, workers: usize) -> (Quic, rustls::RootCertStore) {
        let (certificate, roots) = certificate();
        let mut balancer = Balancer::with(&[server], workers, |_| {});
        let sockets = bind_quic(&["127.0.0.1:0".parse().unwrap()], workers).unwrap().remove(0);
        let address = sockets.address;
        balancer.snapshot.certificates = vec![certificate];
        let listener = ListenerSnapshot {
            protocol: protocol(),
            request_timeout_ms: 15_000,
            ..ListenerSnapshot::new(QUIC, "quic", vec![address], vec![Ipv4Addr::LOCALHOST.into()])
        };
        balancer.snapshot.listeners.push(listener);
        balancer.publish_with(vec![(QUIC, ListenerSocket::Quic(sockets))]).unwrap();
        (Quic { balancer, address }, roots)
    }
}

/// A client of its own, on the reactor.
fn client(roots: &rustls::RootCertStore) -> Endpoint {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots.clone())
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h3".to_vec()];
    let reset_key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &[7; 32]);
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut endpoint = Endpoint::new_with_abstract_socket(
        EndpointConfig::new(Arc::new(reset_key)),
        None,
        ReactorRuntime::socket(UdpSocket::new(socket, true).unwrap()),
        Arc::new(ReactorRuntime::new()),
    )
    .unwrap();
    let tls = QuicClientConfig::try_from(tls).unwrap();
    endpoint.set_default_client_config(ClientConfig::new(Arc::new(tls)));
    endpoint
}

type Requests = h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>;

async fn requests(connection: &quinn::Connection) -> Requests {
    let (mut driver, requests) =
        h3::client::new(h3_quinn::Connection::new(connection.clone())).await.unwrap();
    reactor::spawn(async move {
        poll_fn(|cx| driver.poll_close(cx)).await;
    });
    requests
}

async fn exchange(requests: &mut Requests, request: http::request::Builder, body: Bytes) -> (u16, Vec<u8>) {
    let mut stream = requests.send_request(request.body(()).unwrap()).await.unwrap();
    if !body.is_empty() {
        stream.send_data(body).await.unwrap();
    }
    stream.finish().await.unwrap();
    let status = stream.recv_response().await.unwrap().status().as_u16();
    let mut got = Vec::new();
    while let Some(piece) = stream.recv_data().await.unwrap() {
        got.extend_from_slice(piece.chunk());
    }
    (status, got)
}

#[test]
fn handshakes_that_clients_break_off_are_counted() {
    let server = Server::named("x");
    let (quic, _) = Quic::new(server.address, 1);
    let address = quic.address;
    run(async move {
        let endpoint = client(&rustls::RootCertStore::empty());
        let refused = endpoint.connect(address, "a.example").unwrap().await;
        assert!(refused.is_err(), "it trusts nobody");
        endpoint.wait_idle().await;
    });
    let failures = || quic.balancer.stats.listeners()[&(QUIC, address)].handshake_failures;
    while failures() == 0 {
        std::thread::yield_now();
    }
    assert_eq!(failures(), 1);
}

// Holds LR-12
#[test]
fn a_head_that_never_comes_whole_is_answered_and_logged() {
    let server = Server::named("x");
    let (mut quic, roots) = Quic::new(server.address, 1);
    quic.balancer.snapshot.listeners[1].request_timeout_ms = 50;
    quic.balancer.publish();
    let address = quic.address;
    run(async move {
        let connection = client(&roots).connect(address, "a.example").unwrap().await.unwrap();
        let mut requests = requests(&connection).await;
        let (mut sending, mut receiving) = connection.open_bi().await.unwrap();
        // A frame of HEADERS that says it is 50 bytes long, and one of them.
        sending.write_all(&[1, 50, 0]).await.unwrap();
        let answer = receiving.read_to_end(1 << 16).await.unwrap();
        assert!(answer.ends_with(b"</html>\n"), "{answer:?}");
        // The connection goes on.
        let got = exchange(&mut requests, Request::get("https://a.example/"), Bytes::new()).await;
        assert_eq!(got, (200, b"x".to_vec()));
    });
    let log = quic.balancer.into_log();
    let told = |name: &str| &log[0][name];
    assert_eq!((told("status"), told("error_source"), log.len()), (&408.into(), &"client".into(), 2));
    assert_eq!(told("error"), "request head incomplete within the request timeout");
    assert_eq!(told("server_protocol"), "HTTP/3.0");
}

// Holds LR-1, LR-3
#[test]
fn requests_of_http_3_go_the_way_of_all_others() {
    let server = Server::new(|connection, _| {
        while let Some(request) = connection.request() {
            let head = request.head.lines().next().unwrap().to_owned();
            connection.answer(&format!("{head}, {} bytes", request.body.len()));
        }
    });
    let (quic, roots) = Quic::new(server.address, 2);
    let address = quic.address;
    run(async move {
        for _ in 0..4 {
            let connection = client(&roots).connect(address, "a.example").unwrap().await.unwrap();
            let mut requests = requests(&connection).await;
            let got = exchange(&mut requests, Request::get("https://a.example/x?y"), Bytes::new()).await;
            assert_eq!(got, (200, b"GET /x?y HTTP/1.1, 0 bytes".to_vec()));
            let body = Bytes::from(vec![b'b'; 1_000_000]);
            let length = Request::post("https://a.example/").header("content-length", 1_000_000);
            assert_eq!(
                exchange(&mut requests, length, body).await,
                (200, b"POST / HTTP/1.1, 1000000 bytes".to_vec())
            );
            let refused = Request::builder().method("TRACE").uri("https://a.example/");
            assert_eq!(exchange(&mut requests, refused, Bytes::new()).await.0, 405);
        }
    });
    let log = quic.balancer.into_log();
    assert_eq!(log.len(), 12);
    assert!(log.iter().all(|line| line["server_protocol"] == "HTTP/3.0"), "{:?}", log[0]);
    assert!(log.iter().all(|line| line["ssl_protocol"] == "TLSv1.3"), "{:?}", log[0]);
}

#[test]
fn a_body_that_comes_while_its_server_is_connected_to_is_read_without_a_panic() {
    let panics = Arc::new(AtomicU32::new(0));
    let (counted, before) = (panics.clone(), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().name().is_some_and(|name| name.starts_with("worker-")) {
            counted.fetch_add(1, Ordering::Relaxed);
        }
        before(panic);
    }));
    let server = Server::new(|connection, _| {
        let request = connection.request().unwrap();
        let length = request.body.len();
        connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n{length}"));
    });
    let (quic, roots) = Quic::new(server.address, 1);
    let address = quic.address;
    run(async move {
        let connection = client(&roots).connect(address, "a.example").unwrap().await.unwrap();
        let mut requests = requests(&connection).await;
        for _ in 0..8 {
            let request = Request::post("https://a.example/").header("content-length", 3);
            let got = exchange(&mut requests, request, Bytes::from_static(b"abc")).await;
            assert_eq!(got, (200, b"3".to_vec()));
        }
    });
    assert_eq!(quic.balancer.into_log().len(), 8);
    assert_eq!(panics.load(Ordering::Relaxed), 0);
}

// Holds LR-1
#[test]
fn a_listener_that_leaves_lets_requests_finish_and_frees_its_address() {
    let (server, arrivals, release) = held();
    let (mut quic, roots) = Quic::new(server.address, 2);
    let address = quic.address;
    run(async move {
        let connection = client(&roots).connect(address, "a.example").unwrap().await.unwrap();
        let mut requests = requests(&connection).await;
        let request = Request::get("https://a.example/").body(()).unwrap();
        let mut stream = requests.send_request(request).await.unwrap();
        stream.finish().await.unwrap();
        // On a thread of its own: this one has still to send the request.
        let (arrived, arrival) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            arrivals.recv().unwrap();
            arrived.send(()).unwrap();
        });
        arrival.await.unwrap();
        let listener = quic.balancer.snapshot.listeners.pop().unwrap();
        quic.balancer.publish();
        release.send(()).unwrap();
        assert_eq!(stream.recv_response().await.unwrap().status(), 200);
        while stream.recv_data().await.unwrap().is_some() {}
        let closed = connection.closed().await.to_string();
        assert!(closed.contains("H3_NO_ERROR"), "{closed}");
        // The sockets go when the client can no longer miss that it is over.
        let sockets = loop {
            match bind_quic(&[address], 2) {
                Ok(mut sockets) => break sockets.remove(0),
                Err(_) => reactor::next_turn().await,
            }
        };
        quic.balancer.snapshot.listeners.push(listener);
        quic.balancer.publish_with(vec![(QUIC, ListenerSocket::Quic(sockets))]).unwrap();
        let again = client(&roots).connect(address, "a.example").unwrap().await;
        assert!(again.is_ok());
    });
}

#[test]
fn new_clients_are_shown_the_renewed_certificate() {
    let server = Server::named("one");
    let (mut quic, roots) = Quic::new(server.address, 1);
    let address = quic.address;
    run(async move {
        let before = client(&roots);
        let connection = before.connect(address, "a.example").unwrap().await.unwrap();
        let mut kept = requests(&connection).await;
        let (renewed, trusted) = certificate();
        quic.balancer.snapshot.certificates = vec![renewed];
        quic.balancer.publish();
        assert!(before.connect(address, "a.example").unwrap().await.is_err());
        assert!(client(&trusted).connect(address, "a.example").unwrap().await.is_ok());
        let got = exchange(&mut kept, Request::get("https://a.example/"), Bytes::new()).await;
        assert_eq!(got, (200, b"one".to_vec()));
    });
}

#[test]
fn a_quic_listener_without_tls_1_3_is_refused_before_it_is_published() {
    let server = Server::named("one");
    let (mut quic, _) = Quic::new(server.address, 1);
    if let DownstreamProtocol::Quic(tls) = &mut quic.balancer.snapshot.listeners[1].protocol {
        tls.versions = vec![Tls12];
    }
    let error = check(&quic.balancer.snapshot).unwrap_err();
    assert!(matches!(error, PublishError::Tls { .. } | PublishError::Quic { .. }), "{error}");
}

// Holds LR-109
#[test]
fn an_explanation_means_the_https_listener_beside_a_quic_one_unless_that_is_named() {
    let server = Server::named("one");
    let (mut quic, _) = Quic::new(server.address, 1);
    let DownstreamProtocol::Quic(tls) = protocol() else { unreachable!("it says so") };
    quic.balancer.snapshot.listeners[0].protocol = DownstreamProtocol::Https(tls);
    // On the port of the other, and an address that nobody else takes ports of.
    let port = quic.balancer.address.port();
    let sockets = bind_quic(&[(Ipv4Addr::new(127, 0, 0, 77), port).into()], 1).unwrap().remove(0);
    quic.balancer.snapshot.listeners[1].addresses = vec![sockets.address];
    quic.balancer.snapshot.listeners.reverse();
    quic.balancer.publish_with(vec![(QUIC, ListenerSocket::Quic(sockets))]).unwrap();
    let ask = |listener: Option<&str>| {
        let question = Question {
            listener: listener.map(Into::into),
            https: true,
            port,
            head: "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n".into(),
            client: "192.0.2.7".parse().unwrap(),
        };
        block_on(quic.balancer.engine.explain(question)).unwrap().listener
    };
    assert_eq!(ask(None), "web");
    assert_eq!(ask(Some("quic")), "quic");
}
