//! Reads sysfs for the watcher, on a thread of its own: strings and the configuration are read under the device's lock,
//! which the kernel holds while a driver binds, and a sick device can make that take half a minute.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{Sender, channel},
    },
    time::Instant,
};

use super::{inbox::Inbox, worker::Worker};
use crate::{facts::Device, reader::Reader};

/// What is to be looked at.
#[derive(Debug)]
pub(super) enum Look {
    /// Everything.
    Full,
    /// These devices only.
    Some(Vec<String>),
}

/// What was seen.
#[derive(Debug)]
pub(super) enum Seen {
    /// All devices, or why there is no bus.
    Full(Result<Vec<Device>, String>),
    /// Each device asked for, or that it is not there.
    Some(Vec<(String, Option<Device>)>),
}

/// The answer to a look.
#[derive(Debug)]
pub(super) struct Looked {
    pub(super) started: Instant,
    pub(super) seen: Seen,
}

/// Where looks are ordered. Dropping it ends the thread.
#[derive(Debug)]
pub(super) struct Looker(Sender<Look>);

impl Looker {
    pub(super) fn start(reader: Arc<Reader>, inbox: Arc<Inbox>) -> io::Result<(Self, Worker)> {
        let (orders, received) = channel();
        let worker = Worker::spawn("usb-look", move || {
            for look in received {
                let started = Instant::now();
                let seen = match look {
                    Look::Full => Seen::Full(reader.all()),
                    Look::Some(keys) => {
                        Seen::Some(keys.into_iter().map(|key| (reader.one(&key), key)).map(|(d, k)| (k, d)).collect())
                    }
                };
                inbox.put(|news| news.looked = Some(Looked { started, seen }));
            }
        })?;
        Ok((Self(orders), worker))
    }

    /// Orders a look; the answer comes to the inbox. One at a time.
    pub(super) fn order(&self, look: Look) {
        // Without a thread that listens, the watcher is ending.
        let _ = self.0.send(look);
    }
}
