//! Schema and configuration: what an agent can evaluate, and what it is told of what an operator wrote wrong.

use tonic::Code;
use yurt_conformance::place::Place;
use yurt_nomad::client::{AgentError, Base};
use yurt_nomad::config::{from_hcl, to_msgpack};
use yurt_nomad::device::AgentConfig;
use yurt_nomad::proto::base::ConfigSchemaRequest;
use yurt_nomad::proto::base::base_plugin_client::BasePluginClient;
use yurt_nomad::schema::Spec;
use yurt_usb::sim::models;

use crate::agents::{EVERYTHING, evaluated, ids, refusal, serving, until};

async fn schema(base: &Base) -> Spec {
    base.clone().config_schema().await.unwrap().expect("a schema")
}

#[tokio::test]
async fn the_schema_converts_by_the_agents_rules_and_by_stricter_ones() {
    let place = Place::new();
    let launched = place.agent().launch().await.unwrap();
    let mut raw = BasePluginClient::new(launched.plugin.channel());
    let answer = raw.config_schema(ConfigSchemaRequest {}).await.unwrap().into_inner();
    let spec = Spec::from_proto(&answer.spec.expect("a schema")).unwrap();
    spec.check_host_rules().unwrap();
    let Spec::Object(keys) = &spec else { panic!("{spec:?}") };
    for key in ["fingerprint_period", "target_vendor_id", "target_product_id", "rule", "yurt"] {
        assert!(keys.contains_key(key), "{key} is missing: {:?}", keys.keys());
    }
    assert_eq!(schema(&launched.base).await, spec);
}

#[tokio::test]
async fn an_agent_gets_from_nothing_to_everything_through_the_schema() {
    let place = Place::new();
    let agent = place.agent();
    let schema = agent.interrogate().await.unwrap().schema.unwrap();
    for config in [
        "",
        "fingerprint_period = \"10s\"\ntarget_vendor_id = 4855\ntarget_product_id = 7715",
        "target_vendor_id = \"4855\"",
        "rule { vendor = \"0x12f7\" }\nrule {\n class = \"08/06\"\n action = \"deny\"\n}",
        "yurt { log_level = \"debug\" }",
        EVERYTHING,
    ] {
        let config = evaluated(config, &schema);
        agent.validate(&config).await.unwrap_or_else(|why| panic!("{config}: {why}"));
    }
    assert!(from_hcl("target_vendor_idd = 1", "agent.hcl", &schema).is_err());
}

#[tokio::test]
async fn it_is_set_again_and_again_with_and_without_the_agents_own_part() {
    let place = Place::new();
    let launched = place.agent().launch().await.unwrap();
    let mut base = launched.base.clone();
    let config = evaluated(EVERYTHING, &schema(&base).await);
    for agent in [None, None, Some(AgentConfig { min_port: 14_000, max_port: 14_512, ..AgentConfig::default() }), None]
    {
        base.set_config(&config, agent).await.unwrap();
    }
    // No bytes at all, and all keys absent.
    base.set_config_bytes(Vec::new(), None).await.unwrap();
    base.set_config_bytes(vec![0x80], None).await.unwrap();
}

#[tokio::test]
async fn what_was_written_wrong_is_named_with_its_value_and_what_is_allowed() {
    let place = Place::new();
    let launched = place.agent().launch().await.unwrap();
    let mut base = launched.base.clone();
    let schema = schema(&base).await;
    for (config, words) in [
        ("target_vendor_id = 70000", &["target_vendor_id", "70000", "65535"][..]),
        ("target_product_id = -1", &["target_product_id", "-1", "65535"]),
        ("target_vendor_id = 0.5", &["target_vendor_id", "0.5", "65535"]),
        ("fingerprint_period = \"1ms\"", &["fingerprint_period", "1ms", "100ms", "24h"]),
        ("fingerprint_period = \"soon\"", &["fingerprint_period", "soon", "100ms", "24h"]),
        ("rule { vendor = \"zzzz\" }", &["rule[0].vendor", "zzzz", "65535"]),
        ("rule {}\nrule { class = \"toaster\" }", &["rule[1].class", "toaster"]),
        ("rule { action = \"maybe\" }", &["rule[0].action", "maybe", "\"allow\"", "\"deny\""]),
        ("rule { group = \"No Such Name!\" }", &["rule[0].group", "No Such Name!", "a-z"]),
        ("yurt { settle = \"20s\" }", &["yurt.settle", "20s", "10s"]),
        ("yurt { settle_max = \"1ms\" }", &["yurt.settle_max", "1ms", "100ms"]),
        ("yurt { grace = \"2h\" }", &["yurt.grace", "2h", "3600s"]),
        ("yurt { log_level = \"loud\" }", &["yurt.log_level", "loud", "debug"]),
        // All at once.
        ("fingerprint_period = \"1ms\"\ntarget_vendor_id = 70000", &["fingerprint_period", "target_vendor_id"]),
    ] {
        let (code, text) = refusal(base.set_config(&evaluated(config, &schema), None).await);
        assert_eq!(code, Code::InvalidArgument, "{config}: {text}");
        for word in words {
            assert!(text.contains(word), "{config}: no {word:?} in {text:?}");
        }
    }
    // None of that harmed it.
    base.set_config(&evaluated("", &schema), None).await.unwrap();
}

#[tokio::test]
async fn an_agent_that_validates_shows_the_operator_that_sentence() {
    let place = Place::new();
    let agent = place.agent();
    let schema = agent.interrogate().await.unwrap().schema.unwrap();
    let why = agent.validate(&evaluated("target_vendor_id = 70000", &schema)).await.unwrap_err();
    assert!(why.to_string().contains("target_vendor_id = 70000"), "{why}");
    let _: AgentError = why;
}

#[tokio::test]
async fn bytes_that_are_no_configuration_are_refused_as_the_callers_fault() {
    let place = Place::new();
    let launched = place.agent().launch().await.unwrap();
    let mut base = launched.base.clone();
    let endless = vec![0x91; 1 << 20];
    let whole = to_msgpack(&evaluated(EVERYTHING, &schema(&base).await));
    let cut = whole[..whole.len() - 1].to_vec();
    let longer = [&whole[..], &[0xc0]].concat();
    let key = |key: &str, value: &[u8]| {
        let length = u8::try_from(key.len()).unwrap();
        [&[0x81, 0xa0 | length][..], key.as_bytes(), value].concat()
    };
    for (what, bytes) in [
        ("nested without end", endless),
        ("cut off", cut),
        ("followed by something", longer),
        ("no map", vec![0x01]),
        ("a list for a number", key("target_vendor_id", &[0x90])),
        ("a word for a number", key("target_vendor_id", b"\xa4what")),
        ("a map for a text", key("fingerprint_period", &[0x80])),
    ] {
        let answer = base.set_config_bytes(bytes, None).await;
        assert!(answer.is_err(), "{what} is taken for a configuration");
        let (code, text) = refusal(answer);
        assert_eq!(code, Code::InvalidArgument, "{what}: {text}");
    }
    base.plugin_info().await.unwrap();
}

#[tokio::test]
async fn numbers_come_in_every_form_that_an_agent_sends() {
    let place = Place::new();
    let bus = place.bus();
    bus.plug("1-1", &models::cp2102()).unwrap();
    let float = [&[0xcb][..], &4292_f64.to_be_bytes()].concat();
    for vendor in [b"\xcd\x10\xc4".to_vec(), b"\xd1\x10\xc4".to_vec(), float, b"\xa44292".to_vec()] {
        let launched = place.agent().launch().await.unwrap();
        let (mut base, mut device) = (launched.base.clone(), launched.device.clone());
        let mut bytes = vec![0x82, 0xb0];
        bytes.extend(b"target_vendor_id");
        bytes.extend(&vendor);
        bytes.push(0xb1);
        bytes.extend(b"target_product_id\xcd\xea\x60");
        base.set_config_bytes(bytes, Some(AgentConfig::default())).await.unwrap();
        let mut offers = device.fingerprint().await.unwrap();
        until(&mut offers, |groups| ids(groups) == ["sn-0001"]).await;
        launched.end().await;
    }
}

#[tokio::test]
async fn a_new_configuration_replaces_the_old_one_wholly_and_changes_the_offer() {
    let place = Place::new();
    let bus = place.bus();
    bus.plug("1-1", &models::cp2102()).unwrap();
    bus.plug("1-2", &models::yubikey()).unwrap();
    let mut launched = serving(&place, "rule { vendor = \"0x1050\" }").await;
    let schema = schema(&launched.base).await;
    let mut offers = launched.device.fingerprint().await.unwrap();
    until(&mut offers, |groups| ids(groups) == ["port-1-2"]).await;
    for (config, wanted) in [
        ("target_vendor_id = 4292\ntarget_product_id = 60000", &["sn-0001"][..]),
        ("", &[]),
        ("rule {}", &["sn-0001", "port-1-2"]),
    ] {
        launched.base.set_config(&evaluated(config, &schema), None).await.unwrap();
        until(&mut offers, |groups| ids(groups) == wanted).await;
    }
}
