//! What a probe found.

use std::fmt;

/// How a probe ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Passed,
    /// Not.
    Failed(Failure),
}

impl Outcome {
    /// Whether it is [`Outcome::Passed`].
    pub fn passed(&self) -> bool {
        matches!(self, Outcome::Passed)
    }
}

/// Why a probe failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The reason the API reports.
    pub reason: FailureReason,
    /// What the server sent, e.g. `404`; only with [`FailureReason::ResponseMismatch`].
    pub actual: Option<String>,
    /// What would have passed, e.g. `HTTP_2xx,HTTP_3xx`; only with [`FailureReason::ResponseMismatch`].
    pub expected: Option<String>,
    /// What happened, for logs: an operating system error, a malformed line.
    pub detail: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.reason)?;
        if let (Some(actual), Some(expected)) = (&self.actual, &self.expected) {
            write!(f, ": got {actual}, expected {expected}")?;
        }
        if !self.detail.is_empty() {
            write!(f, " ({})", self.detail)?;
        }
        Ok(())
    }
}

/// Reasons as the API names them (SG-193).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureReason {
    /// No answer to the handshake in time.
    ConnectTimeout,
    /// Handshake refused, or the server is unreachable.
    ConnectFailed,
    /// Connection closed or reset before a response.
    RecvResponseFailed,
    /// Connected, but no complete response head in time.
    RecvResponseTimeout,
    /// Connection broke while the request was sent.
    SendRequestFailed,
    /// The server did not take the request in time.
    SendRequestTimeout,
    /// What came back is not a response of the protocol.
    ResponseFormatError,
    /// A response, but not one that passes.
    ResponseMismatch,
}

impl FailureReason {
    /// The API's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            FailureReason::ConnectTimeout => "CONNECT_TIMEOUT",
            FailureReason::ConnectFailed => "CONNECT_FAILED",
            FailureReason::RecvResponseFailed => "RECV_RESPONSE_FAILED",
            FailureReason::RecvResponseTimeout => "RECV_RESPONSE_TIMEOUT",
            FailureReason::SendRequestFailed => "SEND_REQUEST_FAILED",
            FailureReason::SendRequestTimeout => "SEND_REQUEST_TIMEOUT",
            FailureReason::ResponseFormatError => "RESPONSE_FORMAT_ERROR",
            FailureReason::ResponseMismatch => "RESPONSE_MISMATCH",
        }
    }
}

impl fmt::Display for FailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Holds SG-193
    #[test]
    fn reasons_are_the_words_of_the_api() {
        let words = [
            (FailureReason::ConnectTimeout, "CONNECT_TIMEOUT"),
            (FailureReason::ConnectFailed, "CONNECT_FAILED"),
            (FailureReason::RecvResponseFailed, "RECV_RESPONSE_FAILED"),
            (FailureReason::RecvResponseTimeout, "RECV_RESPONSE_TIMEOUT"),
            (FailureReason::SendRequestFailed, "SEND_REQUEST_FAILED"),
            (FailureReason::SendRequestTimeout, "SEND_REQUEST_TIMEOUT"),
            (FailureReason::ResponseFormatError, "RESPONSE_FORMAT_ERROR"),
            (FailureReason::ResponseMismatch, "RESPONSE_MISMATCH"),
        ];
        for (reason, word) in words {
            assert_eq!((reason.as_str(), reason.to_string().as_str()), (word, word));
        }
    }

    #[test]
    fn a_failure_says_what_came_and_what_was_expected() {
        let mut failure = Failure {
            reason: FailureReason::ResponseMismatch,
            actual: Some("404".into()),
            expected: Some("HTTP_2xx".into()),
            detail: String::new(),
        };
        assert_eq!(failure.to_string(), "RESPONSE_MISMATCH: got 404, expected HTTP_2xx");
        failure.detail = "GET /health".into();
        assert_eq!(failure.to_string(), "RESPONSE_MISMATCH: got 404, expected HTTP_2xx (GET /health)");
        (failure.reason, failure.actual) = (FailureReason::ConnectFailed, None);
        assert_eq!(failure.to_string(), "CONNECT_FAILED (GET /health)");
    }
}
