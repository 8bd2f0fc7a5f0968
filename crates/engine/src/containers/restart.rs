//! Restart policies.
//!
//! Source: Docker's reference, "Restart policies": a pause of 100 ms before the first restart, doubled each time up to a
//! minute, and 100 ms again after a run of ten seconds.

use std::time::Duration;

use super::Phase;
use super::actor::{Actor, Command};

pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Seconds after which a run counts as good.
const GOOD: i64 = 10;

/// The pause before the next restart, after a run of `ran` seconds.
pub(super) fn next_pause(pause: &mut Duration, ran: i64) -> Duration {
    if ran >= GOOD {
        *pause = FIRST_PAUSE;
    }
    let now = *pause;
    *pause = (now * 2).min(LONGEST_PAUSE);
    now
}

impl Actor {
    /// Whether the policy wants it to run again.
    pub(super) fn will_restart(&self, ran: i64) -> bool {
        let policy = &self.record.host_config.restart_policy;
        if self.record.stopped_by_user || self.record.removing {
            return false;
        }
        match policy.name.as_str() {
            "always" | "unless-stopped" => true,
            "on-failure" => {
                let most = policy.maximum_retry_count;
                let tried = if ran >= GOOD { 0 } else { self.state.restarts };
                self.state.exit_code != 0 && (most == 0 || tried < most)
            }
            _ => false,
        }
    }

    /// Has the container started again after `pause`, unless a user decides otherwise meanwhile.
    pub(super) fn schedule(&mut self, pause: Duration) {
        self.run += 1;
        let (run, sender) = (self.run, self.sender.clone());
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            if let Some(sender) = sender.upgrade() {
                let _ = sender.send(Command::RestartDue(run));
            }
        });
    }

    pub(super) async fn restart_due(&mut self, run: u64) {
        if run != self.run || self.state.phase != Phase::Restarting {
            return;
        }
        if let Err(error) = self.start().await {
            tracing::warn!(
                error = error.text(),
                id = self.record.id,
                "a restart by policy failed"
            );
            let ran = 0;
            if self.will_restart(ran) && self.state.phase != Phase::Removing {
                self.state.phase = Phase::Restarting;
                self.state.restarts += 1;
                self.keep_or_warn().await;
                self.publish();
                let pause = next_pause(&mut self.pause, ran);
                self.schedule(pause);
            }
        }
    }
}
