//! What there is to say about an operation: mostly why it is refused.

use crate::config::{ErrorCode, ErrorFamily, Finding};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;

/// One thing that stands against an operation, or is doubtful in what came of it: a [`Finding`] without a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remark {
    /// `ResourceNotFound.Server`; `None` in warnings.
    pub code: Option<ErrorCode>,
    /// Which thing: `server group "web", server 172.16.1.20:80`.
    pub subject: String,
    /// The value in question: `weight 101`. Empty where the thing itself is.
    pub value: String,
    /// The rule that it breaks.
    pub rule: String,
    /// What to do instead.
    pub remedy: String,
}

impl fmt::Display for Remark {
    /// One line: code, subject, value, rule; remedy.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(code) = &self.code {
            write!(f, "[{code}] ")?;
        }
        let parts = [self.subject.as_str(), self.value.as_str(), self.rule.as_str()];
        f.write_str(&parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": "))?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "; {}", self.remedy) }
    }
}

impl From<&Finding> for Remark {
    fn from(finding: &Finding) -> Remark {
        Remark {
            code: finding.code.clone(),
            subject: finding.subject.clone(),
            value: finding.value.clone(),
            rule: finding.rule.clone(),
            remedy: finding.remedy.clone(),
        }
    }
}

/// Collects them.
#[derive(Debug, Default)]
pub(super) struct Remarks(Vec<Remark>);

impl Remarks {
    pub(super) fn add(
        &mut self,
        (family, of): (ErrorFamily, impl Into<Cow<'static, str>>),
        subject: &str,
        value: impl Into<String>,
        rule: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.0.push(Remark {
            code: Some(family.of(of)),
            subject: subject.to_owned(),
            value: value.into(),
            rule: rule.into(),
            remedy: remedy.into(),
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn into_vec(self) -> Vec<Remark> {
        self.0
    }
}
