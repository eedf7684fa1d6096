//! The services over a real unix socket, called with the agent's side of this crate.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value as Json, json};
use tokio::net::UnixListener;
use tokio::sync::{Mutex, watch};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::Code;
use tonic::transport::{Channel, Endpoint, Server};
use yurt_nomad::attribute::{Attribute, Value};
use yurt_nomad::client::{Base, CallError, Device, PluginInfo, PluginKind};
use yurt_nomad::config::{from_hcl, from_msgpack};
use yurt_nomad::device::{
    AgentConfig, DeviceNode, DevicePlugin, Group, GroupStats, HEALTHY_COUNT, Health, Info, Instance, InstanceStats,
    Mount, PluginError, Reservation, Stat, StatTree, routes,
};
use yurt_nomad::schema::Spec;

/// A plugin that does as it is told, also when that is wrong.
struct Plugin {
    info: Info,
    offers: watch::Sender<Option<Arc<Vec<Group>>>>,
    config: Mutex<Option<(Json, Option<AgentConfig>)>>,
    stats: Mutex<Vec<StatsAnswer>>,
    beats: AtomicUsize,
}

enum StatsAnswer {
    Figures(Vec<GroupStats>),
    Error(&'static str),
    Panic,
}

const SPEC: &str = "object {\n default \"period\" {\n attr { type = string }\n literal { value = \"10s\" }\n }\n}";

#[tonic::async_trait]
impl DevicePlugin for Plugin {
    fn info(&self) -> Info {
        if self.info.version == "panic" {
            panic!("no version");
        }
        self.info.clone()
    }

    async fn schema(&self) -> Result<Option<Spec>, PluginError> {
        match self.info.version.as_str() {
            "without" => Ok(None),
            _ => Ok(Some(Spec::parse(SPEC).unwrap())),
        }
    }

    async fn set_config(&self, msgpack: &[u8], agent: Option<AgentConfig>) -> Result<(), PluginError> {
        let json = from_msgpack(msgpack, &Spec::parse(SPEC).unwrap())
            .map_err(|why| PluginError::invalid_argument(why.to_string()))?;
        if json["period"] == "0s" {
            return Err(PluginError::invalid_argument("period = \"0s\": must be at least 1s"));
        }
        *self.config.lock().await = Some((json, agent));
        Ok(())
    }

    fn groups(&self) -> watch::Receiver<Option<Arc<Vec<Group>>>> {
        self.offers.subscribe()
    }

    async fn reserve(&self, ids: Vec<String>) -> Result<Reservation, PluginError> {
        match ids.first().map(String::as_str) {
            None => Ok(Reservation::default()),
            Some("panics") => panic!("what now"),
            Some("unknown") => Err(PluginError::not_found("no device \"unknown\" is offered")),
            Some("gone") => Err(PluginError::failed_precondition("it was unplugged")),
            Some("slow") => Err(PluginError::deadline_exceeded("it took too long")),
            Some("broken") => Err(PluginError::internal("line one\nline\u{0} two")),
            Some(_) => Ok(reservation(&ids)),
        }
    }

    async fn stats(&self) -> Result<Vec<GroupStats>, PluginError> {
        self.beats.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.stats.lock().await;
        let answer = if answers.is_empty() { StatsAnswer::Figures(vec![]) } else { answers.remove(0) };
        drop(answers);
        match answer {
            StatsAnswer::Figures(groups) => Ok(groups),
            StatsAnswer::Error(why) => Err(PluginError::internal(why)),
            StatsAnswer::Panic => panic!("no figures"),
        }
    }
}

fn reservation(ids: &[String]) -> Reservation {
    Reservation {
        envs: BTreeMap::from([("YURT_IDS".to_owned(), ids.join(","))]),
        mounts: vec![Mount { task_path: "/t".to_owned(), host_path: "/h".to_owned(), read_only: true }],
        devices: vec![DeviceNode {
            task_path: "/dev/a".to_owned(),
            host_path: "/dev/b".to_owned(),
            permissions: "rw".to_owned(),
        }],
    }
}

fn group(name: &str, ids: &[&str]) -> Group {
    Group {
        vendor: "acme".to_owned(),
        kind: "usb".to_owned(),
        name: name.to_owned(),
        attributes: BTreeMap::from([
            ("speed".to_owned(), Attribute::integer(60).in_unit("MB/s")),
            ("vid".to_owned(), Attribute::text("0x12f7")),
        ]),
        instances: ids
            .iter()
            .map(|id| Instance {
                id: (*id).to_owned(),
                health: Health::good(),
                pci_bus_id: Some("0000:00:14.0".to_owned()),
            })
            .collect(),
    }
}

/// A group as it arrives: with the host's own attribute.
fn offered(name: &str, ids: &[&str]) -> Group {
    let mut group = group(name, ids);
    group.attributes.insert(HEALTHY_COUNT.to_owned(), Attribute::integer(ids.len() as i64));
    group
}

struct Served {
    plugin: Arc<Plugin>,
    channel: Channel,
    _dir: tempfile::TempDir,
}

async fn served(version: &str) -> Served {
    let plugin = Arc::new(Plugin {
        info: Info { name: "test".to_owned(), version: version.to_owned() },
        offers: watch::Sender::new(Some(Arc::new(vec![]))),
        config: Mutex::new(None),
        stats: Mutex::new(vec![]),
        beats: AtomicUsize::new(0),
    });
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("plugin.sock");
    let listener = UnixListenerStream::new(UnixListener::bind(&socket).unwrap());
    let routes = routes(Arc::clone(&plugin) as Arc<dyn DevicePlugin>);
    tokio::spawn(Server::builder().add_routes(routes).serve_with_incoming(listener));
    Served { plugin, channel: connect(&socket).await, _dir: dir }
}

async fn connect(socket: &Path) -> Channel {
    Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap().connect().await.unwrap()
}

const SOON: Duration = Duration::from_secs(10);
/// Long enough that something wrongly sent would have come.
const WHILE: Duration = Duration::from_millis(200);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("it comes in time")
}

async fn nothing<T: std::fmt::Debug>(future: impl Future<Output = T>) {
    if let Ok(answer) = tokio::time::timeout(WHILE, future).await {
        panic!("nothing should come: {answer:?}");
    }
}

#[tokio::test]
async fn the_plugin_says_who_it_is() {
    let served = served("1.2.3").await;
    let info = Base::new(served.channel.clone()).plugin_info().await.unwrap();
    let wanted = PluginInfo {
        kind: Ok(PluginKind::Device),
        api_versions: vec!["v0.1.0".to_owned()],
        version: "1.2.3".to_owned(),
        name: "test".to_owned(),
    };
    assert_eq!(info, wanted);
}

#[tokio::test]
async fn a_panic_is_an_internal_answer_and_the_connection_lives_on() {
    let served = served("panic").await;
    let mut base = Base::new(served.channel.clone());
    for _ in 0..3 {
        let Err(CallError::Refused { code, message, .. }) = base.plugin_info().await else { panic!() };
        assert_eq!(code, Code::Internal);
        assert!(message.contains("PluginInfo") && message.contains("no version"), "{message}");
    }
    let mut device = Device::new(served.channel.clone());
    let Err(CallError::Refused { code, .. }) = device.reserve(vec!["panics".to_owned()]).await else { panic!() };
    assert_eq!(code, Code::Internal);
    assert_eq!(device.reserve(vec!["a".to_owned()]).await.unwrap().envs["YURT_IDS"], "a");
}

#[tokio::test]
async fn the_schema_arrives_and_none_is_none() {
    let with = served("1").await;
    assert_eq!(Base::new(with.channel.clone()).config_schema().await.unwrap(), Some(Spec::parse(SPEC).unwrap()));
    let without = served("without").await;
    assert_eq!(Base::new(without.channel.clone()).config_schema().await.unwrap(), None);
}

#[tokio::test]
async fn the_configuration_arrives_evaluated_with_and_without_the_agents_own_data() {
    let served = served("1").await;
    let mut base = Base::new(served.channel.clone());
    let spec = base.config_schema().await.unwrap().unwrap();
    let config = from_hcl("period = \"5s\"", "agent.hcl", &spec).unwrap();
    base.set_config(&config, None).await.unwrap();
    assert_eq!(*served.plugin.config.lock().await, Some((json!({"period": "5s"}), None)));
    let agent = AgentConfig { min_port: 14000, max_port: 14512, topology: None };
    base.set_config(&json!({}), Some(agent.clone())).await.unwrap();
    assert_eq!(*served.plugin.config.lock().await, Some((json!({"period": "10s"}), Some(agent))));
    base.set_config_bytes(vec![], None).await.unwrap();
    assert_eq!(*served.plugin.config.lock().await, Some((json!({"period": "10s"}), None)));
}

#[tokio::test]
async fn a_refused_configuration_gives_the_operator_the_plugins_own_sentence() {
    let served = served("1").await;
    let mut base = Base::new(served.channel.clone());
    let Err(CallError::Refused { code, message, .. }) = base.set_config(&json!({"period": "0s"}), None).await else {
        panic!()
    };
    assert_eq!((code, message.as_str()), (Code::InvalidArgument, "period = \"0s\": must be at least 1s"));
    let Err(CallError::Refused { code, message, .. }) = base.set_config(&json!({"period": [1]}), None).await else {
        panic!()
    };
    assert_eq!((code, message.as_str()), (Code::InvalidArgument, "period: must be string, is a list of 1"));
    let Err(CallError::Refused { code, .. }) = base.set_config_bytes(vec![0x81], None).await else { panic!() };
    assert_eq!(code, Code::InvalidArgument);
}

#[tokio::test]
async fn an_offer_comes_at_once_and_then_only_what_differs() {
    let served = served("1").await;
    let offers = &served.plugin.offers;
    let mut stream = soon(Device::new(served.channel.clone()).fingerprint()).await.unwrap();
    assert_eq!(soon(stream.next()).await.unwrap(), []);

    offers.send_replace(Some(Arc::new(vec![group("b", &["b2", "b1"]), group("a", &["a1"])])));
    assert_eq!(soon(stream.next()).await.unwrap(), [offered("a", &["a1"]), offered("b", &["b1", "b2"])]);

    // The same devices in another order are the same offer.
    offers.send_replace(Some(Arc::new(vec![group("a", &["a1"]), group("b", &["b1", "b2"])])));
    nothing(stream.next()).await;

    // An invalid group costs itself only, and no message if the rest is as it was.
    offers.send_replace(Some(Arc::new(vec![group("a", &["a1"]), group("", &["x"]), group("b", &["b1", "b2"])])));
    nothing(stream.next()).await;

    // A second stream gets the present offer at once.
    let mut second = soon(Device::new(served.channel.clone()).fingerprint()).await.unwrap();
    assert_eq!(soon(second.next()).await.unwrap().len(), 2);

    let mut sick = group("a", &["a1"]);
    sick.instances[0].health = Health::Unhealthy { reason: "over-current".to_owned() };
    offers.send_replace(Some(Arc::new(vec![sick])));
    for stream in [&mut stream, &mut second] {
        let offer = soon(stream.next()).await.unwrap();
        assert_eq!(offer.len(), 1);
        assert_eq!(offer[0].instances[0].health, Health::Unhealthy { reason: "over-current".to_owned() });
        assert_eq!(offer[0].attributes[HEALTHY_COUNT], Attribute::integer(0));
    }
}

#[tokio::test]
async fn the_stream_of_offers_outlives_its_source_and_ends_with_its_caller() {
    /// Its sender is gone as soon as it was asked.
    struct Forgetful(Plugin);
    #[tonic::async_trait]
    impl DevicePlugin for Forgetful {
        fn info(&self) -> Info {
            self.0.info()
        }
        async fn schema(&self) -> Result<Option<Spec>, PluginError> {
            Ok(None)
        }
        async fn set_config(&self, _: &[u8], _: Option<AgentConfig>) -> Result<(), PluginError> {
            Ok(())
        }
        fn groups(&self) -> watch::Receiver<Option<Arc<Vec<Group>>>> {
            if self.0.beats.fetch_add(1, Ordering::SeqCst) == 1 {
                panic!("no source");
            }
            watch::channel(Some(Arc::new(vec![group("a", &["a1"])]))).1
        }
        async fn reserve(&self, _: Vec<String>) -> Result<Reservation, PluginError> {
            Ok(Reservation::default())
        }
        async fn stats(&self) -> Result<Vec<GroupStats>, PluginError> {
            Ok(vec![])
        }
    }
    let served = served("1").await;
    let forgetful = Arc::new(Forgetful(Plugin {
        info: Info { name: "f".to_owned(), version: "1".to_owned() },
        offers: watch::Sender::new(Some(Arc::new(vec![]))),
        config: Mutex::new(None),
        stats: Mutex::new(vec![]),
        beats: AtomicUsize::new(0),
    }));
    let socket = served._dir.path().join("forgetful.sock");
    let listener = UnixListenerStream::new(UnixListener::bind(&socket).unwrap());
    tokio::spawn(Server::builder().add_routes(routes(forgetful.clone())).serve_with_incoming(listener));
    let channel = connect(&socket).await;

    let mut stream = soon(Device::new(channel.clone()).fingerprint()).await.unwrap();
    assert_eq!(soon(stream.next()).await.unwrap(), [offered("a", &["a1"])]);
    nothing(stream.next()).await;
    // A source that panics is an empty offer, at once.
    let mut empty = soon(Device::new(channel.clone()).fingerprint()).await.unwrap();
    assert_eq!(soon(empty.next()).await.unwrap(), []);
    nothing(empty.next()).await;

    let offers = &served.plugin.offers;
    let mut stream = soon(Device::new(served.channel.clone()).fingerprint()).await.unwrap();
    soon(stream.next()).await.unwrap();
    assert_eq!(offers.receiver_count(), 1);
    drop(stream);
    soon(async {
        while offers.receiver_count() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_reservation_arrives_whole_and_an_empty_one_has_its_container_part() {
    let served = served("1").await;
    let mut device = Device::new(served.channel.clone());
    let ids = vec!["a".to_owned(), "b".to_owned()];
    assert_eq!(device.reserve(ids.clone()).await.unwrap(), reservation(&ids));
    assert_eq!(device.reserve(vec![]).await.unwrap(), Reservation::default());
}

#[tokio::test]
async fn errors_keep_to_the_codes_that_an_agent_takes_for_an_answer() {
    let served = served("1").await;
    let mut device = Device::new(served.channel.clone());
    for (id, wanted, text) in [
        ("unknown", Code::NotFound, "no device \"unknown\" is offered"),
        ("gone", Code::FailedPrecondition, "it was unplugged"),
        ("slow", Code::DeadlineExceeded, "it took too long"),
        ("broken", Code::Internal, "line one line two"),
    ] {
        let Err(CallError::Refused { code, message, .. }) = device.reserve(vec![id.to_owned()]).await else { panic!() };
        assert_eq!((code, message.as_str()), (wanted, text));
    }
}

fn figure(value: Value, out_of: Option<f64>) -> Stat {
    Stat { value, out_of, unit: "%".to_owned(), description: "how full".to_owned() }
}

fn figures(at: SystemTime) -> Vec<GroupStats> {
    let stats = StatTree {
        values: BTreeMap::from([
            ("text".to_owned(), figure(Value::Text("t".to_owned()), None)),
            ("flag".to_owned(), figure(Value::Flag(true), None)),
            ("whole".to_owned(), figure(Value::Integer(3), Some(4.0))),
            ("part".to_owned(), figure(Value::Float(0.5), Some(2.5))),
        ]),
        branches: BTreeMap::from([(
            "power".to_owned(),
            StatTree {
                values: BTreeMap::from([("mA".to_owned(), figure(Value::Integer(-1), None))]),
                ..Default::default()
            },
        )]),
    };
    let instance = InstanceStats { summary: figure(Value::Integer(7), None), stats, timestamp: at };
    vec![GroupStats {
        vendor: "acme".to_owned(),
        kind: "usb".to_owned(),
        name: "a".to_owned(),
        instances: BTreeMap::from([("a1".to_owned(), instance)]),
    }]
}

#[tokio::test]
async fn figures_come_per_interval_and_trouble_leaves_a_beat_out() {
    let served = served("1").await;
    let at = UNIX_EPOCH + Duration::new(1_700_000_000, 5);
    *served.plugin.stats.lock().await = vec![
        StatsAnswer::Figures(figures(at)),
        StatsAnswer::Error("the policy is lost"),
        StatsAnswer::Error("the policy is lost"),
        StatsAnswer::Panic,
        StatsAnswer::Figures(figures(at + Duration::from_secs(1))),
    ];
    let mut stream = soon(Device::new(served.channel.clone()).stats(Duration::from_millis(1))).await.unwrap();
    let began = std::time::Instant::now();
    assert_eq!(soon(stream.next()).await.unwrap(), figures(at));
    assert_eq!(soon(stream.next()).await.unwrap(), figures(at + Duration::from_secs(1)));
    // Four beats of at least 100 ms, whatever was asked.
    assert!(began.elapsed() >= Duration::from_millis(350), "{:?}", began.elapsed());
    // Then nothing is offered: said once.
    assert_eq!(soon(stream.next()).await.unwrap(), []);
    let beats = served.plugin.beats.load(Ordering::SeqCst);
    tokio::time::timeout(Duration::from_millis(350), stream.next()).await.expect_err("nothing follows nothing");
    assert!(served.plugin.beats.load(Ordering::SeqCst) > beats, "it is still asked");
    drop(stream);
    soon(async {
        let mut beats = served.plugin.beats.load(Ordering::SeqCst);
        loop {
            tokio::time::sleep(Duration::from_millis(250)).await;
            let now = served.plugin.beats.load(Ordering::SeqCst);
            if now == beats {
                break;
            }
            beats = now;
        }
    })
    .await;
}

#[tokio::test]
async fn figures_always_have_a_time_and_numbers_that_json_can_say() {
    let served = served("1").await;
    let mut odd = figures(UNIX_EPOCH - Duration::from_secs(1));
    let tree = &mut odd[0].instances.get_mut("a1").unwrap().stats;
    tree.values = BTreeMap::from([
        ("nan".to_owned(), figure(Value::Float(f64::NAN), Some(1.0))),
        ("of".to_owned(), figure(Value::Integer(1), Some(f64::INFINITY))),
        ("third".to_owned(), figure(Value::Integer(1), Some(2.5))),
        ("text".to_owned(), figure(Value::Text("a\u{1b}[1m\nb".to_owned()), None)),
    ]);
    *served.plugin.stats.lock().await = vec![StatsAnswer::Figures(odd)];
    let mut stream = soon(Device::new(served.channel.clone()).stats(Duration::ZERO)).await.unwrap();
    let got = soon(stream.next()).await.unwrap();
    let instance = &got[0].instances["a1"];
    assert!(instance.timestamp.elapsed().unwrap() < SOON);
    let values = &instance.stats.values;
    assert_eq!(values["nan"].value, Value::Text("NaN".to_owned()));
    assert_eq!((&values["of"].value, values["of"].out_of), (&Value::Integer(1), None));
    assert_eq!((&values["third"].value, values["third"].out_of), (&Value::Float(1.0), Some(2.5)));
    assert_eq!(values["text"].value, Value::Text("a [1m b".to_owned()));
}

#[tokio::test]
async fn a_large_offer_and_a_large_configuration_pass() {
    let served = served("1").await;
    let ids: Vec<String> = (0..4000).map(|n| format!("serial-{n:0100}")).collect();
    let mut groups = Vec::new();
    for (at, ids) in ids.chunks(4).enumerate() {
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let mut group = group(&format!("g{at}"), &ids);
        for n in 0..10 {
            group.attributes.insert(format!("a{n}"), Attribute::text("x".repeat(1000)));
        }
        groups.push(group);
    }
    served.plugin.offers.send_replace(Some(Arc::new(groups)));
    let mut stream = soon(Device::new(served.channel.clone()).fingerprint()).await.unwrap();
    let offer = tokio::time::timeout(Duration::from_secs(60), stream.next()).await.unwrap().unwrap();
    assert_eq!(offer.len(), 1000);
    let period = "s".repeat(900_000);
    Base::new(served.channel.clone()).set_config(&json!({ "period": period }), None).await.unwrap();
}
