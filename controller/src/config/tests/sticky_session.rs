//! Session persistence.

use super::*;
use crate::model::StickySession;
use std::time::Duration;

fn session(section: &str) -> Option<StickySession> {
    group("Ip", &format!("sticky_session: {section}")).sticky_session
}

#[track_caller]
fn refused(section: &str, expected: &str) {
    assert_eq!(
        group_errors("Ip", &format!("sticky_session: {section}")),
        [expected.replace(" | ", " | server group \"g1\", sticky session | ")]
    );
}

// Holds SG-110, SG-112, SG-113
#[test]
fn is_off_by_default_and_inserts_a_cookie_when_on() {
    assert_eq!(group("Ip", "").sticky_session, None);
    assert_eq!(session("{enabled: false}"), None);
    assert_eq!(session("{enabled: false, type: Server}"), None, "no cookie is needed while it is off");
    let insert = |seconds| Some(StickySession::Insert { timeout: Duration::from_secs(seconds) });
    assert_eq!(session("{enabled: true}"), insert(1000));
    assert_eq!(session("{type: Insert, cookie_timeout: 1}"), insert(1));
    assert_eq!(session("{cookie_timeout: 86400}"), insert(86_400));
    for seconds in [-1, 0, 86_401] {
        refused(
            &format!("{{type: Insert, cookie_timeout: {seconds}}}"),
            &format!("IllegalParam.CookieTimeout | cookie_timeout {seconds}"),
        );
    }
    refused("{type: insert}", "IllegalParam.StickySessionType | type insert");
}

// Holds SG-112, SG-113, SG-117
#[test]
fn rewrites_the_cookie_that_is_named() {
    let server = |cookie: &str| Some(StickySession::Server { cookie: cookie.to_owned() });
    let long = "c".repeat(200);
    for cookie in ["J", "JSESSIONID", "tf-example", "a$b", &long] {
        assert_eq!(session(&format!("{{type: Server, cookie: {cookie:?}}}")), server(cookie));
    }
    assert_eq!(session("{type: Server, cookie: id, cookie_timeout: 0}"), server("id"), "unset");
    refused(
        "{type: Server, cookie: id, cookie_timeout: 86401}",
        "IllegalParam.CookieTimeout | cookie_timeout 86401",
    );
    refused("{type: Server}", "MissingParam.Cookie | ");
    let longer = "c".repeat(201);
    for wrong in ["", "$id", "a,b", "a;b", "a b", "a=b", "a\"b", "ä", &longer] {
        refused(
            &format!("{{type: Server, cookie: {wrong:?}}}"),
            &format!("IllegalParam.Cookie | cookie {wrong:?}"),
        );
    }
    refused("{type: Insert, cookie: \"$id\"}", "IllegalParam.Cookie | cookie \"$id\"");
}
