//! Times on the command line.

use std::time::Duration;

use crate::notation::plain;

/// The longest time: 500 years of 365.25 days. The kernel's clock counts nanoseconds in 64 bits,
/// which are 584 years from when the machine was started.
const LONGEST: Duration = Duration::from_secs(500 * 31_557_600);

/// A duration that is not nothing.
pub fn interval(text: &str) -> Result<Duration, String> {
    let duration: Duration = humantime::parse_duration(text).map_err(|error| {
        let error = plain(&error.to_string());
        format!("{error}; a time is written as 250ms, 10s or \"1h 30m\"")
    })?;
    if duration.is_zero() {
        return Err("it must be longer than nothing".to_owned());
    }
    if duration > LONGEST {
        return Err(format!("the longest time is {}", humantime::format_duration(LONGEST)));
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
        assert_eq!(interval("500years"), Ok(LONGEST));
        assert!(interval("0s").is_err());
        assert!(interval("10").is_err());
        for text in ["501years", "500years 1s", "100000000000y"] {
            assert_eq!(interval(text).unwrap_err(), "the longest time is 500years");
        }
    }
}
