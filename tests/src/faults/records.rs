//! How often each connection's `$disconnect` had effects, from Redis's own file of changes.
//!
//! The application's record of a connection is written by `$connect` and removed by the one `$disconnect` that has effects,
//! in one atomic step; removing what is not there leaves no trace. So a connection ended exactly once when its record was
//! removed once and never written again. The file has every change in order, across restarts of Redis, which no observer
//! on a connection has.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;

use anyhow::Context as _;
use serde::Serialize;

/// What stands before and behind the id in a record's key.
const RECORD_KEY: (&[u8], &[u8]) = (b"twinway:connection:{", b"}");

/// How connections ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Disconnects {
    /// Connections whose `$connect` was recorded.
    pub connections: usize,
    /// Of which `$disconnect` had effects exactly once.
    pub once: usize,
    /// Of which it never had.
    pub never: usize,
    /// Of which it had more than once, or whose record was written again afterwards.
    pub again: usize,
}

#[derive(Debug, Default)]
struct Record {
    removals: usize,
    written_behind: bool,
}

/// Reads the files of changes, oldest first.
///
/// # Errors
/// When they cannot be read.
pub(super) fn disconnects(files: &[PathBuf]) -> anyhow::Result<Disconnects> {
    let mut records = HashMap::new();
    for file in files {
        let mut reader = BufReader::new(File::open(file).with_context(|| format!("opening {}", file.display()))?);
        while let Some(command) = command(&mut reader).with_context(|| format!("reading {}", file.display()))? {
            apply(&mut records, &command);
        }
    }
    let count = |counts: fn(&Record) -> bool| records.values().filter(|record| counts(record)).count();
    Ok(Disconnects {
        connections: records.len(),
        once: count(|record| record.removals == 1 && !record.written_behind),
        never: count(|record| record.removals == 0),
        again: count(|record| record.removals > 1 || record.written_behind),
    })
}

fn apply(records: &mut HashMap<Vec<u8>, Record>, command: &[Vec<u8>]) {
    let Some((name, arguments)) = command.split_first() else { return };
    let id = |key: &[u8]| Some(key.strip_prefix(RECORD_KEY.0)?.strip_suffix(RECORD_KEY.1)?.to_vec());
    match name.to_ascii_uppercase().as_slice() {
        b"SET" => {
            if let Some(id) = arguments.first().and_then(|key| id(key)) {
                let record = records.entry(id).or_default();
                record.written_behind |= record.removals > 0;
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

/// The next command ("Redis serialization protocol": an array of bulk strings); `None` at the end, also when the last one was
/// not written to its end.
fn command(reader: &mut impl BufRead) -> io::Result<Option<Vec<Vec<u8>>>> {
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

    fn ended(commands: &[&[&str]]) -> Disconnects {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        for words in commands {
            write!(file, "*{}\r\n", words.len()).unwrap();
            words.iter().for_each(|word| write!(file, "${}\r\n{word}\r\n", word.len()).unwrap());
        }
        write!(file, "*2\r\n$3\r\nDE").unwrap();
        disconnects(&[file.path().to_owned()]).unwrap()
    }

    #[test]
    fn each_way_of_ending_is_told_apart() {
        let (a, b, c) = ("twinway:connection:{a}", "twinway:connection:{b}", "twinway:connection:{c}");
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
        assert_eq!(ended(&commands), Disconnects { connections: 3, once: 1, never: 1, again: 1 });
    }
}
