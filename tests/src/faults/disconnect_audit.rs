//! How often each connection's `$disconnect` had effects, from Redis's own file of changes.
//!
//! The application's record of a connection is written by `$connect` and removed by the one `$disconnect` that has effects,
//! in one atomic step; removing what is not there leaves no trace. So a connection ended exactly once when its record was
//! removed once and never written again. The file has every change in order, across restarts of Redis, which no observer
//! on a connection has.
//!
//! Where Redis has lost its data, the records that it had are gone, and a `$disconnect` finds nothing to remove. What pods
//! write down about their own connections tells then: all of it is written down again, and struck off when the
//! `$disconnect` has run. Of a connection that ended before it was written down again there is no trace.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

/// What stands before and behind the id in a record's key.
const RECORD_KEY_AFFIXES: (&[u8], &[u8]) = (b"twinway:connection:{", b"}");
/// What stands before a pod's name in the key of what it has written down.
const SESSIONS_KEY_PREFIX: &[u8] = b"twinway:{cluster}:sessions:";

/// How connections ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DisconnectCounts {
    /// Connections whose `$connect` was recorded.
    pub connections: usize,
    /// Of which `$disconnect` had effects exactly once.
    pub exactly_once: usize,
    /// Of which it never had.
    pub never: usize,
    /// Of which it had more than once, or whose record was written again afterwards.
    pub repeated: usize,
    /// Of which nothing is known: Redis lost them, and they ended before their pod had written them down again.
    pub unknown: usize,
}

#[derive(Debug, Default)]
struct ConnectionHistory {
    /// The application has recorded the connection.
    written: bool,
    removals: usize,
    rewritten_after_removal: bool,
    /// It went with everything else.
    lost: bool,
    /// A pod has the connection written down.
    registered: bool,
    /// How often it was struck off since.
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

/// Reads the files of changes, oldest first: those that Redis has lost, if any, and those that it has.
///
/// # Errors
/// When they cannot be read.
pub(super) fn audit_disconnects(lost: &[PathBuf], kept: &[PathBuf]) -> anyhow::Result<DisconnectCounts> {
    let mut records = HashMap::new();
    lost.iter().try_for_each(|file| read_commands(&mut records, file))?;
    for record in records.values_mut() {
        (record.lost, record.registered, record.deregistrations) = (record.removals == 0, false, 0);
    }
    kept.iter().try_for_each(|file| read_commands(&mut records, file))?;
    records.retain(|_, record| record.written);
    let count = |counts: fn(&ConnectionHistory) -> bool| records.values().filter(|record| counts(record)).count();
    let [once, never, untold] =
        [ConnectionHistory::ended_once, ConnectionHistory::ended_never, ConnectionHistory::is_unknown].map(count);
    Ok(DisconnectCounts {
        connections: records.len(),
        exactly_once: once,
        never,
        repeated: records.len() - once - never - untold,
        unknown: untold,
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
                // Also when the first answer was lost with the data: then it is recorded anew.
                (record.written, record.lost) = (true, false);
            }
        }
        b"HSET" if is_sessions(arguments) => {
            // Ids and what is written down about them.
            for id in arguments[1..].iter().step_by(2) {
                records.entry(id.clone()).or_default().registered = true;
            }
        }
        b"HDEL" if is_sessions(arguments) => {
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

fn is_sessions(arguments: &[Vec<u8>]) -> bool {
    arguments.first().is_some_and(|key| key.starts_with(SESSIONS_KEY_PREFIX))
}

/// The next command ("Redis serialization protocol": an array of bulk strings); `None` at the end, also when the last one was
/// not written to its end.
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

/// The number behind a mark; notes between commands begin with `#`.
fn header(reader: &mut impl BufRead, mark: u8) -> io::Result<Option<usize>> {
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
    let number = line.trim_end().strip_prefix(char::from(mark)).and_then(|number| number.parse().ok());
    number.map(Some).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "this is no file of changes"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn changes(commands: &[&[&str]]) -> tempfile::NamedTempFile {
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
    fn each_way_of_ending_is_told_apart() {
        let [a, b, c] = RECORDS;
        let commands: [&[&str]; 8] = [
            &["SET", a, "x", "PXAT", "1"],
            &["SET", a, "y", "KEEPTTL"],
            &["DEL", a],
            &["SET", "twinway:connection:{a}:taken", "t", "PXAT", "1"],
            &["SET", b, "x\r\n"],
            &["SET", c, "x"],
            &["del", c],
            &["SET", c, "x"],
        ];
        let ended = audit_disconnects(&[], &[changes(&commands).path().to_owned()]).unwrap();
        assert_eq!(ended, DisconnectCounts { connections: 3, exactly_once: 1, never: 1, repeated: 1, unknown: 0 });
    }

    #[test]
    fn where_records_were_lost_what_pods_wrote_down_tells() {
        let ([a, b, c], sessions) = (RECORDS, "twinway:{cluster}:sessions:7.x");
        let before: [&[&str]; 7] = [
            &["SET", "twinway:connection:{d}", "x"],
            &["HSET", sessions, "a", "1"],
            &["HSET", sessions, "b", "1"],
            &["SET", a, "x"],
            &["SET", b, "x"],
            &["SET", c, "x"],
            &["DEL", c],
        ];
        let after: [&[&str]; 4] = [
            &["HSET", sessions, "a", "1", "b", "1"],
            // Strikes off what is not there, too.
            &["HDEL", sessions, "c", "a"],
            &["HDEL", sessions, "a"],
            &["DEL", c],
        ];
        let (before, after) = (changes(&before), changes(&after));
        let ended = audit_disconnects(&[before.path().to_owned()], &[after.path().to_owned()]).unwrap();
        assert_eq!(ended, DisconnectCounts { connections: 4, exactly_once: 1, never: 1, repeated: 1, unknown: 1 });
    }
}
