//! Directories that only their owner can look into.

use std::io;

use tempfile::TempDir;

/// A new one among the temporary files. It goes, with all in it, when the value is dropped.
pub(crate) fn private_directory(prefix: &str) -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(prefix);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(std::fs::Permissions::from_mode(0o700));
    }
    builder.tempdir()
}
