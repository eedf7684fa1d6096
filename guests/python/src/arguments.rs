//! The interpreter's own command line: enough of it to tell whether its arguments already say what to run.

/// The argument that names the program, if one of these does: `-c`, `-m`, `-`, or the first word that is no option. What follows it is
/// the program's own.
pub(crate) fn program(args: &[String]) -> Option<&str> {
    let mut words = args.iter().map(String::as_str);
    while let Some(word) = words.next() {
        match word {
            "-" => return Some(word),
            "--" => return words.next(),
            "--check-hash-based-pycs" => {
                words.next();
            }
            _ if word.starts_with("--") => {}
            _ => match word.strip_prefix('-') {
                Some(letters) => match letters.find(['c', 'm', 'W', 'X', 'Q']) {
                    Some(at) if letters.get(at..).is_some_and(|rest| rest.starts_with(['c', 'm'])) => {
                        return Some(word);
                    }
                    // Its value is the rest of the word, or the next one.
                    Some(at) if at + 1 == letters.len() => {
                        words.next();
                    }
                    _ => {}
                },
                None => return Some(word),
            },
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_the_interpreter_name_no_program_but_c_m_and_a_bare_word_do() {
        for (args, want) in [
            (&[][..], None),
            (&["-u", "-B", "-OO", "-v"], None),
            (&["-W", "ignore", "-Werror", "-X", "dev", "-Xutf8"], None),
            (&["--check-hash-based-pycs", "never"], None),
            (&["-bb", "-Wmodule"], None),
            (&["-m", "http.server"], Some("-m")),
            (&["-u", "-mhttp.server"], Some("-mhttp.server")),
            (&["-Im", "http.server"], Some("-Im")),
            (&["-c", "print(1)"], Some("-c")),
            (&["-"], Some("-")),
            (&["--"], None),
            (&["--", "other.py"], Some("other.py")),
            (&["-W", "ignore", "other.py", "-u"], Some("other.py")),
            (&["8000"], Some("8000")),
            (&["--port", "80"], Some("80")),
        ] {
            let args: Vec<String> = args.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(program(&args), want, "{args:?}");
        }
    }
}
