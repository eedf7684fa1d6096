//! Much output through a command in a task.

use std::time::Instant;

use anyhow::{Result, ensure};
use yurt_conformance::driver::soon;
use yurt_nomad::client::ExecAnswer;
use yurt_nomad::driver::ExecInput;

use crate::program::Words;
use crate::side::Side;
use crate::thing::Thing;

const BYTES: usize = 100_000_000;

/// From the request until the command's end is told, all bytes there.
pub(crate) async fn much_output(side: &mut Side) -> Result<()> {
    let request = side.request(Words::shell("echo ready; exec sleep 600"));
    let task = side.node.run(request).await;
    task.ready().await;
    let began = Instant::now();
    let mut session = task.stream(&["/usr/bin/head", "-c", &BYTES.to_string(), "/dev/zero"], false).await;
    // Nomad's drivers wait for the end of the input after that of the command.
    session.send(ExecInput::CloseStdin).await;
    let (mut bytes, mut code) = (0, None);
    while let Some(answer) = soon(session.next()).await? {
        match answer {
            ExecAnswer::Output(_, some) => bytes += some.len(),
            ExecAnswer::Exited(exit) => code = Some(exit.code),
            ExecAnswer::Closed(_) => {}
        }
    }
    side.measured.add(Thing::Bulk, began.elapsed());
    ensure!(bytes == BYTES && code == Some(0), "{bytes} bytes, code {code:?}");
    task.destroy(true).await?;
    side.clear().await;
    Ok(())
}
