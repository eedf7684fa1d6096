//! The form of a recording: lines of JSON. A line that describes a guest and its limits, then a line for each of its calls; another
//! description wherever one of the two changed.

use std::fmt::Write as _;
use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use yurt_guest::{Answer, Called, Limits, Question, Receipt, limits, notation};

use crate::exchange::GuestName;

/// The form that this release writes and reads.
const FORM: u64 = 1;

/// Who answers the calls that follow, and by which limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Header {
    /// The form's number; also what tells such a line from a call's.
    pub(crate) recording: u64,
    /// Version of `yurt:plugin`.
    pub(crate) contract: String,
    pub(crate) guest: GuestName,
    /// What jobs say is in it.
    pub(crate) secrets: bool,
    pub(crate) limits: Map<String, Value>,
}

/// One call.
#[derive(Debug)]
pub(super) struct Call {
    /// Milliseconds since 1970.
    at: u64,
    asked: Question<'static>,
    outcome: Outcome,
    receipt: Receipt,
}

/// How a call ended, as far as it may be told.
#[derive(Debug, Clone, PartialEq)]
enum Outcome {
    Answered(Box<Answer<'static>>),
    /// A [`yurt_guest::Cause`]: its kind, and what it says.
    Failed(&'static str, String),
    /// A job's affair.
    Redacted,
}

/// What a header is made of, later.
#[derive(Debug)]
pub(super) struct Under {
    contract: String,
    guest: GuestName,
    limits: Arc<Limits>,
    secrets: bool,
}

impl Under {
    pub(super) fn of(call: &Called<'_>, secrets: bool) -> Under {
        Under {
            contract: call.contract.to_string(),
            guest: GuestName {
                name: call.name.to_owned(),
                version: call.version.to_owned(),
                digest: call.digest.to_owned(),
                origin: call.origin.to_owned(),
            },
            limits: Arc::clone(&call.limits),
            secrets,
        }
    }

    pub(super) fn header(self) -> Header {
        let Under { contract, guest, limits, secrets } = self;
        let limits = limits::TABLE.iter().map(|row| (row.key.to_owned(), row.of(&limits).into())).collect();
        Header { recording: FORM, contract, guest, secrets, limits }
    }
}

impl Header {
    pub(super) fn line(&self) -> Result<String, String> {
        serde_json::to_string(self).map(|json| notation::visible(&json)).map_err(|why| why.to_string())
    }

    /// What a guest might use then; limits that there are no more are passed over.
    pub(crate) fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        for (key, value) in &self.limits {
            if let Some(value) = value.as_u64() {
                // One out of today's range is as good as none.
                drop(limits.set(key, value));
            }
        }
        limits
    }
}

impl Call {
    /// A copy of it. Without `secrets` nothing of a job's configuration, and nothing that may be made of it, is copied.
    pub(super) fn of(call: Called<'_>, secrets: bool) -> Call {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let answered = |answer: Result<Answer<'_>, &yurt_guest::GuestError>| match answer {
            Ok(answer) => Outcome::Answered(Box::new(answer.into_owned())),
            Err(why) => Outcome::Failed(why.cause().kind(), why.cause().to_string()),
        };
        let (asked, outcome) = match call.question {
            Question::CheckTask { config, .. } if !secrets => {
                (Question::CheckTask { config, task: "".into(), unknown: [].as_slice().into() }, Outcome::Redacted)
            }
            Question::Plan { config, view, .. } if !secrets => {
                (Question::Plan { config, task: "".into(), view, findings: [].as_slice().into() }, Outcome::Redacted)
            }
            question => (question, answered(call.answer)),
        };
        let receipt = call.receipt.clone();
        Call { at: u64::try_from(at).unwrap_or(u64::MAX), asked: asked.into_owned(), outcome, receipt }
    }

    pub(super) fn line(&self) -> Result<String, String> {
        let mut asked = notation::to_json(&self.asked).map_err(|why| why.to_string())?;
        let call = self.asked.call();
        let mut fields = asked.get_mut(call).map(Value::take).unwrap_or_default();
        let (key, ended) = match &self.outcome {
            Outcome::Answered(answer) => ("answered", notation::to_json(&**answer).map_err(|why| why.to_string())?),
            Outcome::Failed(kind, why) => ("failed", json!({ *kind: why })),
            Outcome::Redacted => {
                let hidden = ["task", "unknown", "findings"];
                if let Some(fields) = fields.as_object_mut() {
                    fields.retain(|name, _| !hidden.contains(&name.as_str()));
                }
                ("redacted", json!(true))
            }
        };
        // In the order in which a person reads it.
        let mut line = format!("{{\"at\":{},\"call\":\"{call}\"", self.at);
        for (name, value) in [("asked", &fields), (key, &ended), ("receipt", &receipt(&self.receipt))] {
            let _ = write!(line, ",\"{name}\":{}", notation::visible(&value.to_string()));
        }
        line.push('}');
        Ok(line)
    }
}

fn receipt(of: &Receipt) -> Value {
    let mut receipt = notation::to_json(of).unwrap_or_default();
    if let Some(fields) = receipt.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    receipt
}

/// A recording as it is read.
#[derive(Debug, Default)]
pub(crate) struct Recording {
    pub(crate) sections: Vec<Section>,
    /// The last line is half a line: whoever wrote it was stopped.
    pub(crate) cut: bool,
}

/// Calls of one guest by the same limits.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) header: Header,
    pub(crate) calls: Vec<Read>,
}

/// A call as it is read; without question where that is redacted.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) line: usize,
    pub(crate) call: String,
    pub(crate) asked: Option<Question<'static>>,
    /// As JSON: `{"answered": …}` or `{"failed": …}`.
    pub(crate) ended: Value,
}

impl Recording {
    /// Reads every line. An error names the line.
    pub(crate) fn read(from: impl BufRead) -> Result<Recording, String> {
        let mut recording = Recording::default();
        for (line, text) in from.split(b'\n').enumerate().map(|(at, text)| (at + 1, text)) {
            let wrong = |why: String| format!("line {line}: {why}");
            let text = text.map_err(|why| wrong(why.to_string()))?;
            if recording.cut {
                return Err(format!("line {}: it is damaged", line - 1));
            }
            if text.is_empty() {
                continue;
            }
            let fields: Map<String, Value> = match serde_json::from_slice(&text) {
                Ok(fields) => fields,
                Err(why) if recording.sections.is_empty() => return Err(wrong(format!("not a recording: {why}"))),
                // It may be the last one.
                Err(_) => {
                    recording.cut = true;
                    continue;
                }
            };
            if let Some(form) = fields.get("recording") {
                if form.as_u64() != Some(FORM) {
                    return Err(wrong(format!("a recording of form {form}; this release reads form {FORM}")));
                }
                let header = serde_json::from_value(Value::Object(fields)).map_err(|why| wrong(why.to_string()))?;
                recording.sections.push(Section { header, calls: Vec::new() });
                continue;
            }
            let Some(section) = recording.sections.last_mut() else {
                return Err(wrong("not a recording: it does not begin with a guest".to_owned()));
            };
            section.calls.push(read(line, fields).map_err(wrong)?);
        }
        if recording.sections.is_empty() {
            return Err("it is empty: no call was recorded yet".to_owned());
        }
        Ok(recording)
    }

    pub(crate) fn open(file: &Path) -> Result<Recording, String> {
        let whose = |why: String| format!("{}: {why}", file.display());
        let open = std::fs::File::open(file).map_err(|why| whose(why.to_string()))?;
        Recording::read(std::io::BufReader::new(open)).map_err(whose)
    }
}

fn read(line: usize, mut fields: Map<String, Value>) -> Result<Read, String> {
    let call = fields.get("call").and_then(Value::as_str).ok_or("it names no call")?.to_owned();
    let redacted = fields.contains_key("redacted");
    let asked = match fields.remove("asked") {
        _ if redacted => None,
        Some(asked) => Some(notation::from_json(json!({ &*call: asked })).map_err(|why| format!("{call}: {why}"))?),
        None => return Err(format!("{call}: it does not say what was asked")),
    };
    let mut ended = Map::new();
    for key in ["answered", "failed"] {
        ended.extend(fields.remove(key).map(|value| (key.to_owned(), value)));
    }
    if ended.is_empty() && !redacted {
        return Err(format!("{call}: it does not say what was answered"));
    }
    Ok(Read { line, call, asked, ended: Value::Object(ended) })
}
