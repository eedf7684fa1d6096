//! The node's Java, by what it says of itself: `java -version` prints three lines, on stderr.

use yurt_sdk::driver::{Findings, Probe, Trouble};

/// What was found.
pub(crate) struct Jvm<'a> {
    /// Where it really is: a task's root holds that file, and perhaps not the links to it.
    pub(crate) path: &'a str,
    /// None: it speaks in another way.
    pub(crate) banner: Option<Banner<'a>>,
}

/// The three lines.
#[derive(Debug, PartialEq)]
pub(crate) struct Banner<'a> {
    pub(crate) version: &'a str,
    pub(crate) runtime: &'a str,
    pub(crate) vm: &'a str,
}

/// Why there is none, in one clause; it may be there another time, or is not there at all.
pub(crate) enum Lack {
    NotNow(String),
    NotThere(String),
}

/// Without the options it would set memory aside by the node's size, more than a probe may have.
pub(crate) fn probe() -> Probe {
    Probe::run("java", &["java", "-Xmx16m", "-XX:+UseSerialGC", "-version"])
}

pub(crate) fn found(findings: Findings<'_>) -> Result<Jvm<'_>, Lack> {
    match findings.output("java") {
        Some(Ok(said)) if said.exit_code == 0 => {
            let banner = banner(&said.stderr).or_else(|| banner(&said.stdout));
            Ok(Jvm { path: &said.resolved, banner })
        }
        Some(Ok(said)) => {
            let line = said.stderr.lines().chain(said.stdout.lines()).find(|line| !line.trim().is_empty());
            let (path, code, line) = (&said.resolved, said.exit_code, line.unwrap_or("it says nothing"));
            Err(Lack::NotThere(format!("{path} -version ended with code {code}: {line}")))
        }
        Some(Err(trouble @ Trouble::Absent(_))) => Err(Lack::NotThere(trouble.why().into())),
        Some(Err(trouble)) => Err(Lack::NotNow(trouble.why().into())),
        None => Err(Lack::NotNow("java was not looked for".into())),
    }
}

fn banner(text: &str) -> Option<Banner<'_>> {
    let mut lines = text.trim().lines().map(str::trim).skip_while(|line| line.starts_with("Picked up "));
    let (first, runtime, vm) = (lines.next()?, lines.next()?, lines.next()?);
    let is_part = |c: char| c.is_ascii_digit() || matches!(c, '.' | '_');
    let version = first.split(|c| !is_part(c)).find(|part| !part.is_empty()).unwrap_or(first);
    Some(Banner { version, runtime, vm })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn banners_of_all_kinds_are_read_as_nomad_reads_them() {
        for (text, version, runtime, vm) in [
            (
                "java version \"1.7.0_80\"\n\tJava(TM) SE Runtime Environment (build 1.7.0_80-b15)\n\tJava HotSpot(TM) 64-Bit Server VM (build 24.80-b11, mixed mode)",
                "1.7.0_80",
                "Java(TM) SE Runtime Environment (build 1.7.0_80-b15)",
                "Java HotSpot(TM) 64-Bit Server VM (build 24.80-b11, mixed mode)",
            ),
            (
                "Picked up _JAVA_OPTIONS: -Xmx2048m -Xms512m\nPicked up JAVA_TOOL_OPTIONS: -Xmx1\nopenjdk version \"11.0.1\" 2018-10-16\nOpenJDK Runtime Environment 18.9 (build 11.0.1+13)\nOpenJDK 64-Bit Server VM 18.9 (build 11.0.1+13, mixed mode)\n",
                "11.0.1",
                "OpenJDK Runtime Environment 18.9 (build 11.0.1+13)",
                "OpenJDK 64-Bit Server VM 18.9 (build 11.0.1+13, mixed mode)",
            ),
            (
                "openjdk version \"1.8.0_192\"\nOpenJDK Runtime Environment (build 1.8.0_192-b12_openj9)\nEclipse OpenJ9 VM (build openj9-0.11.0, JRE 1.8.0 Linux amd64-64-Bit Compressed References\n20181107_95 (JIT enabled, AOT enabled)\nOpenJ9 - 090ff9dcd",
                "1.8.0_192",
                "OpenJDK Runtime Environment (build 1.8.0_192-b12_openj9)",
                "Eclipse OpenJ9 VM (build openj9-0.11.0, JRE 1.8.0 Linux amd64-64-Bit Compressed References",
            ),
            (
                "openjdk 11.0.11 2021-04-20 LTS\nOpenJDK Runtime Environment 18.9 (build 11.0.11+9-LTS)\nOpenJDK 64-Bit Server VM 18.9 (build 11.0.11+9-LTS, mixed mode, sharing)",
                "11.0.11",
                "OpenJDK Runtime Environment 18.9 (build 11.0.11+9-LTS)",
                "OpenJDK 64-Bit Server VM 18.9 (build 11.0.11+9-LTS, mixed mode, sharing)",
            ),
        ] {
            assert_eq!(banner(text), Some(Banner { version, runtime, vm }));
        }
        assert_eq!(banner("unexpected java -version output"), None);
        assert_eq!(banner(""), None);
    }
}
