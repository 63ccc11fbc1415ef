//! Standard output, piece by piece: a reader sees tokens as they come.

use std::io::{self, Write};

use crate::error::LocalError;

/// Writes and flushes.
pub(crate) fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// As [`write`], with the program's error.
pub(crate) fn print(text: &str) -> Result<(), LocalError> {
    write(text).map_err(LocalError::Output)
}

/// One JSON object on one line.
pub(crate) fn print_json(object: &impl serde::Serialize) -> Result<(), LocalError> {
    let json = serde_json::to_string(object).map_err(|e| LocalError::Output(e.into()))?;
    print(&format!("{json}\n"))
}
