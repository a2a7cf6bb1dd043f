//! `convert_units`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::calculate::tidy;
use crate::examples::table::{Output, Refusal};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConvertUnits {
    /// The quantity, in the unit `from`.
    value: f64,
    /// The unit to convert from, for example `km` or `miles`.
    from: String,
    /// The unit to convert to.
    to: String,
}

#[derive(Debug, PartialEq, Serialize, JsonSchema)]
pub(super) struct Converted {
    /// The quantity in the new unit, to 15 significant digits.
    #[serde(serialize_with = "tidy")]
    #[schemars(with = "f64")]
    value: f64,
    /// The symbol of the new unit.
    unit: &'static str,
    /// What both units measure.
    quantity: &'static str,
}

impl Output for Converted {}

/// A unit: `(value + offset) * factor` is the same quantity in the base unit of its kind.
struct Unit {
    /// How it may be written; the first is its symbol. Spellings of more than three letters are
    /// also read in any case and in the plural.
    spellings: &'static [&'static str],
    factor: f64,
    offset: f64,
}

const fn unit(spellings: &'static [&'static str], factor: f64) -> Unit {
    Unit {
        spellings,
        factor,
        offset: 0.0,
    }
}

const LENGTH: &[Unit] = &[
    unit(&["m", "metre", "meter"], 1.0),
    unit(&["km", "kilometre", "kilometer"], 1e3),
    unit(&["cm", "centimetre", "centimeter"], 1e-2),
    unit(&["mm", "millimetre", "millimeter"], 1e-3),
    unit(&["um", "µm", "micrometre", "micrometer", "micron"], 1e-6),
    unit(&["nm", "nanometre", "nanometer"], 1e-9),
    unit(&["in", "inch", "inches"], 0.0254),
    unit(&["ft", "foot", "feet"], 0.3048),
    unit(&["yd", "yard"], 0.9144),
    unit(&["mi", "mile"], 1_609.344),
    unit(&["nmi", "nautical mile"], 1_852.0),
];

const MASS: &[Unit] = &[
    unit(&["kg", "kilogram"], 1.0),
    unit(&["g", "gram"], 1e-3),
    unit(&["mg", "milligram"], 1e-6),
    unit(&["t", "tonne"], 1e3),
    unit(&["oz", "ounce"], 0.028_349_523_125),
    unit(&["lb", "lbs", "pound"], 0.453_592_37),
    unit(&["st", "stone"], 6.350_293_18),
];

const TEMPERATURE: &[Unit] = &[
    unit(&["K", "kelvin"], 1.0),
    Unit {
        spellings: &["C", "°C", "celsius"],
        factor: 1.0,
        offset: 273.15,
    },
    Unit {
        spellings: &["F", "°F", "fahrenheit"],
        factor: 5.0 / 9.0,
        offset: 459.67,
    },
];

const DATA: &[Unit] = &[
    unit(&["B", "byte"], 1.0),
    unit(&["bit", "bits"], 0.125),
    unit(&["kB", "KB", "kilobyte"], 1e3),
    unit(&["MB", "megabyte"], 1e6),
    unit(&["GB", "gigabyte"], 1e9),
    unit(&["TB", "terabyte"], 1e12),
    unit(&["PB", "petabyte"], 1e15),
    unit(&["KiB", "kibibyte"], 1_024.0),
    unit(&["MiB", "mebibyte"], 1_048_576.0),
    unit(&["GiB", "gibibyte"], 1_073_741_824.0),
    unit(&["TiB", "tebibyte"], 1_099_511_627_776.0),
];

const TIME: &[Unit] = &[
    unit(&["s", "sec", "second"], 1.0),
    unit(&["ms", "millisecond"], 1e-3),
    unit(&["us", "µs", "microsecond"], 1e-6),
    unit(&["ns", "nanosecond"], 1e-9),
    unit(&["min", "minute"], 60.0),
    unit(&["h", "hr", "hour"], 3_600.0),
    unit(&["d", "day", "days"], 86_400.0),
    unit(&["wk", "week"], 604_800.0),
];

const QUANTITIES: [(&str, &[Unit]); 5] = [
    ("length", LENGTH),
    ("mass", MASS),
    ("temperature", TEMPERATURE),
    ("data size", DATA),
    ("time", TIME),
];

pub(super) fn run(arguments: &ConvertUnits) -> Result<Converted, Refusal> {
    let (from_quantity, from) = find(&arguments.from)?;
    let (quantity, to) = find(&arguments.to)?;
    if from_quantity != quantity {
        let (from, to) = (&arguments.from, &arguments.to);
        return Err(format!(
            "`{from}` measures {from_quantity} and `{to}` measures {quantity}; one does not convert to the other."
        )
        .into());
    }
    let base = (arguments.value + from.offset) * from.factor;
    if quantity == "temperature" && base < 0.0 {
        return Err("That temperature is below absolute zero.".into());
    }
    let mut value = base / to.factor - to.offset;
    if quantity == "temperature" && value.abs() < 1e6 {
        // An offset of hundreds leaves noise that shows where the result is near zero.
        value = (value * 1e9).round() / 1e9;
    }
    if !value.is_finite() {
        return Err("The result is too large.".into());
    }
    Ok(Converted {
        value,
        unit: to.spellings[0],
        quantity,
    })
}

fn find(name: &str) -> Result<(&'static str, &'static Unit), Refusal> {
    let name = name.trim();
    let units = || {
        QUANTITIES
            .iter()
            .flat_map(|(quantity, units)| units.iter().map(move |unit| (*quantity, unit)))
    };
    let lower = name.to_lowercase();
    let singular = lower.strip_suffix('s').unwrap_or(&lower);
    // Only whole words forgive case: `Mb` and `MB` are not the same.
    let is_word =
        |spelling: &str| spelling.len() > 3 && (spelling == lower || spelling == singular);
    units()
        .find(|(_, unit)| unit.spellings.contains(&name))
        .or_else(|| units().find(|(_, unit)| unit.spellings.iter().any(|word| is_word(word))))
        .ok_or_else(|| Refusal(format!("There is no unit `{name}`. Known are {}.", known())))
}

fn known() -> String {
    let symbols = |units: &[Unit]| {
        let symbols: Vec<_> = units.iter().map(|unit| unit.spellings[0]).collect();
        symbols.join(" ")
    };
    let quantities = QUANTITIES.map(|(quantity, units)| format!("{quantity}: {}", symbols(units)));
    quantities.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn convert(value: f64, from: &str, to: &str) -> Result<String, Refusal> {
        let (from, to) = (from.to_owned(), to.to_owned());
        let converted = run(&ConvertUnits { value, from, to })?;
        let json = serde_json::to_value(converted).expect("a number");
        Ok(format!("{} {}", json["value"], json["unit"]))
    }

    #[track_caller]
    fn check(value: f64, from: &str, to: &str, expected: &str) {
        assert_eq!(convert(value, from, to).as_deref(), Ok(expected));
    }

    #[test]
    fn converts_within_a_quantity() {
        check(26.2, "miles", "km", r#"42.1648128 "km""#);
        check(6.0, "Feet", "cm", r#"182.88 "cm""#);
        check(150.0, "lbs", "kg", r#"68.0388555 "kg""#);
        check(98.6, "F", "C", r#"37 "C""#);
        check(32.0, "fahrenheit", "C", r#"0 "C""#);
        check(-40.0, "celsius", "°F", r#"-40 "F""#);
        check(1.0, "GiB", "MB", r#"1073.741824 "MB""#);
        check(90.0, "Minutes", "h", r#"1.5 "h""#);
        check(1.0, "day", "s", r#"86400 "s""#);
    }

    #[test]
    fn refuses_what_has_no_answer() {
        let refused = |value, from, to| match convert(value, from, to) {
            Err(Refusal(text)) => text,
            Ok(value) => panic!("converted to {value}"),
        };
        assert_eq!(
            refused(1.0, "kg", "km"),
            "`kg` measures mass and `km` measures length; one does not convert to the other."
        );
        assert!(
            refused(1.0, "Mb", "kB").starts_with("There is no unit `Mb`. Known are length: m km")
        );
        assert_eq!(
            refused(-300.0, "C", "K"),
            "That temperature is below absolute zero."
        );
        assert_eq!(refused(1e308, "km", "nm"), "The result is too large.");
    }
}
