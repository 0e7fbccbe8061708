//! Questions about the latest closed window, asked and answered in text.
//!
//! ```text
//! rows 1s        -> {"rows":[{"scope":"event","source":3,"kind":1,...},...]}
//! talkers 1m     -> {"talkers":[{"rank":1,"flow":"00c0ffee00c0ffee",...},...]}
//! summary 1s     -> {"summary":{"frames":1000,...}}
//! ```
//! Before the first window has closed the lists are empty and the summary is null.

use std::fmt::Write;

use crate::rows::{FLAG_PARTIAL, Scope, StreamRow, SummaryRow, TalkerRow};
use crate::windows::{Closed, Windows};

/// Appends the answer to `call` as one JSON object; nothing when the call is unknown.
pub fn answer(windows: &Windows, call: &[u8], reply: &mut Vec<u8>) {
    let text = std::str::from_utf8(call).unwrap_or("");
    let mut words = text.split_ascii_whitespace();
    let (Some(what), Some(window), None) = (words.next(), words.next(), words.next()) else { return };
    let closed = match window {
        "1s" => windows.latest_second(),
        "1m" => windows.latest_minute(),
        _ => return,
    };
    let mut json = String::new();
    let written = match what {
        "rows" => rows(&mut json, closed),
        "talkers" => talkers(&mut json, closed),
        "summary" => summary(&mut json, &closed.summary),
        _ => return,
    };
    if written.is_ok() {
        reply.extend(json.as_bytes());
    }
}

fn rows(json: &mut String, closed: &Closed) -> std::fmt::Result {
    json.push_str(r#"{"rows":["#);
    for (index, row) in closed.rows.iter().enumerate() {
        json.push_str(if index == 0 { "" } else { "," });
        stream_row(json, row)?;
    }
    json.push_str("]}");
    Ok(())
}

/// Writes one window row as a JSON object.
///
/// # Errors
/// Only those of `json` itself.
pub fn stream_row(json: &mut impl Write, row: &StreamRow) -> std::fmt::Result {
    let scope = Scope::from_number(row.scope).map_or("unknown", Scope::name);
    let (other, partial) = (row.is_other(), row.flags & FLAG_PARTIAL != 0);
    write!(json, r#"{{"window_start_ns":{},"window_ms":{},"scope":"{scope}","#, row.window_start_ns, row.window_ms)?;
    write!(json, r#""other":{other},"partial":{partial},"source":{},"kind":{},"#, row.source, row.kind)?;
    write!(json, r#""count":{},"bytes":{},"per_second":{},"#, row.count, row.bytes, row.per_second())?;
    write!(json, r#""latency_samples":{},"late":{},"early":{},"#, row.latency_samples, row.late, row.early)?;
    write!(json, r#""latency_ns":{{"min":{},"mean":{},"#, row.latency_min_ns, row.latency_mean_ns)?;
    write!(json, r#""p50":{},"p90":{},"p99":{},"#, row.latency_p50_ns, row.latency_p90_ns, row.latency_p99_ns)?;
    write!(json, r#""p99.9":{},"max":{}}}}}"#, row.latency_p999_ns, row.latency_max_ns)
}

fn talkers(json: &mut String, closed: &Closed) -> std::fmt::Result {
    json.push_str(r#"{"talkers":["#);
    for (index, row) in closed.talkers.iter().enumerate() {
        json.push_str(if index == 0 { "" } else { "," });
        talker_row(json, row)?;
    }
    json.push_str("]}");
    Ok(())
}

/// Writes one talker as a JSON object; the flow in hexadecimal, since JSON numbers end at 2^53.
///
/// # Errors
/// Only those of `json` itself.
pub fn talker_row(json: &mut impl Write, row: &TalkerRow) -> std::fmt::Result {
    write!(json, r#"{{"window_start_ns":{},"window_ms":{},"#, row.window_start_ns, row.window_ms)?;
    write!(json, r#""rank":{},"flow":"{:016x}","source":{},"#, row.rank, row.flow, row.source)?;
    write!(json, r#""bytes":{},"bytes_error":{},"#, row.bytes, row.bytes_error)?;
    write!(json, r#""frames":{},"window_bytes":{}}}"#, row.frames, row.window_bytes)
}

fn summary(json: &mut String, row: &SummaryRow) -> std::fmt::Result {
    if row.window_ms == 0 {
        json.push_str(r#"{"summary":null}"#);
        return Ok(());
    }
    json.push_str(r#"{"summary":"#);
    summary_row(json, row)?;
    json.push('}');
    Ok(())
}

/// Writes one summary as a JSON object.
///
/// # Errors
/// Only those of `json` itself.
pub fn summary_row(json: &mut impl Write, row: &SummaryRow) -> std::fmt::Result {
    let partial = row.flags & u32::from(FLAG_PARTIAL) != 0;
    write!(json, r#"{{"window_start_ns":{},"window_ms":{},"#, row.window_start_ns, row.window_ms)?;
    write!(json, r#""partial":{partial},"frames":{},"bytes":{},"#, row.frames, row.bytes)?;
    write!(json, r#""messages":{},"batches":{},"events":{},"#, row.messages, row.batches, row.events)?;
    write!(json, r#""plain":{},"events_missing":{},"#, row.plain, row.events_missing)?;
    write!(json, r#""messages_cut":{},"late":{},"early":{},"#, row.messages_cut, row.late, row.early)?;
    write!(json, r#""rows":{},"rows_limit":{},"other":{}}}"#, row.rows, row.rows_limit, row.other)
}
