//! redb backend on a real file that simulates a full disk and failed syncs.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use handlers::memory::ManualClock;
use parking_lot::Mutex;
use redb::{Builder, StorageBackend};

use super::{DAY, FileLog, FileLogMetrics, NOW, config};
use crate::embedded::log::{open, retention, writer};

const BLOCK: u64 = 4_096;

#[derive(Debug, Clone, Default)]
pub(super) struct Disk(Arc<Mutex<DiskState>>);

#[derive(Debug, Default)]
struct DiskState {
    /// Blocks that were written. As in a sparse file, only these consume disk space.
    allocated: HashSet<u64>,
    full: bool,
    broken: bool,
}

#[derive(Debug)]
struct DiskBackend {
    file: File,
    disk: Disk,
}

impl Disk {
    /// Makes every allocation of a further block fail.
    pub(super) fn fill(&self) {
        self.0.lock().full = true;
    }

    pub(super) fn free(&self) {
        self.0.lock().full = false;
    }

    pub(super) fn break_syncs(&self, broken: bool) {
        self.0.lock().broken = broken;
    }

    /// Opens a log on this disk that accepts appends immediately after a failure.
    pub(super) fn log(&self, directory: &Path) -> FileLog {
        let disk = self.clone();
        let opened = open::open_log(directory, move |path, create| {
            let file = OpenOptions::new().read(true).write(true).create(create).truncate(false).open(path)?;
            Builder::new().create_with_backend(DiskBackend { file, disk: disk.clone() })
        });
        let open::OpenedLog { database, epochs } = opened.unwrap();
        let context = writer::WriterContext {
            database: Arc::new(database),
            head_cache: Arc::default(),
            metrics: FileLogMetrics::default(),
            limits: retention::RetentionLimits::from_config(&config(directory, 100_000, DAY)),
            clock: Arc::new(ManualClock::new(NOW)),
            reject_duration_after: |_| Duration::ZERO,
        };
        FileLog::start_threads(context, epochs).unwrap()
    }
}

impl StorageBackend for DiskBackend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.disk.0.lock().broken { Err(io::Error::other("the disk is broken")) } else { Ok(()) }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let mut blocks = offset / BLOCK..(offset + data.len() as u64).div_ceil(BLOCK);
        if state.full && !blocks.clone().all(|block| state.allocated.contains(&block)) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.allocated.extend(&mut blocks);
        self.file.write_all_at(data, offset)
    }
}
