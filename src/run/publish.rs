//! What a person reads goes to the reports folder.

use std::{collections::BTreeMap, fs, path::Path};

use crate::{
    error::{Error, Result},
    files::make_way_for_file,
    graph::Instance,
    key::Digest,
    store::{Store, content_of},
};

/// Sees that an instance's published outputs can be written, before hours are spent on what they are made of.
///
/// # Errors
/// If its folder cannot be made or written.
pub fn can_publish(instance: &Instance, folder: &Path) -> Result<()> {
    if !instance.publishes() {
        return Ok(());
    }
    let folder = folder.join(instance.report_folder());
    let try_it = || fs::create_dir_all(&folder).and_then(|()| tempfile::tempfile_in(&folder));
    try_it().map(drop).map_err(cannot_write(&folder))
}

/// Copies an instance's published outputs to its experiment's report folder; leaves alone what is there already.
pub fn publish(
    instance: &Instance,
    outputs: &BTreeMap<String, Digest>,
    store: &Store,
    folder: &Path,
) -> Result<()> {
    if !instance.publishes() {
        return Ok(());
    }
    let folder = folder.join(instance.report_folder());
    for output in instance.kind.outputs.iter().filter(|output| output.published) {
        let (target, content) = (folder.join(output.name), &outputs[output.name]);
        if content_of(&target).is_ok_and(|found| found.digest == *content) {
            continue;
        }
        let copy = || {
            fs::create_dir_all(&folder)?;
            // One run at a time, where the file system can lock a folder: all use one draft, so that none is left behind
            // by a run that was killed.
            let opened = fs::File::open(&folder)?;
            let _ = opened.lock();
            let draft = folder.join(format!(".{}.draft", output.name));
            make_way_for_file(&draft)?;
            // Where the file system can, this shares the blocks.
            std::io::copy(&mut fs::File::open(store.object(content))?, &mut fs::File::create(&draft)?)?;
            if content_of(&draft)?.digest != *content {
                store.distrust_stamps();
                let message = "the cached one has changed on disk; run again, and it is made again";
                return Err(std::io::Error::other(message));
            }
            fs::rename(&draft, &target)
        };
        copy().map_err(cannot_write(&target))?;
    }
    Ok(())
}

fn cannot_write(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    move |e| {
        Error::io(format!("cannot write the report `{}`", path.display()))(e)
            .hint("name another folder with `--reports DIR`; no result is lost")
    }
}
