//! Records of the features as JSON: each feature's own rows, under its own field names.

use serde_json::{Value, json};
use weir_dataplane_ring::Record;
use weir_features_streaming::Streaming;
use weir_features_streaming::query;
use weir_features_streaming::rows::{StreamRow, SummaryRow, TalkerRow, kind};
use weir_features_worker::audit::{Audit, AuditRow, IntervalRow, KIND_AUDIT, KIND_INTERVAL};
use weir_features_worker::feature::Feature;
use zerocopy::FromBytes;

/// A record as its feature's JSON; a record of no known kind shows its numbers.
#[must_use]
pub(crate) fn json(record: &Record) -> Value {
    let mut text = String::new();
    let body = &record.body[..];
    let written = match (record.feature, record.kind) {
        (Streaming::ID, kind::WINDOW_1S | kind::WINDOW_1M) => {
            row::<StreamRow>(body).map(|row| query::stream_row(&mut text, &row))
        }
        (Streaming::ID, kind::TOP_TALKER) => row::<TalkerRow>(body).map(|row| query::talker_row(&mut text, &row)),
        (Streaming::ID, kind::SUMMARY) => row::<SummaryRow>(body).map(|row| query::summary_row(&mut text, &row)),
        (Audit::ID, KIND_AUDIT) => return row::<AuditRow>(body).map_or(Value::Null, |row| audit(&row)),
        (Audit::ID, KIND_INTERVAL) => return row::<IntervalRow>(body).map_or(Value::Null, |row| interval(&row)),
        _ => None,
    };
    let parsed = written.and_then(Result::ok).and_then(|()| serde_json::from_str::<Value>(&text).ok());
    let mut value = parsed.unwrap_or_else(|| json!({"length": record.length}));
    if let Value::Object(fields) = &mut value {
        fields.entry("feature").or_insert_with(|| record.feature.into());
        fields.entry("kind_number").or_insert_with(|| record.kind.into());
        fields.entry("time_ns").or_insert_with(|| record.time_ns.into());
    }
    value
}

/// Messages and events that a record says were in a one-second window; 0 for every other record.
#[must_use]
pub(crate) fn events_in(record: &Record) -> u64 {
    let summary = (record.feature, record.kind) == (Streaming::ID, kind::SUMMARY);
    let row = summary.then(|| row::<SummaryRow>(&record.body)).flatten();
    row.filter(|row| row.window_ms == 1000).map_or(0, |row| row.messages + row.events)
}

fn row<T: FromBytes>(body: &[u8]) -> Option<T> {
    T::read_from_prefix(body).ok().map(|(row, _)| row)
}

fn interval(row: &IntervalRow) -> Value {
    let IntervalRow { until_ns, stamped, p50_ns, p99_ns, longest_ns } = row;
    json!({
        "kind": "interval",
        "until_ns": until_ns,
        "stamped": stamped,
        "p50_ns": p50_ns,
        "p99_ns": p99_ns,
        "longest_ns": longest_ns,
    })
}

fn audit(row: &AuditRow) -> Value {
    json!({
        "kind": "audit",
        "source": row.source,
        "messages": row.messages,
        "bytes": row.bytes,
        "missing": row.missing,
        "not_rising": row.not_rising,
        "first": row.first,
        "highest": row.highest,
        "without_message": row.without_message,
        "latency_ns": row.latency_ns,
        "stamped": row.stamped,
    })
}
