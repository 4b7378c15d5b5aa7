//! Request ids and trace ids of invocations; unique, not secret.

use uuid::Uuid;

/// Returns a request id: a UUID of version 4 (RFC 9562, section 5.4), as Lambda's request ids are.
pub(crate) fn request_id() -> String {
    Uuid::new_v4().to_string()
}

/// Returns 32 hexadecimal digits with 122 random bits.
pub(crate) fn random_token() -> String {
    Uuid::new_v4().simple().to_string()
}

/// Returns the trace header of an invocation (X-Ray developer guide, `xray-concepts`): in the trace of its request, whose
/// header is `request`; otherwise in a trace of its own that is not sampled.
pub(crate) fn invocation_trace(request: Option<&str>, epoch_ms: u64) -> String {
    let field = |name: &str| request?.split(';').find_map(|field| field.trim().strip_prefix(name));
    let root = field("Root=").filter(|root| is_trace_root(root)).map(str::to_owned);
    let parent = field("Parent=").filter(|parent| is_hexadecimal(parent, 16)).map(str::to_owned);
    let sampled = if field("Sampled=") == Some("1") { 1 } else { 0 };
    let root = root.unwrap_or_else(|| format!("1-{:08x}-{:024x}", epoch_ms / 1000, Uuid::new_v4().as_u128() >> 32));
    let parent = parent.unwrap_or_else(|| format!("{:016x}", Uuid::new_v4().as_u64_pair().0));
    format!("Root={root};Parent={parent};Sampled={sampled}")
}

/// Returns whether the text is `1-`, eight digits of seconds, `-` and 24 digits.
fn is_trace_root(text: &str) -> bool {
    let parts = text.strip_prefix("1-").and_then(|rest| rest.split_once('-'));
    parts.is_some_and(|(seconds, unique)| is_hexadecimal(seconds, 8) && is_hexadecimal(unique, 24))
}

fn is_hexadecimal(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit())
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
        let trace = invocation_trace(None, 1_732_000_000_000);
        assert!(trace.starts_with("Root=1-673c3900-") && trace.len() == 35 + 4 + 25 + 10, "{trace}");
        assert_ne!(trace, invocation_trace(None, 1_732_000_000_000));
    }

    #[test]
    fn an_invocation_is_in_the_trace_of_its_request() {
        let root = "Root=1-673c3900-0123456789abcdef01234567";
        let trace = invocation_trace(Some(root), 0);
        assert!(trace.starts_with(&format!("{root};Parent=")) && trace.ends_with(";Sampled=0"), "{trace}");
        let complete = format!("{root};Parent=0123456789abcdef;Sampled=1");
        assert_eq!(invocation_trace(Some(&complete), 0), complete);
        for invalid in ["", "Root=1-2-3", "Root=1-673c3900-0123456789abcdef01234567\r\nX: y", "Self=1"] {
            assert!(invocation_trace(Some(invalid), 1000).starts_with("Root=1-00000001-"), "{invalid:?}");
        }
    }
}
