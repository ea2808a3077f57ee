//! Functions, and groups of one function (SG-70, SG-71, SG-74, D-9).

mod arn;
mod trigger;

use crate::config::ErrorFamily::{
    DuplicatedParam, IllegalParam, Mismatch, MissingParam, OperationDenied, ResourceNotFound,
};
use crate::config::decode::{At, Field, Head, Report, Word, nearest};
use crate::config::file::{FunctionEntry, ResourcesFile, ServerEntry};
use crate::model::{
    Function, FunctionHandler, FunctionPlatform, FunctionTrigger, Inventory, RegionName, Server,
    ServerAddress, ServerId, Weight,
};
pub(super) use arn::FunctionArn;
use serde_saphyr::Location;
use std::collections::{BTreeMap, BTreeSet};
use trigger::{Target, parse_trigger};

/// The version that every function has (SG-71).
const LATEST: &str = "LATEST";

/// What servers need to know of functions beyond the model.
pub(super) struct Functions {
    /// Names and ARNs that were written, whether or not the function is right.
    declared: BTreeSet<String>,
    targets: BTreeMap<FunctionArn, Target>,
}

impl Functions {
    /// Puts the functions into the inventory.
    pub(super) fn collect(file: &ResourcesFile, inventory: &mut Inventory, report: &mut Report<'_>) -> Self {
        let mut functions = Self { declared: BTreeSet::new(), targets: BTreeMap::new() };
        let mut first: BTreeMap<FunctionArn, Location> = BTreeMap::new();
        for entry in file.functions.items() {
            let written = [&entry.name, &entry.arn].into_iter().filter_map(Field::good);
            functions.declared.extend(written.map(|text| text.value.clone()));
            let Some((arn, function)) = functions.resolve(entry, report) else { continue };
            if let Some(first) = first.insert(arn, entry.head.at) {
                report.error(
                    DuplicatedParam.of("Function"),
                    entry.head.at,
                    &entry.head.subject,
                    format!("arn {}", function.arn),
                    format!("the function on line {} is the same", first.line()),
                    "remove one of them",
                );
                continue;
            }
            inventory.functions.insert(function.arn.clone(), function);
        }
        functions
    }

    fn resolve(&mut self, entry: &FunctionEntry, report: &mut Report<'_>) -> Option<(FunctionArn, Function)> {
        let head = &entry.head;
        let platform = resolve_platform(entry, report);
        let handlers = [("http", FunctionHandler::Http), ("event", FunctionHandler::Event)];
        let handler =
            report.choice_or(head, "handler", &entry.handler, FunctionHandler::Http, &handlers, &[]);
        let arn = resolve_arn(entry, report);
        let mut triggers: BTreeMap<String, FunctionTrigger> = BTreeMap::new();
        let mut seen: BTreeMap<&str, Location> = BTreeMap::new();
        for qualifier in entry.versions.items().iter().chain(entry.aliases.items()) {
            let head = &qualifier.head;
            let name = report.required(head, "name", &qualifier.name, "name the version or alias");
            let Some(name) = name else { continue };
            if !arn::is_word(&name.value.0) {
                let rule = "1 to 128 letters, digits, `-` and `_`";
                let (code, value) = (head.code(IllegalParam, "name"), format!("name {:?}", name.value.0));
                report.error(code, name.at, &head.subject, value, rule, "choose another name");
                continue;
            }
            if let Some(first) = seen.insert(&name.value.0, name.at) {
                report.error(
                    head.code(DuplicatedParam, "name"),
                    name.at,
                    &head.subject,
                    format!("name {}", name.value.0),
                    format!("another version or alias on line {} has this name", first.line()),
                    "rename or remove one of them",
                );
                continue;
            }
            let Some(url) = qualifier.trigger.good() else { continue };
            let Some((trigger, target)) = parse_trigger(head, url, report) else { continue };
            triggers.insert(name.value.0.clone(), trigger);
            if let Some(arn) = &arn {
                self.targets.insert(arn.at(&name.value.0), target);
            }
        }
        let arn = arn?;
        let function = Function {
            arn: arn.to_string(),
            name: arn.name.clone(),
            region: RegionName::new(arn.region.clone()),
            platform: platform?,
            handler: handler?,
            triggers,
        };
        Some((arn, function))
    }

    /// The server of a group of type Fc. Port and weight are checked by the caller, and not used (SG-33, SG-34).
    pub(super) fn resolve_server(
        &self,
        entry: &ServerEntry,
        description: Option<String>,
        inventory: &Inventory,
        report: &mut Report<'_>,
    ) -> Option<Server> {
        let head = &entry.head;
        let written_qualifier = entry.qualifier.good().map(|word| word.value.0.as_str());
        let (function, qualifier, at) = match (&entry.fc, &entry.function) {
            (Field::Good(text), Field::Absent) => {
                let arn = parse_arn(head, "fc", text, report)?;
                let own = arn.qualifier.clone();
                if let (Some(own), Some(written)) = (&own, written_qualifier)
                    && own != written
                {
                    report.error(
                        Mismatch.of("Qualifier"),
                        entry.qualifier.at().unwrap_or(text.at),
                        &head.subject,
                        format!("qualifier {written}"),
                        format!("the ARN names {own}"),
                        "remove one of them",
                    );
                    return None;
                }
                let qualifier = own.as_deref().or(written_qualifier).unwrap_or(LATEST).to_owned();
                let base = arn.without_qualifier().to_string();
                let found = inventory.functions.get(&base);
                let function = self.found(head, text, found.into_iter().collect(), inventory, report)?;
                (function, qualifier, text.at)
            }
            (Field::Absent, Field::Good(text)) => {
                let found = inventory.functions.values().filter(|function| function.name == text.value);
                let function = self.found(head, text, found.collect(), inventory, report)?;
                (function, written_qualifier.unwrap_or(LATEST).to_owned(), text.at)
            }
            (Field::Bad, _) | (_, Field::Bad) => return None,
            (Field::Good(_), Field::Good(_)) | (Field::Absent, Field::Absent) => {
                report.error(
                    head.code(MissingParam, "fc"),
                    head.at,
                    &head.subject,
                    "",
                    "a server of a group of type Fc is one function",
                    "write `fc: ARN`, or `function: NAME` with `qualifier: VERSION`",
                );
                return None;
            }
        };
        let arn: FunctionArn = function.arn.parse().expect("functions of the inventory have ARNs");
        let arn = arn.at(&qualifier);
        let Some(trigger) = function.triggers.get(&qualifier) else {
            let at = entry.qualifier.at().unwrap_or(at);
            report_no_trigger(head, function, &qualifier, at, report);
            return None;
        };
        let target = self.targets.get(&arn)?;
        Some(Server {
            id: ServerId::Fc(arn.to_string()),
            address: ServerAddress { ip: target.ip.into(), port: target.port },
            weight: Weight::MAX,
            remote_ip: false,
            zone: None,
            description,
            trigger: Some(trigger.clone()),
        })
    }

    /// The one function meant.
    fn found<'i>(
        &self,
        head: &Head,
        text: &At<String>,
        found: Vec<&'i Function>,
        inventory: &Inventory,
        report: &mut Report<'_>,
    ) -> Option<&'i Function> {
        if let [only] = found.as_slice() {
            return Some(only);
        }
        let (code, rule, remedy) = if found.is_empty() {
            if self.declared.contains(&text.value) {
                return None;
            }
            let names: Vec<&str> =
                inventory.functions.values().map(|function| function.name.as_str()).collect();
            let hint = nearest(&text.value, &names).map(|near| format!("did you mean \"{near}\"? "));
            let remedy =
                format!("{}defined functions: {}", hint.unwrap_or_default(), super::rules::list(names));
            (ResourceNotFound.of("Function"), "no such function is defined", remedy)
        } else {
            let arns: Vec<&str> = found.iter().map(|function| function.arn.as_str()).collect();
            let remedy = format!("write `fc: ARN` with one of {}", arns.join(", "));
            (IllegalParam.of("FunctionName"), "several functions have this name", remedy)
        };
        report.error(code, text.at, &head.subject, format!("function {}", text.value), rule, remedy);
        None
    }
}

/// Either there is no such version or alias, or nothing can be called.
fn report_no_trigger(
    head: &Head,
    function: &Function,
    qualifier: &str,
    at: Location,
    report: &mut Report<'_>,
) {
    let is_old_event_handler =
        function.platform == FunctionPlatform::V2 && function.handler == FunctionHandler::Event;
    let rule = if is_old_event_handler {
        "an event handler of platform 2.0 is called through an HTTP trigger only, and this has none"
    } else {
        "it has no HTTP trigger to be called through"
    };
    let known: Vec<&str> = function.triggers.keys().map(String::as_str).collect();
    let others = match known.is_empty() {
        true => String::new(),
        false => format!("; with a trigger: {}", super::rules::list(known)),
    };
    report.error(
        OperationDenied.of("FunctionWithoutHttpTrigger"),
        at,
        &head.subject,
        format!("qualifier {qualifier}"),
        rule,
        format!(
            "write `{{name: {qualifier}, trigger: URL}}` into `versions` or `aliases` of function \"{}\"{others}",
            function.name,
        ),
    );
}

fn resolve_platform(entry: &FunctionEntry, report: &mut Report<'_>) -> Option<FunctionPlatform> {
    let platforms = [("2.0", FunctionPlatform::V2), ("3.0", FunctionPlatform::V3)];
    let field = match &entry.platform {
        Field::Absent => Field::Absent,
        Field::Bad => return None,
        Field::Good(At { value: Word(text), at }) => Field::Good(At { value: text.clone(), at: *at }),
    };
    report.choice_or(&entry.head, "platform", &field, FunctionPlatform::V3, &platforms, &[])
}

/// From `arn`, or from its parts.
fn resolve_arn(entry: &FunctionEntry, report: &mut Report<'_>) -> Option<FunctionArn> {
    let head = &entry.head;
    let Field::Absent = entry.arn else {
        let text = entry.arn.good()?;
        let arn = parse_arn(head, "arn", text, report)?;
        if let Some(qualifier) = &arn.qualifier {
            let rule = format!("it names {qualifier}; versions and aliases stand in their own lists");
            let remedy = format!("write {}", arn.without_qualifier());
            let code = head.code(IllegalParam, "arn");
            report.error(code, text.at, &head.subject, format!("arn {}", text.value), rule, remedy);
            return None;
        }
        let account = entry.account.good().map(|account| (account.value.0.as_str(), account.at));
        let text_of = |field: &'_ Field<At<String>>| field.good().map(|text| (text.value.clone(), text.at));
        let parts = [
            ("name", text_of(&entry.name), Some(&arn.name)),
            ("region", text_of(&entry.region), Some(&arn.region)),
            ("account", account.map(|(text, at)| (text.to_owned(), at)), Some(&arn.account)),
            ("service", text_of(&entry.service), arn.service.as_ref()),
        ];
        for (key, written, own) in parts {
            let Some((written, at)) = written.filter(|(written, _)| Some(written) != own) else { continue };
            let rule = format!("the ARN has {}", own.map_or("none", String::as_str));
            let code = head.code(Mismatch, key);
            let value = format!("{key} {written}");
            report.error(code, at, &head.subject, value, rule, "remove one of them");
        }
        return Some(arn);
    };
    let remedy = "write it, or the whole `arn`";
    let name = report.required(head, "name", &entry.name, remedy).map(|text| (text.value.clone(), text.at));
    let region = report.required(head, "region", &entry.region, remedy).map(|text| text.value.clone());
    let account = report.required(head, "account", &entry.account, remedy).map(|text| text.value.0.clone());
    let ((name, at), region, account) = (name?, region?, account?);
    let service = entry.service.good().map(|text| text.value.clone());
    let arn = FunctionArn { region, account, service, name, qualifier: None };
    // Parts that hold separators would be read back as something else.
    parse_arn(head, "name", &At { value: arn.to_string(), at }, report).filter(|parsed| *parsed == arn)
}

fn parse_arn(head: &Head, key: &str, text: &At<String>, report: &mut Report<'_>) -> Option<FunctionArn> {
    let parsed = text.value.parse();
    if parsed.is_err() {
        report.error(
            head.code(IllegalParam, key),
            text.at,
            &head.subject,
            format!("{key} {:?}", text.value),
            "not the ARN of a function",
            "write acs:fc:REGION:ACCOUNT:functions/NAME, or ...:services/SERVICE/functions/NAME for platform 2.0",
        );
    }
    parsed.ok()
}
