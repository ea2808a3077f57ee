//! Editing the resources in force: the text of the revision is changed, and applied.

use super::RunError;
use super::control::Control;
use crate::api::Response;
use crate::config;
use crate::config::edit::{self, Operation};
use crate::store::Store;

/// What is in force before the first apply.
const NOTHING: &str = "listeners: []\n";

impl Control {
    /// Answers an edit. One that changes nothing makes no revision.
    pub async fn edit(&mut self, operation: &Operation) -> Response {
        match self.try_edit(operation).await {
            Ok(response) => response,
            Err(error) => {
                log::error!("edit: {error}; nothing was changed");
                Response::Failed { message: format!("{error}; nothing was changed") }
            }
        }
    }

    async fn try_edit(&mut self, operation: &Operation) -> Result<Response, RunError> {
        let text = self.text_in_force()?;
        let edited = match edit::edit(&self.node, &text, operation) {
            Ok(edited) => edited,
            Err(denials) => return Ok(Response::Denied { denials }),
        };
        let changes = config::changes(&self.resources, &edited.parsed.value);
        let revision = match self.revision {
            Some(revision) if edited.parsed.value == self.resources => revision,
            _ => {
                let revision = self.take_into_force(edited.parsed.value, Some(&edited.text)).await?;
                log::info!("revision {revision} is in force, by an edit");
                revision
            }
        };
        Ok(Response::Edited { revision, changes, warnings: edited.new_warnings })
    }

    /// The resources in force, as they are kept.
    pub fn text_in_force(&self) -> Result<String, RunError> {
        match self.revision {
            Some(revision) => Ok(self.store.read(revision)?),
            None => Ok(NOTHING.to_owned()),
        }
    }
}
