//! What the parser's complaint about a job means to the person who wrote it.

use super::Fault;

/// The complaint in words, with what to do.
pub(super) fn explained(text: &str, fault: &Fault) -> Fault {
    let at = fault.at;
    let rest = text.get(at..).unwrap_or_default();
    let next = rest.chars().next().unwrap_or('\n');
    let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '-')).collect();
    let said = |reason: String, hint: &str| Fault::new(at, reason).hinting(hint);
    let is = |words: &str| fault.reason.contains(words);
    if text.trim_start().starts_with('{') {
        return said("this is a job in JSON, and only HCL is read here".to_owned(), "write job \"name\" { … }");
    }
    if rest.starts_with("[[") || rest.starts_with("{{") {
        return said("this is a template of a job, and no HCL".to_owned(), "render it, and check what comes of it");
    }
    if is("found redefined") {
        return said(format!("{name:?} is given twice here"), "leave one of them out");
    }
    if is("invalid expression") {
        return match next {
            '\'' => said("a text stands in double quotes".to_owned(), "write \"…\""),
            '\n' | '\r' | '#' => {
                said("a value is missing here".to_owned(), "write it behind the `=`, in the same line")
            }
            _ => said(
                format!("no value begins with {next:?}"),
                "write a text in double quotes, a number, or a list in [ ]",
            ),
        };
    }
    if is("escape sequence") {
        // The parser names the place behind what it cannot read.
        let begins = text.get(..at).and_then(|before| before.rfind('\\')).unwrap_or(at);
        let escape: String = text.get(begins..).unwrap_or_default().chars().take(2).collect();
        return Fault::new(begins, format!("{escape} means nothing in a text")).hinting("write \\\\ for a backslash");
    }
    if is("heredoc") {
        return said("this text is not closed".to_owned(), "write its word alone in a line after it");
    }
    if is("invalid structure") {
        return match next {
            ':' => said("a key and its value stand about `=`, not `:`".to_owned(), "write key = value"),
            _ => said("after a name comes `=` and a value, or a block".to_owned(), "write key = value, or name { … }"),
        };
    }
    if is("block body") && rest.trim().is_empty() {
        return said("the file ends, and a block is not closed".to_owned(), "look for the block that lacks its }");
    }
    if is("block body") && next == ',' {
        return said(
            "a block in one line holds one key".to_owned(),
            "put each key on a line of its own, without commas",
        );
    }
    if is("newline or eof") {
        return said("the line should end here".to_owned(), "put each key and block on a line of its own");
    }
    if is("unexpected token") && next == '}' {
        return said("this } closes nothing".to_owned(), "leave it out, or look for the block that lacks its {");
    }
    if is("unexpected token") || is("block body") {
        return said(format!("no key or block begins with {next:?}"), "write key = value, or name { … }");
    }
    if is("`]`") {
        return said("the list goes on without a comma, or does not end".to_owned(), "write [\"a\", \"b\"]");
    }
    said(format!("this is no HCL: {}", fault.reason), "look at what stands before it")
}
