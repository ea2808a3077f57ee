//! TLS security policies of the file's own (LR-22).

use super::rules::list;
use super::{Places, Spot};
use crate::config::ErrorFamily::{DuplicatedParam, IllegalParam, QuotaExceeded, ResourceAlreadyExist};
use crate::config::decode::{Located, Report, nearest};
use crate::config::file::{ResourcesFile, SecurityPolicyEntry};
use crate::model::{Resources, SecurityPolicy, SecurityPolicyName, TlsVersion};
use crate::tls_policy::{self, PolicyRef, SystemPolicy};

/// Of one file; the API's is per region.
const POLICIES_MAX: usize = 50;

pub(super) fn resolve_security_policies(
    file: &ResourcesFile,
    resources: &mut Resources,
    places: &mut Places,
    report: &mut Report<'_>,
) {
    let entries = file.security_policies.items();
    if let Some(beyond) = entries.get(POLICIES_MAX) {
        report.error(
            QuotaExceeded.of("SecurityPolicies"),
            beyond.head.at,
            "",
            format!("{} security policies", entries.len()),
            format!("there are at most {POLICIES_MAX}"),
            "let listeners share them",
        );
    }
    for entry in entries {
        let Some(policy) = resolve_policy(entry, report) else { continue };
        let place = report.place(entry.head.at);
        places.set(Spot::SecurityPolicy(policy.name.clone()), place, &entry.head.subject);
        resources.security_policies.insert(policy.name.clone(), policy);
    }
}

fn resolve_policy(entry: &SecurityPolicyEntry, report: &mut Report<'_>) -> Option<SecurityPolicy> {
    let head = &entry.head;
    let name = report.name(head, &entry.name);
    if let Some(name) = name.as_deref().filter(|name| SystemPolicy::of(name).is_some()) {
        report.error(
            ResourceAlreadyExist.of("SecurityPolicy"),
            entry.name.at().unwrap_or(head.at),
            &head.subject,
            format!("name \"{name}\""),
            "the system has a policy of this name",
            "choose another name",
        );
    }
    let versions = resolve_versions(entry, report);
    let ciphers = resolve_ciphers(entry, versions.as_deref(), report);
    let policy =
        SecurityPolicy { name: SecurityPolicyName::new(name?), versions: versions?, ciphers: ciphers? };
    if tls_policy::served(&PolicyRef::Custom(&policy)).is_nothing() {
        report.error(
            head.code(IllegalParam, "ciphers"),
            entry.ciphers.at().unwrap_or(head.at),
            &head.subject,
            "",
            "nothing of it is served, so that no client could connect",
            tls_policy::REMEDY,
        );
        return None;
    }
    Some(policy)
}

fn resolve_versions(entry: &SecurityPolicyEntry, report: &mut Report<'_>) -> Option<Vec<TlsVersion>> {
    let head = &entry.head;
    let remedy = "write some of TLSv1.0, TLSv1.1, TLSv1.2 and TLSv1.3";
    let texts = report.required(head, "tls_versions", &entry.tls_versions, remedy)?;
    let choices = [TlsVersion::Tls10, TlsVersion::Tls11, TlsVersion::Tls12, TlsVersion::Tls13];
    let names = choices.map(|version| version.to_string());
    let choices: Vec<(&str, TlsVersion)> = names.iter().map(String::as_str).zip(choices).collect();
    let mut versions = Vec::new();
    for text in texts {
        versions.push(report.choice(head, "tls_versions", text, &choices, &[])?);
    }
    versions.sort();
    let is_repeated = versions.windows(2).any(|pair| pair[0] == pair[1]);
    if versions.is_empty() || is_repeated {
        report.error(
            head.code(if is_repeated { DuplicatedParam } else { IllegalParam }, "tls_versions"),
            texts.first().map_or(head.at, |first| first.at),
            &head.subject,
            "tls_versions",
            if is_repeated { "a version is listed twice" } else { "no version is listed" },
            remedy,
        );
        return None;
    }
    Some(versions)
}

fn resolve_ciphers(
    entry: &SecurityPolicyEntry,
    versions: Option<&[TlsVersion]>,
    report: &mut Report<'_>,
) -> Option<Vec<String>> {
    let head = &entry.head;
    let remedy = "list cipher suites as OpenSSL names them, such as ECDHE-RSA-AES128-GCM-SHA256";
    let texts = report.required(head, "ciphers", &entry.ciphers, remedy)?;
    let mut ciphers: Vec<String> = Vec::new();
    let mut is_fine = !texts.is_empty();
    if texts.is_empty() {
        report.error(
            head.code(IllegalParam, "ciphers"),
            head.at,
            &head.subject,
            "ciphers",
            "no suite is listed",
            remedy,
        );
    }
    for text in texts {
        let known: Vec<&str> = tls_policy::known_ciphers().collect();
        let name = text.value.as_str();
        let of = tls_policy::versions_of(name);
        let (family, rule, remedy) = match (of, versions) {
            (None, _) => {
                let near = nearest(name, &known);
                let remedy = near.map_or_else(
                    || format!("the suites are {}", list(known.iter().copied())),
                    |near| format!("did you mean {near}?"),
                );
                (IllegalParam, "there is no such cipher suite".to_owned(), remedy)
            }
            (Some(of), Some(versions)) if !of.iter().any(|version| versions.contains(version)) => {
                let words: Vec<String> = of.iter().map(TlsVersion::to_string).collect();
                let rule = format!("it is of {}, which the policy does not allow", words.join(", "));
                (IllegalParam, rule, "remove it, or add that version to `tls_versions`".to_owned())
            }
            (Some(_), _) if ciphers.iter().any(|known| known == name) => {
                (DuplicatedParam, "it is listed twice".to_owned(), "name it once".to_owned())
            }
            (Some(_), _) => {
                ciphers.push(name.to_owned());
                continue;
            }
        };
        is_fine = false;
        let code = head.code(family, "ciphers");
        report.error(code, text.at, &head.subject, format!("cipher {name}"), rule, remedy);
    }
    let is_of_13 = |name: &String| {
        tls_policy::versions_of(name).is_some_and(|versions| versions.contains(&TlsVersion::Tls13))
    };
    let allows_13 = versions.is_some_and(|versions| versions.contains(&TlsVersion::Tls13));
    if is_fine && allows_13 && !ciphers.iter().any(is_of_13) {
        report.error(
            head.code(IllegalParam, "ciphers"),
            texts.location(),
            &head.subject,
            "tls_versions TLSv1.3",
            "it needs suites of its own, and none is listed",
            "add TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384 or TLS_CHACHA20_POLY1305_SHA256",
        );
        is_fine = false;
    }
    is_fine.then_some(ciphers)
}
