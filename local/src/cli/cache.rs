//! Where things are kept between runs.

use std::path::PathBuf;

use clap::Args;

/// The cache; a CVM, which has no user, has none by default.
#[derive(Clone, Debug, Default, Args)]
pub struct CacheArgs {
    /// Where compiled code and R_pub of module-lwe are kept; they are checked before use [default: talaria in the user's
    /// cache directory].
    #[arg(long, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
}

impl CacheArgs {
    /// The directory asked for, else `$XDG_CACHE_HOME/talaria` or `~/.cache/talaria`, else none.
    pub fn dir(&self) -> Option<PathBuf> {
        self.cache_dir.clone().or_else(|| {
            platform_cache(
                std::env::var_os("XDG_CACHE_HOME"),
                std::env::var_os("HOME"),
                std::env::var_os("LOCALAPPDATA"),
            )
        })
    }
}

fn platform_cache(
    xdg: Option<std::ffi::OsString>,
    home: Option<std::ffi::OsString>,
    local_app_data: Option<std::ffi::OsString>,
) -> Option<PathBuf> {
    // The XDG specification has relative paths ignored.
    let absolute = |path: std::ffi::OsString| Some(PathBuf::from(path)).filter(|p| p.is_absolute());
    xdg.and_then(absolute)
        .or_else(|| local_app_data.and_then(absolute))
        .or_else(|| Some(home.and_then(absolute)?.join(".cache")))
        .map(|cache| cache.join("talaria"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_follows_the_platform() {
        let path = |s: &str| Some(s.into());
        let found = |xdg, home, local| platform_cache(xdg, home, local);
        if cfg!(unix) {
            assert_eq!(
                found(path("/x"), path("/h"), None),
                Some("/x/talaria".into())
            );
            assert_eq!(
                found(path("x"), path("/h"), None),
                Some("/h/.cache/talaria".into())
            );
            assert_eq!(
                found(None, path("/h"), path("/l")),
                Some("/l/talaria".into())
            );
        }
        assert_eq!(found(None, None, None), None);
    }
}
