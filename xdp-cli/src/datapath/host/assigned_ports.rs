//! The ports that the kernel assigns to sockets that ask for none: net.ipv4.ip_local_port_range
//! without net.ipv4.ip_local_reserved_ports, which keeps some of them for services
//! (Documentation/networking/ip-sysctl.rst). Both are those of the caller's network namespace, and
//! count for IPv6 too.

use std::{fs, io};

use xdp_common::image::REPLY_PORTS;

/// The ports, as ranges from below: at most [`REPLY_PORTS`], the largest.
pub fn ranges() -> io::Result<Vec<(u16, u16)>> {
    let read = |name: &str| fs::read_to_string(format!("/proc/sys/net/ipv4/{name}"));
    let assigned = read("ip_local_port_range")?;
    let reserved = read("ip_local_reserved_ports")?;
    parsed(&assigned, &reserved)
        .ok_or_else(|| io::Error::other("the kernel's settings of ports cannot be understood"))
}

/// From "32768 60999" and "40000,50000-50010".
fn parsed(assigned: &str, reserved: &str) -> Option<Vec<(u16, u16)>> {
    let mut ends = assigned.split_whitespace().map(str::parse::<u16>);
    let (Some(Ok(first)), Some(Ok(last)), None) = (ends.next(), ends.next(), ends.next()) else {
        return None;
    };
    let mut taken = Vec::new();
    for range in reserved.trim().split(',').filter(|range| !range.is_empty()) {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        taken.push((from.parse::<u16>().ok()?, to.parse::<u16>().ok()?));
    }
    taken.sort_unstable();
    let mut ranges = Vec::new();
    let mut next = u32::from(first);
    for (from, to) in taken {
        let end = u32::from(from).min(u32::from(last) + 1);
        if next < end {
            ranges.push((next as u16, (end - 1) as u16));
        }
        next = next.max(u32::from(to) + 1);
    }
    if next <= u32::from(last) {
        ranges.push((next as u16, last));
    }
    // What is left out is not passed: that is the safe side.
    ranges.sort_by_key(|(first, last)| std::cmp::Reverse(last - first));
    ranges.truncate(REPLY_PORTS);
    ranges.sort_unstable();
    Some(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_reserved_is_not_assigned() {
        let ports = |assigned, reserved| parsed(assigned, reserved).unwrap();
        assert_eq!(ports("32768\t60999\n", "\n"), [(32_768, 60_999)]);
        assert_eq!(
            ports("32768\t60999", "8080,32768,40000-40010,40005-41000,60999\n"),
            [(32_769, 39_999), (41_001, 60_998)]
        );
        assert_eq!(ports("1024 65535", "65535"), [(1_024, 65_534)]);
        assert_eq!(ports("0 65535", "0-65535"), []);
        assert_eq!(ports("10 20", "21-30,1-9"), [(10, 20)]);
    }

    #[test]
    fn of_many_ranges_the_largest_stay() {
        let reserved: Vec<String> = (1..40).map(|nth| (nth * nth).to_string()).collect();
        let ranges = parsed("1 65535", &reserved.join(",")).unwrap();
        assert_eq!(ranges.len(), REPLY_PORTS);
        assert_eq!(ranges.last(), Some(&(1_522, 65_535)));
        assert!(ranges.windows(2).all(|pair| pair[0].1 < pair[1].0));
    }

    #[test]
    fn what_cannot_be_understood_is_no_range() {
        for (assigned, reserved) in [("", ""), ("1", ""), ("1 2 3", ""), ("1 2", "x"), ("1 -2", "")]
        {
            assert_eq!(parsed(assigned, reserved), None, "{assigned:?} {reserved:?}");
        }
    }
}
