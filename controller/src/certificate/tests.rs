use super::check::{Expired, Part, Problem};
use super::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};

/// 15 June 2026, 12:00.
pub(crate) const NOW: i64 = 1_781_524_800;
const DAY: i64 = 86_400;

/// An authority by the name `name`, valid from 2020 to 2040.
pub(crate) fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    CertifiedIssuer::self_signed(authority_params(name), KeyPair::generate().unwrap()).unwrap()
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.use_authority_key_identifier_extension = true;
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2040, 1, 1);
    params
}

/// A server's certificate for `names`, valid from 2026-01-01 to 2027-01-01.
fn server_params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, "www");
    params.use_authority_key_identifier_extension = true;
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    params
}

/// Certificate and key for `names`, signed by itself, valid from 2026-01-01 to 2027-01-01; PEM.
pub(crate) fn self_signed(names: &[&str]) -> (String, KeyText) {
    let key = KeyPair::generate().unwrap();
    let certificate = server_params(names).self_signed(&key).unwrap();
    (certificate.pem(), KeyText::new(key.serialize_pem()))
}

/// The same, checked.
pub(crate) fn certificate(names: &[&str]) -> Certificate {
    let (chain, key) = self_signed(names);
    check(&chain, &key, NOW, Expired::Refused).unwrap().certificate
}

/// A chain of three, root last, and the key of the first.
struct Chain {
    leaf: String,
    middle: String,
    root: String,
    key: KeyText,
}

fn chain() -> Chain {
    let root = authority("root");
    let middle_key = KeyPair::generate().unwrap();
    let middle = authority_params("middle").signed_by(&middle_key, &root).unwrap();
    let key = KeyPair::generate().unwrap();
    let issuer = Issuer::new(authority_params("middle"), middle_key);
    let leaf = server_params(&["www.example.com"]).signed_by(&key, &issuer).unwrap();
    Chain { leaf: leaf.pem(), middle: middle.pem(), root: root.pem(), key: KeyText::new(key.serialize_pem()) }
}

fn accepted(chain: &str, key: &KeyText) -> (Certificate, Vec<String>) {
    let checked = check(chain, key, NOW, Expired::Refused).unwrap();
    (checked.certificate, checked.warnings.iter().map(line).collect())
}

#[track_caller]
fn refused(chain: &str, key: &KeyText) -> Vec<String> {
    let problems = check(chain, key, NOW, Expired::Refused).unwrap_err();
    assert!(problems.iter().all(|problem| !problem.remedy.is_empty()), "{problems:?}");
    problems.iter().map(line).collect()
}

fn line(problem: &Problem) -> String {
    format!("{:?} {}: {}", problem.part, problem.value, problem.rule)
}

#[test]
fn takes_a_chain_with_its_key_and_tells_what_it_says() {
    let Chain { leaf, middle, root, key } = chain();
    for whole in [format!("{leaf}{middle}"), format!("{leaf}{middle}{root}")] {
        let (certificate, warnings) = accepted(&whole, &key);
        assert_eq!(warnings, [""; 0]);
        let facts = &certificate.facts;
        assert_eq!(facts.names, ["www.example.com"]);
        assert_eq!((facts.subject.as_str(), facts.issuer.as_str()), ("CN=www", "CN=middle"));
        assert_eq!(
            (date(facts.not_before), date(facts.not_after)),
            ("2026-01-01".into(), "2027-01-01".into())
        );
        assert_eq!(facts.key_type, KeyType::Ecdsa("P-256"));
        assert_eq!(facts.chain_length, whole.matches("BEGIN").count());
        assert_eq!(facts.fingerprint.len(), 64);
        assert!(facts.serial.len() > 8 && facts.serial.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(certificate.chain, whole.replace("\r\n", "\n"));
    }
}

#[test]
fn keeps_certificates_and_one_key_and_nothing_else_of_the_files() {
    let (chain, key) = self_signed(&["a.example"]);
    let (expected, _) = accepted(&chain, &key);
    let combined = format!("Subject: CN=www\nprivate notes\n{chain}\n{}\n", key.secret());
    let (kept, _) = accepted(&combined, &KeyText::new(format!("notes\n{}{chain}", key.secret())));
    assert_eq!(kept, expected);
    assert!(!kept.chain.contains("PRIVATE") && !kept.chain.contains("notes"), "{}", kept.chain);
    assert!(!format!("{kept:?}").contains(&key.secret()[60..100]), "keys are not shown");
}

#[test]
fn takes_keys_of_rsa_ecdsa_and_ed25519() {
    for (algorithm, key_type, shown) in [
        (&rcgen::PKCS_RSA_SHA256, KeyType::Rsa(2048), "RSA 2048"),
        (&rcgen::PKCS_ECDSA_P256_SHA256, KeyType::Ecdsa("P-256"), "ECDSA P-256"),
        (&rcgen::PKCS_ECDSA_P384_SHA384, KeyType::Ecdsa("P-384"), "ECDSA P-384"),
        (&rcgen::PKCS_ECDSA_P521_SHA512, KeyType::Ecdsa("P-521"), "ECDSA P-521"),
        (&rcgen::PKCS_ED25519, KeyType::Ed25519, "Ed25519"),
    ] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let chain = server_params(&["a.example"]).self_signed(&key).unwrap().pem();
        let (certificate, _) = accepted(&chain, &KeyText::new(key.serialize_pem()));
        assert_eq!(certificate.facts.key_type, key_type);
        assert_eq!(key_type.to_string(), shown);
    }
}

#[test]
fn knows_which_suites_a_key_can_be_used_with() {
    let suites = [
        "TLS13_AES_128_GCM_SHA256",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    ];
    for (key, expected) in [
        (KeyType::Rsa(2048), [true, true, false]),
        (KeyType::Ecdsa("P-384"), [true, false, true]),
        (KeyType::Ed25519, [true, false, true]),
    ] {
        assert_eq!(suites.map(|suite| key.fits(suite)), expected, "{key}");
    }
}

#[test]
fn lists_names_and_addresses_in_order() {
    let (certificate, warnings) =
        accepted_self_signed(&["WWW.Example.com", "*.example.com", "192.0.2.7", "2001:db8::7"]);
    assert_eq!(certificate.facts.names, ["www.example.com", "*.example.com", "192.0.2.7", "2001:db8::7"]);
    assert_eq!(warnings, [""; 0]);
}

fn accepted_self_signed(names: &[&str]) -> (Certificate, Vec<String>) {
    let (chain, key) = self_signed(names);
    accepted(&chain, &key)
}

// Holds LR-25
#[test]
fn warns_of_names_that_no_client_can_ask_for() {
    let bad = ["a*.example.com", "*.*.example.com", "www.*.example.com", "*", "a..b", "a b.example"];
    let (_, warnings) = accepted_self_signed(&[&bad[..], &["*.example.com", "a_b.example.com"]].concat());
    let expected = bad.map(|name| {
        format!("Certificate name {name:?}: no host name is like it: `*` stands for the whole first label")
    });
    assert_eq!(warnings, expected);
    assert_eq!(accepted_self_signed(&[]).1, ["Certificate : it has no names (subjectAltName)"]);
}

#[test]
fn refuses_what_is_no_certificate() {
    let (chain, key) = self_signed(&["a.example"]);
    let middle = chain.len() / 2;
    let request = CertificateParams::new(vec!["a.example".into()]).unwrap();
    let request = request.serialize_request(&KeyPair::generate().unwrap()).unwrap();
    for (text, expected) in [
        (String::new(), "Certificate : there is no certificate in its file"),
        ("\u{fffd}0\u{fffd}\u{1}".into(), "Certificate : there is no certificate in its file"),
        (key.secret().to_owned(), "Certificate : the certificate's file holds a private key"),
        (request.pem().unwrap(), "Certificate : the file holds the request for a certificate"),
        (chain[..middle].to_owned(), "Certificate : the certificate's file is no PEM: a section has no end"),
        (
            chain.replacen("MII", "?I?", 1),
            "Certificate : the certificate's file is no PEM: a section is not base64",
        ),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".into(),
            "Certificate number 1: it is no X.509 certificate, or damaged",
        ),
        (
            format!("{chain}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            "Certificate number 2: it is no X.509 certificate, or damaged",
        ),
        (chain.repeat(11), "Certificate 11 certificates: at most 10 are sent to clients"),
    ] {
        assert_eq!(refused(&text, &key), [expected], "{text}");
    }
}

#[test]
fn refuses_what_is_no_key() {
    let (chain, key) = self_signed(&["a.example"]);
    let pem = key.secret();
    for (text, expected) in [
        (String::new(), "Key : there is no private key in its file"),
        (chain.clone(), "Key : the key's file holds a certificate"),
        (pem.replacen("-----END", "-----ENT", 1), "Key : the key's file is no PEM"),
        (pem.repeat(2), "Key 2 private keys: there can be one"),
        (pem.replace("PRIVATE", "ENCRYPTED PRIVATE"), "Key : the private key is encrypted"),
        (
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n".into(),
            "Key : the private key is encrypted",
        ),
        (
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".into(),
            "Key : the private key is damaged, or of a type or size that is not supported",
        ),
    ] {
        assert_eq!(refused(&chain, &KeyText::new(&text)), [expected], "{text}");
    }
}

#[test]
fn refuses_the_key_of_another_certificate() {
    let (chain, _) = self_signed(&["a.example"]);
    let (_, key) = self_signed(&["a.example"]);
    assert_eq!(refused(&chain, &key), ["Both CN=www: the private key does not belong to this certificate"]);
    // Of another type, too.
    let rsa = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let expected = ["Both CN=www: the private key does not belong to this certificate"];
    assert_eq!(refused(&chain, &KeyText::new(rsa.serialize_pem())), expected);
}

#[test]
fn refuses_a_chain_out_of_order() {
    let Chain { leaf, middle, root, key } = chain();
    let leaf_second = "Certificate number 2 (CN=www): this one is the key's, and has to be the first";
    assert_eq!(refused(&format!("{middle}{leaf}"), &key), [leaf_second]);
    assert_eq!(
        refused(&format!("{leaf}{root}"), &key),
        ["Certificate number 2 (CN=root): it did not issue number 1 (CN=www), whose issuer is CN=middle"]
    );
    assert_eq!(
        refused(&format!("{leaf}{root}{middle}"), &key),
        [
            "Certificate number 2 (CN=root): it did not issue number 1 (CN=www), whose issuer is CN=middle",
            "Certificate number 3 (CN=middle): it did not issue number 2 (CN=root), whose issuer is CN=root",
        ]
    );
}

#[test]
fn tells_an_issuer_of_the_same_name_by_its_key() {
    let Chain { leaf, middle, key, .. } = chain();
    let other = chain().middle;
    assert_eq!(accepted(&format!("{leaf}{middle}"), &key).1, [""; 0]);
    assert_eq!(
        refused(&format!("{leaf}{other}"), &key),
        ["Certificate number 2 (CN=middle): it did not issue number 1 (CN=www), whose issuer is CN=middle"]
    );
}

#[test]
fn refuses_an_issuer_that_is_no_authority() {
    let issuer =
        CertifiedIssuer::self_signed(server_params(&["a.example"]), KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = server_params(&["b.example"]).signed_by(&key, &issuer).unwrap();
    assert_eq!(
        refused(&format!("{}{}", leaf.pem(), issuer.pem()), &KeyText::new(key.serialize_pem())),
        ["Certificate number 2 (CN=www): it is no authority's, and cannot have issued number 1"]
    );
}

#[test]
fn warns_where_clients_may_miss_the_issuer_and_of_certificates_not_for_servers() {
    let Chain { leaf, key, .. } = chain();
    assert_eq!(
        accepted(&leaf, &key).1,
        ["Certificate : its issuer's certificate (CN=middle) is not in the file"]
    );
    let key = KeyPair::generate().unwrap();
    let mut params = server_params(&["a.example"]);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let client = params.self_signed(&key).unwrap().pem();
    params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    let both = params.self_signed(&key).unwrap().pem();
    let key = KeyText::new(key.serialize_pem());
    assert_eq!(accepted(&client, &key).1, ["Certificate : it is not meant for servers (extendedKeyUsage)"]);
    assert_eq!(accepted(&both, &key).1, [""; 0]);
}

#[test]
fn refuses_an_expired_certificate_unless_told_to_take_it() {
    let key = KeyPair::generate().unwrap();
    let chain = server_params(&["a.example"]).self_signed(&key).unwrap().pem();
    let key = KeyText::new(key.serialize_pem());
    // Valid through the last second.
    let end = accepted(&chain, &key).0.facts.not_after;
    assert!(check(&chain, &key, end, Expired::Refused).unwrap().warnings.is_empty());
    let problems = check(&chain, &key, end + 1, Expired::Refused).unwrap_err();
    assert_eq!(problems.iter().map(line).collect::<Vec<_>>(), ["Certificate : it expired on 2027-01-01"]);
    let allowed = check(&chain, &key, end + 1, Expired::Allowed).unwrap();
    assert_eq!(
        allowed.warnings.iter().map(line).collect::<Vec<_>>(),
        ["Certificate : it expired on 2027-01-01"]
    );
}

#[test]
fn warns_of_a_certificate_that_is_not_valid_yet() {
    let (chain, key) = self_signed(&["a.example"]);
    let begin = accepted(&chain, &key).0.facts.not_before;
    assert!(check(&chain, &key, begin, Expired::Refused).unwrap().warnings.is_empty());
    let early = check(&chain, &key, begin - 1, Expired::Refused).unwrap();
    let expected = ["Certificate : it is not valid before 2026-01-01"];
    assert_eq!(early.warnings.iter().map(line).collect::<Vec<_>>(), expected);
}

#[test]
fn counts_the_whole_chain_as_expired_when_a_part_of_it_is() {
    let mut params = authority_params("old");
    params.not_after = date_time_ymd(2026, 6, 1);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = server_params(&["a.example"]).signed_by(&key, &issuer).unwrap();
    let (chain, key) = (format!("{}{}", leaf.pem(), issuer.pem()), KeyText::new(key.serialize_pem()));
    assert_eq!(refused(&chain, &key), ["Certificate number 2 (CN=old): it expired on 2026-06-01"]);
    let facts = check(&chain, &key, NOW, Expired::Allowed).unwrap().certificate.facts;
    assert_eq!(date(facts.not_after), "2026-06-01");
}

#[test]
fn tells_every_error_at_once() {
    let Chain { leaf, root, .. } = chain();
    let late = 1_900_000_000;
    let problems = check(&format!("{leaf}{root}"), &KeyText::new(""), late, Expired::Refused).unwrap_err();
    assert_eq!(
        problems.iter().map(line).collect::<Vec<_>>(),
        [
            "Key : there is no private key in its file",
            "Certificate number 2 (CN=root): it did not issue number 1 (CN=www), whose issuer is CN=middle",
            "Certificate number 1 (CN=www): it expired on 2027-01-01",
        ]
    );
    let problems = check("", &KeyText::new(""), late, Expired::Refused).unwrap_err();
    assert_eq!(
        problems.iter().map(|problem| problem.part).collect::<Vec<_>>(),
        [Part::Certificate, Part::Key]
    );
}

#[test]
fn doubts_a_certificate_from_thirty_days_before_its_end() {
    let facts = certificate(&["a.example"]).facts;
    let end = facts.not_after;
    for (now, days, doubt) in [
        (end - 30 * DAY, 30, None),
        (end - 30 * DAY + 1, 29, Some("expires on 2027-01-01, in 29 days")),
        (end - DAY, 1, Some("expires on 2027-01-01, in 1 day")),
        (end - DAY + 1, 0, Some("expires on 2027-01-01, within a day")),
        (end, 0, Some("expires on 2027-01-01, within a day")),
        (end + 1, -1, Some("expired on 2027-01-01")),
        (end + DAY, -1, Some("expired on 2027-01-01")),
        (end + DAY + 1, -2, Some("expired on 2027-01-01, 1 day ago")),
        (end + 9 * DAY + 1, -10, Some("expired on 2027-01-01, 9 days ago")),
        (facts.not_before, 365, None),
        (facts.not_before - 1, 365, Some("not valid before 2026-01-01")),
    ] {
        assert_eq!((facts.days_left(now), facts.doubt(now).as_deref()), (days, doubt), "{now}");
    }
}

#[test]
fn reads_back_what_it_kept() {
    let kept = certificate(&["a.example"]);
    assert_eq!(read_back(kept.chain.clone(), kept.key.clone()), Ok(kept.clone()));
    assert!(read_back(String::new(), kept.key.clone()).is_err());
    assert!(read_back(kept.chain.clone(), KeyText::new("")).is_err());
    assert!(read_back(kept.chain.replace('M', "N"), kept.key).is_err());
}

#[test]
fn tells_names_from_what_is_none() {
    for good in ["ab", "www.example.com", "www 2026_b", "1a", "证书", &"a".repeat(128)] {
        assert!(is_name(good), "{good}");
    }
    for bad in ["", "a", ".new-a", "-ab", "a/b", "../ab", "a\nb", " ab", &"a".repeat(129), &"证".repeat(67)]
    {
        assert!(!is_name(bad), "{bad}");
    }
}

#[test]
fn writes_days_of_the_gregorian_calendar() {
    for (secs, day) in [
        (0, "1970-01-01"),
        (-1, "1969-12-31"),
        (951_782_399, "2000-02-28"),
        (951_782_400, "2000-02-29"),
        (951_868_800, "2000-03-01"),
        (NOW, "2026-06-15"),
        (4_107_542_399, "2100-02-28"),
        (4_107_542_400, "2100-03-01"),
        (67_090_118_400, "4096-01-01"),
    ] {
        assert_eq!(date(secs), day);
    }
}
