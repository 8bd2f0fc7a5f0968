//! Addresses of one subnet: a bitmap, lowest free first.
//!
//! An address that was given back stays out of use while its old link is there: the kernel takes down a dead namespace
//! in its own time, and until then the old stack answers for the address.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// The addresses of one subnet.
#[derive(Debug)]
pub(crate) struct Pool {
    subnet: Ipv4Net,
    used: Vec<u64>,
    /// Addresses given back, with the name of the host's link that had them.
    leaving: HashMap<u32, String>,
}

/// Why an address was not given.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Full,
    Taken,
    Outside,
}

impl Pool {
    /// A pool in which the network's, the broadcast and the gateway's address are taken.
    pub(crate) fn new(subnet: Ipv4Net, gateway: Ipv4Addr) -> Self {
        let subnet = subnet.trunc();
        let size = 1_usize << (32 - subnet.prefix_len()).min(24);
        let mut pool = Self {
            subnet,
            used: vec![0; size.div_ceil(64)],
            leaving: HashMap::new(),
        };
        for bit in size..pool.used.len() * 64 {
            pool.used[bit / 64] |= 1 << (bit % 64);
        }
        for taken in [subnet.network(), subnet.broadcast(), gateway] {
            pool.mark(taken);
        }
        pool
    }

    /// The lowest free address. `alive` tells whether a link of the host still exists.
    pub(crate) fn next(&mut self, alive: impl Fn(&str) -> bool) -> Result<Ipv4Addr, Refusal> {
        let mut waiting = None;
        for word in 0..self.used.len() {
            let mut free = !self.used[word];
            while free != 0 {
                let bit = free.trailing_zeros();
                free &= free - 1;
                let Ok(offset) = u32::try_from(word * 64 + bit as usize) else {
                    return Err(Refusal::Full);
                };
                match self.leaving.get(&offset) {
                    Some(link) if alive(link) => waiting = waiting.or(Some(offset)),
                    _ => return Ok(self.take(offset)),
                }
            }
        }
        // Nothing but addresses whose old links linger: better one of them than none.
        waiting.map(|offset| self.take(offset)).ok_or(Refusal::Full)
    }

    /// This very address.
    pub(crate) fn request(&mut self, ip: Ipv4Addr) -> Result<(), Refusal> {
        let offset = self.offset(ip).ok_or(Refusal::Outside)?;
        if self.used[offset as usize / 64] >> (offset % 64) & 1 == 1 {
            return Err(Refusal::Taken);
        }
        self.take(offset);
        Ok(())
    }

    /// Gives an address back, which the host's link `link` had.
    pub(crate) fn release(&mut self, ip: Ipv4Addr, link: &str) {
        if let Some(offset) = self.offset(ip) {
            self.used[offset as usize / 64] &= !(1 << (offset % 64));
            self.leaving.insert(offset, link.to_owned());
        }
    }

    fn mark(&mut self, ip: Ipv4Addr) {
        if let Some(offset) = self.offset(ip) {
            self.take(offset);
        }
    }

    fn take(&mut self, offset: u32) -> Ipv4Addr {
        self.used[offset as usize / 64] |= 1 << (offset % 64);
        self.leaving.remove(&offset);
        Ipv4Addr::from(u32::from(self.subnet.network()) + offset)
    }

    fn offset(&self, ip: Ipv4Addr) -> Option<u32> {
        let offset = u32::from(ip).checked_sub(u32::from(self.subnet.network()))?;
        (self.subnet.contains(&ip) && (offset as usize) < self.used.len() * 64).then_some(offset)
    }
}

/// The first default pool that overlaps none of `routes`: 172.17 to 172.31 by /16, then 192.168.0.0/16 by /20.
/// Source: dockerd's `default-address-pools`.
pub(crate) fn free_pool(routes: &[Ipv4Net]) -> Option<Ipv4Net> {
    let wide = (17..=31).map(|second| (Ipv4Addr::new(172, second, 0, 0), 16));
    let narrow = (0..16).map(|part| (Ipv4Addr::new(192, 168, part * 16, 0), 20));
    wide.chain(narrow)
        .filter_map(|(address, prefix)| Ipv4Net::new(address, prefix).ok())
        .find(|pool| routes.iter().all(|route| !overlaps(pool, route)))
}

fn overlaps(a: &Ipv4Net, b: &Ipv4Net) -> bool {
    a.contains(&b.network()) || b.contains(&a.network())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(subnet: &str, gateway: &str) -> Pool {
        Pool::new(subnet.parse().unwrap(), gateway.parse().unwrap())
    }

    #[test]
    fn the_lowest_free_address_comes_first() {
        let mut pool = pool("172.17.0.0/16", "172.17.0.1");
        let taken: Vec<_> = (0..3)
            .map(|_| pool.next(|_| false).unwrap().to_string())
            .collect();
        assert_eq!(taken, ["172.17.0.2", "172.17.0.3", "172.17.0.4"]);
        pool.release("172.17.0.3".parse().unwrap(), "gone");
        assert_eq!(pool.next(|_| false).unwrap().to_string(), "172.17.0.3");
        assert_eq!(pool.next(|_| false).unwrap().to_string(), "172.17.0.5");
    }

    #[test]
    fn an_address_waits_for_its_old_link_to_go() {
        let mut pool = pool("10.0.0.0/24", "10.0.0.1");
        let first = pool.next(|_| true).unwrap();
        pool.release(first, "veth7");
        assert_eq!(pool.next(|link| link == "veth7").unwrap().to_string(), "10.0.0.3");
        assert_eq!(pool.next(|_| false).unwrap(), first);
    }

    #[test]
    fn a_small_subnet_fills_and_says_so() {
        let mut pool = pool("10.0.0.0/29", "10.0.0.6");
        for last in 1..6 {
            assert_eq!(pool.next(|_| false).unwrap(), Ipv4Addr::new(10, 0, 0, last));
        }
        assert_eq!(pool.next(|_| false), Err(Refusal::Full));
        pool.release(Ipv4Addr::new(10, 0, 0, 4), "veth9");
        assert_eq!(pool.next(|_| true).unwrap(), Ipv4Addr::new(10, 0, 0, 4));
    }

    #[test]
    fn an_asked_address_is_given_once_and_only_from_the_subnet() {
        let mut pool = pool("10.0.0.0/24", "10.0.0.1");
        assert_eq!(pool.request("10.0.0.9".parse().unwrap()), Ok(()));
        assert_eq!(pool.request("10.0.0.9".parse().unwrap()), Err(Refusal::Taken));
        assert_eq!(pool.request("10.0.0.1".parse().unwrap()), Err(Refusal::Taken));
        assert_eq!(pool.request("10.0.1.9".parse().unwrap()), Err(Refusal::Outside));
    }

    #[test]
    fn a_pool_that_a_route_overlaps_is_passed_over() {
        let check = |routes: &[&str], expected: Option<&str>| {
            let routes: Vec<Ipv4Net> = routes.iter().map(|route| route.parse().unwrap()).collect();
            assert_eq!(free_pool(&routes), expected.map(|pool| pool.parse().unwrap()));
        };
        check(&[], Some("172.17.0.0/16"));
        check(&["172.17.5.0/24", "172.18.0.0/16"], Some("172.19.0.0/16"));
        check(&["172.16.0.0/12"], Some("192.168.0.0/20"));
        check(&["172.16.0.0/12", "192.168.0.0/16"], None);
    }
}
