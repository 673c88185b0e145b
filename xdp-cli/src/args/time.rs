//! Times on the command line.

use std::time::Duration;

use crate::notation::plain;

/// A duration that is not nothing.
pub fn interval(text: &str) -> Result<Duration, String> {
    let duration: Duration = humantime::parse_duration(text).map_err(|error| {
        let error = plain(&error.to_string());
        format!("{error}; a time is written as 250ms, 10s or \"1h 30m\"")
    })?;
    if duration.is_zero() {
        return Err("it must be longer than nothing".to_owned());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals() {
        assert_eq!(interval("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(interval("1h 30m"), Ok(Duration::from_secs(5400)));
        assert!(interval("0s").is_err());
        assert!(interval("10").is_err());
    }
}
