//! What is written is read as the same, for any schema and any value.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Map, Number, Value};
use yurt_nomad::config::{from_hcl, from_msgpack, to_msgpack};
use yurt_nomad::schema::{Attr, Block, BlockMap, Blocks, Spec, Type};

fn kinds() -> impl Strategy<Value = Type> + Clone {
    let leaf = prop_oneof![Just(Type::String), Just(Type::Number), Just(Type::Bool)];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|of| Type::List(Box::new(of))),
            inner.clone().prop_map(|of| Type::Set(Box::new(of))),
            inner.clone().prop_map(|of| Type::Map(Box::new(of))),
            prop::collection::vec(inner.clone(), 0..3).prop_map(Type::Tuple),
            prop::collection::btree_map("[a-z_][a-z0-9_-]{0,5}|[ -~]{1,4}", inner, 0..3).prop_map(Type::Object),
        ]
    })
}

/// Names that no two specifications of a body share; distinct ones are made of the place in the tree.
fn specs() -> impl Strategy<Value = Spec> {
    let attr = (kinds(), any::<bool>()).prop_map(|(kind, required)| Attr { name: String::new(), kind, required });
    let leaf = prop_oneof![
        3 => attr.clone().prop_map(Spec::Attr),
        1 => attr.clone().prop_map(Spec::BlockAttrs),
        1 => "\\PC{0,8}".prop_map(|text| Spec::Default(
            Box::new(Spec::Attr(Attr { name: String::new(), kind: Type::String, required: false })),
            Box::new(Spec::Literal(Value::String(text))),
        )),
    ];
    let tree = leaf.prop_recursive(3, 16, 4, |inner| {
        let nested = inner.clone().prop_map(Box::new);
        let blocks = (nested.clone(), 0u64..3).prop_map(|(nested, min_items)| Blocks {
            name: String::new(),
            min_items,
            max_items: if min_items == 0 { 0 } else { min_items + 2 },
            nested,
        });
        prop_oneof![
            prop::collection::btree_map("\\PC{1,6}", inner.clone(), 0..4).prop_map(Spec::Object),
            prop::collection::vec(inner, 0..3).prop_map(Spec::Array),
            (nested.clone(), any::<bool>()).prop_map(|(nested, required)| Spec::Block(Block {
                name: String::new(),
                required,
                nested
            })),
            blocks.clone().prop_map(Spec::BlockList),
            blocks.prop_map(Spec::BlockSet),
            (nested, 1usize..3).prop_map(|(nested, labels)| {
                let labels = (0..labels).map(|n| format!("label {n}")).collect();
                Spec::BlockMap(BlockMap { name: String::new(), labels, nested })
            }),
        ]
    });
    prop::collection::btree_map("\\PC{1,6}", tree, 0..5).prop_map(|keys| {
        let mut spec = Spec::Object(keys);
        name(&mut spec, &mut 0);
        spec
    })
}

fn name(spec: &mut Spec, next: &mut usize) {
    let mut new = || {
        *next += 1;
        format!("n{next}")
    };
    match spec {
        Spec::Object(keys) => keys.values_mut().for_each(|nested| name(nested, next)),
        Spec::Array(items) => items.iter_mut().for_each(|nested| name(nested, next)),
        Spec::Attr(attr) | Spec::BlockAttrs(attr) => attr.name = new(),
        Spec::Block(block) => {
            block.name = new();
            name(&mut block.nested, next);
        }
        Spec::BlockList(blocks) | Spec::BlockSet(blocks) => {
            blocks.name = new();
            name(&mut blocks.nested, next);
        }
        Spec::BlockMap(map) => {
            map.name = new();
            name(&mut map.nested, next);
        }
        Spec::Default(primary, fallback) => {
            name(primary, next);
            name(fallback, next);
        }
        Spec::Literal(_) => {}
    }
}

fn numbers() -> impl Strategy<Value = Number> {
    prop_oneof![
        any::<i64>().prop_map(Number::from),
        any::<u64>().prop_map(Number::from),
        (any::<i32>(), 0..6u32)
            .prop_map(|(n, by)| Number::from_f64(f64::from(n) / f64::from(10u32.pow(by)) + 0.5).unwrap()),
        any::<f64>().prop_filter_map("finite", Number::from_f64),
    ]
    // As they are read: whole numbers are whole.
    .prop_map(|number| match number.as_f64() {
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 9.2e18 => Number::from(float as i64),
        Some(float) if number.is_f64() && float.fract() == 0.0 && (0.0..1.8e19).contains(&float) => {
            Number::from(float as u64)
        }
        _ => number,
    })
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        numbers().prop_map(Value::Number),
        "\\PC{0,12}".prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map("\\PC{0,6}", inner, 0..4)
                .prop_map(|keys: BTreeMap<String, Value>| Value::Object(keys.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

fn any_of(key: &str) -> Spec {
    Spec::Object([(key.to_owned(), Spec::Attr(Attr { name: key.to_owned(), kind: Type::Any, required: false }))].into())
}

/// Floats that are not exact in decimal travel as text; `any` cannot tell them from text.
fn holds_inexact_number(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_i64().is_none(),
        Value::Array(items) => items.iter().any(holds_inexact_number),
        Value::Object(keys) => keys.values().any(holds_inexact_number),
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_schema_goes_through_text_and_messages(spec in specs()) {
        let printed = spec.to_string();
        let read = Spec::parse(&printed).map_err(|why| TestCaseError::fail(format!("{why}\n{printed}")))?;
        prop_assert_eq!(&read, &spec, "{}", printed);
        prop_assert_eq!(Spec::from_proto(&read.to_proto()).unwrap(), spec);
    }

    #[test]
    fn a_number_goes_through_msgpack(number in numbers()) {
        let spec = Spec::Object([(
            "x".to_owned(),
            Spec::Attr(Attr { name: "x".to_owned(), kind: Type::Number, required: false }),
        )].into());
        let value = serde_json::json!({ "x": number });
        prop_assert_eq!(from_msgpack(&to_msgpack(&value), &spec).unwrap(), value);
    }

    #[test]
    fn a_value_goes_through_msgpack(value in values().prop_filter("exact", |v| !holds_inexact_number(v))) {
        let value = serde_json::json!({ "x": value });
        prop_assert_eq!(from_msgpack(&to_msgpack(&value), &any_of("x")).unwrap(), value);
    }

    #[test]
    fn what_was_read_once_is_read_again_as_the_same(spec in specs(), bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        for message in [bytes, vec![0x80]] {
            if let Ok(read) = from_msgpack(&message, &spec) {
                prop_assert_eq!(from_msgpack(&to_msgpack(&read), &spec).unwrap(), read);
            }
        }
    }

    #[test]
    fn values_of_any_kind_never_panic_any_schema(spec in specs(), value in values()) {
        // Under every key of the schema, so that it is looked at.
        let Spec::Object(keys) = &spec else { unreachable!() };
        let all: Map<String, Value> = keys.keys().map(|key| (key.clone(), value.clone())).collect();
        let _ = from_msgpack(&to_msgpack(&Value::Object(all)), &spec);
    }

    #[test]
    fn no_bytes_and_no_text_panic(bytes in prop::collection::vec(any::<u8>(), 0..256), text in "\\PC{0,64}|[a-z={}\\[\\]\"$%<\n ]{0,64}") {
        let _ = from_msgpack(&bytes, &any_of("x"));
        let _ = from_hcl(&text, "f", &any_of("x"));
        let _ = Spec::parse(&text);
        let _ = yurt_nomad::attribute::parse_literal(&text);
    }
}
