//! The same words to both, one after the other; what comes back is compared.

use lighter_harness::{Output, OutputExt as _, Registry};
use lighter_seams::{Distribution, Peer};

/// A root in which containerd and our layer run beside each other, with a registry that both push to.
pub(crate) struct Pair {
    pub(crate) peer: Peer,
    _registry: Registry,
    ours: &'static str,
}

/// containerd's socket. The names of the two, `theirs` and `lights`, are of one length: `ctr` makes columns of them.
const THEIRS: &str = "/run/containerd/containerd.sock";

/// How much of an answer must be the same. The exit code always must.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Same {
    /// What is on standard output and standard error.
    Words,
    /// What is on standard output.
    Output,
    /// Neither: our words differ.
    Code,
}

/// What one command answered.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    code: String,
    output: String,
    error: String,
}

impl Pair {
    pub(crate) fn new(distribution: Distribution) -> Pair {
        let peer = Peer::new(distribution);
        peer.daemon(
            "containerd --root /var/lib/store/containerd --state /run/containerd",
            "ctr version",
        );
        let registry = Registry::start(peer.host());
        let ours = peer.layer();
        Pair {
            peer,
            _registry: registry,
            ours,
        }
    }

    /// Runs each line of `commands` for both; `ctr` is towards the one whose turn it is, the working directory its own. `$R` is the registry
    /// with the lab's images, `$I` an image of it, `$L` a place in the registry that the other does not push to, `$P/$W` a cgroup. A line that begins with `~`
    /// must have the same exit code and output, one with `!` the same exit code, any other the same words on standard error as well. One
    /// with `-` is run for what it does.
    #[track_caller]
    pub(crate) fn compare(&self, commands: &str) {
        let lines: Vec<&str> = commands
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .collect();
        let (theirs, ours) = std::thread::scope(|scope| {
            let theirs = scope.spawn(|| self.run("theirs", THEIRS, &lines));
            let ours = scope.spawn(|| self.run("lights", self.ours, &lines));
            (theirs.join().unwrap(), ours.join().unwrap())
        });
        let mut different = Vec::new();
        for ((line, theirs), ours) in lines.iter().zip(&theirs).zip(&ours) {
            let same = match line.as_bytes()[0] {
                b'-' => {
                    assert_eq!(
                        (theirs.code.as_str(), ours.code.as_str()),
                        ("0", "0"),
                        "{line}: {theirs:#?} {ours:#?}"
                    );
                    continue;
                }
                b'~' => Same::Output,
                b'!' => Same::Code,
                _ => Same::Words,
            };
            let is_same = theirs.code == ours.code
                && (same == Same::Code || theirs.output == ours.output)
                && (same != Same::Words || theirs.error == ours.error);
            if !is_same {
                different.push(format!("{line}\n  theirs: {theirs:#?}\n  ours: {ours:#?}"));
            }
        }
        assert!(different.is_empty(), "{}", different.join("\n"));
        assert_eq!((theirs.len(), ours.len()), (lines.len(), lines.len()));
    }

    fn run(&self, who: &str, socket: &str, lines: &[&str]) -> Vec<Answer> {
        let mut script = format!(
            "mkdir -p /tmp/{who}; cd /tmp/{who}; R={registry}/library; I=$R/busybox:latest; L={registry}/of-{who}; W={who}
            ctr() {{ command ctr -a {socket} \"$@\"; }}\n",
            registry = Registry::ADDRESS
        );
        for line in lines {
            let line = line.trim_start_matches(['~', '!', '-', ' ']);
            // `ctr` 1.6 may end before it has passed on what a short container said: what said nothing says it again.
            let again = if line.starts_with("ctr run --rm") { 2 } else { 1 };
            script += &format!(
                "line() {{ {line}\n}}; for i in $(seq {again}); do (line) >/run/{who}.out 2>/run/{who}.err </dev/null; code=$?; \
                [ -s /run/{who}.out ] && break; done; printf '%s\\1' $code; \
                cat /run/{who}.out; printf '\\1'; cat /run/{who}.err; printf '\\2'\n"
            );
        }
        let Output { stdout, .. } = self.peer.command(&script).result();
        let plain = |text: &str| plain(text, who);
        stdout
            .split('\u{2}')
            .filter_map(|answer| {
                let mut parts = answer.split('\u{1}');
                let (code, output, error) = (parts.next()?, parts.next()?, parts.next()?);
                Some(Answer {
                    code: code.trim().to_owned(),
                    output: plain(output),
                    error: plain(error),
                })
            })
            .collect()
    }
}

/// Without what differs between any two runs: times, and whose it is.
fn plain(text: &str, who: &str) -> String {
    let text = text
        .replace(&format!("of-{who}"), "of-one")
        .replace(who, "one")
        .replace(
            "/var/lib/store/containerd/io.containerd.snapshotter.v1.overlayfs",
            "ROOT",
        )
        .replace("/var/lib/store/lighter", "ROOT");
    let mut lines = Vec::new();
    for line in without_times(&text).lines() {
        // The client's own bars, stopped in the middle of a look (`active check failed`, `failed to get content info`).
        if line.contains("level=error") && line.contains("context canceled") {
            continue;
        }
        let mut words: Vec<&str> = line.split('\t').collect();
        for word in &mut words {
            if word.ends_with(" ago") || word.contains(" second") || word.contains(" minute") {
                *word = "AGE";
            }
        }
        // How many tabs there are depends on how long ago it was.
        words.retain(|word| !word.is_empty());
        let line = sorted(&words.join("\t"));
        let line = line.trim_end();
        // `ctr images inspect`
        let is_time = ["Created: ", "Updated: ", "\"Created\": ", "\"Updated\": "]
            .iter()
            .any(|word| line.contains(word));
        lines.push(if is_time {
            line.split(": ").next().unwrap_or_default().to_owned()
        } else {
            line.to_owned()
        });
    }
    lines.join("\n")
}

/// With the labels in order: of most `ctr` gives them as Go's maps do, in any.
fn sorted(line: &str) -> String {
    let ordered = |word: &str| {
        let mut labels: Vec<&str> = word.split(',').collect();
        if labels.iter().all(|label| label.contains('=')) {
            labels.sort_unstable();
        }
        labels.join(",")
    };
    let is_between = |c: char| c == ' ' || c == '\t';
    line.split_inclusive(is_between)
        .map(|word| match word.char_indices().next_back() {
            Some((at, last)) if is_between(last) => ordered(&word[..at]) + &word[at..],
            _ => ordered(word),
        })
        .collect()
}

/// With `TIME` for each time as in `2026-01-02T03:04:05Z`.
fn without_times(text: &str) -> String {
    const SHAPE: &[u8] = b"dddd-dd-ddTdd:dd:ddZ";
    let mut result = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let is_time = rest
            .as_bytes()
            .iter()
            .zip(SHAPE)
            .filter(|(byte, shape)| match shape {
                b'd' => byte.is_ascii_digit(),
                shape => byte == shape,
            });
        let length = if is_time.count() == SHAPE.len() {
            result += "TIME";
            SHAPE.len()
        } else {
            let first = rest.chars().next().map_or(0, char::len_utf8);
            result += &rest[..first];
            first
        };
        rest = &rest[length..];
    }
    result
}
