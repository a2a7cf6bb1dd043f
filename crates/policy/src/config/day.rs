//! A day of the calendar.

use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, de};

const SECONDS: u64 = 24 * 60 * 60;

/// A day in UTC, from 1970 to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day {
    since_1970: u64,
}

impl Day {
    /// When it is over.
    #[must_use]
    pub fn end(self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs((self.since_1970 + 1) * SECONDS)
    }
}

/// A text is not a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a day")]
pub struct NotADay;

impl FromStr for Day {
    type Err = NotADay;

    fn from_str(text: &str) -> Result<Self, NotADay> {
        let digits = |from: usize, to: usize| {
            let part = text
                .get(from..to)
                .filter(|part| part.bytes().all(|b| b.is_ascii_digit()));
            part.and_then(|part| part.parse::<u64>().ok())
                .ok_or(NotADay)
        };
        let is_dashed =
            text.len() == 10 && text.as_bytes()[4] == b'-' && text.as_bytes()[7] == b'-';
        if !is_dashed {
            return Err(NotADay);
        }
        let (year, month, day) = (digits(0, 4)?, digits(5, 7)?, digits(8, 10)?);
        let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let february = if is_leap { 29 } else { 28 };
        let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let before = usize::try_from(month)
            .ok()
            .and_then(|month| month.checked_sub(1));
        let before = before
            .filter(|before| *before < months.len())
            .ok_or(NotADay)?;
        if year < 1970 || day == 0 || day > months[before] {
            return Err(NotADay);
        }
        let leap_days = |year: u64| year / 4 - year / 100 + year / 400;
        let years = (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969);
        let in_year: u64 = months[..before].iter().sum();
        Ok(Self {
            since_1970: years + in_year + day - 1,
        })
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_as_calendars_do() {
        for (text, days) in [
            ("1970-01-01", 0),
            ("1972-02-29", 789),
            ("2000-03-01", 11_017),
            ("2027-01-31", 20_849),
            ("9999-12-31", 2_932_896),
        ] {
            assert_eq!(text.parse(), Ok(Day { since_1970: days }), "{text}");
        }
        for text in [
            "",
            "2027",
            "2027-1-1",
            "2027-02-29",
            "2027-13-01",
            "2027-00-01",
            "2027-01-00",
            "1969-12-31",
            "+027-01-01",
            "2027/01/01",
            "2027-01-32",
            "２０２７-01",
        ] {
            assert_eq!(text.parse::<Day>(), Err(NotADay), "{text}");
        }
    }

    #[test]
    fn a_day_lasts_until_the_next_one() {
        let day: Day = "1970-01-01".parse().unwrap();
        assert_eq!(day.end(), UNIX_EPOCH + Duration::from_secs(86_400));
    }
}
