//! Certificates of the store and the listeners that name them: neither is to change so that the other no longer fits.

use super::ErrorFamily::{
    IllegalParam, Mismatch, QuotaExceeded, ResourceAlreadyExist, ResourceInUse, ResourceNotFound,
};
use super::decode::nearest;
use super::edit::Remark;
use super::resolve::{Checks, Spot};
use super::{ConfigErrors, ErrorCode, Parsed, Warnings};
use crate::certificate::{self, Certificate, Expired, Facts, KeyText, NAME_RULE, Part, Problem, is_name};
use crate::model::{CertificateName, Listener, Resources};
use crate::tls_policy::{PolicyRef, served};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Certificates kept; more are refused. Load balancers take at most 300 each (LR-67).
const CERTIFICATES_MAX: usize = 1000;

/// The certificates that there are, at a moment in seconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct Held<'a> {
    /// By name.
    pub certificates: &'a BTreeMap<CertificateName, Certificate>,
    /// The moment.
    pub now: i64,
}

/// A change of the store that an operator asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum CertificateChange {
    /// A certificate under a new name.
    Add {
        /// The name.
        name: String,
        /// It and those between it and an authority, PEM.
        certificate: String,
        /// Its private key, PEM.
        key: KeyText,
        /// Whether it is taken although it has expired.
        #[serde(default)]
        allow_expired: bool,
    },
    /// A certificate in place of the one of this name.
    Renew {
        /// The name.
        name: String,
        /// As for [`CertificateChange::Add`].
        certificate: String,
        /// As for [`CertificateChange::Add`].
        key: KeyText,
        /// As for [`CertificateChange::Add`].
        #[serde(default)]
        allow_expired: bool,
    },
    /// A certificate that no listener names goes.
    Remove {
        /// The name.
        name: String,
    },
}

/// A change that can be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateEdit {
    /// Which certificate.
    pub name: CertificateName,
    /// What it becomes; `None`: it goes.
    pub certificate: Option<Certificate>,
    /// What is doubtful in that.
    pub warnings: Vec<Remark>,
}

/// What `change` makes of the certificates `held`, while `resources` are in force.
///
/// # Errors
/// Everything that stands against it; then nothing is to change.
pub fn change_certificate(
    change: &CertificateChange,
    held: Held<'_>,
    resources: &Resources,
) -> Result<CertificateEdit, Vec<Remark>> {
    let (name, is_new, pem) = match change {
        CertificateChange::Add { name, certificate, key, allow_expired } => {
            (name, true, Some((certificate, key, *allow_expired)))
        }
        CertificateChange::Renew { name, certificate, key, allow_expired } => {
            (name, false, Some((certificate, key, *allow_expired)))
        }
        CertificateChange::Remove { name } => (name, false, None),
    };
    let subject = format!("certificate {name:?}");
    let remark = |code, value: &str, rule: &str, remedy: &str| Remark {
        code,
        subject: subject.clone(),
        value: value.to_owned(),
        rule: rule.to_owned(),
        remedy: remedy.to_owned(),
    };
    let of_problem = |problem: &Problem, code| remark(code, &problem.value, &problem.rule, &problem.remedy);
    let name = CertificateName::new(name.as_str());
    let old = held.certificates.get(&name);
    let mut denials = Vec::new();
    let mut deny =
        |code: ErrorCode, rule: &str, remedy: &str| denials.push(remark(Some(code), "", rule, remedy));
    match (old, is_new) {
        (Some(_), true) => deny(
            ResourceAlreadyExist.of("Certificate"),
            "there is one of this name",
            "`causeway certificate renew` replaces it",
        ),
        (None, true) if !is_name(name.as_str()) => {
            deny(IllegalParam.of("CertificateName"), NAME_RULE, "choose another name");
        }
        (None, true) if held.certificates.len() >= CERTIFICATES_MAX => deny(
            QuotaExceeded.of("Certificates"),
            &format!("{CERTIFICATES_MAX} certificates are kept already"),
            "remove those that no listener names; `causeway certificate list` shows them",
        ),
        (None, false) => {
            deny(ResourceNotFound.of("Certificate"), "there is none of this name", &hint(&name, held))
        }
        _ => {}
    }
    let users: Vec<&Listener> = users(resources, &name).collect();
    let Some((chain, key, allow_expired)) = pem else {
        if let (Some(_), false) = (old, users.is_empty()) {
            let names: Vec<String> = users.iter().map(|listener| format!("\"{}\"", listener.name)).collect();
            deny(
                ResourceInUse.of("Certificate"),
                &format!("it is used by listener {}", names.join(", ")),
                "apply resources in which no listener names it, then remove it",
            );
        }
        let edit = CertificateEdit { name, certificate: None, warnings: Vec::new() };
        return if denials.is_empty() { Ok(edit) } else { Err(denials) };
    };
    let expired = if allow_expired { Expired::Allowed } else { Expired::Refused };
    let checked = match certificate::check(chain, key, held.now, expired) {
        Ok(checked) => checked,
        Err(problems) => {
            denials.extend(problems.iter().map(|problem| of_problem(problem, Some(code_of(problem.part)))));
            return Err(denials);
        }
    };
    for listener in users {
        if let Some(policy) = misfit(listener, resources, &checked.certificate.facts) {
            denials.push(remark(
                Some(Mismatch.of("SecurityPolicy")),
                &format!("key of type {}", checked.certificate.facts.key_type),
                &format!(
                    "listener \"{}\" names it, and no suite of its policy {policy} goes with it",
                    listener.name
                ),
                KEY_REMEDY,
            ));
        }
    }
    let mut warnings: Vec<Remark> =
        checked.warnings.iter().map(|problem| of_problem(problem, None)).collect();
    if let Some(old) = old {
        let names = &checked.certificate.facts.names;
        for lost in old.facts.names.iter().filter(|name| !names.contains(name)) {
            let value = format!("name {lost:?}");
            warnings.push(remark(None, &value, "the certificate before it had this name", "is that meant?"));
        }
    }
    let edit = CertificateEdit { name, certificate: Some(checked.certificate), warnings };
    if denials.is_empty() { Ok(edit) } else { Err(denials) }
}

fn code_of(part: Part) -> ErrorCode {
    match part {
        Part::Certificate => IllegalParam.of("Certificate"),
        Part::Key => IllegalParam.of("PrivateKey"),
        Part::Both => Mismatch.of("PrivateKey"),
    }
}

const KEY_REMEDY: &str = "use a certificate with a key of the other kind (RSA, ECDSA), or a policy with TLSv1.3 or suites \
                          for both";

/// Listeners that name a certificate.
pub fn users<'a>(
    resources: &'a Resources,
    name: &'a CertificateName,
) -> impl Iterator<Item = &'a Listener> + use<'a> {
    let names =
        |listener: &&Listener| listener.tls.as_ref().is_some_and(|tls| tls.certificates.contains(name));
    resources.listeners.values().filter(names)
}

/// The policy of `listener`, if none of the suites that it serves can be used with the certificate's key.
fn misfit<'a>(listener: &'a Listener, resources: &Resources, facts: &Facts) -> Option<&'a str> {
    let tls = listener.tls.as_ref()?;
    let served = served(&PolicyRef::find(&tls.policy, &resources.security_policies)?);
    let is_fit = served.is_nothing() || served.suites.iter().any(|suite| facts.key_type.fits(suite));
    (!is_fit).then_some(tls.policy.as_str())
}

/// What to do about a certificate that there is none of.
fn hint(name: &CertificateName, held: Held<'_>) -> String {
    let names: Vec<&str> = held.certificates.keys().map(CertificateName::as_str).collect();
    let near = nearest(name.as_str(), &names).map(|near| format!("did you mean \"{near}\"? "));
    format!(
        "{}`causeway certificate list` shows what there is; `causeway certificate add \"{name}\" --certificate FILE --key \
         FILE` adds one",
        near.unwrap_or_default()
    )
}

/// Whether the certificates that listeners name are `held`, and how they stand in time.
///
/// # Errors
/// Every certificate that is missing, or does not go with its listener's policy.
pub fn check_certificates(resources: &Parsed<Resources>, held: Held<'_>) -> Result<Warnings, ConfigErrors> {
    let mut checks = Checks::new([&resources.places]);
    check_named(&resources.value, held, &mut checks);
    match ConfigErrors::new(checks.errors) {
        Some(errors) => Err(errors),
        None => Ok(Warnings::new(checks.warnings)),
    }
}

pub(super) fn check_named(resources: &Resources, held: Held<'_>, checks: &mut Checks<'_>) {
    for listener in resources.listeners.values() {
        let Some(tls) = &listener.tls else { continue };
        let spot = Spot::Certificates(listener.name.clone());
        for name in &tls.certificates {
            let value = format!("certificate \"{name}\"");
            let Some(certificate) = held.certificates.get(name) else {
                let code = ResourceNotFound.of("Certificate");
                checks.error(code, &spot, value, "there is none of this name", hint(name, held));
                continue;
            };
            if let Some(policy) = misfit(listener, resources, &certificate.facts) {
                let rule = format!(
                    "its key is of type {}, and no suite of policy {policy} goes with it",
                    certificate.facts.key_type
                );
                checks.error(Mismatch.of("SecurityPolicy"), &spot, value, rule, KEY_REMEDY);
            } else if let Some(doubt) = certificate.facts.doubt(held.now) {
                let remedy = format!("`causeway certificate renew \"{name}\" --certificate FILE --key FILE`");
                checks.warning(&spot, value, doubt, remedy);
            }
        }
    }
}

/// What a listener waits for or goes without: certificates that were there once.
pub fn missing_certificates(
    listener: &Listener,
    certificates: &BTreeMap<CertificateName, Certificate>,
) -> Option<String> {
    let missing: Vec<String> = listener
        .tls
        .iter()
        .flat_map(|tls| &tls.certificates)
        .filter(|name| !certificates.contains_key(name))
        .map(|name| format!("\"{name}\""))
        .collect();
    match missing.as_slice() {
        [] => None,
        [one] => Some(format!("certificate {one} is missing")),
        several => Some(format!("certificates {} are missing", several.join(", "))),
    }
}

/// For where nobody knows which certificates there are: that those of listeners were not looked for.
pub fn unchecked_certificates(resources: &Parsed<Resources>) -> Warnings {
    let mut checks = Checks::new([&resources.places]);
    for listener in resources.value.listeners.values() {
        let Some(tls) = &listener.tls else { continue };
        let names: Vec<String> = tls.certificates.iter().map(|name| format!("\"{name}\"")).collect();
        checks.warning(
            &Spot::Certificates(listener.name.clone()),
            format!("certificates {}", names.join(", ")),
            "whether there are such certificates was not checked",
            "`causeway diff` asks the running causeway",
        );
    }
    Warnings::new(checks.warnings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::tests::{NOW, certificate, self_signed};
    use crate::model::{
        ListenerProtocol, ListenerTls, LoadBalancerName, SecurityPolicy, SecurityPolicyName, ServerGroupName,
        TlsVersion,
    };
    use crate::tls_policy::SystemPolicy;

    fn https(certificates: &[&str], policy: &str) -> Listener {
        let (balancer, group) = (LoadBalancerName::new("alb1"), ServerGroupName::new("web"));
        Listener {
            protocol: ListenerProtocol::Https,
            tls: Some(ListenerTls {
                certificates: certificates.iter().copied().map(CertificateName::new).collect(),
                policy: SecurityPolicyName::new(policy),
                client_authorities: None,
                http2: true,
            }),
            ..Listener::new("https", &balancer, 443.try_into().unwrap(), &group)
        }
    }

    /// One HTTPS listener, and a policy "rsa" for keys of that type only.
    fn resources(listener: Listener) -> Resources {
        let name = SecurityPolicyName::new("rsa");
        let policy = SecurityPolicy {
            name: name.clone(),
            versions: vec![TlsVersion::Tls12],
            ciphers: vec!["ECDHE-RSA-AES128-GCM-SHA256".into()],
        };
        Resources {
            listeners: BTreeMap::from([(listener.name.clone(), listener)]),
            security_policies: BTreeMap::from([(name, policy)]),
            ..Resources::default()
        }
    }

    fn kept(names: &[&str]) -> BTreeMap<CertificateName, Certificate> {
        names
            .iter()
            .map(|name| (CertificateName::new(*name), certificate(&["a.example", "b.example"])))
            .collect()
    }

    fn add(name: &str, names: &[&str]) -> CertificateChange {
        let (certificate, key) = self_signed(names);
        CertificateChange::Add { name: name.into(), certificate, key, allow_expired: false }
    }

    fn renew(name: &str, names: &[&str]) -> CertificateChange {
        let (certificate, key) = self_signed(names);
        CertificateChange::Renew { name: name.into(), certificate, key, allow_expired: false }
    }

    fn remove(name: &str) -> CertificateChange {
        CertificateChange::Remove { name: name.into() }
    }

    fn outcome(change: &CertificateChange, held: &BTreeMap<CertificateName, Certificate>) -> Vec<String> {
        let resources = resources(https(&["www"], "rsa"));
        match change_certificate(change, Held { certificates: held, now: NOW }, &resources) {
            Ok(edit) => edit.warnings.iter().map(|warning| format!("warning {warning}")).collect(),
            Err(denials) => denials.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn adds_a_certificate_under_a_new_name() {
        let resources = Resources::default();
        let held = kept(&["www"]);
        let change = add("shop", &["shop.example"]);
        let edit = change_certificate(&change, Held { certificates: &held, now: NOW }, &resources).unwrap();
        assert_eq!((edit.name.as_str(), edit.warnings.len()), ("shop", 0));
        assert_eq!(edit.certificate.unwrap().facts.names, ["shop.example"]);
    }

    #[test]
    fn refuses_a_name_that_is_taken_or_none_and_tells_what_else_is_wrong() {
        assert_eq!(
            outcome(&add("shop", &["a.example"]), &kept(&["shop"])),
            [
                "[ResourceAlreadyExist.Certificate] certificate \"shop\": there is one of this name; `causeway certificate \
                 renew` replaces it"
            ]
        );
        let change = CertificateChange::Add {
            name: "../shop".into(),
            certificate: String::new(),
            key: KeyText::new(""),
            allow_expired: false,
        };
        let denials = outcome(&change, &BTreeMap::new());
        let codes: Vec<&str> = denials.iter().map(|denial| denial.split(' ').next().unwrap()).collect();
        assert_eq!(
            codes,
            ["[IllegalParam.CertificateName]", "[IllegalParam.Certificate]", "[IllegalParam.PrivateKey]"]
        );
    }

    #[test]
    fn renews_what_is_there_and_warns_of_names_that_are_lost() {
        let held = kept(&["shop"]);
        assert_eq!(outcome(&renew("shop", &["b.example", "a.example"]), &held), [""; 0]);
        assert_eq!(
            outcome(&renew("shop", &["b.example", "c.example"]), &held),
            [
                "warning certificate \"shop\": name \"a.example\": the certificate before it had this name; is that meant?"
            ]
        );
        assert_eq!(
            outcome(&renew("shap", &["a.example"]), &held),
            [
                "[ResourceNotFound.Certificate] certificate \"shap\": there is none of this name; did you mean \"shop\"? \
                 `causeway certificate list` shows what there is; `causeway certificate add \"shap\" --certificate FILE \
                 --key FILE` adds one"
            ]
        );
    }

    #[test]
    fn takes_an_expired_certificate_only_when_told_to() {
        let (certificate, key) = self_signed(&["a.example"]);
        let change = |allow_expired| CertificateChange::Add {
            name: "shop".into(),
            certificate: certificate.clone(),
            key: key.clone(),
            allow_expired,
        };
        let none = BTreeMap::new();
        let late = Held { certificates: &none, now: 1_900_000_000 };
        let denials = change_certificate(&change(false), late, &Resources::default()).unwrap_err();
        assert_eq!(denials.len(), 1);
        assert!(denials[0].remedy.contains("--allow-expired"), "{}", denials[0]);
        let edit = change_certificate(&change(true), late, &Resources::default()).unwrap();
        assert_eq!(edit.warnings.len(), 1);
    }

    #[test]
    fn removes_only_what_no_listener_names() {
        let held = kept(&["www", "shop"]);
        assert_eq!(outcome(&remove("shop"), &held), [""; 0]);
        assert_eq!(
            outcome(&remove("www"), &held),
            [
                "[ResourceInUse.Certificate] certificate \"www\": it is used by listener \"https\"; apply resources in \
                 which no listener names it, then remove it"
            ]
        );
        let missing = outcome(&remove("www"), &kept(&["shop"]));
        assert!(
            missing.len() == 1 && missing[0].starts_with("[ResourceNotFound.Certificate]"),
            "{missing:?}"
        );
    }

    #[test]
    fn refuses_a_key_that_no_suite_of_a_listener_that_names_it_goes_with() {
        let denial = "[Mismatch.SecurityPolicy] certificate \"www\": key of type ECDSA P-256: listener \"https\" names it, \
                      and no suite of its policy rsa goes with it; use a certificate with a key of the other kind (RSA, \
                      ECDSA), or a policy with TLSv1.3 or suites for both";
        // The listener came into force without its certificate, which is missing.
        assert_eq!(outcome(&add("www", &["a.example"]), &BTreeMap::new()), [denial]);
        assert_eq!(outcome(&renew("www", &["a.example", "b.example"]), &kept(&["www"])), [denial]);
    }

    #[test]
    fn keeps_no_more_than_it_has_place_for() {
        let one = certificate(&["a.example"]);
        let name = |number: usize| CertificateName::new(format!("c{number:04}"));
        let held: BTreeMap<_, _> = (0..1000).map(|number| (name(number), one.clone())).collect();
        let denials = outcome(&add("shop", &["a.example"]), &held);
        assert!(denials.len() == 1 && denials[0].starts_with("[QuotaExceeded.Certificates]"), "{denials:?}");
        assert_eq!(outcome(&renew("c0007", &["a.example"]), &held), [""; 0]);
        let less: BTreeMap<_, _> = held.into_iter().skip(1).collect();
        assert_eq!(outcome(&add("shop", &["a.example"]), &less), [""; 0]);
    }

    fn parsed(listener: Listener) -> Parsed<Resources> {
        Parsed {
            value: resources(listener),
            ..super::super::parse_resources("listeners: []\n", "r.yaml").unwrap()
        }
    }

    // Holds LR-24
    #[test]
    fn listeners_name_certificates_that_there_are() {
        let held = kept(&["www", "shop"]);
        let held = Held { certificates: &held, now: NOW };
        let policy = SystemPolicy::DEFAULT.id();
        let fine = check_certificates(&parsed(https(&["www", "shop"], policy)), held).unwrap();
        assert_eq!(fine.findings().len(), 0);
        let errors = check_certificates(&parsed(https(&["wwww", "none", "shop"], policy)), held).unwrap_err();
        let told: Vec<_> =
            errors.findings().iter().map(|found| (found.value.as_str(), &found.remedy)).collect();
        assert_eq!((told[0].0, told[1].0, told.len()), ("certificate \"wwww\"", "certificate \"none\"", 2));
        assert!(told[0].1.starts_with("did you mean \"www\"? "), "{}", told[0].1);
        assert!(told[1].1.contains("`causeway certificate add \"none\" --certificate FILE"), "{}", told[1].1);
    }

    // Holds LR-24
    #[test]
    fn a_certificate_that_is_missing_is_told_with_its_place_and_all_other_errors() {
        use super::super::tests::{NODE, RESOURCES};
        let node = super::super::parse_node(NODE, "node.yaml").unwrap();
        let line = "  - {name: http, load_balancer: alb1, protocol: HTTP, port: 80, server_group: web}";
        let https = "  - {name: http, load_balancer: alb1, protocol: HTTPS, port: 443, server_group: web, certificates: [www]}";
        let text = RESOURCES.replace(line, https);
        let line =
            text.lines().position(|line| line == https).expect("the tutorial has this listener") as u32 + 1;
        let held = kept(&["www"]);
        let held = Held { certificates: &held, now: NOW };
        assert!(super::super::parse_resources_with(&node, held, &text, "r.yaml").is_ok());
        let none = BTreeMap::new();
        let none = Held { certificates: &none, now: NOW };
        let errors = super::super::parse_resources_with(&node, none, &text, "r.yaml").unwrap_err();
        let [found] = errors.findings() else { panic!("{errors}") };
        assert_eq!(
            (found.place.line, found.subject.as_str(), found.value.as_str(), found.rule.as_str()),
            (line, "listener \"http\"", "certificate \"www\"", "there is none of this name")
        );
        let text = text.replace("port: 80, weight: 100}", "port: 80, weight: 101}");
        let errors = super::super::parse_resources_with(&node, none, &text, "r.yaml").unwrap_err();
        let values: Vec<&str> = errors.findings().iter().map(|found| found.value.as_str()).collect();
        assert_eq!(
            (values.contains(&"weight 101"), values.contains(&"certificate \"www\"")),
            (true, true),
            "{errors}"
        );
    }

    // Holds LR-21
    #[test]
    fn listeners_have_a_suite_for_each_certificate() {
        let held = kept(&["www"]);
        let held = Held { certificates: &held, now: NOW };
        let errors = check_certificates(&parsed(https(&["www"], "rsa")), held).unwrap_err();
        assert_eq!(
            errors.findings()[0].rule,
            "its key is of type ECDSA P-256, and no suite of policy rsa goes with it"
        );
    }

    #[test]
    fn warns_of_certificates_of_listeners_that_end_soon() {
        let held = kept(&["www", "shop"]);
        let end = held[&CertificateName::new("www")].facts.not_after;
        let listener = parsed(https(&["www"], SystemPolicy::DEFAULT.id()));
        let told = |now| {
            let warnings = check_certificates(&listener, Held { certificates: &held, now }).unwrap();
            warnings.findings().iter().map(|found| found.rule.clone()).collect::<Vec<_>>()
        };
        assert_eq!(told(end - 31 * 86_400), [""; 0]);
        assert_eq!(told(end - 10 * 86_400), ["expires on 2027-01-01, in 10 days"]);
        assert_eq!(told(end + 1), ["expired on 2027-01-01"]);
    }

    #[test]
    fn tells_what_a_listener_goes_without() {
        let held = kept(&["www"]);
        let problem = |names: &[&str]| missing_certificates(&https(names, "rsa"), &held);
        assert_eq!(problem(&["www"]), None);
        assert_eq!(problem(&["www", "shop"]).as_deref(), Some("certificate \"shop\" is missing"));
        let both = problem(&["shop", "www", "blog"]);
        assert_eq!(both.as_deref(), Some("certificates \"shop\", \"blog\" are missing"));
    }

    #[test]
    fn says_where_it_could_not_look() {
        let warnings = unchecked_certificates(&parsed(https(&["www", "shop"], SystemPolicy::DEFAULT.id())));
        let values: Vec<&str> = warnings.findings().iter().map(|found| found.value.as_str()).collect();
        assert_eq!(values, ["certificates \"www\", \"shop\""]);
    }
}
