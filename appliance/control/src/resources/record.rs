//! Entries and changes as bytes: numbers little-endian, texts and values behind their length. The first byte is the
//! version of the form, so that a later one can read what an earlier one wrote.

use super::{Change, Entry, Key, Kind, LeaseId, Origin, Revision};

/// Version of the form.
const FORM: u8 = 1;

/// What is wrong with bytes that are not an entry or a change.
pub(super) type Fault = &'static str;

struct Writer(Vec<u8>);

impl Writer {
    fn new() -> Self {
        Self(vec![FORM])
    }

    fn number(&mut self, number: u64) {
        self.0.extend(number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend((bytes.len() as u32).to_le_bytes()); // limits are far below 4 GiB
        self.0.extend(bytes);
    }

    fn entry(&mut self, entry: &Entry) {
        self.number(entry.created.0);
        self.number(entry.modified.0);
        self.number(entry.version);
        // 0 is no lease: the first has number 1.
        self.number(entry.lease.map_or(0, |lease| lease.0));
        self.bytes(&entry.value);
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, Fault> {
        match bytes.split_first() {
            Some((&FORM, rest)) => Ok(Self(rest)),
            Some(_) => Err("a record is of a form that this version does not know"),
            None => Err("a record is empty"),
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or("a record ends too early")?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u64, Fault> {
        let bytes = self.take(8)?;
        bytes.try_into().map(u64::from_le_bytes).map_err(|_| "a record ends too early")
    }

    fn bytes(&mut self) -> Result<&'a [u8], Fault> {
        let length: [u8; 4] = self.take(4)?.try_into().map_err(|_| "a record ends too early")?;
        self.take(u32::from_le_bytes(length) as usize)
    }

    fn text(&mut self) -> Result<String, Fault> {
        std::str::from_utf8(self.bytes()?).map(str::to_owned).map_err(|_| "a record holds a text that is none")
    }

    fn entry(&mut self, key: Key) -> Result<Entry, Fault> {
        let (created, modified) = (Revision(self.number()?), Revision(self.number()?));
        let version = self.number()?;
        let lease = Some(self.number()?).filter(|lease| *lease != 0).map(LeaseId);
        Ok(Entry { key, value: self.bytes()?.to_vec(), created, modified, version, lease })
    }

    fn end(&self) -> Result<(), Fault> {
        if self.0.is_empty() { Ok(()) } else { Err("a record is longer than it says") }
    }
}

/// A key from its two parts in the file.
pub(super) fn key(kind: u8, name: &str) -> Result<Key, Fault> {
    let kind = Kind::from_number(kind).ok_or("a resource is of a kind that this version does not know")?;
    Key::new(kind, name).map_err(|_| "a resource has a name that is none")
}

pub(super) fn write_entry(entry: &Entry) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.entry(entry);
    writer.0
}

pub(super) fn read_entry(key: Key, bytes: &[u8]) -> Result<Entry, Fault> {
    let mut reader = Reader::new(bytes)?;
    let entry = reader.entry(key)?;
    reader.end().map(|()| entry)
}

pub(super) fn write_change(change: &Change) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.0.push(change.key.kind() as u8);
    writer.bytes(change.key.name().as_bytes());
    writer.number(change.time_ms);
    writer.bytes(change.origin.author().as_bytes());
    writer.bytes(change.origin.reason().as_bytes());
    if let Some(entry) = &change.after {
        writer.entry(entry);
    }
    writer.0
}

pub(super) fn read_change(revision: Revision, bytes: &[u8]) -> Result<Change, Fault> {
    let mut reader = Reader::new(bytes)?;
    let kind = reader.take(1)?.first().copied().unwrap_or_default();
    let key = key(kind, &reader.text()?)?;
    let time_ms = reader.number()?;
    let origin =
        Origin::new(reader.text()?, reader.text()?).map_err(|_| "a change has an author or reason that is none")?;
    let after = if reader.0.is_empty() { None } else { Some(reader.entry(key.clone())?) };
    reader.end()?;
    Ok(Change { revision, key, after, time_ms, origin })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back_and_what_is_cut_is_refused() {
        let key = Key::new(Kind::Tokens, "käse").expect("a key");
        let (created, modified) = (Revision(3), Revision(9));
        let entry =
            Entry { key: key.clone(), value: vec![0, 1, 255], created, modified, version: 4, lease: Some(LeaseId(7)) };
        let bytes = write_entry(&entry);
        assert_eq!(read_entry(key.clone(), &bytes), Ok(entry.clone()));
        let origin = Origin::new("root (uid 0)", "why not").expect("an origin");
        for after in [Some(entry), None] {
            let change = Change { revision: modified, key: key.clone(), after, time_ms: 12, origin: origin.clone() };
            let bytes = write_change(&change);
            assert_eq!(read_change(modified, &bytes), Ok(change.clone()));
            for length in 0..bytes.len() {
                let cut = read_change(modified, &bytes[..length]);
                // Exactly where the entry would begin, a put that was cut reads as a deletion; redb keeps lengths.
                assert!(cut.is_err() || cut.is_ok_and(|cut| cut.after.is_none()), "{length}");
            }
        }
        assert!(read_change(modified, &[9, 9]).is_err());
    }
}
