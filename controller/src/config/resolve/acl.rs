//! Access control lists (LR-32).

use super::{Places, Spot};
use crate::config::ErrorFamily::{DuplicatedParam, QuotaExceeded};
use crate::config::decode::Report;
use crate::config::file::{AclEntry as Entry, ResourcesFile};
use crate::model::{Acl, AclEntry, AclName, Resources};
use std::collections::BTreeMap;

/// Entries of one list.
const ENTRIES_MAX: usize = 500;
/// Characters of an entry's description (SDK).
const DESCRIPTION_MAX: usize = 256;

pub(super) fn resolve_acls(
    file: &ResourcesFile,
    resources: &mut Resources,
    places: &mut Places,
    report: &mut Report<'_>,
) {
    for entry in file.acls.items() {
        let Some(acl) = resolve_acl(entry, report) else { continue };
        places.set(Spot::Acl(acl.name.clone()), report.place(entry.head.at), &entry.head.subject);
        resources.acls.insert(acl.name.clone(), acl);
    }
}

fn resolve_acl(entry: &Entry, report: &mut Report<'_>) -> Option<Acl> {
    let name = report.name(&entry.head, &entry.name).map(AclName::new);
    let sources = entry.entries.items();
    if let Some(beyond) = sources.get(ENTRIES_MAX) {
        report.error(
            QuotaExceeded.of("AclEntries"),
            beyond.head.at,
            &entry.head.subject,
            format!("{} entries", sources.len()),
            format!("a list has at most {ENTRIES_MAX}"),
            "join networks that lie side by side, or begin another list",
        );
    }
    let mut known = BTreeMap::new();
    let mut entries = Vec::new();
    for source in sources {
        let head = &source.head;
        let description = report.opaque(head, "description", &source.description, DESCRIPTION_MAX);
        let cidr = report
            .required(head, "cidr", &source.cidr, "write the addresses: `cidr: 192.0.2.0/24`")
            .and_then(|cidr| report.any_cidr(head, "cidr", cidr));
        let (Some(description), Some(cidr)) = (description, cidr) else { continue };
        if let Some(line) = known.insert(cidr, head.at.line()) {
            report.error(
                head.code(DuplicatedParam, "cidr"),
                head.at,
                &head.subject,
                "",
                format!("the list has it already, on line {line}"),
                "remove one of them",
            );
        }
        entries.push(AclEntry { cidr, description });
    }
    Some(Acl { name: name?, entries })
}
