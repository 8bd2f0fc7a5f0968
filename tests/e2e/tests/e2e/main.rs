//! The whole chain through public doors: each test runs with the stock client and with ours against our engine, and with
//! the stock client against the real Docker.

mod bad_input;
mod exit_codes;
mod fsyncs;
mod images;
mod interact;
mod lifecycle;
mod network;
mod processes;
mod same_words;
mod system;
