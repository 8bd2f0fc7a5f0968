//! Streaming: the byte and message streams that other services refer to by name.
