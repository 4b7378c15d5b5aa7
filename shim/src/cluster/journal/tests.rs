use std::collections::HashMap;

use parking_lot::Mutex;

use super::recovery::LostPod;
use super::*;

const NAMESPACE: &str = "prefix 'twinway' in database 0";

/// Connections that a test changes together with the journal.
#[derive(Default)]
struct OpenConnections(Mutex<Vec<(GatewayId, Vec<u8>)>>);

impl JournalSource for OpenConnections {
    fn for_each_record(&self, each: &mut dyn FnMut(GatewayId, &[u8])) {
        self.0.lock().iter().for_each(|(id, record)| each(*id, record));
    }
}

fn id(sequence: u32) -> GatewayId {
    GatewayId::for_connection(sequence.into(), 7)
}

fn header(epoch: &str) -> JournalHeader {
    JournalHeader { lease_id: LeaseId::parse("7.incarnation").unwrap(), data_epoch: epoch.to_owned() }
}

fn start(directory: &Path, source: &Arc<OpenConnections>) -> ConnectionJournal {
    let source: Arc<dyn JournalSource> = source.clone();
    ConnectionJournal::start(directory, NAMESPACE, header("first"), Arc::downgrade(&source)).unwrap()
}

/// Waits until the writer has ended and returns what a new pod finds.
fn recover(directory: &Path, journal: ConnectionJournal) -> LostPod {
    drop(journal);
    loop {
        // The lock ends with the writer.
        if let Some(found) = find_lost_pods(directory, NAMESPACE).unwrap().pop() {
            return found.lost_pod;
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_dead_pods_open_connections_are_found_and_ended_ones_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let journal = start(directory.path(), &Arc::default());
    for sequence in 1..=3 {
        journal.record(JournalEvent::Opened(id(sequence), format!("{{\"n\":{sequence}}}").into_bytes()));
    }
    journal.record(JournalEvent::Ended(id(2)));
    journal.record(JournalEvent::Registered(header("second")));
    assert!(find_lost_pods(directory.path(), NAMESPACE).unwrap().is_empty(), "the pod is alive");
    let found = recover(directory.path(), journal);
    assert_eq!(found.header, header("second"));
    let found: HashMap<_, _> = found.connections.into_iter().collect();
    assert_eq!(found, HashMap::from([(id(1), b"{\"n\":1}".to_vec()), (id(3), b"{\"n\":3}".to_vec())]));
}

#[test]
fn a_file_that_is_written_again_has_the_connections_of_the_source() {
    let directory = tempfile::tempdir().unwrap();
    let source = Arc::new(OpenConnections::default());
    let journal = start(directory.path(), &source);
    journal.record(JournalEvent::Opened(id(1), b"{}".to_vec()));
    source.0.lock().push((id(2), b"{}".to_vec()));
    journal.record(JournalEvent::Released);
    let found = recover(directory.path(), journal);
    assert_eq!((found.header, found.connections), (header("first"), vec![(id(2), b"{}".to_vec())]));
}

#[test]
fn an_incomplete_last_line_and_a_file_of_another_namespace_are_ignored() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("7.incarnation.journal");
    fs::write(&path, format!("=7.incarnation first {NAMESPACE}\n+{} {{}}\n+{} {{\"cut", id(1), id(2))).unwrap();
    let found = find_lost_pods(directory.path(), NAMESPACE).unwrap().pop().unwrap();
    assert_eq!(found.lost_pod.connections, [(id(1), b"{}".to_vec())]);
    drop(found);
    assert!(find_lost_pods(directory.path(), "prefix 'other' in database 0").unwrap().is_empty());
    let found = find_lost_pods(directory.path(), NAMESPACE).unwrap().pop().unwrap();
    found.delete();
    assert!(!path.exists());
}
