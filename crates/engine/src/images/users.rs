//! Which containers stand on which images.

use std::collections::HashMap;

use crate::Engine;

/// A container that stands on an image.
#[derive(Debug, Clone)]
pub(crate) struct User {
    /// The container's id.
    pub(crate) id: String,
    /// Whether it runs, or is paused.
    pub(crate) running: bool,
}

impl Engine {
    /// The containers that stand on images, by the image's id.
    pub(crate) fn image_users(&self) -> HashMap<String, Vec<User>> {
        HashMap::new()
    }
}
