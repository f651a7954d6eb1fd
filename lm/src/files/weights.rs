//! The tensors of a model's folder: in one file, or in several that an index names.

use super::{Named, TensorFile, write_atomically, write_tensors};
use crate::error::{Error, Result};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

/// The file that holds all tensors, where there is one.
const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// How the names of several files begin.
const SHARD: &str = "model-";

/// Tensors by name. Of several files one is in memory at a time: neighbours lie together.
pub(crate) struct Weights {
    folder: PathBuf,
    /// The file of each tensor; empty where all are in one.
    files: BTreeMap<String, String>,
    open: Option<(String, TensorFile)>,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Writes tensors to a folder, in files of at most `most` bytes or of one tensor. A crash leaves what was there, what is
/// new, or an error to read, but never some of each.
pub(crate) fn write_weights(folder: &Path, tensors: Vec<Named>, most: usize) -> Result<()> {
    let metadata = || ("format", "pt".into());
    let sizes: Vec<usize> = tensors.iter().map(|t| size_of_val(t.values)).collect();
    let (mut shards, mut room): (Vec<Vec<Named>>, usize) = (vec![], 0);
    for (tensor, &size) in tensors.into_iter().zip(&sizes) {
        match shards.last_mut().filter(|_| size <= room) {
            Some(shard) => {
                shard.push(tensor);
                room -= size;
            }
            None => {
                shards.push(vec![tensor]);
                room = most.saturating_sub(size);
            }
        }
    }
    let (single, index) = (folder.join(SINGLE), folder.join(INDEX));
    if let [all] = &shards[..] {
        write_tensors(&single, all, metadata())?;
        remove(&index)?;
        return remove_shards(folder, &[]);
    }
    // Files that it names are about to change.
    remove(&index)?;
    let (mut weight_map, mut files) = (BTreeMap::new(), vec![]);
    for (number, shard) in shards.iter().enumerate() {
        let file = format!("{SHARD}{:05}-of-{:05}.safetensors", number + 1, shards.len());
        write_tensors(&folder.join(&file), shard, metadata())?;
        weight_map.extend(shard.iter().map(|tensor| (tensor.name.clone(), file.clone())));
        files.push(file);
    }
    let json = json!({ "metadata": { "total_size": sizes.iter().sum::<usize>() }, "weight_map": weight_map });
    let text = serde_json::to_string_pretty(&json).map_err(|e| Error::format(&index, e, "JSON"))? + "\n";
    write_atomically(&index, text.as_bytes())?;
    // It would be read before the index.
    remove(&single)?;
    remove_shards(folder, &files)
}

fn remove(file: &Path) -> Result<()> {
    match fs::remove_file(file) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io(file)(e)),
        _ => Ok(()),
    }
}

/// Removes the shards of another time.
fn remove_shards(folder: &Path, kept: &[String]) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let name = entry.map_err(Error::io(folder))?.file_name();
        let name = name.to_string_lossy();
        let is_shard = name.starts_with(SHARD) && name.contains("-of-") && name.ends_with(".safetensors");
        if is_shard && !kept.iter().any(|kept| *kept == name) {
            remove(&folder.join(&*name))?;
        }
    }
    Ok(())
}

impl Weights {
    /// # Errors
    /// [`Error::Io`] or [`Error::Format`] if there is neither a file of tensors nor a sound index.
    pub fn open(folder: &Path) -> Result<Weights> {
        let mut weights = Weights { folder: folder.into(), files: BTreeMap::new(), open: None };
        let index = folder.join(INDEX);
        if folder.join(SINGLE).exists() || !index.exists() {
            weights.file(SINGLE)?;
            return Ok(weights);
        }
        let text = fs::read_to_string(&index).map_err(Error::io(&index))?;
        let Index { weight_map } = serde_json::from_str(&text)
            .map_err(|e| Error::format(&index, e, "an index: `weight_map` from tensors to files"))?;
        // The index comes from elsewhere: it must not lead out of the folder.
        let plain = |file: &&String| {
            let mut parts = Path::new(file.as_str()).components();
            matches!((parts.next(), parts.next()), (Some(Component::Normal(_)), None))
        };
        if let Some(file) = weight_map.values().find(|file| !plain(file)) {
            return Err(Error::format(
                &index,
                format!("the file `{file}`"),
                "names of files in the same folder",
            ));
        }
        weights.files = weight_map;
        Ok(weights)
    }

    pub fn has(&mut self, name: &str) -> Result<bool> {
        match self.place(name) {
            Some(file) => self.file(&file)?.has(name),
            None => Ok(false),
        }
    }

    /// As [`TensorFile::append`].
    pub fn append(&mut self, name: &str, shape: &[usize], values: &mut Vec<f32>) -> Result<()> {
        let Some(file) = self.place(name) else {
            let (found, expected) = (format!("no tensor `{name}`"), format!("a file for `{name}`"));
            return Err(Error::format(&self.folder.join(INDEX), found, expected));
        };
        self.file(&file)?.append(name, shape, values)
    }

    /// The file that should have a tensor.
    fn place(&self, name: &str) -> Option<String> {
        if self.files.is_empty() { Some(SINGLE.into()) } else { self.files.get(name).cloned() }
    }

    fn file(&mut self, name: &str) -> Result<&TensorFile> {
        // Another one is let go first: two may not fit.
        let open = match self.open.take().filter(|(open, _)| open == name) {
            Some(open) => open,
            None => (name.into(), TensorFile::read(self.folder.join(name))?),
        };
        Ok(&self.open.insert(open).1)
    }
}
