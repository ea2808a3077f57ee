//! Functions, and groups of one function.

use super::*;
use crate::model::{FunctionHandler, FunctionPlatform, FunctionTrigger, Server, ServerId};

#[track_caller]
fn server(entry: &str) -> Server {
    let group = group("Fc", &format!("servers: [{entry}]"));
    let [server] = group.servers.as_slice() else { panic!("{group:?}") };
    server.clone()
}

#[track_caller]
fn refused(entry: &str, code: &str, value: &str) {
    let errors = group_errors("Fc", &format!("servers: [{entry}]"));
    let [error] = errors.as_slice() else { panic!("{errors:?}") };
    assert!(error.starts_with(&format!("{code} | server group \"g1\", server ")), "{error}");
    assert!(error.ends_with(&format!(" | {value}")), "{error}");
}

// Holds SG-31, SG-71, SG-74
#[test]
fn finds_a_function_by_name_or_arn_and_version_or_alias() {
    let resize = "acs:fc:chengdu:1234:functions/resize";
    for (entry, arn, address) in [
        ("{function: resize}", format!("{resize}/LATEST"), "172.16.1.50:9000"),
        ("{function: resize, qualifier: LATEST}", format!("{resize}/LATEST"), "172.16.1.50:9000"),
        ("{function: resize, qualifier: 2}", format!("{resize}/2"), "172.16.1.51:443"),
        ("{function: resize, qualifier: prod}", format!("{resize}/prod"), "172.16.1.52:9002"),
        ("{fc: \"acs:fc:chengdu:1234:functions/resize\"}", format!("{resize}/LATEST"), "172.16.1.50:9000"),
        ("{fc: \"acs:fc:chengdu:1234:functions/resize/prod\"}", format!("{resize}/prod"), "172.16.1.52:9002"),
        (
            "{fc: \"acs:fc:chengdu:1234:functions/resize\", qualifier: prod}",
            format!("{resize}/prod"),
            "172.16.1.52:9002",
        ),
        (
            "{fc: \"acs:fc:chengdu:1234:services/img.1/functions/hook\"}",
            "acs:fc:chengdu:1234:services/img.1/functions/hook".to_owned(),
            "172.16.1.53:9003",
        ),
    ] {
        let server = server(entry);
        assert_eq!(
            (server.id, server.address.to_string()),
            (ServerId::Fc(arn), address.to_owned()),
            "{entry}"
        );
    }
    assert_eq!(
        server("{function: resize}").trigger,
        Some(FunctionTrigger {
            tls: false,
            authority: "172.16.1.50:9000".to_owned(),
            path_prefix: "/resize".to_owned()
        })
    );
    assert!(server("{function: resize, qualifier: 2}").trigger.unwrap().tls);
}

// Holds SG-33, SG-34
#[test]
fn ports_and_weights_of_functions_must_be_right_and_are_not_used() {
    let server = server("{function: resize, port: 81, weight: 3}");
    assert_eq!((server.address.port.get(), server.weight.get()), (9000, 100));
    refused("{function: resize, weight: 101}", "IllegalParam.Weight", "weight 101");
}

// Holds SG-70
#[test]
fn holds_exactly_one_function() {
    assert_eq!(
        group_errors("Fc", "servers: [{function: resize}, {function: hook, qualifier: 1}]"),
        ["IllegalParam.Servers | server group \"g1\" | 2 servers"]
    );
    assert_eq!(
        group_warnings("Fc", "servers: []"),
        ["server group \"g1\": no function: requests for it are answered 503; \
          write `servers: [{function: NAME}]`"]
    );
}

// Holds SG-70
#[test]
fn needs_an_http_trigger() {
    refused("{function: hook}", "OperationDenied.FunctionWithoutHttpTrigger", "qualifier LATEST");
    let text = network_text(&[&group_yaml("Fc", "servers: [{function: hook}]")], &[]);
    let error = sentences(parse_resources(&text, "r.yaml").unwrap_err().findings()).remove(0);
    assert!(
        error.contains("an event handler of platform 2.0 is called through an HTTP trigger only"),
        "{error}"
    );
    refused("{function: resize, qualifier: 3}", "OperationDenied.FunctionWithoutHttpTrigger", "qualifier 3");
}

// Holds SG-71
#[test]
fn refuses_functions_that_are_not_there_or_not_named() {
    refused("{function: resise}", "ResourceNotFound.Function", "function resise");
    let arn = "acs:fc:chengdu:1234:functions/none";
    refused(&format!("{{fc: \"{arn}\"}}"), "ResourceNotFound.Function", &format!("function {arn}"));
    refused("{fc: none}", "IllegalParam.ServerId", "fc \"none\"");
    assert_eq!(
        group_errors("Fc", "servers: [{port: 80}]"),
        ["MissingParam.ServerId | server group \"g1\", server 80 | "]
    );
    refused(
        "{fc: \"acs:fc:chengdu:1234:functions/resize/prod\", qualifier: 2}",
        "Mismatch.Qualifier",
        "qualifier 2",
    );
    let twin = "  - {name: resize, arn: \"acs:fc:chengdu:99:functions/resize\"}\n";
    let text = edit(NETWORK, &[("functions:\n", &format!("functions:\n{twin}"))]);
    let group = group_yaml("Fc", "servers: [{function: resize}]");
    let errors = parse_resources(&format!("{text}server_groups:\n  - {group}\n"), "r.yaml").unwrap_err();
    assert_eq!(
        told(&errors),
        ["IllegalParam.FunctionName | server group \"g1\", server resize | function resize"]
    );
}

// Holds SG-70
#[test]
fn knows_both_platforms_and_handlers() {
    let functions = parse_resources(NETWORK, "r.yaml").unwrap().value.inventory.functions;
    let resize = &functions["acs:fc:chengdu:1234:functions/resize"];
    assert_eq!((resize.platform, resize.handler), (FunctionPlatform::V3, FunctionHandler::Http));
    let hook = &functions["acs:fc:chengdu:1234:services/img/functions/hook"];
    assert_eq!((hook.platform, hook.handler), (FunctionPlatform::V2, FunctionHandler::Event));
    assert_eq!((hook.name.as_str(), hook.region.as_str()), ("hook", "chengdu"));
    assert_eq!(hook.triggers.keys().collect::<Vec<_>>(), ["1"]);
}

/// Errors where function "resize" is edited.
#[track_caller]
fn edited(old: &str, new: &str) -> Vec<String> {
    told(&parse_resources(&edit(NETWORK, &[(old, new)]), "r.yaml").expect_err("it should be refused"))
}

#[test]
fn holds_functions_to_their_rules() {
    assert_eq!(
        edited("platform: 2.0", "platform: 4.0"),
        ["IllegalParam.FunctionPlatform | function \"hook\" | platform 4.0"]
    );
    assert_eq!(
        edited("handler: event", "handler: cron"),
        ["IllegalParam.FunctionHandler | function \"hook\" | handler cron"]
    );
    assert_eq!(
        edited("    region: chengdu\n    account: 1234\n", ""),
        ["MissingParam.RegionId | function \"hook\" | ", "MissingParam.AccountId | function \"hook\" | "]
    );
    assert_eq!(
        edited("arn: acs:fc:hangzhou:1234:functions/far", "arn: acs:fc:hangzhou:1234:functions/near"),
        ["Mismatch.FunctionName | function \"far\" | name far"]
    );
    assert_eq!(
        edited("arn: acs:fc:hangzhou:1234:functions/far", "arn: acs:fc:hangzhou:1234:functions/far/LATEST"),
        ["IllegalParam.FunctionArn | function \"far\" | \
             arn acs:fc:hangzhou:1234:functions/far/LATEST"]
    );
    assert_eq!(
        edited("http://192.168.1.50:9000/", "http://far.example.com/"),
        ["IllegalParam.TriggerUrl | function \"far\", version \"LATEST\" | \
             trigger \"http://far.example.com/\""]
    );
    assert_eq!(
        edited("{name: prod, trigger", "{name: 2, trigger"),
        ["DuplicatedParam.Qualifier | function \"resize\", version \"2\" | name 2"]
    );
    let again = "functions:\n  - {name: resize, region: chengdu, account: 1234}\n";
    let errors = edited("functions:\n", again);
    assert_eq!(errors.len(), 1);
    assert!(errors[0].starts_with("DuplicatedParam.Function | function \"resize\""), "{errors:?}");
}

// Holds SG-70
#[test]
fn a_function_is_in_the_region_of_the_balancer() {
    let listener = ["{name: l1, load_balancer: alb1, protocol: HTTP, port: 80, server_group: g1}"];
    network_with(&[&group_yaml("Fc", "servers: [{function: resize}]")], &listener).unwrap();
    let errors = network_with(&[&group_yaml("Fc", "servers: [{function: far}]")], &listener).unwrap_err();
    assert_eq!(told(&errors), ["Mismatch.RegionId | listener \"l1\" | server group \"g1\""]);
}
