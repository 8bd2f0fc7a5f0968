//! Connections that the kernel tracks.
//!
//! Source: `linux/netfilter/nfnetlink_conntrack.h`.

use std::io;

use lighter_sys::netlink::{ACK, DUMP, Family, Request, Socket, attributes};

const SUBSYSTEM: u16 = 1 << 8;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;

const ORIGINAL: u16 = 1;
const PROTOCOL: u16 = 2;
const PROTOCOL_NUMBER: u16 = 1;
const DESTINATION_PORT: u16 = 3;
const ID: u16 = 12;

const UDP: u8 = 17;
const NESTED: u16 = 0x8000;
/// `struct nfgenmsg`: family ip, version 0, resource 0.
const IP: [u8; 4] = [2, 0, 0, 0];

/// Forgets the IPv4 flows of UDP that were begun towards one of `ports`.
pub(crate) fn forget_udp(ports: &[u16]) -> io::Result<()> {
    let socket = Socket::open(Family::Netfilter)?;
    let mut request = Request::new();
    request.message(GET, DUMP, &IP);
    for message in socket.dump(&request)? {
        let parts = || attributes(message.payload.get(IP.len()..).unwrap_or_default());
        let find = |wanted| parts().find(|(kind, _)| *kind == wanted).map(|(_, value)| value);
        let (Some(original), Some(id)) = (find(ORIGINAL), find(ID)) else {
            continue;
        };
        if !destination(original).is_some_and(|port| ports.contains(&port)) {
            continue;
        }
        let mut request = Request::new();
        request
            .message(DELETE, ACK, &IP)
            .attribute(ORIGINAL | NESTED, original)
            .attribute(ID, id);
        // One that ended meanwhile is refused, which is as good.
        socket.acknowledged(&request)?;
    }
    Ok(())
}

/// The destination port of a tuple of UDP.
fn destination(tuple: &[u8]) -> Option<u16> {
    let protocol = attributes(tuple).find(|(kind, _)| *kind == PROTOCOL)?.1;
    let find = |wanted| {
        attributes(protocol)
            .find(|(kind, _)| *kind == wanted)
            .map(|(_, value)| value)
    };
    (find(PROTOCOL_NUMBER)? == [UDP]).then_some(())?;
    find(DESTINATION_PORT)?.try_into().ok().map(u16::from_be_bytes)
}
