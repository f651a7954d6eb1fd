//! Products with weights, in full or in mixed precision.

use super::Matrix;
#[cfg(any(test, feature = "cuda"))]
use dfdx::dtypes::f16;
use dfdx::prelude::*;

/// How `x weight^T` is computed.
pub(crate) trait Product<D: Device<f32>>: 'static {
    fn product<T: Tape<f32, D>>(x: Matrix<D, T>, weight: &Matrix<D>) -> Matrix<D, T>;
}

/// In `f32`.
pub struct Full;

impl<D: Device<f32>> Product<D> for Full {
    fn product<T: Tape<f32, D>>(x: Matrix<D, T>, weight: &Matrix<D>) -> Matrix<D, T> {
        x.matmul(weight.retaped::<T>().permute::<_, Axes2<1, 0>>())
    }
}

/// Factors and results are rounded to `f16`; sums are the device's (`f32` on a card). All else stays `f32`.
///
/// dfdx does not record conversions, so that the gradient is recorded here. What comes back to a product is
/// divided by its greatest element before it is rounded and the results are multiplied by it: small gradients
/// stay within `f16`, and there is no loss scale to tune.
#[cfg(any(test, feature = "cuda"))]
pub struct Half;

#[cfg(any(test, feature = "cuda"))]
impl<D: Device<f32> + Device<f16>> Product<D> for Half {
    fn product<T: Tape<f32, D>>(x: Matrix<D, T>, weight: &Matrix<D>) -> Matrix<D, T> {
        let (x, mut tape) = x.split_tape();
        let (x_half, weight_half) = (x.clone().to_dtype::<f16>(), weight.clone().to_dtype::<f16>());
        let turned = weight_half.clone().permute::<_, Axes2<1, 0>>();
        let y = x_half.clone().matmul(turned).to_dtype::<f32>();
        let (x, weight, out) = (x.ghost(), weight.clone(), y.ghost());
        tape.add_backward_op(move |gradients| {
            gradients.try_alloc_for(&out)?;
            let dy = gradients.get(&out);
            // The least number keeps a gradient of zeros from becoming NaN.
            let most = dy.clone().try_abs()?.try_max::<(), Axes2<0, 1>>()?.try_add(f32::MIN_POSITIVE)?;
            let scaled = dy.try_div(most.clone().try_broadcast_like(out.shape())?)?;
            let dy = scaled.try_to_dtype::<f16>()?;
            let back = |d: Tensor<(usize, usize), f16, D>| -> Result<Matrix<D>, D::Err> {
                let d = d.try_to_dtype::<f32>()?;
                let most = most.clone().try_broadcast_like(d.shape())?;
                d.try_mul(most)
            };
            let dx = back(dy.clone().try_matmul(weight_half)?)?;
            let dw = back(dy.try_permute::<_, Axes2<1, 0>>()?.try_matmul(x_half)?)?;
            add_to(gradients.get_or_alloc_mut(&x)?, dx)?;
            add_to(gradients.get_or_alloc_mut(&weight)?, dw)?;
            Ok(())
        });
        y.put_tape(tape)
    }
}

/// Adds to a gradient. dfdx gives no way to write a tensor to one, except as the gradient of something: here of
/// `sum(zeros * delta)` for `zeros`, added to what is there.
#[cfg(any(test, feature = "cuda"))]
fn add_to<D: Device<f32>>(slot: &mut <D as Storage<f32>>::Vec, delta: Matrix<D>) -> Result<(), D::Err> {
    let zeros: Matrix<D> = delta.device().try_zeros_like(&delta)?;
    let mut gradients = Gradients::leaky();
    std::mem::swap(slot, gradients.get_or_alloc_mut(&zeros)?);
    let product = zeros.trace(gradients).try_mul(delta)?;
    let mut gradients = product.try_sum::<(), Axes2<0, 1>>()?.try_backward()?;
    std::mem::swap(slot, gradients.get_or_alloc_mut(&zeros)?);
    Ok(())
}
