//! How clients stay with their server (SG section 7).

use crate::config::ErrorFamily::{IllegalParam, MissingParam};
use crate::config::decode::{At, Field, Head, Report};
use crate::config::file::StickySessionEntry;
use crate::model::StickySession;
use std::time::Duration;

/// SG-117.
const COOKIE_BYTES: std::ops::RangeInclusive<usize> = 1..=200;
/// SG-113, seconds.
const TIMEOUT: std::ops::RangeInclusive<i128> = 1..=86_400;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Insert,
    Server,
}

/// The outer `None` is an error, the inner one "off". A section that is there is on unless it says otherwise; its
/// settings must be right even so, since it may be turned on.
pub(super) fn resolve_sticky_session(
    section: &Field<StickySessionEntry>,
    report: &mut Report<'_>,
) -> Option<Option<StickySession>> {
    let entry = match section {
        Field::Absent => return Some(None),
        Field::Bad => return None,
        Field::Good(entry) => entry,
    };
    let head = &entry.head;
    let is_on = report.flag(&entry.enabled, true);
    let choices = [("Insert", Kind::Insert), ("Server", Kind::Server)];
    let kind = report.choice_or(head, "type", &entry.session_type, Kind::Insert, &choices, &[]);
    let timeout = match &entry.cookie_timeout {
        // Terraform sends 0 for "unset" (SG-113).
        Field::Good(zero) if zero.value == 0 && kind == Some(Kind::Server) => Some(Duration::ZERO),
        field => report.seconds(head, "cookie_timeout", field, TIMEOUT, 1000),
    };
    let cookie = match &entry.cookie {
        Field::Absent => {
            if kind == Some(Kind::Server) && is_on == Some(true) {
                report.error(
                    head.code(MissingParam, "cookie"),
                    head.at,
                    &head.subject,
                    "",
                    "`cookie` is missing: with type Server it names the application's cookie",
                    "write `cookie: NAME`, or `type: Insert` to use a cookie of the balancer",
                );
            }
            Some(None)
        }
        Field::Bad => None,
        Field::Good(name) => cookie_name(head, name, report).map(Some),
    };
    let (is_on, kind, timeout, cookie) = (is_on?, kind?, timeout?, cookie?);
    let session = match kind {
        Kind::Insert => Some(StickySession::Insert { timeout }),
        Kind::Server => cookie.map(|cookie| StickySession::Server { cookie }),
    };
    match (is_on, session) {
        (true, None) => None,
        (true, session) => Some(session),
        (false, _) => Some(None),
    }
}

/// A token of RFC 6265 section 4.1.1, which is RFC 2616's: visible ASCII without separators.
fn cookie_name(head: &Head, name: &At<String>, report: &mut Report<'_>) -> Option<String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let is_good = COOKIE_BYTES.contains(&name.value.len())
        && name.value.bytes().all(is_token)
        && !name.value.starts_with('$');
    if is_good {
        return Some(name.value.clone());
    }
    report.error(
        head.code(IllegalParam, "cookie"),
        name.at,
        &head.subject,
        format!("cookie {:?}", name.value),
        "1 to 200 letters, digits or !#$%&'*+-.^_`|~, not beginning with `$`",
        "write the name of a cookie that the application sets, such as JSESSIONID",
    );
    None
}
