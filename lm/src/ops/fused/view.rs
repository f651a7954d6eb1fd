//! Reading and writing a dfdx tensor as a slice: the one place of this crate with `unsafe` access to tensors.
//!
//! dfdx 0.13 keeps a tensor's storage private. What its public interface offers for reading is `copy_into`,
//! which is safe and costs 11 to 14 % of a training step, and `Index`, which gives a reference to one element.
//! We take the address of element 0 and read on from there. The elements do lie in one `Vec<f32>` that the
//! tensor keeps alive (checked: strides, and the address of the last element), so that this reads memory that
//! is there and that nothing else writes. It is within Rust's Tree Borrows model, but not within the stricter
//! Stacked Borrows, where a reference to one element may only ever reach that element. A release of dfdx that
//! gives out its storage would end this; the version is pinned.

use dfdx::prelude::{Cpu, HasShape, Shape, Tensor};

/// The elements of a contiguous tensor, row-major.
///
/// # Panics
/// If the tensor is broadcast or permuted: the operations of this crate never make such tensors.
pub(crate) fn view<S: Shape, T>(t: &Tensor<S, f32, Cpu, T>) -> &[f32] {
    let len = contiguous_len(t);
    if len == 0 {
        return &[];
    }
    let first: *const f32 = &t[S::Concrete::default()];
    // SAFETY: see the head of this file; `contiguous_len` has checked that the elements lie side by side.
    unsafe { std::slice::from_raw_parts(first, len) }
}

/// As [`view`], to write. Copies the storage first if another tensor shares it.
pub(crate) fn view_mut<S: Shape>(t: &mut Tensor<S, f32, Cpu>) -> &mut [f32] {
    let len = contiguous_len(t);
    if len == 0 {
        return &mut [];
    }
    let first: *mut f32 = &mut t[S::Concrete::default()];
    // SAFETY: as in `view`; `IndexMut` has made the storage ours alone.
    unsafe { std::slice::from_raw_parts_mut(first, len) }
}

/// The number of elements, after a check that they lie side by side, row-major. dfdx keeps the strides to
/// itself too: they show in the addresses of the first element's neighbours.
fn contiguous_len<S: Shape, T>(t: &Tensor<S, f32, Cpu, T>) -> usize {
    let (dims, strides) = (t.shape().concrete(), t.shape().strides());
    let len = t.shape().num_elements();
    if len > 0 {
        let address = |at: S::Concrete| std::ptr::from_ref(&t[at]);
        let (first, mut last) = (address(S::Concrete::default()), dims);
        for axis in 0..S::NUM_DIMS {
            last[axis] -= 1;
            if dims[axis] > 1 {
                let mut next = S::Concrete::default();
                next[axis] = 1;
                let expected = first.wrapping_add(strides[axis]);
                assert!(std::ptr::eq(address(next), expected), "fused operations need contiguous tensors");
            }
        }
        assert!(std::ptr::eq(address(last), first.wrapping_add(len - 1)), "elements do not lie side by side");
    }
    len
}

#[cfg(test)]
mod tests {
    use super::*;
    use dfdx::prelude::*;

    #[test]
    fn a_view_is_the_tensors_own_memory() {
        let device = Cpu::default();
        let mut t: Tensor<(usize, usize), f32, _> =
            device.tensor_from_vec((0..12).map(|i| i as f32).collect(), (3, 4));
        assert_eq!(view(&t), t.as_vec());
        assert!(std::ptr::eq(&view(&t)[7], &t[[1, 3]]));
        let shared = t.clone();
        view_mut(&mut t)[7] = -1.0;
        assert_eq!((t[[1, 3]], shared[[1, 3]]), (-1.0, 7.0));
        let empty: Tensor<(usize, usize), f32, _> = device.zeros_like(&(0, 4));
        assert!(view(&empty).is_empty());
    }

    #[test]
    #[should_panic(expected = "contiguous")]
    fn a_permuted_tensor_is_refused() {
        let t: Tensor<(usize, usize), f32, _> = Cpu::default().zeros_like(&(3, 4));
        view(&t.permute::<_, Axes2<1, 0>>());
    }

    #[test]
    #[should_panic(expected = "contiguous")]
    fn a_broadcast_tensor_is_refused() {
        let t: Tensor<(usize,), f32, _> = Cpu::default().zeros_like(&(4,));
        view(&t.broadcast_like::<_, Axis<0>>(&(3usize, 4usize)));
    }
}
