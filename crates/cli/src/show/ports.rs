//! Ports as `ps` shows them: neighbours are joined.

use lighter_engine_api::Port;

/// `0.0.0.0:9000-9002->9000-9002/tcp, 7000/tcp`.
pub(crate) fn display(ports: &[Port]) -> String {
    let mut ports: Vec<&Port> = ports.iter().collect();
    ports.sort_by_key(|p| (p.private_port, &p.ip, p.public_port, &p.kind));
    let mut groups: Vec<Group> = Vec::new();
    let mut done = Vec::new();
    let mut moved = Vec::new();
    for port in ports {
        let number = port.private_port;
        if !port.ip.is_empty() && port.public_port != number {
            moved.push(format!(
                "{}->{number}/{}",
                join(&port.ip, &port.public_port.to_string()),
                port.kind
            ));
            continue;
        }
        match groups.iter_mut().find(|g| g.ip == port.ip && g.kind == port.kind) {
            None => groups.push(Group {
                ip: &port.ip,
                kind: &port.kind,
                first: number,
                last: number,
            }),
            Some(group) if group.last.checked_add(1) == Some(number) => group.last = number,
            Some(group) => {
                done.push(group.text());
                (group.first, group.last) = (number, number);
            }
        }
    }
    done.extend(groups.iter().map(Group::text));
    done.extend(moved);
    done.join(", ")
}

struct Group<'a> {
    ip: &'a str,
    kind: &'a str,
    first: u16,
    last: u16,
}

impl Group<'_> {
    fn text(&self) -> String {
        let mut range = self.first.to_string();
        if self.first != self.last {
            range = format!("{range}-{}", self.last);
        }
        if !self.ip.is_empty() {
            range = format!("{}->{range}", join(self.ip, &range));
        }
        format!("{range}/{}", self.kind)
    }
}

fn join(ip: &str, port: &str) -> String {
    if ip.contains(':') {
        format!("[{ip}]:{port}")
    } else {
        format!("{ip}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_joined() {
        let port = |ip: &str, public, private, kind: &str| Port {
            ip: ip.into(),
            public_port: public,
            private_port: private,
            kind: kind.into(),
        };
        let ports = [
            port("0.0.0.0", 8080, 80, "tcp"),
            port("::", 8080, 80, "tcp"),
            port("127.0.0.1", 9000, 9000, "tcp"),
            port("127.0.0.1", 9001, 9001, "tcp"),
            port("127.0.0.1", 9003, 9003, "tcp"),
            port("", 0, 7000, "tcp"),
        ];
        let expected = "127.0.0.1:9000-9001->9000-9001/tcp, 7000/tcp, 127.0.0.1:9003->9003/tcp, 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp";
        assert_eq!(display(&ports), expected);
    }
}
