//! TCP probes: a completed handshake passes (SG-181).

use super::{Target, failed};
use crate::health::{Failure, FailureReason, Outcome};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

/// Connects to the target and closes again (SG-185).
pub async fn probe(target: &Target) -> Outcome {
    match connect(target, Instant::now() + target.check.timeout).await {
        Ok(_) => Outcome::Passed,
        Err(failure) => Outcome::Failed(failure),
    }
}

/// A connection to the target from its source address, completed before `deadline`.
pub(super) async fn connect(target: &Target, deadline: Instant) -> Result<TcpStream, Failure> {
    let socket = bound_socket(target.source).map_err(|error| {
        failed(FailureReason::ConnectFailed, format!("bind to source {}: {error}", target.source))
    })?;
    let address = target.address();
    match tokio::time::timeout_at(deadline, socket.connect(address)).await {
        Err(_) => Err(failed(FailureReason::ConnectTimeout, format!("no answer from {address}"))),
        Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut => {
            Err(failed(FailureReason::ConnectTimeout, format!("{address}: {error}")))
        }
        Ok(Err(error)) => Err(failed(FailureReason::ConnectFailed, format!("{address}: {error}"))),
        Ok(Ok(stream)) => Ok(stream),
    }
}

fn bound_socket(source: IpAddr) -> io::Result<TcpSocket> {
    let domain = if source.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    // The port is chosen at connect, unique per destination: a source then serves as many probes as there are
    // ports *for each server*, and none of its ports is taken from traffic.
    setsockopt(&socket, sockopt::IpBindAddressNoPort, &true)?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    Ok(TcpSocket::from_std_stream(socket.into()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::{HealthCheck, HealthCheckProtocol, ServerAddress};
    use crate::probe::TargetId;
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::time::Duration;
    use tokio::net::TcpListener;

    pub(in crate::probe) const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 77));

    pub(in crate::probe) fn target(port: u16, protocol: HealthCheckProtocol, timeout: Duration) -> Target {
        Target {
            id: TargetId(1),
            server: ServerAddress { ip: Ipv4Addr::LOCALHOST.into(), port: port.try_into().unwrap() },
            source: SOURCE,
            check: HealthCheck {
                protocol,
                connect_port: None,
                interval: Duration::from_secs(2),
                timeout,
                healthy_threshold: 3,
                unhealthy_threshold: 3,
            },
        }
    }

    /// The same over IPv6.
    pub(in crate::probe) fn over_ipv6(mut target: Target) -> Target {
        target.server.ip = Ipv6Addr::LOCALHOST.into();
        target.source = Ipv6Addr::LOCALHOST.into();
        target
    }

    fn tcp(port: u16, timeout: Duration) -> Target {
        target(port, HealthCheckProtocol::Tcp, timeout)
    }

    /// A port of 127.0.0.1 that nothing listens on; held, so that nothing will.
    pub(in crate::probe) fn refused_port() -> (Socket, u16) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0).into()).unwrap();
        let port = socket.local_addr().unwrap().as_socket_ipv4().unwrap().port();
        (socket, port)
    }

    #[track_caller]
    pub(in crate::probe) fn expect_failure(outcome: Outcome, reason: FailureReason) -> Failure {
        match outcome {
            Outcome::Failed(failure) if failure.reason == reason => failure,
            other => panic!("expected {reason}, got {other:?}"),
        }
    }

    const LONG: Duration = Duration::from_secs(30);

    // Holds SG-181, SG-191, XR-23
    #[tokio::test]
    async fn a_completed_handshake_passes_and_comes_from_the_source_address() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = tcp(listener.local_addr().unwrap().port(), LONG);
        let (outcome, accepted) = tokio::join!(probe(&target), listener.accept());
        assert_eq!(outcome, Outcome::Passed);
        assert_eq!(accepted.unwrap().1.ip(), SOURCE);
    }

    // Holds SG-181, SG-191
    #[tokio::test]
    async fn an_ipv6_server_is_probed_from_an_ipv6_source() {
        let listener = TcpListener::bind("[::1]:0").await.unwrap();
        let target = over_ipv6(tcp(listener.local_addr().unwrap().port(), LONG));
        let (outcome, accepted) = tokio::join!(probe(&target), listener.accept());
        assert_eq!(outcome, Outcome::Passed);
        assert_eq!(accepted.unwrap().1.ip(), target.source);
    }

    // Holds SG-180
    #[tokio::test]
    async fn probes_the_port_of_the_check() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut target = tcp(1, LONG);
        target.check.connect_port = Some(listener.local_addr().unwrap().port().try_into().unwrap());
        assert_eq!(probe(&target).await, Outcome::Passed);
    }

    // Holds SG-193
    #[tokio::test]
    async fn a_refused_handshake_fails_at_once() {
        let (_held, port) = refused_port();
        let failure = expect_failure(probe(&tcp(port, LONG)).await, FailureReason::ConnectFailed);
        assert!(failure.detail.contains("refused"), "{failure}");
    }

    // Holds SG-193
    #[tokio::test]
    async fn a_silent_server_times_out() {
        // A listener whose queue is full drops handshakes, which from outside is a silent host.
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0).into()).unwrap();
        listener.listen(0).unwrap();
        let port = listener.local_addr().unwrap().as_socket_ipv4().unwrap().port();
        let _queued = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let started = Instant::now();
        let outcome = probe(&tcp(port, Duration::from_millis(200))).await;
        expect_failure(outcome, FailureReason::ConnectTimeout);
        assert!(started.elapsed() >= Duration::from_millis(200));
    }

    #[tokio::test]
    async fn a_source_this_host_has_not_is_named() {
        let mut target = tcp(80, LONG);
        target.source = "192.0.2.1".parse().unwrap();
        let failure = expect_failure(probe(&target).await, FailureReason::ConnectFailed);
        assert!(failure.detail.starts_with("bind to source 192.0.2.1"), "{failure}");
    }
}
