//! What a component sees of the host: its directories.

use std::os::unix::fs::symlink;
use std::sync::Arc;

use yurt_conformance::driver::{Node, Site};
use yurt_nomad::driver::ExitResult;

use crate::stage::{asked, asked_with, on_a_node, said, site};

/// Runs it in a place of its own, which this prepares; what it printed, and the place.
async fn said_at(node: &mut Node, words: &[&str], prepare: impl FnOnce(&Site)) -> (String, Arc<Site>) {
    let site = site(node);
    prepare(&site);
    let config = node.task_config(&site, &asked(words));
    let task = node.start_at(&site, config).await.unwrap();
    assert_eq!(task.exit().await, ExitResult::code(0), "{}", task.stderr().text());
    task.destroy(true).await.unwrap();
    (task.stdout().whole().await, site)
}

#[tokio::test]
async fn a_component_has_its_directories_and_cannot_write_its_secrets() {
    on_a_node(async |node| {
        assert_eq!(said(node, &asked(&["directories"])).await, "/alloc /local /secrets /tmp\n");
        assert_eq!(said(node, &asked_with(&["directories"], "directories = [\"local\"]")).await, "/local\n");
        let secret = |site: &Site| site.put("secrets/token", "s3cret");
        assert_eq!(said_at(node, &["read", "/secrets/token"], secret).await.0, "s3cret\n");
        let (text, site) = said_at(node, &["write", "/secrets/token", "other"], secret).await;
        assert_eq!(text, "not written: not-permitted\n");
        assert_eq!(std::fs::read_to_string(site.task_dir().join("secrets/token")).unwrap(), "s3cret");
        let (text, site) = said_at(node, &["write", "/alloc/data/result", "done"], |_| ()).await;
        assert_eq!(text, "written\n");
        assert_eq!(std::fs::read_to_string(site.alloc_dir.join("alloc/data/result")).unwrap(), "done");
        assert_eq!(said_at(node, &["write", "/tmp/scratch", "x"], |_| ()).await.0, "written\n");
    })
    .await;
}

#[tokio::test]
async fn no_path_and_no_link_leads_a_component_out_of_its_directories() {
    on_a_node(async |node| {
        for path in [
            "/local/absolute",
            "/local/relative",
            "/local/neighbour",
            "/local/../../../../../../../../etc/passwd",
            "/local/../../other/secrets/token",
            "/etc/passwd",
        ] {
            let (text, _) = said_at(node, &["read", path], |site| {
                let local = site.task_dir().join("local");
                symlink("/etc/passwd", local.join("absolute")).unwrap();
                symlink("../../../../../../../../etc/passwd", local.join("relative")).unwrap();
                // Another task of the same allocation.
                std::fs::create_dir_all(site.alloc_dir.join("other/secrets")).unwrap();
                std::fs::write(site.alloc_dir.join("other/secrets/token"), "theirs").unwrap();
                symlink("../../other/secrets/token", local.join("neighbour")).unwrap();
                // What it would find, were it let.
                assert!(std::fs::read_to_string(local.join("neighbour")).unwrap() == "theirs");
            })
            .await;
            assert!(text.starts_with("not read: "), "{path}: {text}");
        }
    })
    .await;
}
