use crate::{sys, Error, Result};
use std::ffi::c_void;
use std::fmt;
use std::marker::PhantomData;
use std::ptr::{null, null_mut};

macro_rules! dtypes {
    ($($(#[$about:meta])* $name:ident = $number:ident, $bytes:literal;)*) => {
        /// Of a tensor's elements.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Dtype {
            $($(#[$about])* $name = sys::$number as isize,)*
        }

        impl Dtype {
            /// Bytes of an element.
            pub fn size(self) -> usize {
                match self {
                    $(Self::$name => $bytes,)*
                }
            }

            pub(crate) fn from_number(number: i32) -> Result<Self> {
                match number {
                    $(sys::$number => Ok(Self::$name),)*
                    other => Err(Error::new(crate::ErrorKind::Unsupported, format!("dtype {other} is one of a newer library"))),
                }
            }
        }
    };
}

dtypes! {
    /// 32-bit float.
    #[default]
    Float32 = LLMC_DTYPE_FLOAT32, 4;
    /// The upper half of a float32; `u16` bits in Rust.
    Bfloat16 = LLMC_DTYPE_BFLOAT16, 2;
    /// IEEE half; `u16` bits in Rust.
    Float16 = LLMC_DTYPE_FLOAT16, 2;
    /// 64-bit float.
    Float64 = LLMC_DTYPE_FLOAT64, 8;
    /// e4m3fn, without infinity; `u8` bits in Rust.
    Float8E4m3 = LLMC_DTYPE_FLOAT8_E4M3, 1;
    /// `u8` bits in Rust.
    Float8E5m2 = LLMC_DTYPE_FLOAT8_E5M2, 1;
    /// An exponent; `u8` bits in Rust.
    Float8E8m0 = LLMC_DTYPE_FLOAT8_E8M0, 1;
    /// Signed byte.
    Int8 = LLMC_DTYPE_INT8, 1;
    /// Signed, 16 bits.
    Int16 = LLMC_DTYPE_INT16, 2;
    /// Signed, 32 bits.
    Int32 = LLMC_DTYPE_INT32, 4;
    /// Signed, 64 bits.
    Int64 = LLMC_DTYPE_INT64, 8;
    /// Unsigned byte.
    Uint8 = LLMC_DTYPE_UINT8, 1;
    /// Unsigned, 16 bits.
    Uint16 = LLMC_DTYPE_UINT16, 2;
    /// Unsigned, 32 bits.
    Uint32 = LLMC_DTYPE_UINT32, 4;
    /// Unsigned, 64 bits.
    Uint64 = LLMC_DTYPE_UINT64, 8;
    /// One byte each; `u8` in Rust.
    Bool = LLMC_DTYPE_BOOL, 1;
}

mod sealed {
    pub trait Sealed {}
}

/// A number that tensors are made of. All bits are valid values.
pub trait Element: sealed::Sealed + Copy + Send + Sync + 'static {
    /// Its dtype.
    const DTYPE: Dtype;
}

macro_rules! elements {
    ($($number:ident: $dtype:ident),*) => {$(
        impl sealed::Sealed for $number {}
        impl Element for $number {
            const DTYPE: Dtype = Dtype::$dtype;
        }
    )*};
}
elements!(f32: Float32, f64: Float64, i8: Int8, i16: Int16, i32: Int32, i64: Int64, u8: Uint8, u16: Uint16, u32: Uint32, u64: Uint64);

/// A tensor over somebody else's memory: row-major, or with strides. Up to 8 dimensions.
#[derive(Clone)]
pub struct Tensor<'a> {
    dtype: Dtype,
    data: *const u8,
    shape: Vec<usize>,
    strides: Option<Vec<usize>>,     // in elements
    gpu: Option<(i32, *mut c_void)>, // its index and the stream that fills the memory
    memory: PhantomData<&'a [u8]>,
}
// SAFETY: a shared borrow of plain numbers.
unsafe impl Send for Tensor<'_> {}
unsafe impl Sync for Tensor<'_> {}

/// A tensor that may be written to: row-major.
pub struct TensorMut<'a> {
    view: Tensor<'a>,
    memory: PhantomData<&'a mut [u8]>,
}

impl<'a> Tensor<'a> {
    /// `values`, row by row: as many as the shape has elements.
    pub fn new<T: Element>(values: &'a [T], shape: &[usize]) -> Result<Self> {
        Self::from_bits(T::DTYPE, values, shape)
    }

    /// Elements whose dtype Rust has no type for, by their bits: `&[u16]` or `&[u8]` for bfloat16.
    pub fn from_bits<T: Element>(dtype: Dtype, values: &'a [T], shape: &[usize]) -> Result<Self> {
        let wanted = bytes_of(dtype, shape)?;
        if size_of_val(values) != wanted {
            return Err(Error::invalid(format!(
                "Tensor: got {} bytes, wanted {wanted} for {dtype:?} {shape:?}",
                size_of_val(values)
            )));
        }
        Ok(Self {
            dtype,
            data: values.as_ptr().cast(),
            shape: shape.to_vec(),
            strides: None,
            gpu: None,
            memory: PhantomData,
        })
    }

    /// Row-major memory of GPU `index`, for calls with a session there. stream: the `cudaStream_t` that fills the memory, null for the default one; the call waits for it.
    ///
    /// # Safety
    /// For `'a`, `data` is memory of that GPU with all elements of the shape, and nothing writes to it but what was queued on `stream`.
    pub unsafe fn on_gpu(
        dtype: Dtype,
        data: *const c_void,
        shape: &[usize],
        index: i32,
        stream: *mut c_void,
    ) -> Result<Self> {
        bytes_of(dtype, shape)?;
        Ok(Self {
            dtype,
            data: data.cast(),
            shape: shape.to_vec(),
            strides: None,
            gpu: Some((index, stream)),
            memory: PhantomData,
        })
    }

    /// Element `[i, j, ..]` is `values[i * strides[0] + j * strides[1] + ..]`; all of them must lie within `values`.
    pub fn strided<T: Element>(values: &'a [T], shape: &[usize], strides: &[usize]) -> Result<Self> {
        bytes_of(T::DTYPE, shape)?;
        let refuse = |wanted: &str| {
            Err(Error::invalid(format!(
                "Tensor: got strides {strides:?} for shape {shape:?} over {} values, wanted {wanted}",
                values.len()
            )))
        };
        if strides.len() != shape.len() {
            return refuse("one stride per dimension");
        }
        let last = shape.iter().zip(strides).try_fold(0usize, |sum, (extent, stride)| {
            extent.saturating_sub(1).checked_mul(*stride)?.checked_add(sum)
        });
        if !shape.contains(&0) && last.is_none_or(|last| last >= values.len()) {
            return refuse("all elements within the values");
        }
        Ok(Self {
            dtype: T::DTYPE,
            data: values.as_ptr().cast(),
            shape: shape.to_vec(),
            strides: Some(strides.to_vec()),
            gpu: None,
            memory: PhantomData,
        })
    }

    /// Of the elements.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The extent of each dimension.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements of a row-major tensor, row by row, as numbers of their own dtype or as bits of their size (`u16` for bfloat16, `u8` for fp8); `u8` gives the
    /// bytes of any dtype. None for other types, with strides, on a GPU, and where the memory is not aligned for `T`.
    pub fn values<T: Element>(&self) -> Option<&'a [T]> {
        let length = self.values_len::<T>()?;
        if length == 0 {
            return Some(&[]);
        }
        // SAFETY: the memory is borrowed for 'a, aligned, large enough, and any bits are a T.
        Some(unsafe { std::slice::from_raw_parts(self.data.cast(), length) })
    }

    fn values_len<T: Element>(&self) -> Option<usize> {
        let unsigned = matches!(T::DTYPE, Dtype::Uint16 | Dtype::Uint32 | Dtype::Uint64)
            && size_of::<T>() == self.dtype.size();
        let fits = T::DTYPE == self.dtype || T::DTYPE == Dtype::Uint8 || unsigned;
        let bytes = self.shape.iter().product::<usize>() * self.dtype.size();
        (fits
            && self.strides.is_none()
            && self.gpu.is_none()
            && (bytes == 0 || self.data.cast::<T>().is_aligned()))
        .then_some(bytes / size_of::<T>())
    }

    /// SAFETY: the tensor is row-major memory on the CPU that lives, and is not written to, for 'a.
    pub(crate) unsafe fn from_raw(raw: &sys::llmc_tensor) -> Result<Self> {
        let shape =
            if raw.ndim == 0 { &[] } else { std::slice::from_raw_parts(raw.shape, raw.ndim as usize) };
        Ok(Self {
            dtype: Dtype::from_number(raw.dtype)?,
            data: raw.data.cast::<u8>().wrapping_offset(raw.byte_offset as isize),
            shape: shape.iter().map(|extent| *extent as usize).collect(),
            strides: None,
            gpu: None,
            memory: PhantomData,
        })
    }

    /// A view that C fills. SAFETY: as from_raw.
    pub(crate) unsafe fn filled(
        call: impl FnOnce(*mut sys::llmc_tensor, *mut *mut sys::llmc_error) -> sys::llmc_status,
    ) -> Result<Self> {
        let mut raw = sized!(llmc_tensor {});
        crate::error::checked(|error| call(&mut raw, error))?;
        Self::from_raw(&raw)
    }
}

impl<'a> TensorMut<'a> {
    /// `values`, row by row: as many as the shape has elements.
    pub fn new<T: Element>(values: &'a mut [T], shape: &[usize]) -> Result<Self> {
        Self::from_bits(T::DTYPE, values, shape)
    }

    /// Elements whose dtype Rust has no type for, by their bits: `&mut [u16]` for bfloat16.
    pub fn from_bits<T: Element>(dtype: Dtype, values: &'a mut [T], shape: &[usize]) -> Result<Self> {
        let Tensor { shape, .. } = Tensor::from_bits(dtype, &*values, shape)?;
        // The pointer to write through comes last: a shared borrow made after it would end it.
        let view = Tensor {
            dtype,
            data: values.as_mut_ptr().cast(),
            shape,
            strides: None,
            gpu: None,
            memory: PhantomData,
        };
        Ok(Self { view, memory: PhantomData })
    }

    /// As [`Tensor::on_gpu`], to be written.
    ///
    /// # Safety
    /// As there, and for `'a` nobody else reads the memory.
    pub unsafe fn on_gpu(
        dtype: Dtype,
        data: *mut c_void,
        shape: &[usize],
        index: i32,
        stream: *mut c_void,
    ) -> Result<Self> {
        Ok(Self { view: Tensor::on_gpu(dtype, data, shape, index, stream)?, memory: PhantomData })
    }

    /// Of the elements.
    pub fn dtype(&self) -> Dtype {
        self.view.dtype
    }

    /// The extent of each dimension.
    pub fn shape(&self) -> &[usize] {
        &self.view.shape
    }

    /// As [`Tensor::values`].
    pub fn values<T: Element>(&self) -> Option<&[T]> {
        self.view.values()
    }

    /// As [`Tensor::values`], to be changed in place.
    pub fn values_mut<T: Element>(&mut self) -> Option<&mut [T]> {
        let length = self.view.values_len::<T>()?;
        if length == 0 {
            return Some(&mut []);
        }
        // SAFETY: as in Tensor::values; this object alone holds the memory, and it is borrowed as long as the slice lives.
        Some(unsafe { std::slice::from_raw_parts_mut(self.view.data.cast::<T>().cast_mut(), length) })
    }

    /// SAFETY: as Tensor::from_raw, of memory that nobody else touches for 'a.
    pub(crate) unsafe fn from_raw(raw: &sys::llmc_tensor) -> Result<Self> {
        Ok(Self { view: Tensor::from_raw(raw)?, memory: PhantomData })
    }

    pub(crate) fn with_raw<R>(&mut self, body: impl FnOnce(*mut sys::llmc_tensor) -> R) -> R {
        with_raws([&self.view], |raw| body(raw.cast_mut()))
    }
}

impl Tensor<'_> {
    pub(crate) fn with_raw<R>(&self, body: impl FnOnce(*const sys::llmc_tensor) -> R) -> R {
        with_raws([self], body)
    }
}

/// An array of the tensors in C's form, for the length of `body`.
pub(crate) fn with_raws<'t, 'a: 't, R>(
    tensors: impl IntoIterator<Item = &'t Tensor<'a>>,
    body: impl FnOnce(*const sys::llmc_tensor) -> R,
) -> R {
    let tensors: Vec<_> = tensors.into_iter().collect();
    let extents: Vec<(Vec<i64>, Option<Vec<i64>>)> =
        tensors.iter().map(|t| (to_c(&t.shape), t.strides.as_deref().map(to_c))).collect();
    let raws: Vec<_> = tensors
        .iter()
        .zip(&extents)
        .map(|(tensor, (shape, strides))| {
            let data = if shape.contains(&0) { null_mut() } else { tensor.data.cast_mut().cast() };
            let strides = strides.as_ref().map_or(null(), |strides| strides.as_ptr());
            let (device_type, (device_index, stream)) = tensor
                .gpu
                .map_or((sys::LLMC_DEVICE_CPU, (0, null_mut())), |gpu| (sys::LLMC_DEVICE_CUDA, gpu));
            let (dtype, ndim) = (tensor.dtype as i32, shape.len() as i32);
            sized!(llmc_tensor {
                dtype: dtype,
                data: data,
                shape: shape.as_ptr(),
                strides: strides,
                stream: stream,
                ndim: ndim,
                device_type: device_type,
                device_index: device_index,
            })
        })
        .collect();
    body(raws.as_ptr())
}

pub(crate) fn to_c(extents: &[usize]) -> Vec<i64> {
    extents.iter().map(|extent| *extent as i64).collect()
}

fn bytes_of(dtype: Dtype, shape: &[usize]) -> Result<usize> {
    let bytes = shape
        .iter()
        .try_fold(dtype.size(), |product, extent| product.checked_mul(*extent))
        .filter(|bytes| *bytes <= isize::MAX as usize);
    bytes.filter(|_| shape.len() <= 8).ok_or_else(|| {
        Error::invalid(format!("Tensor: got shape {shape:?}, wanted at most 8 dimensions and 2^63 bytes"))
    })
}

impl fmt::Debug for Tensor<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Tensor({:?} {:?})", self.dtype, self.shape)
    }
}

impl fmt::Debug for TensorMut<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view.fmt(out)
    }
}
