//! Where a service is.

use std::fmt;
use std::str::FromStr;

use tokio_tungstenite::tungstenite::http::Uri;

/// Host, port and path of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    tls: bool,
    host: String,
    port: u16,
    /// Without a slash at its end.
    prefix: String,
}

/// Why text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Not a URL with a host.
    #[error("{0:?} is not the URL of a service: give one such as http://cvm.example:8600")]
    Malformed(String),
    /// TLS is not built in.
    #[error(
        "{0:?}: this build speaks no TLS. Build talaria with `--features tls`, or give the http:// address of the service: what is said is sealed for the payload anyway"
    )]
    Tls(String),
    /// Anything after the path.
    #[error("{0:?}: leave out user names and everything from `?` or `#` on")]
    Excess(String),
}

impl Address {
    /// For a TCP connection.
    pub(super) fn host_and_port(&self) -> (&str, u16) {
        // An IPv6 address stands in brackets in a URL, and nowhere else.
        let host = self.host.strip_prefix('[');
        let host = host.and_then(|host| host.strip_suffix(']'));
        (host.unwrap_or(&self.host), self.port)
    }

    /// Of the channel, asking for evidence with this nonce.
    pub(super) fn channel(&self, nonce: &[u8; 32]) -> String {
        let Self {
            tls,
            host,
            port,
            prefix,
        } = self;
        let scheme = if *tls { "wss" } else { "ws" };
        let nonce = hex::encode(nonce);
        format!("{scheme}://{host}:{port}{prefix}/v1/channel?nonce={nonce}")
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}{}", self.host, self.port, self.prefix)
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let malformed = || AddressError::Malformed(text.into());
        let uri: Uri = text.parse().map_err(|_| malformed())?;
        let tls = match uri.scheme_str() {
            Some("http" | "ws") => false,
            Some("https" | "wss") if cfg!(feature = "tls") => true,
            Some("https" | "wss") => return Err(AddressError::Tls(text.into())),
            _ => return Err(malformed()),
        };
        let authority = uri.authority().ok_or_else(malformed)?;
        if authority.as_str().contains('@') || text.contains(['?', '#']) {
            return Err(AddressError::Excess(text.into()));
        }
        let host = authority.host();
        if host.is_empty() {
            return Err(malformed());
        }
        // What is no port must not become the default one.
        let port = match authority.as_str().strip_prefix(host) {
            Some("") => Some(if tls { 443 } else { 80 }),
            rest => rest.and_then(|rest| rest.strip_prefix(':')?.parse().ok()),
        };
        Ok(Self {
            tls,
            host: host.into(),
            port: port.ok_or_else(malformed)?,
            prefix: uri.path().trim_end_matches('/').into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for (text, expected) in [
            ("http://cvm.example", "http://cvm.example:80"),
            ("http://cvm.example:8600/", "http://cvm.example:8600"),
            ("ws://127.0.0.1:1/a/b/", "http://127.0.0.1:1/a/b"),
            ("http://[::1]:8443", "http://[::1]:8443"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), expected);
            assert_eq!(expected.parse(), Ok(address));
        }
        let v6: Address = "http://[::1]:8443".parse().unwrap();
        assert_eq!(v6.host_and_port(), ("::1", 8443));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in "(https?://)?\\PC{0,40}") {
            if let Ok(address) = text.parse::<Address>() {
                let again = address.to_string().parse();
                prop_assert_eq!(again, Ok(address));
            }
        }
    }

    #[test]
    fn what_is_no_address_is_said() {
        for text in [
            "",
            "cvm.example",
            "ftp://cvm.example",
            "http://",
            "/v1",
            "http://a b",
            "http://cvm:99999",
            "http://cvm:port",
            "http://a[::1]:80",
        ] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(matches!(error, AddressError::Malformed(_)), "{text}");
        }
        let tls = "https://cvm.example".parse::<Address>();
        match cfg!(feature = "tls") {
            true => assert_eq!(tls.unwrap().to_string(), "https://cvm.example:443"),
            false => assert!(matches!(tls, Err(AddressError::Tls(_)))),
        }
        for text in ["http://user@cvm", "http://cvm/?a=b"] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(matches!(error, AddressError::Excess(_)), "{text}");
        }
    }
}
