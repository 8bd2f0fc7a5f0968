//! Events: publish, forward, subscribe.
