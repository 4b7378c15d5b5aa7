//! Writer of the journal: appends events, and writes the file again when most of it is obsolete.
//!
//! One event is one line: `+ID RECORD` (a record is JSON without line breaks), `-ID`, and the header `=LEASE EPOCH
//! NAMESPACE`. A file is written again next to the old one and renamed, so a reader always finds a complete one.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Weak};

use gateway::id::GatewayId;

use super::{JournalEvent, JournalHeader, JournalSource, create_locked_file};

/// Appended bytes after which the file is written again, in addition to twice its size after the last time.
const MIN_APPENDED_BYTES: u64 = 4 * 1024 * 1024;

/// Request to write the file again, because an event was dropped.
#[derive(Default)]
pub(super) struct RewriteRequest(AtomicBool);

impl RewriteRequest {
    pub(super) fn request(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn take(&self) -> bool {
        self.0.swap(false, Ordering::AcqRel)
    }
}

/// State of the writer thread.
pub(super) struct JournalWriter {
    path: PathBuf,
    namespace: String,
    header: JournalHeader,
    source: Weak<dyn JournalSource>,
    rewrite: Arc<RewriteRequest>,
    file: BufWriter<CountedFile>,
    /// Appended bytes at which the file is written again.
    rewrite_at: u64,
}

/// A file and the number of bytes written to it.
struct CountedFile {
    file: File,
    written: u64,
}

impl JournalWriter {
    pub(super) fn create(
        path: PathBuf,
        namespace: &str,
        header: JournalHeader,
        source: Weak<dyn JournalSource>,
        rewrite: Arc<RewriteRequest>,
    ) -> io::Result<Self> {
        let file = new_file(&path)?;
        let namespace = namespace.to_owned();
        let mut writer = Self { path, namespace, header, source, rewrite, file, rewrite_at: MIN_APPENDED_BYTES };
        writer.write_header()?;
        writer.publish_file()?;
        Ok(writer)
    }

    /// Writes events until all handles are dropped. After a failure, for example of a full disk, the next event starts
    /// with a new file.
    pub(super) fn run(mut self, events: &Receiver<JournalEvent>) {
        let mut failed = false;
        while let Ok(first) = events.recv() {
            let written = std::iter::once(first).chain(events.try_iter()).try_for_each(|event| self.write_event(event));
            let written = written.and_then(|()| self.file.flush());
            let appended = self.file.get_ref().written;
            let result = if written.is_err() || self.rewrite.take() || appended >= self.rewrite_at {
                self.write_again()
            } else {
                Ok(())
            };
            if let Err(error) = &result {
                self.rewrite.request();
                if !failed {
                    tracing::warn!(error = %errors::chain(error), "writing the connection journal failed");
                }
            }
            failed = result.is_err();
        }
    }

    fn write_event(&mut self, event: JournalEvent) -> io::Result<()> {
        match event {
            JournalEvent::Opened(id, record) => self.write_opened(id, &record),
            JournalEvent::Ended(id) => self.file.write_all(format!("-{id}\n").as_bytes()),
            JournalEvent::Registered(header) => {
                self.header = header;
                self.write_header()
            }
            JournalEvent::Released => {
                self.rewrite.request();
                Ok(())
            }
        }
    }

    fn write_header(&mut self) -> io::Result<()> {
        let JournalHeader { lease_id, data_epoch } = &self.header;
        let line = format!("={lease_id} {data_epoch} {}\n", self.namespace);
        self.file.write_all(line.as_bytes())
    }

    /// Writes the connections of the source to a new file and replaces the old one.
    fn write_again(&mut self) -> io::Result<()> {
        let Some(source) = self.source.upgrade() else { return Ok(()) };
        // The old file stays open, and so locked, until the new one has its name.
        let old = std::mem::replace(&mut self.file, new_file(&self.path)?);
        let result = self.write_records(&*source).and_then(|()| self.publish_file());
        match result {
            Ok(()) => self.rewrite_at = 3 * self.file.get_ref().written + MIN_APPENDED_BYTES,
            Err(_) => self.file = old,
        }
        result
    }

    fn write_records(&mut self, source: &dyn JournalSource) -> io::Result<()> {
        self.write_header()?;
        let mut written = Ok(());
        source.for_each_record(&mut |id, record| {
            if written.is_ok() {
                written = self.write_opened(id, record);
            }
        });
        written
    }

    fn write_opened(&mut self, id: GatewayId, record: &[u8]) -> io::Result<()> {
        self.file.write_all(format!("+{id} ").as_bytes())?;
        self.file.write_all(record)?;
        self.file.write_all(b"\n")
    }

    fn publish_file(&mut self) -> io::Result<()> {
        self.file.flush()?;
        fs::rename(temporary_path(&self.path), &self.path)
    }
}

fn new_file(path: &Path) -> io::Result<BufWriter<CountedFile>> {
    let file = create_locked_file(&temporary_path(path))?;
    Ok(BufWriter::new(CountedFile { file, written: 0 }))
}

fn temporary_path(path: &Path) -> PathBuf {
    path.with_extension("new")
}

impl io::Write for CountedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
