//! Files: new ones get their name when they are whole, and of others no more is believed than that they are files.

use std::{
    fs::{self, File, Metadata, Permissions},
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use tempfile::{Builder, NamedTempFile};

/// A file without its name yet, beside where it will lie. As readable as any new file of this user: caches are shared.
pub fn draft_in(folder: &Path) -> io::Result<NamedTempFile> {
    Builder::new().permissions(Permissions::from_mode(0o666)).tempfile_in(folder)
}

/// A file's bytes, at most so many.
///
/// # Errors
/// If it cannot be read, or is something else: a pipe would be waited for, for ever.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let size = fs::metadata(path).and_then(|meta| {
        if meta.is_file() {
            Ok(meta.len())
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, "it is no file"))
        }
    })?;
    let mut bytes = Vec::with_capacity(size.min(most) as usize + 1);
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Removes a file, a folder with all that is in it, or a link.
pub fn delete(path: &Path) -> io::Result<()> {
    let is_folder = fs::symlink_metadata(path)?.is_dir();
    if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

/// Removes what stands where a file is to be and is none: a link would lead elsewhere, a pipe be waited for.
pub fn make_way_for_file(path: &Path) -> io::Result<()> {
    make_way(path, Metadata::is_file)
}

/// The same where a folder is to be.
pub fn make_way_for_folder(path: &Path) -> io::Result<()> {
    make_way(path, Metadata::is_dir)
}

fn make_way(path: &Path, is_meant: fn(&Metadata) -> bool) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if !is_meant(&meta) => delete(path),
        _ => Ok(()),
    }
}
