//! Audit of `$disconnect` effects from the append-only file of Redis.
//!
//! `$connect` writes the application's record of a connection, and the one effective `$disconnect` deletes it in one
//! atomic step; deleting a missing record leaves no trace. So a connection was disconnected exactly once when its
//! record was deleted once and never written again. The file has every write in order across restarts of Redis,
//! unlike an observer on a connection.
//!
//! After a loss of Redis data the application's records are gone and `$disconnect` finds nothing to delete. Then the
//! pods' own registrations count: each pod registers all its connections again and deletes a registration when its
//! `$disconnect` has run. A connection that leaves no trace, because it ended before it was registered again, is an
//! error.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

/// Prefix and suffix of the id in a record's key.
const RECORD_KEY_AFFIXES: (&[u8], &[u8]) = (b"twinway:connection:{", b"}");
/// Prefix of the key of a pod's registrations, followed by its lease id.
const REGISTRATIONS_KEY_PREFIX: &[u8] = b"twinway:{cluster}:connections:";

/// Counts of connections by their `$disconnect` effects.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DisconnectCounts {
    /// Connections recorded by `$connect`.
    pub connections: usize,
    /// Connections with exactly one effective `$disconnect`.
    pub exactly_once: usize,
    /// Connections without an effective `$disconnect`.
    pub never: usize,
    /// Connections with more than one, or whose record was written again afterwards.
    pub repeated: usize,
    /// Connections with an unknown end: Redis lost them, and they ended before their pod had registered them again.
    pub unknown: usize,
}

#[derive(Debug, Default)]
struct ConnectionHistory {
    /// The application has recorded the connection.
    written: bool,
    removals: usize,
    rewritten_after_removal: bool,
    /// The record was lost with the data.
    lost: bool,
    /// A pod has registered the connection.
    registered: bool,
    /// Number of deleted registrations.
    deregistrations: usize,
}

impl ConnectionHistory {
    fn ended_once(&self) -> bool {
        if self.lost {
            self.removals == 0 && self.deregistrations == 1
        } else {
            self.removals == 1 && !self.rewritten_after_removal
        }
    }

    fn is_unknown(&self) -> bool {
        self.lost && self.removals == 0 && self.deregistrations == 0 && !self.registered
    }

    fn ended_never(&self) -> bool {
        self.removals == 0 && !self.is_unknown() && !(self.lost && self.deregistrations > 0)
    }
}

/// Reads the append-only files, oldest first: the ones that Redis lost, if any, and the current ones.
///
/// # Errors
/// A file cannot be read or parsed.
pub(super) fn audit_disconnects(lost: &[PathBuf], current: &[PathBuf]) -> anyhow::Result<DisconnectCounts> {
    let mut records = HashMap::new();
    lost.iter().try_for_each(|file| read_commands(&mut records, file))?;
    for record in records.values_mut() {
        (record.lost, record.registered, record.deregistrations) = (record.removals == 0, false, 0);
    }
    current.iter().try_for_each(|file| read_commands(&mut records, file))?;
    records.retain(|_, record| record.written);
    let count = |counts: fn(&ConnectionHistory) -> bool| records.values().filter(|record| counts(record)).count();
    let [once, never, unknown] =
        [ConnectionHistory::ended_once, ConnectionHistory::ended_never, ConnectionHistory::is_unknown].map(count);
    Ok(DisconnectCounts {
        connections: records.len(),
        exactly_once: once,
        never,
        repeated: records.len() - once - never - unknown,
        unknown,
    })
}

fn read_commands(records: &mut HashMap<Vec<u8>, ConnectionHistory>, file: &Path) -> anyhow::Result<()> {
    let mut reader = BufReader::new(File::open(file).with_context(|| format!("opening {}", file.display()))?);
    while let Some(command) = parse_command(&mut reader).with_context(|| format!("reading {}", file.display()))? {
        apply_command(records, &command);
    }
    Ok(())
}

fn apply_command(records: &mut HashMap<Vec<u8>, ConnectionHistory>, command: &[Vec<u8>]) {
    let Some((name, arguments)) = command.split_first() else { return };
    let id = |key: &[u8]| Some(key.strip_prefix(RECORD_KEY_AFFIXES.0)?.strip_suffix(RECORD_KEY_AFFIXES.1)?.to_vec());
    match name.to_ascii_uppercase().as_slice() {
        b"SET" => {
            if let Some(id) = arguments.first().and_then(|key| id(key)) {
                let record = records.entry(id).or_default();
                record.rewritten_after_removal |= record.removals > 0;
                // Also when the first reply was lost with the data: then the connection is recorded again.
                (record.written, record.lost) = (true, false);
            }
        }
        b"HSET" | b"HSETNX" if is_registrations(arguments) => {
            // Fields are connection ids, values are their registrations.
            for id in arguments[1..].iter().step_by(2) {
                records.entry(id.clone()).or_default().registered = true;
            }
        }
        b"HDEL" if is_registrations(arguments) => {
            for id in &arguments[1..] {
                let Some(record) = records.get_mut(id) else { continue };
                record.deregistrations += usize::from(std::mem::take(&mut record.registered));
            }
        }
        b"DEL" | b"UNLINK" => {
            for id in arguments.iter().filter_map(|key| id(key)) {
                records.entry(id).or_default().removals += 1;
            }
        }
        _ => {}
    }
}

fn is_registrations(arguments: &[Vec<u8>]) -> bool {
    arguments.first().is_some_and(|key| key.starts_with(REGISTRATIONS_KEY_PREFIX))
}

/// Reads the next command (Redis serialization protocol: an array of bulk strings); `None` at the end of the file,
/// also when the last command is incomplete.
fn parse_command(reader: &mut impl BufRead) -> io::Result<Option<Vec<Vec<u8>>>> {
    let Some(count) = header(reader, b'*')? else { return Ok(None) };
    let mut words = Vec::with_capacity(count.min(1_024));
    for _ in 0..count {
        let Some(length) = header(reader, b'$')? else { return Ok(None) };
        let mut word = Vec::new();
        reader.take(length as u64 + 2).read_to_end(&mut word)?;
        if word.len() < length + 2 {
            return Ok(None);
        }
        word.truncate(length);
        words.push(word);
    }
    Ok(Some(words))
}

/// Reads the number after a type byte; skips annotations between commands, which begin with `#`.
fn header(reader: &mut impl BufRead, type_byte: u8) -> io::Result<Option<usize>> {
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if !line.starts_with('#') {
            break;
        }
    }
    let number = line.trim_end().strip_prefix(char::from(type_byte)).and_then(|number| number.parse().ok());
    number.map(Some).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a Redis append-only file"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn append_only_file(commands: &[&[&str]]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        for words in commands {
            write!(file, "*{}\r\n", words.len()).unwrap();
            words.iter().for_each(|word| write!(file, "${}\r\n{word}\r\n", word.len()).unwrap());
        }
        write!(file, "*2\r\n$3\r\nDE").unwrap();
        file
    }

    const RECORDS: [&str; 3] = ["twinway:connection:{a}", "twinway:connection:{b}", "twinway:connection:{c}"];

    #[test]
    fn each_kind_of_end_is_counted() {
        let [a, b, c] = RECORDS;
        let commands: [&[&str]; 8] = [
            &["SET", a, "x", "PXAT", "1"],
            &["SET", a, "y", "KEEPTTL"],
            &["DEL", a],
            &["SET", "twinway:connection:{a}:removed", "t", "PXAT", "1"],
            &["SET", b, "x\r\n"],
            &["SET", c, "x"],
            &["del", c],
            &["SET", c, "x"],
        ];
        let ended = audit_disconnects(&[], &[append_only_file(&commands).path().to_owned()]).unwrap();
        assert_eq!(ended, DisconnectCounts { connections: 3, exactly_once: 1, never: 1, repeated: 1, unknown: 0 });
    }

    #[test]
    fn registrations_count_where_records_were_lost() {
        let ([a, b, c], registrations) = (RECORDS, "twinway:{cluster}:connections:7.x");
        let before: [&[&str]; 7] = [
            &["SET", "twinway:connection:{d}", "x"],
            &["HSET", registrations, "a", "1"],
            &["HSET", registrations, "b", "1"],
            &["SET", a, "x"],
            &["SET", b, "x"],
            &["SET", c, "x"],
            &["DEL", c],
        ];
        let after: [&[&str]; 4] = [
            &["HSET", registrations, "a", "1", "b", "1"],
            // Also deletes a registration that does not exist.
            &["HDEL", registrations, "c", "a"],
            &["HDEL", registrations, "a"],
            &["DEL", c],
        ];
        let (before, after) = (append_only_file(&before), append_only_file(&after));
        let ended = audit_disconnects(&[before.path().to_owned()], &[after.path().to_owned()]).unwrap();
        assert_eq!(ended, DisconnectCounts { connections: 4, exactly_once: 1, never: 1, repeated: 1, unknown: 1 });
    }
}
