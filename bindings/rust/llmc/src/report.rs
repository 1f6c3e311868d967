use crate::error::checked;
use crate::{sys, Result};

handle! {
    /// A report of C's.
    RawReport, llmc_report, llmc_report_free
}

impl RawReport {
    /// Room for the report that a call gives: freed even when a panic goes past.
    pub const fn none() -> Self {
        Self { raw: std::ptr::null_mut() }
    }

    pub fn out(&mut self) -> *mut *mut sys::llmc_report {
        &mut self.raw
    }
}

/// What a [`crate::Oneshot`] did.
#[derive(Clone, Debug)]
pub struct Report {
    json: String,
    facts: sys::llmc_report_facts,
    linears: Vec<Linear>,
}

/// One quantized matrix.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Linear {
    /// Such as "model.layers.0.mlp.up_proj".
    pub name: String,
    /// Such as "int4 group 128".
    pub scheme: String,
    /// "GPTQ" or "RTN".
    pub method: String,
    /// Why the method fell back; "" otherwise.
    pub note: String,
    /// GPTQ: root of (output error / output energy) over sampled rows; RTN: ||W - Q|| / ||W||.
    pub relative_error: f64,
    /// GPTQ: sum of squared output errors per token; 0 otherwise.
    pub loss: f64,
    /// GPTQ: the fraction that worked; 0 otherwise.
    pub dampening: f64,
    /// Its share of the quantization time.
    pub seconds: f64,
}

impl Report {
    /// A copy; an error when the call that should have given the report failed.
    pub(crate) fn copy(report: &RawReport) -> Result<Self> {
        let (report, mut facts) = (report.raw, sized!(llmc_report_facts {}));
        // SAFETY: a living report, or NULL, which is refused.
        unsafe {
            checked(|error| sys::llmc_report_info(report, &mut facts, error))?;
            let linears = (0..sys::llmc_report_count(report))
                .map(|index| Linear::read(report, index))
                .collect::<Result<_>>()?;
            Ok(Self { json: crate::copied_text(sys::llmc_report_json(report)), facts, linears })
        }
    }

    /// The whole report; docs/c-abi.md lists its keys.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// The quantized matrices, in the order they were quantized.
    pub fn linears(&self) -> &[Linear] {
        &self.linears
    }

    /// Tensor bytes of the input.
    pub fn bytes_before(&self) -> u64 {
        self.facts.bytes_before as u64
    }

    /// Tensor bytes of the output.
    pub fn bytes_after(&self) -> u64 {
        self.facts.bytes_after as u64
    }

    /// Calibration samples used.
    pub fn samples(&self) -> u64 {
        self.facts.samples as u64
    }

    /// Calibration tokens used.
    pub fn tokens(&self) -> u64 {
        self.facts.tokens as u64
    }

    /// Bytes; the highest seen between steps.
    pub fn peak_memory(&self) -> u64 {
        self.facts.peak_memory as u64
    }

    /// Wall time; the next three are its parts.
    pub fn seconds(&self) -> f64 {
        self.facts.seconds
    }

    /// Running the data.
    pub fn calibration_seconds(&self) -> f64 {
        self.facts.calibration_seconds
    }

    /// Finding codes.
    pub fn quantization_seconds(&self) -> f64 {
        self.facts.quantization_seconds
    }

    /// Writing and checking.
    pub fn writing_seconds(&self) -> f64 {
        self.facts.writing_seconds
    }
}

impl Linear {
    /// SAFETY: a living report.
    unsafe fn read(report: *const sys::llmc_report, index: i64) -> Result<Self> {
        let mut f = sized!(llmc_linear_facts {});
        checked(|error| sys::llmc_report_linear(report, index, &mut f, error))?;
        Ok(Self {
            name: crate::copied_text(f.name),
            scheme: crate::copied_text(f.scheme),
            method: crate::copied_text(f.method),
            note: crate::copied_text(f.note),
            relative_error: f.relative_error,
            loss: f.loss,
            dampening: f.dampening,
            seconds: f.seconds,
        })
    }
}
