//! Metrics: what the tables among a result's outputs say.
//!
//! Any Arrow table counts that has a column `metric` of texts and a column `value` of numbers. Where it has a column `step`
//! the last step counts, else the mean of all rows; the table's other columns of texts say of what.

use std::{collections::BTreeMap, fs::File, io, path::Path};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, Float64Type, UInt64Type},
    error::ArrowError,
    ipc::reader::FileReader,
};

use crate::{
    contract::Metrics,
    dataset::{caught, open},
};

/// The metrics of an output; none where it is no table of metrics.
///
/// # Errors
/// If it is such a table and cannot be read.
pub fn metrics(path: &Path) -> io::Result<Metrics> {
    let damaged = || io::Error::other(format!("`{}` is damaged", path.display()));
    caught(|| read(path)).unwrap_or_else(|| Err(damaged()))
}

fn read(path: &Path) -> io::Result<Metrics> {
    let reader = match open(path) {
        Ok(reader) if is_table(&reader) => reader,
        _ => return Ok(Metrics::new()),
    };
    let mut means: BTreeMap<String, Mean> = BTreeMap::new();
    for batch in reader {
        let add = |batch: RecordBatch| add(&mut means, &batch);
        batch.and_then(add).map_err(|e| io::Error::other(format!("`{}`: {e}", path.display())))?;
    }
    Ok(means.into_iter().map(|(name, mean)| (name, mean.sum / mean.count as f64)).collect())
}

fn is_table(reader: &FileReader<File>) -> bool {
    let schema = reader.schema();
    let is = |name: &str, fits: fn(&DataType) -> bool| {
        schema.field_with_name(name).is_ok_and(|field| fits(field.data_type()))
    };
    is("metric", |t| *t == DataType::Utf8) && is("value", DataType::is_numeric)
}

#[derive(Default)]
struct Mean {
    step: u64,
    sum: f64,
    count: u64,
}

fn add(means: &mut BTreeMap<String, Mean>, batch: &RecordBatch) -> Result<(), ArrowError> {
    let column = |name: &str| batch.column_by_name(name);
    let as_type = |name: &str, to: &DataType| column(name).map(|c| cast(c, to)).transpose();
    let values = as_type("value", &DataType::Float64)?;
    let steps = as_type("step", &DataType::UInt64)?;
    let Some(values) = values.as_ref().map(AsArray::as_primitive::<Float64Type>) else { return Ok(()) };
    let steps = steps.as_ref().map(AsArray::as_primitive::<UInt64Type>);
    let schema = batch.schema();
    let is_label = |i: &usize| {
        let field = schema.field(*i);
        *field.data_type() == DataType::Utf8 && field.name() != "metric"
    };
    let labels = (0..batch.num_columns()).filter(is_label).map(|i| batch.column(i));
    let texts: Vec<_> = labels.chain(column("metric")).map(|c| c.as_string::<i32>()).collect();
    for row in (0..batch.num_rows()).filter(|row| values.is_valid(*row)) {
        let name: Vec<&str> = texts.iter().map(|t| t.value(row)).collect();
        let step = steps.map_or(0, |steps| steps.value(row));
        let mean = means.entry(name.join("/")).or_default();
        if step > mean.step {
            *mean = Mean { step, ..Mean::default() };
        }
        if step == mean.step {
            mean.sum += values.value(row);
            mean.count += 1;
        }
    }
    Ok(())
}
