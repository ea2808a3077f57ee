//! Serves metrics: HTTP/1.1, `GET /metrics`, one request for each connection.

use super::metrics::MetricsSnapshot;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

/// Where snapshots are asked for.
pub type Source = mpsc::Sender<oneshot::Sender<MetricsSnapshot>>;

/// Scrapes at a time; one more waits in the socket's backlog.
const CLIENTS_MAX: usize = 8;
/// A whole request head, bytes.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// From the connection to the end of the response.
const DEADLINE: Duration = Duration::from_secs(10);
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Serves scrapes on `listener` until dropped. A client that is slow, silent or wrong costs its own connection only.
pub async fn serve(listener: TcpListener, source: Source) {
    let places = Arc::new(Semaphore::new(CLIENTS_MAX));
    loop {
        let place = Arc::clone(&places).acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, peer)) => {
                let source = source.clone();
                tokio::spawn(async move {
                    match timeout(DEADLINE, serve_client(stream, source)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => log::debug!("metrics client {peer}: {error}"),
                        Err(_) => log::debug!("metrics client {peer}: took longer than {DEADLINE:?}"),
                    }
                    drop(place);
                });
            }
            Err(error) => {
                log::warn!("accept of a metrics client: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve_client(mut stream: TcpStream, source: Source) -> io::Result<()> {
    let mut head = Vec::with_capacity(1024);
    while !is_complete(&head) {
        if head.len() >= HEAD_BYTES_MAX {
            return answer(&mut stream, "431 Request Header Fields Too Large", "text/plain", "", false).await;
        }
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let first_line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let first_line = String::from_utf8_lossy(first_line);
    let mut words = first_line.split_ascii_whitespace();
    let (method, target, version) = (words.next(), words.next(), words.next());
    let path = target.map(|target| target.split('?').next().unwrap_or(target));
    let is_head = method == Some("HEAD");
    match (method, path, version) {
        (Some("GET" | "HEAD"), Some("/metrics"), Some(version)) if version.starts_with("HTTP/1.") => {
            match snapshot(&source).await {
                Some(snapshot) => {
                    answer(&mut stream, "200 OK", CONTENT_TYPE, &snapshot.encode(), is_head).await
                }
                None => {
                    let body = "the controller is stopping\n";
                    answer(&mut stream, "503 Service Unavailable", "text/plain", body, is_head).await
                }
            }
        }
        (Some("GET" | "HEAD"), Some(_), Some(_)) => {
            answer(&mut stream, "404 Not Found", "text/plain", "metrics are at /metrics\n", is_head).await
        }
        (Some(_), Some(_), Some(_)) => {
            answer(&mut stream, "405 Method Not Allowed", "text/plain", "use GET\n", is_head).await
        }
        _ => answer(&mut stream, "400 Bad Request", "text/plain", "not an HTTP/1.1 request\n", false).await,
    }
}

async fn snapshot(source: &Source) -> Option<MetricsSnapshot> {
    let (answer, answered) = oneshot::channel();
    source.send(answer).await.ok()?;
    answered.await.ok()
}

/// Whether `head` holds the empty line that ends a request head.
fn is_complete(head: &[u8]) -> bool {
    head.windows(4).any(|bytes| bytes == b"\r\n\r\n") || head.windows(2).any(|bytes| bytes == b"\n\n")
}

async fn answer(
    stream: &mut TcpStream,
    status: &str,
    content_type: &str,
    body: &str,
    is_head: bool,
) -> io::Result<()> {
    let allow = if status.starts_with("405") { "Allow: GET, HEAD\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n{allow}Connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    if !is_head {
        stream.write_all(body.as_bytes()).await?;
    }
    stream.shutdown().await
}
