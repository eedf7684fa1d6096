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
    read(text).map(drop)
}

/// What is seen on the way.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// `=` and `:` outside of texts: no more keys can stand there.
    pub(super) keys: usize,
    /// Byte offset of the first end of a line within a text in quotes.
    pub(super) line_break: Option<usize>,
}

/// The same, with what was seen.
pub(super) fn read(text: &str) -> Result<Seen, Fault> {
    let mut reader =
        Reader { text, at: 0, seen: Seen::default(), levels: vec![Level::Code { end: b'\0', operators: 0 }] };
    while let (Some(byte), Some(level)) = (reader.byte(0), reader.levels.last()) {
        let opened = match *level {
            Level::Code { end, .. } => reader.code(byte, end),
            Level::Text => reader.text(byte),
            Level::Heredoc(word) => reader.heredoc(byte, word),
        };
        if let Some(level) = opened {
            reader.levels.push(level);
            reader.judge()?;
        }
    }
    Ok(reader.seen)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    seen: Seen,
    levels: Vec<Level<'a>>,
}

impl<'a> Reader<'a> {
    fn byte(&self, ahead: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + ahead).copied()
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Goes on by so many bytes; the level that they open, if they do.
    fn on(&mut self, bytes: usize, opened: Option<Level<'a>>) -> Option<Level<'a>> {
        self.at += bytes;
        opened
    }

    fn code(&mut self, byte: u8, end: u8) -> Option<Level<'a>> {
        let rest = self.rest();
        match (byte, self.byte(1).unwrap_or_default()) {
            (b'#', _) | (b'/', b'/') => self.on(rest.find('\n').unwrap_or(rest.len()), None),
            (b'/', b'*') => {
                let inside = rest.get(2..).unwrap_or_default();
                self.on(2 + inside.find("*/").map_or(inside.len(), |end| end + 2), None)
            }
            (b'"', _) => self.on(1, Some(Level::Text)),
            (b'<', b'<') => match heredoc(rest) {
                Some((word, length)) => self.on(length, Some(Level::Heredoc(word))),
                None => self.on(2, None),
            },
            (b'{', _) => self.on(1, Some(Level::Code { end: b'}', operators: 0 })),
            (b'[', _) => self.on(1, Some(Level::Code { end: b']', operators: 0 })),
            (b'(', _) => self.on(1, Some(Level::Code { end: b')', operators: 0 })),
            (_, next) => {
                if byte == end {
                    self.levels.pop();
                    return self.on(1, None);
                }
                let name = name(rest).len();
                if name > 0 {
                    return self.on(name, None);
                }
                let pair = next == b'=' && matches!(byte, b'<' | b'>' | b'=' | b'!');
                self.seen.keys += usize::from(!pair && matches!(byte, b'=' | b':'));
                if let Some(Level::Code { operators, .. }) = self.levels.last_mut() {
                    match byte {
                        _ if pair => *operators += 1,
                        b',' | b'=' => *operators = 0,
                        // Only in parentheses and brackets does an expression go on in the next line.
                        b'\n' if matches!(end, b'}' | b'\0') => *operators = 0,
                        b'<' | b'>' | b'!' | b'+' | b'-' | b'*' | b'/' | b'%' | b'&' | b'|' => *operators += 1,
                        _ => {}
                    }
                }
                self.on(1 + usize::from(pair), None)
            }
        }
    }

    fn text(&mut self, byte: u8) -> Option<Level<'a>> {
        match (byte, self.template(byte)) {
            (_, Some((bytes, opened))) => self.on(bytes, opened),
            (b'\\', None) => self.on(2, None),
            (b'"', None) => {
                self.levels.pop();
                self.on(1, None)
            }
            (b'\n', None) => {
                self.seen.line_break.get_or_insert(self.at);
                self.on(1, None)
            }
            _ => self.on(1, None),
        }
    }

    fn heredoc(&mut self, byte: u8, word: &str) -> Option<Level<'a>> {
        if let Some((bytes, opened)) = self.template(byte) {
            return self.on(bytes, opened);
        }
        self.at += 1;
        if byte == b'\n'
            && let Some(length) = last_line(self.rest(), word)
        {
            self.at += length;
            self.levels.pop();
        }
        None
    }

    /// `${` and `%{` open an expression in a text; `$${` and `%%{` stand for themselves.
    fn template(&self, byte: u8) -> Option<(usize, Option<Level<'a>>)> {
        if !matches!(byte, b'$' | b'%') {
            return None;
        }
        match (self.byte(1), self.byte(2)) {
            (Some(b'{'), _) => Some((2, Some(Level::Code { end: b'}', operators: 0 }))),
            (next, Some(b'{')) if next == Some(byte) => Some((3, None)),
            _ => None,
        }
    }

    fn judge(&self) -> Result<(), Fault> {
        let is_chain = |level: &&Level<'_>| matches!(level, Level::Code { operators, .. } if *operators >= CHAIN);
        if self.levels.len() <= LEVELS_MAX && self.levels.iter().filter(is_chain).count() <= CHAINS_MAX {
            return Ok(());
        }
        let why = "expressions stand too deep in each other; they are not evaluated here: write a constant";
        Err(Fault::new(self.at, why))
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
fn heredoc(rest: &str) -> Option<(&str, usize)> {
    let line = rest.split('\n').next()?;
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
