//! Tensors by name in a safetensors file.

use crate::error::{Error, Result};
use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Writes a file under a temporary name, brings it to the disk, and renames it: a crash leaves the old file or
/// the new one, never half of one.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".partial");
    let temporary = PathBuf::from(temporary);
    let mut file = fs::File::create(&temporary).map_err(Error::io(&temporary))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(Error::io(&temporary))?;
    drop(file);
    fs::rename(&temporary, path).map_err(Error::io(path))
}

/// A named `f32` tensor to write.
pub(crate) struct Named<'a> {
    pub name: String,
    pub shape: Vec<usize>,
    pub values: &'a [f32],
}

/// Writes tensors and at most one entry of metadata (several would be written in no fixed order).
pub(crate) fn write_tensors(path: &Path, tensors: &[Named], metadata: (&str, String)) -> Result<()> {
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|t| t.values.iter().flat_map(|x| x.to_le_bytes()).collect()).collect();
    let fail = |e: safetensors::SafeTensorError| Error::format(path, e, "tensors that fit their shapes");
    let mut views = Vec::with_capacity(tensors.len());
    for (tensor, bytes) in tensors.iter().zip(&bytes) {
        views.push((&tensor.name, TensorView::new(Dtype::F32, tensor.shape.clone(), bytes).map_err(fail)?));
    }
    let metadata = HashMap::from([(metadata.0.to_string(), metadata.1)]);
    write_atomically(path, &safetensors::serialize(views, Some(metadata)).map_err(fail)?)
}

/// A safetensors file in memory.
pub(crate) struct TensorFile {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl TensorFile {
    pub fn read(path: PathBuf) -> Result<TensorFile> {
        let bytes = fs::read(&path).map_err(Error::io(&path))?;
        let file = TensorFile { path, bytes };
        file.parsed()?;
        Ok(file)
    }

    fn parsed(&self) -> Result<SafeTensors<'_>> {
        SafeTensors::deserialize(&self.bytes).map_err(|e| Error::format(&self.path, e, "a safetensors file"))
    }

    pub fn metadata(&self, key: &str) -> Result<String> {
        let (_, header) = SafeTensors::read_metadata(&self.bytes)
            .map_err(|e| Error::format(&self.path, e, "a safetensors file"))?;
        let value = header.metadata().as_ref().and_then(|m| m.get(key)).cloned();
        value.ok_or_else(|| Error::format(&self.path, "no such metadata", format!("metadata `{key}`")))
    }

    pub fn has(&self, name: &str) -> Result<bool> {
        Ok(self.parsed()?.tensor(name).is_ok())
    }

    /// The values of a tensor of this shape, appended to `values`. Half precision is widened.
    pub fn append(&self, name: &str, shape: &[usize], values: &mut Vec<f32>) -> Result<()> {
        let parsed = self.parsed()?;
        let expected = || format!("a tensor `{name}` of shape {shape:?} in F32, F16 or BF16");
        let Ok(tensor) = parsed.tensor(name) else {
            return Err(Error::format(&self.path, format!("no tensor `{name}`"), expected()));
        };
        if tensor.shape() != shape {
            return Err(Error::format(&self.path, format!("shape {:?}", tensor.shape()), expected()));
        }
        let data = tensor.data();
        let two = |bytes: &[u8; 2]| u16::from_le_bytes(*bytes);
        match tensor.dtype() {
            Dtype::F32 => values.extend(data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b))),
            Dtype::F16 => values.extend(data.as_chunks().0.iter().map(|b| f16::from_bits(two(b)).to_f32())),
            Dtype::BF16 => values.extend(data.as_chunks().0.iter().map(|b| bf16::from_bits(two(b)).to_f32())),
            other => return Err(Error::format(&self.path, format!("`{name}` in {other:?}"), expected())),
        }
        Ok(())
    }
}
