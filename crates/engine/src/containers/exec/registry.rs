//! The execs that are known.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lighter_engine_api::ExecCreateRequest;
use tokio::sync::watch;

use crate::containers::detach::Keys;
use crate::{Error, Result};

/// How many that have ended are kept for those who ask how.
const KEPT: usize = 512;

/// The code of one whose container ended under it.
const KILLED: i64 = 137;

/// All of them, by id.
#[derive(Debug, Default)]
pub(crate) struct Execs(Mutex<Registry>);

#[derive(Debug, Default)]
struct Registry {
    by_id: HashMap<String, Arc<Exec>>,
    /// Those that have ended, the earliest first.
    ended: VecDeque<String>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Exec {
    pub(super) id: String,
    pub(super) container: String,
    pub(super) request: ExecCreateRequest,
    pub(super) keys: Keys,
    pub(super) state: watch::Sender<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Created,
    /// Between the request to start it and the answer; then with its pid.
    Running(u32),
    Ended {
        code: i64,
        pid: u32,
    },
}

impl Exec {
    pub(super) fn now(&self) -> State {
        *self.state.borrow()
    }

    /// `sh -c true`, as events name it.
    pub(super) fn command(&self) -> String {
        self.request.cmd.as_deref().unwrap_or_default().join(" ")
    }

    /// Records its end, once. Whether it was this call that did.
    pub(super) fn end(&self, code: i64) -> bool {
        self.state.send_if_modified(|state| {
            let pid = match *state {
                State::Ended { .. } => return false,
                State::Running(pid) => pid,
                State::Created => 0,
            };
            *state = State::Ended { code, pid };
            true
        })
    }
}

impl Execs {
    fn lock(&self) -> MutexGuard<'_, Registry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn find(&self, id: &str) -> Result<Arc<Exec>> {
        let missing = || Error::not_found(format!("No such exec instance: {id}"));
        self.lock().by_id.get(id).cloned().ok_or_else(missing)
    }

    pub(super) fn insert(&self, exec: Arc<Exec>) {
        self.lock().by_id.insert(exec.id.clone(), exec);
    }

    /// Keeps one that has ended for a while.
    pub(super) fn retire(&self, id: &str) {
        let mut registry = self.lock();
        registry.ended.push_back(id.to_owned());
        if registry.ended.len() > KEPT
            && let Some(oldest) = registry.ended.pop_front()
        {
            registry.by_id.remove(&oldest);
        }
    }

    /// Those of a container that run or may yet.
    pub(crate) fn of(&self, container: &str) -> Vec<String> {
        let registry = self.lock();
        let of =
            |exec: &&Arc<Exec>| exec.container == container && !matches!(exec.now(), State::Ended { .. });
        let mut ids: Vec<String> = registry
            .by_id
            .values()
            .filter(of)
            .map(|exec| exec.id.clone())
            .collect();
        ids.sort_unstable();
        ids
    }

    /// The container has ended, and with it all of them: who waits for one is told.
    pub(crate) fn forget(&self, container: &str) {
        let mut registry = self.lock();
        // One that never ran can never run now.
        registry
            .by_id
            .retain(|_, exec| exec.container != container || exec.now() != State::Created);
        let of: Vec<_> = registry
            .by_id
            .values()
            .filter(|exec| exec.container == container)
            .cloned()
            .collect();
        drop(registry);
        for exec in of {
            if exec.end(KILLED) {
                self.retire(&exec.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exec(container: &str, id: &str) -> Arc<Exec> {
        Arc::new(Exec {
            id: id.to_owned(),
            container: container.to_owned(),
            request: ExecCreateRequest::default(),
            keys: Keys::parse("").unwrap(),
            state: watch::Sender::new(State::Created),
        })
    }

    #[test]
    fn with_the_container_all_of_its_execs_end() {
        let execs = Execs::default();
        let (idle, running, other) = (exec("c", "1"), exec("c", "2"), exec("d", "3"));
        running.state.send_replace(State::Running(7));
        for exec in [&idle, &running, &other] {
            execs.insert(exec.clone());
        }
        assert_eq!(execs.of("c"), ["1", "2"]);
        execs.forget("c");
        assert!(execs.of("c").is_empty() && execs.find("1").is_err());
        assert_eq!(
            execs.find("2").unwrap().now(),
            State::Ended { code: KILLED, pid: 7 }
        );
        assert_eq!(execs.find("3").unwrap().now(), State::Created);
    }

    #[test]
    fn only_the_last_that_ended_are_kept() {
        let execs = Execs::default();
        for number in 0..KEPT + 3 {
            let exec = exec("c", &number.to_string());
            execs.insert(exec.clone());
            assert!(exec.end(0) && !exec.end(1));
            execs.retire(&exec.id);
        }
        assert!(execs.find("2").is_err() && execs.find("3").is_ok());
        assert_eq!(execs.lock().by_id.len(), KEPT);
    }
}
