//! Negotiation of permessage-deflate in the handshake (RFC 7692 section 7.1; HS-2).
//!
//! An offer is accepted as a whole or declined. A malformed offer is declined and the next one is tried; no offer makes
//! a handshake fail. API Gateway's response is known from one capture, which resembles that of Netty's handler: no
//! space after `;`, a smaller server window accepted, the client's window not limited.

use http::HeaderMap;
use http::header::{HeaderValue, SEC_WEBSOCKET_EXTENSIONS};

/// Policy for clients that offer compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompressionMode {
    /// As API Gateway: the client's messages may refer to earlier ones, unless its offer excludes that.
    Aws,
    /// No context takeover in either direction, regardless of the offer: no state is kept between messages.
    NoContextTakeover,
    /// No compression: offers are ignored, as RFC 7692 permits.
    Off,
}

/// Negotiated parameters of permessage-deflate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeflateAgreement {
    /// Whether the server compresses each message independently (section 7.1.1.1).
    pub server_no_context_takeover: bool,
    /// Whether the client compresses each message independently (section 7.1.1.2).
    pub client_no_context_takeover: bool,
    /// Base-2 logarithm of the server's window, 8 to 15, if the client requested one (section 7.1.2.1).
    pub server_max_window_bits: Option<u8>,
}

/// Accepts the first acceptable offer of the request's `Sec-WebSocket-Extensions`; returns `None` when there is none.
///
/// ```
/// use gateway::handshake::{CompressionMode, negotiate_deflate};
/// use http::HeaderMap;
///
/// let mut headers = HeaderMap::new();
/// headers.insert("sec-websocket-extensions", "permessage-deflate; server_max_window_bits=12".parse()?);
/// let agreement = negotiate_deflate(CompressionMode::Aws, &headers).expect("the offer is acceptable");
/// assert_eq!(agreement.response_header(), "permessage-deflate;server_max_window_bits=12");
/// # Ok::<(), http::header::InvalidHeaderValue>(())
/// ```
#[must_use]
pub fn negotiate_deflate(compression: CompressionMode, headers: &HeaderMap) -> Option<DeflateAgreement> {
    if compression == CompressionMode::Off {
        return None;
    }
    let values = headers.get_all(SEC_WEBSOCKET_EXTENSIONS).iter().filter_map(|value| value.to_str().ok());
    let offer = values.flat_map(|value| split_outside_quotes(value, ',')).find_map(DeflateOffer::parse)?;
    let no_takeover = compression == CompressionMode::NoContextTakeover;
    Some(DeflateAgreement {
        server_no_context_takeover: no_takeover || offer.server_no_context_takeover,
        client_no_context_takeover: no_takeover || offer.client_no_context_takeover,
        server_max_window_bits: offer.server_max_window_bits,
    })
}

impl DeflateAgreement {
    /// Returns the value of `Sec-WebSocket-Extensions` in the `101`.
    #[must_use]
    pub fn response_header(&self) -> HeaderValue {
        let mut value = "permessage-deflate".to_owned();
        if self.server_no_context_takeover {
            value += ";server_no_context_takeover";
        }
        if self.client_no_context_takeover {
            value += ";client_no_context_takeover";
        }
        if let Some(bits) = self.server_max_window_bits {
            value += &format!(";server_max_window_bits={bits}");
        }
        HeaderValue::try_from(value).expect("the parameters are printable ASCII")
    }
}

/// An offer of permessage-deflate. Each parameter may occur once (RFC 7692 section 7.1).
#[derive(Default)]
struct DeflateOffer {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    client_max_window_bits: bool,
}

impl DeflateOffer {
    fn parse(offer: &str) -> Option<Self> {
        let mut parts = split_outside_quotes(offer, ';');
        if !parts.next()?.eq_ignore_ascii_case("permessage-deflate") {
            return None;
        }
        let mut parsed = Self::default();
        for part in parts {
            let (name, value) = part.split_once('=').map_or((part, None), |(name, value)| (name, Some(value)));
            parsed.apply_parameter(name.trim_end(), value.map(str::trim_start))?;
        }
        Some(parsed)
    }

    /// Applies a parameter; returns `None` for one that is unknown, malformed or repeated.
    fn apply_parameter(&mut self, name: &str, value: Option<&str>) -> Option<()> {
        match (name, value) {
            ("server_no_context_takeover", None) => set_once(&mut self.server_no_context_takeover),
            ("client_no_context_takeover", None) => set_once(&mut self.client_no_context_takeover),
            ("server_max_window_bits", Some(value)) if self.server_max_window_bits.is_none() => {
                self.server_max_window_bits = Some(window_bits(value)?);
                Some(())
            }
            ("client_max_window_bits", None) => set_once(&mut self.client_max_window_bits),
            ("client_max_window_bits", Some(value)) => {
                window_bits(value)?;
                set_once(&mut self.client_max_window_bits)
            }
            _ => None,
        }
    }
}

fn set_once(seen: &mut bool) -> Option<()> {
    if std::mem::replace(seen, true) { None } else { Some(()) }
}

/// Parses a decimal of 8 to 15 without leading zeros, quoted or not.
fn window_bits(value: &str) -> Option<u8> {
    let unquoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    match unquoted.as_bytes() {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

/// Splits at each `separator` outside quoted strings and trims the parts.
fn split_outside_quotes(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let split = text.split(move |c| {
        quoted ^= c == '"';
        c == separator && !quoted
    });
    split.map(str::trim)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn response_to(compression: CompressionMode, offers: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for offer in offers {
            headers.append(SEC_WEBSOCKET_EXTENSIONS, HeaderValue::from_str(offer).unwrap());
        }
        let agreement = negotiate_deflate(compression, &headers)?;
        Some(agreement.response_header().to_str().unwrap().to_owned())
    }

    fn aws(offer: &str) -> Option<String> {
        response_to(CompressionMode::Aws, &[offer])
    }

    #[test]
    fn hs_2_the_captured_offer_gets_the_captured_response() {
        let offer = "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12";
        assert_eq!(aws(offer).as_deref(), Some("permessage-deflate;server_max_window_bits=12"));
        // The offer of browsers.
        assert_eq!(aws("permessage-deflate; client_max_window_bits").as_deref(), Some("permessage-deflate"));
        assert_eq!(aws("permessage-deflate").as_deref(), Some("permessage-deflate"));
    }

    #[test]
    fn hs_2_restrictions_that_the_client_offers_are_accepted() {
        assert_eq!(
            aws("permessage-deflate;client_no_context_takeover;server_no_context_takeover").as_deref(),
            Some("permessage-deflate;server_no_context_takeover;client_no_context_takeover")
        );
        let quoted = "permessage-deflate; server_max_window_bits=\"8\"";
        assert_eq!(aws(quoted).as_deref(), Some("permessage-deflate;server_max_window_bits=8"));
        let no_takeover =
            response_to(CompressionMode::NoContextTakeover, &["permessage-deflate; client_max_window_bits"]);
        assert_eq!(
            no_takeover.as_deref(),
            Some("permessage-deflate;server_no_context_takeover;client_no_context_takeover")
        );
    }

    #[test]
    fn malformed_offers_are_declined() {
        for parameters in [
            "unknown",
            "server_no_context_takeover=1",
            "client_no_context_takeover; client_no_context_takeover",
            "server_max_window_bits",
            "server_max_window_bits=",
            "server_max_window_bits=7",
            "server_max_window_bits=16",
            "server_max_window_bits=08",
            "server_max_window_bits=+9",
            "server_max_window_bits=9; server_max_window_bits=9",
            "client_max_window_bits=0",
            "client_max_window_bits; client_max_window_bits=9",
            "",
        ] {
            assert_eq!(aws(&format!("permessage-deflate; {parameters}")), None, "{parameters}");
        }
        assert_eq!(aws("x-webkit-deflate-frame, permessage-bzip2"), None);
        assert_eq!(aws("x; y=\"a, permessage-deflate, b\""), None);
        assert_eq!(response_to(CompressionMode::Off, &["permessage-deflate"]), None);
    }

    #[test]
    fn the_first_acceptable_offer_counts() {
        let offers = [
            "permessage-deflate; server_max_window_bits=99, other",
            "permessage-deflate; server_max_window_bits=10, permessage-deflate",
        ];
        assert_eq!(
            response_to(CompressionMode::Aws, &offers).as_deref(),
            Some("permessage-deflate;server_max_window_bits=10")
        );
    }

    proptest! {
        #[test]
        fn no_offer_panics(offer in "[ -~]{0,80}", tail in "(permessage-deflate|server_max_window_bits|[;=,\" 0-9]){0,12}") {
            let _ = aws(&offer);
            let _ = aws(&tail);
        }
    }
}
