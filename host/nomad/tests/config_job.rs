//! A job's `config` blocks, evaluated before the job runs.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::{Value, json};
use yurt_nomad::config::job::{Job, Read, Variables};
use yurt_nomad::config::{from_msgpack, to_msgpack};
use yurt_nomad::schema::Spec;

const SCHEMA: &str = r#"object {
  attr "image" { type = string }
  attr "args" { type = list(string) }
  attr "tags" { type = set(string) }
  default "pull" {
    attr { type = bool }
    literal { value = true }
  }
  block_attrs "labels" { type = string }
  block "auth" {
    object {
      attr "name" {
        type     = string
        required = true
      }
    }
  }
  block_list "mount" {
    min_items = 1
    object {
      attr "to" {
        name = "target"
        type = string
      }
      attr "mode" { type = number }
    }
  }
  block_map "port" {
    labels = ["name"]
    object {
      attr "to" { type = number }
    }
  }
}"#;

fn spec() -> Spec {
    Spec::parse(SCHEMA).unwrap()
}

fn text(around: &str, config: &str) -> String {
    format!(
        "{around}\njob \"j\" {{\ngroup \"g\" {{\ntask \"t\" {{\ndriver = \"d\"\nconfig {{\n{config}\n}}\n}}\n}}\n}}\n"
    )
}

fn read(around: &str, config: &str) -> (String, Read) {
    let text = text(around, config);
    let job = Job::parse(&text, &Variables::default()).unwrap_or_else(|why| panic!("{text}: {why:?}"));
    assert_eq!(job.problems, [], "{text}");
    let [task] = job.tasks.as_slice() else { panic!("{text}: {} tasks", job.tasks.len()) };
    assert_eq!((task.name.as_str(), task.group.as_deref(), task.driver.as_deref()), ("t", Some("g"), Some("d")));
    let read = task.read(&text, &spec());
    (text, read)
}

/// The values that are given, and the paths of those that are unknown.
#[track_caller]
fn evaluates(around: &str, config: &str, wanted: &[(&str, Value)], unknown: &[&str]) {
    let (text, read) = read(around, config);
    assert_eq!((read.problems.as_slice(), read.whole), (&[][..], true), "{text}");
    for (key, value) in wanted {
        assert_eq!(read.value[*key], *value, "{text}");
    }
    assert_eq!(read.unknown, unknown, "{text}");
    if unknown.is_empty() {
        // What a plugin makes of what an agent sends for it is the same.
        assert_eq!(from_msgpack(&to_msgpack(&read.value), &spec()), Ok(read.value));
    }
}

/// What is wrong: the text that it is about, then the sentence and the hint.
#[track_caller]
fn complains(around: &str, config: &str, wanted: &[&str]) -> bool {
    let (text, read) = read(around, config);
    let said = read.problems.iter().map(|problem| {
        let hint = problem.hint.as_ref().map_or_else(String::new, |hint| format!(" → {hint}"));
        format!("{}: {}{hint}", &text[problem.at.clone()], problem.message)
    });
    assert_eq!(said.collect::<Vec<_>>(), wanted, "{text}");
    read.whole
}

const MOUNT: &str = "mount {}\n";

#[test]
fn constants_are_read_as_an_agent_reads_them() {
    evaluates(
        "",
        "image = 1\nargs = [\"a\", true]\ntags = [\"b\", \"a\", \"b\"]\nmount {\n target = \"/x\"\n}\nport \"http\" {\n to = \"80\"\n}\n",
        &[
            ("image", json!("1")),
            ("args", json!(["a", "true"])),
            ("tags", json!(["a", "b"])),
            ("pull", json!(true)),
            ("mount", json!([{ "to": "/x", "mode": null }])),
            ("port", json!({ "http": { "to": 80 } })),
        ],
        &[],
    );
}

#[test]
fn what_only_the_node_knows_is_null_and_named() {
    for unknown in [
        "\"${NOMAD_TASK_DIR}/x\"",
        "\"$${NOMAD_TASK_DIR}/x\"",
        "NOMAD_ALLOC_ID",
        "attr.kernel.name",
        "env[\"HOME\"]",
        "meta.a ? \"x\" : \"y\"",
        "upper(\"a\")",
        "\"%{ if true }x%{ endif }\"",
        "\"a\" == \"b\"",
        "[for x in [1] : x][0]",
        "<<EOT\n${node.datacenter}\nEOT\n",
    ] {
        evaluates("", &format!("{MOUNT}image = {unknown}"), &[("image", Value::Null)], &["image"]);
    }
    // A list is unknown as a whole, and its default does not stand in for a value.
    evaluates(
        "",
        &format!("{MOUNT}args = [\"a\", \"${{b}}\"]\ntags = [c]\npull = var.pull ? true : false"),
        &[("args", Value::Null), ("tags", Value::Null), ("pull", Value::Null)],
        &["args", "pull", "tags"],
    );
    evaluates(
        "",
        "mount {\n mode = 1\n}\nmount {\n target = \"${x}\"\n mode = 2\n}\nport \"http\" {\n to = a.b\n}\nlabels {\n x = y\n z = 1\n}",
        &[("mount", json!([{ "to": null, "mode": 1 }, { "to": null, "mode": 2 }]))],
        &["labels.x", "mount[1].to", "port.http.to"],
    );
    // Whose number is not known: nothing is said of too few.
    evaluates("", "dynamic \"mount\" {\n for_each = [1]\n content {\n }\n}", &[("mount", json!([]))], &["mount"]);
    evaluates("variable \"m\" {}", "mount = var.m\nmount2 = 1".split('\n').next().unwrap(), &[], &["mount"]);
}

#[test]
fn variables_are_their_defaults_and_locals_what_stands_there() {
    let around = "variable \"a\" {\n default = \"x\"\n}\nvariable \"later\" {\n type = string\n}\nvariables {\n n = 8\n}\nlocals {\n l = \"${var.a}-${var.n}\"\n m = [local.l, var.n]\n o = local.nowhere\n}";
    evaluates(
        around,
        &format!("{MOUNT}image = \"${{local.l}}!\"\nargs = local.m\npull = null"),
        &[("image", json!("x-8!")), ("args", json!(["x-8", "8"])), ("pull", json!(true))],
        &[],
    );
    evaluates(
        around,
        &format!("{MOUNT}image = var.later\nargs = [var.a.b]\ntags = local.o"),
        &[],
        &["args", "image", "tags"],
    );
    assert!(!complains(
        around,
        &format!("{MOUNT}image = var.b\nargs = [\"x\", local.n]"),
        &[
            "var.b: no variable is called \"b\" in this file → did you mean var.a?",
            "local.n: no local is called \"n\" in this file → did you mean local.l?",
        ]
    ));
}

#[test]
fn a_value_of_another_type_is_named_where_it_stands_and_the_rest_is_judged() {
    assert!(complains(
        "",
        &format!("{MOUNT}args = [\"a\", [1], \"${{x}}\"]\npull = 1"),
        &["[1]: args[1]: must be string, is a list of 1", "1: pull: must be bool, is 1",]
    ));
    let (_, read) = read("", &format!("{MOUNT}args = [[1]]\nimage = \"i\""));
    assert_eq!((read.unknown, read.value["image"].clone()), (vec!["args".to_owned()], json!("i")));
    // At the place of the reference.
    assert!(complains(
        "variable \"a\" {\n default = {}\n}",
        &format!("{MOUNT}args = [1, var.a]"),
        &["var.a: args[1]: must be string, is an object of 0 keys",]
    ));
}

#[test]
fn what_is_missing_unheard_of_or_too_often_there_is_all_said() {
    assert!(!complains(
        "",
        "imag = 1\nauth {\n}\nmounts {}\nauth {}\nport {}",
        &[
            "imag: no key or block is called \"imag\" here → did you mean \"image\"?",
            "mounts: no key or block is called \"mounts\" here → did you mean \"mount\"?",
            "auth: the block auth may stand here once",
            "config: 0 block(s) mount stand here, at least 1 must",
            "port: the block port needs 1 label(s), has 0 → write port \"<name>\" { … }",
        ]
    ));
    assert!(!complains(
        "",
        &format!("{MOUNT}auth {{}}\nauth = 1"),
        &[
            "auth: \"auth\" is given as a block and with `=` here",
            "auth: \"name\" is missing here → write name = …, a string",
        ]
    ));
    assert!(!complains(
        "",
        &format!("{MOUNT}auth = 1"),
        &["1: auth is a block → write auth {{ … }}".replace("{{", "{").replace("}}", "}").as_str()]
    ));
}

#[test]
fn a_guest_s_path_is_found_by_the_keys_of_its_schema() {
    let (text, read) = read(
        "",
        "args = [\"a\",\n \"b\"]\nmount {}\nmount {\n target = \"/x\"\n}\nport \"http\" {\n to = 80\n}\nlabels {\n x = 1\n}",
    );
    for (path, place, whole) in [
        ("args", "[\"a\",\n \"b\"]", true),
        ("args[1]", "\"b\"", true),
        ("args[7]", "[\"a\",\n \"b\"]", false),
        ("mount[1].to", "\"/x\"", true),
        ("mount[1].mode", "mount", false),
        ("port.http.to", "80", true),
        ("labels.x", "1", true),
        ("image", "config", false),
        ("", "config", false),
    ] {
        let (at, exact) = read.place(path);
        assert_eq!((&text[at], exact), (place, whole), "{path}");
    }
}

/// The value of `image`, null where it is unknown, and what is wrong.
fn given(around: &str, image: &str, variables: &Variables) -> (Value, Vec<String>) {
    let text = text(around, &format!("image = {image}\nmount {{\n target = \"/x\"\n}}"));
    let job = Job::parse(&text, variables).unwrap_or_else(|why| panic!("{text}: {why:?}"));
    let problems = job.problems.iter().map(|problem| {
        format!("{:?}: {}; {}", &text[problem.at.clone()], problem.message, problem.hint.as_deref().unwrap_or("-"))
    });
    let read = job.tasks[0].read(&text, &spec());
    (read.value["image"].clone(), problems.chain(read.problems.iter().map(|problem| problem.message.clone())).collect())
}

#[test]
fn a_variable_is_what_is_given_for_it() {
    let mut variables = Variables::default();
    variables.file("a = \"of the file\"\nlist = [\"x\", 1]\n", "some.vars").unwrap();
    variables.word("b", "[\"of one word\"]");
    variables.inherited("c", "inherited");
    variables.inherited("of-another-job", "1");
    let declared = |all: &[&str]| -> String { all.iter().map(|one| format!("variable {one}\n")).collect() };
    let rest = "\"a\" {}\nvariable \"b\" {}\nvariable \"list\" {}";
    let of = |variable: &str, image: &str| given(&declared(&[variable, rest]), image, &variables);
    assert_eq!(of("\"c\" {}", "var.c"), (json!("inherited"), vec![]));
    assert_eq!(of("\"c\" { default = \"own\" }", "var.c"), (json!("inherited"), vec![]));
    assert_eq!(of("\"d\" { default = \"own\" }", "var.d"), (json!("own"), vec![]));
    assert_eq!(of("\"d\" {}", "var.d"), (Value::Null, vec![]));
    assert_eq!(of("\"d\" {}", "var.a"), (json!("of the file"), vec![]));
    // A text, as long as no type and no default say that it is none.
    assert_eq!(of("\"d\" {}", "var.b"), (json!("[\"of one word\"]"), vec![]));
    let listed = declared(&["\"a\" {}", "\"list\" {}", "\"b\" { type = list(string) }"]);
    let (value, problems) = given(&listed, "var.b", &variables);
    assert!(value.is_null() && problems.len() == 1, "{value} {problems:?}");
    let listed = declared(&["\"a\" {}", "\"list\" {}", "\"b\" { default = [] }"]);
    assert_eq!(given(&listed, "var.b", &variables).1, problems);
    let old = "variables {\n a = \"own\"\n b = \"own\"\n list = []\n}";
    assert_eq!(given(old, "var.a", &variables), (json!("of the file"), vec![]));
}

#[test]
fn what_is_given_for_no_variable_or_makes_no_sense_is_said() {
    let mut variables = Variables::default();
    variables.word("imag", "x");
    let (value, problems) = given("variable \"image\" {}", "var.image", &variables);
    assert_eq!(
        (value, problems),
        (Value::Null, vec![
            "\"variable\": no variable is called \"imag\" in this file, and it is given a value; did you mean var.image?"
                .to_owned()
        ])
    );
    let mut variables = Variables::default();
    variables.word("on", "ture");
    let (_, problems) = given("variable \"on\" {\n type = bool\n}", "\"x\"", &variables);
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(
        problems[0].starts_with("\"variable\": what is given for the variable \"on\" is no value of its type: "),
        "{problems:?}"
    );
    for (text, sentence) in [
        ("a = \"b\"\nblock {\n}\n", "some.vars:2:1: this is a block: write name = value"),
        ("a = b\n", "some.vars:1:5: "),
        ("a = \n", "some.vars:1:5: "),
    ] {
        let why = Variables::default().file(text, "some.vars").unwrap_err().to_string();
        assert!(why.starts_with(sentence), "{why}");
    }
}

#[test]
fn tasks_are_found_wherever_they_may_stand() {
    let text = "job \"j\" {\n task \"a\" {\n driver = \"x\"\n }\n group \"g\" {\n task \"b\" {\n driver = var.d\n }\n }\n dynamic \"group\" {\n content {\n task \"c\" {\n driver = \"y\"\n config {\n }\n }\n }\n }\n}\nvariable \"d\" {}\n";
    let job = Job::parse(text, &Variables::default()).unwrap();
    let found: Vec<_> =
        job.tasks.iter().map(|task| (task.name.as_str(), task.group.as_deref(), task.driver.as_deref())).collect();
    assert_eq!(found, [("b", Some("g"), None), ("c", None, Some("y")), ("a", None, Some("x"))]);
    assert_eq!(job.problems, []);
}

/// Pieces of jobs.
const PIECES: [&str; 40] = [
    "job \"j\" {\n",
    "group \"g\" {\n",
    "task \"t\" {\n",
    "driver = \"d\"\n",
    "config {\n",
    "}\n",
    "}\n",
    "}",
    "{",
    "\n",
    "mount {\n",
    "port \"http\" {\n",
    "labels {\n",
    "image = ",
    "args = ",
    "pull = ",
    "to = ",
    "\"x\"\n",
    "\"${",
    "\"",
    "$",
    "${",
    "%{ if a }",
    "[",
    "]",
    ",",
    "(",
    ")",
    "var.a",
    "local.b\n",
    "true\n",
    "True\n",
    "-",
    "<<EOT\n",
    "EOT\n",
    "variable \"a\" {\n",
    "default = ",
    "locals {\n",
    "ä",
    "dynamic \"mount\" {\n",
];

proptest! {
    #[test]
    fn whatever_stands_in_a_file_has_an_answer_with_places_in_it(
        begun in any::<bool>(),
        pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..60),
    ) {
        let pieces = pieces.concat();
        let text = if begun { text("variable \"a\" {\n default = [\"x\"]\n}", &pieces) } else { pieces };
        let is_place = |at: &std::ops::Range<usize>| text.get(at.clone()).is_some();
        match Job::parse(&text, &Variables::default()) {
            Err(problem) => prop_assert!(is_place(&problem.at), "{problem:?}"),
            Ok(job) => {
                prop_assert!(job.problems.iter().all(|problem| is_place(&problem.at)), "{:?}", job.problems);
                for task in &job.tasks {
                    let read = task.read(&text, &spec());
                    prop_assert!(read.problems.iter().all(|problem| is_place(&problem.at)), "{:?}", read.problems);
                    prop_assert!(read.unknown.iter().all(|path| is_place(&read.place(path).0)));
                }
            }
        }
    }
}
