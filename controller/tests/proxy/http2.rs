//! HTTP/2 from clients, over TLS, to servers of HTTP/1.1.

use crate::harness::{Balancer, PATIENCE, Server, header, held};
use bytes::Bytes;
use controller::model::TlsVersion::Tls13;
use controller::snapshot::{CertificateSnapshot, DownstreamProtocol, TlsSnapshot};
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, SendStream};
use http::{HeaderMap, Request};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::future::poll_fn;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;

/// A balancer that speaks HTTPS as `a.example`, and a client's way to trust it.
fn balancer(
    server: SocketAddr,
    change: impl FnOnce(&mut controller::snapshot::Snapshot),
) -> (Balancer, Arc<ClientConfig>) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["a.example".to_owned()]).unwrap().self_signed(&key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(certificate.der().to_vec())).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let balancer = Balancer::with(&[server], 1, |snapshot| {
        snapshot.certificates = vec![CertificateSnapshot {
            name: "a".into(),
            chain: certificate.pem(),
            key: key.serialize_pem(),
        }];
        snapshot.listeners[0].protocol = DownstreamProtocol::Https(TlsSnapshot {
            certificates: vec![0],
            versions: vec![Tls13],
            suites: vec!["TLS13_AES_128_GCM_SHA256".into()],
            client_authorities: None,
            http2: true,
        });
        change(snapshot);
    });
    (balancer, Arc::new(config))
}

/// Runs `client` with a handle to a connection, which is driven meanwhile.
fn with_client<T>(
    address: SocketAddr,
    config: &Arc<ClientConfig>,
    client: impl AsyncFnOnce(SendRequest<Bytes>) -> T,
) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let config = config.clone();
    runtime.block_on(async {
        let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("a.example").unwrap();
        let stream = tokio_rustls::TlsConnector::from(config).connect(name, tcp).await.unwrap();
        let (handle, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        tokio::time::timeout(PATIENCE, client(handle)).await.expect("the test ends")
    })
}

fn post(handle: &mut SendRequest<Bytes>, path: &str) -> (ResponseFuture, SendStream<Bytes>) {
    let request = Request::post(format!("https://a.example{path}")).body(()).unwrap();
    handle.send_request(request, false).unwrap()
}

fn get(handle: &mut SendRequest<Bytes>, path: &str) -> ResponseFuture {
    let request = Request::get(format!("https://a.example{path}")).body(()).unwrap();
    handle.send_request(request, true).unwrap().0
}

/// Status, body and trailers.
async fn whole(response: ResponseFuture) -> Result<(u16, Vec<u8>, Option<HeaderMap>), h2::Error> {
    let response = response.await?;
    let status = response.status().as_u16();
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        bytes.extend_from_slice(&data);
    }
    Ok((status, bytes, body.trailers().await?))
}

#[test]
fn bodies_and_trailers_pass_both_ways() {
    let server = Server::new(|connection, notes| {
        while let Some(head) = connection.head() {
            let mut body = Vec::new();
            while !body.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                connection.reader().read_exact(&mut byte).unwrap();
                body.push(byte[0]);
            }
            notes.lock().unwrap().push(format!("{head}|{}", String::from_utf8(body).unwrap()));
            connection.send(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n\
                 3\r\nabc\r\n0\r\nX-Sum: 7\r\n\r\n",
            );
        }
    });
    let (balancer, config) = balancer(server.address, |_| {});
    let (status, body, trailers) = with_client(balancer.address, &config, async |mut handle| {
        let (response, mut body) = post(&mut handle, "/x");
        body.send_data(Bytes::from_static(b"hello"), false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-up", "1".parse().unwrap());
        body.send_trailers(trailers).unwrap();
        whole(response).await.unwrap()
    });
    assert_eq!((status, body), (200, b"abc".to_vec()));
    assert_eq!(trailers.unwrap()["x-sum"], "7");
    let noted = server.noted().remove(0);
    let (head, body) = noted.split_once('|').unwrap();
    assert!(head.starts_with("POST /x HTTP/1.1\r\n"), "{head}");
    assert_eq!(header(head, "host"), Some("a.example"));
    assert_eq!(header(head, "transfer-encoding"), Some("chunked"));
    assert_eq!(body, "5\r\nhello\r\n0\r\nx-up: 1\r\n\r\n");
}

#[test]
fn a_head_longer_than_what_is_read_of_a_body_at_a_time_passes_with_its_body() {
    // A period that no buffer size is a multiple of.
    let body: Vec<u8> = (0..200_000u32).map(|at| (at % 251) as u8).collect();
    let sent = body.clone();
    let server = Server::new(move |connection, _| {
        while connection.head().is_some() {
            let long = "x".repeat(31_000);
            connection
                .send(format!("HTTP/1.1 200 OK\r\nX: {long}\r\nContent-Length: {}\r\n\r\n", sent.len()));
            connection.send(&sent);
        }
    });
    let (balancer, config) = balancer(server.address, |_| {});
    with_client(balancer.address, &config, async |mut handle| {
        for _ in 0..2 {
            let request = Request::get("https://a.example/").body(()).unwrap();
            let (response, _) = handle.send_request(request, true).unwrap();
            assert!(whole(response).await.unwrap().1 == body);
        }
    });
}

// Holds LR-51
#[test]
fn refusals_are_answered_and_logged_and_the_connection_goes_on() {
    let server = Server::named("s");
    let (balancer, config) = balancer(server.address, |_| {});
    let statuses = with_client(balancer.address, &config, async |mut handle| {
        let mut statuses = Vec::new();
        let trace = Request::builder().method("TRACE").uri("https://a.example/").body(()).unwrap();
        let twice = Request::get("https://a.example/").header("host", "b.example").body(()).unwrap();
        let good = Request::get("https://a.example/").body(()).unwrap();
        for request in [trace, twice, good] {
            let (response, _) = handle.send_request(request, true).unwrap();
            statuses.push(whole(response).await.unwrap().0);
        }
        statuses
    });
    assert_eq!(statuses, [405, 400, 200]);
    let log = balancer.into_log();
    let logged: Vec<_> = log.iter().map(|line| line["status"].clone()).collect();
    assert_eq!(logged, [405, 400, 200]);
}

#[test]
fn a_reset_reaches_the_other_side() {
    // The server's side: it closes within a chunked body, and the client must not take it for whole.
    let server = Server::new(|connection, notes| {
        while let Some(head) = connection.head() {
            if head.starts_with("GET /cut") {
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome");
                return;
            }
            notes.lock().unwrap().push("begun".into());
            // The client's side: its reset closes the connection to the server within the request's body.
            let mut rest = Vec::new();
            let _ = connection.reader().read_to_end(&mut rest);
            notes.lock().unwrap().push("ended".into());
        }
    });
    let (balancer, config) = balancer(server.address, |_| {});
    with_client(balancer.address, &config, async |mut handle| {
        let error = whole(get(&mut handle, "/cut")).await.unwrap_err();
        assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
        let (_response, mut body) = post(&mut handle, "/upload");
        body.send_data(Bytes::from_static(b"half"), false).unwrap();
        while server.noted().is_empty() {
            tokio::task::yield_now().await;
        }
        body.send_reset(Reason::CANCEL);
        while server.noted() != ["begun", "ended"] {
            tokio::task::yield_now().await;
        }
    });
    let log = balancer.into_log();
    assert_eq!((&log[0]["status"], &log[1]["status"]), (&500.into(), &400.into()));
    assert_eq!(log[1]["error"], "client closed before the request was complete");
}

/// A request under way ends well, and the client is told to open no more.
// Holds LR-52
#[test]
fn a_listener_that_closes_loses_nothing() {
    let (server, arrived, go_on) = held();
    let (mut balancer, config) = balancer(server.address, |_| {});
    with_client(balancer.address, &config, async |mut handle| {
        let response = get(&mut handle, "/");
        while arrived.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
        balancer.snapshot.listeners.clear();
        // On a thread of its own: this one drives the client.
        std::thread::scope(|scope| scope.spawn(|| balancer.publish()).join().unwrap());
        poll_fn(|cx| match handle.poll_ready(cx) {
            std::task::Poll::Ready(Ok(())) => {
                cx.waker().wake_by_ref();
                std::task::Poll::Pending
            }
            other => other,
        })
        .await
        .unwrap_err();
        go_on.send(()).unwrap();
        assert_eq!(whole(response).await.unwrap().0, 200);
    });
}
