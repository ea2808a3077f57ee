use super::super::tcp::tests::{expect_failure, over_ipv6, target};
use super::super::tls::tests::acceptor;
use super::*;
use h2::server;
use http::{HeaderValue, Response};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const LONG: Duration = Duration::from_secs(30);
const PATH: &str = "/grpc.health.v1.Health/Check";
/// A `HealthCheckResponse` of status NOT_SERVING.
const NOT_SERVING: &[u8] = &[0, 0, 0, 0, 2, 0x08, 2];

/// What a server answers.
#[derive(Clone, Copy)]
enum Answer {
    /// A message, then trailers with this status.
    Trailers(&'static str),
    /// A head that is all.
    HeadOnly(&'static str),
    /// A message and no status at all, with this HTTP status.
    NoStatus(u16),
    /// The stream is reset.
    Reset,
    /// A message as long as the caller reads.
    Endless,
    /// Nothing.
    Silence,
}

/// What a server was asked.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    method: Method,
    uri: String,
    fields: Vec<(String, String)>,
    message: Vec<u8>,
}

fn grpc(tls: bool, codes: &[RangeInclusive<u8>]) -> HealthCheckProtocol {
    HealthCheckProtocol::Grpc {
        tls,
        method: GrpcMethod::Post,
        path: PATH.into(),
        host: None,
        codes: codes.to_vec(),
    }
}

fn with(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    fields.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
}

/// Serves one call on `stream`, then until the caller closes.
async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, answer: Answer) -> Asked {
    let mut connection = server::handshake(stream).await.unwrap();
    let (request, mut respond) = connection.accept().await.expect("a call").unwrap();
    let (head, mut body) = request.into_parts();
    let answered = async {
        let mut message = Vec::new();
        while let Some(data) = body.data().await {
            message.extend_from_slice(&data.unwrap());
        }
        let response = |status: u16, fields: &[_]| {
            let mut response = Response::builder().status(status).body(()).unwrap();
            *response.headers_mut() = with(fields);
            response
        };
        match answer {
            Answer::Trailers(status) => {
                let mut stream = respond.send_response(response(200, &[]), false).unwrap();
                stream.send_data(NOT_SERVING.into(), false).unwrap();
                stream.send_trailers(with(&[("grpc-status", status)])).unwrap();
            }
            Answer::HeadOnly(status) => {
                respond.send_response(response(200, &[("grpc-status", status)]), true).unwrap();
            }
            Answer::NoStatus(status) => {
                let mut stream = respond.send_response(response(status, &[]), false).unwrap();
                stream.send_data(NOT_SERVING.into(), true).unwrap();
            }
            Answer::Reset => respond.send_reset(h2::Reason::REFUSED_STREAM),
            Answer::Endless => {
                let mut stream = respond.send_response(response(200, &[]), false).unwrap();
                stream.reserve_capacity(1 << 20);
                while let Some(Ok(capacity)) = poll_fn(|context| stream.poll_capacity(context)).await {
                    stream.send_data(vec![0; capacity].into(), false).unwrap();
                    stream.reserve_capacity(1 << 20);
                }
            }
            Answer::Silence => std::future::pending().await,
        }
        message
    };
    let mut answered = pin!(answered);
    let mut message = None;
    // Until the caller closes.
    poll_fn(|context| {
        if message.is_none()
            && let Poll::Ready(received) = answered.as_mut().poll(context)
        {
            message = Some(received);
        }
        connection.poll_closed(context)
    })
    .await
    .ok();
    let mut fields: Vec<_> =
        head.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().into())).collect();
    fields.sort();
    Asked { method: head.method, uri: head.uri.to_string(), fields, message: message.unwrap_or_default() }
}

async fn probe_answered(
    protocol: HealthCheckProtocol,
    timeout: Duration,
    answer: Answer,
) -> (Outcome, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = target(listener.local_addr().unwrap().port(), protocol, timeout);
    let serve = async { serve(listener.accept().await.unwrap().0, answer).await };
    tokio::join!(probe(&target), serve)
}

async fn outcome(codes: &[RangeInclusive<u8>], answer: Answer) -> Outcome {
    probe_answered(grpc(false, codes), LONG, answer).await.0
}

// Holds SG-184
#[tokio::test]
async fn a_configured_status_passes() {
    let (outcome, asked) = probe_answered(grpc(false, &[0..=0]), LONG, Answer::Trailers("0")).await;
    assert_eq!(outcome, Outcome::Passed);
    let fields =
        [("content-type", "application/grpc"), ("te", "trailers"), ("user-agent", "causeway-health-check")];
    let expected = Asked {
        method: Method::POST,
        uri: format!("http://127.0.0.1{PATH}"),
        fields: fields.map(|(name, value)| (name.into(), value.into())).to_vec(),
        message: vec![0; 5],
    };
    assert_eq!(asked, expected);
}

// Holds SG-184
#[tokio::test]
async fn method_path_and_host_are_those_configured() {
    let protocol = HealthCheckProtocol::Grpc {
        tls: false,
        method: GrpcMethod::Get,
        path: "/shop.Cart/Ping".into(),
        host: Some("cart.example.com".into()),
        codes: vec![12..=12],
    };
    let (outcome, asked) = probe_answered(protocol, LONG, Answer::HeadOnly("12")).await;
    assert_eq!(outcome, Outcome::Passed);
    assert_eq!((asked.method, asked.uri.as_str()), (Method::GET, "http://cart.example.com/shop.Cart/Ping"));
    assert!(asked.message.is_empty(), "{:?}", asked.message);
}

// Holds SG-184, SG-193
#[tokio::test]
async fn another_status_is_a_mismatch_with_both_sides_named() {
    for answer in [Answer::Trailers("14"), Answer::HeadOnly("14")] {
        let failure = expect_failure(outcome(&[0..=0, 2..=5], answer).await, FailureReason::ResponseMismatch);
        assert_eq!(failure.actual.as_deref(), Some("14"));
        assert_eq!(failure.expected.as_deref(), Some("0,2-5"));
    }
    assert_eq!(outcome(&[0..=0, 2..=5], Answer::Trailers("4")).await, Outcome::Passed);
    // Beyond what can be configured.
    let failure =
        expect_failure(outcome(&[0..=99], Answer::HeadOnly("256")).await, FailureReason::ResponseMismatch);
    assert_eq!(failure.actual.as_deref(), Some("256"));
}

// Holds SG-193
#[tokio::test]
async fn a_response_that_is_not_grpc_is_a_format_error() {
    for answer in [Answer::NoStatus(200), Answer::NoStatus(404), Answer::HeadOnly("OK"), Answer::Endless] {
        expect_failure(outcome(&[0..=0], answer).await, FailureReason::ResponseFormatError);
    }
}

// Holds SG-193
#[tokio::test]
async fn a_server_that_speaks_no_http2_is_a_format_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = target(listener.local_addr().unwrap().port(), grpc(false, &[0..=0]), LONG);
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await.unwrap();
        stream.read_to_end(&mut Vec::new()).await
    };
    let (outcome, _) = tokio::join!(probe(&target), serve);
    expect_failure(outcome, FailureReason::ResponseFormatError);
}

// Holds SG-193
#[tokio::test]
async fn a_call_that_ends_without_a_response_is_a_receive_failure() {
    expect_failure(outcome(&[0..=0], Answer::Reset).await, FailureReason::RecvResponseFailed);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = target(listener.local_addr().unwrap().port(), grpc(false, &[0..=0]), LONG);
    let close = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_buf(&mut Vec::new()).await.unwrap();
    };
    let (outcome, ()) = tokio::join!(probe(&target), close);
    expect_failure(outcome, FailureReason::RecvResponseFailed);
}

// Holds SG-193
#[tokio::test]
async fn a_server_that_never_answers_is_a_receive_timeout() {
    let (outcome, _) =
        probe_answered(grpc(false, &[0..=0]), Duration::from_millis(200), Answer::Silence).await;
    expect_failure(outcome, FailureReason::RecvResponseTimeout);
}

// Holds SG-184, SG-196
#[tokio::test]
async fn over_tls_http2_is_agreed_on_by_alpn() {
    for (protocols, passes) in [(&[&b"http/1.1"[..], b"h2"][..], true), (&[], true), (&[b"http/1.1"], false)]
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = target(listener.local_addr().unwrap().port(), grpc(true, &[0..=0]), LONG);
        let serve = async {
            let stream = listener.accept().await.unwrap().0;
            let stream = acceptor(protocols).accept(stream).await.ok()?;
            Some(serve(stream, Answer::Trailers("0")).await)
        };
        let (outcome, asked) = tokio::join!(probe(&target), serve);
        if passes {
            assert_eq!(outcome, Outcome::Passed);
            assert_eq!(asked.unwrap().uri, format!("https://127.0.0.1{PATH}"));
        } else {
            expect_failure(outcome, FailureReason::RecvResponseFailed);
        }
    }
}

// Holds SG-184
#[tokio::test]
async fn an_ipv6_server_is_called_from_an_ipv6_source() {
    let listener = TcpListener::bind("[::1]:0").await.unwrap();
    let target = over_ipv6(target(listener.local_addr().unwrap().port(), grpc(false, &[0..=0]), LONG));
    let serve = async { serve(listener.accept().await.unwrap().0, Answer::Trailers("0")).await };
    let (outcome, asked) = tokio::join!(probe(&target), serve);
    assert_eq!(outcome, Outcome::Passed);
    assert_eq!(asked.uri, format!("http://[::1]{PATH}"));
}
