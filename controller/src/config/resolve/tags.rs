//! Tags of a group (SG-11).

use crate::config::ErrorFamily::IllegalParam;
use crate::config::decode::{Field, Head, Labels, Report};
use std::collections::BTreeMap;

/// Tags of one resource.
const TAGS_MAX: usize = 20;
/// Characters of a key or value.
const CHARS_MAX: usize = 128;

/// `None` after reporting what is wrong.
pub(super) fn resolve_tags(
    head: &Head,
    field: &Field<Labels>,
    report: &mut Report<'_>,
) -> Option<BTreeMap<String, String>> {
    let labels = match field {
        Field::Absent => return Some(BTreeMap::new()),
        Field::Bad => return None,
        Field::Good(Labels(labels)) => labels,
    };
    if let Some((beyond, _)) = labels.get(TAGS_MAX) {
        report.error(
            head.code(IllegalParam, "tags"),
            beyond.at,
            &head.subject,
            format!("{} tags", labels.len()),
            format!("a resource has at most {TAGS_MAX} tags"),
            "remove some",
        );
    }
    let mut tags = BTreeMap::new();
    for (key, value) in labels {
        let parts = [("key", key.at, &key.value, 1), ("value", value.at, &value.value.0, 0)];
        for (part, at, text, length_min) in parts {
            if !is_tag(text, length_min) {
                report.error(
                    head.code(IllegalParam, "tags"),
                    at,
                    &head.subject,
                    format!("tag {part} {text:?}"),
                    format!(
                        "{length_min} to {CHARS_MAX} characters, not beginning with `aliyun` or `acs:`, without \
                         http:// and https://"
                    ),
                    "reword it",
                );
            }
        }
        tags.insert(key.value.clone(), value.value.0.clone());
    }
    Some(tags)
}

fn is_tag(text: &str, length_min: usize) -> bool {
    (length_min..=CHARS_MAX).contains(&text.chars().count())
        && !text.starts_with("aliyun")
        && !text.starts_with("acs:")
        && !text.contains("http://")
        && !text.contains("https://")
}
