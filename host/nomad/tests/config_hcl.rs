//! What an operator writes, evaluated as an agent would.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use serde_json::{Value, json};
use yurt_nomad::config::{from_hcl, from_msgpack, to_msgpack};
use yurt_nomad::schema::Spec;

fn spec() -> Spec {
    Spec::parse(include_str!("fixtures/written.hcldec")).unwrap()
}

fn defaults() -> Value {
    json!({
        "period": "10s", "vid": 0, "flag": null, "texts": null, "map": null, "maps": null, "shape": null, "set": null,
        "rule": [], "tag": [], "alias": {}, "meta": null, "limits": null, "ends": [null, null],
    })
}

#[track_caller]
fn reads(text: &str, wanted: &[(&str, Value)]) {
    let got = from_hcl(text, "agent.hcl", &spec()).unwrap_or_else(|why| panic!("{text}: {why}"));
    let mut all = defaults();
    for (key, value) in wanted {
        all[*key] = value.clone();
    }
    assert_eq!(got, all, "{text}");
    // What an agent would send for it is read as the same.
    assert_eq!(from_msgpack(&to_msgpack(&got), &spec()), Ok(all), "{text}");
}

#[track_caller]
fn refused(text: &str, wanted: &str) {
    let error = from_hcl(text, "agent.hcl", &spec()).expect_err(text).to_string();
    assert_eq!(error, format!("agent.hcl:{wanted}"), "{text}");
}

#[test]
fn nothing_is_the_defaults() {
    reads("", &[]);
    reads("\n# only a comment\n/* and\nanother */ // third\n", &[]);
}

#[test]
fn the_demos_three_keys_are_read_as_numbers_and_text() {
    let text = "period = \"2s\"\ntarget_vendor_id = \"4855\"\n";
    reads(text, &[("period", json!("2s")), ("vid", json!(4855))]);
    reads("target_vendor_id = 4855", &[("vid", json!(4855))]);
    reads("period = 10", &[("period", json!("10"))]);
    reads("period = null", &[]);
    reads("flag = \"true\"", &[("flag", json!(true))]);
    reads("target_vendor_id = 1e3", &[("vid", json!(1000))]);
    reads("target_vendor_id = -0.5", &[("vid", json!(-0.5))]);
    reads("period = -1.50", &[("period", json!("-1.5"))]);
}

#[test]
fn lists_and_sets_are_of_their_types() {
    reads("texts = [\"a\", 1, true, null]", &[("texts", json!(["a", "1", "true", null]))]);
    reads("texts = [\n  \"a\",\n  \"b\",\n]", &[("texts", json!(["a", "b"]))]);
    reads("set = [\"b\", \"a\", \"b\"]", &[("set", json!(["a", "b"]))]);
    reads("left = 1\nright = \"r\"", &[("ends", json!(["1", "r"]))]);
}

#[test]
fn an_object_and_a_block_are_the_same_to_an_agent() {
    let rules = json!([{"vendor": "x", "allow": null}]);
    for text in ["rule {\n vendor = \"x\"\n}", "rule = { vendor = \"x\" }", "rule = [{ vendor = \"x\" }]"] {
        reads(text, &[("rule", rules.clone())]);
    }
    for text in ["meta {\n a = 1\n b = \"x\"\n}", "meta = { a = 1, b = \"x\" }", "meta = { \"a\" : 1, b : \"x\" }"] {
        reads(text, &[("meta", json!({"a": "1", "b": "x"}))]);
    }
    for text in ["maps {\n a = 1\n}", "maps = { a = 1 }", "maps = [{ a = 1 }]"] {
        reads(text, &[("maps", json!([{"a": "1"}]))]);
    }
    reads("maps {\n a = 1\n}\nmaps {\n b = 2\n}", &[("maps", json!([{"a": "1"}, {"b": "2"}]))]);
    reads("shape = [{ w = 1, h = \"2\", x = 3 }]", &[("shape", json!([{"w": 1, "h": 2}]))]);
    for text in [
        "alias \"a\" \"b\" {\n to = \"x\"\n}",
        "alias = { a = { b = { to = \"x\" } } }",
        "alias = [{ a = [{ b = [{ to = \"x\" }] }] }]",
    ] {
        reads(text, &[("alias", json!({"a": {"b": {"to": "x"}}}))]);
    }
}

#[test]
fn blocks_are_counted_labelled_and_told_apart() {
    reads(
        "rule {\n vendor = \"a\"\n}\nrule {\n vendor = \"b\"\n allow = false\n}",
        &[("rule", json!([{"vendor": "a", "allow": null}, {"vendor": "b", "allow": false}]))],
    );
    reads("rule = null", &[]);
    reads("tag {\n name = \"b\"\n}\ntag {\n name = \"a\"\n}\ntag {\n name = \"b\"\n}", &[("tag", json!(["a", "b"]))]);
    reads("meta {}", &[("meta", json!({}))]);
    reads("limits {}", &[("limits", json!({"memory": null}))]);
    reads(
        "alias \"a\" b {\n to = \"x\"\n}\nalias \"a\" \"c\" {\n to = \"y\"\n}",
        &[("alias", json!({"a": {"b": {"to": "x"}, "c": {"to": "y"}}}))],
    );
    refused("limits {}\nlimits {}", "2:1: the block limits may stand here once");
    refused(&"rule {\n vendor = 1\n}\n".repeat(4), "1:1: 4 blocks rule stand here, at most 3 may");
    refused("rule \"x\" {\n vendor = 1\n}", "1:1: the block rule takes no label: write rule { … } without \"x\"");
    refused("alias \"a\" {}", "1:1: the block alias needs 2 label(s), has 1: write alias \"<name>\" \"<of>\" { … }");
    refused("alias \"a\" \"b\" {}\nalias \"a\" \"b\" {}", "2:1: the block alias \"a\" \"b\" stands here already");
    refused("rule = \"x\"", "1:8: rule is a block: write rule { … }");
    refused("rule = [1]", "1:8: rule is a block: write rule { … }");
}

#[test]
fn an_unknown_key_is_refused_with_what_was_meant() {
    refused("perod = \"1s\"", "1:1: no key or block is called \"perod\" here; did you mean \"period\"?");
    refused("\n  rules {\n }", "2:3: no key or block is called \"rules\" here; did you mean \"rule\"?");
    refused(
        "rule {\n vendor = 1\n verndor = 2\n}",
        "3:2: no key or block is called \"verndor\" here; did you mean \"vendor\"?",
    );
    refused("limits {\n xyzzy = 1\n}", "2:2: no key or block is called \"xyzzy\" here; there are memory");
    // The key of the result is not the name in the file.
    refused(
        "vid = 1",
        "1:1: no key or block is called \"vid\" here; there are alias, flag, left, limits, map, maps, meta, period, \
         right, rule, set, shape, tag, target_vendor_id, texts",
    );
}

#[test]
fn a_text_that_would_take_long_is_refused_at_once() {
    let begun = std::time::Instant::now();
    // The parser's own time grows with the square of the keys in one object, ours with that of the keys in one block.
    let keys = (0..9000).map(|key| format!("k{key} = 1, ")).collect::<String>();
    refused(&format!("map = {{{keys}}}"), "1:1: it has more than 8192 keys, or `=` and `:` in its texts");
    refused(&"# long\n".repeat(1 << 16), "1:1: it is longer than 262144 bytes");
    refused(&format!("tag = [{}]", "{},".repeat(5000)), "1:12296: more than 4096 blocks tag stand here");
    refused(&"tag {}\n".repeat(5000), "4097:1: more than 4096 keys and blocks stand here");
    from_hcl(&format!("{} = 1", "k".repeat(1 << 17)), "agent.hcl", &spec()).expect_err("no such key");
    assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn a_message_is_one_short_line_whatever_the_names_are() {
    let long = "k".repeat(1 << 16);
    refused(
        "alias \"a\\nb\" \"c\" {}\nalias \"a\\nb\" \"c\" {}",
        "2:1: the block alias \"a b\" \"c\" stands here already",
    );
    for text in [
        format!("{long} = 1"),
        format!("period = {long}"),
        format!("period = {long}()"),
        format!("rule \"{long}\" {{}}"),
        format!("meta {{\n {long} = []\n}}"),
        format!("{long} {{}}\n{long} {{}}\n{long} = 1"),
    ] {
        let why = from_hcl(&text, "agent.hcl", &spec()).expect_err("refused").to_string();
        assert!(why.chars().count() < 600 && !why.contains(char::is_control), "{why}");
    }
}

#[test]
fn what_is_required_must_be_there_and_null_counts() {
    refused("\nrule {\n}", "2:1: \"vendor\" is missing here: write vendor = …, a string");
    reads("rule {\n vendor = null\n}", &[("rule", json!([{"vendor": null, "allow": null}]))]);
    let spec = Spec::parse(
        "object {\n block \"a\" {\n required = true\n object {}\n }\n block_list \"b\" {\n min_items = 2\n object {}\n }\n}",
    )
    .unwrap();
    let error = |text| from_hcl(text, "f", &spec).unwrap_err().to_string();
    assert_eq!(error("b {}\nb {}"), "f:1:1: the block a is missing here: write a { … }");
    assert_eq!(error("a {}\nb {}"), "f:1:1: 1 block(s) b stand here, at least 2 must");
    assert!(from_hcl("a {}\nb {}\nb {}", "f", &spec).is_ok());
}

#[test]
fn a_value_of_another_kind_is_refused_with_its_place() {
    refused("target_vendor_id = \"0x12f7\"", "1:20: target_vendor_id: must be number, is the text \"0x12f7\"");
    refused("flag = 1", "1:8: flag: must be bool, is 1");
    refused("texts = [\"a\", []]", "1:15: texts[1]: must be string, is a list of 0");
    refused(
        "map = { a = \"b\" }",
        "1:7: map: must be map(string), is a block, or an object, which counts as a list of one",
    );
    refused(
        "map {\n a = \"b\"\n}",
        "1:1: map: must be map(string), is a block, or an object, which counts as a list of one",
    );
    refused(
        "shape = [{ w = 1 }]",
        "1:10: shape[0]: the key \"h\" is missing: it must be object({h = number, w = number})",
    );
    refused("meta {\n a = [1]\n}", "2:6: meta.a: must be string, is a list of 1");
    refused(
        "ä = 1",
        "1:1: no key or block is called \"ä\" here; there are alias, flag, left, limits, map, maps, meta, period, \
         right, rule, set, shape, tag, target_vendor_id, texts",
    );
}

#[test]
fn what_would_need_evaluation_is_refused_by_name() {
    refused(
        "period = \"a${x}\"",
        "1:12: templates are not evaluated here, since there is nothing to refer to: write `$${` for `${` and `%%{` for `%{`",
    );
    refused(
        "period = \"%{ if true }x%{ endif }\"",
        "1:11: templates are not evaluated here, since there is nothing to refer to: write `$${` for `${` and `%%{` for `%{`",
    );
    refused("period = env.HOME", "1:10: there are no variables here to refer to");
    refused("period = ten", "1:10: there are no variables here: ten is not known; write \"ten\" for text");
    refused("period = upper(\"a\")", "1:10: functions are not evaluated here: write what upper(…) would give");
    refused("flag = 1 < 2", "1:8: expressions are not evaluated here: write a constant");
    refused("texts = [for x in [1] : x]", "1:9: expressions are not evaluated here: write a constant");
}

#[test]
fn escapes_and_heredocs_are_text() {
    reads(r#"period = "a$${b}%%{c}\n\"\\\u00e4$x%""#, &[("period", json!("a${b}%{c}\n\"\\ä$x%"))]);
    reads("period = <<EOT\n  a\n  $${b}\nEOT\n", &[("period", json!("  a\n  ${b}\n"))]);
    reads("period = <<-EOT\n  a\n    b\n  EOT\n", &[("period", json!("a\n  b\n"))]);
    reads("period = (\"x\")", &[("period", json!("x"))]);
}

#[test]
fn a_name_given_twice_is_refused() {
    refused(
        "flag = true\nflag = false",
        "2:1: invalid attribute; expected unique attribute key; found redefined attribute",
    );
    refused("rule = []\nrule {\n vendor = 1\n}", "2:1: \"rule\" is given as a block and with `=` here");
}

#[test]
fn a_broken_text_is_refused_with_its_place() {
    for text in ["period = ", "rule {", "period = \"a", "= 1", "rule { vendor = 1 } }", "period \"x\" = 1", "\u{0}"] {
        let error = from_hcl(text, "agent.hcl", &spec()).unwrap_err().to_string();
        assert!(error.starts_with("agent.hcl:1:"), "{text}: {error}");
    }
    let error = from_hcl("flag = true\nperiod = [1,\n", "agent.hcl", &spec()).unwrap_err().to_string();
    assert!(error.starts_with("agent.hcl:2:") || error.starts_with("agent.hcl:3:"), "{error}");
}

#[test]
fn a_text_nested_without_end_is_refused_on_a_small_stack() {
    let small = std::thread::Builder::new().stack_size(2 << 20).spawn(|| {
        for (open, close) in [
            ("rule {\n", "}\n"),
            ("rule = [", "]"),
            ("texts = (", ")"),
            ("x = { a = ", "}"),
            ("flag = !", ""),
            ("period = \"${", "}\""),
        ] {
            let (head, more) = open.split_once("= ").map_or(("", open), |(head, more)| (head, more));
            for depth in [30usize, 50_000] {
                let head = if head.is_empty() { String::new() } else { format!("{head}= ") };
                let text = format!("{head}{}1{}", more.repeat(depth), close.repeat(depth));
                assert!(from_hcl(&text, "f", &spec()).is_err());
            }
        }
    });
    small.unwrap().join().unwrap();
}
