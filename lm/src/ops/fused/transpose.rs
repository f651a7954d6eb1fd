//! Turning rows into columns, tile by tile: element by element would wait for the cache.

/// Rows and columns of a tile.
pub(super) const TILE: usize = 16;

/// Writes the first `columns` values of rows, which are `stride` apart, as rows that are `to_stride` apart. The last row
/// ends where `rows` does or later.
pub(super) fn transpose(rows: &[f32], stride: usize, columns: usize, to: &mut [f32], to_stride: usize) {
    for (row, rows) in rows.chunks(TILE * stride).enumerate() {
        for column in (0..columns.min(rows.len())).step_by(TILE) {
            let to = &mut to[column * to_stride + row * TILE..];
            tile(&rows[column..], stride, TILE.min(columns - column), to, to_stride);
        }
    }
}

fn tile(rows: &[f32], stride: usize, columns: usize, to: &mut [f32], to_stride: usize) {
    if (rows.len().div_ceil(stride), columns) == (TILE, TILE) {
        let mut tile = [[0.0; TILE]; TILE];
        for (tile, row) in tile.iter_mut().zip(rows.chunks(stride)) {
            tile.copy_from_slice(&row[..TILE]);
        }
        for (column, to) in to.chunks_mut(to_stride).enumerate().take(TILE) {
            let turned: [f32; TILE] = std::array::from_fn(|row| tile[row][column]);
            to[..TILE].copy_from_slice(&turned);
        }
    } else {
        for (at, row) in rows.chunks(stride).enumerate() {
            for (column, x) in row[..columns].iter().enumerate() {
                to[column * to_stride + at] = *x;
            }
        }
    }
}
