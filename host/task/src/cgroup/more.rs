//! What a task's control groups know beyond what Nomad asks for: how long it waited for what it lacked, what it read and wrote, how many
//! processes it had at most.

use super::dir::Dir;
use super::{Groups, of};
use crate::stats::{Io, More, Pressure, Waits};

impl Groups {
    /// Reads what there is to read; what is missing is `None`. Version 1 knows nothing of pressure.
    pub(crate) fn more(&self) -> More {
        match self {
            Groups::None => More::default(),
            Groups::V2(path) => Dir::open(path).map(|dir| v2(&dir)).unwrap_or_default(),
            Groups::V1(groups) => {
                let open = |controller| of(groups, controller).and_then(|path| Dir::open(path).ok());
                More {
                    pids_peak: open("pids").and_then(|dir| dir.number("pids.peak")),
                    io: open("blkio").and_then(|dir| io_v1(&dir)),
                    ..More::default()
                }
            }
        }
    }
}

fn v2(dir: &Dir) -> More {
    let pressure = |file: &str| dir.read(file).ok().map(|text| waits(&text));
    More {
        pids_peak: dir.number("pids.peak"),
        io: dir.read("io.stat").ok().map(|text| io_v2(&text)),
        pressure: Pressure {
            cpu: pressure("cpu.pressure"),
            memory: pressure("memory.pressure"),
            io: pressure("io.pressure"),
        },
    }
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same of `full`.
fn waits(text: &str) -> Waits {
    let total = |kind: &str| {
        let line = text.lines().find(|line| line.starts_with(kind))?;
        line.split(' ').find_map(|word| word.strip_prefix("total="))?.parse().ok()
    };
    Waits { some_micros: total("some ").unwrap_or_default(), full_micros: total("full ").unwrap_or_default() }
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0`, for each device.
fn io_v2(text: &str) -> Io {
    let sum = |key: &str| {
        let values =
            text.split([' ', '\n']).filter_map(|word| word.strip_prefix(key)?.strip_prefix('=')?.parse::<u64>().ok());
        values.fold(0, u64::saturating_add)
    };
    Io { read_bytes: sum("rbytes"), written_bytes: sum("wbytes"), reads: sum("rios"), writes: sum("wios") }
}

/// `8:0 Read 1`, for each device and kind, of the group and those below it.
fn io_v1(dir: &Dir) -> Option<Io> {
    let read = |file: &str| dir.read(&format!("{file}_recursive")).or_else(|_| dir.read(file)).ok();
    let sum = |text: &str, kind: &str| {
        let lines =
            text.lines().filter_map(|line| line.split_once(' ')?.1.strip_prefix(kind)?.trim().parse::<u64>().ok());
        lines.fold(0, u64::saturating_add)
    };
    let (bytes, count) = (read("blkio.throttle.io_service_bytes")?, read("blkio.throttle.io_serviced")?);
    Some(Io {
        read_bytes: sum(&bytes, "Read "),
        written_bytes: sum(&bytes, "Write "),
        reads: sum(&count, "Read "),
        writes: sum(&count, "Write "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_and_devices_are_read_as_the_kernel_writes_them() {
        let text =
            "some avg10=1.50 avg60=0.00 avg300=0.00 total=1702612273\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
        assert_eq!(waits(text), Waits { some_micros: 1_702_612_273, full_micros: 7 });
        assert_eq!(waits("some avg10=0.00 avg60=0.00 avg300=0.00 total=3\n"), Waits { some_micros: 3, full_micros: 0 });
        let text = "8:16 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n8:0 rbytes=5 wbytes=0 rios=1 wios=0 dbytes=9 dios=9\n";
        assert_eq!(io_v2(text), Io { read_bytes: 15, written_bytes: 20, reads: 2, writes: 2 });
        assert_eq!(io_v2(""), Io::default());
    }

    #[test]
    fn version_1_counts_by_kind() {
        let dir = tempfile::tempdir().unwrap();
        let lines = "8:0 Read 4096\n8:0 Write 100\n8:0 Sync 4196\n8:0 Total 4196\n8:16 Read 4\nTotal 4200\n";
        for file in ["blkio.throttle.io_service_bytes_recursive", "blkio.throttle.io_serviced"] {
            std::fs::write(dir.path().join(file), lines).unwrap();
        }
        let io = io_v1(&Dir::open(dir.path()).unwrap()).unwrap();
        assert_eq!(io, Io { read_bytes: 4100, written_bytes: 100, reads: 4100, writes: 100 });
    }
}
