//! Images: names of targets.
