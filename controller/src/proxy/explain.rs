//! What would become of a request, from the worker that would decide it, by the function that would (LR-109).

use super::access_log::ErrorSource;
use super::client::{HttpVersion, Origin};
use super::decision::{Answer, Mode, Outcome};
use super::failure::refusal_text;
use super::http1::head::RequestHead;
use super::target::Target;
use super::tls::Spoken;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

/// A request that nobody sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The listener; else the one that has the URL's port and scheme is meant, and of HTTPS and QUIC the former.
    pub listener: Option<String>,
    /// Whether by TLS.
    pub https: bool,
    /// Port of the URL.
    pub port: u16,
    /// The request's head as HTTP/1.1 says it, its empty line included.
    pub head: String,
    /// Where it would come from.
    pub client: IpAddr,
}

/// What would become of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The listener it would come to, and its load balancer.
    pub listener: String,
    /// See there.
    pub load_balancer: String,
    /// The client's address as rules see it.
    pub client: String,
    /// The rule it would meet; `rule-default-...` is the default one.
    pub rule: Option<String>,
    /// What would be done: `forward`, `redirect`, `fixed_response`, `cors`, `refuse`, or `close` by an access list.
    pub action: String,
    /// Status of an answer of ours.
    pub status: Option<u16>,
    /// Why, if it is an error.
    pub cause: Option<String>,
    /// Where a redirect leads.
    pub location: Option<String>,
    /// The group that would answer.
    pub server_group: Option<String>,
    /// The server that is next, and why.
    pub server: Option<SocketAddr>,
    /// See there.
    pub scheduler_reason: Option<String>,
    /// Path and query that the server would be asked for, where a rule rewrites them.
    pub path: Option<String>,
    /// The host, likewise.
    pub host: Option<String>,
    /// What stands for the rule in the headers that loops are known by (LR-112).
    pub mark: Option<String>,
    /// Those headers.
    #[serde(default)]
    pub trace_headers: Vec<String>,
    /// The group that would get a copy.
    pub mirror: Option<String>,
}

/// The listener among `targets` that is meant, and the answer; or why there is none.
pub fn explain(targets: &[Rc<Target>], question: &Question, now: u64) -> Result<Explanation, String> {
    let is_meant = |target: &&Rc<Target>| match &question.listener {
        Some(name) => target.listener == *name,
        None => {
            target.tls.is_some() == question.https
                && target.addresses.iter().any(|address| address.port() == question.port)
        }
    };
    let mut meant: Vec<&Rc<Target>> = targets.iter().filter(is_meant).collect();
    // A client comes over TCP first: of a QUIC listener on the same port it learns there.
    let is_of_tcp = |target: &&Rc<Target>| target.tls.as_ref().is_none_or(|tls| tls.spoken() == Spoken::Http);
    if question.listener.is_none() && meant.iter().any(is_of_tcp) {
        meant.retain(is_of_tcp);
    }
    let Some(target) = meant.first() else {
        let known: Vec<&str> = targets.iter().map(|target| target.listener.as_str()).collect();
        return Err(format!(
            "no L7 listener of this node has that name, or that scheme and port; there are: {}",
            if known.is_empty() { "none".to_owned() } else { known.join(", ") }
        ));
    };
    if let Some(other) = meant.iter().find(|other| other.listener != target.listener) {
        return Err(format!(
            "listeners {:?} and {:?} both have that scheme and port; name one with --listener",
            target.listener, other.listener
        ));
    }
    Ok(answer(target, question, now))
}

fn answer(target: &Target, question: &Question, now: u64) -> Explanation {
    let mut told = Explanation {
        listener: target.listener.clone(),
        load_balancer: target.load_balancer.clone(),
        client: question.client.to_string(),
        ..Explanation::default()
    };
    if !target.serves(question.client) {
        told.action = "close".into();
        told.cause =
            Some("the listener's access list does not serve this address; `--from` asks for another".into());
        return told;
    }
    let head = question.head.as_bytes();
    let mut request = RequestHead::default();
    let refusal = match request.parse(head) {
        Ok(Some(length)) if length == head.len() => None,
        Ok(_) => Some((400, "the head is not whole, or more than a head")),
        Err(refusal) => Some((refusal.status(), refusal_text(refusal))),
    };
    if let Some((status, cause)) = refusal {
        told.action = "refuse".into();
        (told.status, told.cause) = (Some(status), Some(cause.into()));
        return told;
    }
    let vip = target.addresses.iter().find(|vip| vip.is_ipv4() == question.client.is_ipv4());
    let vip = vip.or(target.addresses.first()).copied();
    let peer = SocketAddr::new(question.client, 0);
    let version = if target.tls.is_some() { HttpVersion::Http3 } else { HttpVersion::Http1 };
    let origin = Origin::new(peer, vip.unwrap_or(peer), Arc::default(), version);
    let decision = target.decide(&origin, &request, head, now, Mode::Explain);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    told.client = decision.client_address().to_string();
    told.rule = Some(decision.actions.id.clone());
    told.action = decision.action().into();
    told.mark = Some(text(&decision.actions.trace));
    told.trace_headers = target.trace_headers.clone();
    match &decision.outcome {
        Outcome::Answer(answer) => {
            told.status = Some(answer.status());
            let (source, cause) = answer.blame();
            told.cause = (source != ErrorSource::None).then(|| cause.into());
            if let Answer::Redirect(_, location) = answer {
                told.location = Some(text(location));
            }
        }
        Outcome::Forward(group) => {
            told.server_group = Some(group.name.clone());
            told.path = decision.path.as_deref().map(text);
            told.host = decision.host().map(text);
            told.mirror = decision.actions.mirror.as_ref().map(|mirror| mirror.name.clone());
            let claim = group.claim(&request, head, || decision.client_address());
            match group.peek(now, &claim) {
                Some(pick) => {
                    told.server = Some(group.servers[pick.index].address);
                    told.scheduler_reason = Some(pick.reason.into());
                }
                None => {
                    told.status = Some(503);
                    told.cause = Some("no server to forward to".into());
                }
            }
        }
    }
    told
}
