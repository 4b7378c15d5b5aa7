//! The ids of the catalogue of API Gateway's behaviour, section by section.
//!
//! This list defines completeness, so it is written by hand and not derived from the rows. Table rows of the
//! catalogue without an id are called `SECTION-NUMBER`.

/// Section of the catalogue.
#[derive(Debug)]
pub struct Section {
    /// Title of the section.
    pub title: &'static str,
    ids: &'static str,
}

impl Section {
    /// Returns the ids in order.
    pub fn ids(&self) -> impl Iterator<Item = &'static str> {
        self.ids.split_ascii_whitespace()
    }
}

/// Returns every id in order.
pub fn ids() -> impl Iterator<Item = &'static str> {
    SECTIONS.iter().flat_map(Section::ids)
}

/// Sections in order.
pub static SECTIONS: [Section; 18] = [
    Section {
        title: "1. Events: keys and context",
        ids: "EV-1 EV-2 EV-3 EV-4 EV-5 EV-6 EV-10 EV-11 EV-12 EV-13 EV-14 EV-15 EV-16 ORD-1",
    },
    Section { title: "1. Events: identifiers", ids: "ID-1 ID-2 ID-3 ID-4 ID-5" },
    Section {
        title: "1. Events: identity and authorizer context",
        ids: "IDN-1 IDN-2 IDN-3 IDN-4 IDN-5 IDN-6 AUTHZ-1 AUTHZ-2 AUTHZ-3 AUTHZ-4 AUTHZ-5 AUTHZ-6",
    },
    Section {
        title: "1. Events: headers, query, body",
        ids: "HDR-1 HDR-2 HDR-3 HDR-4 HDR-5 HDR-6 HDR-7 HDR-8 HDR-9 QS-1 QS-2 QS-3 BODY-1 BODY-2 BODY-3",
    },
    Section {
        title: "2. The handshake and $connect",
        ids: "CON-1 CON-2 CON-3 CON-4 CON-5 CON-10 CON-11 CON-12 CON-13 \
              2.2-1 2.2-2 2.2-3 2.2-4 2.2-5 2.2-6 2.2-7 2.2-8 2.2-9",
    },
    Section { title: "2. Before any integration", ids: "2.3-1 2.3-2 2.3-3 2.3-4 2.3-5 2.3-6 2.3-7 2.3-8" },
    Section {
        title: "2. The 101 and subprotocols",
        ids: "HS-1 HS-2 HS-3 HS-4 HS-5 HS-6 HS-7 SUB-1 SUB-2 SUB-3 SUB-4 SUB-5 SUB-6 SUB-7",
    },
    Section {
        title: "2. Authorization",
        ids: "AU-1 AU-2 AU-3 AU-4 AU-5 AU-6 AU-7 AU-8 AU-9 AU-10 AU-11 AU-12 AU-13 AU-14 AU-15 AU-16 IAM-1 IAM-2",
    },
    Section {
        title: "3. Route selection",
        ids: "RT-1 RT-2 RT-3 RT-4 RT-5 RT-6 RT-7 RT-8 RT-9 RT-10 RT-11 RT-12 RT-13 RT-14",
    },
    Section {
        title: "3. Replies and error frames",
        ids: "3.2-1 3.2-2 3.2-3 3.2-4 3.2-5 3.2-6 3.2-7 3.2-8 3.2-9 \
              MSG-0 MSG-1 MSG-2 MSG-3 MSG-4 MSG-5 MSG-6 MSG-7 MSG-8 MSG-9 ERR-1 ERR-2 ERR-3 ERR-4",
    },
    Section { title: "3. Order and concurrency", ids: "CC-1 CC-2 CC-3 CC-4 CC-5" },
    Section { title: "3. Frames", ids: "FR-1 FR-2 FR-3 FR-4 FR-5 FR-6 FR-7 FR-8 FR-9 FR-10 FR-11" },
    Section { title: "4. Quotas", ids: "4-1 4-2 4-3 4-4 4-5 4-6 4-7 4-8 4-9 4-10 4-11 4-12 4-13 4-14 4-15 4-16 4-17" },
    Section { title: "4. Close codes and timers", ids: "4-C1 4-C2 4-C3 4-C4 4-C5 4-C6 4-C7 TM-1 TM-2 TM-3 TM-4 TM-5" },
    Section {
        title: "5. @connections: calls",
        ids: "CX-1 CX-2 CX-3 CX-4 5.2-1 5.2-2 5.2-3 CX-10 CX-11 CX-12 CX-13 \
              CX-30 CX-31 CX-32 CX-33 CX-34 CX-35 CX-36 CX-37",
    },
    Section {
        title: "5. @connections: errors",
        ids: "5.4-1 5.4-2 5.4-3 5.4-4 5.4-5 5.4-6 5.4-7 5.4-8 5.4-9 5.4-10 5.4-11 \
              CX-20 CX-21 CX-22 CX-23 CX-24 CX-25 CX-26",
    },
    Section {
        title: "5. @connections: signatures and SDKs",
        ids: "SG-1 SG-2 SG-3 SG-4 UR-1 UR-2 UR-3 UR-4 UR-5 UR-6 UR-7 UR-8",
    },
    Section {
        title: "6. $disconnect",
        ids: "DC-1 DC-2 DC-3 DC-4 DC-5 DC-6 6-1 6-2 6-3 6-4 6-5 6-6 6-7 6-8 DC-10 DC-11 DC-12",
    },
];

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::conformance::cases;

    #[test]
    fn every_id_has_one_row_and_every_row_an_id() {
        let listed: BTreeSet<_> = ids().collect();
        assert_eq!(listed.len(), ids().count(), "an id is listed twice");
        let mut rows = BTreeMap::<_, usize>::new();
        for row in cases::rows() {
            *rows.entry(row.id).or_default() += 1;
        }
        assert_eq!(rows.keys().copied().collect::<BTreeSet<_>>(), listed);
        assert_eq!(rows.into_iter().filter(|(_, count)| *count > 1).collect::<Vec<_>>(), []);
    }

    #[test]
    fn rows_have_texts() {
        for row in cases::rows() {
            assert!(row.aws.len() > 20 && !row.ours.is_empty(), "the text of {} is too short", row.id);
        }
    }
}
