//! What a component sees of the host: its directories.

use std::os::unix::fs::symlink;

use crate::stage::{asked, asked_with, on_a_node, said, site};
use yurt_nomad::driver::ExitResult;

#[tokio::test]
async fn a_component_has_its_directories_and_cannot_write_its_secrets() {
    on_a_node(async |node| {
        assert_eq!(said(node, &asked(&["directories"])).await, "/alloc /local /secrets /tmp\n");
        assert_eq!(said(node, &asked_with(&["directories"], "directories = [\"local\"]")).await, "/local\n");
        let site = site(node);
        site.put("secrets/token", "s3cret");
        for (words, want) in [
            (["read", "/secrets/token", ""], "s3cret\n"),
            (["write", "/secrets/token", "other"], "not written: not-permitted\n"),
            (["write", "/alloc/data/result", "done"], "written\n"),
            (["write", "/tmp/scratch", "x"], "written\n"),
        ] {
            let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
            let config = node.task_config(&site, &asked(&words));
            let task = node.start_at(&site, config).await.unwrap();
            assert_eq!(task.exit().await, ExitResult::code(0));
            task.stdout().says(want).await;
        }
        assert_eq!(std::fs::read_to_string(site.alloc_dir.join("alloc/data/result")).unwrap(), "done");
        assert_eq!(std::fs::read_to_string(site.task_dir().join("secrets/token")).unwrap(), "s3cret");
    })
    .await;
}

#[tokio::test]
async fn no_path_and_no_link_leads_a_component_out_of_its_directories() {
    on_a_node(async |node| {
        let site = site(node);
        let local = site.task_dir().join("local");
        symlink("/etc/passwd", local.join("absolute")).unwrap();
        symlink("../../../../../../../../etc/passwd", local.join("relative")).unwrap();
        // Another task of the same allocation.
        std::fs::create_dir_all(site.alloc_dir.join("other/secrets")).unwrap();
        std::fs::write(site.alloc_dir.join("other/secrets/token"), "theirs").unwrap();
        symlink("../../other/secrets/token", local.join("neighbour")).unwrap();
        for path in [
            "/local/absolute",
            "/local/relative",
            "/local/neighbour",
            "/local/../../../../../../../../etc/passwd",
            "/local/../../other/secrets/token",
            "/etc/passwd",
        ] {
            let config = node.task_config(&site, &asked(&["read", path]));
            let task = node.start_at(&site, config).await.unwrap();
            assert_eq!(task.exit().await, ExitResult::code(0));
            task.stdout().says("not read: ").await;
            let text = task.stdout().text();
            assert!(!text.contains("root:") && !text.contains("theirs"), "{path}: {text}");
        }
    })
    .await;
}
