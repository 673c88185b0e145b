//! Redirects that cannot be made: dropped, and counted apart.

use crate::bench;
use crate::config::{Action, Config, Rule, Target};
use crate::filter::{Filter, Given};
use crate::frames::udp;
use crate::judge::judge;

#[test]
fn a_redirect_to_an_interface_that_went_away_is_dropped_and_counted_as_lost() {
    bench::within(|| {
        bench::add([("leaving", 40), ("other-end", 41)]);
        let mut rule = Rule::new("out", Action::Redirect(Target::Name("leaving".to_owned())));
        // What is dropped is not rewritten.
        rule.set_destination_mac = Some([2, 0, 0, 0, 0, 9]);
        let config = Config { rules: vec![rule], ..Config::default() };
        let frame = udp([10, 0, 0, 1].into(), [192, 0, 2, 53].into());
        let given = Given { frame: &frame, first: None };

        let mut filter = Filter::load();
        filter.put(&config).unwrap();
        assert_eq!(filter.differs(&config, given), None);

        bench::ip(&["link", "delete", "leaving"]);
        let lost = |filter: &mut Filter| {
            let mut opinion = judge(&config, &frame);
            opinion.verdict = "drop";
            opinion.sent = None;
            opinion.counted.push(("lost", "out".to_owned()));
            assert_eq!(filter.compare(&opinion, given), None);
        };
        lost(&mut filter);
        // The target was there before, so that a reload takes it as it is.
        filter.put(&config).unwrap();
        lost(&mut filter);

        bench::add([("leaving", 42), ("other-end", 43)]);
        filter.put(&config).unwrap();
        assert_eq!(filter.differs(&config, given), None);
    });
}

#[test]
fn a_target_that_never_was_is_refused() {
    bench::within(|| {
        let mut filter = Filter::load();
        let frame = udp([10, 0, 0, 1].into(), [192, 0, 2, 53].into());
        let given = Given { frame: &frame, first: None };
        let before = Config { rules: vec![Rule::new("all", Action::Drop)], ..Config::default() };
        filter.put(&before).unwrap();
        let missing = Action::Redirect(Target::Name("nowhere".to_owned()));
        let config = Config { rules: vec![Rule::new("out", missing)], ..Config::default() };
        let error = filter.put(&config).unwrap_err();
        assert!(error.contains("nowhere"), "{error}");
        // What was in force still is.
        assert_eq!(filter.differs(&before, given), None);
    });
}
