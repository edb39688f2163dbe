//! What can happen to one request.

use std::{fmt, time::Duration};

/// A fault of one request and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The broker never hears of it.
    DropRequest,
    /// The broker does it; the client never hears of it.
    DropAnswer,
    /// The broker hears of it later; so do the requests behind it on the connection.
    Delay(Duration),
    /// The connection breaks in the middle of the request, which the broker does not do.
    ResetRequest,
    /// The broker does it; the connection breaks in the middle of the answer.
    ResetAnswer,
    /// The broker hears of it only this long after the client gave its connection up, at the
    /// latest after 30 seconds, over another connection. Nobody gets the answer.
    Hold(Duration),
    /// The broker never hears of it, and the client gets this error code for an answer.
    Refuse(i16),
}

/// A [`Fault`] is written `drop-request`, `delay 500`, `refuse 16`: the word, then its number
/// (milliseconds or the protocol's error code).
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delay(time) | Self::Hold(time) => {
                write!(f, "{} {}", self.name(), time.as_millis())
            }
            Self::Refuse(code) => write!(f, "{} {code}", self.name()),
            _ => f.write_str(self.name()),
        }
    }
}

impl Fault {
    /// The names of all faults, which counters go by.
    pub const NAMES: [&'static str; 7] =
        ["drop-request", "drop-answer", "delay", "reset-request", "reset-answer", "hold", "refuse"];

    /// The word for it, without its number.
    pub fn name(self) -> &'static str {
        match self {
            Self::DropRequest => "drop-request",
            Self::DropAnswer => "drop-answer",
            Self::Delay(_) => "delay",
            Self::ResetRequest => "reset-request",
            Self::ResetAnswer => "reset-answer",
            Self::Hold(_) => "hold",
            Self::Refuse(_) => "refuse",
        }
    }

    /// The fault of that name; `number` is its milliseconds or its error code, where it has one.
    /// `None` for an unknown name, and for a number that is missing or does not belong there.
    pub fn parse(name: &str, number: Option<i64>) -> Option<Self> {
        let time = || Some(Duration::from_millis(u64::try_from(number?).ok()?));
        let fault = match name {
            "delay" => return Some(Self::Delay(time()?)),
            "hold" => return Some(Self::Hold(time()?)),
            "refuse" => return Some(Self::Refuse(i16::try_from(number?).ok()?)),
            "drop-request" => Self::DropRequest,
            "drop-answer" => Self::DropAnswer,
            "reset-request" => Self::ResetRequest,
            "reset-answer" => Self::ResetAnswer,
            _ => return None,
        };
        number.is_none().then_some(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_reads_as_it_is_written() {
        let time = Duration::from_millis(7);
        for fault in [
            Fault::DropRequest,
            Fault::DropAnswer,
            Fault::Delay(time),
            Fault::ResetRequest,
            Fault::ResetAnswer,
            Fault::Hold(time),
            Fault::Refuse(-1),
        ] {
            let text = fault.to_string();
            let (name, number) = text.split_once(' ').unwrap_or((&text, ""));
            assert_eq!(Fault::parse(name, number.parse().ok()), Some(fault), "{text}");
            assert!(Fault::NAMES.contains(&name));
        }
    }

    #[test]
    fn a_number_too_many_or_too_few_is_no_fault() {
        assert_eq!(Fault::parse("delay", None), None);
        assert_eq!(Fault::parse("delay", Some(-1)), None);
        assert_eq!(Fault::parse("drop-answer", Some(1)), None);
        assert_eq!(Fault::parse("explode", None), None);
    }
}
