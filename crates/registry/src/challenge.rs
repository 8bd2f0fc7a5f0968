//! `WWW-Authenticate`: how a registry says what it wants.

/// A challenge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Challenge {
    /// User and password.
    Basic,
    /// A token from elsewhere.
    Bearer {
        /// Where.
        realm: String,
        /// For which service.
        service: Option<String>,
        /// To do what.
        scope: Option<String>,
    },
}

/// The challenges of one header; of others than these two nothing is known. Source: RFC 9110, 11.3 and 11.6.1.
pub(crate) fn parse(header: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut rest = header.trim_start();
    while !rest.is_empty() {
        let (scheme, after) = token(rest);
        if scheme.is_empty() {
            // A comma between challenges, or something that is none: on to the next character.
            let mut characters = rest.chars();
            characters.next();
            rest = characters.as_str().trim_start();
            continue;
        }
        let (parameters, after) = parameters(after);
        rest = after;
        let value = |name: &str| {
            let found = parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.clone())
        };
        if scheme.eq_ignore_ascii_case("basic") {
            found.push(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer")
            && let Some(realm) = value("realm")
        {
            found.push(Challenge::Bearer {
                realm,
                service: value("service"),
                scope: value("scope"),
            });
        }
    }
    found
}

/// `name=value, name="value"`, up to the next scheme.
fn parameters(mut rest: &str) -> (Vec<(String, String)>, &str) {
    let mut found = Vec::new();
    loop {
        let start = rest.trim_start_matches([' ', '\t', ',']);
        let (name, after) = token(start);
        let Some(after) = after.trim_start().strip_prefix('=').filter(|_| !name.is_empty()) else {
            return (found, start);
        };
        let after = after.trim_start();
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => self::quoted(quoted),
            None => {
                let (value, after) = token(after);
                (value.to_owned(), after)
            }
        };
        found.push((name.to_owned(), value));
        rest = after;
    }
}

/// What stands before the closing quote, and what behind.
fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match c {
            '"' => break,
            '\\' => value.extend(characters.next()),
            c => value.push(c),
        }
    }
    (value, characters.as_str())
}

fn token(text: &str) -> (&str, &str) {
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/:".contains(c)))
        .unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer {
            realm: realm.into(),
            service: service.map(Into::into),
            scope: scope.map(Into::into),
        }
    }

    #[test]
    fn challenges_are_read() {
        let cases = [
            (r#"Basic realm="x""#, vec![Challenge::Basic]),
            ("basic", vec![Challenge::Basic]),
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull""#,
                vec![bearer(
                    "https://auth.docker.io/token",
                    Some("registry.docker.io"),
                    Some("repository:a/b:pull"),
                )],
            ),
            (
                r#"Negotiate, Bearer realm="r", scope="a:b:pull,push" , error="insufficient_scope", Basic realm="a \"b\"""#,
                vec![bearer("r", None, Some("a:b:pull,push")), Challenge::Basic],
            ),
            (r#"bearer REALM=r"#, vec![bearer("r", None, None)]),
            ("Bearer", vec![]),
            ("Bearer realm", vec![]),
            (r#"Bearer realm="open"#, vec![bearer("open", None, None)]),
            ("", vec![]),
            (",,= \"", vec![]),
        ];
        for (header, expected) in cases {
            assert_eq!(parse(header), expected, "{header}");
        }
    }
}
