use yurt_sdk::Value;
use yurt_sdk::facts::{Counter, CounterSet};
use yurt_sdk::offer::{Health, Instance};
use yurt_sdk::testing;

use crate::DefaultPolicy;

fn set(key: &str, counters: &[(&str, f64, &str)]) -> CounterSet {
    let counter =
        |(name, total, unit): &(&str, f64, &str)| Counter { name: (*name).into(), total: *total, unit: (*unit).into() };
    CounterSet { key: key.into(), counters: counters.iter().map(counter).collect() }
}

fn instance(id: &str, key: &str) -> Instance {
    Instance { id: id.into(), members: vec![key.into()], share: None, health: Health::Healthy }
}

#[test]
fn totals_become_figures_and_requests_the_summary() {
    let counters = [
        set(
            "1-1",
            &[
                ("power.active", 500.0, "ms"),
                ("power.connected", 2000.0, "ms"),
                ("urbs", 42.0, "urbs"),
                ("odd", 0.5, "x"),
            ],
        ),
        set("1-2", &[("urbs", 1.0, "urbs")]),
    ];
    let stats =
        testing::stats::<DefaultPolicy>("{}", &counters, &[instance("sn-1", "1-1"), instance("sn-9", "1-9")]).unwrap();
    assert_eq!(stats.len(), 1, "no totals, no figures");
    assert_eq!(
        (stats[0].id.as_str(), &stats[0].summary.value, stats[0].summary.path.as_str()),
        ("sn-1", &Value::Integer(42), "urbs")
    );
    let figures: Vec<_> =
        stats[0].figures.iter().map(|f| (f.path.as_str(), f.value.clone(), f.out_of, f.unit.as_str())).collect();
    assert_eq!(
        figures,
        [
            ("power.active", Value::Integer(500), Some(2000.0), "ms"),
            ("power.connected", Value::Integer(2000), None, "ms"),
            ("urbs", Value::Integer(42), None, "urbs"),
            ("odd", Value::Number(0.5), None, "x"),
        ]
    );
    assert!(stats[0].figures.iter().all(|figure| !figure.description.is_empty()));
}

#[test]
fn without_requests_the_time_connected_is_the_summary() {
    let counters = [set("1-1", &[("power.connected", 7.0, "ms")])];
    let stats = testing::stats::<DefaultPolicy>("{}", &counters, &[instance("sn-1", "1-1")]).unwrap();
    assert_eq!(stats[0].summary.path, "power.connected");
}
