//! Waiting for the end of a container.

use std::future::Future;

use lighter_engine_api::{ContainerWaitResponse, WaitError};

use super::Phase;
use crate::{Engine, Result};

/// What a caller waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitCondition {
    /// That it does not run: at once when it does not.
    NotRunning,
    /// Its next end.
    NextExit,
    /// That it is gone.
    Removed,
}

impl Engine {
    /// Waits for `condition`. From the return of this function on no change is missed.
    pub fn wait(
        &self,
        name: &str,
        condition: WaitCondition,
    ) -> Result<impl Future<Output = ContainerWaitResponse> + Send + use<>> {
        let mut views = self.inner.containers.find(name)?.view.clone();
        let exits = views.borrow_and_update().state.exits;
        Ok(async move {
            let code = |code| ContainerWaitResponse {
                status_code: code,
                error: None,
            };
            loop {
                let view = views.borrow_and_update().clone();
                if condition == WaitCondition::Removed && view.state.phase == Phase::Dead {
                    let message = view.state.error.clone();
                    return ContainerWaitResponse {
                        status_code: view.state.exit_code,
                        error: Some(WaitError { message }),
                    };
                }
                let ended = match condition {
                    WaitCondition::NotRunning => {
                        !view.state.phase.alive() && view.state.phase != Phase::Restarting
                    }
                    WaitCondition::NextExit => view.state.exits > exits,
                    WaitCondition::Removed => false,
                };
                if ended || view.removed || views.changed().await.is_err() {
                    return code(view.state.exit_code);
                }
            }
        })
    }
}
