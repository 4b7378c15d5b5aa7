//! Request ids and trace ids of invocations; unique, not secret.

use uuid::Uuid;

/// Returns a request id: a UUID of version 4 (RFC 9562, section 5.4), as Lambda's request ids are.
pub(crate) fn request_id() -> String {
    Uuid::new_v4().to_string()
}

/// Returns an X-Ray trace id of a trace that is not sampled (X-Ray developer guide, `xray-concepts`).
pub(crate) fn unsampled_trace(epoch_ms: u64) -> String {
    let (unique, (parent, _)) = (Uuid::new_v4().as_u128() >> 32, Uuid::new_v4().as_u64_pair());
    format!("Root=1-{:08x}-{unique:024x};Parent={parent:016x};Sampled=0", epoch_ms / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_their_form_and_do_not_repeat() {
        let (one, two) = (request_id(), request_id());
        assert_ne!(one, two);
        let parts: Vec<_> = one.split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert_eq!(&one[14..15], "4");
        let trace = unsampled_trace(1_732_000_000_000);
        assert!(trace.starts_with("Root=1-673c3900-") && trace.len() == 35 + 4 + 25 + 10, "{trace}");
        assert_ne!(trace, unsampled_trace(1_732_000_000_000));
    }
}
