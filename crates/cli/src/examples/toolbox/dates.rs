//! `date_math`, on the Gregorian calendar extended backwards, from year 1 to 9999.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::examples::table::{Output, Refusal};

const WEEKDAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];
const DAYS_IN_400_YEARS: i64 = 146_097;

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DateMath {
    /// The date to start from, as YYYY-MM-DD.
    date: String,
    /// Months to add first; a day that the new month lacks becomes its last.
    #[serde(default)]
    months: i64,
    /// Weeks to add.
    #[serde(default)]
    weeks: i64,
    /// Days to add.
    #[serde(default)]
    days: i64,
    /// A second date, to measure the distance to it from the result.
    #[serde(default)]
    until: Option<String>,
}

#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(super) struct Described {
    /// The resulting date, as YYYY-MM-DD.
    date: String,
    /// Its day of the week.
    weekday: &'static str,
    /// Its ISO 8601 week, for example 2026-W31.
    iso_week: String,
    /// Its day of the year, from 1.
    day_of_year: i64,
    /// The days from it to `until`; negative where that is earlier.
    #[serde(skip_serializing_if = "Option::is_none")]
    days_until: Option<i64>,
}

impl Output for Described {}

pub(super) fn run(arguments: &DateMath) -> Result<Described, Refusal> {
    let date = parse(&arguments.date)?
        .plus(arguments.months, arguments.weeks, arguments.days)
        .ok_or("The result lies outside of the years 1 to 9999.")?;
    let until = arguments.until.as_deref().map(parse).transpose()?;
    let weekday = usize::try_from(date.weekday()).unwrap_or_default();
    Ok(Described {
        date: date.to_string(),
        weekday: WEEKDAYS[weekday],
        iso_week: date.iso_week(),
        day_of_year: date.day_of_year(),
        days_until: until.map(|until| until.number() - date.number()),
    })
}

fn parse(text: &str) -> Result<Date, Refusal> {
    let field = |range: std::ops::Range<usize>| {
        let digits = text.get(range)?;
        let all_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
        all_digits.then(|| digits.parse().ok())?
    };
    let date = (|| {
        let dashes = text.len() == 10 && [4, 7].iter().all(|at| text.as_bytes()[*at] == b'-');
        let date = Date {
            year: field(0..4)?,
            month: field(5..7)?,
            day: field(8..10)?,
        };
        (dashes && date.exists()).then_some(date)
    })();
    date.ok_or_else(|| Refusal(format!("`{text}` is not a date of the form YYYY-MM-DD.")))
}

/// A day that exists.
#[derive(Clone, Copy)]
struct Date {
    year: i64,
    month: i64,
    day: i64,
}

impl Date {
    /// The date with a running number, the inverse of [`Date::number`]; none outside of the years 1
    /// to 9999.
    fn from_number(number: i64) -> Option<Self> {
        let last = first_of_year(10_000) - 1;
        if !(1..=last).contains(&number) {
            return None;
        }
        // By the average length of a year this is the right one or its neighbour; the loops settle
        // which.
        let mut year = number * 400 / DAYS_IN_400_YEARS + 1;
        while first_of_year(year) > number {
            year -= 1;
        }
        while first_of_year(year + 1) <= number {
            year += 1;
        }
        let mut day = number - first_of_year(year) + 1;
        let mut month = 1;
        while day > days_in_month(year, month) {
            day -= days_in_month(year, month);
            month += 1;
        }
        Some(Self { year, month, day })
    }

    fn exists(self) -> bool {
        (1..=9_999).contains(&self.year)
            && (1..=12).contains(&self.month)
            && (1..=days_in_month(self.year, self.month)).contains(&self.day)
    }

    fn plus(self, months: i64, weeks: i64, days: i64) -> Option<Self> {
        let months = (self.year * 12 + self.month - 1).checked_add(months)?;
        let (year, month) = (months.div_euclid(12), months.rem_euclid(12) + 1);
        if !(1..=9_999).contains(&year) {
            return None;
        }
        let day = self.day.min(days_in_month(year, month));
        let shifted = weeks.checked_mul(7)?.checked_add(days)?;
        let number = Self { year, month, day }.number().checked_add(shifted)?;
        Self::from_number(number)
    }

    /// The running number of the day; 1 is the first day of year 1.
    fn number(self) -> i64 {
        first_of_year(self.year) + self.day_of_year() - 1
    }

    fn day_of_year(self) -> i64 {
        let before: i64 = (1..self.month)
            .map(|month| days_in_month(self.year, month))
            .sum();
        before + self.day
    }

    /// The day of the week; 0 is Monday, on which year 1 began.
    fn weekday(self) -> i64 {
        (self.number() - 1) % 7
    }

    /// The week, which belongs to the year that has its Thursday (ISO 8601).
    fn iso_week(self) -> String {
        let thursday = Self::from_number(self.number() - self.weekday() + 3).unwrap_or(self);
        let week = (thursday.day_of_year() - 1) / 7 + 1;
        format!("{:04}-W{week:02}", thursday.year)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// The running number of the first of January.
fn first_of_year(year: i64) -> i64 {
    let before = year - 1;
    before * 365 + before / 4 - before / 100 + before / 400 + 1
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shift(date: &str, months: i64, weeks: i64, days: i64) -> Result<Described, Refusal> {
        run(&DateMath {
            date: date.to_owned(),
            months,
            weeks,
            days,
            until: None,
        })
    }

    #[track_caller]
    fn check(date: &str, (months, weeks, days): (i64, i64, i64), expected: &str) {
        let result = shift(date, months, weeks, days).expect("a valid date");
        let Described {
            date,
            weekday,
            iso_week,
            day_of_year,
            ..
        } = result;
        assert_eq!(
            format!("{date} {weekday} {iso_week} {day_of_year}"),
            expected
        );
    }

    #[test]
    fn shifts_and_describes() {
        check("2026-07-28", (0, 0, 0), "2026-07-28 Tuesday 2026-W31 209");
        check("2024-01-31", (1, 0, 0), "2024-02-29 Thursday 2024-W09 60");
        check("2023-03-31", (-1, 0, 1), "2023-03-01 Wednesday 2023-W09 60");
        check("2026-12-31", (0, 0, 1), "2027-01-01 Friday 2026-W53 1");
        check("2018-12-31", (0, 0, 0), "2018-12-31 Monday 2019-W01 365");
        check("2000-02-28", (0, 1, -6), "2000-02-29 Tuesday 2000-W09 60");
        check("1900-02-28", (0, 0, 1), "1900-03-01 Thursday 1900-W09 60");
        check("0001-01-01", (0, 0, 0), "0001-01-01 Monday 0001-W01 1");
        check("9999-12-31", (0, 0, 0), "9999-12-31 Friday 9999-W52 365");
    }

    #[test]
    fn every_day_has_one_number() {
        for number in 1..first_of_year(10_000) {
            let date = Date::from_number(number).expect("within the range");
            assert!(date.exists() && date.number() == number, "{date}");
        }
    }

    #[test]
    fn measures_the_distance() {
        let arguments = DateMath {
            date: "2024-12-25".to_owned(),
            until: Some("2025-03-01".to_owned()),
            ..DateMath::default()
        };
        assert_eq!(
            run(&arguments).map(|result| result.days_until),
            Ok(Some(66))
        );
    }

    #[test]
    fn refuses_what_is_no_date() {
        for bad in [
            "2023-02-29",
            "2023-13-01",
            "0000-01-01",
            "2023-1-1",
            "+023-01-01",
            "20230101",
            "2023-01-0é",
            "",
        ] {
            let expected = format!("`{bad}` is not a date of the form YYYY-MM-DD.");
            assert_eq!(shift(bad, 0, 0, 0), Err(expected.into()));
        }
        for (months, weeks, days) in [
            (1, 0, 0),
            (0, 0, 1),
            (i64::MAX, 0, 0),
            (0, i64::MAX, 0),
            (0, 1, i64::MAX),
        ] {
            let result = shift("9999-12-31", months, weeks, days);
            assert_eq!(
                result,
                Err("The result lies outside of the years 1 to 9999.".into())
            );
        }
    }
}
