/// What a [`crate::Oneshot`] did. The JSON text has everything; docs/c-abi.md lists its keys.
#[derive(Clone, Debug)]
pub struct Report {
    json: String,
}

impl Report {
    pub(crate) fn new(json: String) -> Self {
        Self { json }
    }

    /// The whole report.
    pub fn json(&self) -> &str {
        &self.json
    }

    /// Tensor bytes of the input.
    pub fn bytes_before(&self) -> u64 {
        self.number("bytes_before") as u64
    }

    /// Tensor bytes of the output.
    pub fn bytes_after(&self) -> u64 {
        self.number("bytes_after") as u64
    }

    /// Calibration samples used.
    pub fn samples(&self) -> u64 {
        self.number("samples") as u64
    }

    /// Calibration tokens used.
    pub fn tokens(&self) -> u64 {
        self.number("tokens") as u64
    }

    /// Wall time.
    pub fn seconds(&self) -> f64 {
        self.number("seconds")
    }

    /// A number at the top level; 0 when it is not there.
    fn number(&self, key: &str) -> f64 {
        value_of(&self.json, key).and_then(|value| value.parse().ok()).unwrap_or(0.0)
    }
}

/// The plain value (a number, true, false, null) of a key of the outermost object.
fn value_of<'a>(json: &'a str, key: &str) -> Option<&'a str> {
    let (bytes, mut depth, mut at) = (json.as_bytes(), 0, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            b'"' => {
                let end = end_of_string(bytes, at)?;
                if depth == 1 && &json[at + 1..end] == key {
                    if let Some(value) = json[end + 1..].trim_start().strip_prefix(':') {
                        return value.split([',', '}']).next().map(str::trim);
                    }
                }
                at = end;
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// The closing quote of the string that opens at `at`.
fn end_of_string(bytes: &[u8], at: usize) -> Option<usize> {
    let mut end = at + 1;
    while *bytes.get(end)? != b'"' {
        end += if bytes[end] == b'\\' { 2 } else { 1 };
    }
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::value_of;

    #[test]
    fn only_keys_of_the_outermost_object_count() {
        let json = r#"{"notes":["a \"seconds\": 7 }"],"linears":[{"seconds":1,"name":"seconds"}], "seconds" : 2.5, "tokens":64}"#;
        assert_eq!(value_of(json, "seconds"), Some("2.5"));
        assert_eq!(value_of(json, "tokens"), Some("64"));
        assert_eq!(value_of(json, "name"), None);
    }
}
