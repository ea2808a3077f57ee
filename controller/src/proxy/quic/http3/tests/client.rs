//! Clients: quinn on the test's reactor, and the h3 crate, which shares no code with the server's HTTP/3.

use super::server::Server;
use crate::proxy::quic::runtime::ReactorRuntime;
use crate::proxy::reactor::{self, UdpSocket};
use bytes::{Buf, Bytes};
use h3::client::{RequestStream, SendRequest};
use http::{HeaderMap, Request, request};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, ConnectionError, Endpoint, EndpointConfig};
use rustls_pki_types::CertificateDer;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::oneshot;

pub type Open = RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>;

pub struct Client {
    endpoint: Endpoint,
    server: SocketAddr,
}

impl Client {
    pub fn new(server: &Server) -> Client {
        Client::build(server, b"h3", &server.certificate)
    }

    pub fn trusting(server: &Server, certificate: &CertificateDer<'static>) -> Client {
        Client::build(server, b"h3", certificate)
    }

    pub fn speaking(server: &Server, protocol: &[u8]) -> Client {
        Client::build(server, protocol, &server.certificate)
    }

    fn build(server: &Server, protocol: &[u8], certificate: &CertificateDer<'static>) -> Client {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![protocol.to_vec()];
        let reset_key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &[7; 32]);
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = ReactorRuntime::socket(UdpSocket::new(socket, true).unwrap());
        let mut endpoint = Endpoint::new_with_abstract_socket(
            EndpointConfig::new(Arc::new(reset_key)),
            None,
            socket,
            Arc::new(ReactorRuntime::new()),
        )
        .unwrap();
        let tls = QuicClientConfig::try_from(tls).unwrap();
        endpoint.set_default_client_config(ClientConfig::new(Arc::new(tls)));
        Client { endpoint, server: server.address }
    }

    pub async fn try_connect(&self) -> Result<quinn::Connection, ConnectionError> {
        self.endpoint.connect(self.server, "localhost").unwrap().await
    }

    pub async fn connect(&self) -> Connected {
        let quic = self.try_connect().await.unwrap();
        Connected { quic, goaway: std::cell::RefCell::new(None) }
    }

    /// Goes on from another address.
    pub fn move_to(&self, socket: std::net::UdpSocket) {
        let socket = ReactorRuntime::socket(UdpSocket::new(socket, true).unwrap());
        self.endpoint.rebind_abstract(socket).unwrap();
    }
}

pub struct Connected {
    pub quic: quinn::Connection,
    goaway: std::cell::RefCell<Option<oneshot::Receiver<()>>>,
}

impl Connected {
    /// HTTP/3 on the connection.
    pub async fn requests(&self) -> Requests {
        let connection = h3_quinn::Connection::new(self.quic.clone());
        let (mut driver, requests) = h3::client::new(connection).await.unwrap();
        let (seen, goaway) = oneshot::channel();
        self.goaway.replace(Some(goaway));
        reactor::spawn(async move {
            // It ends when the connection does. After a GOAWAY it is an orderly end.
            let error = poll_fn(|cx| driver.poll_close(cx)).await;
            if error.is_h3_no_error() {
                let _ = seen.send(());
            }
        });
        Requests(requests)
    }

    /// Whether the connection ended in order for the HTTP/3 client too.
    pub async fn driver_saw_goaway(&self) -> bool {
        let goaway = self.goaway.take().expect("requests were made");
        goaway.await.is_ok()
    }
}

/// A response.
pub struct Answer {
    pub status: u16,
    pub body: Bytes,
    pub trailers: HeaderMap,
}

#[derive(Clone)]
pub struct Requests(SendRequest<h3_quinn::OpenStreams, Bytes>);

impl Requests {
    pub async fn open(&mut self, request: request::Builder) -> Open {
        self.0.send_request(request.body(()).unwrap()).await.unwrap()
    }

    /// Whether a request is answered.
    pub async fn is_served(&mut self, path: &str) -> bool {
        let request = Request::get(format!("https://localhost{path}")).body(()).unwrap();
        let Ok(mut stream) = self.0.send_request(request).await else { return false };
        stream.finish().await.is_ok() && stream.recv_response().await.is_ok()
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        let mut stream = self.open(Request::get(format!("https://localhost{path}"))).await;
        stream.finish().await.unwrap();
        let status = stream.recv_response().await.unwrap().status().as_u16();
        let mut body = Vec::new();
        while let Some(piece) = stream.recv_data().await.unwrap() {
            body.extend_from_slice(piece.chunk());
        }
        let trailers = stream.recv_trailers().await.unwrap().unwrap_or_default();
        Answer { status, body: body.into(), trailers }
    }

    /// Sends `body` while the response is read.
    pub async fn post(&mut self, path: &str, body: &Bytes, trailers: Option<HeaderMap>) -> Answer {
        let (mut send, mut receive) =
            self.open(Request::post(format!("https://localhost{path}"))).await.split();
        let body = body.clone();
        reactor::spawn(async move {
            for start in (0..body.len()).step_by(10_000) {
                send.send_data(body.slice(start..body.len().min(start + 10_000))).await.unwrap();
            }
            if let Some(trailers) = trailers {
                send.send_trailers(trailers).await.unwrap();
            }
            send.finish().await.unwrap();
        });
        let status = receive.recv_response().await.unwrap().status().as_u16();
        let mut body = Vec::new();
        while let Some(piece) = receive.recv_data().await.unwrap() {
            body.extend_from_slice(piece.chunk());
        }
        let trailers = receive.recv_trailers().await.unwrap().unwrap_or_default();
        Answer { status, body: body.into(), trailers }
    }
}

/// Runs all of `futures` at once, until the last one ends.
pub async fn all<F: Future<Output = ()> + 'static>(futures: impl Iterator<Item = F>) {
    let (done, mut ended) = unbounded_channel::<()>();
    let mut count = 0;
    for future in futures {
        let done = done.clone();
        count += 1;
        reactor::spawn(async move {
            future.await;
            done.send(()).unwrap();
        });
    }
    drop(done);
    for _ in 0..count {
        ended.recv().await.expect("none of them panicked");
    }
}
