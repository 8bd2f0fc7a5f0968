//! What each path does: parameters in, a call of the engine, an answer out.

pub(crate) mod containers;
pub(crate) mod exec;
pub(crate) mod images;
pub(crate) mod logs;
pub(crate) mod networks;
pub(crate) mod system;
