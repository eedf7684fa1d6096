//! The streams that an agent holds open.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{broadcast, watch};
use tonic::Code;
use yurt_nomad::attribute::Attribute;
use yurt_nomad::client::Driver;
use yurt_nomad::driver::{CpuUsage, Fingerprint, Health, PluginError, TaskEvent, TaskStats, Usage};

use crate::fake::figures;
use crate::{nothing, refusal, served, soon, until};

fn look(health: Health) -> Fingerprint {
    Fingerprint { attributes: BTreeMap::from([("driver.fake.version".to_owned(), Attribute::text("3.11.2"))]), health }
}

fn event(message: &str) -> TaskEvent {
    TaskEvent {
        task_id: "a/t/1".to_owned(),
        alloc_id: "a".to_owned(),
        task_name: "t".to_owned(),
        at: SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 9),
        message: message.to_owned(),
        annotations: [("why".to_owned(), "so".to_owned())].into(),
    }
}

#[tokio::test]
async fn a_fingerprint_comes_at_once_and_then_only_what_differs() {
    let mut served = served().await;
    let good = look(Health::Healthy { note: "Healthy".to_owned() });
    served.fake.looks.send_replace(Some(Arc::new(good.clone())));
    let mut stream = soon(served.driver.fingerprint()).await.unwrap();
    assert_eq!(soon(stream.next()).await.unwrap(), good);
    served.fake.looks.send_replace(Some(Arc::new(good.clone())));
    nothing(stream.next()).await;
    let mut second = soon(served.driver.fingerprint()).await.unwrap();
    assert_eq!(soon(second.next()).await.unwrap(), good);
    for health in [
        Health::Unhealthy { reason: "no control groups".to_owned() },
        Health::Undetected { reason: "no python3 in /usr/bin".to_owned() },
    ] {
        served.fake.looks.send_replace(Some(Arc::new(look(health.clone()))));
        for stream in [&mut stream, &mut second] {
            assert_eq!(soon(stream.next()).await.unwrap().health, health);
        }
    }
    drop(stream);
    until(|| served.fake.looks.receiver_count() == 1).await;
}

#[tokio::test]
async fn events_come_in_order_to_every_stream_and_a_stream_ends_with_its_caller() {
    let mut served = served().await;
    let mut slow = soon(served.driver.events()).await.unwrap();
    let mut fast = soon(served.driver.events()).await.unwrap();
    // A call is made before it has arrived.
    until(|| served.fake.events.receiver_count() == 2).await;
    for n in 0..20 {
        served.fake.events.send(event(&n.to_string())).unwrap();
    }
    for n in 0..20 {
        assert_eq!(soon(fast.next()).await.unwrap(), event(&n.to_string()));
    }
    nothing(fast.next()).await;
    for n in 0..20 {
        assert_eq!(soon(slow.next()).await.unwrap().message, n.to_string());
    }
    drop((slow, fast));
    until(|| served.fake.events.receiver_count() == 0).await;
}

mod forgetful {
    use std::sync::Arc;
    use std::time::Duration;

    use serde_json::Value;
    use tokio::sync::mpsc;
    use yurt_nomad::driver::*;
    use yurt_nomad::schema::Spec;

    use super::*;
    use crate::fake::Fake;

    /// Its sources are gone as soon as it was asked for them. Else it is as it must be, with nothing of its own.
    pub(super) struct Forgetful(pub(super) Fake);

    #[tonic::async_trait]
    impl TaskDriver for Forgetful {
        fn info(&self) -> Info {
            self.0.info()
        }
        async fn schema(&self) -> Result<Option<Spec>, PluginError> {
            self.0.schema().await
        }
        async fn set_config(&self, config: &[u8], agent: Option<AgentConfig>) -> Result<(), PluginError> {
            self.0.set_config(config, agent).await
        }
        async fn task_schema(&self) -> Result<Spec, PluginError> {
            self.0.task_schema().await
        }
        async fn capabilities(&self) -> Result<Capabilities, PluginError> {
            self.0.capabilities().await
        }
        fn fingerprint(&self) -> watch::Receiver<Option<Arc<Fingerprint>>> {
            watch::channel(Some(Arc::new(look(Health::Healthy { note: String::new() })))).1
        }
        fn events(&self) -> broadcast::Receiver<TaskEvent> {
            broadcast::channel(1).1
        }
        async fn start(&self, task: TaskConfig, config: Value) -> Result<Started, StartError> {
            self.0.start(task, config).await
        }
        async fn recover(&self, handle: TaskHandle) -> Result<(), PluginError> {
            self.0.recover(handle).await
        }
        async fn wait(&self, id: &str) -> Result<WaitResult, PluginError> {
            self.0.wait(id).await
        }
        async fn stop(&self, id: &str, timeout: Duration, signal: Option<&str>) -> Result<(), PluginError> {
            self.0.stop(id, timeout, signal).await
        }
        async fn destroy(&self, id: &str, force: bool) -> Result<(), PluginError> {
            self.0.destroy(id, force).await
        }
        async fn inspect(&self, id: &str) -> Result<TaskStatus, PluginError> {
            self.0.inspect(id).await
        }
        async fn stats(&self, id: &str) -> Result<Option<TaskStats>, PluginError> {
            self.0.stats(id).await
        }
        async fn signal(&self, id: &str, signal: &str) -> Result<(), PluginError> {
            self.0.signal(id, signal).await
        }
        async fn exec(
            &self,
            id: &str,
            command: Vec<String>,
            timeout: Option<Duration>,
        ) -> Result<ExecResult, PluginError> {
            self.0.exec(id, command, timeout).await
        }
        async fn exec_stream(
            &self,
            exec: Exec,
            input: mpsc::Receiver<ExecInput>,
            output: ExecOutput,
        ) -> Result<ExitResult, PluginError> {
            self.0.exec_stream(exec, input, output).await
        }
    }
}

#[tokio::test]
async fn streams_outlive_their_sources() {
    let forgetful = Arc::new(forgetful::Forgetful(Default::default()));
    let (channel, _dir) = crate::serve(forgetful).await;
    let mut driver = Driver::new(channel);
    let mut looks = soon(driver.fingerprint()).await.unwrap();
    assert!(matches!(soon(looks.next()).await.unwrap().health, Health::Healthy { .. }));
    let mut events = soon(driver.events()).await.unwrap();
    nothing(looks.next()).await;
    nothing(events.next()).await;
    // What it does not do at all is said with the code for that.
    assert_eq!(refusal(driver.create_network("a", "h").await).0, Code::Unimplemented);
    assert_eq!(refusal(driver.destroy_network("a", &Default::default()).await).0, Code::Unimplemented);
    driver.init().await.unwrap();
    driver.shutdown().await.unwrap();
}

#[tokio::test]
async fn figures_come_at_once_and_per_interval_until_the_task_ends() {
    let mut served = served().await;
    let odd = CpuUsage { percent: Some(f64::NAN), user: Some(1.0), ..CpuUsage::default() };
    let odd = TaskStats { total: Usage { cpu: odd, ..Usage::default() }, ..figures() };
    *served.fake.measured.lock().unwrap() = vec![
        Ok(Some(figures())),
        Err(PluginError::internal("lost")),
        Ok(Some(odd)),
        Ok(None),
        Err(PluginError::not_found("task not found for given id")),
        Ok(Some(figures())),
    ];
    let began = std::time::Instant::now();
    let mut stream = soon(served.driver.stats("a/t/1", Duration::from_millis(300))).await.unwrap();
    assert_eq!(soon(stream.next()).await.unwrap(), Some(figures()));
    let cpu = soon(stream.next()).await.unwrap().unwrap().total.cpu;
    // JSON has no word for it: as if it was not measured.
    assert_eq!((cpu.percent, cpu.user), (None, Some(1.0)));
    assert!(began.elapsed() >= Duration::from_millis(500), "{:?}", began.elapsed());
    assert_eq!(soon(stream.next()).await.unwrap(), None);

    let mut stream = soon(served.driver.stats("a/t/1", Duration::from_secs(1))).await.unwrap();
    assert_eq!(refusal(soon(stream.next()).await).0, Code::NotFound);

    // The first beat does not wait for the interval, and a stream whose caller goes away asks no more.
    let mut stream = soon(served.driver.stats("a/t/2", Duration::from_secs(3600))).await.unwrap();
    assert_eq!(soon(stream.next()).await.unwrap(), Some(figures()));
    let mut stream = soon(served.driver.stats("a/t/3", Duration::from_millis(100))).await.unwrap();
    soon(stream.next()).await.unwrap();
    drop(stream);
    let asked = || served.fake.calls.lock().unwrap().iter().filter(|call| call.ends_with("a/t/3")).count();
    soon(async {
        let mut before = 0;
        while asked() != before {
            before = asked();
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
    })
    .await;
}
