//! hcldec's specification language, as text and as messages.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use serde_json::json;
use yurt_nomad::proto::hclspec as proto;
use yurt_nomad::proto::hclspec::spec::Block as Case;
use yurt_nomad::schema::{Attr, Block, BlockMap, Blocks, Spec, SpecError, Type};

/// Every kind, in one text.
const ALL: &str = r#"
# what a person would write
object {
  attr "serial" {
    type     = string
    required = true
  }
  attr "vid" {
    name = "vendor_id"
    type = number
  }
  default "period" {
    attr "period" { type = string }
    literal { value = "10s" }
  }
  default "retries" {
    attr { type = number }
    literal { value = -3 }
  }
  array "pair" {
    attr "left" { type = list(string) }
    attr { 
      name = "right"
      type = tuple([string, object({ a = bool, "b-c" = set(number) })])
    }
  }
  block "limits" {
    required = true
    object {
      attr "memory" { type = number }
    }
  }
  block_value "old" {
    block_type = "older"
    object {
      attr "x" { type = map(string) }
    }
  }
  block_list "rule" {
    min_items = 1
    max_items = 9
    object {
      attr "vendor" { type = string }
    }
  }
  block_set "tag" {
    attr "name" { type = string }
  }
  block_map "alias" {
    labels = ["name", "of"]
    object {
      attr "to" { type = string }
    }
  }
  block_attrs "meta" { type = string }
  block_attrs "numbers" {
    element_type = number
    required     = true
  }
}
"#;

fn attr(name: &str, kind: Type) -> Attr {
    Attr { name: name.to_owned(), kind, required: false }
}

fn object(key: &str, spec: Spec) -> Box<Spec> {
    Box::new(Spec::Object([(key.to_owned(), spec)].into()))
}

fn all() -> Spec {
    let bools =
        Type::Object([("a".to_owned(), Type::Bool), ("b-c".to_owned(), Type::Set(Box::new(Type::Number)))].into());
    let keys = [
        ("serial", Spec::Attr(Attr { required: true, ..attr("serial", Type::String) })),
        ("vid", Spec::Attr(attr("vendor_id", Type::Number))),
        (
            "period",
            Spec::Default(Box::new(Spec::Attr(attr("period", Type::String))), Box::new(Spec::Literal(json!("10s")))),
        ),
        (
            "retries",
            Spec::Default(Box::new(Spec::Attr(attr("retries", Type::Number))), Box::new(Spec::Literal(json!(-3)))),
        ),
        (
            "pair",
            Spec::Array(vec![
                Spec::Attr(attr("left", Type::List(Box::new(Type::String)))),
                Spec::Attr(attr("right", Type::Tuple(vec![Type::String, bools]))),
            ]),
        ),
        (
            "limits",
            Spec::Block(Block {
                name: "limits".to_owned(),
                required: true,
                nested: object("memory", Spec::Attr(attr("memory", Type::Number))),
            }),
        ),
        (
            "old",
            Spec::Block(Block {
                name: "older".to_owned(),
                required: false,
                nested: object("x", Spec::Attr(attr("x", Type::Map(Box::new(Type::String))))),
            }),
        ),
        (
            "rule",
            Spec::BlockList(Blocks {
                name: "rule".to_owned(),
                min_items: 1,
                max_items: 9,
                nested: object("vendor", Spec::Attr(attr("vendor", Type::String))),
            }),
        ),
        (
            "tag",
            Spec::BlockSet(Blocks {
                name: "tag".to_owned(),
                min_items: 0,
                max_items: 0,
                nested: Box::new(Spec::Attr(attr("name", Type::String))),
            }),
        ),
        (
            "alias",
            Spec::BlockMap(BlockMap {
                name: "alias".to_owned(),
                labels: vec!["name".to_owned(), "of".to_owned()],
                nested: object("to", Spec::Attr(attr("to", Type::String))),
            }),
        ),
        ("meta", Spec::BlockAttrs(attr("meta", Type::String))),
        ("numbers", Spec::BlockAttrs(Attr { required: true, ..attr("numbers", Type::Number) })),
    ];
    Spec::Object(keys.into_iter().map(|(key, spec)| (key.to_owned(), spec)).collect())
}

#[test]
fn every_kind_is_read_from_text() {
    assert_eq!(Spec::parse(ALL), Ok(all()));
}

#[test]
fn every_kind_goes_through_the_messages_and_comes_back() {
    assert_eq!(Spec::from_proto(&all().to_proto()), Ok(all()));
}

#[test]
fn printed_text_is_read_as_the_same() {
    let printed = all().to_string();
    assert_eq!(Spec::parse(&printed), Ok(all()), "{printed}");
}

#[test]
fn the_message_carries_types_as_expressions_and_literals_with_their_quotes() {
    let message = all().to_proto();
    let Some(Case::Object(object)) = message.block else { panic!() };
    let Some(Case::Default(default)) = &object.attributes["period"].block else { panic!() };
    let literal = proto::Spec { block: Some(Case::Literal(proto::Literal { value: "\"10s\"".to_owned() })) };
    assert_eq!(default.default.as_deref(), Some(&literal));
    let Some(Case::Array(array)) = &object.attributes["pair"].block else { panic!() };
    let Some(Case::Attr(right)) = &array.values[1].block else { panic!() };
    assert_eq!(right.r#type, "tuple([string, object({a = bool, \"b-c\" = set(number)})])");
    assert_eq!(right.name, "right");
}

#[test]
fn a_key_stands_in_for_the_name_of_its_direct_child_only() {
    let attr = |name: &str| proto::Spec {
        block: Some(Case::Attr(proto::Attr { name: name.to_owned(), r#type: "string".to_owned(), required: false })),
    };
    let object = |key: &str, nested: proto::Spec| proto::Spec {
        block: Some(Case::Object(proto::Object { attributes: [(key.to_owned(), nested)].into() })),
    };
    assert_eq!(
        Spec::from_proto(&object("a", attr(""))).unwrap(),
        *self::object("a", Spec::Attr(self::attr("a", Type::String)))
    );
    let literal = proto::Spec { block: Some(Case::Literal(proto::Literal { value: "1".to_owned() })) };
    let default = proto::Spec {
        block: Some(Case::Default(Box::new(proto::Default {
            primary: Some(Box::new(attr(""))),
            default: Some(Box::new(literal)),
        }))),
    };
    let error = Spec::from_proto(&object("a", default)).unwrap_err().to_string();
    assert_eq!(error, "schema message: a.primary: it has no name, and no key stands in for it");
}

#[test]
fn a_message_that_an_agent_would_refuse_is_refused() {
    let message = |case| proto::Spec { block: Some(case) };
    let attr = |kind: &str| {
        message(Case::Attr(proto::Attr { name: "a".to_owned(), r#type: kind.to_owned(), required: false }))
    };
    let literal = |value: &str| message(Case::Literal(proto::Literal { value: value.to_owned() }));
    for (bad, reason) in [
        (proto::Spec { block: None }, "there is no specification"),
        (attr(""), "is not a type"),
        (attr("strnig"), "no type is called \"strnig\""),
        (attr("list"), "no type is called \"list\""),
        (attr("list(string, string)"), "a type is string"),
        (attr("optional(string)"), "a type is string"),
        (literal("abc"), "is no constant"),
        (literal("\"abc"), "is no expression"),
        (literal("upper(\"a\")"), "functions are not evaluated"),
        (
            message(Case::BlockList(Box::new(proto::BlockList { name: "a".to_owned(), ..Default::default() }))),
            "there is no specification",
        ),
        (
            message(Case::BlockMap(Box::new(proto::BlockMap {
                name: "a".to_owned(),
                labels: vec![],
                nested: Some(Box::new(attr("string"))),
            }))),
            "at least one label",
        ),
    ] {
        let error = Spec::from_proto(&bad).unwrap_err().to_string();
        assert!(error.contains(reason), "{error} should say {reason}");
    }
}

#[test]
fn a_message_nested_without_end_is_refused_not_followed() {
    let mut message = proto::Spec { block: Some(Case::Array(proto::Array { values: vec![] })) };
    for _ in 0..2000 {
        message = proto::Spec { block: Some(Case::Array(proto::Array { values: vec![message] })) };
    }
    assert!(matches!(Spec::from_proto(&message), Err(SpecError::Message { .. })));
}

#[track_caller]
fn refused(text: &str, wanted: &str) {
    let error = Spec::parse(text).expect_err(text).to_string();
    assert_eq!(error, wanted, "{text}");
}

#[test]
fn a_text_that_is_wrong_is_refused_with_its_place() {
    refused("", "schema, line 1, column 1: there is no specification: write object { … }");
    refused(
        "attr \"a\" { type = string }",
        "schema, line 1, column 1: the top level must be one object { … } without a label, and nothing else",
    );
    refused(
        "object {}\nobject {}",
        "schema, line 1, column 1: the top level must be one object { … } without a label, and nothing else",
    );
    refused(
        "object {\n  attr { type = string }\n}",
        "schema, line 2, column 3: in an object every attr needs a label: its key",
    );
    refused("object {\n  attr \"a\" {}\n}", "schema, line 2, column 3: type is missing: write type = string");
    refused(
        "object {\n  attr \"ä\" { type = strnig }\n}",
        "schema, line 2, column 21: no type is called \"strnig\": a type is string, number, bool, any, list(T), set(T), map(T), \
         tuple([T, …]) or object({k = T, …})",
    );
    refused(
        "object {\n  atr \"a\" { type = string }\n}",
        "schema, line 2, column 3: no specification is called \"atr\"; did you mean attr? (there are object, array, attr, block, \
         block_value, block_attrs, block_list, block_set, block_map, default, literal)",
    );
    refused(
        "object {\n  attr \"a\" {\n type = string\n requird = true\n }\n}",
        "schema, line 4, column 2: requird means nothing in attr",
    );
    refused(
        "object {\n  attr \"a\" {\n type = string\n required = \"yes\"\n }\n}",
        "schema, line 4, column 13: required must be true or false",
    );
    refused(
        "object {\n attr \"a\" { type = string }\n attr \"a\" { type = number }\n}",
        "schema, line 3, column 2: the key \"a\" stands in this object already",
    );
    refused(
        "object {\n array \"a\" {\n attr { type = string }\n }\n}",
        "schema, line 3, column 2: it has no name: give it a label, or name = \"…\"",
    );
    refused(
        "object {\n block_list \"a\" {\n min_items = -1\n object {}\n }\n}",
        "schema, line 3, column 14: min_items must be a whole number that is not negative",
    );
    refused(
        "object {\n block_list \"a\" {\n min_items = 3\n max_items = 2\n object {}\n }\n}",
        "schema, line 2, column 2: min_items is more than max_items",
    );
    refused(
        "object {\n block_list \"a\" {\n }\n}",
        "schema, line 2, column 2: it must hold exactly one specification: of what is in the block",
    );
    refused(
        "object {\n block_map \"a\" {\n object {}\n }\n}",
        "schema, line 2, column 2: labels must be a list of at least one text: labels = [\"name\"]",
    );
    refused(
        "object {\n block_map \"a\" {\n labels = []\n object {}\n }\n}",
        "schema, line 3, column 11: labels must be a list of at least one text: labels = [\"name\"]",
    );
    refused(
        "object {\n default \"a\" {\n attr { type = string }\n }\n}",
        "schema, line 2, column 2: a default holds two specifications: the value, and what stands in for null",
    );
    refused(
        "object {\n default \"a\" {\n attr { type = string }\n literal { value = upper(\"x\") }\n }\n}",
        "schema, line 4, column 20: functions are not evaluated here: write what upper(…) would give",
    );
    let error = Spec::parse("object {\n attr \"a\" {\n").unwrap_err().to_string();
    assert!(error.starts_with("schema, line "), "{error}");
}

#[test]
fn a_message_is_one_short_line_whatever_the_keys_are_called() {
    refused(
        "object {\n attr \"two\\n\\u001b[31mlines\" { type = any }\n}",
        "schema: two [31mlines: the type any holds any: say which type it is",
    );
    let long = "k".repeat(1 << 16);
    for text in [
        format!("object {{\n attr \"{long}\" {{ type = any }}\n}}"),
        format!("object {{\n attr \"{long}\" {{ type = {long} }}\n}}"),
        format!("object {{\n {long} \"a\" {{}}\n}}"),
        format!("object {{\n literal \"{long}\" {{ {long} = 1 }}\n}}"),
        format!("object {{\n attr \"a\" {{ type = tuple([object({{ \"{long}\" = any }})]) }}\n}}"),
    ] {
        let why = Spec::parse(&text).expect_err("refused");
        assert!(why.to_string().chars().count() < 800, "{why}");
    }
    let mut message = Spec::parse(&format!("object {{\n attr \"{long}\" {{ type = string }}\n}}")).unwrap().to_proto();
    let Some(Case::Object(object)) = &mut message.block else { panic!("an object") };
    for nested in object.attributes.values_mut() {
        nested.block = None;
    }
    let why = Spec::from_proto(&message).expect_err("refused");
    assert!(why.to_string().chars().count() < 800, "{why}");
}

#[test]
fn the_house_rules_hold() {
    refused("object {\n attr \"a\" { type = any }\n}", "schema: a: the type any holds any: say which type it is");
    refused(
        "object {\n block_list \"r\" {\n object {\n block_attrs \"o\" { type = list(any) }\n }\n }\n}",
        "schema: r.o: the type list(any) of block_attrs holds any: values of two types would make the agent panic",
    );
    refused(
        "object {\n block_map \"m\" {\n labels = [\"x\"]\n object {\n attr \"o\" { type = object({a = any}) }\n }\n }\n}",
        "schema: m.o: the type object({a = any}) holds any: say which type it is",
    );
    refused(
        "object {\n literal \"a\" { value = 1 }\n}",
        "schema: a: a literal may only be the second part of a default",
    );
    refused(
        "object {\n default \"a\" {\n literal { value = 1 }\n literal { value = 2 }\n }\n}",
        "schema: a: a literal may only be the second part of a default",
    );
    refused(
        "object {\n default \"a\" {\n attr { type = number }\n literal { value = \"auto\" }\n }\n}",
        "schema: a: its default cannot be a number: must be number, is the text \"auto\"",
    );
    refused(
        "object {\n attr \"a\" { type = string }\n block \"b\" {\n name = \"a\"\n object {}\n }\n}",
        "schema: b: the name \"a\" is of an attribute here and of a block there",
    );
    assert_eq!(
        Spec::Attr(attr("a", Type::String)).check_host_rules().unwrap_err().to_string(),
        "schema: the top level: must be one object { … }"
    );
}

#[test]
fn a_default_may_be_written_in_another_type_than_its_attributes() {
    let text = "object {\n default \"a\" {\n attr { type = number }\n literal { value = \"4855\" }\n }\n}";
    assert!(Spec::parse(text).is_ok());
}

#[test]
fn a_text_nested_without_end_is_refused_on_a_small_stack() {
    let small = std::thread::Builder::new().stack_size(2 << 20).spawn(|| {
        for (open, close) in [
            ("object {\nblock \"a\" {\n", "}\n}\n"),
            ("[", "]"),
            ("(", ")"),
            ("list(", ")"),
            ("{ a = ", "}"),
            ("!", ""),
            ("-", ""),
        ] {
            for depth in [40usize, 5_000] {
                let blocks = open.contains("object");
                let (open, close) = (open.repeat(depth), close.repeat(depth));
                let text = if blocks {
                    format!("{open}{close}")
                } else {
                    format!("object {{\n attr \"a\" {{ type = {open}string{close} }}\n}}")
                };
                assert!(Spec::parse(&text).is_err(), "{depth} {}", text.get(..30).unwrap());
            }
        }
    });
    small.unwrap().join().unwrap();
}

#[test]
fn a_block_of_the_hosts_is_added_and_a_clash_refused() {
    let host = Spec::parse("object {\n attr \"log_level\" { type = string }\n}").unwrap();
    let guest = Spec::parse("object {\n attr \"yurta\" { type = string }\n}").unwrap();
    let merged = guest.merge_block("yurt", host.clone()).unwrap();
    assert_eq!(merged.check_host_rules(), Ok(()));
    let Spec::Object(keys) = &merged else { panic!() };
    assert_eq!(keys.keys().collect::<Vec<_>>(), ["yurt", "yurta"]);
    let again = merged.merge_block("yurt", host.clone()).unwrap_err().to_string();
    assert_eq!(again, "schema: the top level: the key \"yurt\" is taken by the host's own block: choose another");
    // Under another key, but by that name.
    let named = Spec::parse("object {\n attr \"x\" {\n name = \"yurt\"\n type = string\n }\n}").unwrap();
    assert!(named.merge_block("yurt", host.clone()).is_err());
    assert!(Spec::Array(vec![]).merge_block("yurt", host.clone()).is_err());
    assert!(Spec::empty().merge_block("yurt", host).is_ok());
}
