//! Names of containers: which are valid, and one for those that were given none.

use rand::seq::IndexedRandom as _;

use crate::{Error, Result};

/// Takes the slash off a name as clients send it, and checks the rest.
pub(crate) fn check(name: &str) -> Result<&str> {
    let bare = name.strip_prefix('/').unwrap_or(name);
    let mut bytes = bare.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let others = bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if first && others && bare.len() > 1 {
        return Ok(bare);
    }
    Err(Error::invalid(format!(
        "Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
    )))
}

/// `adjective_surname`; from the fourth attempt on with a digit behind it, as the plain ones seem to be taken.
pub(crate) fn random(attempt: usize) -> String {
    let mut rng = rand::rng();
    let pick = |words: &[&'static str], rng: &mut rand::rngs::ThreadRng| {
        words.choose(rng).copied().unwrap_or("some")
    };
    let adjective = pick(ADJECTIVES, &mut rng);
    let surname = pick(SURNAMES, &mut rng);
    if attempt < 3 {
        format!("{adjective}_{surname}")
    } else {
        format!(
            "{adjective}_{surname}{}",
            rand::random_range(0..10_usize.pow(attempt.min(9) as u32 - 2))
        )
    }
}

/// 64 hex digits that no other thing of the engine has. Never all decimal in its first twelve: short ids serve as host
/// names, which must not look like numbers.
pub(crate) fn id() -> String {
    loop {
        let id = hex::encode(rand::random::<[u8; 32]>());
        if id.as_bytes()[..12].iter().any(|byte| !byte.is_ascii_digit()) {
            return id;
        }
    }
}

const ADJECTIVES: &[&str] = &[
    "able", "agile", "airy", "alert", "amber", "ample", "apt", "ardent", "awake", "bold", "brave", "breezy",
    "bright", "brisk", "calm", "candid", "careful", "cheerful", "civil", "clear", "clever", "cosy", "crisp",
    "curious", "daring", "deft", "eager", "early", "earnest", "easy", "fair", "fearless", "festive", "fine",
    "fleet", "fluent", "fond", "frank", "free", "fresh", "gentle", "gifted", "glad", "golden", "graceful",
    "grand", "handy", "happy", "hardy", "hearty", "honest", "hopeful", "humble", "ideal", "jolly", "just",
    "keen", "kind", "lasting", "light", "lively", "loyal", "lucid", "lucky", "mellow", "merry", "mild",
    "modest", "neat", "nimble", "noble", "novel", "open", "patient", "placid", "plucky", "polite", "prompt",
    "proud", "quick", "quiet", "rapid", "ready", "robust", "rosy", "serene", "sharp", "shiny", "silent",
    "sincere", "smooth", "snappy", "sober", "solid", "sound", "spry", "steady", "stoic", "sunny", "sure",
    "swift", "tidy", "tender", "thrifty", "trusty", "upbeat", "vivid", "warm", "wise", "witty", "young",
    "zealous",
];

/// People who made computing, mathematics and engineering what they are.
const SURNAMES: &[&str] = &[
    "abel",
    "ada",
    "agnesi",
    "aiken",
    "archimedes",
    "babbage",
    "backus",
    "banach",
    "bartik",
    "bell",
    "berners",
    "bernoulli",
    "bohr",
    "bolyai",
    "boole",
    "borg",
    "brunel",
    "cantor",
    "carson",
    "cauchy",
    "cerf",
    "chatelet",
    "church",
    "clarke",
    "cocks",
    "codd",
    "conway",
    "cray",
    "curie",
    "dahl",
    "daubechies",
    "davies",
    "diesel",
    "diffie",
    "dijkstra",
    "diophantus",
    "dirac",
    "dirichlet",
    "eckert",
    "eiffel",
    "engelbart",
    "erdos",
    "euclid",
    "euler",
    "faraday",
    "fermat",
    "feynman",
    "fibonacci",
    "floyd",
    "fourier",
    "galileo",
    "galois",
    "gauss",
    "germain",
    "godel",
    "goldberg",
    "gosper",
    "hamilton",
    "hamming",
    "hilbert",
    "hoare",
    "hollerith",
    "hopper",
    "huffman",
    "hypatia",
    "iverson",
    "jacquard",
    "johnson",
    "kahn",
    "karp",
    "kepler",
    "kernighan",
    "khayyam",
    "kildall",
    "kleene",
    "knuth",
    "kolmogorov",
    "kovalevskaya",
    "lagrange",
    "lamarr",
    "lamport",
    "laplace",
    "leibniz",
    "liskov",
    "lovelace",
    "markov",
    "mauchly",
    "maxwell",
    "mccarthy",
    "milner",
    "mirzakhani",
    "naur",
    "newton",
    "noether",
    "nygaard",
    "pascal",
    "peano",
    "perlman",
    "poincare",
    "polya",
    "postel",
    "ptolemy",
    "ramanujan",
    "riemann",
    "ritchie",
    "shannon",
    "stibitz",
    "stroustrup",
    "sutherland",
    "tarjan",
    "tesla",
    "thales",
    "thompson",
    "torvalds",
    "turing",
    "vaughan",
    "volta",
    "wilkes",
    "wilson",
    "wing",
    "wirth",
    "yao",
    "zuse",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_as_docker_checks_them() {
        for name in ["web", "/web", "a1", "A_b.c-d", "9x"] {
            assert_eq!(check(name).unwrap(), name.trim_start_matches('/'));
        }
        for name in ["", "/", "a", "-a", ".ab", "a b", "a/b", "//ab", "ä1"] {
            let error = check(name).unwrap_err();
            assert_eq!(
                error.message,
                format!("Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
            );
        }
    }

    #[test]
    fn random_names_are_valid_and_ids_are_no_numbers() {
        for attempt in 0..12 {
            check(&random(attempt)).unwrap();
        }
        for _ in 0..1000 {
            assert!(id().bytes().take(12).any(|byte| !byte.is_ascii_digit()));
        }
    }
}
