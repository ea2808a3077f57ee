//! Changes of the resources in force that an operator types, instead of writing them into the file.
//!
//! An edit changes the text of the revision in force and is then an apply like any other: the same rules judge the
//! whole of it, all or nothing (SG-222). The text is written anew, so that comments in it are lost; keys stay in their
//! order. Everything that is wrong is told at once, without positions, since nobody has seen the new text.

mod group;
mod listener;
mod name;
mod pin;
mod remark;
mod servers;
mod template;
mod yaml;

#[cfg(test)]
mod tests;

pub use name::{names_server, server_name, unqualified_arn};
pub use pin::pin_addresses;
pub use remark::Remark;

use super::tree;
use super::{ConfigErrors, Finding, Parsed, parse_resources_for};
use crate::model::{Node, Resources};
use remark::Remarks;
use serde::{Deserialize, Serialize};
use yaml::{Map, Yaml};

/// What an operator wants changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Operation {
    /// Servers join a group.
    AddServers {
        /// The group.
        group: String,
        /// 1 to 200 servers that are not in it (SG-220).
        servers: Vec<NewServer>,
    },
    /// Servers leave a group.
    RemoveServers {
        /// The group.
        group: String,
        /// 1 to 200 of its servers, by name: `172.16.1.20:80`, `ecs:i-web1:80`, `fc:ARN`. A port, or an address of
        /// an instance, may be left out where one server fits.
        servers: Vec<String>,
    },
    /// Servers join a group while others leave it (SG-223).
    ReplaceServers {
        /// The group; of type Instance or Ip (SG-73).
        group: String,
        /// 1 to 200 servers that are not in it; not remote ones (SG-224).
        added: Vec<NewServer>,
        /// 1 to 200 of its servers, by name.
        removed: Vec<String>,
    },
    /// Servers of a group get another weight or description (SG-221).
    SetServers {
        /// The group.
        group: String,
        /// 1 to 40 of its servers.
        servers: Vec<ServerSettings>,
    },
    /// A group that nothing uses goes (SG-230).
    DeleteServerGroup {
        /// The group.
        name: String,
    },
    /// A group gets a copy of a template's health check (SG-194).
    ApplyHealthCheckTemplate {
        /// The template.
        template: String,
        /// The group.
        group: String,
    },
    /// A listener accepts connections from now on, or no longer (LR-5).
    EnableListener {
        /// The listener.
        name: String,
        /// Whether it does.
        enabled: bool,
    },
    /// Templates go; groups keep what was copied (SG-194).
    DeleteHealthCheckTemplates {
        /// 1 to 10 templates.
        names: Vec<String>,
    },
}

/// A server that joins a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewServer {
    /// `172.16.1.20:80`, `ecs:i-web1:80`, `eni:eni-1@172.16.1.21:80`, `fc:ARN`.
    pub server: String,
    /// Its port, where the name has none.
    #[serde(default)]
    pub port: Option<u32>,
    /// 0 to 100; 100 where absent.
    #[serde(default)]
    pub weight: Option<u32>,
    /// Whether it lies in another network (SG-50).
    #[serde(default)]
    pub remote_ip: bool,
    /// Free text (SG-35).
    #[serde(default)]
    pub description: Option<String>,
}

/// What becomes of a server; what is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerSettings {
    /// Its name.
    pub server: String,
    /// 0 to 100.
    #[serde(default)]
    pub weight: Option<u32>,
    /// Free text; an empty one removes it.
    #[serde(default)]
    pub description: Option<String>,
}

/// New resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    /// What to keep as the next revision.
    pub text: String,
    /// What it says.
    pub parsed: Parsed<Resources>,
    /// Warnings that the old text did not have.
    pub new_warnings: Vec<Remark>,
}

/// Carries out `operation` on `text`, the resources in force on `node`.
///
/// # Errors
/// Everything that stands against it; then nothing is to change.
pub fn edit(node: &Parsed<Node>, text: &str, operation: &Operation) -> Result<Edited, Vec<Remark>> {
    let before = parse_resources_for(node, text, "the resources in force").map_err(denied)?;
    let mut document = read(text);
    let mut denials = Remarks::default();
    let resources = &before.value;
    match operation {
        Operation::AddServers { group, servers } => {
            servers::add(&mut document, resources, group, servers, &mut denials);
        }
        Operation::RemoveServers { group, servers } => {
            servers::remove(&mut document, resources, group, servers, &mut denials);
        }
        Operation::ReplaceServers { group, added, removed } => {
            servers::replace(&mut document, resources, group, (added, removed), &mut denials);
        }
        Operation::SetServers { group, servers } => {
            servers::set(&mut document, resources, group, servers, &mut denials);
        }
        Operation::DeleteServerGroup { name } => group::delete(&mut document, resources, name, &mut denials),
        Operation::ApplyHealthCheckTemplate { template, group } => {
            template::apply(&mut document, resources, template, group, &mut denials);
        }
        Operation::EnableListener { name, enabled } => {
            listener::enable(&mut document, resources, name, *enabled, &mut denials);
        }
        Operation::DeleteHealthCheckTemplates { names } => {
            template::delete(&mut document, resources, names, &mut denials);
        }
    }
    // What was refused is not in the document; the rules judge the rest of it, so that all is told at once.
    let text = document.to_text();
    match parse_resources_for(node, &text, "the edited resources") {
        Ok(parsed) if denials.is_empty() => {
            let known: Vec<Remark> = before.warnings.findings().iter().map(Remark::from).collect();
            let warnings = parsed.warnings.findings().iter().map(Remark::from);
            let new_warnings = warnings.filter(|warning| !known.contains(warning)).collect();
            Ok(Edited { text, parsed, new_warnings })
        }
        Ok(_) => Err(denials.into_vec()),
        Err(errors) => Err(denials.into_vec().into_iter().chain(denied(errors)).collect()),
    }
}

/// A text that was accepted before.
fn read(text: &str) -> Map {
    match tree::parse(text).map(|tree| Yaml::from(&tree)) {
        Ok(Yaml::Map(map)) => map,
        Ok(_) | Err(_) => Map::default(),
    }
}

fn denied(errors: ConfigErrors) -> Vec<Remark> {
    errors.findings().iter().map(|finding: &Finding| Remark::from(finding)).collect()
}
