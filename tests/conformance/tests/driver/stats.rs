//! TaskStats and TaskEvents.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use yurt_conformance::driver::{Hierarchy, Node, Program, Request, Task, each, of_yurt, refused, soon, until};
use yurt_conformance::patience;
use yurt_nomad::driver::TaskStats;

const OFTEN: Duration = Duration::from_millis(100);
const BUSY: &str = "echo ready; while :; do :; done";

async fn first(task: &Task, interval: Duration) -> TaskStats {
    soon(task.stats(interval).await.next()).await.unwrap().expect("a sample")
}

#[tokio::test]
async fn a01_the_first_sample_comes_at_once() {
    each("A01", async |node| {
        let task = node.run(Program::idle()).await;
        task.ready().await;
        let began = Instant::now();
        let sample = first(&task, Duration::from_secs(10)).await;
        assert!(began.elapsed() < patience(Duration::from_secs(1)), "{:?}", began.elapsed());
        let age = SystemTime::now().duration_since(sample.at).unwrap_or_default();
        assert!(age < patience(Duration::from_secs(1)), "{age:?}");
        let memory = sample.total.memory;
        assert!(memory.rss.is_some() || memory.usage.is_some(), "{sample:?}");
        assert!(sample.total.cpu.percent.is_some(), "{sample:?}");
    })
    .await;
}

#[tokio::test]
async fn a02_figures_of_a_task_that_nobody_knows_are_an_error() {
    each("A02", async |node| {
        let figures = soon(node.driver.stats("no/such/task", OFTEN)).await;
        let result = match figures {
            Ok(mut figures) => soon(figures.next()).await.map(|_| ()),
            Err(why) => Err(why),
        };
        let (_, why, _) = refused(result);
        assert!(why.contains("task not found"), "{why}");
    })
    .await;
}

#[tokio::test]
async fn a03_each_process_has_its_figures() {
    each("A03", async |node| {
        let task = node.run(Program::shell("sleep 600 & echo ready; while :; do sleep 1; done")).await;
        task.ready().await;
        let mut figures = task.stats(OFTEN).await;
        let began = Instant::now();
        loop {
            let sample = soon(figures.next()).await.unwrap().unwrap();
            if sample.by_pid.len() >= 2 && sample.by_pid.values().all(|usage| usage.memory.rss.is_some()) {
                return;
            }
            assert!(began.elapsed() < patience(Duration::from_secs(15)), "{sample:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a04_the_processes_are_those_of_the_control_group() {
    each("A04", async |node| {
        let task = node.run(Program::shell("sleep 600 & sleep 601 & echo ready; wait")).await;
        until("all run", || task.processes().iter().filter(|pid| name(**pid) == "sleep").count() == 2).await;
        let members: BTreeSet<String> = task.processes().iter().map(u32::to_string).collect();
        let mut figures = task.stats(OFTEN).await;
        let began = Instant::now();
        loop {
            let sample = soon(figures.next()).await.unwrap().unwrap();
            let told: BTreeSet<String> = sample.by_pid.keys().cloned().collect();
            if told == members {
                return;
            }
            // Nomad's own drivers look for new processes every few seconds.
            assert!(began.elapsed() < patience(Duration::from_secs(15)), "{told:?}, not {members:?}");
        }
    })
    .await;
}

fn name(pid: u32) -> String {
    yurt_conformance::driver::status_field(pid, "Name").unwrap_or_default()
}

#[tokio::test]
async fn a05_samples_come_as_often_as_asked_until_the_task_ends() {
    each("A05", async |node| {
        let task = node.run(Program::idle()).await;
        task.ready().await;
        let mut figures = task.stats(Duration::from_millis(300)).await;
        soon(figures.next()).await.unwrap().unwrap();
        let began = Instant::now();
        let mut last = None;
        for _ in 0..6 {
            last = soon(figures.next()).await.unwrap();
            assert!(last.is_some());
        }
        let each = began.elapsed() / 6;
        assert!(
            (Duration::from_millis(250)..patience(Duration::from_millis(450))).contains(&each),
            "one every {each:?}; {last:?}"
        );
        task.stop(Duration::from_secs(1), "SIGKILL").await.unwrap();
        let ended = async { while let Ok(Some(_)) = figures.next().await {} };
        soon(ended).await;
    })
    .await;
}

#[tokio::test]
async fn a05_streams_that_are_given_up_leave_nothing() {
    of_yurt("A05", "it keeps what it opened", async |node| {
        let task = node.run(Program::idle()).await;
        task.ready().await;
        let fds = |node: &Node| std::fs::read_dir(format!("/proc/{}/fd", node.plugin_pid())).unwrap().count();
        first(&task, OFTEN).await;
        let before = fds(node);
        for _ in 0..50 {
            first(&task, OFTEN).await;
        }
        until("as many open files as before", || fds(node) <= before + 2).await;
    })
    .await;
}

#[tokio::test]
async fn a06_memory_and_processor_are_counted() {
    each("A06", async |node| {
        let code = "import sys, time\nx = bytearray(b'x') * (40 << 20)\nprint('ready', flush=True)\nwhile True: sum(range(20000))";
        let mut request = Request::of(Program::python(code)).memory(96);
        request.cpu = 500;
        let task = node.run(request).await;
        task.ready().await;
        let mut figures = task.stats(Duration::from_millis(500)).await;
        for _ in 0..2 {
            soon(figures.next()).await.unwrap().unwrap();
        }
        let began = Instant::now();
        // Nomad's own drivers look for processes every few seconds.
        let sample = loop {
            let sample = soon(figures.next()).await.unwrap().unwrap();
            if node.is_yurt() || sample.total.cpu.percent.unwrap() > 10.0 || began.elapsed() > patience(Duration::from_secs(15)) {
                break sample;
            }
        };
        let memory = sample.total.memory;
        let most = 96 << 20;
        assert!((38 << 20..=most).contains(&memory.rss.unwrap()), "{sample:?}");
        assert!(sample.total.cpu.percent.unwrap() > 10.0, "{sample:?}");
        if node.is_yurt() {
            assert!((38 << 20..=most).contains(&memory.usage.unwrap()), "{sample:?}");
            assert!(memory.cache.is_some() && memory.swap.is_some(), "{sample:?}");
            assert!(sample.total.cpu.throttled_periods.is_some() && sample.total.cpu.throttled_time.is_some(), "{sample:?}");
            assert!(sample.total.cpu.user.unwrap() > 10.0, "{sample:?}");
            assert!(memory.max_usage.is_some() || Hierarchy::here() == Hierarchy::V2, "{sample:?}");
            assert!(sample.total.cpu.total_ticks.unwrap() > 0.0, "{sample:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a06_an_idle_task_uses_next_to_nothing_and_a_busy_one_about_a_core() {
    of_yurt("A06", "its figures are of another kind", async |node| {
        let idle = node.run(Program::idle()).await;
        let busy = node.run(Program::shell(BUSY)).await;
        idle.ready().await;
        busy.ready().await;
        let mut figures = [idle.stats(Duration::from_millis(500)).await, busy.stats(Duration::from_millis(500)).await];
        let began = Instant::now();
        // On a slow machine what came before an idle task's sleep takes its time.
        loop {
            let mut percents = [0.0, 0.0];
            for (stream, percent) in figures.iter_mut().zip(&mut percents) {
                *percent = soon(stream.next()).await.unwrap().unwrap().total.cpu.percent.unwrap();
            }
            if percents[0] < 10.0 && (15.0..130.0).contains(&percents[1]) {
                return;
            }
            assert!(began.elapsed() < patience(Duration::from_secs(5)), "{percents:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a07_the_stream_of_events_stays_open_for_each_who_listens() {
    each("A07", async |node| {
        let mut streams = Vec::new();
        for _ in 0..3 {
            streams.push(soon(node.driver.events()).await.unwrap());
        }
        let task = node.run(Program::shell("exit 0")).await;
        task.exit().await;
        for events in &mut streams {
            let next = tokio::time::timeout(Duration::from_millis(200), events.next()).await;
            assert!(!matches!(next, Ok(Err(_))), "{next:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a07_every_listener_gets_every_event_in_order() {
    of_yurt("A07", "it tells no events", async |node| {
        let mut streams = Vec::new();
        for _ in 0..3 {
            streams.push(soon(node.driver.events()).await.unwrap());
        }
        let mut ids = Vec::new();
        for _ in 0..5 {
            let task = node.run(Program::shell("exit 0")).await;
            task.exit().await;
            ids.push(task.id().to_owned());
        }
        // Whoever reads late gets them all, too.
        for events in &mut streams {
            let mut told: Vec<String> = Vec::new();
            while told.last() != ids.last() {
                told.push(soon(events.next()).await.unwrap().task_id);
            }
            told.dedup();
            assert_eq!(told, ids);
        }
    })
    .await;
}

#[tokio::test]
async fn a08_a_want_of_memory_is_an_event() {
    of_yurt("A08", "it tells no events", async |node| {
        let mut events = soon(node.driver.events()).await.unwrap();
        let task = node.run(Request::of(Program::shell("exec tail /dev/zero")).memory(48)).await;
        assert!(task.exit().await.oom_killed);
        let mut event = soon(events.next()).await.unwrap();
        // The first says what is run.
        while !event.message.to_lowercase().contains("memory") {
            event = soon(events.next()).await.unwrap();
        }
        assert_eq!((event.task_id.as_str(), event.task_name.as_str()), (task.id(), "web"));
        assert_eq!(event.alloc_id, task.config.alloc_id);
    })
    .await;
}

#[tokio::test]
async fn a09_what_nomads_figures_have_no_place_for_is_told_when_a_task_is_inspected() {
    of_yurt("A09", "it tells the process id at most", async |node| {
        // More than fits into its memory is read back from the disk, where there is one.
        let text = "dd if=/dev/zero of=$NOMAD_TASK_DIR/data bs=1M count=4 conv=fsync 2>/dev/null; sleep 600 & sleep 600 & echo ready; wait";
        let task = node.run(Program::shell(text)).await;
        task.ready().await;
        until("all run", || task.processes().iter().filter(|pid| name(**pid) == "sleep").count() == 2).await;
        let attributes = task.inspect().await.attributes;
        let figure = |name: &str| attributes.get(name).map(|value| value.parse::<u64>().unwrap());
        assert!(figure("pids.current").unwrap() >= 3, "{attributes:?}");
        assert_eq!(figure("memory.oom_kills"), Some(0), "{attributes:?}");
        assert!(figure("cpu.throttled_periods").is_some() && figure("cpu.throttled_ns").is_some(), "{attributes:?}");
        let on_v2 = Hierarchy::here() == Hierarchy::V2;
        assert!(figure(if on_v2 { "io.written_bytes" } else { "io.read_bytes" }).is_some(), "{attributes:?}");
        // Not every kernel knows it.
        assert!(figure("pids.peak").is_none_or(|peak| peak >= 3), "{attributes:?}");
        for what in ["cpu", "memory", "io"] {
            let some = figure(&format!("{what}.pressure.some_us"));
            assert_eq!(some.is_some(), on_v2 && knows_pressure(), "{what}: {attributes:?}");
        }
        task.stop(Duration::from_secs(1), "SIGKILL").await.unwrap();
        assert_eq!(task.inspect().await.attributes.into_keys().collect::<Vec<_>>(), ["pid"]);
    })
    .await;
}

#[tokio::test]
async fn a09_figures_of_tasks_are_served_where_the_operator_says() {
    of_yurt("A09", "it serves none", async |node| {
        let socket = node.dir().join("figures.sock");
        let config = node.subject.plugin_config_with(&format!("metrics = \"unix:{}\"", socket.display()));
        node.configure(&config).await.unwrap();
        let task = node.run(Program::shell("echo ready; exec sleep 600")).await;
        task.ready().await;
        let ended = node.run(Program::shell("exit 0")).await;
        ended.exit().await;
        until("a socket", || socket.exists()).await;
        let text = scraped(&socket);
        let own = format!("alloc_id=\"{}\",task=\"web\"", task.config.alloc_id);
        for line in [
            "yurt_tasks{state=\"running\"} 1".to_owned(),
            "yurt_tasks{state=\"ended\"} 1".to_owned(),
            "yurt_tasks_orphaned 0".to_owned(),
            format!("yurt_task_oom_kills_total{{{own}}} 0"),
        ] {
            assert!(text.lines().any(|one| one == line), "{line} is not in {text}");
        }
        for begin in [
            format!("yurt_task_pids{{{own}}} "),
            format!("yurt_task_cpu_seconds_total{{{own},mode=\"user\"}} "),
            format!("yurt_task_io_bytes_total{{{own},direction=\"read\"}} "),
        ] {
            assert!(text.lines().any(|one| one.starts_with(&begin)), "{begin} is not in {text}");
        }
        if Hierarchy::here() == Hierarchy::V2 && knows_pressure() {
            let pressure = format!("yurt_task_pressure_seconds_total{{{own},for=\"memory\",kind=\"full\"}} ");
            assert!(text.lines().any(|one| one.starts_with(&pressure)), "{text}");
        }
    })
    .await;
}

/// Some kernels do not count it unless they are told to.
fn knows_pressure() -> bool {
    std::fs::read("/proc/pressure/cpu").is_ok()
}

fn scraped(socket: &std::path::Path) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
