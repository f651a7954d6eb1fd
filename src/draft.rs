//! Files that get their name when they are whole.

use std::{fs::Permissions, io, os::unix::fs::PermissionsExt, path::Path};

use tempfile::{Builder, NamedTempFile};

/// A file without its name yet, beside where it will lie. As readable as any new file of this user: caches are shared.
pub fn draft_in(folder: &Path) -> io::Result<NamedTempFile> {
    Builder::new().permissions(Permissions::from_mode(0o666)).tempfile_in(folder)
}
