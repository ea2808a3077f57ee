//! Names of functions across regions and accounts.

use std::fmt;
use std::str::FromStr;

/// `acs:fc:REGION:ACCOUNT:functions/NAME[/QUALIFIER]`, or of platform 2.0
/// `acs:fc:REGION:ACCOUNT:services/SERVICE[.QUALIFIER]/functions/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::config) struct FunctionArn {
    pub(in crate::config) region: String,
    pub(in crate::config) account: String,
    pub(in crate::config) service: Option<String>,
    pub(in crate::config) name: String,
    /// A version or an alias.
    pub(in crate::config) qualifier: Option<String>,
}

impl FunctionArn {
    /// The function at `qualifier`.
    pub(in crate::config) fn at(&self, qualifier: &str) -> Self {
        Self { qualifier: Some(qualifier.to_owned()), ..self.clone() }
    }

    pub(in crate::config) fn without_qualifier(&self) -> Self {
        Self { qualifier: None, ..self.clone() }
    }
}

impl fmt::Display for FunctionArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "acs:fc:{}:{}:", self.region, self.account)?;
        let qualified = |separator: &str| {
            self.qualifier.as_ref().map_or(String::new(), |qualifier| format!("{separator}{qualifier}"))
        };
        match &self.service {
            Some(service) => write!(f, "services/{service}{}/functions/{}", qualified("."), self.name),
            None => write!(f, "functions/{}{}", self.name, qualified("/")),
        }
    }
}

/// Whether `word` can be a part of an ARN: 1 to 128 letters, digits, `-` and `_`.
pub(in crate::config) fn is_word(word: &str) -> bool {
    (1..=128).contains(&word.len())
        && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// The text is no ARN of a function.
#[derive(Debug)]
pub(in crate::config) struct NotAnArn;

impl FromStr for FunctionArn {
    type Err = NotAnArn;

    fn from_str(text: &str) -> Result<Self, NotAnArn> {
        let word = |word: &str| Some(word).filter(|word| is_word(word)).map(str::to_owned).ok_or(NotAnArn);
        let mut parts = text.strip_prefix("acs:fc:").ok_or(NotAnArn)?.splitn(3, ':');
        let (region, account) = (parts.next().ok_or(NotAnArn)?, parts.next().ok_or(NotAnArn)?);
        let path: Vec<&str> = parts.next().ok_or(NotAnArn)?.split('/').collect();
        let (service, name, qualifier) = match path.as_slice() {
            ["functions", name] => (None, *name, None),
            ["functions", name, qualifier] => (None, *name, Some(*qualifier)),
            ["services", service, "functions", name] => match service.split_once('.') {
                Some((service, qualifier)) => (Some(service), *name, Some(qualifier)),
                None => (Some(*service), *name, None),
            },
            _ => return Err(NotAnArn),
        };
        Ok(Self {
            region: word(region)?,
            account: word(account)?,
            service: service.map(word).transpose()?,
            name: word(name)?,
            qualifier: qualifier.map(word).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::FunctionArn;

    #[test]
    fn is_read_and_written_in_the_forms_of_both_platforms() {
        for text in [
            "acs:fc:chengdu:1234:functions/resize",
            "acs:fc:chengdu:1234:functions/resize/LATEST",
            "acs:fc:chengdu:1234:services/img/functions/resize",
            "acs:fc:chengdu:1234:services/img.prod/functions/resize",
        ] {
            assert_eq!(text.parse::<FunctionArn>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "resize",
            "acs:ecs:chengdu:1234:functions/resize",
            "acs:fc:chengdu:functions/resize",
            "acs:fc:chengdu::functions/resize",
            "acs:fc:chengdu:1234:functions/",
            "acs:fc:chengdu:1234:functions/a/b/c",
            "acs:fc:chengdu:1234:services/img./functions/resize",
            "acs:fc:cheng du:1234:functions/resize",
        ] {
            assert!(text.parse::<FunctionArn>().is_err(), "{text}");
        }
    }
}
