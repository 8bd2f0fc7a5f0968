//! The metadata database behind a thin trait; format numbers.
