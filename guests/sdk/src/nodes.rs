//! Device nodes: the usual grant.

use crate::facts::UsbDevice;
use crate::offer::NodeGrant;

/// Every node of a device, for reading and writing, at the host's path, without the right to make nodes.
pub fn all_of(device: &UsbDevice) -> impl Iterator<Item = NodeGrant> {
    let count = u32::try_from(device.nodes.len()).unwrap_or(u32::MAX);
    (0..count).map(|node| NodeGrant {
        member: device.key.clone(),
        node,
        task_path: None,
        read: true,
        write: true,
        mknod: false,
    })
}
