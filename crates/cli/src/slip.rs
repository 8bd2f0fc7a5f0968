//! Slips of the finger.

/// Whether `typed` is `meant` with one letter too many, too few, wrong, or two that changed places.
pub(crate) fn is(typed: &str, meant: &str) -> bool {
    let (typed, meant): (Vec<char>, Vec<char>) = (typed.chars().collect(), meant.chars().collect());
    if typed.len() < 3 {
        return false;
    }
    let same = typed.iter().zip(&meant).take_while(|(a, b)| a == b).count();
    let (left, right) = (&typed[same..], &meant[same..]);
    let after = |letters: &'_ [char], count: usize| letters.get(count..).map(<[char]>::to_vec);
    let one_wrong = after(left, 1).is_some() && after(left, 1) == after(right, 1);
    let one_more = after(left, 1).is_some_and(|rest| rest == right);
    let one_less = after(right, 1).is_some_and(|rest| rest == left);
    let swapped = match (left, right) {
        ([a, b, rest @ ..], [c, d, other @ ..]) => (a, b) == (d, c) && rest == other,
        _ => false,
    };
    one_wrong || one_more || one_less || swapped
}

#[cfg(test)]
mod tests {
    use super::is;

    #[test]
    fn one_slip_is_forgiven() {
        for typed in ["rn", "runn", "rux", "rnu"] {
            assert_eq!(is(typed, "run"), typed.len() > 2, "{typed}");
        }
        assert!(is("imagse", "images") && is("stp", "stop") && !is("foo", "run") && !is("stats", "stop"));
    }
}
