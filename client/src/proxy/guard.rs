//! Who may use the proxy.
//!
//! With a key, who knows it. Without one, programs of this machine: but a browser on it runs programs of others. A
//! web page may send requests to any address, which then carry an `Origin`; and a name of the page's own may be made
//! to mean 127.0.0.1 (DNS rebinding), which then stands in `Host`. Neither is what a program that was told the
//! proxy's address sends, so both are refused.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use zeroize::Zeroizing;

use super::Proxy;
use super::error::ApiError;

/// Who may use the proxy.
pub struct Guard {
    listen: SocketAddr,
    api_key: Option<Zeroizing<String>>,
}

/// A proxy that anybody on the network could use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} can be reached from other machines: give --api-key, or listen on 127.0.0.1. What is sent to the proxy is in clear"
)]
pub struct Open(SocketAddr);

impl Guard {
    /// For a proxy at this address.
    ///
    /// # Errors
    /// Other machines reach it, and there is no key.
    pub fn new(listen: SocketAddr, api_key: Option<String>) -> Result<Self, Open> {
        if api_key.is_none() && !listen.ip().is_loopback() {
            return Err(Open(listen));
        }
        Ok(Self {
            listen,
            api_key: api_key.map(Zeroizing::new),
        })
    }

    fn check(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        match &self.api_key {
            Some(key) => check_key(key, headers),
            None if headers.contains_key(header::ORIGIN) => Err(forbidden(
                "requests of web pages (with an Origin) are refused: start the proxy with --api-key to allow them",
            )),
            None => match self.is_this(headers) {
                true => Ok(()),
                false => Err(forbidden(
                    "the Host of this request is not the proxy's address: use that, or start the proxy with --api-key",
                )),
            },
        }
    }

    /// Whether `Host` is the proxy's address or a name of this machine that no other can take.
    fn is_this(&self, headers: &HeaderMap) -> bool {
        let host = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok());
        let Some(host) = host else {
            return false;
        };
        if let Ok(address) = host.parse::<SocketAddr>() {
            return address.port() == self.listen.port() && self.is_own(address.ip());
        }
        match host.rsplit_once(':') {
            Some((name, port)) => is_localhost(name) && port.parse() == Ok(self.listen.port()),
            None => self.listen.port() == 80 && (is_localhost(host) || self.is_own_text(host)),
        }
    }

    fn is_own(&self, ip: IpAddr) -> bool {
        ip == self.listen.ip() || ip.is_loopback()
    }

    fn is_own_text(&self, host: &str) -> bool {
        host.parse().is_ok_and(|ip| self.is_own(ip))
    }
}

fn is_localhost(name: &str) -> bool {
    name.eq_ignore_ascii_case("localhost")
}

fn forbidden(message: &str) -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, "invalid_request_error", message)
}

fn check_key(key: &str, headers: &HeaderMap) -> Result<(), ApiError> {
    let given = headers.get(header::AUTHORIZATION);
    let given = given.and_then(|given| given.to_str().ok());
    let given = given.and_then(|given| given.strip_prefix("Bearer "));
    match given.is_some_and(|given| is_equal(given.trim().as_bytes(), key.as_bytes())) {
        true => Ok(()),
        false => {
            let message = "the API key of the proxy is needed: Authorization: Bearer ...";
            let error = ApiError::new(StatusCode::UNAUTHORIZED, "invalid_request_error", message);
            Err(error.code("invalid_api_key"))
        }
    }
}

/// In a time that does not tell where two keys of one length differ.
fn is_equal(a: &[u8], b: &[u8]) -> bool {
    let differences = a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b));
    a.len() == b.len() && std::hint::black_box(differences) == 0
}

/// Before every route; `/health` tells nothing and needs no key.
pub(super) async fn guard(
    State(proxy): State<Arc<Proxy>>,
    request: Request,
    next: Next,
) -> Response {
    let is_health = request.uri().path() == "/health" && proxy.guard.api_key.is_some();
    match proxy.guard.check(request.headers()) {
        Err(error) if !is_health => error.into_response(),
        _ => next.run(request).await,
    }
}
