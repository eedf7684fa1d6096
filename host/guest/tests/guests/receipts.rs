//! Every call has a receipt, is counted, can be told of, and can be made again from what is written of it.

use std::sync::{Arc, Mutex};

use serde_json::json;
use yurt_guest::driver::{Finding, Found, PathKind, PathStatus};
use yurt_guest::usb::{Attribute, Figure, InstanceStats, Value};
use yurt_guest::{Answer, Called, DriverTrial, Observer, Options, Question, Receipt, Runtime, Source, Trial, notation};

use crate::calls::{active, no_devices};
use crate::driver::view;
use crate::make::Guest;
use crate::{built, log};

/// What was told: question and answer as they are written, the receipt, and the questions themselves.
#[derive(Default)]
struct Told(Mutex<Vec<Call>>);

type Call = (serde_json::Value, Result<serde_json::Value, String>, Receipt, Question<'static>);

impl Observer for Told {
    fn called(&self, call: Called<'_>) {
        let question = notation::to_json(&call.question).unwrap();
        let answer = call.answer.map(|answer| notation::to_json(&answer).unwrap()).map_err(ToString::to_string);
        assert_eq!(call.digest.len(), 64);
        let told = (question, answer, call.receipt.clone(), call.question.into_owned());
        self.0.lock().unwrap().push(told);
    }
}

fn observed() -> (Runtime, Arc<Told>) {
    let runtime = Runtime::new(Options::default()).unwrap();
    let told = Arc::new(Told::default());
    runtime.observe(Some(Arc::clone(&told) as Arc<dyn Observer>));
    (runtime, told)
}

#[test]
fn a_receipt_says_what_a_call_took() {
    let (runtime, told) = observed();
    let source = Source::Embedded { name: "usb", bytes: built::component("usb").leak() };
    let trial = Trial { config: r#"{"rule":[],"target_vendor_id":4292,"target_product_id":60000}"# };
    let policy = runtime.open(&source).unwrap().activate(&trial).unwrap();
    let (answer, lines) = log::everything(|| policy.group(trial.config, &no_devices(), Some("{}")).unwrap().unwrap());
    let all = told.0.lock().unwrap();
    let (question, told_answer, receipt, _) = all.last().unwrap();
    assert_eq!(question["group"]["facts"], json!({ "number": 2, "devices": [], "trouble": [] }));
    assert_eq!(*told_answer, Ok(json!({ "offer": { "ok": notation::to_json(&answer).unwrap() } })));
    assert_eq!((receipt.call, receipt.failed, receipt.fuel), ("group", None, None));
    // Text of the configuration, number, two empty lists, the text that is there.
    let expected = (8 + trial.config.len() as u64) + (4 + 8 + 8) + (1 + 8 + 2);
    assert_eq!(receipt.bytes_in, expected);
    assert!(receipt.bytes_out >= 8 && receipt.memory >= 1 << 16, "{receipt:?}");
    assert!(!receipt.guest_time.is_zero() && !receipt.host_time.is_zero());
    let line = lines.iter().find(|line| line.target == "receipt").unwrap();
    assert_eq!((line.field("call"), line.field("bytes_in")), ("group", expected.to_string().as_str()));

    let totals = runtime.totals();
    let [guest] = totals.as_slice() else { panic!("{totals:?}") };
    assert_eq!((guest.name.as_str(), guest.digest.as_str()), ("usb", policy.digest()));
    let calls: Vec<(&str, u64)> = guest.calls.iter().map(|call| (call.call.as_str(), call.count)).collect();
    assert!(calls.contains(&("describe", 2)) && calls.contains(&("check-config", 1)), "{calls:?}");
    let group = guest.calls.iter().find(|call| call.call == "group").unwrap();
    let sum: u64 = all.iter().filter(|(.., asked)| asked.call() == "group").map(|(_, _, r, _)| r.bytes_in).sum();
    assert_eq!((group.bytes_in, group.histogram.iter().sum::<u64>()), (sum, group.count));
}

#[test]
fn a_call_that_fails_has_a_receipt_with_its_cause() {
    let (runtime, told) = observed();
    let policy = active(&runtime, Guest::hostile("trap").later().component());
    let why = policy.group("{}", &no_devices(), None).unwrap_err();
    let all = told.0.lock().unwrap();
    let (_, answer, receipt, _) = all.last().unwrap();
    assert_eq!((answer.as_ref().unwrap_err(), receipt.failed), (&why.to_string(), Some("trap")));
    assert_eq!(receipt.bytes_out, 0);
    let totals = runtime.totals();
    let group = totals[0].calls.iter().find(|call| call.call == "group").unwrap();
    assert_eq!(group.failures, [("trap".to_owned(), 1)].into());
}

#[test]
fn fuel_is_counted_where_it_is_asked_for_and_is_the_same_each_time() {
    let told = Arc::new(Told::default());
    let runtime = Runtime::new(Options { fuel: true, ..Options::default() }).unwrap();
    let policy = active(&runtime, Guest::quiet().component());
    runtime.observe(Some(Arc::clone(&told) as Arc<dyn Observer>));
    for _ in 0..2 {
        policy.check_config("{}").unwrap();
    }
    let all = told.0.lock().unwrap();
    let fuel: Vec<u64> = all.iter().map(|(_, _, receipt, _)| receipt.fuel.unwrap()).collect();
    assert!(fuel[0] > 0 && fuel[0] == fuel[1], "{fuel:?}");
}

#[test]
fn what_is_written_of_a_call_can_be_asked_again_with_the_same_answer() {
    let (runtime, told) = observed();
    let open = |name| {
        let source = Source::Embedded { name, bytes: built::component(name).leak() };
        runtime.open(&source).unwrap()
    };
    let usb = Trial { config: r#"{"rule":[],"target_vendor_id":4292,"target_product_id":60000}"# };
    let policy = open("usb").activate(&usb).unwrap();
    let logic = open("python").activate_driver(&DriverTrial::default()).unwrap();
    let findings = [Finding {
        id: "a".into(),
        outcome: Ok(Found::Status(PathStatus { kind: PathKind::File, executable: true, target: None })),
    }];
    drop(logic.plan("{}", r#"{"script":"x.py"}"#, &view(), &findings).unwrap());
    let all = std::mem::take(&mut *told.0.lock().unwrap());
    let mut calls: Vec<&str> = all.iter().map(|(.., question)| question.call()).collect();
    calls.sort_unstable();
    calls.dedup();
    assert_eq!(calls, ["check-config", "check-task", "group", "judge", "plan", "probes", "reserve", "stats"]);
    for (written, answer, ..) in all {
        let question: Question<'static> = notation::from_json(written.clone()).unwrap();
        assert_eq!(notation::to_json(&question).unwrap(), written);
        let of_usb = written.to_string().contains("target_vendor_id");
        let again = if of_usb { policy.ask(&question) } else { logic.ask(&question) };
        let again = again.unwrap().map(|answer| notation::to_json(&answer).unwrap()).map_err(|why| why.to_string());
        assert_eq!(again, answer, "{written}");
        let other_world = if of_usb { logic.ask(&question) } else { policy.ask(&question) };
        assert!(other_world.is_none() || question.call() == "check-config");
    }
}

#[test]
fn numbers_and_texts_are_written_without_loss() {
    let numbers = [0.1 + 0.2, -0.0, 5e-324, f64::MAX, f64::MIN_POSITIVE, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
    for number in numbers {
        let figure = |value| Figure {
            path: "a.b".into(),
            value,
            out_of: Some(number),
            unit: String::new(),
            description: "\u{0}\u{1b}[31m\u{202e}\"\\\n\u{10ffff}".into(),
        };
        let stats = InstanceStats {
            id: "x".into(),
            summary: figure(Value::Number(number)),
            figures: vec![figure(Value::Integer(i64::MIN))],
        };
        let written = notation::visible(&notation::to_json(&stats).unwrap().to_string());
        assert!(!written.contains('\u{202e}') && !written.contains('\u{1b}'), "{written}");
        let read: InstanceStats = notation::from_json(serde_json::from_str(&written).unwrap()).unwrap();
        assert_eq!(
            (read.summary.description.as_str(), &read.figures[0].value),
            (stats.summary.description.as_str(), &stats.figures[0].value)
        );
        let Value::Number(back) = read.summary.value else { panic!("{read:?}") };
        assert!(back.to_bits() == number.to_bits() || number.is_nan() && back.is_nan(), "{number} came back as {back}");
        assert_eq!(read.summary.out_of.map(f64::is_nan), Some(number.is_nan()));
    }
}

#[test]
fn names_are_the_contract_s_and_a_wrong_one_is_named() {
    let attribute = Attribute { name: "speed".into(), value: Value::Flag(true), unit: None };
    let written = notation::to_json(&attribute).unwrap();
    assert_eq!(written, json!({ "name": "speed", "value": { "flag": true }, "unit": null }));
    let written = notation::to_json(&Answer::Stats(std::borrow::Cow::Owned(Err("no".into())))).unwrap();
    assert_eq!(written, json!({ "stats": { "err": "no" } }));
    for (wrong, said) in [
        (json!({ "name": "speed", "value": { "flga": true } }), "\"flga\" is no case of Value"),
        (json!({ "name": "speed" }), "missing field `value`"),
        (json!({ "name": 1, "value": { "flag": true } }), "expected a string"),
        (json!([]), "a list"),
    ] {
        let why = notation::from_json::<Attribute>(wrong).unwrap_err().to_string();
        assert!(why.contains(said), "{why}");
    }
}
