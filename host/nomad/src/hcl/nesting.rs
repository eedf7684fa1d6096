//! What would keep the parser busy for years. Where an operand fails to parse inside a bracket, the parser takes the operator before
//! it up once more, and so reads the bracket twice; with brackets in brackets that doubles at every level. So texts in which
//! chains of operators stand in each other are refused beforehand. No configuration has any: operators are not evaluated.

use super::Fault;

/// Most open brackets at once with a chain of operators before the next one: each doubles what the parser may do.
const CHAINS_MAX: usize = 4;
/// Operators of a chain from which on an operand may be read twice.
const CHAIN: usize = 2;

/// Most open brackets and texts at once; the parser takes 64.
const LEVELS_MAX: usize = 256;

/// Where the reader stands, innermost last.
enum Level<'a> {
    /// An expression or body, until this byte; operators so far in it.
    Code { end: u8, operators: usize },
    /// A text in quotes.
    Text,
    /// A text until a line with this word.
    Heredoc(&'a str),
}

/// Refuses a text in which more than [`CHAINS_MAX`] chains stand in each other.
pub(super) fn check(text: &str) -> Result<(), Fault> {
    let bytes = text.as_bytes();
    let mut levels = vec![Level::Code { end: b'\0', operators: 0 }];
    let mut at = 0;
    while let (Some(&byte), Some(level)) = (bytes.get(at), levels.last_mut()) {
        let next = bytes.get(at + 1).copied().unwrap_or_default();
        let opened = match level {
            Level::Text | Level::Heredoc(_)
                if matches!(byte, b'$' | b'%') && next == byte && bytes.get(at + 2) == Some(&b'{') =>
            {
                at += 3;
                continue;
            }
            Level::Text | Level::Heredoc(_) if matches!(byte, b'$' | b'%') && next == b'{' => {
                at += 2;
                Level::Code { end: b'}', operators: 0 }
            }
            Level::Text => {
                if byte == b'"' {
                    levels.pop();
                }
                at += if byte == b'\\' { 2 } else { 1 };
                continue;
            }
            Level::Heredoc(word) => {
                at += 1;
                if byte == b'\n'
                    && let Some(length) = last_line(text.get(at..).unwrap_or_default(), word)
                {
                    at += length;
                    levels.pop();
                }
                continue;
            }
            Level::Code { end, operators } => match (byte, next) {
                (b'#', _) | (b'/', b'/') => {
                    at += bytes.iter().skip(at).take_while(|byte| **byte != b'\n').count();
                    continue;
                }
                (b'/', b'*') => {
                    let rest = text.get(at + 2..).unwrap_or_default();
                    at += 2 + rest.find("*/").map_or(rest.len(), |end| end + 2);
                    continue;
                }
                (b'"', _) => {
                    at += 1;
                    Level::Text
                }
                (b'<', b'<') => match heredoc(text, at) {
                    Some((word, length)) => {
                        at += length;
                        Level::Heredoc(word)
                    }
                    None => {
                        at += 2;
                        continue;
                    }
                },
                (b'{', _) | (b'[', _) | (b'(', _) => {
                    at += 1;
                    Level::Code { end: closing(byte), operators: 0 }
                }
                _ => {
                    let name = name(text.get(at..).unwrap_or_default());
                    if !name.is_empty() {
                        at += name.len();
                        continue;
                    }
                    at += 1;
                    match (byte, next) {
                        _ if byte == *end => {
                            levels.pop();
                        }
                        (b'<' | b'>' | b'=' | b'!', b'=') => {
                            at += 1;
                            *operators += 1;
                        }
                        (b',' | b'=', _) => *operators = 0,
                        // Only in parentheses and brackets does an expression go on in the next line.
                        (b'\n', _) if matches!(*end, b'}' | b'\0') => *operators = 0,
                        (b'<' | b'>' | b'!' | b'+' | b'-' | b'*' | b'/' | b'%' | b'&' | b'|', _) => *operators += 1,
                        _ => {}
                    }
                    continue;
                }
            },
        };
        levels.push(opened);
        let chains =
            levels.iter().filter(|level| matches!(level, Level::Code { operators, .. } if *operators >= CHAIN));
        if levels.len() > LEVELS_MAX || chains.count() > CHAINS_MAX {
            return Err(Fault::new(
                at,
                "expressions stand too deep in each other; they are not evaluated here: write a constant",
            ));
        }
    }
    Ok(())
}

fn closing(opening: u8) -> u8 {
    match opening {
        b'{' => b'}',
        b'[' => b']',
        _ => b')',
    }
}

/// How far the line goes that ends a heredoc, if the next one is that.
fn last_line(rest: &str, word: &str) -> Option<usize> {
    let line = rest.split('\n').next()?;
    let indent = line.len() - line.trim_start().len();
    let after = line.trim_start().strip_prefix(word)?;
    (!after.starts_with(continues)).then_some(indent + word.len())
}

/// The name that a text begins with; `-` is a part of one, not an operator.
fn name(text: &str) -> &str {
    if !text.starts_with(|first: char| first.is_alphabetic() || first == '_') {
        return "";
    }
    text.split(|next| !continues(next)).next().unwrap_or_default()
}

/// Whether a name goes on.
fn continues(next: char) -> bool {
    next.is_alphanumeric() || matches!(next, '_' | '-')
}

/// The word that ends a heredoc which begins here, and the length of its beginning, up to the end of the line.
fn heredoc(text: &str, at: usize) -> Option<(&str, usize)> {
    let line = text.get(at..)?.split('\n').next()?;
    let word = line.strip_prefix("<<")?.trim_start_matches('-').trim();
    (!word.is_empty() && name(word) == word).then_some((word, line.len()))
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn chains_of_operators_in_each_other_are_refused() {
        for level in [
            "x/x%{",
            "x/x%{x/x%{xUx=[1]\n",
            "a - b - (",
            "1 + 1 + f(",
            "1 >= 2 >= \"${",
            "1+1+<<A\n%{if ",
            "-{\"}\" - 1 - [",
            "/*\"*/ 1 + 1 + [",
        ] {
            let text = format!("a = {}", level.repeat(20));
            assert!(check(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_looks_like_operators_is_left_alone() {
        for text in [
            "a = \"- - [ - - [ - - [ - - [ - - [ - - [\"",
            "# - - [ - - [ - - [ - - [ - - [ - - [",
            "/* - - [ - - [ - - [ - - [ - - [ - - [ */ a = 1",
            "a = <<END\n- - [ - - [ - - [ - - [ - - [\n  END\nb = 1",
            "a = \"$${- - [$${- - [$${- - [$${- - [$${- - [$${- - [\"",
            "a = [-1, -2, [-1, -2, [-1, -2, [-1, -2, [-1, -2, [-1, -2, [-1]]]]]]]",
            "my-own-key {\nmy-own-key {\nmy-own-key {\nmy-own-key {\nmy-own-key {\nmy-own-key {\n}}}}}}",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }
}
