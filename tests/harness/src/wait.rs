//! Waiting for what has no event of its own.

use std::time::{Duration, Instant};

/// Asks `question` again and again until it answers, at most for `limit`. For state that other programs show only when asked.
pub fn within<T>(limit: Duration, what: &str, mut question: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(answer) = question() {
            return answer;
        }
        assert!(begin.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// [`within`] twenty seconds.
pub fn eventually<T>(what: &str, question: impl FnMut() -> Option<T>) -> T {
    within(Duration::from_secs(20), what, question)
}
