//! The metadata database behind a thin trait; format numbers.
//!
//! Records are bytes (mostly JSON) under a string key in a string bucket, such as `v1/moby/images`. [`Db::read`] runs over one
//! consistent view and never waits for a writer; [`Db::write`] is all or nothing, and lasts as its [`Durability`] says.
//!
//! The store is SQLite in WAL mode, because there one commit can be durable (one fsync) and the next kill-safe (none). No
//! type of it leaves this crate.

#![forbid(unsafe_code)]

mod changes;
mod db;
mod error;
pub mod filter;
pub mod format;
pub mod key;
mod lock;
mod reserve;
mod tx;
mod writer;

pub use changes::Changed;
pub use db::Db;
pub use error::Error;
pub use tx::{Each, Read, ReadTx, WriteTx};

/// What a write must survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Durability {
    /// The death of any process, at any instruction: no fsync. A later [`Durability::Power`] write takes it along.
    Kill,
    /// As [`Durability::Kill`] at first, and the death of the machine a tenth of a second later, or when [`Db::settle`] returns: for
    /// what nobody relies on before he has asked for more.
    Soon,
    /// The death of the machine: one fsync, shared by the writes that are queued at the time.
    Power,
}
