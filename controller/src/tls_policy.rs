//! What the engine serves of a TLS policy: the part that rustls speaks, and in words what it leaves out (LR-20 to LR-23).
//!
//! rustls has no TLS 1.0 or 1.1, no CBC, no key exchange without forward secrecy and no CCM. A policy that names these is
//! accepted, and served as far as it goes; one of which nothing is left is a configuration error, which
//! [`Served::is_nothing`] tells. Absent here: rustls itself, so that configuration can ask without it.

use crate::model::{SecurityPolicy, SecurityPolicyName, TlsVersion};
use TlsVersion::{Tls10, Tls11, Tls12, Tls13};
use std::collections::BTreeMap;

/// What to write in place of a policy of which nothing is served.
pub const REMEDY: &str =
    "allow TLSv1.2 with an ECDHE suite in GCM mode, or TLSv1.3 with TLS_AES_128_GCM_SHA256";

/// A policy that the API knows without anybody having made it (LR-20).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SystemPolicy {
    /// `tls_cipher_policy_1_0`
    From10To12,
    /// `tls_cipher_policy_1_1`
    From11To12,
    /// `tls_cipher_policy_1_2`
    Only12,
    /// `tls_cipher_policy_1_2_strict`
    Strict12,
    /// `tls_cipher_policy_1_2_strict_with_1_3`: ours where none is named (LR-23).
    Strict12And13,
    /// `tls_cipher_policy_1_0_to_1_3`
    From10To13,
}

impl SystemPolicy {
    /// All of them, in the order of LR-20.
    pub const ALL: [SystemPolicy; 6] = [
        Self::From10To12,
        Self::From11To12,
        Self::Only12,
        Self::Strict12,
        Self::Strict12And13,
        Self::From10To13,
    ];
    /// Of a listener that names none. The API's own default, `tls_cipher_policy_1_0`, is mostly what is not served.
    pub const DEFAULT: SystemPolicy = Self::Strict12And13;

    /// Its id, as the API spells it.
    pub const fn id(self) -> &'static str {
        match self {
            Self::From10To12 => "tls_cipher_policy_1_0",
            Self::From11To12 => "tls_cipher_policy_1_1",
            Self::Only12 => "tls_cipher_policy_1_2",
            Self::Strict12 => "tls_cipher_policy_1_2_strict",
            Self::Strict12And13 => "tls_cipher_policy_1_2_strict_with_1_3",
            Self::From10To13 => "tls_cipher_policy_1_0_to_1_3",
        }
    }

    /// The one of this id.
    pub fn of(id: &str) -> Option<SystemPolicy> {
        Self::ALL.into_iter().find(|policy| policy.id() == id)
    }

    /// Versions that it allows, ascending.
    pub fn versions(self) -> &'static [TlsVersion] {
        match self {
            Self::From10To12 => &[Tls10, Tls11, Tls12],
            Self::From11To12 => &[Tls11, Tls12],
            Self::Only12 | Self::Strict12 => &[Tls12],
            Self::Strict12And13 => &[Tls12, Tls13],
            Self::From10To13 => &[Tls10, Tls11, Tls12, Tls13],
        }
    }

    /// Suites that it allows, as policies name them, in order of preference (LR-21). Strict policies have only those with
    /// forward secrecy.
    pub fn ciphers(self) -> impl Iterator<Item = &'static str> {
        let is_strict = matches!(self, Self::Strict12 | Self::Strict12And13);
        let allows = move |suite: &&Suite| {
            suite.in_system_policies
                && suite.versions.iter().any(|version| self.versions().contains(version))
                && !(is_strict && suite.served == Err(NO_FORWARD_SECRECY))
        };
        SUITES.iter().filter(allows).map(|suite| suite.name)
    }
}

/// A policy that a listener names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyRef<'a> {
    /// One of the system's.
    System(SystemPolicy),
    /// One of the configuration's.
    Custom(&'a SecurityPolicy),
}

impl<'a> PolicyRef<'a> {
    /// What `name` means: ids of the system's policies come before names of `custom` ones.
    pub fn find(
        name: &SecurityPolicyName,
        custom: &'a BTreeMap<SecurityPolicyName, SecurityPolicy>,
    ) -> Option<PolicyRef<'a>> {
        SystemPolicy::of(name.as_str())
            .map(PolicyRef::System)
            .or_else(|| custom.get(name).map(PolicyRef::Custom))
    }

    /// Versions that it allows.
    pub fn versions(&self) -> &'a [TlsVersion] {
        match self {
            PolicyRef::System(policy) => policy.versions(),
            PolicyRef::Custom(policy) => &policy.versions,
        }
    }

    /// Suites that it allows, as policies name them.
    pub fn ciphers(&self) -> Vec<&'a str> {
        match self {
            PolicyRef::System(policy) => policy.ciphers().collect(),
            PolicyRef::Custom(policy) => policy.ciphers.iter().map(String::as_str).collect(),
        }
    }
}

/// What is served of a policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Versions, ascending; each has a suite.
    pub versions: Vec<TlsVersion>,
    /// Suites as rustls names them (`TLS13_AES_128_GCM_SHA256`), in the order of the policy.
    pub suites: Vec<&'static str>,
    /// What is not served of it, and why: `TLSv1.0, TLSv1.1 (not spoken)`. One entry for each reason.
    pub left_out: Vec<String>,
}

impl Served {
    /// Whether no client could connect; then [`REMEDY`] says what to write.
    pub fn is_nothing(&self) -> bool {
        self.versions.is_empty()
    }
}

/// What is served of `policy` (LR-23).
pub fn served(policy: &PolicyRef<'_>) -> Served {
    let mut served = Served::default();
    let mut left_out = LeftOut::default();
    for version in policy.versions().iter().filter(|version| **version < Tls12) {
        left_out.add(NOT_SPOKEN, &version.to_string());
    }
    for cipher in policy.ciphers() {
        let Some(suite) = suite(cipher) else {
            left_out.add(UNKNOWN, cipher);
            continue;
        };
        match suite.served {
            Err(reason) => left_out.add(reason, cipher),
            Ok(_) if !policy.versions().iter().any(|version| suite.versions.contains(version)) => {
                left_out.add(OF_NO_VERSION, cipher);
            }
            Ok(name) if !served.suites.contains(&name) => {
                served.suites.push(name);
                served.versions.extend(suite.versions);
            }
            Ok(_) => {}
        }
    }
    served.versions.sort();
    served.versions.dedup();
    for version in policy.versions().iter().filter(|version| **version >= Tls12) {
        if !served.versions.contains(version) {
            left_out.add(WITHOUT_SUITE, &version.to_string());
        }
    }
    served.left_out = left_out.words();
    served
}

/// Versions that the suite of this name can be used with (LR-22); `None`: there is no such suite.
pub fn versions_of(cipher: &str) -> Option<&'static [TlsVersion]> {
    suite(cipher).map(|suite| suite.versions)
}

/// How policies name the suite that rustls names `served`.
pub fn cipher_of(served: &str) -> Option<&'static str> {
    SUITES.iter().find(|suite| suite.served == Ok(served)).map(|suite| suite.name)
}

/// Names of all suites that a policy may name, for messages.
pub fn known_ciphers() -> impl Iterator<Item = &'static str> {
    SUITES.iter().map(|suite| suite.name)
}

/// What is left out, by reason, in the order in which it was found.
#[derive(Default)]
struct LeftOut<'a>(Vec<(&'a str, Vec<String>)>);

impl<'a> LeftOut<'a> {
    fn add(&mut self, reason: &'a str, what: &str) {
        match self.0.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, things)) => things.push(what.to_owned()),
            None => self.0.push((reason, vec![what.to_owned()])),
        }
    }

    fn words(self) -> Vec<String> {
        self.0.into_iter().map(|(reason, things)| format!("{} ({reason})", things.join(", "))).collect()
    }
}

/// A cipher suite that policies can name.
struct Suite {
    /// As OpenSSL names those up to TLS 1.2, and RFC 8446 those of 1.3.
    name: &'static str,
    /// Versions that it can be used with.
    versions: &'static [TlsVersion],
    /// Whether policies of the system have it (LR-21).
    in_system_policies: bool,
    /// As rustls names it, or why it is not served.
    served: Result<&'static str, &'static str>,
}

const NOT_SPOKEN: &str = "not spoken, TLSv1.2 and TLSv1.3 are";
const WITHOUT_SUITE: &str = "none of its suites is served";
const OF_NO_VERSION: &str = "of a version that the policy does not allow";
const UNKNOWN: &str = "unknown";
const NO_FORWARD_SECRECY: &str = "no forward secrecy";
const CBC: &str = "CBC mode";
const CCM: &str = "CCM mode";

const UP_TO_12: &[TlsVersion] = &[Tls10, Tls11, Tls12];
const ONLY_12: &[TlsVersion] = &[Tls12];
const ONLY_13: &[TlsVersion] = &[Tls13];

const fn suite_of_system(
    name: &'static str,
    versions: &'static [TlsVersion],
    served: Result<&'static str, &'static str>,
) -> Suite {
    Suite { name, versions, in_system_policies: true, served }
}

/// LR-21, the best first, and ChaCha20 for TLS 1.2, which only custom policies have.
const SUITES: [Suite; 26] = [
    suite_of_system("TLS_AES_128_GCM_SHA256", ONLY_13, Ok("TLS13_AES_128_GCM_SHA256")),
    suite_of_system("TLS_AES_256_GCM_SHA384", ONLY_13, Ok("TLS13_AES_256_GCM_SHA384")),
    suite_of_system("TLS_CHACHA20_POLY1305_SHA256", ONLY_13, Ok("TLS13_CHACHA20_POLY1305_SHA256")),
    suite_of_system("TLS_AES_128_CCM_SHA256", ONLY_13, Err(CCM)),
    suite_of_system("TLS_AES_128_CCM_8_SHA256", ONLY_13, Err(CCM)),
    suite_of_system("ECDHE-ECDSA-AES128-GCM-SHA256", ONLY_12, Ok("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256")),
    suite_of_system("ECDHE-RSA-AES128-GCM-SHA256", ONLY_12, Ok("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256")),
    suite_of_system("ECDHE-ECDSA-AES256-GCM-SHA384", ONLY_12, Ok("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384")),
    suite_of_system("ECDHE-RSA-AES256-GCM-SHA384", ONLY_12, Ok("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384")),
    Suite {
        name: "ECDHE-ECDSA-CHACHA20-POLY1305",
        versions: ONLY_12,
        in_system_policies: false,
        served: Ok("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"),
    },
    Suite {
        name: "ECDHE-RSA-CHACHA20-POLY1305",
        versions: ONLY_12,
        in_system_policies: false,
        served: Ok("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
    },
    suite_of_system("ECDHE-ECDSA-AES128-SHA256", ONLY_12, Err(CBC)),
    suite_of_system("ECDHE-RSA-AES128-SHA256", ONLY_12, Err(CBC)),
    suite_of_system("ECDHE-ECDSA-AES256-SHA384", ONLY_12, Err(CBC)),
    suite_of_system("ECDHE-RSA-AES256-SHA384", ONLY_12, Err(CBC)),
    suite_of_system("ECDHE-ECDSA-AES128-SHA", UP_TO_12, Err(CBC)),
    suite_of_system("ECDHE-RSA-AES128-SHA", UP_TO_12, Err(CBC)),
    suite_of_system("ECDHE-ECDSA-AES256-SHA", UP_TO_12, Err(CBC)),
    suite_of_system("ECDHE-RSA-AES256-SHA", UP_TO_12, Err(CBC)),
    suite_of_system("AES128-GCM-SHA256", ONLY_12, Err(NO_FORWARD_SECRECY)),
    suite_of_system("AES256-GCM-SHA384", ONLY_12, Err(NO_FORWARD_SECRECY)),
    suite_of_system("AES128-SHA256", ONLY_12, Err(NO_FORWARD_SECRECY)),
    suite_of_system("AES256-SHA256", ONLY_12, Err(NO_FORWARD_SECRECY)),
    suite_of_system("AES128-SHA", UP_TO_12, Err(NO_FORWARD_SECRECY)),
    suite_of_system("AES256-SHA", UP_TO_12, Err(NO_FORWARD_SECRECY)),
    suite_of_system("DES-CBC3-SHA", UP_TO_12, Err(NO_FORWARD_SECRECY)),
];

fn suite(name: &str) -> Option<&'static Suite> {
    SUITES.iter().find(|suite| suite.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUITES_OF_12: [&str; 4] = [
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    ];
    const SUITES_OF_13: [&str; 3] =
        ["TLS13_AES_128_GCM_SHA256", "TLS13_AES_256_GCM_SHA384", "TLS13_CHACHA20_POLY1305_SHA256"];

    fn custom(versions: &[TlsVersion], ciphers: &[&str]) -> SecurityPolicy {
        SecurityPolicy {
            name: SecurityPolicyName::new("ours"),
            versions: versions.to_vec(),
            ciphers: ciphers.iter().map(|cipher| (*cipher).to_owned()).collect(),
        }
    }

    fn served_of(versions: &[TlsVersion], ciphers: &[&str]) -> Served {
        served(&PolicyRef::Custom(&custom(versions, ciphers)))
    }

    // Holds LR-20, LR-23
    #[test]
    fn accepts_every_system_policy_and_serves_its_supported_part() {
        let with_13 = [&SUITES_OF_13[..], &SUITES_OF_12].concat();
        let none = BTreeMap::new();
        for (id, allowed, versions, suites) in [
            ("tls_cipher_policy_1_0", &[Tls10, Tls11, Tls12][..], &[Tls12][..], &SUITES_OF_12[..]),
            ("tls_cipher_policy_1_1", &[Tls11, Tls12], &[Tls12], &SUITES_OF_12),
            ("tls_cipher_policy_1_2", &[Tls12], &[Tls12], &SUITES_OF_12),
            ("tls_cipher_policy_1_2_strict", &[Tls12], &[Tls12], &SUITES_OF_12),
            ("tls_cipher_policy_1_2_strict_with_1_3", &[Tls12, Tls13], &[Tls12, Tls13], &with_13),
            ("tls_cipher_policy_1_0_to_1_3", &[Tls10, Tls11, Tls12, Tls13], &[Tls12, Tls13], &with_13),
        ] {
            let policy = PolicyRef::find(&SecurityPolicyName::new(id), &none).expect(id);
            assert_eq!(policy.versions(), allowed, "{id}");
            let served = served(&policy);
            assert_eq!(served.versions, versions, "{id}");
            assert_eq!(served.suites, suites, "{id}");
        }
        assert_eq!(SystemPolicy::of("tls_cipher_policy_1_3"), None);
        assert_eq!(SystemPolicy::DEFAULT.id(), "tls_cipher_policy_1_2_strict_with_1_3");
    }

    // Holds LR-21
    #[test]
    fn has_the_suites_of_each_version() {
        let suites = |policy: SystemPolicy| {
            let mut suites: Vec<&str> = policy.ciphers().collect();
            suites.sort_unstable();
            suites
        };
        let expand = |patterns: &[&str]| {
            let mut names: Vec<String> = patterns
                .iter()
                .flat_map(|pattern| match pattern.strip_prefix("ECDHE-*") {
                    Some(end) => vec![format!("ECDHE-ECDSA{end}"), format!("ECDHE-RSA{end}")],
                    None => vec![(*pattern).to_owned()],
                })
                .collect();
            names.sort_unstable();
            names
        };
        let ecdhe_of_10 = ["ECDHE-*-AES128-SHA", "ECDHE-*-AES256-SHA"];
        let ecdhe_of_12 = [
            "ECDHE-*-AES128-GCM-SHA256",
            "ECDHE-*-AES256-GCM-SHA384",
            "ECDHE-*-AES128-SHA256",
            "ECDHE-*-AES256-SHA384",
        ];
        let others = [
            "AES128-SHA",
            "AES256-SHA",
            "DES-CBC3-SHA",
            "AES128-GCM-SHA256",
            "AES256-GCM-SHA384",
            "AES128-SHA256",
            "AES256-SHA256",
        ];
        let of_13 = [
            "TLS_AES_128_GCM_SHA256",
            "TLS_AES_256_GCM_SHA384",
            "TLS_CHACHA20_POLY1305_SHA256",
            "TLS_AES_128_CCM_SHA256",
            "TLS_AES_128_CCM_8_SHA256",
        ];
        let strict = [&ecdhe_of_10[..], &ecdhe_of_12].concat();
        let open = [&strict[..], &others].concat();
        for policy in [SystemPolicy::From10To12, SystemPolicy::From11To12, SystemPolicy::Only12] {
            assert_eq!(suites(policy), expand(&open), "{policy:?}");
        }
        assert_eq!(suites(SystemPolicy::Strict12), expand(&strict));
        assert_eq!(suites(SystemPolicy::Strict12And13), expand(&[&strict[..], &of_13].concat()));
        assert_eq!(suites(SystemPolicy::From10To13), expand(&[&open[..], &of_13].concat()));
    }

    // Holds LR-23
    #[test]
    fn says_in_words_what_is_left_out() {
        assert_eq!(
            served(&PolicyRef::System(SystemPolicy::From10To12)).left_out,
            [
                "TLSv1.0, TLSv1.1 (not spoken, TLSv1.2 and TLSv1.3 are)",
                "ECDHE-ECDSA-AES128-SHA256, ECDHE-RSA-AES128-SHA256, ECDHE-ECDSA-AES256-SHA384, \
                 ECDHE-RSA-AES256-SHA384, ECDHE-ECDSA-AES128-SHA, ECDHE-RSA-AES128-SHA, ECDHE-ECDSA-AES256-SHA, \
                 ECDHE-RSA-AES256-SHA (CBC mode)",
                "AES128-GCM-SHA256, AES256-GCM-SHA384, AES128-SHA256, AES256-SHA256, AES128-SHA, AES256-SHA, \
                 DES-CBC3-SHA (no forward secrecy)",
            ]
        );
        let served = served_of(
            &[Tls11, Tls12, Tls13],
            &["AES128-SHA", "TLS_AES_128_CCM_SHA256", "TLS_AES_256_GCM_SHA384", "no-suite"],
        );
        assert_eq!(
            (&served.versions[..], &served.suites[..]),
            (&[Tls13][..], &["TLS13_AES_256_GCM_SHA384"][..])
        );
        assert_eq!(
            served.left_out,
            [
                "TLSv1.1 (not spoken, TLSv1.2 and TLSv1.3 are)",
                "AES128-SHA (no forward secrecy)",
                "TLS_AES_128_CCM_SHA256 (CCM mode)",
                "no-suite (unknown)",
                "TLSv1.2 (none of its suites is served)",
            ]
        );
    }

    // Holds LR-23
    #[test]
    fn leaves_nothing_out_of_a_policy_that_it_serves_whole() {
        let ciphers =
            ["TLS_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-CHACHA20-POLY1305", "TLS_AES_128_GCM_SHA256"];
        let served = served_of(&[Tls12, Tls13], &[&ciphers[..], &ciphers[..1]].concat());
        assert_eq!(
            served,
            Served {
                versions: vec![Tls12, Tls13],
                // In the order of the policy, each once.
                suites: vec![
                    "TLS13_CHACHA20_POLY1305_SHA256",
                    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
                    "TLS13_AES_128_GCM_SHA256",
                ],
                left_out: Vec::new(),
            }
        );
        assert!(!served.is_nothing());
    }

    // Holds LR-23
    #[test]
    fn serves_nothing_of_a_policy_that_rustls_does_not_speak() {
        for (versions, ciphers) in [
            (&[Tls10][..], &["AES128-SHA"][..]),
            (&[Tls10, Tls11], &["ECDHE-RSA-AES128-SHA"]),
            (&[Tls12], &["AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA256"]),
            (&[Tls13], &["TLS_AES_128_CCM_8_SHA256"]),
            // Suites of versions that it does not allow.
            (&[Tls12], &["TLS_AES_128_GCM_SHA256"]),
            (&[Tls11, Tls13], &["ECDHE-RSA-AES128-GCM-SHA256"]),
            (&[Tls12, Tls13], &[]),
        ] {
            let served = served_of(versions, ciphers);
            assert!(served.is_nothing() && served.suites.is_empty(), "{versions:?} {ciphers:?}: {served:?}");
        }
    }

    // Holds LR-22
    #[test]
    fn knows_which_versions_a_suite_can_be_used_with() {
        assert_eq!(versions_of("AES128-SHA"), Some(&[Tls10, Tls11, Tls12][..]));
        assert_eq!(versions_of("ECDHE-RSA-AES128-GCM-SHA256"), Some(&[Tls12][..]));
        assert_eq!(versions_of("TLS_AES_128_CCM_SHA256"), Some(&[Tls13][..]));
        assert_eq!(versions_of("RC4-MD5"), None);
        assert!(
            known_ciphers().all(|cipher| versions_of(cipher).is_some_and(|versions| !versions.is_empty()))
        );
    }

    #[test]
    fn a_system_policy_comes_before_a_custom_one_of_its_name() {
        let name = SecurityPolicyName::new("tls_cipher_policy_1_2");
        let policy = SecurityPolicy { name: name.clone(), ..custom(&[Tls13], &[]) };
        let mine = SecurityPolicy { name: SecurityPolicyName::new("mine"), ..policy.clone() };
        let policies = BTreeMap::from([(name.clone(), policy), (mine.name.clone(), mine.clone())]);
        assert_eq!(PolicyRef::find(&name, &policies), Some(PolicyRef::System(SystemPolicy::Only12)));
        assert_eq!(PolicyRef::find(&mine.name, &policies), Some(PolicyRef::Custom(&mine)));
        assert_eq!(PolicyRef::find(&SecurityPolicyName::new("none"), &policies), None);
    }

    // Holds LR-23
    #[test]
    fn rustls_has_every_suite_that_is_served() {
        let of_rustls: Vec<_> = rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES.to_vec();
        for suite in &SUITES {
            let Ok(name) = suite.served else { continue };
            let found = of_rustls.iter().find(|found| found.suite().as_str() == Some(name)).expect(name);
            let version = if found.tls13().is_some() { Tls13 } else { Tls12 };
            assert_eq!(suite.versions, [version], "{name}");
        }
    }
}
