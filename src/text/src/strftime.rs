//! Python's `strftime` on a date the user gave: a template must not read the clock, or two runs would differ.

use crate::error::{Error, Result, Status};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// The date Llama 3.1's template prints when it is told none.
pub const DEFAULT_DATE: DateTime = DateTime { year: 2024, month: 7, day: 26, hour: 0, minute: 0, second: 0 };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DateTime {
    pub year: u32,
    pub month: u32,
    pub day: u32,
    pub hour: u32,
    pub minute: u32,
    pub second: u32,
}

fn days_in_month(year: u32, month: u32) -> u32 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The numbers between separators, when each has exactly the digits asked for.
fn split_digits(text: &str, separator: char, digits: [usize; 3]) -> Option<[u32; 3]> {
    let parts: Vec<&str> = text.split(separator).collect();
    if parts.len() != 3 {
        return None;
    }
    let mut numbers = [0; 3];
    for index in 0..3 {
        let part = parts[index];
        if part.len() != digits[index] || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        numbers[index] = part.parse().ok()?;
    }
    Some(numbers)
}

impl DateTime {
    /// Reads `2024-07-26` or `2024-07-26T15:04:05` (a space may stand for the T); empty is [`DEFAULT_DATE`].
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Ok(DEFAULT_DATE);
        }
        Self::parse_iso(text).ok_or_else(|| {
            Error::new(
                Status::InvalidArgument,
                format!(
                    "chat template: template date '{text}' is not a date such as 2024-07-26 or 2024-07-26T15:04:05"
                ),
            )
        })
    }

    fn parse_iso(text: &str) -> Option<Self> {
        let (date, time) = match text.split_once(['T', ' ']) {
            Some((date, time)) => (date, split_digits(time, ':', [2, 2, 2])?),
            None => (text, [0; 3]),
        };
        let [year, month, day] = split_digits(date, '-', [4, 2, 2])?;
        let [hour, minute, second] = time;
        let valid = year >= 1
            && (1..=12).contains(&month)
            && (1..=days_in_month(year, month)).contains(&day)
            && hour < 24
            && minute < 60
            && second < 60;
        valid.then_some(DateTime { year, month, day, hour, minute, second })
    }

    fn day_of_year(&self) -> u32 {
        (1..self.month).map(|month| days_in_month(self.year, month)).sum::<u32>() + self.day
    }

    /// 0 is Sunday.
    fn weekday(&self) -> u32 {
        let past = self.year - 1;
        (past * 365 + past / 4 - past / 100 + past / 400 + self.day_of_year()) % 7
    }

    /// The format's directives replaced; one that is not known stays as it stands, as in glibc.
    pub fn format(&self, format: &str) -> String {
        let mut out = String::new();
        let mut rest = format.chars();
        while let Some(character) = rest.next() {
            if character != '%' {
                out.push(character);
                continue;
            }
            let ahead = rest.clone();
            let unpadded = rest.as_str().starts_with('-');
            if unpadded {
                rest.next();
            }
            match rest.next().and_then(|directive| self.directive(directive, unpadded)) {
                Some(text) => out.push_str(&text),
                None => {
                    out.push('%');
                    rest = ahead;
                }
            }
        }
        out
    }

    fn directive(&self, directive: char, unpadded: bool) -> Option<String> {
        let number = |value: u32, width: usize| {
            if unpadded {
                value.to_string()
            } else {
                format!("{value:0width$}")
            }
        };
        let month = MONTHS[self.month as usize - 1];
        let day = DAYS[self.weekday() as usize];
        Some(match directive {
            'd' => number(self.day, 2),
            'm' => number(self.month, 2),
            'y' => number(self.year % 100, 2),
            'Y' => self.year.to_string(),
            'H' => number(self.hour, 2),
            'I' => number((self.hour + 11) % 12 + 1, 2),
            'M' => number(self.minute, 2),
            'S' => number(self.second, 2),
            'j' => number(self.day_of_year(), 3),
            'b' | 'h' => month[..3].to_string(),
            'B' => month.to_string(),
            'a' => day[..3].to_string(),
            'A' => day.to_string(),
            'p' => if self.hour < 12 { "AM" } else { "PM" }.to_string(),
            'F' => self.format("%Y-%m-%d"),
            'T' => self.format("%H:%M:%S"),
            'D' => self.format("%m/%d/%y"),
            '%' => "%".to_string(),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_date_prints_as_llama_wants_it() {
        assert_eq!(DateTime::parse("").unwrap().format("%d %b %Y"), "26 Jul 2024");
    }

    #[test]
    fn every_directive_is_what_python_prints() {
        let date = DateTime::parse("2025-03-05T14:07:09").unwrap();
        assert_eq!(
            date.format("%A %a %B %b %d %-d %m %-m %y %Y"),
            "Wednesday Wed March Mar 05 5 03 3 25 2025"
        );
        assert_eq!(date.format("%H:%M:%S %I %p %j %-j 100%% %Q"), "14:07:09 02 PM 064 64 100% %Q");
        assert_eq!(DateTime::parse("2000-02-29").unwrap().format("%a %I %p"), "Tue 12 AM");
    }

    #[test]
    fn a_day_that_does_not_exist_is_an_error() {
        for text in ["2023-02-29", "2024-13-01", "26 Jul 2024", "2024-7-26", "2024-07-26T24:00:00"] {
            assert!(DateTime::parse(text).unwrap_err().message.contains(text));
        }
    }
}
