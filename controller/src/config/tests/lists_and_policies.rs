//! Access control lists and security policies as resources, and what listeners may do with them.

use super::listeners::{SECTIONS, among};
use super::*;
use crate::model::{SecurityPolicyName, TlsVersion};

/// A list with this many entries, from 10.`net`.0.0 on.
fn list(name: &str, net: usize, count: usize) -> String {
    let entries = (0..count).map(|n| format!("{{cidr: 10.{net}.{}.{}/32}}", n / 250, n % 250));
    format!("  - {{name: {name}, entries: [{}]}}\n", entries.collect::<Vec<_>>().join(", "))
}

// Holds LR-32
#[test]
fn lists_are_bounded_each_and_together() {
    let acls = |lists: &[String]| format!("acls:\n{}", lists.concat());
    assert_eq!(among(&[], &acls(&[list("one", 1, 500)])), [""; 0]);
    assert_eq!(
        among(&[], &acls(&[list("one", 1, 501)])),
        [
            "[QuotaExceeded.AclEntries] ACL \"one\": 501 entries: a list has at most 500; join networks that lie side by side, or begin another list"
        ]
    );
    let two = acls(&[list("one", 1, 250), list("two", 2, 251), list("six", 3, 300)]);
    let of_both = "l1 alb1 HTTP 80 , acl: {type: White, lists: [one, two]}";
    assert_eq!(
        among(&[of_both], &two),
        [
            "[QuotaExceeded.AclEntriesPerListener] listener \"l1\": 501 entries: the lists of a listener of a load balancer of edition \
          Standard have at most 500; join networks that lie side by side, or name fewer lists"
        ]
    );
    let each = ["one", "two", "six"].map(|list| {
        format!("l-{list} alb1 HTTP {} , acl: {{type: White, lists: [{list}]}}", 80 + list.as_bytes()[0])
    });
    assert_eq!(
        among(&each.each_ref().map(String::as_str), &two),
        [
            "[QuotaExceeded.AclEntriesPerLoadBalancer] load balancer \"alb1\": 801 entries of access control lists: the lists of all its \
          listeners have at most 800; join networks that lie side by side, or name fewer lists"
        ]
    );
    let many: Vec<String> = (1..=51)
        .map(|port| format!("l{port} alb1 HTTP {port} , acl: {{type: White, lists: [one]}}"))
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(among(&many[..50], &two), [""; 0]);
    assert_eq!(
        among(&many, &two),
        [
            "[QuotaExceeded.AclAttachedListeners] ACL \"one\": named by 51 listeners: a list serves at most 50 listeners; write a copy of it for some of them"
        ]
    );
}

// Holds LR-32
#[test]
fn a_list_holds_distinct_networks() {
    let entries = |entries: &str| among(&[], &format!("acls: [{{name: home, entries: [{entries}]}}]\n"));
    assert_eq!(entries("{cidr: 192.0.2.7/32}, {cidr: 192.0.2.0/24, description: all}"), [""; 0]);
    for (text, expected) in [
        (
            "{cidr: 192.0.2.1/24}",
            "[IllegalParam.Entry] ACL \"home\", entry 192.0.2.1/24: cidr 192.0.2.1/24: the address has bits set beyond the prefix length; write 192.0.2.0/24, or 192.0.2.1/32 for the one address",
        ),
        (
            "{description: all}",
            "[MissingParam.Entry] ACL \"home\", entry #1: `cidr` is missing; write the addresses: `cidr: 192.0.2.0/24`",
        ),
        (
            "{cidr: 10.0.0.0/8, description: \"\"}",
            "[IllegalParam.Description] ACL \"home\", entry 10.0.0.0/8: description of 0 characters: 1 to 256 characters; shorten it, or leave it out",
        ),
    ] {
        assert_eq!(entries(text), [expected]);
    }
    let repeated = entries("{cidr: 10.0.0.0/8}, {cidr: 10.0.0.0/8}");
    assert_eq!(repeated.len(), 1);
    assert!(
        repeated[0].starts_with(
            "[DuplicatedParam.Entry] ACL \"home\", entry 10.0.0.0/8: the list has it already, on line "
        ),
        "{repeated:?}"
    );
}

fn policy(settings: &str) -> Vec<String> {
    among(&[], &format!("security_policies: [{{{settings}}}]\n"))
}

// Holds LR-21, LR-22
#[test]
fn the_suites_of_a_policy_fit_its_versions() {
    let parsed = parse_resources(&format!("{NETWORK}{SECTIONS}"), "r.yaml").unwrap().value;
    let mine = &parsed.security_policies[&SecurityPolicyName::new("mine")];
    assert_eq!(mine.versions, [TlsVersion::Tls12, TlsVersion::Tls13]);
    assert_eq!(mine.ciphers, ["TLS_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"]);
    let list = "list cipher suites as OpenSSL names them, such as ECDHE-RSA-AES128-GCM-SHA256";
    let write = "write some of TLSv1.0, TLSv1.1, TLSv1.2 and TLSv1.3";
    let subject = "security policy \"p1\"";
    for (settings, expected) in [
        (
            "tls_versions: [TLSv1.2]",
            format!("[MissingParam.Ciphers] {subject}: `ciphers` is missing; {list}"),
        ),
        (
            "tls_versions: [TLSv1.2], ciphers: []",
            format!("[IllegalParam.Ciphers] {subject}: ciphers: no suite is listed; {list}"),
        ),
        (
            "ciphers: [AES128-SHA, ECDHE-RSA-AES128-GCM-SHA256]",
            format!("[MissingParam.TLSVersions] {subject}: `tls_versions` is missing; {write}"),
        ),
        (
            "tls_versions: [], ciphers: [AES128-SHA]",
            format!("[IllegalParam.TLSVersions] {subject}: tls_versions: no version is listed; {write}"),
        ),
        (
            "tls_versions: [TLSv1.2, TLSv1.2], ciphers: [AES128-SHA]",
            format!(
                "[DuplicatedParam.TLSVersions] {subject}: tls_versions: a version is listed twice; {write}"
            ),
        ),
        (
            "tls_versions: [TLSv1.4], ciphers: [AES128-SHA]",
            format!(
                "[IllegalParam.TLSVersions] {subject}: tls_versions TLSv1.4: not one of TLSv1.0, TLSv1.1, TLSv1.2, TLSv1.3; did you mean TLSv1.0?"
            ),
        ),
        (
            "tls_versions: [TLSv1.2], ciphers: [ECDHE-RSA-AES128-GCM-SHA255]",
            format!(
                "[IllegalParam.Ciphers] {subject}: cipher ECDHE-RSA-AES128-GCM-SHA255: there is no such cipher suite; did you mean ECDHE-RSA-AES128-GCM-SHA256?"
            ),
        ),
        (
            "tls_versions: [TLSv1.2], ciphers: [TLS_AES_128_GCM_SHA256]",
            format!(
                "[IllegalParam.Ciphers] {subject}: cipher TLS_AES_128_GCM_SHA256: it is of TLSv1.3, which the policy does not allow; remove it, or add that version to `tls_versions`"
            ),
        ),
        (
            "tls_versions: [TLSv1.2], ciphers: [ECDHE-RSA-AES128-GCM-SHA256, ECDHE-RSA-AES128-GCM-SHA256]",
            format!(
                "[DuplicatedParam.Ciphers] {subject}: cipher ECDHE-RSA-AES128-GCM-SHA256: it is listed twice; name it once"
            ),
        ),
        (
            "tls_versions: [TLSv1.2, TLSv1.3], ciphers: [ECDHE-RSA-AES128-GCM-SHA256]",
            format!(
                "[IllegalParam.Ciphers] {subject}: tls_versions TLSv1.3: it needs suites of its own, and none is listed; add TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384 or TLS_CHACHA20_POLY1305_SHA256"
            ),
        ),
        (
            "tls_versions: [TLSv1.0], ciphers: [AES128-SHA]",
            format!(
                "[IllegalParam.Ciphers] {subject}: nothing of it is served, so that no client could connect; {}",
                crate::tls_policy::REMEDY
            ),
        ),
    ] {
        assert_eq!(policy(&format!("name: p1, {settings}")), [expected], "{settings}");
    }
    assert_eq!(
        policy(
            "name: tls_cipher_policy_1_0, tls_versions: [TLSv1.2], ciphers: [ECDHE-RSA-AES128-GCM-SHA256]"
        ),
        [
            "[ResourceAlreadyExist.SecurityPolicy] security policy \"tls_cipher_policy_1_0\": name \"tls_cipher_policy_1_0\": the system has a policy of this name; choose another name"
        ]
    );
}

// Holds LR-22
#[test]
fn policies_are_bounded_in_number_and_use() {
    let policy = |name: &str| {
        format!("{{name: {name}, tls_versions: [TLSv1.2], ciphers: [ECDHE-RSA-AES128-GCM-SHA256]}}")
    };
    let policies = |count: usize| {
        let policies = (1..=count).map(|n| policy(&format!("p{n}"))).collect::<Vec<_>>().join(", ");
        format!("security_policies: [{policies}]\n")
    };
    assert_eq!(among(&[], &policies(50)), [""; 0]);
    assert_eq!(
        among(&[], &policies(51)),
        [
            "[QuotaExceeded.SecurityPolicies] 51 security policies: there are at most 50; let listeners share them"
        ]
    );
    let listeners: Vec<String> =
        (1..=11).map(|port| format!("l{port} alb1 HTTPS {port} , security_policy: p1")).collect();
    let listeners: Vec<&str> = listeners.iter().map(String::as_str).collect();
    assert_eq!(among(&listeners[..10], &policies(1)), [""; 0]);
    assert_eq!(
        among(&listeners, &policies(1)),
        [
            "[QuotaExceeded.SecurityPolicyAttachedNum] security policy \"p1\": named by 11 listeners: a policy serves at most 10 listeners; write a copy of it for some of them"
        ]
    );
}
