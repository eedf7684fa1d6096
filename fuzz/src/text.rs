//! Text that people and logs get to see.

/// Holds a message to what a log line may be: bounded, one line, nothing that a terminal would obey.
///
/// # Panics
/// If it is not.
pub fn is_fit_for_a_log(message: &str, longest: usize) {
    let length = message.chars().count();
    assert!(length <= longest, "a message of {length} characters, {longest} are allowed: {message:.200}…");
    if let Some(control) = message.chars().find(|c| c.is_control()) {
        panic!("a message holds {control:?}: {message:?}");
    }
}

/// Holds an error to a place that an editor can go to.
///
/// # Panics
/// If the text has no such place.
pub fn has_place(text: &str, line: usize, column: usize) {
    let at = line.checked_sub(1).and_then(|line| text.split('\n').nth(line));
    let at = at.unwrap_or_else(|| panic!("there is no line {line}"));
    assert!((1..=at.chars().count() + 1).contains(&column), "there is no column {column} in {at:?}");
}
