//! `causeway explain`: what would become of a request, and why.

use super::{CliError, Connection, print, to_json};
use crate::api::{Request, Response};
use crate::proxy::explain::{Explanation, Question};
use clap::{Args, Subcommand, ValueEnum};
use std::net::IpAddr;

/// Say what would become of a request: which listener, rule, group and server, and why
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  causeway explain http GET http://www.example.com/api/x --from 192.0.2.7")]
pub(super) struct ExplainArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Http(HttpArgs),
}

/// An HTTP request. Nothing is sent, and nobody's turn is used up
#[derive(Debug, Args)]
#[command(
    after_help = "The next server in turn is that of the first worker; each worker has its own turn.\n\n\
                  Example:\n  causeway explain http GET https://www.example.com/api/x?a=b -H 'Cookie: a=b' --from 192.0.2.7"
)]
struct HttpArgs {
    /// Its method
    method: String,
    /// Its URL, with http or https
    url: String,
    /// A header line, `Name: value`; may be repeated
    #[arg(short = 'H', long = "header", value_name = "LINE")]
    headers: Vec<String>,
    /// The client's address
    #[arg(long, value_name = "ADDRESS", default_value = "192.0.2.1")]
    from: IpAddr,
    /// The listener, where scheme and port do not tell, or it is the QUIC one beside an HTTPS one
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// How it is shown
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Text,
    /// For programs
    Json,
}

pub(super) fn explain(arguments: &ExplainArgs) -> Result<(), CliError> {
    let What::Http(arguments) = &arguments.what;
    let question = question(arguments).map_err(CliError::Failed)?;
    let Response::Explained { explanation } = arguments.connection.ask(&Request::Explain { question })?
    else {
        return Err(CliError::UnexpectedAnswer);
    };
    match arguments.output {
        Output::Json => print(&to_json(&explanation)),
        Output::Text => print(&render(&explanation)),
    }
}

fn question(arguments: &HttpArgs) -> Result<Question, String> {
    let url = &arguments.url;
    let (https, rest) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
        (Some(rest), _) => (false, rest),
        (_, Some(rest)) => (true, rest),
        _ => return Err(format!("{url:?} does not begin with http:// or https://")),
    };
    let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
    let port = match authority.rsplit_once(':').filter(|(_, port)| !port.contains(']')) {
        Some((_, port)) => port.parse().map_err(|_| format!("{port:?} is no port"))?,
        None if https => 443,
        None => 80,
    };
    let mut head = format!("{} {target} HTTP/1.1\r\n", arguments.method);
    let has_host = arguments.headers.iter().any(|line| line.to_ascii_lowercase().starts_with("host:"));
    if !has_host {
        head.push_str(&format!("Host: {authority}\r\n"));
    }
    for line in &arguments.headers {
        head.push_str(&format!("{line}\r\n"));
    }
    head.push_str("\r\n");
    let listener = arguments.listener.clone();
    Ok(Question { listener, https, port, head, client: arguments.from })
}

fn render(explanation: &Explanation) -> String {
    let mut lines = vec![
        ("listener", format!("{} of load balancer {}", explanation.listener, explanation.load_balancer)),
        ("client", explanation.client.clone()),
    ];
    lines.extend(explanation.rule.clone().map(|rule| ("rule", rule)));
    lines.push(("action", explanation.action.clone()));
    lines.extend(explanation.status.map(|status| ("status", status.to_string())));
    lines.extend(explanation.location.clone().map(|location| ("location", location)));
    lines.extend(explanation.server_group.clone().map(|group| ("server group", group)));
    if let Some(server) = explanation.server {
        let reason = explanation.scheduler_reason.as_deref().unwrap_or("-");
        lines.push(("server", format!("{server} ({reason})")));
    }
    lines.extend(explanation.host.clone().map(|host| ("host asked for", host)));
    lines.extend(explanation.path.clone().map(|path| ("path asked for", path)));
    if let Some(mark) = &explanation.mark {
        lines.push(("mark", format!("{mark} in {}", explanation.trace_headers.join(", "))));
    }
    lines.extend(explanation.mirror.clone().map(|group| ("copy to", group)));
    lines.extend(explanation.cause.clone().map(|cause| ("because", cause)));
    let width = lines.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    lines.iter().map(|(name, value)| format!("{name:width$}  {value}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        arguments: HttpArgs,
    }

    fn asked(arguments: &[&str]) -> Result<Question, String> {
        question(&Command::parse_from([&["http"], arguments].concat()).arguments)
    }

    #[test]
    fn a_url_becomes_a_head_and_a_port() {
        let plain =
            asked(&["GET", "http://a.example:8080?x", "-H", "A: b", "--from", "2001:db8::1"]).unwrap();
        assert_eq!(plain.head, "GET /?x HTTP/1.1\r\nHost: a.example:8080\r\nA: b\r\n\r\n");
        assert_eq!((plain.https, plain.port, plain.client.to_string()), (false, 8080, "2001:db8::1".into()));
        let secure = asked(&["PUT", "https://[2001:db8::1]/p", "-H", "host: b"]).unwrap();
        assert_eq!(secure.head, "PUT /p HTTP/1.1\r\nhost: b\r\n\r\n");
        assert_eq!((secure.https, secure.port), (true, 443));
        assert!(asked(&["GET", "ftp://a"]).is_err());
        assert!(asked(&["GET", "http://a:b/"]).is_err());
    }

    #[test]
    fn says_who_answers_and_why() {
        let explanation = Explanation {
            listener: "web".into(),
            load_balancer: "lb".into(),
            client: "192.0.2.1".into(),
            rule: Some("api".into()),
            action: "forward".into(),
            server_group: Some("g".into()),
            server: Some("172.16.1.20:80".parse().unwrap()),
            scheduler_reason: Some("wrr".into()),
            mark: Some("0123456789abcdef".into()),
            trace_headers: vec!["Causeway-Trace".into(), "ALICLOUD-ALB-TRACE".into()],
            ..Explanation::default()
        };
        assert_eq!(
            render(&explanation),
            "listener      web of load balancer lb\nclient        192.0.2.1\nrule          api\n\
             action        forward\nserver group  g\nserver        172.16.1.20:80 (wrr)\n\
             mark          0123456789abcdef in Causeway-Trace, ALICLOUD-ALB-TRACE\n"
        );
    }
}
