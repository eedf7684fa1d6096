//! The acceptance list as a table: row, tests, where they hold. Made of `acceptance/rows.txt`, of `acceptance/peers.txt`, and of the tests
//! that the source has.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use crate::driver::{EXCUSES, Flavour, IN_EVERY_MODE, Isolation, excuse};

const ROWS: &str = include_str!("../acceptance/rows.txt");

/// Where a row is run: the functions of `yurt_conformance::driver`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    Each,
    InARoot,
    InTheHostsFiles,
    OfYurt,
    OfPython,
    OfYurtExec,
    OfYurtRawExec,
    With(Isolation),
}

/// A test of the source.
#[derive(Debug)]
struct Test {
    name: String,
    runs: Where,
}

/// By the first letter of a row's id.
const CHAPTERS: &[(&str, &str)] = &[
    ("B", "PluginInfo, ConfigSchema, SetConfig"),
    ("C", "TaskConfigSchema, and what is read of a job"),
    ("K", "Capabilities"),
    ("F", "Fingerprint"),
    ("S", "StartTask"),
    ("W", "WaitTask"),
    ("T", "StopTask and SignalTask"),
    ("D", "DestroyTask"),
    ("I", "InspectTask"),
    ("R", "RecoverTask"),
    ("A", "TaskStats and TaskEvents"),
    ("X", "ExecTask and ExecTaskStreaming"),
    ("L", "Launch, Init, Shutdown, and what must do no harm"),
];

const LATER: &str = "later: ";
const ELSEWHERE: &str = "elsewhere: ";

/// `docs/acceptance.md`, as it should be. `source`: the directory with the rows' tests.
pub fn table(source: &Path) -> String {
    let tests = tests(source);
    let rows: Vec<[&str; 4]> =
        ROWS.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(fields).collect();
    let mut known: Vec<String> = Vec::new();
    let mut chapters: BTreeMap<&str, String> = BTreeMap::new();
    let (mut done, mut in_part) = (0, Vec::new());
    let mut holders: Vec<String> = Vec::new();
    for [ids, whom, statement, note] in &rows {
        let range = ids_of(ids);
        let own: Vec<&Test> = range.iter().flat_map(|id| tests.get(id).into_iter().flatten()).collect();
        let (shown_at, later) = (note.strip_prefix(ELSEWHERE), note.strip_prefix(LATER));
        match (own.is_empty() && shown_at.is_none(), later) {
            (true, None) => panic!("{ids} has neither a test nor a reason"),
            (true, Some(_)) => {}
            (false, None) => done += 1,
            (false, Some(_)) => in_part.push(*ids),
        }
        let held_by = held(&range, &own);
        let row = format!("| {ids} | {whom} | {statement} | {} | {held_by} |\n", shown(&own, shown_at, later));
        holders.push(held_by);
        let (chapter, _) =
            CHAPTERS.iter().find(|(letter, _)| ids.starts_with(letter)).unwrap_or_else(|| panic!("{ids}: no chapter"));
        chapters.entry(chapter).or_default().push_str(&row);
        known.extend(range);
    }
    let strangers: Vec<&String> = tests.keys().filter(|id| !known.contains(id)).collect();
    assert!(strangers.is_empty(), "tests of rows that are not in the list: {strangers:?}");
    let bad: Vec<&str> = excuses().map(|[id, ..]| id).filter(|id| !tests.contains_key(*id)).collect();
    assert!(bad.is_empty(), "excuses for rows without a test: {bad:?}");

    let (all, part) = (rows.len(), in_part.len());
    let state = if done == all {
        format!("{all} rows: each is shown by tests.")
    } else {
        let (in_part, not_yet) = (in_part.join(", "), all - done - part);
        format!(
            "{all} rows: {done} are done, {part} in part ({in_part}), {not_yet} not yet: those have no test, and what they wait for in its \
             place, after *Later*."
        )
    };
    let mut text = format!(
        "# What a task driver must do\n\n\
         {state}\n\n\
         *Whom* a row is about: `H` the host, whatever the guest; `S` the python driver; `E` a driver like Nomad's exec, `R` one like raw_exec, \
         `J` one like java. *Held by*: `p` the python driver, `o`, `l` and `n` the same with `isolation = \"overlay\"`, `\"landlock\"` and `\"none\"`; `x` Yurt's exec driver in the same modes; `w` its raw_exec driver; `r` and `e`: Nomad's own raw_exec and \
         exec, served as plugins, pass the same tests. Where they do not is below.\n\n\
         The tests are in [tests/conformance](../tests/conformance/README.md): the built binary, launched and called as an agent does, and \
         after each test a look for what is left of its tasks. This page is made of their source and of `acceptance/` there: \
         `YURT_WRITE=1 cargo test -p yurt-conformance --test driver the_table`.\n"
    );
    text.push_str(&scores(&holders));
    for (letter, title) in CHAPTERS {
        let rows = chapters.get(letter).map_or("", String::as_str);
        let _ = write!(
            text,
            "\n## {title}\n\n| row | whom | what holds | shown by | held by |\n|---|---|---|---|---|\n{rows}"
        );
    }
    text.push_str("\n## Where other drivers do otherwise\n\n| row | driver | |\n|---|---|---|\n");
    for [id, driver, why] in excuses() {
        let _ = writeln!(text, "| {id} | {driver} | {why} |");
    }
    text
}

/// Who holds how many rows.
fn scores(holders: &[String]) -> String {
    let mut text = "\n## Scoreboard\n\nThe same tests, driver by driver. *Otherwise*: the row is run and does not hold, for the reason below; \
        *not asked*: it is about another driver's words or mode, or about what this one has nothing for, which the run prints.\n\n\
        | driver | holds | otherwise | not asked |\n|---|---|---|---|\n"
        .to_owned();
    for (letter, name, flavour) in [
        ("p", "Yurt's `python`", Flavour::Python),
        ("x", "Yurt's `yurt-exec`", Flavour::YurtExec),
        ("w", "Yurt's `yurt-raw-exec`", Flavour::YurtRawExec),
        ("e", "Nomad's `exec`", Flavour::Exec),
        ("r", "Nomad's `raw_exec`", Flavour::RawExec),
    ] {
        let holds = holders.iter().filter(|held| held.split(' ').any(|one| one == letter)).count();
        let otherwise = excuses().filter(|[_, driver, _]| *driver == flavour.name()).count();
        let not_asked = holders.len().saturating_sub(holds + otherwise);
        let _ = writeln!(text, "| {name} | {holds} | {otherwise} | {not_asked} |");
    }
    text + "\n`just conformance PLUGIN FLAVOUR` runs them against any driver binary; Nomad's two are served by `tests/agent/cmd/drivers`.\n"
}

fn fields(line: &str) -> [&str; 4] {
    let mut fields = line.splitn(4, '|').map(str::trim);
    std::array::from_fn(|_| fields.next().unwrap_or_default())
}

/// `X03–X06` stands for four.
fn ids_of(ids: &str) -> Vec<String> {
    let Some((first, last)) = ids.split_once('–') else { return vec![ids.to_owned()] };
    let number = |id: &str| id[1..].parse::<u32>().expect("a number");
    (number(first)..=number(last)).map(|number| format!("{}{number:02}", &first[..1])).collect()
}

fn shown(tests: &[&Test], elsewhere: Option<&str>, later: Option<&str>) -> String {
    let mut lines: Vec<String> = tests.iter().map(|test| format!("`{}`", test.name)).collect();
    lines.extend(elsewhere.map(str::to_owned));
    lines.extend(later.map(|why| format!("*Later:* {why}")));
    lines.join("<br>")
}

fn held(ids: &[String], tests: &[&Test]) -> String {
    let any = |wanted: &[Where]| tests.iter().any(|test| wanted.contains(&test.runs));
    let passes = |flavour| ids.iter().all(|id| excuse(id, flavour).is_none());
    let more = ids.iter().any(|id| IN_EVERY_MODE.contains(&id.as_str()));
    let [chroot, overlay, landlock] = [Isolation::Chroot, Isolation::Overlay, Isolation::Landlock].map(Where::With);
    [
        ("p", any(&[Where::Each, Where::InARoot, Where::OfYurt, Where::OfPython, chroot])),
        ("o", more && any(&[Where::Each, Where::InARoot, Where::OfYurt, Where::OfPython, overlay])),
        ("l", more && any(&[Where::Each, Where::OfYurt, Where::OfPython, landlock])),
        ("n", any(&[Where::Each, Where::InTheHostsFiles, Where::OfYurt, Where::OfPython])),
        (
            "x",
            any(&[
                Where::Each,
                Where::InARoot,
                Where::InTheHostsFiles,
                Where::OfYurt,
                Where::OfYurtExec,
                chroot,
                overlay,
                landlock,
            ]) && passes(Flavour::YurtExec),
        ),
        (
            "w",
            any(&[Where::Each, Where::InTheHostsFiles, Where::OfYurt, Where::OfYurtRawExec])
                && passes(Flavour::YurtRawExec),
        ),
        ("r", any(&[Where::Each, Where::InTheHostsFiles]) && passes(Flavour::RawExec)),
        ("e", any(&[Where::Each, Where::InARoot]) && passes(Flavour::Exec)),
    ]
    .into_iter()
    .filter_map(|(letter, holds)| holds.then_some(letter))
    .collect::<Vec<_>>()
    .join(" ")
}

/// Row, driver, reason.
fn excuses() -> impl Iterator<Item = [&'static str; 3]> {
    EXCUSES.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let mut fields = line.splitn(3, ' ');
        std::array::from_fn(|_| fields.next().unwrap_or_default())
    })
}

/// By row: `async fn s31_…() { each(…`.
fn tests(source: &Path) -> BTreeMap<String, Vec<Test>> {
    let mut tests: BTreeMap<String, Vec<Test>> = BTreeMap::new();
    let entries = std::fs::read_dir(source).unwrap_or_else(|why| panic!("{}: {why}", source.display()));
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "rs")) {
        let text = std::fs::read_to_string(file).expect("source");
        for part in text.split("#[tokio::test]\nasync fn ").skip(1) {
            let name = part.split('(').next().expect("a name");
            let id = name.split('_').next().expect("an id").to_uppercase();
            let runs = [
                (Where::Each, "each("),
                (Where::InARoot, "in_a_root("),
                (Where::InTheHostsFiles, "in_the_hosts_files("),
                (Where::OfYurt, "of_yurt("),
                (Where::OfPython, "of_python("),
                (Where::OfYurtExec, "of_yurt_exec("),
                (Where::OfYurtRawExec, "of_yurt_raw_exec("),
                (Where::With(Isolation::Chroot), "with(Isolation::Chroot,"),
                (Where::With(Isolation::Overlay), "with(Isolation::Overlay,"),
                (Where::With(Isolation::Landlock), "with(Isolation::Landlock,"),
            ];
            let first = runs
                .into_iter()
                .filter_map(|(runs, call)| Some((part.find(&format!("\n    {call}"))?, runs)))
                .min_by_key(|(at, _)| *at);
            let runs = first.unwrap_or_else(|| panic!("{name}: no row in it")).1;
            let row = part.split('"').nth(1).expect("the row");
            assert_eq!(row, id, "{name} speaks of another row");
            tests.entry(id).or_default().push(Test { name: name.to_owned(), runs });
        }
    }
    tests
}
