//! Rulesets as large as an image of several maps.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::bench;
use crate::config::{
    Config, DomainAction, Domains, Labels, List, ListAction, ListedName, Prefix, Side,
};
use crate::dice::{Dice, seed};
use crate::filter::{Filter, Given, SHORTEST};
use crate::frames::{Edges, around, frame, udp};
use crate::judge::judge;

/// As `scripts/bench` has them: mostly single addresses.
fn prefixes(dice: &mut Dice, number: usize) -> Vec<Prefix> {
    let prefix = |dice: &mut Dice| {
        let (address, length): (IpAddr, u8) = if dice.one_in(4) {
            let upper = 0x2001_0db8_u128 << 96 | u128::from(dice.word() as u32) << 64;
            let length = dice.pick(&[48, 56, 64, 64, 128]);
            (Ipv6Addr::from_bits(upper | u128::from(dice.word())).into(), length)
        } else {
            let length = dice.pick(&[16, 20, 24, 24, 32, 32, 32, 32, 32, 32, 32, 32]);
            (Ipv4Addr::from_bits(dice.word() as u32).into(), length)
        };
        Prefix::new(Prefix::new(address, length).ends().0, length)
    };
    (0..number).map(|_| prefix(dice)).collect()
}

#[test]
fn an_image_of_several_maps() {
    bench::within(|| {
        let mut dice = Dice::new(seed());
        let kinds = [
            (Side::Either, ListAction::Drop),
            (Side::Source, ListAction::Count),
            (Side::Destination, ListAction::Drop),
        ];
        let blocklists = kinds.into_iter().enumerate().map(|(nth, (side, action))| List {
            name: format!("large-{nth}"),
            prefixes: prefixes(&mut dice, 50_000),
            side: Some(side),
            action: Some(action),
            ..List::default()
        });
        let config = Config { blocklists: blocklists.collect(), ..Config::default() };
        let mut filter = Filter::load();
        filter.put(&config).unwrap_or_else(|error| panic!("{error}"));
        assert!(filter.extents() > 1, "all of it is in one map");

        let mut listed = 0;
        for _ in 0..150 {
            let edge = |dice: &mut Dice| {
                let list = dice.pick(&[0, 1, 2]);
                let prefixes: &Vec<Prefix> = &config.blocklists[list].prefixes;
                let prefix = dice.pick(prefixes);
                dice.pick(&around(&prefix))
            };
            let source = edge(&mut dice);
            let destination = loop {
                let destination = edge(&mut dice);
                if destination.is_ipv4() == source.is_ipv4() {
                    break destination;
                }
            };
            let frame = udp(source, destination);
            let opinion = judge(&config, &frame);
            listed += usize::from(!opinion.counted.is_empty());
            let differs = filter.compare(&opinion, Given { frame: &frame, first: None });
            assert_eq!(differs, None);
        }
        println!("{listed} of 150 frames were listed, in {} maps", filter.extents());
        assert!(listed > 50);
    });
}

/// The same number of the names of a hosts file that `scripts/bench` could have, and what is asked is
/// near them. The scan of the model takes its time, so the frames are few.
#[test]
fn an_image_of_many_names() {
    bench::within(|| {
        let mut dice = Dice::new(seed());
        let parents: [&[u8]; 6] = [b"com", b"net", b"org", b"example", b"xn--p1ai", b"info"];
        let mut names = |number: usize| -> Vec<ListedName> {
            let name = |dice: &mut Dice| {
                let mut labels: Labels =
                    dice.some(1, 3, |dice| format!("{:x}", dice.below(40_000)).into_bytes());
                labels.push(dice.pick(&parents).to_vec());
                ListedName { labels, below_only: dice.one_in(8) }
            };
            (0..number).map(|_| name(&mut dice)).collect()
        };
        let actions = [DomainAction::Drop, DomainAction::Nxdomain, DomainAction::Pass];
        let domains = actions.into_iter().enumerate().map(|(nth, action)| Domains {
            name: format!("large-{nth}"),
            filed: names(30_000),
            action: Some(action),
            ..Domains::default()
        });
        let config = Config { domains: domains.collect(), ..Config::default() };
        let mut filter = Filter::load();
        filter.put(&config).unwrap_or_else(|error| panic!("{error}"));
        assert!(filter.extents() > 1, "all of it is in one map");

        let edges = Edges::of(&config);
        let (mut listed, mut messages) = (0, 0);
        while messages < 150 {
            let frame = frame(&mut dice, &edges);
            if frame.len() < SHORTEST {
                continue;
            }
            let opinion = judge(&config, &frame);
            messages += usize::from(opinion.domain.is_some() || opinion.unreadable.is_some());
            listed += usize::from(opinion.domain.is_some());
            let differs = filter.compare(&opinion, Given { frame: &frame, first: None });
            assert_eq!(differs, None);
        }
        println!("{listed} of 150 messages asked for what is listed, in {} maps", filter.extents());
        assert!(listed > 50);
    });
}
