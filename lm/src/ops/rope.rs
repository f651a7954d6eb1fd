//! Rotary position embeddings (Su et al., 2021), in Llama's layout: the halves of a head are the pairs.

/// Cosines and sines for each position and pair.
pub(crate) struct Rope {
    half: usize,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

/// Whether to turn a vector to its position or back.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Turn {
    To,
    Back,
}

impl Rope {
    pub fn new(positions: usize, head_dim: usize, theta: f32) -> Rope {
        let half = head_dim / 2;
        let angle = |i: usize| {
            let (position, pair) = ((i / half) as f64, (i % half) as f64);
            position / f64::from(theta).powf(pair / half as f64)
        };
        let table = |f: fn(f64) -> f64| (0..positions * half).map(|i| f(angle(i)) as f32).collect();
        Rope { half, cos: table(f64::cos), sin: table(f64::sin) }
    }

    /// Cosines and sines of one position, `head_dim / 2` each.
    #[inline]
    pub fn at(&self, position: usize) -> (&[f32], &[f32]) {
        let range = position * self.half..(position + 1) * self.half;
        (&self.cos[range.clone()], &self.sin[range])
    }

    /// Writes `scale * rotate(x)` to `y`.
    #[inline]
    pub fn apply(&self, turn: Turn, position: usize, x: &[f32], y: &mut [f32], scale: f32) {
        let half = self.half;
        let (cos, sin) = self.at(position);
        let sign = if turn == Turn::To { scale } else { -scale };
        let ((a, b), (ya, yb)) = (x.split_at(half), y.split_at_mut(half));
        let (b, yb) = (&b[..half], &mut yb[..half]);
        for i in 0..half {
            ya[i] = a[i] * cos[i] * scale - b[i] * sin[i] * sign;
            yb[i] = b[i] * cos[i] * scale + a[i] * sin[i] * sign;
        }
    }
}
