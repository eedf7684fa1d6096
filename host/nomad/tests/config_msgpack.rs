//! What an agent sends, read by the plugin's own schema; and what an agent would send.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use rmpv::Value as Packed;
use serde_json::{Value, json};
use yurt_nomad::config::{ConfigError, from_msgpack, to_msgpack};
use yurt_nomad::schema::Spec;

fn spec() -> Spec {
    Spec::parse(include_str!("fixtures/sent.hcldec")).unwrap()
}

/// What nothing at all evaluates to.
fn defaults() -> Value {
    json!({
        "mode": "auto", "vid": 4855, "flag": null, "texts": null, "numbers": null, "pair": null, "shape": null, "maps": null,
        "rule": [], "alias": {}, "meta": null, "limits": null, "ends": [null, null],
    })
}

fn packed(value: &Packed) -> Vec<u8> {
    let mut bytes = Vec::new();
    rmpv::encode::write_value(&mut bytes, value).unwrap();
    bytes
}

fn map(entries: &[(&str, Packed)]) -> Packed {
    Packed::Map(entries.iter().map(|(key, value)| (Packed::from(*key), value.clone())).collect())
}

fn list(items: &[Packed]) -> Packed {
    Packed::Array(items.to_vec())
}

/// One key, sent like this, evaluates to this.
#[track_caller]
fn reads(key: &str, sent: Packed, wanted: Value) {
    let got =
        from_msgpack(&packed(&map(&[(key, sent.clone())])), &spec()).unwrap_or_else(|why| panic!("{sent}: {why}"));
    let mut all = defaults();
    all[key] = wanted;
    assert_eq!(got, all, "{key} = {sent}");
}

#[track_caller]
fn refused(key: &str, sent: Packed, wanted: &str) {
    let error = from_msgpack(&packed(&map(&[(key, sent.clone())])), &spec()).expect_err(&format!("{sent}"));
    assert_eq!(error.to_string(), wanted, "{key} = {sent}");
}

#[test]
fn nothing_nil_and_an_empty_map_are_the_defaults() {
    for bytes in [vec![], vec![0xc0], vec![0x80]] {
        assert_eq!(from_msgpack(&bytes, &spec()), Ok(defaults()), "{bytes:?}");
    }
    assert_eq!(from_msgpack(&[], &Spec::empty()), Ok(json!({})));
}

#[test]
fn what_is_required_is_the_agents_to_insist_on() {
    reads("rule", list(&[map(&[])]), json!([{"vid": null, "pid": null}]));
}

#[test]
fn numbers_come_in_every_form_of_msgpack() {
    for (bytes, wanted) in [
        (vec![0x07], json!(7)),
        (vec![0xe0], json!(-32)),
        (vec![0xcc, 200], json!(200)),
        (vec![0xcd, 0x12, 0xf7], json!(4855)),
        (vec![0xce, 0, 1, 0, 0], json!(65536)),
        (vec![0xcf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], json!(u64::MAX)),
        (vec![0xd0, 0x80], json!(-128)),
        (vec![0xd1, 0x80, 0], json!(-32768)),
        (vec![0xd2, 0x80, 0, 0, 0], json!(i32::MIN)),
        (vec![0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0], json!(i64::MIN)),
        (vec![0xca, 0x3f, 0, 0, 0], json!(0.5)),
        (vec![0xcb, 0x3f, 0xe0, 0, 0, 0, 0, 0, 0], json!(0.5)),
        (vec![0xcb, 0x40, 0x14, 0, 0, 0, 0, 0, 0], json!(5)),
        (vec![0xa4, b'4', b'8', b'5', b'5'], json!(4855)),
        (vec![0xa3, b'0', b'.', b'1'], json!(0.1)),
        (vec![0xa4, b'1', b'e', b'3', b'0'], json!(1e30)),
        (vec![0xc4, 1, b'7'], json!(7)),
    ] {
        let mut message = vec![0x81, 0xa3, b'v', b'i', b'd'];
        message.extend(&bytes);
        assert_eq!(from_msgpack(&message, &spec()).unwrap()["vid"], wanted, "{bytes:x?}");
    }
}

#[test]
fn nil_is_nothing_given() {
    for key in ["flag", "texts", "limits", "meta"] {
        reads(key, Packed::Nil, json!(null));
    }
    reads("mode", Packed::Nil, json!("auto"));
    reads("vid", Packed::Nil, json!(4855));
    reads("rule", Packed::Nil, json!([]));
    reads("alias", Packed::Nil, json!({}));
}

#[test]
fn values_are_turned_into_the_types_of_the_schema() {
    reads("mode", Packed::from(8), json!("8"));
    reads("mode", Packed::from(0.5), json!("0.5"));
    reads("mode", Packed::from(true), json!("true"));
    reads("flag", Packed::from("true"), json!(true));
    reads("flag", Packed::from("0"), json!(false));
    reads("texts", list(&[Packed::from("a"), Packed::from(1), Packed::Nil]), json!(["a", "1", null]));
    reads("numbers", list(&[Packed::from(2), Packed::from("1"), Packed::from(2)]), json!([1, 2]));
    reads("pair", list(&[Packed::from(1), Packed::from("2")]), json!(["1", 2]));
    reads("shape", map(&[("w", Packed::from("3")), ("x", Packed::from(9))]), json!({"w": 3, "h": null}));
    reads("maps", list(&[map(&[("a", Packed::from(1))])]), json!([{"a": "1"}]));
    reads("meta", map(&[("a", Packed::from(1)), ("b", Packed::from("x"))]), json!({"a": "1", "b": "x"}));
    reads("ends", list(&[Packed::from(1)]), json!(["1", null]));
}

#[test]
fn blocks_arrive_as_maps_and_lists() {
    let rule = map(&[("pid", Packed::Nil), ("vid", Packed::from("0x0781"))]);
    reads("rule", list(&[rule]), json!([{"pid": null, "vid": "0x0781"}]));
    reads("alias", map(&[("stick", map(&[("to", Packed::from("x"))]))]), json!({"stick": {"to": "x"}}));
    reads("limits", map(&[]), json!({"memory": 64}));
    reads("limits", map(&[("memory", Packed::from("128"))]), json!({"memory": 128}));
    reads("meta", map(&[]), json!({}));
}

#[test]
fn keys_of_another_schema_are_left_out() {
    let bytes = packed(&map(&[("mode", Packed::from("m")), ("new_key", Packed::from(1))]));
    let mut wanted = defaults();
    wanted["mode"] = json!("m");
    assert_eq!(from_msgpack(&bytes, &spec()), Ok(wanted));
}

#[test]
fn a_value_of_another_kind_is_refused_by_its_key() {
    refused("vid", Packed::from("12f7"), "vid: must be number, is the text \"12f7\"");
    refused("vid", Packed::from("inf"), "vid: must be number, is the text \"inf\"");
    refused("vid", Packed::from(true), "vid: must be number, is true");
    refused("vid", Packed::from(f64::NAN), "vid: is NaN, which is no number here");
    refused("flag", Packed::from("yes"), "flag: must be bool, is the text \"yes\"");
    refused("flag", Packed::from(1), "flag: must be bool, is 1");
    refused("mode", list(&[]), "mode: must be string, is a list of 0");
    refused("texts", Packed::from("a"), "texts: must be list(string), is the text \"a\"");
    refused("texts", list(&[Packed::from("a"), list(&[])]), "texts[1]: must be string, is a list of 0");
    refused("pair", list(&[Packed::from(1)]), "pair: must be tuple([string, number]), is a list of 1");
    refused("maps", list(&[map(&[("k", list(&[]))])]), "maps[0].k: must be string, is a list of 0");
    refused("rule", map(&[]), "rule: must be a list, is an object of 0 keys");
    refused("rule", list(&[map(&[]), Packed::from(1)]), "rule[1]: must be an object, is 1");
    refused("rule", list(&[map(&[]), map(&[("vid", list(&[]))])]), "rule[1].vid: must be string, is a list of 0");
    refused("alias", map(&[("x", Packed::from("y"))]), "alias.x: must be an object, is the text \"y\"");
    refused("limits", Packed::from("y"), "limits: must be an object, is the text \"y\"");
    refused("meta", map(&[("k", list(&[]))]), "meta.k: must be string, is a list of 0");
    refused(
        "mode",
        Packed::Ext(0, vec![0]),
        "mode: is a value that is not known yet, or of a kind that agents do not send",
    );
    refused("mode", Packed::Binary(vec![0xff]), "mode: is bytes that are no text");
}

#[test]
fn a_text_in_an_error_is_bounded_and_clean() {
    refused("flag", Packed::from("\u{1b}[31m\nred"), "flag: must be bool, is the text \"[31m red\"");
    let error = from_msgpack(&packed(&map(&[("flag", Packed::from("x".repeat(10_000)))])), &spec()).unwrap_err();
    assert!(error.to_string().chars().count() < 120, "{error}");
}

#[test]
fn bytes_that_are_no_message_are_refused_and_nothing_else_happens() {
    let deep: Vec<u8> = vec![0x91; 100_000];
    let wide = vec![0xdd, 0xff, 0xff, 0xff, 0xff];
    let text = vec![0xdb, 0xff, 0xff, 0xff, 0xff, b'a'];
    let not_utf8 = vec![0x81, 0xa4, b'm', b'o', b'd', b'e', 0xa1, 0xff];
    let long = vec![0; (1 << 20) + 1];
    for bytes in [vec![0x81], vec![0x80, 0x80], vec![0x81, 0x01, 0x01], vec![0x01], deep, wide, text, not_utf8, long] {
        let small =
            std::thread::Builder::new().stack_size(1 << 20).spawn(move || from_msgpack(&bytes, &spec()).unwrap_err());
        let error = small.unwrap().join().unwrap();
        assert!(matches!(error, ConfigError::Msgpack(_) | ConfigError::Value { .. }), "{error}");
    }
}

#[test]
fn any_type_that_a_peers_schema_has_keeps_the_plain_form() {
    let spec = Spec::Attr(yurt_nomad::schema::Attr {
        name: "x".to_owned(),
        kind: yurt_nomad::schema::Type::Any,
        required: false,
    });
    let spec = Spec::Object([("x".to_owned(), spec)].into());
    let sent = packed(&map(&[("x", list(&[Packed::from(1), Packed::from("a"), map(&[("k", Packed::Nil)])]))]));
    assert_eq!(from_msgpack(&sent, &spec), Ok(json!({"x": [1, "a", {"k": null}]})));
}

#[test]
fn blocks_are_few_since_each_costs_more_than_its_byte() {
    let many = |key: &str, items: Packed| packed(&map(&[(key, items)]));
    let rules = from_msgpack(&many("rule", Packed::Array(vec![map(&[]); 4096])), &spec()).unwrap();
    assert_eq!(rules["rule"].as_array().unwrap().len(), 4096);
    let why = from_msgpack(&many("rule", Packed::Array(vec![map(&[]); 4097])), &spec()).unwrap_err();
    assert_eq!(why.to_string(), "rule: 4097 blocks stand here, at most 4096 may");
    let aliases = (0..5000).map(|label| (Packed::from(label.to_string()), map(&[]))).collect();
    let why = from_msgpack(&many("alias", Packed::Map(aliases)), &spec()).unwrap_err();
    assert_eq!(why.to_string(), "alias: 5000 blocks stand here, at most 4096 may");
}

#[test]
fn a_message_is_one_short_line_whatever_the_keys_are_called() {
    let long = "k".repeat(1 << 13);
    let deep = (0..60).fold(Packed::Ext(1, vec![]), |inner, _| map(&[(&long, inner)]));
    for (sent, named) in [
        (map(&[("a\u{1b}[31m\nb", Packed::Ext(1, vec![]))]), "a [31m b: "),
        (map(&[("alias", map(&[("two\nlines", Packed::from(1))]))]), "alias.two lines: "),
        (deep, "kkkk"),
    ] {
        let why = from_msgpack(&packed(&sent), &spec()).expect_err("refused").to_string();
        assert!(why.starts_with(named) && !why.contains(char::is_control), "{why:?}");
        assert!(why.chars().count() < 400, "{} characters", why.chars().count());
    }
}

#[test]
fn a_fallback_that_is_no_literal_is_taken_in_its_own_type() {
    let spec = Spec::parse(
        "object {\n default \"x\" {\n attr \"x\" { type = number }\n attr \"y\" { type = list(string) }\n }\n}",
    )
    .unwrap();
    let sent = packed(&map(&[("x", list(&[Packed::from("a")]))]));
    assert_eq!(from_msgpack(&sent, &spec), Ok(json!({"x": ["a"]})));
}

#[test]
fn numbers_are_written_as_an_agent_writes_them() {
    for (value, wanted) in [
        (json!(7), Packed::from(7)),
        (json!(-1), Packed::from(-1)),
        (json!(i64::MAX), Packed::from(i64::MAX)),
        (json!(5.0), Packed::from(5)),
        (json!(0.5), Packed::from(0.5)),
        (json!(-2.25), Packed::from(-2.25)),
        (json!(0.1), Packed::from("0.1")),
        (json!(1e30), Packed::from("1000000000000000000000000000000")),
        (json!(u64::MAX), Packed::from("18446744073709551615")),
        (json!(1.5e-7), Packed::from("0.00000015")),
        (json!(1u64 << 63), Packed::from("9223372036854775808")),
        (json!(1e20), Packed::from("100000000000000000000")),
    ] {
        assert_eq!(to_msgpack(&value), packed(&wanted), "{value}");
    }
    // The smallest form, as well as sorted keys.
    assert_eq!(to_msgpack(&json!({"b": 200, "a": null})), [0x82, 0xa1, b'a', 0xc0, 0xa1, b'b', 0xcc, 200]);
    assert_eq!(to_msgpack(&json!([true, "x"])), [0x92, 0xc3, 0xa1, b'x']);
}
