//! Which containers stand on which images.

use std::collections::HashMap;

use crate::Engine;
use crate::containers::Phase;

/// A container that stands on an image.
#[derive(Debug, Clone)]
pub(crate) struct User {
    /// The container's id.
    pub(crate) id: String,
    /// Whether it runs, is paused, or is about to run again.
    pub(crate) running: bool,
}

impl Engine {
    /// The containers that stand on images, by the image's id.
    pub(crate) fn image_users(&self) -> HashMap<String, Vec<User>> {
        let mut users: HashMap<String, Vec<User>> = HashMap::new();
        for container in self.inner.containers.all() {
            let view = container.view();
            let running = view.state.phase.alive() || view.state.phase == Phase::Restarting;
            let user = User {
                id: view.record.id.clone(),
                running,
            };
            users.entry(view.record.image_id.clone()).or_default().push(user);
        }
        users
    }
}
