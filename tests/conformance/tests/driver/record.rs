//! A recording of a driver's calls: what jobs say is in it only where the operator asks for that.

use yurt_conformance::driver::{Program, of_python, quoted, until};
use yurt_nomad::driver::ExitResult;

#[tokio::test]
async fn l09_what_a_job_says_is_recorded_only_where_that_is_asked_for() {
    of_python("L09", "it records nothing", async |node| {
        for secrets in [false, true] {
            let record = node.dir().join(format!("record-{secrets}"));
            let isolation = format!("isolation = {}\n", quoted(node.subject.isolation.name()));
            let place = quoted(&record.display().to_string());
            let config = format!("yurt {{\n{isolation}record = {place}\nrecord_secrets = {secrets}\n}}");
            node.configure(&config).await.unwrap_or_else(|why| panic!("{why}"));
            let job = "code = \"import sys; print(sys.argv[1])\"\nscript_args = [\"hunter2\"]";
            let task = node.run(Program::config(job)).await;
            assert_eq!(task.exit().await, ExitResult::code(0));
            task.stdout().says("hunter2").await;
            task.destroy(true).await.unwrap();
            let wrong = node.try_run(Program::config("code = \"pass\"\nscript = \"hunter2.py\"")).await;
            assert!(wrong.is_err());

            let file = std::fs::read_dir(&record).unwrap().next().unwrap().unwrap().path();
            let text = || std::fs::read_to_string(&file).unwrap();
            until("the calls are written", || text().matches("\"call\":\"check-task\"").count() >= 2).await;
            let text = text();
            assert!(text.contains("\"call\":\"plan\"") && text.contains("\"task-name\""), "{text}");
            assert_eq!(text.contains("hunter2"), secrets, "{text}");
            assert_eq!(text.contains("\"redacted\":true"), !secrets, "{text}");
        }
    })
    .await;
}
