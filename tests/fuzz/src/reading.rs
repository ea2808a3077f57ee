//! How the least careful of parsers might read a head: what is in force for it must be in force for all.

/// A header line as such a parser sees it: name in lower case and value, white space of every kind taken off.
pub type Line = (Vec<u8>, Vec<u8>);

/// The lines after the first: any LF ends one, CR is white space, a line that begins with white space continues the one
/// before, everything before the first colon is the name. Stops at the first empty line.
pub fn lenient_lines(head: &[u8]) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for line in head.split(|&byte| byte == b'\n').skip(1) {
        let text = trim(line);
        if text.is_empty() {
            break;
        }
        let folded = matches!(line.first(), Some(b' ' | b'\t' | 0x0b | 0x0c));
        if let (true, Some((_, value))) = (folded, lines.last_mut()) {
            value.push(b' ');
            value.extend_from_slice(text);
            continue;
        }
        let (name, value) = match text.iter().position(|&byte| byte == b':') {
            Some(colon) => (&text[..colon], &text[colon + 1..]),
            None => (text, &[][..]),
        };
        lines.push((trim(name).to_ascii_lowercase(), trim(value).to_vec()));
    }
    lines
}

/// White space as the most generous see it: everything up to the space, and DEL.
fn trim(bytes: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| *byte <= b' ' || *byte == 0x7f;
    let start = bytes.iter().position(|byte| !is_space(byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    &bytes[start..end]
}

/// Whether `list`, a comma-separated one, names `what`, which is in lower case.
pub fn names(list: &[u8], what: &[u8]) -> bool {
    list.split(|&byte| byte == b',').any(|part| trim(part).eq_ignore_ascii_case(what))
}

/// Fields of one connection (LR-46), which never go further, whether or not Connection names them.
const HOP_BY_HOP: [&[u8]; 6] =
    [b"connection", b"keep-alive", b"proxy-connection", b"te", b"transfer-encoding", b"upgrade"];

/// The lines that go further, given what Connection names among them.
pub fn end_to_end(lines: &[Line]) -> Vec<Line> {
    let nominated = |name: &[u8]| {
        lines.iter().any(|(connection, value)| connection == b"connection" && names(value, name))
    };
    let passes = |(name, _): &&Line| !HOP_BY_HOP.contains(&name.as_slice()) && !nominated(name);
    lines.iter().filter(passes).cloned().collect()
}

/// Panics unless every CR has its LF and every LF its CR.
pub fn check_line_ends(head: &[u8]) {
    for (at, &byte) in head.iter().enumerate() {
        match byte {
            b'\r' => assert_eq!(head.get(at + 1), Some(&b'\n'), "a bare CR at {at}"),
            b'\n' => assert!(at > 0 && head[at - 1] == b'\r', "a bare LF at {at}"),
            _ => {}
        }
    }
}
