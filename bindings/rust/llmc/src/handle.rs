//! What all objects of the C interface have in common.

/// A C struct that starts with its size; all fields that are not named are zero, which is a default.
macro_rules! sized {
    ($name:ident { $($field:ident: $value:expr),* $(,)? }) => {{
        // SAFETY: numbers, and pointers that may be NULL: all zero is a valid value.
        #[allow(clippy::needless_update)]
        let value = $crate::sys::$name { struct_size: size_of::<$crate::sys::$name>() as u32, $($field: $value,)* ..unsafe { std::mem::zeroed() } };
        value
    }};
}

/// An object of the C interface that is freed once. `made` wraps what a call of C gives.
macro_rules! handle {
    ($(#[$about:meta])* $name:ident, $raw:ident, $free:ident) => {
        $(#[$about])*
        pub struct $name {
            raw: *mut $crate::sys::$raw,
        }

        // SAFETY: llmc_tensor.h: no object belongs to a thread. What changes one takes &mut self; what reads one may run on any number of threads.
        unsafe impl Send for $name {}
        unsafe impl Sync for $name {}

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: the only owner.
                unsafe { $crate::sys::$free(self.raw) }
            }
        }

        impl $name {
            /// What a call without a session makes.
            #[allow(dead_code)]
            fn made(call: impl FnOnce(*mut *mut $crate::sys::$raw, *mut *mut $crate::sys::llmc_error) -> $crate::sys::llmc_status) -> $crate::Result<Self> {
                let mut raw = std::ptr::null_mut();
                $crate::error::checked(|error| call(&mut raw, error))?;
                Ok(Self { raw })
            }

            /// What a call on a session makes.
            #[allow(dead_code)]
            fn made_on(
                session: &mut $crate::Session,
                call: impl FnOnce(*mut $crate::sys::llmc_session, *mut *mut $crate::sys::$raw, *mut *mut $crate::sys::llmc_error) -> $crate::sys::llmc_status,
            ) -> $crate::Result<Self> {
                let mut raw = std::ptr::null_mut();
                session.plain_call(|session, error| call(session, &mut raw, error))?;
                Ok(Self { raw })
            }
        }
    };
}
