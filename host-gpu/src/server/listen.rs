//! Where a host listens.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::net::TcpListener;
#[cfg(unix)]
use tokio::net::{UnixListener, UnixStream};

use super::Door;

/// `HOST:PORT` or `unix:/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP; port 0 takes a free one.
    Tcp(String),
    /// A Unix socket.
    Unix(PathBuf),
}

/// What an address should look like.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no address: expected HOST:PORT, [IPV6]:PORT or unix:/path")]
pub struct AddressError(String);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let error = || AddressError(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            return (!path.is_empty())
                .then(|| Self::Unix(path.into()))
                .ok_or_else(error);
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(error)?;
        let bare_ipv6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
        if host.is_empty() || bare_ipv6 || port.parse::<u16>().is_err() {
            return Err(error());
        }
        Ok(Self::Tcp(text.to_owned()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Address {
    /// As a client is told: `http://HOST:PORT` or `unix:/path`.
    pub fn url(&self) -> String {
        match self {
            Self::Tcp(address) => format!("http://{address}"),
            Self::Unix(_) => self.to_string(),
        }
    }
}

/// A bound socket.
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// TCP, encrypted to a key, for callers who may have a link.
    Secured(TcpListener, Arc<Door>),
    /// A Unix socket and its file, which goes with it.
    #[cfg(unix)]
    Unix(UnixListener, SocketFile),
}

impl Listener {
    /// Binds an address, in the reactor of the calling task.
    ///
    /// # Errors
    /// The operating system's. A socket file that nobody answers on is replaced, any other file is
    /// left alone.
    pub async fn bind(address: &Address) -> std::io::Result<Self> {
        match address {
            Address::Tcp(address) => Ok(Self::Tcp(TcpListener::bind(address).await?)),
            #[cfg(unix)]
            Address::Unix(path) => {
                remove_stale(path).await?;
                let listener = UnixListener::bind(path)?;
                Ok(Self::Unix(listener, SocketFile(path.clone())))
            }
            #[cfg(not(unix))]
            Address::Unix(_) => Err(std::io::ErrorKind::Unsupported.into()),
        }
    }

    /// Takes only callers who may pass this door. A Unix socket stays as it is: its bytes leave no machine, and its file
    /// says who may open it.
    pub fn secured(self, door: Door) -> Self {
        match self {
            Self::Tcp(listener) => Self::Secured(listener, Arc::new(door)),
            other => other,
        }
    }

    /// As a client is told: [`Address::url`], or `noise://KEY@HOST:PORT`.
    ///
    /// # Errors
    /// The operating system's.
    pub fn url(&self) -> std::io::Result<String> {
        let address = self.address()?;
        Ok(match self {
            Self::Secured(_, door) => {
                format!("noise://{}@{address}", hex::encode(door.key.public()))
            }
            _ => address.url(),
        })
    }

    /// Public key of the link; empty if connections are not encrypted.
    pub(super) fn link_key(&self) -> Bytes {
        match self {
            Self::Secured(_, door) => Bytes::copy_from_slice(door.key.public()),
            _ => Bytes::new(),
        }
    }

    /// Where it really listens: with the port that was free.
    ///
    /// # Errors
    /// The operating system's.
    pub fn address(&self) -> std::io::Result<Address> {
        match self {
            Self::Tcp(listener) | Self::Secured(listener, _) => {
                Ok(Address::Tcp(listener.local_addr()?.to_string()))
            }
            #[cfg(unix)]
            Self::Unix(_, file) => Ok(Address::Unix(file.0.clone())),
        }
    }
}

/// Removes a Unix socket's file when dropped.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Gone already: nothing left to do.
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(unix)]
async fn remove_stale(path: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::FileTypeExt;
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if is_socket && UnixStream::connect(path).await.is_err() {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for good in ["127.0.0.1:0", "[::1]:7000", "gpu.example:7000"] {
            assert_eq!(good.parse(), Ok(Address::Tcp(good.into())));
        }
        let unix = Address::Unix("/run/gpu".into());
        assert_eq!("unix:/run/gpu".parse(), Ok(unix));
        for bad in [
            "",
            "unix:",
            "localhost",
            ":7000",
            "::1:7000",
            "host:70000",
            "host:",
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
