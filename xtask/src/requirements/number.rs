//! A requirement's number, `SG-81`, and a run of them, `SG-134..SG-139`.

use std::fmt;
use std::str::FromStr;

/// A family's letters and a place in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Number {
    pub family: String,
    pub place: u16,
}

impl FromStr for Number {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no requirement's number; write it like SG-81");
        let (family, digits) = text.split_once('-').ok_or_else(wrong)?;
        let is_family = (2..=4).contains(&family.len()) && family.bytes().all(|b| b.is_ascii_uppercase());
        // No sign and no leading zero: a number has one spelling, by which it can be searched.
        let is_place = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
        if !is_family || !is_place {
            return Err(wrong());
        }
        Ok(Self { family: family.to_owned(), place: digits.parse().map_err(|_| wrong())? })
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.family, self.place)
    }
}

/// All numbers of a family from `first` to `last`, both included; often one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub first: Number,
    pub last: Number,
}

impl Span {
    pub fn contains(&self, number: &Number) -> bool {
        // The order compares families first, and a span has one family.
        (&self.first..=&self.last).contains(&number)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((first, last)) = text.split_once("..") else {
            let number: Number = text.parse()?;
            return Ok(Self { first: number.clone(), last: number });
        };
        let (first, last): (Number, Number) = (first.parse()?, last.parse()?);
        if first.family != last.family || first.place >= last.place {
            return Err(format!("{text} does not ascend within one family; write it like SG-134..SG-139"));
        }
        Ok(Self { first, last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Number {
        text.parse().expect("a number")
    }

    #[test]
    fn numbers_have_one_spelling() {
        assert_eq!(number("SG-81"), Number { family: "SG".to_owned(), place: 81 });
        assert_eq!(number("SG-81").to_string(), "SG-81");
        for wrong in
            ["", "SG", "SG-", "SG81", "SG-081", "SG-0", "SG-+8", "sg-81", "S-1", "SG-8a", "SG-70000", " SG-1"]
        {
            assert!(wrong.parse::<Number>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn numbers_are_in_order_of_their_value() {
        assert!(number("SG-9") < number("SG-10") && number("SG-10") < number("XR-1"));
    }

    #[test]
    fn a_span_holds_both_its_ends_and_nothing_of_another_family() {
        let span: Span = "SG-134..SG-139".parse().expect("a span");
        for (text, inside) in
            [("SG-133", false), ("SG-134", true), ("SG-137", true), ("SG-139", true), ("SG-140", false)]
        {
            assert_eq!(span.contains(&number(text)), inside, "{text}");
        }
        assert!(!span.contains(&number("XR-136")));
        assert!("SG-5".parse::<Span>().expect("one number").contains(&number("SG-5")));
    }

    #[test]
    fn a_span_ascends_within_one_family() {
        for wrong in ["SG-9..SG-9", "SG-9..SG-8", "SG-1..XR-2", "SG-1..", "SG-1..5", "..SG-5", "SG-1...SG-2"]
        {
            assert!(wrong.parse::<Span>().is_err(), "{wrong:?}");
        }
    }
}
