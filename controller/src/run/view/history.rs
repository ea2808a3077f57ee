//! Revisions of the resources.

use super::{NoView, not_found};
use crate::api::{Kind, ResourcesView, RevisionView};
use crate::config::{self, Change};
use crate::model::Resources;
use crate::run::control::Control;
use crate::store::{Revision, Store, StoreError};
use std::time::{SystemTime, UNIX_EPOCH};

/// Revisions shown.
const REVISIONS_SHOWN: usize = 20;

impl Control {
    /// The text in force, or that of the revision named.
    pub(super) fn text_of(&self, name: Option<&str>) -> Result<ResourcesView, NoView> {
        let Some(name) = name else {
            let text = self.text_in_force().map_err(|error| NoView::Failed(error.to_string()))?;
            return Ok(ResourcesView { revision: self.revision, text });
        };
        let revision = self.revision_named(name)?;
        Ok(ResourcesView { revision: Some(revision), text: self.store.read(revision).map_err(failed)? })
    }

    /// The newest revisions, newest first, or the one named.
    pub(super) fn history(&self, name: Option<&str>) -> Result<Vec<RevisionView>, NoView> {
        let kept = self.store.history().map_err(failed)?;
        let shown = match name {
            None => kept.len().saturating_sub(REVISIONS_SHOWN)..kept.len(),
            Some(name) => {
                let revision = self.revision_named(name)?;
                let place = kept.iter().position(|kept| *kept == revision).unwrap_or_default();
                place..place + 1
            }
        };
        let mut views = Vec::new();
        let mut before: Option<Resources> =
            shown.start.checked_sub(1).and_then(|place| self.resources_of(kept[place]));
        for revision in &kept[shown] {
            let text = self.store.read(*revision).map_err(failed)?;
            let after = config::parse_resources(&text, "").ok().map(|parsed| parsed.value);
            let kept_at = self.store.kept_at(*revision).map_err(failed)?;
            views.push(RevisionView {
                revision: *revision,
                kept_at: seconds_since_1970(kept_at),
                bytes: text.len() as u64,
                in_force: self.revision == Some(*revision),
                changes: changes(before.as_ref(), after.as_ref(), *revision),
            });
            before = after;
        }
        views.reverse();
        Ok(views)
    }

    fn resources_of(&self, revision: Revision) -> Option<Resources> {
        let text = self.store.read(revision).ok()?;
        config::parse_resources(&text, "").ok().map(|parsed| parsed.value)
    }

    fn revision_named(&self, name: &str) -> Result<Revision, NoView> {
        let kept = self.store.history().map_err(failed)?;
        let revision = name.parse().ok().map(Revision).filter(|revision| kept.contains(revision));
        revision.ok_or_else(|| not_found(Kind::History, name))
    }
}

/// The first revision of all changed nothing into something.
fn changes(before: Option<&Resources>, after: Option<&Resources>, revision: Revision) -> Option<Vec<Change>> {
    match (before, after) {
        (Some(before), Some(after)) => Some(config::changes(before, after)),
        (None, Some(after)) if revision == Revision(1) => Some(config::changes(&Resources::default(), after)),
        _ => None,
    }
}

fn seconds_since_1970(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn failed(error: StoreError) -> NoView {
    NoView::Failed(error.to_string())
}
