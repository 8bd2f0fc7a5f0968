//! Names that keys are made of.

/// Why `name` cannot be part of a key; `None` when it can. A newline parts names in a key, so that no control character
/// is allowed in one.
pub fn objection(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("it is empty")
    } else if name.chars().any(char::is_control) {
        Some("it has control characters")
    } else {
        None
    }
}
