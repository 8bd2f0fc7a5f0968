//! Expressions of nf_tables rules: each loads, compares or acts.
//!
//! Source: `linux/netfilter/nf_tables.h`.

use lighter_sys::netlink::Request;

const LIST_ELEMENT: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const RULE_EXPRESSIONS: u16 = 4;

/// The first register, of 16 bytes; it overlaps the first four of the 4-byte ones.
const REGISTER: u32 = 1;
/// The first 4-byte register's number.
const SMALL_REGISTER: u32 = 8;

/// One expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expression {
    /// The name of a link, 16 bytes, equal or not.
    Interface { input: bool, name: String, equal: bool },
    /// IPv4 source or destination in a prefix.
    Address {
        source: bool,
        network: [u8; 4],
        mask: [u8; 4],
    },
    /// The destination is an address of this host.
    DestinationIsLocal,
    /// A bit of `mask` in the connection's state.
    State(u32),
    /// The connection's destination was translated.
    Translated,
    /// Looks protocol and destination port up (after the destination address, when `address`) in a map and sends the
    /// connection where the map says. No entry: the rule ends.
    Redirect { map: &'static str, address: bool },
    /// The host's address as source.
    Masquerade,
    /// Counts.
    Counter,
    /// Ends with this verdict.
    Verdict(Verdict),
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Gone.
    Drop,
    /// On, as far as this table is concerned.
    Accept,
    /// Back from this chain.
    Return,
}

/// `established` and `related`, as bits of [`Expression::State`].
pub(crate) const KNOWN: u32 = 0b110;

/// Writes a rule's expressions into the message being built.
pub(crate) fn write(request: &mut Request, expressions: &[Expression]) {
    let list = request.open(RULE_EXPRESSIONS);
    for expression in expressions {
        expression.write(request);
    }
    request.close(list);
}

impl Expression {
    fn write(&self, to: &mut Request) {
        match self {
            Self::Interface { input, name, equal } => {
                let mut padded = [0; 16];
                let length = name.len().min(15);
                padded[..length].copy_from_slice(&name.as_bytes()[..length]);
                meta(to, if *input { 6 } else { 7 }, REGISTER);
                compare(to, *equal, &padded);
            }
            Self::Address {
                source,
                network,
                mask,
            } => {
                payload(to, Layer::Network, if *source { 12 } else { 16 }, 4, REGISTER);
                masked(to, mask);
                compare(to, true, network);
            }
            Self::DestinationIsLocal => {
                element(to, "fib", |to| {
                    // Result: the address's type; of the destination.
                    to.be32(1, REGISTER).be32(2, 3).be32(3, 2);
                });
                compare(to, true, &2_u32.to_ne_bytes());
            }
            Self::State(mask) => {
                connection(to, 0);
                masked(to, &mask.to_ne_bytes());
                compare(to, false, &[0; 4]);
            }
            Self::Translated => {
                const DESTINATION: u32 = 1 << 5;
                connection(to, 2);
                masked(to, &DESTINATION.to_ne_bytes());
                compare(to, false, &[0; 4]);
            }
            Self::Redirect { map, address } => {
                let first = if *address {
                    payload(to, Layer::Network, 16, 4, REGISTER);
                    SMALL_REGISTER + 1
                } else {
                    REGISTER
                };
                meta(to, 16, first);
                payload(
                    to,
                    Layer::Transport,
                    2,
                    2,
                    SMALL_REGISTER + 1 + u32::from(*address),
                );
                element(to, "lookup", |to| {
                    to.text(1, map).be32(2, REGISTER).be32(3, REGISTER);
                });
                element(to, "nat", |to| {
                    const DNAT: u32 = 1;
                    const INET: u32 = 2;
                    to.be32(1, DNAT)
                        .be32(2, INET)
                        .be32(3, REGISTER)
                        .be32(5, SMALL_REGISTER + 1);
                });
            }
            Self::Masquerade => element(to, "masq", |_| {}),
            Self::Counter => element(to, "counter", |_| {}),
            Self::Verdict(verdict) => element(to, "immediate", |to| {
                to.be32(1, 0);
                let data = to.open(2);
                let inner = to.open(DATA_VERDICT);
                let code: i32 = match verdict {
                    Verdict::Drop => 0,
                    Verdict::Accept => 1,
                    Verdict::Return => -5,
                };
                to.be32(VERDICT_CODE, code.cast_unsigned());
                to.close(inner);
                to.close(data);
            }),
        }
    }
}

#[derive(Clone, Copy)]
enum Layer {
    Network = 1,
    Transport = 2,
}

fn meta(to: &mut Request, key: u32, register: u32) {
    element(to, "meta", |to| {
        to.be32(1, register).be32(2, key);
    });
}

fn connection(to: &mut Request, key: u32) {
    element(to, "ct", |to| {
        to.be32(1, REGISTER).be32(2, key);
    });
}

fn payload(to: &mut Request, layer: Layer, offset: u32, length: u32, register: u32) {
    element(to, "payload", |to| {
        to.be32(1, register)
            .be32(2, layer as u32)
            .be32(3, offset)
            .be32(4, length);
    });
}

fn compare(to: &mut Request, equal: bool, value: &[u8]) {
    element(to, "cmp", |to| {
        to.be32(1, REGISTER).be32(2, u32::from(!equal));
        data(to, 3, value);
    });
}

fn masked(to: &mut Request, mask: &[u8; 4]) {
    element(to, "bitwise", |to| {
        to.be32(1, REGISTER).be32(2, REGISTER).be32(3, 4);
        data(to, 4, mask);
        data(to, 5, &[0; 4]);
    });
}

fn element(to: &mut Request, name: &str, fill: impl FnOnce(&mut Request)) {
    let element = to.open(LIST_ELEMENT);
    to.text(EXPRESSION_NAME, name);
    let inner = to.open(EXPRESSION_DATA);
    fill(to);
    to.close(inner);
    to.close(element);
}

/// A nested value.
pub(super) fn data(to: &mut Request, kind: u16, value: &[u8]) {
    let nested = to.open(kind);
    to.attribute(DATA_VALUE, value);
    to.close(nested);
}
