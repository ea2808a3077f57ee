//! Forwarding rules of listeners (LR-60 to LR-109).
//!
//! Conditions and actions are the same in configuration, in the model and in what the engine is told; only what an
//! action forwards to is named differently (`G`): by a group's name here, by its position in a snapshot there.

use super::template::Template;
use super::{RuleName, ServerGroupName};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// A rule of a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name (LR-61), for people; the priority is what makes it one.
    pub name: RuleName,
    /// What it looks at (LR-60).
    pub direction: RuleDirection,
    /// 1 to 10,000, unique in the listener and direction; the smallest is asked first (LR-62).
    pub priority: u16,
    /// All of them must hold (LR-70). At least one.
    pub conditions: Vec<Condition>,
    /// What is done.
    pub actions: Actions<ServerGroupName>,
}

/// What a rule looks at (LR-60).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RuleDirection {
    /// A request, before it is forwarded.
    Request,
    /// A server's response, before it is passed on.
    Response,
}

/// One condition. Of its values, any suffices (LR-70).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// The host asked for, without its port; case does not matter (LR-82). Literals and wildcards are in lower case.
    Host(Vec<Pattern>),
    /// The path as it came, without the query (LR-83).
    Path(Vec<Pattern>),
    /// A line of the request's head.
    Header(FieldCondition),
    /// Parameters of the query, decoded (LR-86).
    QueryString(Vec<Pair>),
    /// The method, one of those of LR-71.
    Method(Vec<String>),
    /// Cookies of the request.
    Cookie(Vec<Pair>),
    /// The client's address (LR-87).
    SourceIp(Vec<IpNet>),
    /// A line of the response's head. In response rules only.
    ResponseHeader(FieldCondition),
    /// The response's status. In response rules only.
    ResponseStatusCode(Vec<StatusPattern>),
}

/// A header line: its name, in any case, and its value, in this case.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldCondition {
    /// The name.
    pub key: String,
    /// Values of which any suffices; several lines match if any of them does (LR-86).
    pub values: Vec<Pattern>,
}

/// A parameter or cookie. Both parts must match the same one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// The name.
    pub key: Pattern,
    /// The value.
    pub value: Pattern,
}

/// A status, or a class of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StatusPattern {
    /// This one.
    Code(u16),
    /// `2` for 2xx.
    Class(u8),
}

/// What a text must look like.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Pattern {
    /// Exactly this (LR-81).
    Literal(String),
    /// `*` stands for any run of characters, `?` for one (LR-80). Holds at least one of them.
    Wildcard(String),
    /// A regular expression that is found anywhere in the text (LR-84, LR-85).
    Regex {
        /// In the syntax of the `regex` crate.
        pattern: String,
        /// Whether case does not matter.
        ignore_case: bool,
    },
}

impl Pattern {
    /// A literal, or a wildcard if there is one in `text`.
    pub fn glob(text: impl Into<String>) -> Pattern {
        let text = text.into();
        if text.contains(['*', '?']) { Pattern::Wildcard(text) } else { Pattern::Literal(text) }
    }
}

/// What a rule does, in the order of doing: first the extensions, then what ends it (LR-91, LR-92).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actions<G> {
    /// Ascending in order.
    pub extensions: Vec<Ordered<Extension<G>>>,
    /// The largest in order. A request rule has one; a response rule may (then it is a fixed response).
    pub last: Option<Ordered<Final<G>>>,
}

/// An action with its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ordered<A> {
    /// 1 to 50,000, unique in the rule (LR-91).
    pub order: u16,
    /// What is done.
    pub action: A,
}

/// An action that another one follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Extension<G> {
    /// What the server is asked for (LR-101). At most one in a rule, and only before a forward.
    Rewrite(Rewrite),
    /// Adds a header line (LR-102).
    InsertHeader(InsertHeader),
    /// Takes all header lines of a name away (LR-103).
    RemoveHeader {
        /// The name, in any case.
        key: String,
    },
    /// Refuses what is too much (LR-104).
    TrafficLimit(TrafficLimit),
    /// Sends a copy of the request to another group (LR-106).
    TrafficMirror {
        /// The group.
        group: G,
    },
    /// Cross-origin resource sharing (LR-107).
    Cors(Cors),
}

/// An action that answers the request, or finds who does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Final<G> {
    /// One of several groups (LR-94).
    Forward(Forward<G>),
    /// Another place (LR-97).
    Redirect(Redirect),
    /// A fixed response (LR-100).
    FixedResponse(FixedResponse),
}

/// Groups that share requests by weight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forward<G> {
    /// 1 to 5, distinct.
    pub groups: Vec<GroupShare<G>>,
    /// How long a client keeps to its group, seconds, 1 to 86,400 (LR-95). `None`: it does not.
    pub sticky_secs: Option<u32>,
}

/// A group's share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupShare<G> {
    /// The group.
    pub group: G,
    /// Relative to the others', 0 to 100, or as far as the quota goes (D-16).
    pub weight: u32,
}

/// Where a client is sent (LR-97). Parts that are `None` stay as the client asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// HTTPS (`true`) or HTTP.
    pub https: Option<bool>,
    /// Host.
    pub host: Option<String>,
    /// Port.
    pub port: Option<u16>,
    /// Path; may hold what regular expressions of the path condition captured (LR-98).
    pub path: Template,
    /// Query, without the `?`.
    pub query: Template,
}

/// What a server is asked for instead (LR-101). The client's URL stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewrite {
    /// Host.
    pub host: Option<String>,
    /// Path; as [`Redirect::path`].
    pub path: Template,
    /// Query, without the `?`.
    pub query: Template,
}

/// A response of ours (LR-100).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FixedResponse {
    /// 2xx, 4xx or 5xx.
    pub status: u16,
    /// One of the five types of LR-100.
    pub content_type: String,
    /// At most 1 KB of ASCII.
    pub content: String,
}

/// A header line of ours (LR-102).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InsertHeader {
    /// Its name, as it is written.
    pub key: String,
    /// Its value.
    pub value: HeaderValue,
    /// Whether it takes the place of lines of that name, or comes after them.
    pub cover: bool,
}

/// Where a header's value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HeaderValue {
    /// The rule (UserDefined).
    Text(String),
    /// The request's, or in a response rule the response's, header of this name (ReferenceHeader). Where it is absent,
    /// nothing is inserted.
    Reference(String),
    /// The balancer (SystemDefined).
    System(SystemValue),
}

/// What the balancer knows of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SystemValue {
    /// The client's port.
    ClientSrcPort,
    /// The client's address.
    ClientSrcIp,
    /// `http` or `https`, as the client speaks.
    Protocol,
    /// Name of the load balancer.
    SlbId,
    /// Port of the listener.
    SlbPort,
}

/// Requests per second, over all workers (LR-104, LR-105). At least one of both is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficLimit {
    /// Of all clients, 1 to 1,000,000.
    pub qps: Option<u32>,
    /// Of each client address (LR-44), smaller than `qps`.
    pub per_ip_qps: Option<u32>,
}

/// Which other sites' scripts may ask (LR-107).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cors {
    /// Origins allowed.
    pub origins: Origins,
    /// Methods allowed, in upper case; `*` alone for all.
    pub methods: Vec<String>,
    /// Request headers allowed; `*` alone for all.
    pub headers: Vec<String>,
    /// Response headers that scripts may read; `*` alone for all.
    pub expose: Vec<String>,
    /// Whether with cookies.
    pub credentials: bool,
    /// How long a client may remember, seconds, -1 to 172,800.
    pub max_age: i32,
}

/// Origins that scripts may come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origins {
    /// All.
    Any,
    /// These: `http(s)://host[:port]`, in lower case; the host may begin with `*.`, which stands for one label.
    Listed(Vec<String>),
}

impl<G> Actions<G> {
    /// The same with groups named otherwise.
    ///
    /// Errors: those of `name`, for the first group that it cannot name.
    pub fn try_map<H, E>(&self, mut name: impl FnMut(&G) -> Result<H, E>) -> Result<Actions<H>, E> {
        let extensions = self
            .extensions
            .iter()
            .map(|extension| {
                let action = match &extension.action {
                    Extension::Rewrite(rewrite) => Extension::Rewrite(rewrite.clone()),
                    Extension::InsertHeader(insert) => Extension::InsertHeader(insert.clone()),
                    Extension::RemoveHeader { key } => Extension::RemoveHeader { key: key.clone() },
                    Extension::TrafficLimit(limit) => Extension::TrafficLimit(*limit),
                    Extension::TrafficMirror { group } => Extension::TrafficMirror { group: name(group)? },
                    Extension::Cors(cors) => Extension::Cors(cors.clone()),
                };
                Ok(Ordered { order: extension.order, action })
            })
            .collect::<Result<_, E>>()?;
        let last = match &self.last {
            None => None,
            Some(Ordered { order, action }) => {
                let action = match action {
                    Final::Forward(forward) => Final::Forward(Forward {
                        groups: forward
                            .groups
                            .iter()
                            .map(|share| Ok(GroupShare { group: name(&share.group)?, weight: share.weight }))
                            .collect::<Result<_, E>>()?,
                        sticky_secs: forward.sticky_secs,
                    }),
                    Final::Redirect(redirect) => Final::Redirect(redirect.clone()),
                    Final::FixedResponse(fixed) => Final::FixedResponse(fixed.clone()),
                };
                Some(Ordered { order: *order, action })
            }
        };
        Ok(Actions { extensions, last })
    }

    /// The groups named, mirrors included.
    pub fn groups(&self) -> impl Iterator<Item = &G> {
        let mirrors = self.extensions.iter().filter_map(|extension| match &extension.action {
            Extension::TrafficMirror { group } => Some(group),
            _ => None,
        });
        let forwards = self.last.iter().flat_map(|last| match &last.action {
            Final::Forward(forward) => forward.groups.as_slice(),
            Final::Redirect(_) | Final::FixedResponse(_) => &[],
        });
        mirrors.chain(forwards.map(|share| &share.group))
    }
}
