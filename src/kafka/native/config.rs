//! A client's configuration: librdkafka's names and values, checked one by one.

use std::ffi::CString;

use rdkafka_sys as sys;

use super::error::Error;

/// A configuration under construction. Owned until a client takes it.
pub(in crate::kafka) struct Config {
    raw: *mut sys::rd_kafka_conf_t,
}

impl Config {
    /// librdkafka's defaults with these properties set, later ones over earlier ones.
    pub(in crate::kafka) fn with<'a>(
        properties: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Error> {
        // SAFETY: takes nothing; aborts rather than returning null.
        let mut config = Self { raw: unsafe { sys::rd_kafka_conf_new() } };
        for (key, value) in properties {
            config.set(key, value)?;
        }
        Ok(config)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), Error> {
        let invalid = |_| Error::new(INVALID_ARGUMENT, format!("{key}: contains a NUL"));
        let name = CString::new(key).map_err(invalid)?;
        let text = CString::new(value).map_err(invalid)?;
        let mut message = [0u8; 512];
        // SAFETY: `raw` is owned and alive, both strings are NUL-terminated and copied by the
        // call, the buffer is as long as said and NUL-terminated by the call.
        let result = unsafe {
            sys::rd_kafka_conf_set(
                self.raw,
                name.as_ptr(),
                text.as_ptr(),
                message.as_mut_ptr().cast(),
                message.len(),
            )
        };
        if result == sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
            return Ok(());
        }
        let end = message.iter().position(|b| *b == 0).unwrap_or(message.len());
        let reason = String::from_utf8_lossy(&message[..end]).into_owned();
        Err(Error::new(INVALID_ARGUMENT, reason))
    }

    pub(super) fn raw(&mut self) -> *mut sys::rd_kafka_conf_t {
        self.raw
    }

    /// Gives the configuration to `rd_kafka_new`, which owns it from then on.
    pub(super) fn into_raw(self) -> *mut sys::rd_kafka_conf_t {
        let raw = self.raw;
        std::mem::forget(self);
        raw
    }
}

impl Drop for Config {
    fn drop(&mut self) {
        // SAFETY: still owned here, since `into_raw` forgets the value.
        unsafe { sys::rd_kafka_conf_destroy(self.raw) }
    }
}

const INVALID_ARGUMENT: i32 = -186;
