//! Health check templates (SG-194).

use super::group;
use super::remark::Remarks;
use super::yaml::{Map, Yaml};
use crate::config::ErrorFamily::{DuplicatedParam, IllegalParam, MissingParam};
use crate::model::{HealthCheckTemplateName, Resources};
use std::collections::BTreeSet;

/// Templates of one call (SG-194).
const TEMPLATES_MAX: usize = 10;

/// Copies the template's values into the group, in place of what it had.
pub(super) fn apply(
    document: &mut Map,
    resources: &Resources,
    template: &str,
    group: &str,
    denials: &mut Remarks,
) {
    let check = entry(document, resources, template, denials).map(|entry| {
        // Said outright: in groups of functions checks are off unless they say otherwise (SG-72).
        let mut check: Map = [("enabled", Yaml::Bool(true))].into_iter().collect();
        check.extend(entry.without("name"));
        check
    });
    let Some((_, entry)) = group::find(document, resources, group, denials) else { return };
    if let Some(check) = check {
        entry.set("health_check", Yaml::Map(check));
    }
}

/// Removes templates; groups hold copies.
pub(super) fn delete(document: &mut Map, resources: &Resources, names: &[String], denials: &mut Remarks) {
    if names.is_empty() || names.len() > TEMPLATES_MAX {
        let family = if names.is_empty() { MissingParam } else { IllegalParam };
        denials.add(
            (family, "HealthCheckTemplateIds"),
            "",
            format!("{} health check templates", names.len()),
            format!("1 to {TEMPLATES_MAX} are deleted at a time"),
            "delete them in several calls",
        );
        return;
    }
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            denials.add(
                (DuplicatedParam, "HealthCheckTemplateIds"),
                &format!("health check template \"{name}\""),
                "",
                "it is named twice",
                "name it once",
            );
            continue;
        }
        entry(document, resources, name, denials);
    }
    document.list_mut("health_check_templates").retain(
        |entry| !matches!(entry, Yaml::Map(entry) if names.iter().any(|name| entry.has("name", name))),
    );
}

fn entry<'a>(
    document: &'a mut Map,
    resources: &Resources,
    name: &str,
    denials: &mut Remarks,
) -> Option<&'a Map> {
    if !resources.health_check_templates.contains_key(&HealthCheckTemplateName::new(name)) {
        let names: Vec<&str> =
            resources.health_check_templates.keys().map(HealthCheckTemplateName::as_str).collect();
        group::not_found("health check template", "HealthCheckTemplate", name, &names, denials);
        return None;
    }
    document.maps_mut("health_check_templates").find(|entry| entry.has("name", name)).map(|entry| &*entry)
}
