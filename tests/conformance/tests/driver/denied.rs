//! What operators deny to every task: ids of users and groups, variables.

use yurt_conformance::driver::{Flavour, Node, Program, Request, Subject, each, of_yurt, refused};

use crate::said::{nothing_came_of_it, said};

/// The plugin's configuration with these ids denied: in the driver's own words, where it has some, else in the host's.
fn denying(subject: Subject, kind: &str, ids: &str) -> String {
    match subject.flavour {
        Flavour::Python => subject.plugin_config_with(&format!("denied_{kind} = \"{ids}\"")),
        _ => format!("{}\ndenied_host_{kind} = \"{ids}\"", subject.plugin_config()),
    }
}

async fn configured(node: &mut Node, kind: &str, ids: &str) -> Result<(), String> {
    let config = denying(node.subject, kind, ids);
    node.configure(&config).await.map_err(|why| why.to_string())
}

const REVERSED: &str = "lower bound cannot be greater than upper bound";

#[tokio::test]
async fn b05_a_bad_range_in_a_second_configuration_is_named() {
    each("B05", async |node| {
        let why = configured(node, "uids", "10-1").await.unwrap_err();
        assert!(why.contains(REVERSED) && why.contains("10-1"), "{why}");
    })
    .await;
}

#[tokio::test]
async fn b06_denied_ids_are_none_or_ranges_and_reversed_ones_are_refused() {
    each("B06", async |node| {
        for kind in ["uids", "gids"] {
            for ids in ["", "1-10"] {
                configured(node, kind, ids).await.unwrap();
            }
            let why = configured(node, kind, "1-5,10-1").await.unwrap_err();
            assert!(why.contains(REVERSED), "{why}");
        }
    })
    .await;
}

#[tokio::test]
async fn b07_ranges_of_ids_are_single_ones_and_pairs_of_numbers() {
    each("B07", async |node| {
        for ids in ["0", "1-10,65534", "7-7", "4294967294"] {
            configured(node, "uids", ids).await.unwrap();
        }
        for ids in ["x", "-1", "1-", "4294967296", "1,", "1-x"] {
            let why = configured(node, "uids", ids).await.unwrap_err();
            assert!(why.contains("range bound not valid"), "{ids}: {why}");
        }
        if node.is_yurt() {
            configured(node, "gids", " 1-10, 65534 ").await.unwrap();
            assert!(configured(node, "gids", "1 - 2 - 3").await.is_err());
        }
    })
    .await;
}

#[tokio::test]
async fn s16_nobody_runs_as_a_denied_user_or_group_whether_the_job_names_one_or_not() {
    each("S16", async |node| {
        configured(node, "uids", "0,65530-65534").await.unwrap();
        let without_a_word = if node.subject.flavour == Flavour::RawExec { 0 } else { 65534 };
        for (request, uid) in [
            (Request::of(Program::idle()).user("nobody"), 65534),
            (Request::of(Program::idle()).user("root"), 0),
            (Request::of(Program::idle()), without_a_word),
        ] {
            let (_, why, recoverable) = refused(node.try_run(request).await);
            let said = format!("running as uid {uid} is disallowed");
            // Root beside the host's files is refused before that.
            let root = uid == 0 && why.contains("root_without_isolation");
            assert!((why.contains(&said) || root) && !recoverable, "{why}");
        }
        configured(node, "gids", "65534").await.unwrap();
        let (_, why, _) = refused(node.try_run(Request::of(Program::idle()).user("nobody")).await);
        assert!(why.contains("running as gid 65534 is disallowed"), "{why}");
        nothing_came_of_it(node).await;
        configured(node, "uids", "0-65533").await.unwrap();
        node.run(Program::idle()).await.ready().await;
    })
    .await;
}

#[tokio::test]
async fn s16_the_host_s_own_word_holds_beside_the_guest_s() {
    of_yurt("S16", "it has no host", async |node| {
        let subject = node.subject;
        node.configure(&subject.plugin_config_with("denied_uids = \"65534\"")).await.unwrap();
        let (_, why, _) = refused(node.try_run(Program::idle()).await);
        assert!(why.contains("running as uid 65534 is disallowed: the yurt block"), "{why}");
        let reversed = subject.plugin_config_with("denied_gids = \"2-1\"");
        let why = node.configure(&reversed).await.unwrap_err().to_string();
        assert!(why.contains("yurt.denied_gids") && why.contains(REVERSED), "{why}");
    })
    .await;
}

#[tokio::test]
async fn s17_variables_that_the_operator_denies_reach_no_task() {
    of_yurt("S17", "it has keys of its own for that", async |node| {
        let config = node.subject.plugin_config_with("env_deny = [\"AWS_*\", \"TOKEN\"]");
        node.configure(&config).await.unwrap();
        let program = Program::shell("echo \"<$AWS_KEY$AWS_$TOKEN> $AWS $TOKENS $OTHER\"");
        let request = Request::of(program)
            .env("AWS_KEY", "a")
            .env("AWS_", "b")
            .env("TOKEN", "c")
            .env("AWS", "one")
            .env("TOKENS", "two")
            .env("OTHER", "three");
        assert_eq!(said(node, request).await, "<> one two three\n");
    })
    .await;
}

#[tokio::test]
async fn s16_a_namespace_may_be_denied_or_have_grants_of_its_own() {
    of_yurt("S16", "it knows no namespaces", async |node| {
        let rules =
            "namespace {\nname = \"sand*\"\ndeny = true\n}\nnamespace {\nname = \"prod\"\ngrants {\nusers = []\n}\n}";
        let config = node.subject.plugin_config_with(rules);
        node.configure(&config).await.unwrap();
        for (namespace, said) in [
            ("sandbox", "jobs of the namespace \"sandbox\" may not use this driver"),
            ("prod", "yurt.grants.users has nobody at all (of yurt.namespace \"prod\", not of all)"),
        ] {
            let site = node.site(false);
            let mut config = node.task_config(&site, &Request::of(Program::idle()));
            config.namespace = namespace.to_owned();
            let (_, why, recoverable) = refused(node.start_at(&site, config).await);
            assert!(why.contains(said) && !recoverable, "{why}");
        }
        nothing_came_of_it(node).await;
        node.run(Program::idle()).await.ready().await;
    })
    .await;
}
