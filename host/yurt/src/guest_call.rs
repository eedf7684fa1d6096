//! Calls into a guest from the thread of the wire, which must not wait for them.

use yurt_guest::GuestError;
use yurt_nomad::driver::PluginError;

/// Calls on a thread for calls that block. A guest's fault is nobody's input: trying again with the next version of it may help, with
/// this one it does not.
pub(crate) async fn asked<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, GuestError> + Send + 'static,
) -> Result<T, PluginError> {
    blocking(call).await?.map_err(|why| PluginError::internal(why.to_string()))
}

/// The same where the guest's fault matters to the caller.
pub(crate) async fn blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> Result<T, PluginError> {
    let lost = |why| PluginError::internal(format!("the guest's call was lost: {why}"));
    tokio::task::spawn_blocking(call).await.map_err(lost)
}
