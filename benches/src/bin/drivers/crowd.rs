//! Many tasks at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::task::JoinSet;
use yurt_benches::{mebibytes, meter, milliseconds};
use yurt_conformance::driver::{Site, processes_of, soon, status_field};
use yurt_nomad::driver::TaskConfig;

use crate::program::Words;
use crate::side::Side;
use crate::thing::Thing;
use crate::turn;

/// What a start leaves behind in a plugin is over by then.
const QUIET: Duration = Duration::from_secs(1);
/// How long they are watched.
const IDLE_FOR: Duration = Duration::from_secs(10);
/// Idle tasks that are started at the same moment: they are measured later.
const AT_ONCE: usize = 20;
/// Idle tasks of which all processes are looked for: each look is one at all processes of the machine.
const LOOKED_AT: usize = 100;
/// What the idle tasks are in the end.
const IDLE: Words<'_> = Words::shell("echo ready; exec sleep 600");
const IDLE_NAME: &str = "sleep";

/// Each ends at once, with a number of its own.
pub(crate) async fn short_lived(side: &mut Side, count: usize) -> Result<()> {
    let mut tasks = Vec::new();
    for number in 0..count {
        let code = i32::try_from(number % 100)? + 3;
        let (_, config) = prepared(side, Words::shell(&format!("exit {code}")));
        tasks.push((code, config));
    }
    let mut running = JoinSet::new();
    let began = Instant::now();
    for (code, config) in tasks {
        let mut driver = side.node.driver.clone();
        running.spawn(async move {
            soon(driver.start(&config)).await?;
            let started = began.elapsed();
            let result = soon(driver.wait(&config.id)).await?;
            let ended = began.elapsed();
            anyhow::Ok((config.id, code, result, started, ended))
        });
    }
    let mut ids = Vec::new();
    let (mut started, mut ended) = (Duration::ZERO, Duration::ZERO);
    while let Some(task) = running.join_next().await {
        let (id, code, result, its_start, its_end) = task??;
        side.ended_with(code, &result)?;
        (started, ended) = (started.max(its_start), ended.max(its_end));
        ids.push(id);
    }
    side.measured.add(Thing::CrowdStarted, started);
    side.measured.add(Thing::CrowdEnded, ended);
    destroy(side, ids).await
}

/// All stay; what they and their driver need meanwhile.
pub(crate) async fn idle(side: &mut Side, count: usize) -> Result<()> {
    let tasks: Vec<(Arc<Site>, TaskConfig)> = (0..count).map(|_| prepared(side, IDLE)).collect();
    for some in tasks.chunks(AT_ONCE) {
        let mut running = JoinSet::new();
        for (_, config) in some {
            let (mut driver, config) = (side.node.driver.clone(), config.clone());
            running.spawn(async move { soon(driver.start(&config)).await });
        }
        for started in running.join_all().await {
            started?;
        }
    }
    for (site, _) in &tasks {
        site.stdout.says("ready").await;
    }
    tokio::time::sleep(QUIET).await;

    let plugin = side.node.plugin_pid();
    let (resident, share) = meter::memory(plugin).context("the plugin ended")?;
    side.measured.put(Thing::PluginResident, mebibytes(resident << 10));
    side.measured.put(Thing::PluginShare, mebibytes(share << 10));
    let mut all_helpers = Vec::new();
    for (site, _) in tasks.iter().take(LOOKED_AT) {
        let mut of_the_task = processes_of(&site.alloc_id);
        of_the_task.retain(|pid| *pid != plugin);
        let (tasks, helpers): (Vec<u32>, Vec<u32>) =
            of_the_task.into_iter().partition(|pid| status_field(*pid, "Name").as_deref() == Some(IDLE_NAME));
        ensure!(tasks.len() == 1 && !helpers.is_empty(), "of a task: {tasks:?}, beside it: {helpers:?}");
        let memory = helpers.iter().map(|pid| meter::memory(*pid)).collect::<Option<Vec<_>>>();
        let memory = memory.context("a helper ended")?;
        side.measured.put(Thing::Helpers, f64::from(u32::try_from(helpers.len())?));
        side.measured.put(Thing::HelpersResident, mebibytes(memory.iter().map(|(resident, _)| resident << 10).sum()));
        side.measured.put(Thing::HelpersShare, mebibytes(memory.iter().map(|(_, share)| share << 10).sum()));
        all_helpers.extend(helpers);
    }
    let times = tasks.len() as f64 / tasks.len().min(LOOKED_AT) as f64;
    nothing_to_do(side, plugin, &all_helpers, times).await;
    figures(side, plugin, &tasks).await?;
    turn::beside(side).await?;
    destroy(side, tasks.into_iter().map(|(_, config)| config.id).collect()).await
}

/// What is spent while nothing happens. There are so many `times` as many helpers.
async fn nothing_to_do(side: &mut Side, plugin: u32, helpers: &[u32], times: f64) {
    let spent = || (meter::cpu(plugin), helpers.iter().map(|pid| meter::cpu(*pid)).sum::<Duration>());
    let (plugin_before, helpers_before) = spent();
    tokio::time::sleep(IDLE_FOR).await;
    let (plugin_after, helpers_after) = spent();
    let a_minute = 60.0 / IDLE_FOR.as_secs_f64();
    side.measured.put(Thing::IdlePlugin, milliseconds(plugin_after.saturating_sub(plugin_before)) * a_minute);
    side.measured
        .put(Thing::IdleHelpers, milliseconds(helpers_after.saturating_sub(helpers_before)) * a_minute * times);
}

/// All tasks' figures, asked for at the same moment.
async fn figures(side: &mut Side, plugin: u32, tasks: &[(Arc<Site>, TaskConfig)]) -> Result<()> {
    let before = meter::cpu(plugin);
    let began = Instant::now();
    let mut asked = JoinSet::new();
    for (_, config) in tasks {
        let (mut driver, id) = (side.node.driver.clone(), config.id.clone());
        asked.spawn(async move {
            let mut figures = soon(driver.stats(&id, Duration::from_secs(1))).await?;
            soon(figures.next()).await?.context("no figures")
        });
    }
    for figures in asked.join_all().await {
        let memory = figures?.total.memory;
        ensure!(memory.usage.or(memory.rss).is_some_and(|bytes| bytes > 0), "figures that say nothing: {memory:?}");
    }
    side.measured.add(Thing::AllFigures, began.elapsed());
    side.measured.add(Thing::AllFiguresProcessor, meter::cpu(plugin).saturating_sub(before));
    Ok(())
}

fn prepared(side: &mut Side, words: Words<'_>) -> (Arc<Site>, TaskConfig) {
    let request = side.request(words).memory(64);
    let site = side.node.site(false);
    let config = side.node.task_config(&site, &request);
    (site, config)
}

async fn destroy(side: &mut Side, ids: Vec<String>) -> Result<()> {
    for id in ids {
        soon(side.node.driver.destroy(&id, true)).await?;
    }
    side.clear().await;
    Ok(())
}
