//! Turning rows into columns, tile by tile: element by element would wait for the cache.

/// Rows and columns of a tile.
pub(super) const TILE: usize = 16;

/// Writes the first `columns` values of rows, which are `stride` apart, as rows that are `to_stride` apart. `rows` may end
/// after the last row's `columns` values. Where whole tiles fit into `to_stride`, the last one is filled up with zeros.
pub(super) fn transpose(rows: &[f32], stride: usize, columns: usize, to: &mut [f32], to_stride: usize) {
    for (row, rows) in rows.chunks(TILE * stride).enumerate() {
        for column in (0..columns).step_by(TILE) {
            let (rows, to) = (&rows[column..], &mut to[column * to_stride + row * TILE..]);
            let (count, columns) = (rows.len().div_ceil(stride), TILE.min(columns - column));
            if (count, columns) == (TILE, TILE) {
                let whole = |row: usize| rows[row * stride..].first_chunk().expect("a row has all columns");
                put(std::array::from_fn(whole), (TILE, TILE), to, to_stride);
            } else {
                put(part(rows, stride, columns).each_ref(), (count, columns), to, to_stride);
            }
        }
    }
}

#[inline(never)]
fn part(rows: &[f32], stride: usize, columns: usize) -> [[f32; TILE]; TILE] {
    let mut tile = [[0.0; TILE]; TILE];
    for (tile, row) in tile.iter_mut().zip(rows.chunks(stride)) {
        tile[..columns].copy_from_slice(&row[..columns]);
    }
    tile
}

#[inline(always)]
fn put(tile: [&[f32; TILE]; TILE], (count, columns): (usize, usize), to: &mut [f32], to_stride: usize) {
    for column in 0..columns {
        let turned: [f32; TILE] = std::array::from_fn(|row| tile[row][column]);
        let to = &mut to[column * to_stride..];
        // A length that is known is copied without a call.
        if to_stride.is_multiple_of(TILE) {
            to[..TILE].copy_from_slice(&turned);
        } else {
            to[..count].copy_from_slice(&turned[..count]);
        }
    }
}
