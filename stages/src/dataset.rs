//! The datasets that stages exchange: Arrow IPC files whose schemas are declared once, here, and checked
//! wherever a file is written or read.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufWriter, Read, Seek, SeekFrom},
    path::Path,
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, Float32Array, RecordBatch, StringArray, UInt32Array},
    datatypes::{DataType, Field, Float32Type, Schema, UInt32Type},
    error::ArrowError,
    ipc::{
        reader::{FileReader, read_footer_length},
        root_as_footer,
        writer::FileWriter,
    },
};
use thiserror::Error;

use crate::contract::StageError;

/// A row of a dataset: its artifact type and its columns.
pub trait Row: Sized {
    /// The artifact type that the contract speaks of.
    const ARTIFACT: &'static str;
    /// Column names and types, in order; no column takes nulls.
    fn columns() -> Vec<(&'static str, DataType)>;
    fn to_arrays(rows: &[Self]) -> Vec<ArrayRef>;
    /// Rows from arrays that have passed the schema check.
    fn from_arrays(arrays: &[ArrayRef]) -> Vec<Self>;
}

/// Why a dataset could not be written or read.
#[derive(Debug, Error)]
pub enum DatasetError {
    #[error("`{path}` could not be {verb}: {source}")]
    Io { path: String, verb: &'static str, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("`{path}` is no dataset of {artifact}: expected the columns {expected}, found {found}")]
    Schema { path: String, artifact: &'static str, expected: String, found: String },
    #[error("`{path}`: column `{column}` has {nulls} missing values, expected none")]
    Nulls { path: String, column: String, nulls: usize },
}

impl From<DatasetError> for StageError {
    fn from(e: DatasetError) -> Self {
        Self::because("a dataset could not be used", e)
    }
}

fn schema<R: Row>() -> Schema {
    Schema::new(R::columns().into_iter().map(|(n, t)| Field::new(n, t, false)).collect::<Vec<_>>())
}

fn io<E: std::error::Error + Send + Sync + 'static>(
    path: &Path,
    verb: &'static str,
) -> impl FnOnce(E) -> DatasetError {
    let path = path.display().to_string();
    move |e| DatasetError::Io { path, verb, source: Box::new(e) }
}

/// Writes rows as one Arrow IPC file.
pub fn write<R: Row>(path: &Path, rows: &[R]) -> Result<(), DatasetError> {
    let schema = Arc::new(schema::<R>());
    let batch = RecordBatch::try_new(schema.clone(), R::to_arrays(rows)).map_err(io(path, "written"))?;
    let file = BufWriter::new(File::create(path).map_err(io(path, "written"))?);
    let mut writer = FileWriter::try_new(file, &schema).map_err(io(path, "written"))?;
    writer.write(&batch).map_err(io(path, "written"))?;
    writer.finish().map_err(io(path, "written"))
}

/// What `read` gives; none where it panics, as the library that reads Arrow files does on some that are damaged.
pub fn caught<T>(read: impl FnOnce() -> T) -> Option<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(read)).ok()
}

/// Opens an Arrow IPC file. The library would take memory for as many bytes as a block says that it has, before it finds
/// that the file has fewer.
pub fn open(path: &Path) -> Result<FileReader<File>, ArrowError> {
    const END: usize = 10; // the footer's length, and a mark
    let damaged = |why: &str| ArrowError::ParseError(why.into());
    let mut file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let mut end = [0; END];
    file.seek(SeekFrom::End(-(END as i64)))?;
    file.read_exact(&mut end)?;
    let length = (read_footer_length(end)? + END) as u64;
    let start = bytes.checked_sub(length).ok_or_else(|| damaged("its footer is longer than the file"))?;
    file.seek(SeekFrom::Start(start))?;
    let mut footer = vec![];
    (&mut file).take(length - END as u64).read_to_end(&mut footer)?;
    let footer = root_as_footer(&footer).map_err(|e| damaged(&e.to_string()))?;
    let blocks = footer.recordBatches().into_iter().chain(footer.dictionaries()).flatten();
    for block in blocks {
        let parts = [block.offset(), i64::from(block.metaDataLength()), block.bodyLength()];
        let end = parts.iter().try_fold(0_u64, |sum, part| sum.checked_add(u64::try_from(*part).ok()?));
        if end.is_none_or(|end| end > bytes) {
            return Err(damaged("a block ends behind the file's end"));
        }
    }
    file.rewind()?;
    FileReader::try_new(file, None)
}

/// Reads the rows of an Arrow IPC file with exactly the declared columns.
pub fn read<R: Row>(path: &Path) -> Result<Vec<R>, DatasetError> {
    let damaged = || std::io::Error::new(std::io::ErrorKind::InvalidData, "it is damaged");
    caught(|| read_unguarded(path)).unwrap_or_else(|| Err(io(path, "read")(damaged())))
}

fn read_unguarded<R: Row>(path: &Path) -> Result<Vec<R>, DatasetError> {
    let reader = open(path).map_err(io(path, "read"))?;
    let describe = |s: &Schema| {
        let of = |f: &Arc<Field>| format!("{}: {}", f.name(), f.data_type());
        s.fields().iter().map(of).collect::<Vec<_>>().join(", ")
    };
    let (expected, found) = (describe(&schema::<R>()), describe(&reader.schema()));
    if expected != found {
        let path = path.display().to_string();
        return Err(DatasetError::Schema { path, artifact: R::ARTIFACT, expected, found });
    }
    let mut rows = vec![];
    for batch in reader {
        let batch = batch.map_err(io(path, "read"))?;
        for (column, (name, _)) in batch.columns().iter().zip(R::columns()) {
            if column.null_count() > 0 {
                let (path, column, nulls) = (path.display().to_string(), name.into(), column.null_count());
                return Err(DatasetError::Nulls { path, column, nulls });
            }
        }
        rows.extend(R::from_arrays(batch.columns()));
    }
    Ok(rows)
}

/// What prompts are for. Nothing trains on those that it is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    Training,
    Evaluation,
}

/// Reads prompts for a use.
///
/// # Errors
/// If one is for the other use, or the file cannot be read.
pub fn prompts(path: &Path, purpose: Use) -> Result<Vec<Prompt>, StageError> {
    let prompts: Vec<Prompt> = read(path)?;
    let fits = |p: &&Prompt| (p.split == "train") == (purpose == Use::Training);
    match prompts.iter().find(|p| !fits(p)) {
        None => Ok(prompts),
        Some(Prompt { prompt, split }) => {
            let (wanted, output) = match purpose {
                Use::Training => ("training", "data.prompts"),
                Use::Evaluation => ("evaluation", "data.evaluation"),
            };
            Err(StageError::new(format!("`{prompt}` is of the split `{split}`, and no {wanted} prompt"))
                .hint(format!("read the output of prompts for {wanted}, such as `{output}`")))
        }
    }
}

/// Prompts with their items.
pub fn numbered(prompts: impl IntoIterator<Item = Prompt>) -> impl Iterator<Item = (u32, Prompt)> {
    let mut next = BTreeMap::<String, u32>::new();
    prompts.into_iter().map(move |prompt| {
        let next = next.entry(prompt.split.clone()).or_default();
        *next += 1;
        (*next - 1, prompt)
    })
}

/// A Rust type that a column can hold.
trait Cell: Sized {
    fn data_type() -> DataType;
    fn array<'a>(cells: impl Iterator<Item = &'a Self>) -> ArrayRef
    where
        Self: 'a;
    fn cells(array: &ArrayRef) -> Vec<Self>;
}

impl Cell for String {
    fn data_type() -> DataType {
        DataType::Utf8
    }
    fn array<'a>(cells: impl Iterator<Item = &'a Self>) -> ArrayRef {
        Arc::new(StringArray::from_iter_values(cells))
    }
    fn cells(array: &ArrayRef) -> Vec<Self> {
        array.as_string::<i32>().iter().map(|s| s.unwrap_or_default().to_string()).collect()
    }
}

impl Cell for u32 {
    fn data_type() -> DataType {
        DataType::UInt32
    }
    fn array<'a>(cells: impl Iterator<Item = &'a Self>) -> ArrayRef {
        Arc::new(UInt32Array::from_iter_values(cells.copied()))
    }
    fn cells(array: &ArrayRef) -> Vec<Self> {
        array.as_primitive::<UInt32Type>().values().to_vec()
    }
}

impl Cell for f32 {
    fn data_type() -> DataType {
        DataType::Float32
    }
    fn array<'a>(cells: impl Iterator<Item = &'a Self>) -> ArrayRef {
        Arc::new(Float32Array::from_iter_values(cells.copied()))
    }
    fn cells(array: &ArrayRef) -> Vec<Self> {
        array.as_primitive::<Float32Type>().values().to_vec()
    }
}

impl Cell for bool {
    fn data_type() -> DataType {
        DataType::Boolean
    }
    fn array<'a>(cells: impl Iterator<Item = &'a Self>) -> ArrayRef {
        Arc::new(BooleanArray::from_iter(cells.map(|b| Some(*b))))
    }
    fn cells(array: &ArrayRef) -> Vec<Self> {
        array.as_boolean().iter().map(|b| b.unwrap_or_default()).collect()
    }
}

/// Declares a row type and its artifact type in one place.
macro_rules! dataset {
    ($($(#[$doc:meta])* $row:ident = $artifact:literal { $($(#[$fdoc:meta])* $field:ident: $type:ty,)+ })+) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $row { $($(#[$fdoc])* pub $field: $type,)+ }

        impl Row for $row {
            const ARTIFACT: &'static str = $artifact;
            fn columns() -> Vec<(&'static str, DataType)> {
                vec![$((stringify!($field), <$type as Cell>::data_type()),)+]
            }
            fn to_arrays(rows: &[Self]) -> Vec<ArrayRef> {
                vec![$(<$type as Cell>::array(rows.iter().map(|r| &r.$field)),)+]
            }
            fn from_arrays(arrays: &[ArrayRef]) -> Vec<Self> {
                let mut arrays = arrays.iter();
                $(let mut $field = <$type as Cell>::cells(arrays.next().expect("schema was checked")).into_iter();)+
                std::iter::from_fn(|| Some(Self { $($field: $field.next()?,)+ })).collect()
            }
        }
    )+};
}

dataset! {
    /// What to imitate.
    Demonstration = "demonstrations" {
        prompt: String,
        response: String,
    }

    /// A prompt to answer. Its number in its split is its item.
    Prompt = "prompts" {
        prompt: String,
        /// `train`, `in` (held out, in distribution) or `out` (out of distribution).
        split: String,
    }

    /// Two responses to a prompt, the first preferred by the annotator.
    Pair = "pairs" {
        split: String,
        /// The prompt's number in its split: the same in all runs, whichever prompts gave no pair.
        item: u32,
        prompt: String,
        chosen: String,
        rejected: String,
    }

    /// What a policy answered.
    Response = "responses" {
        arm: String,
        split: String,
        /// The prompt's number in its split: the same in all arms.
        item: u32,
        prompt: String,
        response: String,
        /// KL divergence of the policy from the reference policy, summed over the response's tokens (nats).
        kl: f32,
        /// Whether the response came to its end token.
        ended: bool,
    }

    /// What a policy answered on its way, at some step of its training.
    Snapshot = "trajectory" {
        arm: String,
        /// Updates done; 0 is the policy that training started from.
        step: u32,
        split: String,
        /// The prompt's number in its split: the same in all arms and steps.
        item: u32,
        prompt: String,
        response: String,
        /// KL divergence of the policy from the reference policy, summed over the response's tokens (nats).
        kl: f32,
        /// What training pays for the response, before any scale: the sum of its tokens' scores.
        proxy: f32,
        ended: bool,
    }

    /// One number about one item: what evaluation is made of.
    Measurement = "measurements" {
        arm: String,
        split: String,
        /// The prompt or pair measured: the same number is the same prompt in all arms.
        item: u32,
        metric: String,
        value: f32,
    }

    /// One number at one step of training.
    CurvePoint = "curves" {
        arm: String,
        step: u32,
        metric: String,
        value: f32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().expect("a temporary folder")
    }

    #[test]
    fn rows_survive_the_file() {
        let dir = folder();
        let path = dir.path().join("responses");
        let row = |item: u32| Response {
            arm: "sft".into(),
            split: "in".into(),
            item,
            prompt: "a \"b\" \u{1F600}".into(),
            response: String::new(),
            kl: -0.5 * item as f32,
            ended: item.is_multiple_of(2),
        };
        let rows: Vec<_> = (0..300).map(row).collect();
        write(&path, &rows).unwrap();
        assert_eq!(read::<Response>(&path).unwrap(), rows);
        let again = dir.path().join("again");
        write(&again, &rows).unwrap();
        assert_eq!(std::fs::read(path).unwrap(), std::fs::read(again).unwrap());
    }

    #[test]
    fn another_dataset_is_refused_by_its_columns() {
        let dir = folder();
        let path = dir.path().join("x");
        write(&path, &[Demonstration { prompt: "p".into(), response: "r".into() }]).unwrap();
        let message = read::<Prompt>(&path).unwrap_err().to_string();
        assert!(message.contains("expected the columns prompt: Utf8, split: Utf8"), "{message}");
        assert!(message.contains("found prompt: Utf8, response: Utf8"), "{message}");
    }

    #[test]
    fn damage_is_an_error() {
        let dir = folder();
        let path = dir.path().join("x");
        write(&path, &[Demonstration { prompt: "p".into(), response: "r".into() }]).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for end in [0, 1, 8, bytes.len() / 2, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..end]).unwrap();
            assert!(read::<Demonstration>(&path).is_err(), "{end} bytes of {}", bytes.len());
        }
    }

    #[test]
    fn a_block_without_end_is_refused_before_memory_is_taken_for_it() {
        let dir = folder();
        let path = dir.path().join("x");
        write(&path, &[Demonstration { prompt: "p".into(), response: "r".into() }]).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        let (end, mark) = (bytes.len() - 10, bytes.last_chunk::<10>().unwrap());
        let footer = root_as_footer(&bytes[end - read_footer_length(*mark).unwrap()..end]).unwrap();
        let body = footer.recordBatches().unwrap().get(0).bodyLength().to_le_bytes();
        let at = bytes.windows(8).rposition(|window| window == body).unwrap();
        bytes[at..at + 8].copy_from_slice(&(1_i64 << 33).to_le_bytes());
        std::fs::write(&path, &bytes).unwrap();
        let message = read::<Demonstration>(&path).unwrap_err().to_string();
        assert!(message.contains("a block ends behind the file's end"), "{message}");
    }
}
